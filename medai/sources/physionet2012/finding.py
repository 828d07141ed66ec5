"""Where the parts of a set lie: the stays, in a folder or an archive, and the outcomes, inside or beside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medai.errors import DataRefused
from medai.sources.files import archive_members, files_below, is_text, look, other_kind, what_is
from medai.sources.physionet2012.text import refuse

UNPACKED_LIMIT = 2 << 30
"""Bytes the stays may unpack to; the challenge's sets hold 27 MB each."""
MANIFEST = "SHA256SUMS.txt"

_ARCHIVES = (what_is(b"\x1f\x8b"), what_is(b"PK\x03\x04"))
_ARCHIVE_NAMES = (".tar.gz", ".tgz", ".zip")
_STAY_NAME = re.compile(r"\d.*\.txt", re.IGNORECASE)


class Located(NamedTuple):
    """Where the parts of a set lie.

    Attributes:
        stays: the folder or the archive of the stays.
        archive: the archive's kind; None for a folder.
        outcomes: the outcomes beside the stays; more may lie in the archive.
        ignored: files among the stays that are none and are not read.
    """

    stays: Path
    archive: str | None
    outcomes: tuple[Path, ...]
    ignored: tuple[Path, ...] = ()


class Content(NamedTuple):
    """What was read of a set: name and bytes of each stay, each outcomes table, and how many files were ignored."""

    stays: list[tuple[str, bytes]]
    outcomes: list[bytes]
    ignored: int


def stay_files(folder: Path) -> list[Path]:
    """The files directly in a folder that are named as stays are."""
    return [file for file in files_below(folder) if _STAY_NAME.fullmatch(file.name)]


def locate(outcomes: str | None, path: Path) -> Located:
    """Find the parts of a set; see ``physionet2012.raw_files`` for what is refused."""
    kind = look(path)
    if kind in _ARCHIVES:
        return Located(path, kind, _outcomes_in(outcomes, path.parent))
    if kind != "folder":
        raise other_kind("the data file", "a folder, a .tar.gz or a .zip of stays", kind)
    if stay_files(path):
        return _folder_of_stays(outcomes, path)
    archives = [file for file in files_below(path) if file.name.endswith(_ARCHIVE_NAMES)]
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    folders = [folder for folder in folders if stay_files(folder)]
    found = [*archives, *folders]
    if len(found) != 1:
        raise _cannot_tell(
            "the stays cannot be told in the data folder" if found else "the data folder holds no stays",
            f"{len(folders)} folders and {len(archives)} archives",
        )
    if folders:
        return _folder_of_stays(outcomes, folders[0])
    kind = look(archives[0], "the archive of the stays")
    if kind not in _ARCHIVES:
        raise other_kind("the archive of the stays", "a .tar.gz or a .zip", kind)
    return Located(archives[0], kind, _outcomes_in(outcomes, path))


def contents(located: Located, outcomes: str | None) -> Content:
    """Read every stay and every outcomes table.

    Raises:
        DataRefused: there is no stay, or no outcomes table where one is named.
    """
    tables = [file.read_bytes() for file in located.outcomes]
    stays: list[tuple[str, bytes]] = []
    others: list[bytes] = []
    for path, data in _members(located):
        name = PurePosixPath(path).name
        if name == outcomes:
            tables.append(data)
        elif _STAY_NAME.fullmatch(name):
            stays.append((PurePosixPath(name).stem, data))
        elif not name.startswith(".") and name != MANIFEST:
            others.append(data[:512])
    if not stays:
        received = f"{len(others)} other files, the first of them {what_is(others[0])}" if others else "none"
        raise refuse("there is not a single stay", "files such as 132539.txt", received)
    if outcomes is not None and not tables:
        raise _no_outcomes(outcomes)
    return Content(stays, tables, len(others) + len(located.ignored))


def _members(located: Located) -> Iterator[tuple[str, bytes]]:
    if located.archive is not None:
        yield from archive_members(located.stays, located.archive, UNPACKED_LIMIT)
        return
    for file in stay_files(located.stays):
        yield file.name, file.read_bytes()


def _folder_of_stays(outcomes: str | None, folder: Path) -> Located:
    tables = _outcomes_in(outcomes, folder) + _outcomes_in(outcomes, folder.parent)
    if outcomes is not None and not tables:
        raise _no_outcomes(outcomes)
    ignored = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            inner = Path(place) != folder
            if name.startswith(".") or (not inner and name in (outcomes, MANIFEST)):
                continue
            if not is_text(name) or (inner and _STAY_NAME.fullmatch(name)):
                raise _cannot_tell("the stays cannot be told in the data folder", "stays in folders below the stays")
            if inner or not _STAY_NAME.fullmatch(name):
                ignored.append(Path(place, name))
    return Located(folder, None, tables, tuple(ignored))


def _outcomes_in(outcomes: str | None, folder: Path) -> tuple[Path, ...]:
    if outcomes is None:
        return ()
    file = folder / outcomes
    if not file.exists() and not file.is_symlink():
        return ()
    if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(folder.resolve()):
        raise other_kind("the outcomes file", "a regular file inside the data folder", "a link that leaves the folder")
    kind = look(file, f"the outcomes file {outcomes}")
    if kind != what_is(b"text"):
        raise other_kind("the outcomes file", "a table as text", kind)
    return (file,)


def _no_outcomes(outcomes: str) -> DataRefused:
    return DataRefused(
        "the outcomes file is missing",
        expected=f"{outcomes} beside the stays",
        received="no file of this name",
        action="fetch it from the publisher, or correct 'outcomes' of the source",
    )


def _cannot_tell(wrong: str, received: str) -> DataRefused:
    return DataRefused(
        wrong,
        expected="one folder of stays (such as set-a/), or one .tar.gz or .zip of them",
        received=received,
        action="point --data at the folder or the archive of the stays",
    )
