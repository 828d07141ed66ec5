"""The workspace: where content lies, and the one cache.

    MEDAI_HOME/
      store/<stage>/<key>/     record.json, manifest.json and the stage's files; immutable
      receipts/<stage>/<key>.json     facts of the run that made it: seconds, instruction set
      scratch/<stage>/<key>/   what an interrupted stage may resume from (checkpoints)
      locks/                   one file lock a key: equal runs at once make one result
      hashes.sqlite            raw and stored files' hashes, remembered by path, size, mtime, ctime and inode

A stage's folder is written beside its final name, synced, and renamed last: it is whole or not there. A stored file
that no longer has the bytes of its manifest is set apart and made again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from medai.errors import ServiceFailed
from medai.paths import NotPlain, read_plain, why
from medai.records import Frozen, Record, canonical_json, sha256_of_file

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
F = TypeVar("F", bound=Frozen)

LOCK_POLL_SECONDS = 0.2
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
RECORD, MANIFEST = "record.json", "manifest.json"


class Made(Generic[R]):
    """A record with how it came about: reused from the store or made now, and in how many seconds."""

    def __init__(self, record: R, *, reused: bool, seconds: float) -> None:
        self.record = record
        self.reused = reused
        self.seconds = seconds


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a small file beside its final name, sync it, rename it: readers see the old bytes or the new ones."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def blocked(path: Path, failure: OSError) -> ServiceFailed:
    """The error for a file or folder that cannot lie where medai keeps it, as something else is there."""
    return ServiceFailed(
        f"{path} cannot be used",
        expected="what medai left there, or nothing",
        received=why(failure),
        action="move away what stands there, or let MEDAI_HOME name another folder; then run the same command again",
    )


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder of the state with those above it; it may be there.

    Raises:
        ServiceFailed: something else is in its way.
    """
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as failure:
        if failure.errno not in _IN_THE_WAY:
            raise
        raise blocked(path, failure) from failure


