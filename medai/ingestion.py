"""``ingest``: raw files read once into canonical, sorted, checksummed Parquet.

The snapshot's key holds the hashes of the raw files and the reader's version, so the same data are read once, wherever
they lie. A file that changes while it is read, or that its manifest does not confirm, is refused.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused, from_machine_failure
from medai.records import Snapshot, sha256_of, sha256_of_file, stage_key
from medai.sources.files import token_of
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    from medai.sources import Reader, Source

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "polars", "pyarrow")
MANIFEST_NAME = "SHA256SUMS.txt"
_MANIFEST_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]?(.+)")
"""As sha256sum writes it; PhysioNet's lists have one space."""

_Mark = tuple[int, int, int, int]


def ingest(workspace: Workspace, source: Source, path: Path, manifest: Path | None = None) -> Made[Snapshot]:
    """Read a source into the workspace, or find what an earlier run read from the same bytes.

    Args:
        source: which reader, and its configuration.
        path: the data: a file or a folder, as the source says.
        manifest: a list of SHA-256 sums that must name every raw file and hold for each; without one, what differs
            from a ``SHA256SUMS.txt`` in the data's folder is counted, since such lists go stale when a copy is
            repacked.

    Raises:
        DataRefused: the data are missing, damaged, unsafe, changing, or not what their name or manifest says.
        ServiceFailed: the disk is full or reported an error.
    """
    from medai.sources import reader

    chosen = reader(source)
    try:
        before, inputs, differing, key = _plan(workspace, chosen, source, path, manifest)

        def build(folder: Path) -> Snapshot:
            facts = chosen.read(source, path, folder)
            if _marks(chosen, source, path) != before:
                raise DataRefused(
                    "the data changed while they were read",
                    expected="files that stay as they are",
                    received="another size, time or list of files after reading than before",
                    action="wait until whatever writes them has finished, then run the same command again",
                )
            return Snapshot(
                key=key,
                shape=chosen.SHAPE,
                source=source.kind,
                unit=facts.unit,
                data_sha256=sha256_of(inputs),
                tables=facts.tables,
                counts=facts.counts | differing,
                dropped=facts.dropped,
            )

        made = workspace.materialise("ingest", key, Snapshot, build)
    except (PermissionError, FileNotFoundError) as error:
        if not _lies_in_data(error, path):
            raise
        raise DataRefused(
            "a file of the data cannot be read",
            expected="every file to be there and readable",
            received="permission denied" if isinstance(error, PermissionError) else "a file that went away",
            action="correct its permissions, or restore it, and run the same command again",
        ) from None
    except (OSError, MemoryError) as error:
        failure = from_machine_failure(error)
        if failure is None:
            raise
        raise failure from error
    for reason, count in made.record.counts.items():
        log.info("ingest: %s: %d", reason, count)
    return made


class _Plan(NamedTuple):
    """What is about to be read: each file's mark, role → hash, what differs from a manifest, and the snapshot's key."""

    marks: dict[tuple[str, Path], _Mark]
    inputs: dict[str, str]
    differing: dict[str, int]
    key: str


def _plan(workspace: Workspace, chosen: Reader, source: Source, path: Path, manifest: Path | None) -> _Plan:
    marks = _marks(chosen, source, path)
    hashes = {file: _hash(workspace, file) for _, file in marks}
    differing = _compare_with_manifest(path, marks, hashes, manifest)
    inputs = _contents(marks, hashes)
    named = inputs | ({"manifest": sha256_of(differing)} if differing else {})
    libraries = (*LIBRARIES, *getattr(chosen, "LIBRARIES", ()))
    return _Plan(marks, inputs, differing, stage_key("ingest", chosen.VERSION, named, source, libraries))


def unread(workspace: Workspace, source: Source, path: Path, manifest: Path | None = None) -> bool:
    """Whether ``ingest`` would have to read these files: no snapshot of the same bytes lies in the workspace.

    Raises:
        DataRefused, OSError: as ``ingest``.
    """
    from medai.sources import reader

    key = _plan(workspace, reader(source), source, path, manifest).key
    return not workspace.folder("ingest", key).is_dir()


def _lies_in_data(error: OSError, path: Path) -> bool:
    if not isinstance(error.filename, str):
        return False
    return Path(error.filename).absolute().is_relative_to(path.absolute().parent)


def _marks(chosen: Reader, source: Source, path: Path) -> dict[tuple[str, Path], _Mark]:
    """Every raw file with what tells that it was written to: size, inode, and both times.

    A modification time can be set back; the time of the last change to the file cannot.
    """
    marks = {}
    for token, file in chosen.raw_files(source, path):
        status = file.stat()
        marks[token, file] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return marks


