"""What a table says of each picture, and where the picture lies; no picture is opened.

A path is relative to the folder of the table, and never leaves it. Messages name a row by its number (the header is
row 1) and a column by its name, never a path, a patient or a cell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from medai.errors import DataRefused, near_match
from medai.sources.ages import years_of
from medai.sources.files import look, other_kind, what_is

if TYPE_CHECKING:
    from medai.sources.image_table import Columns

ROLES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
MOST_LEVELS = 50
"""Levels of a text attribute; a column with more is no group, and may tell who somebody is."""
_KINDS = {".csv": what_is(b"text"), ".gz": what_is(b"\x1f\x8b"), ".parquet": what_is(b"PAR1")}
_WHOLE = re.compile(r"-?[0-9]{1,15}(\.0*)?")
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{0,15})?([eE][-+]?[0-9]{1,2})?")
_DRIVE = re.compile(r"[A-Za-z]:")

Attribute = Literal["text", "number", "age"]
Value = str | float | int | None


class Listed(NamedTuple):
    """A row of the table.

    Attributes:
        path: where the picture lies.
        place: the same below the table's folder, in one spelling.
        subject: the site's own; None where the cell is empty.
        role: the publisher's; None where no column tells.
        time: microseconds since 1970; None where no column tells, or the cell is empty.
        labels: label column → whole number; None where the cell is empty.
        attributes: attribute column → its value; None where the cell is empty or no such value.
    """

    path: Path
    place: str
    subject: str | None
    role: str | None
    time: int | None
    labels: dict[str, int | None]
    attributes: dict[str, Value]


class Listing(NamedTuple):
    """The rows in the table's order, what was noticed, and how many rows were left out for a fault of theirs."""

    rows: list[Listed]
    counts: dict[str, int]
    dropped: int


def find_table(name: str, folder: Path) -> Path:
    """The table in the data's folder.

    Raises:
        DataRefused: there is no such folder or table, or it is of another type than its name says.
    """
    received = look(folder)
    if received != "folder":
        raise other_kind("the data path", "the folder that holds the table and the pictures", received)
    table = folder / name
    received = look(table, f"the table {name}")
    if received != _KINDS[table.suffix.lower()]:
        raise other_kind(f"the table {name}", _KINDS[table.suffix.lower()], received)
    if table.is_symlink() and not table.resolve().is_relative_to(folder.resolve()):
        raise other_kind(f"the table {name}", "a file in the data's folder", "a link that leaves it")
    return table


def read_listing(name: str, columns: Columns, folder: Path) -> Listing:
    """Every row that names a picture of its own in the folder.

    A row is left out and counted where its path has control characters (a line end in a name), leads to nothing, or
    where two rows differ about one picture; rows that are equal in everything are one.

    Raises:
        DataRefused: the table cannot be read or lacks a column, a path leaves the folder, a label or role is not one of
            those that the Problem names, or a text attribute has too many levels.
    """
    from medai.sources.relational.csv_text import read_whole

    table = find_table(name, folder)
    wanted = columns.all
    frame = read_whole(name, table, tuple(one.lower() for one in wanted), "", Counter())
    root = folder.resolve()
    reader = _Reader(columns)
    kept: dict[Path, Listed] = {}
    disputed: set[Path] = set()
    dropped: Counter[str] = Counter()
    same = 0
    for number, cells in enumerate(frame.iter_rows(), start=2):
        row = dict(zip(wanted, (cell.strip() for cell in cells), strict=True))
        text = cells[0].strip(" ")  # a line end at a path's end is part of it
        if not text or not text.isprintable():
            dropped["path_cannot_be_read"] += 1
            continue
        place = _place(text, number)
        path = root / place
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # to nothing, or in a circle
            dropped["file_is_missing"] += 1
            continue
        if not real.is_relative_to(root):
            raise _leaves(number, "a link that leaves the folder")
        if not real.is_file():
            dropped["file_is_missing"] += 1
            continue
        listed = reader.read(row, number, path, place.as_posix())
        if real in kept and _content(kept[real]) != _content(listed):
            disputed.add(real)
        same += real in kept
        kept.setdefault(real, listed)
    if disputed:
        dropped["rows_that_differ_about_a_picture"] = len(disputed)
    rows = [listed for real, listed in kept.items() if real not in disputed]
    if not rows:
        raise DataRefused(
            f"table {name} names no picture of the folder",
            expected=f"paths of pictures in the column {columns.path}",
            received=f"{frame.height} rows, none of which can be kept",
            action="correct the paths, or point --data at the table's own folder",
        )
    reader.check_levels(rows)
    counts = dropped + Counter({"same_picture_twice": same}) + reader.counts
    return Listing(rows, {reason: count for reason, count in sorted(counts.items()) if count}, dropped.total())


