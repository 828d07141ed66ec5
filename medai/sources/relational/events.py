"""Rows of an event table to canonical events, by rules that hold for every table.

- A code is prefix, the words of its columns and the recorded unit, joined by ``//``; ``UNK`` for an empty one, as
  public MEDS data have it.
- A row may say several things (an infusion's rate at its start, its amount at its end): an event each.
- The number is the publisher's own; where there is none, the text's, if it is a plain decimal number. A comparison
  (``<0.01``, ``GREATER THAN 500``) is no number, whatever stands beside it. What 32 bits cannot hold is none.
- A reading of a clinical variable is converted to the variable's unit; scores that are written as words become numbers.
- What is no number keeps its text.
- ``known_time`` is the later of time and stored time; without a stored time it is the time plus the table's delay. What
  has a date alone stands at its begin and is known at its end. What is coded when the admission ends is known then.
- A row whose time cannot be read or lies in an impossible year cannot be placed: it is counted and left out, and so is
  a row without patient or item, and one that the publisher marks as an error.
- How a row lies to its admission is measured, and judged by validation.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.errors import DataRefused
from medai.sources.relational.bearings import Kind, Kinds, Places, combined
from medai.sources.relational.identity import plain_number, whole_numbers
from medai.sources.relational.mapping import DISCHARGE, Entry, EventTable, Mapping
from medai.sources.relational.times import DAY, MISSING, seconds_of
from medai.vocabularies import Recipe, Vocabulary

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

OWN = {
    "source_table": "string",
    "admission_id": "int64",
    "link": "string",
    "hours_outside_admission": "float32",
}
"""An event's own columns. ``link``: ``admission``; ``none`` (the row names none); ``other_patient`` (the admission is
somebody else's); ``unknown_admission``; ``unknown_patient``. ``hours_outside_admission`` is negative before the
admission, positive after discharge, 0 between; null where the row is not linked to one."""

MOST_UNPLACED = 0.2
"""Largest share of a table's rows whose time, or stored time, may be unreadable; beyond it the table as a whole cannot
be trusted."""
NO_ROW = -1
_LARGEST_FLOAT32 = 3.4028234663852886e38
_LARGEST_INT32 = (1 << 31) - 1
_COMPARISON = r"(?i)^[\s\pZ]*(<|>|less than|greater than)"
_UNKNOWN = "UNK"


class Events(NamedTuple):
    """Some events as arrays of one length.

    Attributes:
        place, kind: int32, numbers of ``Places`` and ``Kinds``.
        time, known_time: int64, seconds since 1970.
        value: float32 in the variable's unit, NaN where the reading is no number.
        text: Arrow large strings, null where it is one.
        source_row: int32, the publisher's number of the row; ``NO_ROW`` where it has none.
    """

    place: np.ndarray
    kind: np.ndarray
    time: np.ndarray
    known_time: np.ndarray
    value: np.ndarray
    text: pa.Array
    source_row: np.ndarray


class EventReader:
    """One event table's rows to events, batch by batch; batches may be read by several threads at once.

    Args:
        name: the table.
        table: its description.
        delay_minutes: in place of the description's own.
        mapping, vocabulary: of the source.
        places, kinds: what all tables share.
        counts: what was settled by a rule is counted here.

    Attributes:
        columns: the columns to read, in lower case.
        words: those of them that hold few distinct texts, which are read once each.
        dropped: rows that were left out because of a fault of theirs.
    """

    def __init__(
        self,
        name: str,
        table: EventTable,
        delay_minutes: int,
        mapping: Mapping,
        vocabulary: Vocabulary,
        places: Places,
        kinds: Kinds,
        counts: Counter[str],
    ) -> None:
        self._name = name
        self._table = table
        self._delay = delay_minutes * 60
        self._mapping = mapping
        self._vocabulary = vocabulary
        self._places = places
        self._kinds = kinds
        self._counts = counts
        self._subject = mapping.patients.columns["subject"]
        self._items = {str(item): name for item, name in vocabulary.items_of(mapping.source, name).items()}
        self._scores = {
            name: dict(variable.texts)
            for name, variable in vocabulary.variables.items()
            if variable.texts and name in self._items.values()
        }
        self._percent = {name: one.percent_above for name, one in vocabulary.variables.items() if one.percent_above}
        self._lock = Lock()
        self._rows = 0
        self._unplaced = 0
        self._unstored = 0
        self.dropped = 0
        self.columns = table.columns(self._subject)
        timed = {self._subject, table.admission, table.stored, table.row}
        timed |= {column for entry in table.entries for column in (entry.time, entry.date)}
        self.words = tuple(column for column in self.columns if column not in timed)

    def canonical(self, rows: pa.Table) -> list[Events]:
        """The events of some rows: what the table says first, then what else it says, each in the rows' order.

        Args:
            rows: the ``columns``, texts without nulls; those of ``words`` as dictionaries.
        """
        noticed, columns = Counter[str](), _Columns(rows)
        for column, values in self._table.left_out.items():
            marks = columns.words(column)
            unknown = ~(marks.are((*values, "0")) | (marks.codes == marks.blank))
            noticed[f"unknown_mark_{self._name}"] += int(unknown.sum())
            columns = columns.kept(~marks.are(values), noticed, f"marked_as_error_{self._name}")
        subjects = columns.whole_numbers(self._subject)
        named = columns.whole_numbers(self._table.admission)
        shared = _Shared(
            columns,
            subjects != MISSING,
            self._places.of(subjects, named),
            self._stored(columns, noticed),
            columns.whole_numbers(self._table.row),
            np.logical_or.reduce([columns.words(column).written for column in self._table.code]),
        )
        found = [self._events(shared, entry, noticed, first=at == 0) for at, entry in enumerate(self._table.entries)]
        with self._lock:
            self._rows += rows.num_rows
            self._unplaced += noticed.pop("unplaced", 0)
            self._unstored += noticed[f"impossible_stored_time_{self._name}"]
            self.dropped += noticed.pop("dropped", 0)
            self._counts.update(noticed)
        return found

    def finish(self) -> None:
        """Judge the table as a whole.

        Raises:
            DataRefused: too many of its rows cannot be placed in time.
        """
        self._counts[f"no_rows_{self._name}"] += not self._rows
        self._refuse(self._unplaced, self._table.time or self._table.date)
        self._refuse(self._unstored, self._table.stored)

    def _refuse(self, unreadable: int, column: str | None) -> None:
        """Refuse a table most times of which cannot be read: what was known when could not be told."""
        if unreadable > MOST_UNPLACED * self._rows:
            raise DataRefused(
                f"table {self._name}, column {column}: "
                + ("most" if unreadable * 2 > self._rows else "too many")
                + " times cannot be read",
                expected="YYYY-MM-DD HH:MM:SS with years from "
                f"{self._mapping.earliest} to {self._mapping.latest}, in {1 - MOST_UNPLACED:.0%} of the rows at least",
                received=f"{unreadable} of {self._rows} rows with another form, as spreadsheets leave behind",
                action="fetch the table again from its publisher",
            )

    def _discharged(self, places: np.ndarray) -> np.ndarray:
        """The end of the admission that each row names."""
        return self._places.discharged(places)

    def _stored(self, columns: _Columns, noticed: Counter[str]) -> np.ndarray | None:
        """When rows were stored; one that cannot be read is counted, and the table's delay stands in its place."""
        if self._table.stored is None or self._table.stored == DISCHARGE:
            return None
        times, unreadable = seconds_of(columns.texts(self._table.stored), self._mapping)
        if unreadable:
            noticed[f"impossible_stored_time_{self._name}"] += unreadable
        return times

    def _times(self, shared: _Shared, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """``time``, and when an event without a stored time counts as known but for the table's delay."""
        if entry.time == DISCHARGE:
            ends = self._discharged(shared.places)
            return ends, ends
        times = seconds_of(shared.columns.texts(entry.time), self._mapping)[0] if entry.time else None
        if entry.date is None:
            assert times is not None  # noqa: S101 - an entry has a time or a date
            return times, times
        days = seconds_of(shared.columns.texts(entry.date), self._mapping, dates=True)[0]
        known = days != MISSING
        days = np.where(known, days // DAY * DAY, MISSING)
        ends = np.where(known, days + DAY, MISSING)
        if entry.time is None or times is None:
            return days, ends
        written = shared.columns.words(entry.time).written
        return np.where(written, times, days), np.where(written, times, ends)

    def _events(self, shared: _Shared, entry: Entry, noticed: Counter[str], *, first: bool) -> Events:
        """One event a row, as the entry says; the table's own entry judges the rows, and alone measures variables."""
        table, columns = self._table, shared.columns
        time, settled = self._times(shared, entry)
        stored = shared.stored
        if table.stored == DISCHARGE:  # without its end, nobody can say when the admission was coded
            stored = self._discharged(shared.places)
            time = np.where(stored == MISSING, MISSING, time)
        said = np.ones(len(time), bool)
        if not first:
            said_in = [column for column in (entry.number, entry.text) if column]
            said_in = said_in or [column for column in (entry.time, entry.date) if column][:1]
            said = np.logical_or.reduce([columns.words(column).written for column in said_in])
        placed = said & (time != MISSING)
        unplaced = int(said.sum() - placed.sum())
        if first or entry.time != table.time:  # a row's faults are counted once
            noticed[f"impossible_time_{self._name}"] += unplaced
            noticed["dropped"] += unplaced
        if first:
            noticed["unplaced"] += unplaced
            for good, reason in ((shared.owned, "row_without_subject"), (shared.coded, "row_without_item")):
                lost = int((placed & ~good).sum())
                placed &= good
                noticed[f"{reason}_{self._name}"] += lost
                noticed["dropped"] += lost
        else:
            placed &= shared.owned & shared.coded
        chosen = None if placed.all() else np.flatnonzero(placed)
        kind = self._kind(shared, entry, chosen, noticed, first=first)
        value, text = self._readings(columns, entry, kind, chosen)

        def of(array: np.ndarray) -> np.ndarray:
            return array if chosen is None else array[chosen]

        time, settled = of(time), of(settled) + self._delay
        if stored is not None:
            stored = of(stored)
            settled = np.where(stored == MISSING, settled, stored)
        rows = of(shared.rows)
        numbered = (rows >= 0) & (rows <= _LARGEST_INT32)
        return Events(
            of(shared.places),
            kind,
            time,
            np.maximum(time, settled),
            value,
            text,
            np.where(numbered, rows, NO_ROW).astype(np.int32),
        )

    def _kind(
        self, shared: _Shared, entry: Entry, chosen: np.ndarray | None, noticed: Counter[str], *, first: bool
    ) -> np.ndarray:
        """The number of each chosen row's kind; each distinct combination of words is looked at once."""
        named = [*self._table.code, *([entry.unit] if entry.unit is not None else [])]
        words = [shared.columns.words(column) for column in named]
        codes = [one.codes if chosen is None else one.codes[chosen] for one in words]
        if not len(codes[0]):
            return np.empty(0, np.int32)
        which, firsts, times = combined([(code, len(one.distinct)) for code, one in zip(codes, words, strict=True)])
        texts = zip(
            *([one.distinct[at] for at in code[firsts].tolist()] for one, code in zip(words, codes, strict=True)),
            strict=True,
        )
        told, met = (self._name, entry.prefix, first), self._kinds.met
        numbers = np.empty(len(firsts), np.int32)
        for group, (text, count) in enumerate(zip(texts, times.tolist(), strict=True)):
            number = self._kinds.number((told, text))
            if number is None:
                number = self._kinds.add((told, text), self._new_kind(entry, text, first=first))
            if met[number].recipe.strange_unit:
                noticed["unit_of_another_quantity"] += count
            numbers[group] = number
        kinds: np.ndarray = numbers[which]
        return kinds

    def _new_kind(self, entry: Entry, texts: tuple[str, ...], *, first: bool) -> Kind:
        if self._table.dictionary is not None:  # its items are whole numbers, however they are written
            texts = (plain_number(texts[0]), *texts[1:])
        recipe, item = Recipe(None), texts[0]
        if first and item in self._items:
            unit = texts[-1] if entry.unit is not None else ""
            recipe = self._vocabulary.recipe(self._mapping.source, self._name, int(item), unit)
        return Kind(self._name, "//".join((entry.prefix, *(text or _UNKNOWN for text in texts))), recipe)

    def _readings(
        self, columns: _Columns, entry: Entry, kind: np.ndarray, chosen: np.ndarray | None
    ) -> tuple[np.ndarray, pa.Array]:
        """The chosen rows' numbers, and the texts of those that are none."""
        import pyarrow as pa

        rows = len(kind)
        sources = [columns.words(column) for column in (entry.number, entry.text) if column is not None]
        text = columns.words(entry.text) if entry.text is not None else None
        if not sources or not rows:
            return np.full(rows, np.nan, np.float32), pa.nulls(rows, pa.large_string())
        codes = [one.codes if chosen is None else one.codes[chosen] for one in sources]
        value = sources[0].numbers[codes[0]]
        if len(sources) > 1:  # the text speaks where the publisher gives no number
            silent = np.flatnonzero(~sources[0].is_number[codes[0]])
            value[silent] = sources[1].numbers[codes[1][silent]]
        with np.errstate(invalid="ignore"):
            value[~(np.abs(value) <= _LARGEST_FLOAT32)] = np.nan
        if text is not None:
            if text.compares.any():
                value[text.compares[codes[-1]]] = np.nan
            self._score(value, kind, text, codes[-1])
        self._convert(value, kind)
        blank = np.flatnonzero(np.isnan(value))
        with np.errstate(over="ignore"):
            # Minus nought is nought: equal readings must have equal bytes.
            return (value + 0.0).astype(np.float32), _texts(rows, blank, sources, codes)

    def _score(self, value: np.ndarray, kind: np.ndarray, text: _Words, codes: np.ndarray) -> None:
        """Put the numbers of scores that are written as words in their places."""
        variables = self._kinds.recipes().variable[kind]
        for name, scores in self._scores.items():
            known = text.scored(scores)
            if known is not None:
                rows = np.flatnonzero(variables == self._kinds.variables.index(name))
                found = known[codes[rows]]
                value[rows] = np.where(np.isnan(found), value[rows], found)

    def _convert(self, value: np.ndarray, kind: np.ndarray) -> None:
        """Bring readings of clinical variables to their variable's unit."""
        recipes = self._kinds.recipes()
        if recipes.converts.any():
            rows = np.flatnonzero(recipes.converts[kind])
            value[rows] = (value[rows] - recipes.subtract[kind[rows]]) * recipes.multiply[kind[rows]]
        for name, limit in self._percent.items():
            theirs = recipes.variable == self._kinds.variables.index(name)
            if theirs.any():
                rows = np.flatnonzero(theirs[kind])
                value[rows[value[rows] > limit]] /= 100


class _Shared(NamedTuple):
    """What all that a row says has in common.

    Attributes:
        columns: the rows.
        owned: the row names a patient.
        places: whose it is, and in which admission.
        stored: when it was stored; None where the table does not say.
        rows: the publisher's number, ``MISSING`` where there is none.
        coded: the row says what was measured or done.
    """

    columns: _Columns
    owned: np.ndarray
    places: np.ndarray
    stored: np.ndarray | None
    rows: np.ndarray
    coded: np.ndarray


class _Words:
    """A column of few distinct texts.

    Args:
        column: Arrow strings as a dictionary, without nulls.
    """

    def __init__(self, column: pa.DictionaryArray) -> None:
        self.codes: np.ndarray = column.indices.to_numpy(zero_copy_only=False)
        self.dictionary = column.dictionary
        self.distinct: list[str] = column.dictionary.to_pylist()

    def are(self, values: tuple[str, ...]) -> np.ndarray:
        """Rows that hold one of these texts; ``1.0`` is a ``1``."""
        found: np.ndarray = np.array([plain_number(text) in values for text in self.distinct], bool)[self.codes]
        return found

    @property
    def written(self) -> np.ndarray:
        """Rows that are not empty."""
        found: np.ndarray = self.codes != self.blank
        return found

    @cached_property
    def blank(self) -> int:
        """The code of the empty text; one that no row has where there is none."""
        return self.distinct.index("") if "" in self.distinct else len(self.distinct)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Each distinct text as a plain decimal number, NaN where it is none."""
        return self._parsed.to_numpy()

    @cached_property
    def is_number(self) -> np.ndarray:
        """Whether each distinct text is one; "NaN" is."""
        return self._parsed.is_not_null().to_numpy()

    @cached_property
    def _parsed(self) -> pl.Series:
        import polars as pl

        return pl.Series(self.dictionary).cast(pl.Float64, strict=False)

    @cached_property
    def compares(self) -> np.ndarray:
        """Whether each distinct text is a comparison, such as ``<0.01``."""
        import pyarrow.compute as pc

        found: np.ndarray = pc.match_substring_regex(self.dictionary, _COMPARISON).to_numpy(zero_copy_only=False)
        return found

    @cached_property
    def _folded(self) -> list[str]:
        import pyarrow.compute as pc

        folded: list[str] = pc.utf8_lower(pc.utf8_trim_whitespace(self.dictionary)).to_pylist()
        return folded

    def scored(self, scores: dict[str, float]) -> np.ndarray | None:
        """Each distinct text's number among these scores (in lower case), NaN where it has none; None if none has."""
        known = [(at, scores[text]) for at, text in enumerate(self._folded) if text in scores]
        if not known:
            return None
        numbers = np.full(len(self._folded), np.nan)
        for at, score in known:
            numbers[at] = score
        return numbers


class _Columns:
    """Some rows of a table, each column asked for as what it is."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._words: dict[str, _Words] = {}

    def texts(self, name: str | None) -> pa.Array:
        """A column as Arrow strings."""
        import pyarrow as pa

        column = self._rows[name].combine_chunks()
        return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column

    def words(self, name: str) -> _Words:
        """A column as its distinct texts."""
        import pyarrow as pa

        found = self._words.get(name)
        if found is None:
            column = self._rows[name].combine_chunks()
            found = _Words(column if pa.types.is_dictionary(column.type) else column.dictionary_encode())
            self._words[name] = found
        return found

    def whole_numbers(self, name: str | None) -> np.ndarray:
        """A column's whole numbers, int64; ``MISSING`` where there is none, or no such column."""
        import polars as pl

        if name is None:
            return np.full(self._rows.num_rows, MISSING)
        numbers = whole_numbers(pl.Series(self.texts(name)))
        return (numbers.fill_null(int(MISSING)) if numbers.null_count() else numbers).to_numpy()

    def kept(self, good: np.ndarray, noticed: Counter[str], reason: str) -> _Columns:
        """The good rows; the others are counted."""
        import pyarrow as pa

        lost = len(good) - int(good.sum())
        if not lost:
            return self
        noticed[reason] += lost
        return _Columns(self._rows.filter(pa.array(good)))


def _texts(rows: int, blank: np.ndarray, sources: list[_Words], codes: list[np.ndarray]) -> pa.Array:
    """Large strings, null but in the blank rows: the last source's text, or where it is empty the first one's."""
    import pyarrow as pa

    if not len(blank):
        return pa.nulls(rows, pa.large_string())
    last, first = sources[-1], sources[0]
    code = codes[-1][blank]
    written = code != last.blank
    words = last.dictionary
    if last is not first:
        words = pa.concat_arrays([last.dictionary, first.dictionary])
        other = codes[0][blank]
        code = np.where(written, code, other + len(last.distinct))
        written |= other != first.blank
    absent, places = np.ones(rows, bool), np.zeros(rows, np.int32)
    absent[blank], places[blank] = ~written, code
    return words.take(pa.array(places, mask=absent)).cast(pa.large_string())
