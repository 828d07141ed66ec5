"""The champion that a command asks something of, with all that it takes to ask."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import NamedTuple

from flows.governance import ledger_of
from flows.judging import champion_of
from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.ledger import Champion, Ledger
from medai.problem import Problem, load_problem
from medai.records import Candidate
from medai.workspace import Workspace


class Asked(NamedTuple):
    """A problem, its champion, and where both are.

    Attributes:
        standing: what the ledger says of the champion.
        champion: its files, intact.
    """

    settings: Settings
    workspace: Workspace
    ledger: Ledger
    question: Problem
    standing: Champion
    champion: Candidate


def ask(problem: str, overrides: Sequence[str] | None) -> Asked:
    """Read the settings and the Problem, and find who stands.

    Args:
        problem: a name or a path; messages repeat it, so that their commands work.

    Raises:
        ConfigurationError: a setting or the Problem is wrong, or it has no champion.
        ServiceFailed: the champion's files are missing or were altered.
    """
    settings = Settings.load()
    settings.apply()
    workspace = Workspace(settings.home, settings.lock_seconds)
    ledger = ledger_of(settings, workspace)
    question = load_problem(problem, overrides or ())
    name = question.name
    standing, champion = ledger.champion(name), champion_of(workspace, ledger, name)
    if standing is None or champion is None or champion.key != standing.candidate:
        raise ConfigurationError(
            f"{name} has no champion",
            expected="a promoted version",
            received=f"none in the ledger of {workspace.root}",
            action=f"`medai run {quote(problem)}` makes a candidate and puts it before the gate;"
            f" see `medai history {quote(problem)}`",
        )
    return Asked(settings, workspace, ledger, question, standing, champion)
