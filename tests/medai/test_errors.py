"""Errors: three parts, an exit status, and whole across processes."""

from __future__ import annotations

import errno
import pickle

import pytest

from medai.errors import (
    ChampionMoved,
    ConfigurationError,
    DataRefused,
    MedaiError,
    NotChampion,
    ServiceFailed,
    ValidationFailed,
    from_machine_failure,
    near_match,
)

STATUS = {
    MedaiError: 1,
    ConfigurationError: 2,
    NotChampion: 2,
    DataRefused: 3,
    ValidationFailed: 3,
    ServiceFailed: 4,
    ChampionMoved: 4,
}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_each_kind_has_its_exit_status_and_survives_a_process_border(kind: type[MedaiError], status: int) -> None:
    """Pickled and read back, an error is of the same kind and says the same."""
    error = kind("the disk burns", expected="water", received="fire", action="run")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert str(back) == str(error) == "the disk burns.\n  expected: water\n  received: fire\n  next step: run"
    assert back.as_dict() == {
        "kind": kind.__name__,
        "wrong": "the disk burns",
        "expected": "water",
        "received": "fire",
        "action": "run",
        "status": status,
    }


def test_an_address_keeps_its_secrets() -> None:
    """User, password, query and fragment leave every part of every message, also in JSON."""
    error = ServiceFailed(
        "https://u:pw1@host/a does not answer",
        expected="an answer from http://host:1/api?token=pw2 within 3 seconds",
        received="'postgresql://u:pw3@db/x#pw4'",
        action="see s3://bucket/kept",
    )
    assert "pw" not in str(error) + str(error.as_dict()) + repr(error)
    assert error.wrong == "https://host/a does not answer"
    assert error.expected == "an answer from http://host:1/api?… within 3 seconds"
    assert error.action == "see s3://bucket/kept"


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's own."""


def test_memory_that_is_spent_names_what_to_make_smaller() -> None:
    """Python's and TensorFlow's, with status 4."""
    for failure in (MemoryError(), ResourceExhaustedError("OOM")):
        told = from_machine_failure(failure)
        assert told is not None
        assert told.wrong == "the machine is out of memory"
        assert "training.batch_size" in told.action


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "the disk reported a read or write error"),
        (errno.EMFILE, "too many files are open"),
        (errno.EAGAIN, "the machine starts no more processes or threads"),
        (errno.EFBIG, "a file grew past the limit on its size"),
        (errno.ENOMEM, "the machine is out of memory"),
        (errno.EACCES, "permission was denied"),
        (errno.EPERM, "permission was denied"),
    ],
)
def test_a_failing_machine_is_no_defect_of_ours(number: int, wrong: str) -> None:
    """Each has status 4, its number, and not the path that the system's own message carries."""
    given = OSError(number, "message", "/home/a patient")  # of a class of its own for some numbers
    failure = from_machine_failure(given)
    assert failure is not None
    assert (failure.wrong, failure.exit_status) == (wrong, 4)
    assert failure.received == f"{type(given).__name__} (errno {number})"
    assert "patient" not in str(failure)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_who_may_not_write_is_told_which_folder_is_meant(number: int) -> None:
    """Room on the disk is not what is missing."""
    failure = from_machine_failure(OSError(number, "message"))
    assert failure is not None
    assert failure.expected == "permission to read and write in the state folder (MEDAI_HOME)"
    assert failure.action.startswith("give its owner that permission, or name another folder with MEDAI_HOME, then run")


def test_spent_memory_is_a_machine_failure_and_a_missing_file_is_not() -> None:
    """MemoryError has no number; a missing file is somebody's mistake, not the machine's."""
    spent = from_machine_failure(MemoryError())
    assert spent is not None
    assert (spent.wrong, spent.received) == ("the machine is out of memory", "MemoryError")
    assert from_machine_failure(FileNotFoundError(errno.ENOENT, "no such file")) is None
    assert from_machine_failure(OSError("without a number")) is None


def test_the_near_match_is_named_or_else_all_that_is_known() -> None:
    """A slip of the pen finds its word; a stranger gets the whole list, sorted."""
    assert near_match("learning_rat", {"learning_rate", "epochs"}) == "did you mean 'learning_rate'?"
    assert near_match("qq", {"learning_rate", "epochs"}) == "known: epochs, learning_rate"


def test_a_full_disk_told_in_words_alone_is_a_machine_failure() -> None:
    """Polars gives the system's error number only in its message; it means the same."""
    from polars.exceptions import ComputeError

    known = from_machine_failure(ComputeError("underlying IO error: No space left on device (os error 28)"))
    assert known is not None
    assert known.wrong == "the disk is full"
    assert known.received == "ComputeError (errno 28)"
    assert from_machine_failure(ComputeError("something else")) is None


class PanicException(BaseException):
    """Named as pyo3's own, which nothing can import."""


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (
            'called `Result::unwrap()` on an `Err` value: Os { code: 11, kind: WouldBlock, message: "…" }',
            "the machine starts no more processes or threads",
        ),
        ("could not allocate (os error 12)", "the machine is out of memory"),
        ("/home/a patient was here", "a library gave up in the middle of its work"),
    ],
)
def test_a_panic_of_a_library_is_a_machine_failure(message: str, wrong: str) -> None:
    """It is no Exception and tells the number in its own way, or not at all; its words are not repeated."""
    known = from_machine_failure(PanicException(message))
    assert known is not None
    assert (known.wrong, known.exit_status) == (wrong, 4)
    assert "patient" not in str(known)
    assert "ulimit" in known.action or "training.batch_size" in known.action
