"""Paths as people write them, and small files that are read whole.

Whatever a name leads to (a pipe, a device, a folder, a loop of links, the home of nobody), the answer is a sentence and
never a wait.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from medai.errors import ConfigurationError

_WORDS = {
    errno.ENOENT: "nothing of that name",
    errno.ENOTDIR: "a path through something that is no folder",
    errno.EISDIR: "a folder",
    errno.EEXIST: "something else of that name",
    errno.ELOOP: "links that lead round in a circle",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.EACCES: "a place without permission",
    errno.EPERM: "a place without permission",
    errno.ENXIO: "a pipe, a socket or a device",
}


class NotPlain(OSError):
    """A name that leads to something other than a plain file."""


def expanded(text: str | Path) -> Path:
    """A path with ``~`` followed.

    >>> expanded("ward/own.yaml")
    PosixPath('ward/own.yaml')

    Raises:
        ConfigurationError: the path names the home of an unknown user, or holds a character that no path can.
    """
    try:
        if "\0" in str(text):
            raise ValueError
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        raise ConfigurationError(
            "a path cannot be followed",
            expected="a path, or ~ for your own home",
            received=ascii(str(text)),
            action="write the path out in full",
        ) from None


def read_plain(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a plain file; a pipe or a device is never waited for.

    Args:
        limit: read at most so many bytes.

    Raises:
        NotPlain: the name leads to something else.
        OSError: as ``open``.
    """
    # Opened without waiting for a writer, and judged by the open file: its name may lead elsewhere a moment later.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            raise NotPlain(errno.EISDIR if stat.S_ISDIR(kind) else errno.ENXIO, "not a plain file")
        return file.read(-1 if limit is None else limit)


def why(failure: OSError) -> str:
    """What stands where a file or folder was expected, in words.

    >>> why(NotADirectoryError(20, "Not a directory"))
    'a path through something that is no folder'
    """
    number = failure.errno or 0
    return _WORDS.get(number) or (os.strerror(number).lower() if number else type(failure).__name__)