def _content(row: Listed) -> tuple[object, ...]:
    return row.subject, row.role, row.time, row.labels, row.attributes


def _place(text: str, number: int) -> PurePosixPath:
    """A relative path in one spelling.

    Raises:
        DataRefused: it is absolute, or climbs.
    """
    place = PurePosixPath(text.replace("\\", "/"))
    if place.is_absolute() or _DRIVE.match(text):
        raise _leaves(number, "an absolute path")
    if ".." in place.parts:
        raise _leaves(number, "a path with '..'")
    return place


def _leaves(number: int, received: str) -> DataRefused:
    return DataRefused(
        f"row {number} of the table leads out of the data's folder",
        expected="paths relative to the table's folder, to files inside it",
        received=received,
        action="have the table written anew; nothing was read",
    )


class _Reader:
    """Cells to values, by what the Problem says of each column."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._words = {name: _numbers(words) for name, words in columns.labels.items()}
        self.counts: Counter[str] = Counter()

    def read(self, row: Mapping[str, str], number: int, path: Path, place: str) -> Listed:
        columns = self._columns
        return Listed(
            path=path,
            place=place,
            subject=None if columns.subject is None else row[columns.subject] or None,
            role=None if columns.role is None else self._role(row[columns.role], number),
            time=None if columns.time is None else self._time(row[columns.time]),
            labels={name: self._label(name, row[name], number) for name in columns.labels},
            attributes={name: self._attribute(name, kind, row[name]) for name, kind in columns.attributes.items()},
        )

    def _role(self, cell: str, number: int) -> str | None:
        if cell and cell.lower() not in ROLES:
            raise _unknown(number, str(self._columns.role), cell, list(ROLES))
        return ROLES.get(cell.lower())

    def _label(self, name: str, cell: str, number: int) -> int | None:
        if not cell:
            return None
        words = self._words[name]
        if words is None:
            if _WHOLE.fullmatch(cell) is None:
                raise _unknown(
                    number, name, "", ["whole numbers; name the words of this label in the Problem's source"]
                )
            return int(float(cell))
        if (label := words.get(cell.casefold())) is None:
            raise _unknown(number, name, cell.casefold(), list(words))
        return label

    def _time(self, cell: str) -> int | None:
        if not cell:
            return None
        try:
            moment = datetime.fromisoformat(cell).replace(tzinfo=UTC)
        except ValueError:
            self.counts["time_cannot_be_read"] += 1
            return None
        return int(moment.timestamp()) * 1_000_000 + moment.microsecond

    def _attribute(self, name: str, kind: Attribute, cell: str) -> Value:
        value: Value = cell or None
        if kind == "age":
            value = years_of(cell)
        elif kind == "number" and cell:
            value = float(cell) if _NUMBER.fullmatch(cell) else None
        self.counts[f"not_recorded_{name}"] += value is None
        return value

    def check_levels(self, rows: list[Listed]) -> None:
        """Refuse a text that is no group.

        Raises:
            DataRefused: there are more levels than a group has.
        """
        for name, kind in self._columns.attributes.items():
            if kind == "text" and len({row.attributes[name] for row in rows}) > MOST_LEVELS:
                raise DataRefused(
                    f"attribute {name} has more levels than a group",
                    expected=f"a column of at most {MOST_LEVELS} different texts",
                    received="more: it may tell who somebody is",
                    action="leave it out of the attributes, or declare it as number or age",
                )


def _numbers(words: tuple[str, ...] | Literal["number"]) -> dict[str, int] | None:
    """Word → label; None for a column of whole numbers."""
    return None if words == "number" else {word.casefold(): label for label, word in enumerate(words)}


def _unknown(number: int, column: str, cell: str, known: list[str]) -> DataRefused:
    return DataRefused(
        f"row {number} of the table: column {column} holds a word that the Problem does not name",
        expected=", ".join(known),
        received=f"another one; {near_match(cell, known)}",
        action="correct the table, or the words in the Problem's source",
    )
