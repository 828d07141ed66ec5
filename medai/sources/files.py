"""Opening what was handed over: files, folders, tar.gz and zip archives, none of which is trusted.

A refusal says what the thing really is, and names an archive's member by its position and a file by its token, since a
name may come from a patient. Archives are read in memory, never unpacked to disk; a bomb is noticed before it bursts.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medai.errors import DataRefused, from_machine_failure

RATIO_LIMIT = 100
"""Most bytes one byte of an archive may unpack to; text and pictures stay far below."""
RATIO_FLOOR = 1 << 20
"""Archives that unpack to less than this many bytes are no bomb, whatever their ratio."""
_HEAD = 512
_TOKEN = 12

_SIGNATURES = (
    (b"version https://git-lfs", "a Git-LFS pointer: the file itself was not fetched"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x93NUMPY", "a single NumPy array (.npy)"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
)


def token_of(sha256: str) -> str:
    """How a message names a file: the first digits of its content's hash."""
    return sha256[:_TOKEN]


def what_is(head: bytes) -> str:
    """What a file really is, from its first bytes.

    >>> what_is(b"<!DOCTYPE html><title>404")
    'an HTML page, as a failed download leaves behind'
    >>> what_is(b"")
    'an empty file'
    """
    if not head:
        return "an empty file"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, as a failed download leaves behind"
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "a text file"
    return "binary data of an unknown kind"


def look(path: Path, found_as: str | None = None) -> str:
    """What stands at a path that was handed over: ``folder``, or what the file is (see ``what_is``).

    Args:
        found_as: how messages name a file that was found in the data; its path may name a patient, as may the data's.

    Raises:
        DataRefused: nothing is there, it cannot be read, it is empty, or it is neither a file nor a folder.
    """
    what = found_as or "the data path"
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(path) as entries:
                if next(entries, None) is None:
                    raise _refused(what, "is empty", "data in the folder", "an empty folder")
            return "folder"
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise _refused(what, "is no data", "a file or a folder", "a pipe, a socket or a device")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise _refused(what, "is missing", "an existing file or folder", "nothing at this path") from None
    except PermissionError:
        raise _refused(what, "cannot be read", "permission to read it", "permission denied") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and from_machine_failure(error) is not None:
            raise
        raise _refused(what, "leads nowhere", "an existing file or folder", "a path that cannot be followed") from None
    if not head:
        raise _refused(what, "is empty", "data in the file", "a file of 0 bytes")
    return what_is(head)


def _refused(what: str, wrong: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        f"{what} {wrong}",
        expected=expected,
        received=received,
        action="correct --data, or fetch the data again",
    )


def other_kind(
    what: str,
    expected: str,
    received: str,
    action: str = "fetch it again from its publisher and compare its hash",
) -> DataRefused:
    """The refusal of a file that is not what its name says."""
    return DataRefused(
        f"{what} is not what it should be",
        expected=expected,
        received=received,
        action=action,
    )


def files_below(folder: Path) -> list[Path]:
    """The regular files directly in a folder, sorted by name; hidden ones are left out.

    Raises:
        DataRefused: a link leads out of the folder, an entry is neither file, folder nor link, or its name is no text.
    """
    root = folder.resolve()
    found = []
    with os.scandir(folder) as entries:
        for position, entry in enumerate(sorted(entries, key=lambda entry: entry.name), start=1):
            if entry.name.startswith("."):
                continue
            if not is_text(entry.name):
                raise _unsafe(f"entry {position} of the folder", "a name that is not UTF-8")
            if entry.is_symlink():
                follow(Path(entry.path), root, f"entry {position} of the folder")
            if entry.is_file():
                found.append(Path(entry.path))
            elif not entry.is_dir():
                raise _unsafe(f"entry {position} of the folder", "a pipe, a socket or a device")
    return found


def follow(link: Path, root: Path, what: str) -> None:
    """Follow a link, or a path that may be one.

    Args:
        root: the folder that it must not leave, resolved.
        what: how messages name it.

    Raises:
        DataRefused: it leads out of the folder, or to nothing.
    """
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # pathlib's word for a circle, before Python 3.13
        raise _unsafe(what, "a link to nothing, or one of a circle of links") from None
    if not target.is_relative_to(root):
        raise _unsafe(what, "a link that leaves the folder")


