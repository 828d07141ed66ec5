"""The arguments that commands share, and what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.ledger import Ledger
    from medai.problem import Problem
    from medai.tracking import Tracking

Name = Annotated[str, typer.Argument(metavar="PROBLEM", help="A catalogue name, or a path to a YAML file.")]
Remembered = Annotated[
    str, typer.Argument(metavar="PROBLEM", help="A catalogue name, a path to a YAML file, or a name in the ledger.")
]
Data = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or file of the data, or the folder of all data sets.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the fit; it moves no patient.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a key of the Problem; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def load(problem: str, overrides: list[str] | None = None) -> Problem:
    """The problem, with what ``--set`` changes."""
    from medai.problem import load_problem

    return load_problem(problem, overrides or ())


def known(problem: str, ledger: Ledger) -> str:
    """The name of a problem of the catalogue, of a file, or of the ledger: what has a history may be asked for it."""
    from medai.errors import ConfigurationError

    try:
        return load(problem).name
    except ConfigurationError:
        if any(entry.problem == problem for entry in ledger.entries()):
            return problem
        raise


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of this home."""
    from flows.governance import ledger_of

    return ledger_of(settings)


def open_tracking(settings: Settings) -> Tracking:
    """MLflow, as the settings name it."""
    from flows.governance import tracking_of

    return tracking_of(open_ledger(settings), settings)
