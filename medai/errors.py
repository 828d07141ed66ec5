"""What medai says when something is wrong.

Every error has three parts, what is wrong, what was expected and what was received, and names the next step.
It may name a table, a column, a row number or a file's token; never a patient's value or a name that came from one.

    MedaiError                      a defect of ours unless a subclass says otherwise    exit status 1
    ├── ConfigurationError          the Problem, a setting, the command line             exit status 2
    │   └── NotChampion             the version that somebody named is not champion      exit status 2
    ├── DataRefused                 the data cannot be trusted                           exit status 3
    │   └── ValidationFailed        a blocking expectation failed                        exit status 3
    └── ServiceFailed               a server or the machine failed, nothing is lost      exit status 4
        ├── ServiceDown             a server does not answer; what it is told can wait   exit status 4
        └── ChampionMoved           somebody else changed the champion meanwhile         exit status 4
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable


class MedaiError(Exception):
    """A message in three parts and a next step.

    Args:
        wrong: what is wrong, one sentence without its full stop.
        expected: what would have been right.
        received: what was found instead.
        action: what the reader can do now.
    """

    exit_status = 1

    def __init__(self, wrong: str, *, expected: str, received: str, action: str) -> None:
        self.wrong = redacted(wrong)
        self.expected = redacted(expected)
        self.received = redacted(received)
        self.action = redacted(action)
        super().__init__(self.wrong)

    def __str__(self) -> str:
        return f"{self.wrong}.\n  expected: {self.expected}\n  received: {self.received}\n  next step: {self.action}"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process boundaries (Prefect, multiprocessing) whole."""
        return _rebuild, (type(self), self.wrong, self.expected, self.received, self.action)

    def as_dict(self) -> dict[str, str | int]:
        """The error as ``--json`` prints it."""
        return {
            "kind": type(self).__name__,
            "wrong": self.wrong,
            "expected": self.expected,
            "received": self.received,
            "action": self.action,
            "status": self.exit_status,
        }


_ADDRESS = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/?#'\"]*@)?([^\s?#'\"]*)([?#][^\s'\"]*)?")


def redacted(text: str) -> str:
    """Text whose addresses name neither user nor password, query nor fragment: either may hold a secret.

    >>> redacted("an answer from https://ward:round@host/api?token=1 within 3 seconds")
    'an answer from https://host/api?… within 3 seconds'
    """
    return _ADDRESS.sub(lambda found: found[1] + found[2] + (f"{found[3][0]}…" if found[3] else ""), text)


def _rebuild(kind: type[MedaiError], wrong: str, expected: str, received: str, action: str) -> MedaiError:
    return kind(wrong, expected=expected, received=received, action=action)


class ConfigurationError(MedaiError):
    """The Problem file, a setting or the command line cannot be followed."""

    exit_status = 2


class NotChampion(ConfigurationError):
    """The version that a person expects to be champion is not, or no longer."""


class DataRefused(MedaiError):
    """The data cannot be read or trusted as a whole."""

    exit_status = 3


class ValidationFailed(DataRefused):
    """A blocking expectation failed; the quality report names it."""


class ServiceFailed(MedaiError):
    """A server or the machine (disk, memory) failed; what was finished is kept."""

    exit_status = 4


class ServiceDown(ServiceFailed):
    """A server does not answer, or not sensibly: what it is to be told is kept, and told later."""


class ChampionMoved(ServiceFailed):
    """The champion is no longer the one that this decision was made against."""


_MACHINE_FAILURES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reported a read or write error",
    errno.EMFILE: "too many files are open",
    errno.ENOMEM: "the machine is out of memory",
    errno.EAGAIN: "the machine starts no more processes or threads",
    errno.EFBIG: "a file grew past the limit on its size",
    errno.EACCES: "permission was denied",
    errno.EPERM: "permission was denied",
}


_FORBIDDEN = (
    "permission to read and write in the state folder (MEDAI_HOME)",
    "give its owner that permission, or name another folder with MEDAI_HOME",
)
_BY_LIMIT = {
    errno.EAGAIN: ("processes and threads for what this command does at once", "raise `ulimit -u` or `ulimit -v`"),
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EFBIG: ("files as large as the data and models are", "raise `ulimit -f`"),
}
"""What to expect and to repair where it is no lack of space."""

_RUST_ERRNO = re.compile(r"\bos error (\d+)\b|\bOs \{ code: (\d+)\b")
"""How Rust's libraries write the system's number, in a message or in a panic."""
_PANIC = "PanicException"
"""What pyo3 raises when Rust gives up, as it does where it gets no memory or thread; no subclass of Exception."""


def from_machine_failure(failure: BaseException) -> ServiceFailed | None:
    """The ServiceFailed for a full, read-only or forbidden disk or spent memory; None if it is something else.

    A panic of a library in Rust is one, too: it leaves nobody to ask what was missing.

    >>> print(from_machine_failure(OSError(28, "No space left on device")).wrong)
    the disk is full
    >>> from_machine_failure(FileNotFoundError(2, "No such file")) is None
    True
    """
    number = None
    if isinstance(failure, MemoryError) or type(failure).__name__ == "ResourceExhaustedError":  # TensorFlow's own
        number = errno.ENOMEM
    elif isinstance(failure, OSError):
        number = failure.errno
    elif told := _RUST_ERRNO.search(str(failure)):  # polars tells the system's number in its message alone
        number = int(told[1] or told[2])
    wrong = _MACHINE_FAILURES.get(number or 0)
    received = type(failure).__name__ + (
        f" (errno {number})" if number and not isinstance(failure, MemoryError) else ""
    )
    if wrong is None:
        if type(failure).__name__ != _PANIC:
            return None
        return ServiceFailed(
            "a library gave up in the middle of its work",
            expected="memory, processes and threads for what this command does at once",
            received=received,
            action="raise the limits of the shell (ulimit -a), then run the same command again: finished stages are"
            " kept; if it gives up again, report it",
        )
    if number == errno.ENOMEM:
        return ServiceFailed(
            wrong,
            expected="memory for what this command holds at once",
            received=received,
            action="lower training.batch_size or the size of the encoder, or use a machine with more memory:"
            " finished stages are kept",
        )
    expected, repair = _BY_LIMIT.get(
        number or 0, ("space and permission to write in the workspace", "make room or repair it")
    )
    return ServiceFailed(
        wrong,
        expected=expected,
        received=received,
        action=f"{repair}, then run the same command again: finished stages are kept",
    )


def near_match(word: str, known: Iterable[str]) -> str:
    """A hint naming the known word nearest to a misspelt one, or all of them when none is near.

    >>> near_match("epochz", ["epochs", "batch_size"])
    "did you mean 'epochs'?"
    >>> near_match("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
