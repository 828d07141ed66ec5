"""A copy of a state folder with its databases, taken while others work in it, and its way back.

The order makes the copy whole. A run stores first, registers in MLflow second, writes the audit last. So the audit is
copied first, and at the same moment, under the ledger's lock, what waits in the spool, and the databases' state is
fixed; artifacts and store, which only grow, follow. All that the audit's copy names is then in the copy, and MLflow's
copy knows nothing that the audit will not (what a run registered and had not yet written is found again by the next
run, as after a kill).

    OUT/
      backup.json          what it is, and size, SHA-256 and mode of each file
      home/                audit, store, receipts, keys …
      databases/           one file each
      artifacts/           of MLflow's server, where it keeps them in a folder
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from pydantic import Field

from medai import __version__
from medai.audit import AUDIT, HEAD
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.integrity import damage
from medai.ledger import Ledger
from medai.paths import NotPlain, read_plain, why
from medai.records import HASH_BLOCK, Candidate, Frozen, canonical_json
from medai.spool import SPOOL
from medai.workspace import Workspace, make_folder, sync_directory, write_durably

log = logging.getLogger(__name__)

MANIFEST, RESTORING = "backup.json", "restoring.json"
HOME, DATABASES, ARTIFACTS = "home", "databases", "artifacts"

NOT_COPIED = frozenset(
    {
        # of processes that run or ran
        "locks", "logs", "scratch", "services.json", "stack", "stack.json", "stack.log", RESTORING,
        # found again by looking at the files
        "hashes.sqlite",
        # Prefect's own folder: its database is copied as a database
        "prefect",
    }
)  # fmt: skip
"""Names in a state folder that belong to its machine or its moment."""
DATABASE_FILES = ("mlflow/mlflow.db", "mlflow/mlflow.db-wal", "mlflow/mlflow.db-shm", "mlflow/mlflow.db-journal")


class Database(Protocol):
    """A database that can be copied at one moment and put back.

    Attributes:
        name: of its file in the copy.
    """

    name: str

    def freeze(self, path: Path) -> None:
        """Fix the moment that the copy at ``path`` will show; quick, as others wait meanwhile."""

    def dump(self, path: Path) -> None:
        """Write what ``freeze`` has not written yet."""

    def load(self, path: Path, *, again: bool) -> None:
        """Put a copy back; ``again`` allows that an interrupted try filled it already."""

    def close(self) -> None:
        """Let the moment go."""


class Copied(Frozen):
    """A file of a copy."""

    size: int = Field(ge=0)
    sha256: str
    mode: int = Field(ge=0, le=0o777)


class Backup(Frozen):
    """What a copy holds.

    Attributes:
        form: of this record.
        medai: version that wrote it.
        at: when the audit and the databases were fixed, ISO 8601, UTC.
        lines, head: how many lines the audit has, and the hash of the last one.
        files: path in the copy → size, hash and mode.
    """

    form: Literal[1] = 1
    medai: str
    at: str
    lines: int
    head: str
    files: dict[str, Copied]

    @property
    def sha256(self) -> str:
        """The hash of the whole copy, as its ``backup.json`` has it."""
        return hashlib.sha256(self.written).hexdigest()

    @property
    def written(self) -> bytes:
        """The bytes of ``backup.json``."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def back_up(ledger: Ledger, out: Path, databases: Sequence[Database], artifacts: Path | None = None) -> Backup:
    """Copy a state folder and its databases into a new folder, whole or not at all.

    Args:
        ledger: of the state folder.
        out: made; nothing may be there. Its owner alone may enter it: it holds what the state folder holds, keys too.
        databases: MLflow's and Prefect's.
        artifacts: the folder in which an MLflow server keeps artifacts, when it is not in the state folder.

    Raises:
        ConfigurationError: something is at ``out``, or it lies in the state folder; or a part of that is a link.
        ServiceFailed: the audit does not hold together, or a database cannot be copied.
    """
    home = ledger.workspace.root
    out = out.absolute()
    if os.path.lexists(out) or out.is_relative_to(home):
        raise ConfigurationError(
            "the copy cannot be written there",
            expected="a name at which nothing is, outside MEDAI_HOME",
            received=f"{out}",
            action="name another folder",
        )
    beside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        beside.mkdir(0o700, parents=True)
    except OSError as failure:
        raise ConfigurationError(
            "the copy cannot be written there",
            expected="a folder of ours in which a new one can be made",
            received=f"{out}: {why(failure)}",
            action="name another folder",
        ) from None
    copier = _Copier(beside)
    try:
        (beside / DATABASES).mkdir()
        with ledger.at_rest():
            entries = ledger.entries()
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            for name in (AUDIT, HEAD):
                copier.copy(home / name, f"{HOME}/{name}")
            copier.tree(home / SPOOL, f"{HOME}/{SPOOL}")  # of lines that this copy has, whatever is delivered meanwhile
            for database in databases:
                database.freeze(beside / DATABASES / database.name)
        for database in databases:
            path = beside / DATABASES / database.name
            database.dump(path)
            copier.note(path, f"{DATABASES}/{database.name}")
        if artifacts is not None:
            copier.tree(artifacts, ARTIFACTS)
        copier.tree(home, HOME, left_out=NOT_COPIED | {AUDIT, HEAD, SPOOL})
        backup = Backup(
            medai=__version__,
            at=at,
            lines=len(entries),
            head=entries[-1].hash if entries else "",
            files=dict(sorted(copier.files.items())),
        )
        write_durably(beside / MANIFEST, backup.written)
        for folder in [path for path in beside.rglob("*") if path.is_dir()]:
            sync_directory(folder)
        beside.rename(out)
        sync_directory(out.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        for database in databases:
            database.close()
    return backup


def read_backup(source: Path) -> Backup:
    """The record of a copy, each of its files checked against it.

    Raises:
        DataRefused: it is no copy of ours, or one of its files is gone or was altered.
    """
    try:
        data = read_plain(source / MANIFEST)
        backup = Backup.model_validate_json(data)
    except (OSError, ValueError):
        raise DataRefused(
            f"{source} is no copy that medai made",
            expected=f"a folder with {MANIFEST}, as `medai backup` leaves it",
            received="a folder without, or one that cannot be read",
            action="name the folder that `medai backup` wrote",
        ) from None
    for name, file in backup.files.items():
        if not _is_ours(name) or not _is_intact(source / name, file):
            raise _altered(backup, name)
    return backup


def _altered(backup: Backup, name: str) -> DataRefused:
    return DataRefused(
        "the copy was altered",
        expected=f"file {list(backup.files).index(name) + 1} of {MANIFEST} as it was written",
        received="one that is gone, has other bytes, or would lie where no copy puts one",
        action="take another copy: this one cannot be trusted",
    )


def restore(workspace: Workspace, source: Path, databases: Sequence[Database], artifacts: Path | None = None) -> Backup:
    """Put a copy back into an empty state folder and empty databases. A kill in between: call it again.

    The audit comes last, so that a state folder that has one is whole.

    Args:
        workspace: of the state folder.
        source: the copy.
        databases: those of the copy, by name, where they are to be.
        artifacts: the folder in which the new MLflow server keeps artifacts.

    Raises:
        ConfigurationError: the state folder holds results, or the copy something that has no place here.
        DataRefused: the copy was altered.
        ServiceFailed: a database does not take its copy.
    """
    backup = read_backup(source)
    home = workspace.root
    again = _refuse_used(home, backup)
    make_folder(home)
    places = {database.name: database for database in databases}
    for name in backup.files:
        kind, _, rest = name.partition("/")
        if (kind == DATABASES and rest not in places) or (kind == ARTIFACTS and artifacts is None):
            raise ConfigurationError(
                "a part of the copy has no place here",
                expected="the kind of servers that the copy was made of",
                received=name if kind == DATABASES else "artifacts of an MLflow server",
                action="see docker/README.md on restoring",
            )
    write_durably(home / RESTORING, f'{{"backup":"{backup.sha256}"}}\n'.encode())
    for name in backup.files:
        if name.startswith(f"{DATABASES}/"):
            places[name.removeprefix(f"{DATABASES}/")].load(source / name, again=again)
    last = [f"{HOME}/{AUDIT}", f"{HOME}/{HEAD}"]
    for name in [
        *(name for name in backup.files if name not in last),
        *(name for name in last if name in backup.files),
    ]:
        kind, _, rest = name.partition("/")
        target = {HOME: home, ARTIFACTS: artifacts}.get(kind)
        if target is not None and not _put(source / name, target / rest, backup.files[name]):
            raise _altered(backup, name)
    (home / RESTORING).unlink()
    sync_directory(home)
    return backup


def refuse_broken(ledger: Ledger, backup: Backup) -> None:
    """See that what was restored is what was copied.

    Raises:
        ServiceFailed: the audit's head is another, or a champion's files are not intact.
    """
    entries = ledger.entries()
    head = entries[-1].hash if entries else ""
    if (len(entries), head) != (backup.lines, backup.head):
        raise ServiceFailed(
            "the restored audit is not the one that was copied",
            expected=f"{backup.lines} lines",
            received=f"{len(entries)} lines, or another last one",
            action="restore into an empty folder again",
        )
    lost = _without_files(ledger)
    if lost:
        raise ServiceFailed(
            "a champion cannot serve",
            expected="the files of every champion as they were stored",
            received=f"{', '.join(lost)} without",
            action="restore an earlier copy, or run that problem again",
        )


class _Copier:
    """Copies files and notes what they were."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.files: dict[str, Copied] = {}

    def copy(self, path: Path, name: str) -> None:
        """A plain file; one that is gone meanwhile is left out.

        Raises:
            ConfigurationError: it is a link, to a file or a folder: a copy without what it leads to would be no copy.
        """
        target = self.out / name
        with suppress(FileNotFoundError):
            if path.is_symlink():
                raise ConfigurationError(
                    "a part of what is to be copied is a link",
                    expected="plain files and folders: a copy follows no link",
                    received=str(path),
                    action="put what it leads to in its place (another disk may be mounted there), then copy again",
                )
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                make_folder(target.parent, 0o700)
                self.files[name] = _write(file.fileno(), target, os.fstat(descriptor).st_mode & 0o777)

    def note(self, path: Path, name: str) -> None:
        """A file that was written in the copy itself."""
        path.chmod(0o600)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[name] = Copied(size=path.stat().st_size, sha256=sha256, mode=0o600)

    def tree(self, folder: Path, name: str, left_out: frozenset[str] = frozenset()) -> None:
        """All files under a folder; what is being written, or was set apart, is not among them."""
        for path in _files(folder, left_out):
            relative = path.relative_to(folder).as_posix()
            if relative not in DATABASE_FILES:
                self.copy(path, f"{name}/{relative}")


def _files(folder: Path, left_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Files and links by name. Hidden names are of what a writer has not yet renamed, or of what was set apart."""
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            if entry.name in left_out or entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _write(source: int, target: Path, mode: int) -> Copied:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while block := os.read(source, HASH_BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    return Copied(size=size, sha256=digest.hexdigest(), mode=mode)


def _put(source: Path, target: Path, file: Copied) -> bool:
    """Put a file in its place; whether it still was what it was when the copy was checked."""
    make_folder(target.parent)
    with _opened(source) as opened:
        written = _write(opened.fileno(), target, file.mode)
    target.chmod(file.mode)
    sync_directory(target.parent)
    return written == file


def _opened(path: Path) -> BufferedReader:
    """A plain file of a copy, which holds no links; a pipe is not waited for.

    Raises:
        OSError: it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlain(errno.ENXIO, "not a plain file")
    return os.fdopen(descriptor, "rb")


def _without_files(ledger: Ledger) -> list[str]:
    """The problems whose champion's files are not as they were stored, and as the audit has their hash."""
    lost, workspace = [], ledger.workspace
    for problem in sorted({entry.problem for entry in ledger.entries(kind="champion")}):
        champion = ledger.champion(problem)
        if champion is not None and (
            workspace.find("fit", champion.candidate, Candidate) is None
            or damage(workspace.folder("fit", champion.candidate), champion.facts.get("files_sha256"))
        ):
            lost.append(problem)
    return lost


def _is_ours(name: str) -> bool:
    """Whether a copy may hold a file of this name, spelt as it spells it: `home//etc/x` would lead out of the home."""
    kind, *rest = PurePosixPath(name).parts or ("",)
    return (
        PurePosixPath(name).as_posix() == name
        and "\0" not in name
        and ".." not in rest
        and kind in (HOME, DATABASES, ARTIFACTS)
        and bool(rest)
        and not (kind == HOME and rest[0] in NOT_COPIED)
    )


def _is_intact(path: Path, file: Copied) -> bool:
    try:
        with _opened(path) as opened:
            return (
                os.fstat(opened.fileno()).st_size == file.size
                and hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
            )
    except (OSError, ValueError):  # a name that no file can have, too
        return False


def _refuse_used(home: Path, backup: Backup) -> bool:
    """Whether an interrupted restore of the same copy goes on.

    Raises:
        ConfigurationError: there are results in the state folder.
    """
    try:
        if backup.sha256.encode() in read_plain(home / RESTORING):
            return True
    except OSError:
        pass
    used = sorted(path.name for path in home.iterdir() if path.name not in NOT_COPIED) if home.is_dir() else []
    if used:
        raise ConfigurationError(
            "the state folder is not empty",
            expected="a MEDAI_HOME without results, into which the copy is put",
            received=f"{home} with {', '.join(used[:3])}",
            action="let MEDAI_HOME name another folder",
        )
    return False
