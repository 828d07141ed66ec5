"""The total order of events, by content alone: of rows in any order, from any number of parts, one sequence.

Events are put aside by range of subject id while they are read, in parts that fit in memory; each part is sorted by
one whole number a row that holds subject, time, known time and kind, and only rows that agree in all of these are
compared further: by value, text, source row, admission and table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medai.sources.relational.bearings import Kinds, Places
from medai.sources.relational.events import Events
from medai.sources.relational.times import MISSING

_SUBJECT_BITS = 63
_MINUTE = 60
_IN_CACHE = 1 << 14
ROWS_HELD = 1 << 21
"""Rows that wait in memory at most before they are put into files: some 100 MB."""
_LARGEST = 63
"""Bits of a sorting number."""


class Bearings(NamedTuple):
    """What the numbers of places and kinds stand for once all are known, as arrays.

    Attributes:
        subject: place → subject_id.
        subject_rank: place → rank of its subject_id.
        place_rank: place → rank by subject_id, admission_id (none first) and link; equal where all three are.
        admission: place → admission_id, ``MISSING`` for none.
        link: place → position in ``LINKS``.
        admitted, discharged: place → seconds, ``MISSING`` where the row is not linked to an admission.
        codes: all codes, sorted.
        code: kind → position in ``codes``.
        rank: kind → rank by priority and code.
        tables: all tables, sorted.
        table: kind → position in ``tables``.
        variables: all variables, as the vocabulary orders them.
        variable: kind → position in ``variables``, -1 for none.
    """

    subject: np.ndarray
    subject_rank: np.ndarray
    place_rank: np.ndarray
    admission: np.ndarray
    link: np.ndarray
    admitted: np.ndarray
    discharged: np.ndarray
    codes: list[str]
    code: np.ndarray
    rank: np.ndarray
    tables: list[str]
    table: np.ndarray
    variables: list[str]
    variable: np.ndarray

    @classmethod
    def of(cls, places: Places, kinds: Kinds) -> Bearings:
        """The bearings of everything that was met."""
        subject, admission, link, admitted, discharged = places.stands()
        own = admission != MISSING
        codes = sorted({one.code for one in kinds.met})
        tables = sorted({one.table for one in kinds.met})
        code_at = {code: at for at, code in enumerate(codes)}
        table_at = {table: at for at, table in enumerate(tables)}
        code = np.array([code_at[one.code] for one in kinds.met], np.int64)
        recipes = kinds.recipes()
        return cls(
            subject,
            _ranks([subject]),
            _ranks([subject, admission, link]),
            admission,
            link,
            np.where(own, admitted, MISSING),
            np.where(own, discharged, MISSING),
            codes,
            code,
            _ranks([recipes.priority.astype(np.int64), code]),
            tables,
            np.array([table_at[one.table] for one in kinds.met], np.int64),
            kinds.variables,
            recipes.variable,
        )


def _ranks(keys: list[np.ndarray]) -> np.ndarray:
    """Each element's rank by the keys, the first counting most; equal elements share one, and none is left out."""
    if not len(keys[0]):
        return np.empty(0, np.int64)
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), bool)
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum(new)
    return ranks


