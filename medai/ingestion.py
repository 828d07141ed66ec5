"""``ingest``: raw files read once into canonical, sorted, checksummed Parquet.

The snapshot's key holds the hashes of the raw files and the reader's version, so the same data are read once, wherever
they lie. A file that changes while it is read, or that its manifest does not confirm, is refused.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import DataRefused, from_machine_failure
from medai.records import Snapshot, sha256_of, sha256_of_file, stage_key
from medai.sources.files import token_of
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    from medai.sources import Reader, Source

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "polars", "pyarrow")
MANIFEST_NAME = "SHA256SUMS.txt"
_MANIFEST_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")

_Mark = tuple[int, int, int]


def ingest(workspace: Workspace, source: Source, path: Path, manifest: Path | None = None) -> Made[Snapshot]:
    """Read a source into the workspace, or find what an earlier run read from the same bytes.

    Args:
        source: which reader, and its configuration.
        path: the data: a file or a folder, as the source says.
        manifest: a list of SHA-256 sums that must name every raw file; by default a ``SHA256SUMS.txt`` in the data's
            folder is believed for the files that it names.

    Raises:
        DataRefused: the data are missing, damaged, unsafe, changing, or not what their name or manifest says.
        ServiceFailed: the disk is full or reported an error.
    """
    from medai.sources import reader

    chosen = reader(source)
    try:
        before = _marks(chosen, source, path)
        hashes = {file: _hash(workspace, file) for _, file in before}
        _check_manifest(path, before, hashes, manifest)
        inputs = _contents(before, hashes)
        key = stage_key("ingest", chosen.VERSION, inputs, source, LIBRARIES)

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
                counts=facts.counts,
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


def _lies_in_data(error: OSError, path: Path) -> bool:
    if not isinstance(error.filename, str):
        return False
    return Path(error.filename).absolute().is_relative_to(path.absolute().parent)


def _marks(chosen: Reader, source: Source, path: Path) -> dict[tuple[str, Path], _Mark]:
    """Every raw file with what tells that it was written to: size, modification time and inode."""
    marks = {}
    for token, file in chosen.raw_files(source, path):
        status = file.stat()
        marks[token, file] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return marks


_REMEMBERED_FROM = 1 << 20


def _hash(workspace: Workspace, file: Path) -> str:
    """SHA-256 of a file; remembered for large ones, since looking up a small one costs more than hashing it."""
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


def _check_manifest(
    path: Path, marks: dict[tuple[str, Path], _Mark], hashes: dict[Path, str], given: Path | None
) -> None:
    """Compare the raw files with a list of sums, if there is one."""
    if given is not None:
        manifest: Path | None = given
    else:
        places = ([path] if path.is_dir() else []) + [path.parent]
        manifest = next((place / MANIFEST_NAME for place in places if (place / MANIFEST_NAME).is_file()), None)
    if manifest is None:
        return
    sums = _read_manifest(manifest)
    root = manifest.parent.absolute()
    unnamed = 0
    for token, file in marks:
        name = Path(os.path.relpath(file.absolute(), root)).as_posix()
        expected = sums.get(name, sums.get(file.name))
        if expected is None:
            unnamed += 1
        elif expected != hashes[file]:
            raise DataRefused(
                f"a file of the data ({token}) is not the one that its manifest names",
                expected=f"a SHA-256 that begins with {token_of(expected)}",
                received=f"one that begins with {token_of(hashes[file])}",
                action="fetch the file again; if the publisher changed it, fetch the new manifest too",
            )
    if unnamed and given is not None:
        raise DataRefused(
            "the manifest does not name every file of the data",
            expected=f"{len(marks)} files named",
            received=f"{unnamed} of them are not",
            action="give the manifest that belongs to these data",
        )
    if unnamed:
        log.info("ingest: %s does not name %d of %d files", MANIFEST_NAME, unnamed, len(marks))


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
