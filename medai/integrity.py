"""Whether stored files are what a line of the audit says they were. Looking changes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from medai.paths import read_plain
from medai.records import sha256_of_file
from medai.workspace import MANIFEST


def files_sha256(folder: Path) -> str:
    """One hash for all files of a finished stage: that of its manifest, which holds size and hash of each."""
    return hashlib.sha256(read_plain(folder / MANIFEST)).hexdigest()


def damage(folder: Path, expected: str | None = None) -> str | None:
    """What is wrong with the files of a finished stage; None if nothing is.

    Args:
        expected: their ``files_sha256`` as the audit has it; without it they are compared with their own manifest.
    """
    try:
        if expected is not None and files_sha256(folder) != expected:
            return f"{MANIFEST} is not the one that the audit knows"
        files = json.loads(read_plain(folder / MANIFEST))
        for name, (size, sha256) in sorted(files.items()):
            path = folder / name
            if not path.is_file():
                return f"{name} is gone"
            if path.stat().st_size != size or sha256_of_file(path) != sha256:
                return f"{name} has other bytes"
        listed = {folder / name for name in (*files, MANIFEST)}
        if any(path not in listed for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
            return "a file that was not there lies among them"
    except FileNotFoundError:
        return "the folder is gone" if not folder.is_dir() else f"{MANIFEST} is gone"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None