class Workspace:
    """Resolves keys to paths, finds what is there, makes what is not.

    Args:
        root: the state folder (``MEDAI_HOME``); created when first written to.
        lock_seconds: how long to wait for an equal run at work on the same key.
    """

    def __init__(self, root: Path, lock_seconds: float = 4 * 3600) -> None:
        self.root = root.absolute()
        self.lock_seconds = lock_seconds
        self._used: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_used": None}  # another process takes the store into use itself

    def folder(self, stage: str, key: str) -> Path:
        """The folder of a finished stage."""
        return self.root / "store" / stage / key

    def scratch(self, stage: str, key: str) -> Path:
        """A folder that survives a kill, for a stage that resumes; dropped once the stage is committed."""
        path = self.root / "scratch" / stage / key
        make_folder(path)
        return path

    @contextmanager
    def lock(self, name: str, seconds: float | None = None) -> Iterator[None]:
        """Hold the workspace's lock of this name; whoever comes second waits, and is told so in the log."""
        path = self.root / "locks" / f"{name}.lock"
        make_folder(path.parent)
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise blocked(path, NotPlain(errno.EEXIST, "not a plain file"))
        lock = FileLock(path, poll_interval=LOCK_POLL_SECONDS)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("another run holds %s; waiting for it", name)
            patience = self.lock_seconds if seconds is None else seconds
            try:
                lock.acquire(timeout=patience)
            except Timeout as error:
                raise ServiceFailed(
                    f"another run still holds {name}",
                    expected=f"it to finish within {patience:.0f} seconds",
                    received="a lock that is still held",
                    action="wait for that run or end it, then run the same command again",
                ) from error
        try:
            yield
        finally:
            lock.release()

    def _use(self) -> None:
        """Have the store in use for as long as this object lives, shared with others: nothing is deleted meanwhile."""
        if self._used is None and self.root.is_dir():
            with suppress(OSError):  # where no lock can be kept nothing can be deleted either
                file = self._store_lock()
                fcntl.flock(file, fcntl.LOCK_SH)
                self._used = file
                weakref.finalize(self, file.close)

    def release(self) -> None:
        """Have the store in use no longer; whatever was found in it may be gone from now on."""
        if self._used is not None:
            self._used.close()
            self._used = None

    def _store_lock(self) -> BinaryIO:
        path = self.root / "locks" / "store.lock"
        make_folder(path.parent)
        return path.open("ab")

    @contextmanager
    def unused(self) -> Iterator[None]:
        """Have the store for oneself, to delete what nobody needs.

        Raises:
            ServiceFailed: something that found or made a record here is still at work.
        """
        self.release()
        with self._store_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServiceFailed(
                    "the state folder is in use",
                    expected="no run, check, prediction or server of medai at work in it",
                    received="at least one that has taken something from the store",
                    action="wait for it or end it, then run the same command again",
                ) from None
            yield

    def find(self, stage: str, key: str, kind: type[R]) -> R | None:
        """The finished record of this key, or None. A folder whose bytes were altered is set apart."""
        self._use()
        folder = self.folder(stage, key)
        try:
            record = kind.parse(read_plain(folder / RECORD))
            manifest = json.loads(read_plain(folder / MANIFEST))
            files = [(str(name), int(size), str(sha256)) for name, (size, sha256) in manifest.items()]
        except FileNotFoundError:
            # Looked at again: an equal run may have finished since, and what is whole must stay.
            if folder.is_dir() and not all((folder / name).exists() for name in (RECORD, MANIFEST)):
                self._set_apart(folder, "its record is missing")
            return None
        except OSError as failure:
            if failure.errno not in _IN_THE_WAY:
                raise
            if not folder.parent.is_dir():  # not this folder, but the way to it
                raise blocked(folder.parent, failure) from failure
            self._set_apart(folder, "it is not what medai left there")
            return None
        except (ValueError, TypeError, AttributeError, RecursionError):
            self._set_apart(folder, "its record cannot be read")
            return None
        for name, size, sha256 in files:
            path = folder / name
            try:
                intact = path.stat().st_size == size and self.hash_file(path) == sha256
            except FileNotFoundError:
                intact = False
            if not intact:
                self._set_apart(folder, f"{name} is not as it was written")
                return None
        return record

    def materialise(self, stage: str, key: str, kind: type[R], build: Callable[[Path], R]) -> Made[R]:
        """Find the record of this key or make it, once, however many ask at the same time.

        Args:
            stage: the stage's verb.
            key: from ``stage_key``.
            kind: the record's class.
            build: writes the stage's files into the folder it is given and returns the record.
        """
        started = time.perf_counter()
        found = self.find(stage, key, kind)
        if found is not None:
            return Made(found, reused=True, seconds=time.perf_counter() - started)
        with self.lock(f"{stage}-{key}"):
            self._use()  # the folder is there now, if it was not before
            found = self.find(stage, key, kind)
            if found is not None:
                return Made(found, reused=True, seconds=time.perf_counter() - started)
            # As it will be read again: made or found, a record gives the same bytes further on (the order of its maps).
            record = kind.parse(self._build(stage, key, build).canonical())
        seconds = time.perf_counter() - started
        self.keep_receipt(stage, key, {"seconds": round(seconds, 6)})
        return Made(record, reused=False, seconds=seconds)

    def _build(self, stage: str, key: str, build: Callable[[Path], R]) -> R:
        final = self.folder(stage, key)
        beside = final.with_name(f".{key}.partial")
        make_folder(final.parent)
        if beside.exists():  # left by a killed run; we hold the key's lock, so nobody is writing it
            shutil.rmtree(beside)
        beside.mkdir()
        try:
            record = build(beside)
            write_durably(beside / RECORD, record.canonical())
            manifest = {}
            for path in sorted(beside.rglob("*")):
                if path.is_file():
                    sync_file(path)
                    manifest[path.relative_to(beside).as_posix()] = (path.stat().st_size, sha256_of_file(path))
            write_durably(beside / MANIFEST, canonical_json(manifest))
            for directory in [path for path in beside.rglob("*") if path.is_dir()]:
                sync_directory(directory)
            beside.rename(final)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        sync_directory(final.parent)
        shutil.rmtree(self.root / "scratch" / stage / key, ignore_errors=True)
        return record

    def _set_apart(self, folder: Path, why: str) -> None:
        log.warning("%s/%s: %s; set apart and made again", folder.parent.name, folder.name, why)
        apart = folder.with_name(f".{folder.name}.altered-{time.time_ns()}")
        try:
            folder.rename(apart)
        except FileNotFoundError:  # an equal run was faster
            return

    def keep_receipt(self, stage: str, key: str, facts: dict[str, Any]) -> None:
        """Keep facts of this run beside the record; they never enter a key."""
        write_durably(self.root / "receipts" / stage / f"{key}.json", canonical_json(facts) + b"\n")

    def receipt(self, stage: str, key: str) -> dict[str, Any]:
        """Facts kept with ``keep_receipt``; empty when there are none, or none that can be read."""
        try:
            facts = json.loads(read_plain(self.root / "receipts" / stage / f"{key}.json"))
        except (ValueError, RecursionError):
            return {}
        except OSError as failure:
            if failure.errno in (errno.ENOENT, *_IN_THE_WAY):
                return {}
            raise
        return facts if isinstance(facts, dict) else {}

    def receipts(self, kind: str, problem: str, form: type[F]) -> list[F]:
        """All receipts of a kind that were kept as ``PROBLEM-…``, in the order of their names.

        Args:
            form: that each of them has.

        Raises:
            ServiceFailed: one is not as it was written; what it told of would be lost without a word.
        """
        found = []
        for path in sorted((self.root / "receipts" / kind).glob(f"{problem}-*.json")):
            try:
                found.append(form.model_validate(self.receipt(kind, path.stem)))
            except ValidationError:
                raise ServiceFailed(
                    f"receipts/{kind}/{path.name} was altered",
                    expected=f"a JSON object of {', '.join(form.model_fields)}, as it was written",
                    received="something else",
                    action="restore it from a copy; if there is none, remove it: what it tells of is then forgotten",
                ) from None
        return found

    def hash_file(self, path: Path) -> str:
        """SHA-256 of a file, computed once and remembered by path, size, modification and change time, and inode.

        A memory that cannot be read or written (a full disk, a damaged file) costs time, never the answer.
        """
        status = path.stat()
        mark = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        try:
            return self._remembered_hash(path, mark)
        except sqlite3.Error as error:
            log.warning("file hashes cannot be remembered (%s)", type(error).__name__)
            return sha256_of_file(path)

    def _remembered_hash(self, path: Path, mark: tuple[int, int, int, int]) -> str:
        name = str(path.absolute()).encode(errors="backslashreplace").decode()
        make_folder(self.root)
        file = self.root / "hashes.sqlite"
        with suppress(OSError):  # SQLite says it again
            file.touch(0o600)  # names of files may come from patients; SQLite gives its journal the same mode
        with closing(sqlite3.connect(file, timeout=60)) as memory, memory:
            memory.execute(
                "create table if not exists remembered"
                " (path text primary key, size integer, mtime integer, ctime integer, inode integer, sha256 text)"
            )
            row = memory.execute(
                "select size, mtime, ctime, inode, sha256 from remembered where path = ?", (name,)
            ).fetchone()
            if row is not None and tuple(row[:4]) == mark:
                return str(row[4])
            sha256 = sha256_of_file(path)
            memory.execute("insert or replace into remembered values (?, ?, ?, ?, ?, ?)", (name, *mark, sha256))
        return sha256
