"""The readings that samples may see, part by part of the snapshot, each part's in the snapshot's order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.preprocessing.series import Series
from medai.records import ArrayFile
from medai.tables import read_table, scan

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

UNTIMED = np.iinfo(np.int64).min
"""Stands for no time."""


class Written(NamedTuple):
    """What was written of the readings.

    Attributes:
        arrays: name → file.
        empty: samples without a reading.
        later: readings that were taken inside a window and known only after it.
    """

    arrays: dict[str, ArrayFile]
    empty: int
    later: int


class Seen(NamedTuple):
    """The readings of some spans of time, span after span, each span's in the snapshot's order.

    Attributes:
        spans: which spans have their subject in this part.
        span: position among ``spans``, a reading.
        time, known_time: microseconds since 1970; known_time is never before time.
        variable: position among the variables of the configuration.
        value: float64.
    """

    spans: np.ndarray
    span: np.ndarray
    time: np.ndarray
    known_time: np.ndarray
    variable: np.ndarray
    value: np.ndarray

    def only(self, chosen: np.ndarray) -> Seen:
        """The chosen readings."""
        return Seen(self.spans, *(array[chosen] for array in self[1:]))


class Readings:
    """A snapshot's kept readings of the configuration's variables.

    Args:
        raw: the snapshot's folder.
        aside: of the validation, which names the rows that were set aside.
        config: its variables, and static codes.
        samples: whose subjects are wanted.
    """

    def __init__(self, raw: Path, aside: Path, config: Series, samples: pl.DataFrame) -> None:
        import polars as pl

        self._path = raw / "events.parquet"
        self._config = config
        self._subjects = (
            (int(samples["subject_id"].min()), int(samples["subject_id"].max())) if samples.height else (0, 0)  # type: ignore[arg-type]
        )
        rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == "events")
        self._aside = rows["row_id"].sort().to_numpy()
        self._codes = (*config.static, *config.categories)
        self._untimed: list[pl.DataFrame] = []

    def untimed(self) -> pl.DataFrame:
        """Kept events without a time whose code is a static one, of the parts seen so far."""
        import polars as pl

        schema = pl.Schema(
            {
                "subject_id": pl.Int64(),
                "known_time": pl.Datetime("us"),
                "code": pl.String(),
                "numeric_value": pl.Float32(),
            }
        )
        return pl.concat([pl.DataFrame(schema=schema), *self._untimed])

    def of(self, subjects: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Iterator[Seen]:
        """The readings taken in each span, both ends included, part by part of the snapshot.

        Args:
            subjects: whose span it is; sorted.
            begins, ends: microseconds since 1970.
        """
        words = ["variable", *(["code"] if self._codes else [])]
        columns = ["row_id", "subject_id", "time", "known_time", "numeric_value", *words]
        for part in scan(self._path, columns, words, self._subjects):
            subject = part["subject_id"].to_numpy()
            first, last = np.searchsorted(subjects, subject[0]), np.searchsorted(subjects, subject[-1], side="right")
            kept = self._kept(part["row_id"])
            time = _microseconds(part["time"])
            if self._codes:
                self._note_untimed(part, kept, time)
            if first == last:
                continue
            spans = np.arange(first, last)
            rows, span = _within(subject, time, subjects[spans], begins[spans], ends[spans])
            variable = _numbers(part["variable"], self._config.variables)[rows]
            value = part["numeric_value"].to_numpy()[rows]
            good = (variable >= 0) & ~np.isnan(value)
            if kept is not None:
                good &= kept[rows]
            rows, span = rows[good], span[good]
            taken = time[rows]
            known = _microseconds(part["known_time"])[rows]
            yield Seen(spans, span, taken, np.maximum(taken, known), variable[good], value[good].astype(np.float64))

    def _kept(self, row_ids: pa.ChunkedArray) -> np.ndarray | None:
        """Whether validation kept each row; None where it kept all."""
        rows = row_ids.to_numpy()
        if np.any(rows[1:] < rows[:-1]):  # events from elsewhere need not be numbered in order
            return ~np.isin(rows, self._aside, assume_unique=True)
        named = self._aside[
            np.searchsorted(self._aside, rows[0]) : np.searchsorted(self._aside, rows[-1], side="right")
        ]
        if not len(named):
            return None
        kept = np.ones(len(rows), bool)
        places = np.searchsorted(rows, named)
        kept[places[rows[places] == named]] = False
        return kept

    def _note_untimed(self, part: pa.Table, kept: np.ndarray | None, time: np.ndarray) -> None:
        import polars as pl

        codes = _numbers(part["code"], self._codes)
        chosen = (codes >= 0) & (time == UNTIMED)
        if kept is not None:
            chosen &= kept
        rows = np.flatnonzero(chosen)
        if len(rows):
            frame = pl.DataFrame(part.select(["subject_id", "known_time", "code", "numeric_value"]).take(rows))
            self._untimed.append(frame.with_columns(pl.col("code").cast(pl.String)).drop_nulls("numeric_value"))


def _microseconds(times: pa.ChunkedArray) -> np.ndarray:
    """int64, ``UNTIMED`` for none."""
    import pyarrow as pa

    numbers = times.cast(pa.int64())
    found: np.ndarray = (numbers.fill_null(int(UNTIMED)) if numbers.null_count else numbers).to_numpy()
    return found


def _numbers(words: pa.ChunkedArray, known: tuple[str, ...]) -> np.ndarray:
    """Each word's position among the known ones, -1 for another one or none."""
    places = {word: at for at, word in enumerate(known)}
    parts = [np.empty(0, np.int64)]
    for chunk in words.chunks:
        table = np.array([*(places.get(word, -1) for word in chunk.dictionary.to_pylist()), -1], np.int64)
        indices = chunk.indices
        parts.append(table[(indices.fill_null(-1) if indices.null_count else indices).to_numpy()])
    return np.concatenate(parts)


def _within(
    subject: np.ndarray, time: np.ndarray, whose: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each span, span after span, and which span's each is; rows are sorted by subject and time."""
    starts = np.concatenate([[0], np.flatnonzero(subject[1:] != subject[:-1]) + 1, [len(subject)]])
    runs = np.searchsorted(subject[starts[:-1]], whose)
    bounds = np.zeros((len(whose), 2), np.int64)
    for at, run in enumerate(runs.tolist()):
        first = starts[run] if run < len(starts) - 1 else len(subject)
        if first < len(subject) and subject[first] == whose[at]:
            theirs = time[first : starts[run + 1]]
            bounds[at, 0] = first + theirs.searchsorted(begins[at], side="left")
            bounds[at, 1] = first + theirs.searchsorted(ends[at], side="right")
    sizes = np.maximum(bounds[:, 1] - bounds[:, 0], 0)
    before = np.cumsum(sizes) - sizes
    rows = np.arange(int(sizes.sum())) + np.repeat(bounds[:, 0] - before, sizes)
    return rows, np.repeat(np.arange(len(whose)), sizes)
