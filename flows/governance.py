"""What a person decides: promotion by hand and rollback. The ledger first, then MLflow's alias follows."""

from __future__ import annotations

from typing import Any

from medai.errors import ConfigurationError
from medai.ledger import Ledger
from medai.records import Candidate
from medai.tracking import Tracking


def promote_by_hand(ledger: Ledger, tracking: Tracking, problem: str, version: int, reason: str) -> dict[str, Any]:
    """Make a registered version champion.

    Raises:
        ConfigurationError: there is no such version, its files are not intact, or no reason was given.
    """
    _refuse_empty(reason)
    registered = ledger.registered(problem)
    if version not in registered:
        raise ConfigurationError(
            f"{problem} has no version {version}",
            expected=f"one of {', '.join(map(str, sorted(registered)))}" if registered else "a registered version",
            received=str(version),
            action=f"`medai history {problem}` lists the versions",
        )
    facts = registered[version]
    if ledger.workspace.find("fit", facts["candidate"], Candidate) is None:
        raise ConfigurationError(
            f"version {version} of {problem} cannot serve",
            expected="its files as they were registered",
            received="a folder that is gone or was altered",
            action="restore it from a copy, or run the command that made it again",
        )
    now = ledger.champion(problem)
    ledger.promote(
        problem,
        version=version,
        candidate=facts["candidate"],
        run_id=facts["run_id"],
        how="person",
        reason=reason,
        expected=now.candidate if now else None,
    )
    return project(ledger, tracking, problem)


def roll_back(ledger: Ledger, tracking: Tracking, problem: str, reason: str) -> dict[str, Any]:
    """Withdraw the champion; the one before it stands again."""
    _refuse_empty(reason)
    ledger.rollback(problem, reason)
    return project(ledger, tracking, problem)


def project(ledger: Ledger, tracking: Tracking, problem: str) -> dict[str, Any]:
    """Let MLflow's alias follow the ledger, if the ledger has moved since the last time."""
    champion = ledger.champion(problem)
    version = champion.version if champion else None
    if not ledger.projected(problem):
        if version is None:
            tracking.drop_alias(problem, "champion")
        else:
            tracking.set_alias(problem, "champion", version)
        ledger.append("projected", problem, {"version": version})
    return {"problem": problem, "champion": version}


def _refuse_empty(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError(
            "a promotion or rollback needs a reason",
            expected="--reason with some words",
            received="nothing",
            action="say why: the auditor will ask",
        )
