"""The files of a MEDS data set, and what stands in each of them, checked against the standard's schemas."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused, from_machine_failure
from medai.records import sha256_of_file
from medai.sources.files import files_below, folders_below, follow, look, other_kind, token_of, what_is
from medai.sources.parquet_pages import has_checksums

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PARQUET, _TEXT = what_is(b"PAR1"), what_is(b"text")
ROWS_AT_ONCE = 1 << 18
_DEEPEST = 8

TEXT = ("string", "large_string", "string_view", "dictionary<values=string, indices=int32, ordered=0>")
DATA = {"subject_id": ("int64",), "time": ("timestamp[us]",), "code": TEXT}
VALUES = {"numeric_value": ("float",), "text_value": TEXT}
"""Columns of MEDS 0.4's data schema, the needed ones and the optional ones → the types that they may have."""
EXTENSIONS = {
    "known_time": ("timestamp[us]",),
    "variable": TEXT,
    "source_row": ("int32", "int64"),
    "row_id": ("int64",),
    "source_table": TEXT,
    "admission_id": ("int64",),
    "link": TEXT,
    "hours_outside_admission": ("float",),
    "stay_id": ("int64",),
}
"""Further columns that are read where they are of these types; the standard allows any."""
SPLITS = {"subject_id": ("int64",), "split": TEXT}
LABEL = {"subject_id": ("int64",), "prediction_time": ("timestamp[us]",)}
LABEL_VALUES = {
    "boolean_value": ("bool",),
    "integer_value": ("int64",),
    "float_value": ("float",),
    "categorical_value": TEXT,
}
CODES = {"code": TEXT}
CODES_FURTHER = {"description": TEXT}


class Found(NamedTuple):
    """The files of a data set; shards and label files in the order of their paths.

    ``ignored``: files among the shards and label files that are no Parquet files by their names, and are not read.
    """

    shards: list[Path]
    codes: Path
    splits: Path | None
    description: Path | None
    labels: list[Path]
    ignored: list[Path]


def find(path: Path, labels: str | None) -> Found:
    """The files of a data set.

    Args:
        labels: the label file, or the folder of label files, below the path.

    Raises:
        DataRefused: a part is missing, empty, unsafe, or another type than its name says.
    """
    kind = look(path)
    if kind != "folder":
        raise other_kind("the data path", "a folder with data/ and metadata/", kind)
    ignored: list[Path] = []
    shards = _parquet_below(path, "data", "the folder data of the MEDS data set", ignored)
    metadata = path / "metadata"
    codes = metadata / "codes.parquet"
    _must_be_parquet(path, codes, "metadata/codes.parquet")
    splits, description = metadata / "subject_splits.parquet", metadata / "dataset.json"
    if os.path.lexists(splits):
        _must_be_parquet(path, splits, "metadata/subject_splits.parquet")
    if os.path.lexists(description):
        _must_be(path, description, "metadata/dataset.json", _TEXT, "one JSON object")
    labelled: list[Path] = []
    if labels is not None:
        place = path / labels
        if look(place, "the label file of the MEDS data set") == "folder":
            labelled = _parquet_below(path, labels, "the folder of label files", ignored)
        else:
            _must_be_parquet(path, place, "the label file")
            labelled = [place]
    return Found(
        shards,
        codes,
        splits if splits.exists() else None,
        description if description.exists() else None,
        labelled,
        ignored,
    )


def _parquet_below(root: Path, name: str, what: str, ignored: list[Path]) -> list[Path]:
    folder = root / name
    if look(folder, what) != "folder":
        raise other_kind(what, "a folder of Parquet files", "a file")
    follow(folder, root.resolve(), what)
    files = sorted(_walk(folder, what, _DEEPEST), key=lambda file: file.relative_to(folder).as_posix())
    found = [file for file in files if file.suffix.lower() == ".parquet"]
    ignored += [file for file in files if file.suffix.lower() != ".parquet"]
    if not found:
        raise DataRefused(
            f"{what} holds no Parquet file",
            expected="one file that ends in .parquet, at least",
            received=f"{len(files)} other files" if files else "none",
            action="point --data at the folder that holds data/ and metadata/",
        )
    for position, file in enumerate(found, start=1):
        _must_be_parquet(folder, file, f"file {position} in {what}")
    return found


def _walk(folder: Path, what: str, deeper: int) -> Iterator[Path]:
    yield from files_below(folder)
    for below in folders_below(folder):
        if not deeper:
            raise DataRefused(
                f"{what} holds folders in folders without end",
                expected=f"Parquet files at most {_DEEPEST} folders below it",
                received="a folder further below",
                action="point --data at the folder that holds data/ and metadata/",
            )
        yield from _walk(below, what, deeper - 1)


