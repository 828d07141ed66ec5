"""What a case of the suite declares: a row of the fault table, a set of data, how it is damaged, what must follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Damage = Callable[[Path], Path | None]
"""Damages a copy of a set in place; returns where to point the reader where that is another path."""


@dataclass(frozen=True)
class Refused:
    """An error of this exit status, whose text holds each of these words."""

    words: tuple[str, ...]
    status: int = 3
    kind = "refused"


@dataclass(frozen=True)
class Noticed:
    """The run goes on, and its records differ from those of the undamaged set by exactly this.

    Keys: ``set_aside.REASON`` (rows kept out), ``counts.REASON`` (settled by the reader), ``dropped.TABLE`` (rows that
    the reader left out for a fault), ``warned.REASON``.
    """

    changes: Mapping[str, int]

    @property
    def kind(self) -> str:
        """``set aside`` where rows are kept out, ``counted`` otherwise."""
        out = any(key.startswith(("set_aside.", "dropped.")) for key in self.changes)
        return "set aside" if out else "counted"


@dataclass(frozen=True)
class Same:
    """No fault: the same bytes of these tables as of the undamaged set, and the same counts."""

    tables: tuple[str, ...]
    kind = "the same bytes"


@dataclass(frozen=True)
class Right:
    """By a stated rule the reading is understood: nothing to count, and ``Case.then`` holds of the snapshot."""

    kind = "the right value"


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        row: a key of the part's rows.
        source: a key of ``sets.SETS``.
        name: what is done to the data, in words.
        damage: how.
        outcome: what must follow.
        secrets: planted values and names that may stand in no message, log or record.
        manifest: name of a manifest in the data that is given to ``ingest``.
        then: what must hold of the snapshot's folder besides.
    """

    row: str
    source: str
    name: str
    damage: Damage
    outcome: Refused | Noticed | Same | Right
    secrets: tuple[str, ...] = ()
    manifest: str | None = None
    then: Callable[[Path], None] | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The name that pytest shows."""
        return f"{self.row} | {self.source} | {self.name}"


def refused(*words: str, status: int = 3) -> Refused:
    """Refused in these words."""
    return Refused(words, status)


def noticed(**changes: int) -> Noticed:
    """These changes; ``set_aside__reason=1`` stands for ``set_aside.reason``."""
    return Noticed({key.replace("__", ".", 1): count for key, count in changes.items()})


def uncovered(rows: Mapping[str, Iterable[str]], cases: Iterable[Case]) -> set[tuple[str, str]]:
    """(row, source) pairs without a case, and pairs of cases that no row names.

    Args:
        rows: row → the sources that it makes sense for.
    """
    wanted = {(row, source) for row, sources in rows.items() for source in sources}
    return wanted ^ {(case.row, case.source) for case in cases}


def near(table: str, column: str, value: float) -> Callable[[Path], None]:
    """A check that a column of the snapshot holds a value."""

    def check(folder: Path) -> None:
        values = pl.read_parquet(folder / f"{table}.parquet")[column]
        assert (values - value).abs().min() == pytest.approx(0, abs=1e-4), values

    return check


def each(row: str, name: str, acts: dict[str, tuple[Damage, Any]], **fields: Any) -> Iterator[Case]:
    """One case a source, each with its damage and what must follow."""
    for source, (act, outcome) in acts.items():
        yield Case(row, source, name, act, outcome, **fields)


NOT_A_PICTURE = noticed(counts__not_a_picture=1, set_aside__not_a_picture=1)