class Parts:
    """Events by range of subject id: in memory while they are few, else in files of their owner alone.

    Args:
        folder: for the files.
        count: how many parts.
        places: of the events.
        held: rows that stay in memory at most.
    """

    def __init__(self, folder: Path, count: int, places: Places, held: int = ROWS_HELD) -> None:
        self._folder = folder
        self._count = count
        self._places = places
        self._most_held = held
        self._part_of = np.empty(0, np.int64)
        self._batches: dict[int, list[Events]] = {}
        self._held = 0
        self._files: dict[int, tuple[Any, Any]] = {}

    def add(self, events: Events) -> None:
        """Put some events aside."""
        rows = len(events.place)
        if not rows:
            return
        if self._count == 1:
            self._batches.setdefault(0, []).append(events)
            return
        parts = self._parts_of(events.place)
        changes = np.flatnonzero(parts[1:] != parts[:-1]) + 1
        if len(changes) > 2 * self._count:
            order = np.argsort(parts.astype(np.uint16), kind="stable")
            events, parts = taken(events, order), parts[order]
            changes = np.flatnonzero(parts[1:] != parts[:-1]) + 1
        for begin, end in pairwise([0, *changes.tolist(), rows]):
            self._batches.setdefault(int(parts[begin]), []).append(sliced(events, begin, end))
        self._held += rows
        if self._held > self._most_held:
            self._write()

    def each(self) -> Iterator[Callable[[], Events]]:
        """The parts in order of subject id, each to be loaded once."""
        for stream, file in self._files.values():
            stream.close()
            file.close()
        for part in sorted({*self._files, *self._batches}):
            path = self._path(part) if part in self._files else None
            yield partial(_gathered, path, self._batches.pop(part, []))

    def _parts_of(self, places: np.ndarray) -> np.ndarray:
        known = len(self._part_of)
        if known < len(self._places):
            width = -(-(1 << _SUBJECT_BITS) // self._count)
            new = np.maximum(self._places.stands(known).subject_id, 0) // width
            self._part_of = np.concatenate([self._part_of, new])
        parts: np.ndarray = self._part_of[places]
        return parts

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:05}.arrow"

    def _write(self) -> None:
        """Move what is held into the parts' files."""
        import pyarrow as pa

        for part, batches in self._batches.items():
            batch = pa.record_batch(list(joined(batches)), names=list(Events._fields))
            if part not in self._files:
                file = self._path(part).open("wb")
                packed = pa.ipc.IpcWriteOptions(compression="lz4")  # writing less takes less time than packing
                self._files[part] = pa.ipc.new_stream(file, batch.schema, options=packed), file
            self._files[part][0].write_batch(batch)
        self._batches, self._held = {}, 0


def _gathered(path: Path | None, batches: list[Events]) -> Events:
    """A part from its file and from memory."""
    return joined([*([_loaded(path)] if path is not None else []), *batches])


def _loaded(path: Path) -> Events:
    import pyarrow as pa

    with path.open("rb") as file:
        table = pa.ipc.open_stream(file).read_all()
    path.unlink()
    text = table["text"].combine_chunks()
    arrays = {name: table[name].to_numpy() for name in Events._fields if name != "text"}
    return Events(**arrays, text=text)


def joined(batches: list[Events]) -> Events:
    """Several batches as one."""
    import pyarrow as pa

    if len(batches) == 1:
        return batches[0]

    arrays = {
        name: np.concatenate([getattr(one, name) for one in batches]) for name in Events._fields if name != "text"
    }
    return Events(**arrays, text=pa.concat_arrays([one.text for one in batches]))


def taken(events: Events, rows: np.ndarray) -> Events:
    """These rows, in this order."""
    arrays = {name: getattr(events, name)[rows] for name in Events._fields if name != "text"}
    text = events.text
    if text.null_count == len(text):
        return Events(**arrays, text=text.slice(0, len(rows)))
    import pyarrow as pa

    return Events(**arrays, text=text.take(pa.array(rows)))


def sliced(events: Events, begin: int, end: int) -> Events:
    """The rows from ``begin`` to before ``end``."""
    arrays = {name: getattr(events, name)[begin:end] for name in Events._fields if name != "text"}
    return Events(**arrays, text=events.text.slice(begin, end - begin))


def in_order(events: Events, bearings: Bearings) -> tuple[Events, int]:
    """The events in the total order; of rows that are equal in everything one.

    Returns:
        the events, and how many equal rows were left out.
    """
    if not len(events.place):
        return events, 0
    order, tied = _order(events, bearings)
    events = taken(events, order)
    rows = np.flatnonzero(tied)
    if not len(rows):
        return events, 0
    # Runs of rows that agree so far: each is put in order within its own places.
    runs = np.cumsum(np.concatenate([[True], rows[1:] != rows[:-1] + 1]) | ~_joins(events, bearings, rows))
    chosen = taken(events, rows)
    settled, same = _settled(chosen, runs, bearings)
    order = np.arange(len(events.place))
    order[rows] = rows[settled]
    again = np.zeros(len(order), bool)
    again[rows] = same
    if np.array_equal(order[rows], rows) and not same.any():
        return events, 0
    kept = order[~again]
    return taken(events, kept), int(same.sum())