_REMEMBERED_FROM = 1 << 23


def _hash(workspace: Workspace, file: Path) -> str:
    """SHA-256 of a file; remembered for large ones, since to note a small one costs more than to hash it some times."""
    return workspace.hash_file(file) if file.stat().st_size >= _REMEMBERED_FROM else sha256_of_file(file)


def _contents(marks: dict[tuple[str, Path], _Mark], hashes: dict[Path, str]) -> dict[str, str]:
    """Role → hash of its content; a role played by many files hashes their names and contents, in order of content.

    Names count there because they say whose a file is; only their hashes are kept.
    """
    several: dict[str, list[tuple[str, str]]] = {}
    inputs = {}
    for token, file in marks:
        if token.endswith("/*"):
            several.setdefault(token, []).append((hashes[file], sha256_of(file.name)))
        else:
            inputs[token] = hashes[file]
    return inputs | {token: sha256_of(sorted(contents)) for token, contents in several.items()}


def _compare_with_manifest(
    path: Path, marks: dict[tuple[str, Path], _Mark], hashes: dict[Path, str], given: Path | None
) -> dict[str, int]:
    """Compare the raw files with a list of sums: what differs is refused by a given one, counted by one beside."""
    manifest = given or _manifest_beside(path)
    if manifest is None:
        return {}
    sums = _read_manifest(manifest)
    root = manifest.parent.absolute()
    missing = _missing(root, marks, sums)
    if missing and given is not None:
        raise DataRefused(
            "files that the manifest names are missing",
            expected="every file beside those that are there",
            received=f"{missing} of them are not there",
            action="fetch them again, or give the manifest that belongs to these data",
        )
    unnamed = differing = 0
    for token, file in marks:
        if token.startswith("ignored"):
            continue
        name = Path(os.path.relpath(file.absolute(), root)).as_posix()
        expected = sums.get(name, sums.get(file.name))
        if expected is None:
            unnamed += 1
        elif expected != hashes[file] and given is not None:
            raise DataRefused(
                f"a file of the data ({token}) is not the one that its manifest names",
                expected=f"a SHA-256 that begins with {token_of(expected)}",
                received=f"one that begins with {token_of(hashes[file])}",
                action="fetch the file again; if the publisher changed it, fetch the new manifest too",
            )
        elif expected != hashes[file]:
            differing += 1
            log.debug("ingest: %s has another SHA-256 than %s says", token, manifest.name)
    if unnamed and given is not None:
        raise DataRefused(
            "the manifest does not name every file of the data",
            expected=f"{sum(not token.startswith('ignored') for token, _ in marks)} files named",
            received=f"{unnamed} of them are not",
            action="give the manifest that belongs to these data",
        )
    found = {
        "file_differs_from_manifest": differing,
        "file_missing_beside_manifest": missing,
        "file_not_in_manifest": unnamed,
    }
    return {reason: count for reason, count in found.items() if count}


def _manifest_beside(path: Path) -> Path | None:
    places = ([path] if path.is_dir() else []) + [path.parent]
    return next((place / MANIFEST_NAME for place in places if (place / MANIFEST_NAME).exists()), None)


def _missing(root: Path, marks: dict[tuple[str, Path], _Mark], sums: dict[str, str]) -> int:
    """How many files the manifest names among the data that are not there; other folders may be left unfetched."""
    places = {
        Path(os.path.relpath(file.absolute().parent, root)).as_posix() for token, file in marks if token.endswith("/*")
    }
    named = [name for name in sums if Path(name).parent.as_posix() in places]
    return sum(not os.path.lexists(root / name) for name in named)


def _read_manifest(manifest: Path) -> dict[str, str]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataRefused(
            "the manifest cannot be read",
            expected="a text file of SHA-256 sums, as sha256sum writes it",
            received=type(error).__name__,
            action="correct the manifest's path, or fetch it again",
        ) from None
    sums: dict[str, str] = {}
    for row, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _MANIFEST_LINE.fullmatch(line)
        name = "" if match is None else match[2].removeprefix("./")
        if match is None or sums.setdefault(name, match[1].lower()) != match[1].lower():
            raise DataRefused(
                f"row {row} of the manifest cannot be followed",
                expected="64 hexadecimal digits, two spaces and a file's name, each name once",
                received="something else" if match is None else "a second sum for the same name",
                action="fetch the manifest again",
            )
    return sums
