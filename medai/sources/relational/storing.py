"""Sorted events to the row groups of ``events.parquet``: each holds whole subjects, and is cut by content alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.sources.relational.bearings import LINKS
from medai.sources.relational.events import NO_ROW, OWN, Events
from medai.sources.relational.ordering import Bearings, joined, sliced
from medai.sources.relational.times import MISSING
from medai.tables import EVENTS, ROWS_IN_GROUP
from medai.threads import each_of

if TYPE_CHECKING:
    import pyarrow as pa

COUNTERS = ("time", "known_time", "row_id", "source_row")
SPLIT = ("hours_outside_admission",)
"""Columns stored as differences, and by byte: how they pack best. Of readings few are distinct, so words serve them."""
_MICROSECONDS = 1_000_000


def event_schema() -> pa.Schema:
    """The columns and types of a hospital's events."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in (EVENTS | OWN).items()])


def groups_of(parts: Iterator[Events], bearings: Bearings) -> Iterator[pa.Table]:
    """Tables of ``ROWS_IN_GROUP`` rows and the rest of the last subject's, with ``row_id``; one at least.

    Args:
        parts: sorted events, no subject in two of them.
    """
    empty = True
    for table in each_of(_cut(parts, bearings), lambda group: _table(joined(group.pieces), bearings, group.first)):
        empty = False
        yield table
    if empty:
        yield event_schema().empty_table()


class _Group(NamedTuple):
    """Sorted events that become a row group, and the number of the first of them."""

    pieces: list[Events]
    first: int


def _cut(parts: Iterator[Events], bearings: Bearings) -> Iterator[_Group]:
    first = 0
    waiting: list[Events] = []
    rows = 0
    for part in parts:
        begin = 0
        for end in _subject_ends(part, bearings):
            if rows + end - begin >= ROWS_IN_GROUP:
                waiting.append(sliced(part, begin, end))
                yield _Group(waiting, first)
                first += rows + end - begin
                waiting, rows, begin = [], 0, end
        if begin < len(part.place):
            waiting.append(sliced(part, begin, len(part.place)))
            rows += len(part.place) - begin
    if rows:
        yield _Group(waiting, first)


def _subject_ends(part: Events, bearings: Bearings) -> list[int]:
    subjects = bearings.subject_rank[part.place]
    return [*(np.flatnonzero(subjects[1:] != subjects[:-1]) + 1).tolist(), len(subjects)] if len(subjects) else []


def _table(events: Events, bearings: Bearings, first: int) -> pa.Table:
    """Events in their columns; words as dictionaries."""
    import pyarrow as pa

    place, kind = events.place, events.kind
    rows = len(place)
    admission = bearings.admission[place]
    columns = {
        "subject_id": pa.array(bearings.subject[place]),
        "time": _moments(events.time),
        "code": _words(bearings.code[kind], bearings.codes),
        "variable": _words(bearings.variable[kind], bearings.variables),
        "numeric_value": pa.array(events.value, mask=np.isnan(events.value)),
        "text_value": events.text,
        "known_time": _moments(events.known_time),
        "row_id": pa.array(np.arange(first, first + rows)),
        "source_row": pa.array(events.source_row, mask=events.source_row == NO_ROW),
        "source_table": _words(bearings.table[kind], bearings.tables),
        "admission_id": pa.array(admission, mask=admission == MISSING),
        "link": _words(bearings.link[place], list(LINKS)),
        "hours_outside_admission": _hours_outside(events.time, place, bearings),
    }
    return pa.table([columns[name] for name in (EVENTS | OWN)], names=list(EVENTS | OWN))


def _moments(seconds: np.ndarray) -> pa.Array:
    import pyarrow as pa

    return pa.array(seconds * _MICROSECONDS).view(pa.timestamp("us"))


def _words(numbers: np.ndarray, words: list[str]) -> pa.DictionaryArray:
    """Words by their numbers, null for a number below 0; the dictionary holds those that occur, in their order."""
    import pyarrow as pa

    found = np.flatnonzero(np.bincount(numbers + 1, minlength=len(words) + 1)[1:])
    places = np.full(len(words) + 1, -1, np.int32)
    places[found] = np.arange(len(found), dtype=np.int32)
    codes = places[numbers]
    indices = pa.array(codes, mask=codes < 0) if len(found) and codes.min() < 0 else pa.array(codes)
    if not len(found):
        indices = pa.nulls(len(numbers), pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array([words[at] for at in found.tolist()], pa.string()))


def _hours_outside(time: np.ndarray, place: np.ndarray, bearings: Bearings) -> pa.Array:
    """Hours before the admission (negative) or after discharge; 0 between, null without an admission."""
    import pyarrow as pa

    admitted, discharged = bearings.admitted[place], bearings.discharged[place]
    linked = admitted != MISSING
    outside = np.zeros(len(time), np.int64)
    before = linked & (time < admitted)
    after = linked & ~before & (discharged != MISSING) & (time > discharged)
    for rows, bound in ((np.flatnonzero(before), admitted), (np.flatnonzero(after), discharged)):
        outside[rows] = time[rows] - bound[rows]
    return pa.array((outside / 3600).astype(np.float32), mask=~linked)
