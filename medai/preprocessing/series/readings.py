"""The readings that samples may see, of one part of the snapshot, in the snapshot's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.preprocessing.series import Series

if TYPE_CHECKING:
    import pyarrow as pa

UNTIMED = np.iinfo(np.int64).min
"""Stands for no time."""


class Spans(NamedTuple):
    """Spans of time whose readings are wanted, sorted by subject, and the samples that are made of them.

    Attributes:
        subject: whose each is.
        begin, end: both included; microseconds since 1970.
        rows: how many each takes in the arrays.
        sample: of each sample, in the order of spans: which span it reads …
        sample_row: … and the last of the span's rows that it reads.
    """

    subject: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    rows: np.ndarray
    sample: np.ndarray
    sample_row: np.ndarray

    def of(self, low: int, high: int) -> tuple[slice, Spans]:
        """Which spans are of the subjects from the one to the other, and these by themselves."""
        first, last = int(self.subject.searchsorted(low)), int(self.subject.searchsorted(high, side="right"))
        samples = slice(*np.searchsorted(self.sample, (first, last)).tolist())
        chosen = slice(first, last)
        theirs = Spans(
            self.subject[chosen],
            self.begin[chosen],
            self.end[chosen],
            self.rows[chosen],
            self.sample[samples] - first,
            self.sample_row[samples],
        )
        return chosen, theirs


class Seen(NamedTuple):
    """The readings of some spans of time, span after span, each span's in the snapshot's order.

    Attributes:
        span: position among the spans, a reading.
        time, known_time: microseconds since 1970; known_time is never before time.
        variable: position among the variables of the configuration.
        value: float64.
    """

    span: np.ndarray
    time: np.ndarray
    known_time: np.ndarray
    variable: np.ndarray
    value: np.ndarray

    def only(self, chosen: np.ndarray) -> Seen:
        """The chosen readings."""
        return Seen(*(array[chosen] for array in self))


class Untimed(NamedTuple):
    """Kept events without a time whose code is a static one, in the snapshot's order.

    Attributes:
        subject, known_time: known_time is ``UNTIMED`` for none.
        code: position among the configuration's static codes.
        value: float32; NaN is a value, none is left out.
    """

    subject: np.ndarray
    known_time: np.ndarray
    code: np.ndarray
    value: np.ndarray


def columns_of(config: Series) -> tuple[list[str], list[str]]:
    """The columns of events that are read, and which of them are words."""
    words = ["variable", *(["code"] if _codes(config) else [])]
    return ["row_id", "subject_id", "time", "known_time", "numeric_value", *words], words


def readings(part: pa.Table, spans: Spans, aside: np.ndarray, config: Series) -> tuple[Seen, Untimed]:
    """The kept readings taken in each span, and the part's kept events without a time.

    Args:
        part: of the snapshot's events, ``columns_of``; whole subjects.
        aside: row_id of the rows that validation set aside; sorted.
    """
    none = np.empty(0, np.int64)
    if not part.num_rows:
        return Seen(none, none, none, none, np.empty(0)), Untimed(none, none, none, np.empty(0, np.float32))
    subject, time = part["subject_id"].to_numpy(), _microseconds(part["time"])
    kept = _kept(part["row_id"], aside)
    rows, span = _within(subject, time, spans.subject, spans.begin, spans.end)
    variable = _numbers(part["variable"], config.variables)[rows]
    value = part["numeric_value"].to_numpy()[rows]
    good = (variable >= 0) & ~np.isnan(value)
    if kept is not None:
        good &= kept[rows]
    rows, span = rows[good], span[good]
    taken = time[rows]
    known = _microseconds(part["known_time"])[rows]
    seen = Seen(span, taken, np.maximum(taken, known), variable[good], value[good].astype(np.float64))
    return seen, _untimed(part, kept, time, _codes(config))


def _codes(config: Series) -> tuple[str, ...]:
    return (*config.static, *config.categories)


def _kept(row_ids: pa.ChunkedArray, aside: np.ndarray) -> np.ndarray | None:
    """Whether validation kept each row; None where it kept all."""
    rows = row_ids.to_numpy()
    if np.any(rows[1:] < rows[:-1]):  # events from elsewhere need not be numbered in order
        return ~np.isin(rows, aside, assume_unique=True)
    named = aside[np.searchsorted(aside, rows[0]) : np.searchsorted(aside, rows[-1], side="right")]
    if not len(named):
        return None
    kept = np.ones(len(rows), bool)
    places = np.searchsorted(rows, named)
    kept[places[rows[places] == named]] = False
    return kept


def _untimed(part: pa.Table, kept: np.ndarray | None, time: np.ndarray, codes: tuple[str, ...]) -> Untimed:
    number = _numbers(part["code"], codes) if codes else np.full(len(time), -1)
    chosen = (number >= 0) & (time == UNTIMED)
    if kept is not None:
        chosen &= kept
    if chosen.any():
        chosen &= part["numeric_value"].is_valid().to_numpy()
    rows = np.flatnonzero(chosen)
    known, value = _microseconds(part["known_time"].take(rows)), part["numeric_value"].take(rows).to_numpy()
    return Untimed(part["subject_id"].to_numpy()[rows], known, number[rows], value)


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