def folders_below(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are left out.

    Raises:
        DataRefused: one of them is a link: what it leads to might be read twice.
    """
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for position, path in enumerate(found, start=1):
        if path.is_symlink():
            raise _unsafe(f"folder {position} of the folder", "a link to a folder")
    return found


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8; other bytes come as lone surrogates, which nothing can write again.

    >>> is_text("é.txt"), is_text("\\udcff.txt")
    (True, False)
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _unsafe(what: str, received: str) -> DataRefused:
    return DataRefused(
        f"{what} is not plain data",
        expected="regular files that stay inside the data folder",
        received=received,
        action="have the data sent again without it; nothing was written",
    )


def _bomb(received: str, limit: int) -> DataRefused:
    return DataRefused(
        "the archive unpacks to far more than it holds",
        expected=f"at most {RATIO_LIMIT} times its own size and {limit >> 20} MiB",
        received=received,
        action="do not unpack it; ask for the data again",
    )


def budget(compressed: int, limit: int) -> int:
    """Bytes that an archive of this size may unpack to."""
    return min(limit, max(RATIO_FLOOR, RATIO_LIMIT * compressed))


def _leaves(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")


_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error)
"""What the archive readers raise at bytes that were cut or changed."""
_OF_DAMAGE = (None, errno.EINVAL)
"""Of bzip2's own OSError, which has no number, and of a seek to where no file has a place; others are the machine's."""
_LYING_HEADER = (ValueError, OverflowError, IndexError, TypeError)
"""What they raise besides at a directory or a header whose numbers or names make no sense."""
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ENCRYPTED, _PATCHED = 0x41, 0x20
"""Bits of a zip member's flags: encrypted, plainly or strongly; and a difference from another file (APPNOTE 4.4.4)."""


@contextmanager
def whole(what: str, damage: tuple[type[Exception], ...] = _DAMAGE) -> Iterator[None]:
    """Turn what the archive readers raise at damage into a refusal.

    Args:
        what: the archive, in the message.
        damage: exceptions that mean damaged bytes.
    """
    try:
        yield
    except damage:
        received = "a file that is cut short or damaged"
    except OSError as error:
        if error.errno not in _OF_DAMAGE:
            raise
        received = "a file that is cut short or damaged"
    else:
        return
    raise _unreadable(what, received)


def _unreadable(
    what: str, received: str, action: str = "fetch it again and compare its size or hash with the publisher's"
) -> DataRefused:
    return DataRefused(
        f"{what} cannot be read to its end", expected="a whole archive", received=received, action=action
    )


_ZIP = "the zip archive"
_PACK_AGAIN = "unpack it where it came from, and hand over the files or a plain zip of them"


@contextmanager
def open_zip(path: Path, limit: int) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members were looked at before any is unpacked.

    Args:
        limit: most bytes that all members may unpack to.

    Raises:
        DataRefused: damaged, a bomb by its own declaration, encrypted, or a member that leaves the folder.
    """
    try:
        with whole(_ZIP, (*_DAMAGE, *_LYING_HEADER)):
            opened = zipfile.ZipFile(path)
    except NotImplementedError:  # the constructor's word for a version of the format that came after it
        raise _unreadable(_ZIP, "a newer kind of zip than can be read", _PACK_AGAIN) from None
    with whole(_ZIP), opened as archive:
        members = archive.infolist()
        for position, member in enumerate(members, start=1):
            kind = stat.S_IFMT(member.external_attr >> 16)
            if _leaves(member.filename) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(f"member {position} of the archive", "a path or a link that leaves the folder")
            if member.flag_bits & _ENCRYPTED:
                raise _unreadable(_ZIP, "an encrypted archive", _PACK_AGAIN)
            if member.flag_bits & _PATCHED or member.compress_type not in _COMPRESSIONS:
                raise _unreadable(_ZIP, "a compression that is not in use for this format", _PACK_AGAIN)
        declared, size = sum(member.file_size for member in members), path.stat().st_size
        if declared > budget(size, limit):
            raise _bomb(f"{declared} bytes declared by an archive of {size} bytes", limit)
        yield archive


@contextmanager
def open_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo) -> Iterator[BinaryIO]:
    """A member of a zip archive, to be read in blocks.

    Raises:
        DataRefused: it does not lie where the archive's directory says.
    """
    with whole(_ZIP, (*_DAMAGE, *_LYING_HEADER)):
        file = archive.open(member)
    with file:
        yield cast(BinaryIO, file)


class _Metered:
    """A gzip stream that refuses to give more than its budget, and remembers where its content ended."""

    def __init__(self, stream: gzip.GzipFile, compressed: int, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._budget = budget(compressed, limit)
        self.position = 0
        self.content_end = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        content = data.rstrip(b"\0")
        if content:
            self.content_end = self.position + len(content)
        self.position += len(data)
        if self.position > self._budget:
            raise _bomb(f"more than {self._budget} bytes so far", self._limit)
        return data


def _tar_members(path: Path, limit: int) -> Iterator[tuple[str, bytes]]:
    # A header may stand for one that follows, and tarfile goes one call deeper for each. What this generator's reader
    # raises does not come by here.
    damage = (*_DAMAGE, *_LYING_HEADER, RecursionError)
    with whole("the tar.gz archive", damage), path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        metered = _Metered(stream, path.stat().st_size, limit)
        with tarfile.open(fileobj=metered, mode="r|", bufsize=1 << 18) as archive:  # type: ignore[call-overload]
            for position, member in enumerate(archive, start=1):
                if _leaves(member.name) or not (member.isfile() or member.isdir()) or member.issparse():
                    raise _unsafe(f"member {position} of the archive", "a link, a device, or a path that leaves it")
                if not is_text(member.name):
                    raise _unsafe(f"member {position} of the archive", "a name that is not UTF-8")
                if member.isfile():
                    file = archive.extractfile(member)
                    data = b"" if file is None else file.read()
                    if len(data) < member.size:
                        raise EOFError
                    yield member.name, data
        while metered.read(1 << 18):  # to the end, so that gzip's own checksum is compared
            pass
        # tarfile stops without a word at a damaged header or a cut between members; a whole archive ends in two blocks
        # of zeros where it stopped, and in nothing else.
        if metered.content_end > archive.offset or metered.position < archive.offset + 2 * tarfile.BLOCKSIZE:
            raise EOFError


def _zip_members(path: Path, limit: int) -> Iterator[tuple[str, bytes]]:
    with open_zip(path, limit) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with open_member(archive, member) as file:
                    data = file.read()
                yield member.filename, data


def archive_members(path: Path, kind: str, limit: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file of an archive, in the archive's order.

    Args:
        kind: what ``look`` said: a gzip file (read as tar.gz) or a zip archive.
        limit: most bytes that all members together may unpack to.

    Raises:
        DataRefused: damaged, cut short, a bomb, or a member that leaves the folder.
    """
    return _zip_members(path, limit) if kind == what_is(b"PK\x03\x04") else _tar_members(path, limit)


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Exactly so many bytes of an archive's member.

    Raises:
        EOFError: it ends before.
    """
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
