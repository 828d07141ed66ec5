"""Labels of DICOM pictures: a CSV or Parquet table beside them, joined by an identifier of the file or by its place."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.errors import DataRefused
from medai.sources.dicom.headers import Facts
from medai.sources.files import look, other_kind, what_is

if TYPE_CHECKING:
    from medai.sources.dicom import LabelTable

_PARQUET = what_is(b"PAR1")
_TEXT = what_is(b"a text")
_UNTOLD = frozenset({"", "na", "nan", "null", "none"})
Values = tuple[int | None, ...]


class Labels(NamedTuple):
    """Key → a value a label column, None where untold; and how many keys are told twice, each time otherwise."""

    values: Mapping[str, Values]
    contradicted: int


def key_of(kind: str, place: str, facts: Facts | None) -> str | None:
    """What a picture is called in the table: an identifier of its file, or its place below the data."""
    if kind == "file":
        return composed(place)
    told = {
        "SOPInstanceUID": facts and facts.sop,
        "StudyInstanceUID": facts and facts.study,
        "SeriesInstanceUID": facts and facts.series,
        "AccessionNumber": facts and facts.accession,
        "PatientID": facts and facts.patient,
    }
    return told[kind] or None


def composed(text: str) -> str:
    """A key in one spelling: Unicode's NFC, without blanks around it."""
    return unicodedata.normalize("NFC", text.strip())


def labels_of(table: LabelTable, path: Path) -> Labels:
    """Read a table of labels.

    Args:
        path: the table.

    Raises:
        DataRefused: it is missing, damaged, lacks a column or has one twice, or a value is no class number.
    """
    received = look(path, "the table of labels")
    names = (table.column or table.key, *table.columns)
    if received == _PARQUET:
        rows = _parquet_rows(path, names)
    elif received == _TEXT:
        rows = _csv_rows(path, names)
    else:
        raise other_kind("the table of labels", "a CSV or a Parquet file", received)
    values: dict[str, Values] = {}
    contradicted = set()
    for number, (key, *cells) in rows:
        if not (name := composed(key)):
            raise _refused(f"row {number} of the table of labels has no key", f"a value in {names[0]}", "none")
        told = tuple(
            _value(cell, table.values, number, column) for cell, column in zip(cells, table.columns, strict=True)
        )
        if values.setdefault(name, told) != told:
            contradicted.add(name)
    if not values:
        raise _refused("the table of labels is empty", "a row a picture, study or patient", "its header alone")
    nothing: Values = (None,) * len(table.columns)
    return Labels(values | dict.fromkeys(contradicted, nothing), len(contradicted))


def _value(cell: str, classes: Mapping[str, int], number: int, column: str) -> int | None:
    text = cell.strip()
    if text in classes:
        return classes[text]
    if text.casefold() in _UNTOLD:
        return None
    try:
        value = float({"true": "1", "false": "0"}.get(text.casefold(), text))
    except ValueError:
        value = float("nan")
    if classes or value != value or value != int(value if abs(value) < 1 << 31 else 0):
        expected = f"one of {', '.join(classes)}" if classes else "whole numbers, or values for each word in 'values'"
        raise _refused(f"row {number} of the table of labels: {column} is no class", expected, "another value")
    return int(value)


def _csv_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Row number, the header being row 1, and the asked columns of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            places = _places(header, names)
            for number, row in enumerate(rows, start=2):
                if not row:
                    continue
                if len(row) != len(header):
                    raise _refused(
                        f"row {number} of the table of labels is ragged",
                        f"{len(header)} cells, as in its header",
                        f"{len(row)} cells",
                    )
                yield number, [row[place] for place in places]
    except UnicodeDecodeError:
        raise _refused("the table of labels cannot be read", "text in UTF-8", "other bytes") from None
    except csv.Error:
        raise _refused("the table of labels cannot be read", "a CSV", "quotes that do not match") from None


def _parquet_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _places(file.schema_arrow.names, names)
            table = file.read(columns=list(dict.fromkeys(names)))
    except (pa.ArrowException, ValueError, OSError) as failure:
        if isinstance(failure, OSError) and failure.errno is not None:
            raise
        raise _refused("the table of labels cannot be read", "a whole Parquet file", "a damaged one") from None
    columns = [[_told(value) for value in table[name].to_pylist()] for name in names]
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        yield number, list(row)


def _told(value: Any) -> str:
    return "" if value is None else str(value)


def _places(header: Sequence[str], names: Sequence[str]) -> list[int]:
    for name in names:
        if header.count(name) != 1:
            raise _refused(
                f"the table of labels {'lacks' if name not in header else 'repeats'} column {name}",
                f"columns {', '.join(names)}, each once",
                _what_instead(name, header),
            )
    return [header.index(name) for name in names]


def _what_instead(name: str, header: Sequence[str]) -> str:
    """What a first row is that lacks a column; its words are not told: without a header they are a patient's."""
    if not any(header):
        return "no column at all"
    if len(header) == 1:
        for sign, called in ((";", "semicolons"), ("\t", "tabs")):
            if sign in header[0]:
                return f"one column: its cells are separated by {called}, not commas"
    spelt = [one for one in header if _folded(one) == _folded(name)]
    return f"{len(header)} columns, " + (
        f"{spelt[0]} among them" if spelt else "or a table without a first row of names"
    )


def _folded(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _refused(wrong: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        wrong,
        expected=expected,
        received=received,
        action="correct the table, or labels of the Problem's source",
    )