def _order(events: Events, bearings: Bearings) -> tuple[np.ndarray, np.ndarray]:
    """Rows by subject, time, known time, priority and code, and which of these rows agree with a neighbour in all."""
    bounds = _Bounds.of(events, bearings)
    if sum(bounds.bits) <= _LARGEST:
        key = np.empty(len(events.place), np.int64)
        for at in _pieces(len(key)):
            packed = bearings.subject_rank[events.place[at]]
            packed -= bounds.subject
            for more, bits in zip(bounds.keys(events, bearings, at), bounds.bits[1:], strict=True):
                packed <<= bits
                packed |= more
            key[at] = packed
        order = np.argsort(key, kind="quicksort")  # ties are settled by content
        same = np.empty(len(order) - 1, bool)
        for at in _pieces(len(same)):
            ordered = key[order[at.start : at.stop + 1]]
            same[at] = ordered[1:] == ordered[:-1]
    else:
        keys = (bearings.rank[events.kind], events.known_time, events.time, bearings.subject_rank[events.place])
        order = np.lexsort(keys)
        same = np.ones(len(order) - 1, bool)
        for key in keys:
            same &= key[order][1:] == key[order][:-1]
    tied = np.zeros(len(order), bool)
    tied[1:] |= same
    tied[:-1] |= same
    return order, tied


def _pieces(rows: int) -> Iterator[slice]:
    """The rows some thousand at a time: what is computed of them in between stays in the processor's cache."""
    for begin in range(0, rows, _IN_CACHE):
        yield slice(begin, min(begin + _IN_CACHE, rows))


class _Bounds(NamedTuple):
    """Where the sorting keys of a part begin, and how many bits each takes.

    Attributes:
        subject, time: the least rank and time.
        unit: seconds that all times and delays are multiples of: 60 or 1.
        bits: of subject, time, delay until known, and kind.
    """

    subject: int
    time: int
    unit: int
    bits: tuple[int, int, int, int]

    @classmethod
    def of(cls, events: Events, bearings: Bearings) -> _Bounds:
        ranks: list[int] = []
        begin, end, longest, unit = int(events.time.min()), int(events.time.max()), 0, _MINUTE
        for at in _pieces(len(events.place)):
            rank = bearings.subject_rank[events.place[at]]
            ranks += [int(rank.min()), int(rank.max())]
            delay = events.known_time[at] - events.time[at]
            longest = max(longest, int(delay.max()))
            if unit == _MINUTE and not (_whole_minutes(events.time[at]) and _whole_minutes(delay)):
                unit = 1
        begin = begin // unit * unit
        largest = (max(ranks) - min(ranks), (end - begin) // unit, longest // unit, int(bearings.rank.max()))
        subject, time, delay_bits, kind = (number.bit_length() for number in largest)
        return cls(min(ranks), begin, unit, (subject, time, delay_bits, kind))

    def keys(self, events: Events, bearings: Bearings, at: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Time, delay and kind of some rows as numbers from 0."""
        time, delay = events.time[at] - self.time, events.known_time[at] - events.time[at]
        if self.unit > 1:
            time //= self.unit
            delay //= self.unit
        return time, delay, bearings.rank[events.kind[at]]


def _whole_minutes(seconds: np.ndarray) -> bool:
    return np.array_equal(seconds // _MINUTE * _MINUTE, seconds)


def _joins(events: Events, bearings: Bearings, rows: np.ndarray) -> np.ndarray:
    """Whether each of these rows agrees with the one before it among them in subject, times, priority and code."""
    place, kind = events.place[rows], events.kind[rows]
    keys = (bearings.subject_rank[place], events.time[rows], events.known_time[rows], bearings.rank[kind])
    agrees = np.zeros(len(rows), bool)
    agrees[1:] = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return agrees


def _settled(events: Events, runs: np.ndarray, bearings: Bearings) -> tuple[np.ndarray, np.ndarray]:
    """The order of tied rows, and which of them, in that order, repeat the one before."""
    import polars as pl

    frame = pl.DataFrame(
        {
            "run": runs,
            "value": pl.Series(events.value).fill_nan(None),
            "text": pl.Series(events.text),
            "source_row": events.source_row,
            "place": bearings.place_rank[events.place],
            "table": bearings.table[events.kind],
        }
    )
    ordered = frame.with_row_index("at").sort(frame.columns, nulls_last=False)
    same = ordered.select(
        pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in frame.columns)
    ).to_series()
    again = same.fill_null(False).to_numpy().copy()
    again[0] = False
    return ordered["at"].to_numpy().astype(np.int64), again
