"""The files of a source's tables in a folder: by name in either case, as CSV, CSV.GZ or Parquet, each table once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medai.errors import DataRefused
from medai.sources.files import files_below, look, other_kind, what_is

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def tables_below(path: Path, folders: Sequence[str], wanted: Sequence[str], hint: str = "") -> dict[str, Path]:
    """Table → its file.

    Args:
        path: the data folder.
        folders: sub-folders that hold the tables; none: the data folder itself.
        wanted: tables that must be there; others are passed over.
        hint: what to say when one is missing and the folder looks like another source.

    Raises:
        DataRefused: no folder, a table is missing, empty, there twice, or another type than its name says.
    """
    kind = look(path)
    if kind != "folder":
        raise other_kind("the data path", "a folder of CSV tables", kind)
    places = [path / folder for folder in folders] or [path]
    found: dict[str, list[Path]] = {}
    folders_found: set[str] = set()
    for place in places:
        if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(path)):
            raise DataRefused(
                f"the folder {place.name} of the data is not plain data",
                expected="a folder that lies inside the data folder",
                received="a link that leaves it",
                action="point --data at the real folder, or move the tables into it",
            )
        for file in files_below(place) if place.is_dir() else ():
            if (table := _table_of(file)) is not None:
                found.setdefault(table, []).append(file)
        below = place.iterdir() if place.is_dir() else ()
        folders_found |= {table for one in below if one.is_dir() and (table := _table_of(one)) is not None}
    for table in wanted:
        if len(files := found.get(table, [])) != 1:
            raise DataRefused(
                f"table {table} is " + ("missing" if not files else f"there {len(files)} times"),
                expected=f"one file {table}.csv, {table}.csv.gz or {table}.parquet, in either case"
                + (f", below {' and '.join(folders)}" if folders else ""),
                received=f"{len(files)} such files among {sum(map(len, found.values()))} tables there"
                + (", and a folder of that name" if table in folders_found else ""),
                action=hint or ("fetch it from the publisher" if not files else "leave one of them in the folder"),
            )
    for table in wanted:
        file = found[table][0]
        kind = look(file, f"table {table}")
        if file.name.lower().endswith(".parquet"):
            if kind != what_is(b"PAR1"):
                raise other_kind(f"table {table}", "a Parquet file", kind)
            continue
        zipped = file.name.lower().endswith(".gz")
        if kind != what_is(b"\x1f\x8b" if zipped else b"text") and not (not zipped and _is_text(file)):
            raise other_kind(f"table {table}", "a gzip file" if zipped else "a table as text", kind)
    return {table: found[table][0] for table in wanted}


def _table_of(path: Path) -> str | None:
    """The table that a file's name says; None for other files."""
    name = path.name.lower()
    suffix = next((end for end in reversed(SUFFIXES) if name.endswith(end)), None)
    return None if suffix is None else name.removesuffix(suffix)


def _is_text(file: Path) -> bool:
    """Text whose first bytes are not plain ASCII control-free: a byte-order mark, letters of other alphabets."""
    with file.open("rb") as opened:
        head = opened.read(512)
    return what_is(head.removeprefix(b"\xef\xbb\xbf")) == what_is(b"text")
