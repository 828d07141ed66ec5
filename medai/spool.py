"""The spool: decisions that MLflow has not been told yet, each in a file of its own.

    MEDAI_HOME/spool/000000012.json     what follows from the decision of line 12 of the audit

A run puts its decision here before it speaks to MLflow and takes it away once all was done, so that a server that is
down, or a kill, costs nothing: whoever comes next delivers what waits, in the order in which it was decided.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from medai.errors import ServiceFailed
from medai.paths import read_plain
from medai.records import Record, sha256_of
from medai.workspace import Workspace, blocked, sync_directory, write_durably

SPOOL = "spool"
_NAME = re.compile(r"\d{9}\.json")


class Delivery(Record):
    """A decision with all that MLflow is told of it; records stand in the store and are named by their keys.

    Attributes:
        key: hash of all the others.
        problem: the Problem's name.
        resolved: the resolved Problem.
        run_key: names the run in MLflow; two runs with this key are the same run.
        candidate, snapshot, quality, cohort, splits, figures, decision: keys of the stages' records.
        scorecards: keys of the scorecards, one a scored role.
        rules: key of the rules that the decision was made by.
        baselines: baseline → metric → figure.
        seed, overrides: the run's.
        figure: the metric by which candidates are chosen, for the ledger; None where it is undefined.
        openings: how many candidates were scored on this test set when it was decided.
    """

    problem: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")  # a lock is named by it
    resolved: dict[str, Any]
    run_key: str
    candidate: str
    snapshot: str
    quality: str
    cohort: str
    splits: str
    figures: str
    decision: str
    scorecards: tuple[str, ...]
    rules: str
    baselines: dict[str, dict[str, float]]
    seed: int
    overrides: tuple[str, ...] = ()
    figure: dict[str, Any] | None = None
    openings: int

    @classmethod
    def of(cls, **facts: Any) -> Self:
        """A delivery under its key."""
        return cls(key=cls(key="", **facts)._hash(), **facts)

    @property
    def intact(self) -> bool:
        """Whether it says what was written."""
        return self.key == self._hash()

    def _hash(self) -> str:
        return sha256_of(self.model_dump(mode="json", exclude={"key"}))


class Spool:
    """Deliveries by the number of the audit's line that holds their decision.

    Args:
        workspace: where they lie.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.root / SPOOL

    def put(self, number: int, delivery: Delivery) -> None:
        """Keep a delivery until it is dropped; written beside its name, synced, renamed.

        One writer at a time: a line's problem is locked by whoever acts on it.
        """
        path = self._path(number)
        for left in self.folder.glob(f".{path.name}.*.partial"):  # by a kill
            left.unlink(missing_ok=True)
        data = delivery.canonical()
        try:
            if read_plain(path) == data:
                return
        except OSError:
            pass
        write_durably(path, data)

    def drop(self, number: int) -> None:
        """Take a delivery away, durably; it may be gone already."""
        self._path(number).unlink(missing_ok=True)
        sync_directory(self.folder)

    def numbers(self) -> list[int]:
        """The numbers of what waits, in the order of the decisions."""
        try:
            return sorted(int(path.stem) for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as failure:
            raise blocked(self.folder, failure) from failure

    def read(self, number: int) -> Delivery | None:
        """A delivery; None when somebody else took it away meanwhile.

        Raises:
            ServiceFailed: its file is not as it was written.
        """
        path = self._path(number)
        try:
            delivery = Delivery.parse(read_plain(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            delivery = None
        if delivery is None or not delivery.intact:
            raise ServiceFailed(
                f"{SPOOL}/{path.name} was altered",
                expected="the delivery as it was written",
                received="something else",
                action=f"remove it, then run the command again that decided line {number} of the audit:"
                " the decision stands, and the same command delivers it",
            )
        return delivery

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:09d}.json"
