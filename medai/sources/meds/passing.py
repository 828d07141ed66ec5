"""Events on their way: put aside by range of subject, sorted, and looked at while they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
_MARGIN = timedelta(days=1)
_SUBJECT_BITS = 63
ORDER = ("subject_id", "time", "known_time", "row", "priority", "code", "numeric_value", "text_value")
"""The order of events. ``row`` is an export's own number, null for any other data set. Of readings that tie in time the
most trusted item's comes last, and so stands."""


class Parts:
    """Events by range of subject id: in memory while there is one part, else in files of their owner alone.

    Attributes:
        rows: how many were put aside.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._batches: list[pl.DataFrame] = []
        self._number = 0
        self.rows = 0

    def add(self, events: pl.DataFrame) -> None:
        """Put a batch of events aside."""
        import polars as pl

        self.rows += events.height
        if self._count == 1:
            self._batches.append(events)
            return
        width = -(-(1 << _SUBJECT_BITS) // self._count)
        placed = events.with_columns((pl.col("subject_id") // width).alias("part"))
        for (part,), rows in sorted(placed.partition_by("part", as_dict=True, include_key=False).items()):
            folder = self._folder / f"{part:05}"
            folder.mkdir(exist_ok=True)
            rows.write_ipc(folder / f"{self._number:07}.arrow", compression="lz4")
        self._number += 1

    def sorted(self) -> Iterator[pl.DataFrame]:
        """The parts in order of subject id, each in ``ORDER``, with ``row_id``."""
        import polars as pl

        first = 0
        for part in self._parts():
            events = part.sort(ORDER, nulls_last=False)
            yield events.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("row_id"))
            first += events.height

    def _parts(self) -> Iterator[pl.DataFrame]:
        import polars as pl

        if self._count == 1:
            batches, self._batches = self._batches, []
            yield pl.concat(batches)
            return
        for folder in sorted(self._folder.iterdir()):
            yield pl.concat([pl.read_ipc(file) for file in sorted(folder.iterdir())])


class Digest:
    """What is noticed of the events while they pass: which stays have readings of a variable, and which codes.

    Args:
        stays: subject_id, stay_id, start and end.
        counts: events outside their subject's life are counted here.
    """

    def __init__(self, stays: pl.DataFrame, counts: Counter[str]) -> None:
        self._stays = stays
        self._counts = counts
        self._with_series: list[pl.Series] = []
        self._codes: list[pl.DataFrame] = []

    def watching(self, parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The same parts."""
        import polars as pl

        spans = self._stays.select("subject_id", "stay_id", "start", "end").drop_nulls("start").sort("start")
        for part in parts:
            numbers = pl.all_horizontal(pl.col("variable", "numeric_value", "time").is_not_null())
            measured = part.lazy().filter(numbers).select("subject_id", "time").collect().sort("time")
            first = spans.join_asof(
                measured, left_on="start", right_on="time", by="subject_id", strategy="forward", check_sortedness=False
            )
            inside = (pl.col("time") <= pl.col("end")).fill_null(True) & pl.col("time").is_not_null()
            self._with_series.append(first.filter(inside)["stay_id"])
            self._codes.append(_coded(part))
            self._counts += _outside_life(part)
            yield part

    def has_series(self) -> pl.Series:
        """One flag a stay, in the order of the stays: a variable was measured between its start and end."""
        import polars as pl

        return self._stays["stay_id"].is_in(pl.concat(self._with_series).implode())

    def codes(self) -> pl.DataFrame:
        """code, source_table, variable, readings, numbers; sorted by code."""
        import polars as pl

        both = pl.col("readings", "numbers").sum()
        firsts = pl.col("source_table", "variable").drop_nulls().first()
        return pl.concat(self._codes).group_by("code").agg(firsts, both).sort("code")


def _outside_life(part: pl.DataFrame) -> Counter[str]:
    """Events more than a day before their subject's first birth, or after its last death.

    Args:
        part: all events of its subjects.
    """
    import polars as pl

    life = (
        part.lazy()
        .filter(pl.col("code").is_in([BIRTH, DEATH]))
        .group_by("subject_id")
        .agg(
            pl.col("time").filter(pl.col("code") == BIRTH).min().alias("birth"),
            pl.col("time").filter(pl.col("code") == DEATH).max().alias("death"),
        )
    )
    found = (
        part.lazy()
        .select("subject_id", "time")
        .join(life, on="subject_id")
        .select(
            event_before_birth=(pl.col("time") < pl.col("birth") - _MARGIN).sum(),
            event_after_death=(pl.col("time") > pl.col("death") + _MARGIN).sum(),
        )
        .collect()
    )
    return Counter(found.row(0, named=True))


def _coded(part: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return part.group_by("code", maintain_order=True).agg(
        pl.col("source_table", "variable").drop_nulls().first(),
        pl.len().cast(pl.Int64).alias("readings"),
        pl.col("numeric_value").count().cast(pl.Int64).alias("numbers"),
    )