def _must_be_parquet(root: Path, file: Path, what: str) -> None:
    _must_be(root, file, what, _PARQUET, "a Parquet file")


def _must_be(root: Path, file: Path, what: str, wanted: str, expected: str) -> None:
    """Refuse a file of another kind, and a link that leaves the root."""
    if os.path.lexists(file):
        follow(file, root.resolve(), what)
    kind = look(file, what)
    if kind != wanted:
        raise other_kind(what, expected, "a folder" if kind == "folder" else kind)


class Table:
    """One Parquet file, its columns checked before a row is read.

    Args:
        what: how messages name it.
        needed: column → the types that it may have.
        optional: columns that may be missing, and are then null.
        ignored: columns that are passed over where their type is another.

    Attributes:
        rows: how many.
        columns: those that are read.
        others: those that are not.
        passed_over: those of them that would be read if their type were another.

    Raises:
        DataRefused: damaged, a column is missing, there twice, written otherwise, or of another type.
    """

    def __init__(
        self,
        file: Path,
        what: str,
        needed: Mapping[str, tuple[str, ...]],
        optional: Mapping[str, tuple[str, ...]] | None = None,
        ignored: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._file, self._what = file, what
        with self._open() as opened:  # a data set may have more shards than a process may hold open
            schema = opened.schema_arrow
            self.rows: int = opened.metadata.num_rows
        self._width = len(schema.names)
        self.columns: list[str] = []
        self.passed_over: list[str] = []
        known = {**needed, **(optional or {}), **(ignored or {})}
        folded = [name for name in schema.names if name not in known]
        for name, types in known.items():
            there = schema.names.count(name)
            if any(other.strip().lower() == name for other in folded):  # else its values would be lost without a word
                raise self._refused(f"writes column {name} otherwise", name, types, "other letters or spaces")
            if not there and name not in needed:
                continue
            if there != 1:
                raise self._refused(
                    f"has column {name} {there} times" if there else f"has no column {name}", name, types
                )
            received = str(schema.field(name).type)
            if received not in types and not _is_dictionary(received, types):
                if ignored is not None and name in ignored:
                    self.passed_over.append(name)
                    continue
                raise self._refused(f"has another type in column {name}", name, types, received)
            self.columns.append(name)
        self.others = [name for name in schema.names if name not in self.columns]

    def _open(self) -> pq.ParquetFile:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._file, page_checksum_verification=True)
        except OSError as error:
            failure = from_machine_failure(error) if error.errno else None
            raise failure or self._damaged() from None
        except (pa.ArrowException, ValueError):
            raise self._damaged() from None

    def batches(self, counts: Counter[str]) -> Iterator[pa.Table]:
        """The rows in their order, some hundred thousand at a time, with the columns in ``columns``.

        Args:
            counts: a file without page checksums is counted here (``table_without_checksums``): nothing could tell a
                byte that was turned in it.
        """
        import pyarrow as pa

        try:
            with self._open() as opened:
                for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE, columns=self.columns):
                    batch.validate(full=True)  # readers take texts as they stand, whatever their bytes
                    yield pa.Table.from_batches([batch]).select(self.columns)
                counts["table_without_checksums"] += not has_checksums(self._file, opened, self.columns)
        except OSError as error:
            failure = from_machine_failure(error) if error.errno else None
            raise failure or self._damaged() from None
        except (pa.ArrowException, ValueError):
            raise self._damaged() from None

    def _refused(self, wrong: str, name: str, types: tuple[str, ...], received: str = "") -> DataRefused:
        return DataRefused(
            f"{self._what} {wrong}",
            expected=f"MEDS 0.4: column {name} of type {types[0]}",
            received=received or f"{self._width} other columns",
            action="have the data set written anew by a tool of MEDS 0.4",
        )

    def _damaged(self) -> DataRefused:
        return DataRefused(
            f"{self._what} cannot be read",
            expected="a whole Parquet file",
            received=f"a damaged file (token {token_of(sha256_of_file(self._file))})",
            action="fetch the data set again and compare its hashes",
        )


def _is_dictionary(received: str, types: tuple[str, ...]) -> bool:
    return types is TEXT and received.startswith("dictionary<values=") and "string" in received


def description_of(file: Path | None) -> dict[str, object]:
    """What ``dataset.json`` says; nothing where there is none.

    Raises:
        DataRefused: it is no JSON object.
    """
    if file is None:
        return {}
    try:
        said = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise DataRefused(
            "metadata/dataset.json cannot be read",
            expected="one JSON object",
            received="something else",
            action="have the data set written anew, or leave the file away",
        )
    return said
