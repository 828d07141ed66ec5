"""Which files of a folder are taken for DICOM: those that a DICOMDIR lists, or all that say so, at any depth.

A file is taken when its content carries the mark of PS3.10, or when its name claims it: ``.dcm``, ``.dicom``, ``.ima``,
no ending, or digits behind the last point, as a UID has. What else lies there (read-me files, tables of labels, what a
computer leaves behind) is passed over. Messages name an entry by its place in the sorted folder.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medai.errors import DataRefused
from medai.sources.damage import parsing
from medai.sources.dicom.elements import is_dicom, quiet
from medai.sources.files import is_text, look, other_kind
from medai.sources.image_folder.finding import unsafe

DICOMDIR = "DICOMDIR"
_ENDINGS = frozenset({"", ".dcm", ".dicom", ".dic", ".ima"})
_LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_DEEPEST = 32
_HEAD = 132
_DIRECTORY_LIMIT = 256 << 20


class Found(NamedTuple):
    """A file, and its place below the data."""

    path: Path
    place: str


class Finding(NamedTuple):
    """The files by place; how many others were passed over; the DICOMDIR, and how many DICOM files it does not list."""

    files: tuple[Found, ...]
    passed_over: int
    directory: Path | None
    unlisted: int


def find(path: Path, apart: frozenset[str] = frozenset()) -> Finding:
    """The DICOM files of a folder, or the one file that a path names.

    Args:
        apart: places below the data that are no pictures: the table of labels.

    Raises:
        DataRefused: nothing is there, no file is DICOM, a link or a DICOMDIR leads out of the folder, a DICOMDIR cannot
            be read or names a file that is missing, or folders lie too deep.
    """
    received = look(path)
    if received != "folder":
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if not is_dicom(head):
            raise other_kind("the data path", "a DICOM file, or a folder of them, unpacked", received)
        return Finding((Found(path, path.name),), 0, None, 0)
    root = path.resolve()
    files, passed_over = [], 0
    for found in _walk(path, root):
        if found is None:
            passed_over += 1
        elif found.place in apart:
            continue
        elif found.place.casefold() != DICOMDIR.casefold() and _claims(found.path):
            files.append(found)
        else:
            passed_over += 1
    directory = next((entry for entry in path.iterdir() if entry.name.casefold() == DICOMDIR.casefold()), None)
    unlisted = 0
    if directory is not None:
        listed = set(_listed(directory, path, root))
        unlisted = sum(file.place not in listed for file in files)
        files = [Found(path / place, place) for place in listed]
    if not files:
        raise _refused("the folder holds no DICOM file", "DICOM files, at any depth", "other files", "correct --data")
    return Finding(tuple(sorted(files, key=lambda file: file.place)), passed_over, directory, unlisted)


def table_below(path: Path, place: str) -> Path:
    """The table of labels, which must lie below the data.

    Raises:
        DataRefused: a link leads out of the data.
    """
    table = path / place
    if table.exists() and not _stays_within(table, path.resolve()):
        raise _refused(
            "the table of labels lies outside the data",
            "a file below the data folder",
            "a link that leaves it",
            "put the table itself there",
        )
    look(table, "the table of labels")
    return table


def _walk(path: Path, root: Path) -> Iterator[Found | None]:
    """Every regular file below a folder; None for what is passed over by its name."""
    waiting = [(path, "", 0)]
    while waiting:
        folder, above, depth = waiting.pop()
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for position, entry in enumerate(ordered, start=1):
            if entry.name.startswith(".") or entry.name.casefold() in _LEFT_BEHIND:
                yield None
                continue
            if not is_text(entry.name):
                raise unsafe(position, "a name that is not UTF-8")
            here = Path(entry.path)
            if entry.is_symlink() and not _stays_within(here, root):
                raise unsafe(position, "a link that leaves the folder, or leads to nothing")
            mode = here.stat().st_mode
            if stat.S_ISDIR(mode) and entry.is_symlink():
                raise unsafe(position, "a link to a folder, which would be read twice")
            if stat.S_ISDIR(mode):
                if depth == _DEEPEST:
                    raise _refused(
                        f"folders lie more than {_DEEPEST} deep",
                        "DICOM files in the folder, or in folders below it",
                        "folders still deeper",
                        "point --data at the pictures' own folder",
                    )
                waiting.append((here, f"{above}{entry.name}/", depth + 1))
            elif stat.S_ISREG(mode):
                yield Found(here, above + entry.name)
            else:
                raise unsafe(position, "a pipe, a socket or a device")


def _claims(path: Path) -> bool:
    """Whether a file says that it is DICOM, by its name or its content."""
    ending = path.suffix.casefold()
    if ending in _ENDINGS or ending[1:].isdigit():
        return True
    with path.open("rb") as file:
        return is_dicom(file.read(_HEAD))


def _stays_within(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # to nothing, or in a circle
        return False


def _listed(directory: Path, path: Path, root: Path) -> Iterator[str]:
    """Places of the files that a DICOMDIR's records name (PS3.3 annex F, PS3.10 section 8), as they lie on disk.

    Raises:
        DataRefused: it cannot be read, or names a file that is missing or lies outside.
    """
    missing = 0
    for names in _references(directory):
        place = PurePosixPath(*names) if names else PurePosixPath()
        if not names or any(name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name for name in names):
            raise _refused(
                "a record of the DICOMDIR leads out of its folder",
                "files below the folder of the DICOMDIR",
                "a name that is a path, or no name",
                "have the data sent again; nothing was read",
            )
        there = _as_it_lies(path, place)
        if there is None:
            missing += 1
        elif not _stays_within(path / there, root):
            raise _refused(
                "a record of the DICOMDIR leads out of its folder",
                "files below the folder of the DICOMDIR",
                "a link that leaves it",
                "have the data sent again; nothing was read",
            )
        else:
            yield str(there)
    if missing:
        raise _refused(
            "files that the DICOMDIR lists are missing",
            "every file that it lists",
            f"{missing} of them are not there",
            "copy the whole medium again, or remove the DICOMDIR to read what there is",
        )


def _as_it_lies(path: Path, place: PurePosixPath) -> PurePosixPath | None:
    """A place on a disk that tells upper from lower case, where a medium's names are in upper case."""
    here = PurePosixPath()
    for name in place.parts:
        folder = path / here
        if not (folder / name).exists():
            twins = [entry.name for entry in folder.iterdir() if entry.name.casefold() == name.casefold()]
            if len(twins) != 1:
                return None
            name = twins[0]
        here = here / name
    return here if (path / here).is_file() else None


def _references(directory: Path) -> list[list[str]]:
    """The file ids of a directory's records, each the names of folders and file."""
    from pydicom import dcmread
    from pydicom.multival import MultiValue
    from pydicom.sequence import Sequence

    damaged = _refused(
        "the DICOMDIR cannot be read",
        "a directory of PS3.3 annex F",
        "a damaged file, or something else of that name",
        "have the data sent again, or remove the DICOMDIR to read what there is",
    )
    if directory.stat().st_size > _DIRECTORY_LIMIT:
        raise damaged
    content = io.BytesIO(directory.read_bytes())
    with quiet(), parsing(damaged):
        records = dcmread(content, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence")
        told = [record.get("ReferencedFileID") for record in records] if isinstance(records, Sequence) else None
    if told is None:
        raise damaged
    names = [[name] if isinstance(name, str) else name for name in told if name is not None]
    if not all(isinstance(name, list | MultiValue) and all(isinstance(one, str) for one in name) for name in names):
        raise damaged
    return [list(name) for name in names]


def _refused(wrong: str, expected: str, received: str, action: str) -> DataRefused:
    return DataRefused(wrong, expected=expected, received=received, action=action)
