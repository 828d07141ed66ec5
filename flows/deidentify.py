"""``medai deidentify``: DICOM files or tables, rewritten with the pseudonyms and shifts of the site's key."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import Any

from flows.settings import Settings
from medai.deidentification.columns import read_definition
from medai.deidentification.folder import rewrite_folder
from medai.deidentification.keys import Key, kept_key, read_key
from medai.deidentification.regions import read_regions
from medai.deidentification.rows import ending_of, rewrite_table, rewrite_tables
from medai.errors import ConfigurationError
from medai.paths import expanded
from medai.workspace import Workspace

LISTS = "deidentification"
"""Folder of the state that holds lists of what was set aside, by name, for their owner alone."""


def deidentify(
    settings: Settings,
    source: str,
    out: str,
    key: str | None = None,
    columns: str | None = None,
    regions: str | None = None,
) -> dict[str, Any]:
    """Rewrite a folder of DICOM files, one such file, a table, or a folder of tables.

    Args:
        source: what to rewrite; with ``columns`` a table or a folder of tables.
        out: a folder that is absent or empty; for a table the file to write.
        key: the file of the key; that of the state folder where it is left out, made the first time.
        columns: a YAML file that says what each column holds, or the name of a mapping that medai brings along.
        regions: a YAML file that says where the site's devices write into pictures: see ``regions``.

    Returns:
        The report, with ``path`` and, of pictures, ``list``: where the names of what was set aside stand.
    """
    origin, place = expanded(source), expanded(out).absolute()
    if columns is None:
        refuse_without_extra()
        if ending_of(origin) is not None and origin.is_file():
            raise ConfigurationError(
                "a table needs to be told what its columns hold",
                expected="--columns FILE, a small YAML file",
                received="none",
                action="write one; `medai deidentify --help` and the README show its keys",
            )
    if columns is not None and regions is not None:
        raise ConfigurationError(
            "regions are of pictures, and columns of tables",
            expected="one of --regions and --columns",
            received="both",
            action="rewrite pictures and tables by two calls, with one key",
        )
    rules = None if regions is None else read_regions(expanded(regions))
    definition = None if columns is None else read_definition(expanded(columns))
    secret = _key(settings, key)
    mark = hashlib.sha256(str(place).encode(errors="surrogatepass")).hexdigest()[:16]
    with Workspace(settings.home, settings.lock_seconds).lock(f"deidentify-{mark}"):
        if definition is None:
            names = settings.home / LISTS / f"{mark}.csv"
            report = rewrite_folder(origin, place, secret, rules=rules, private=names)
            return report | {"path": str(place), "list": str(names)}
        if origin.is_dir():
            return rewrite_tables(origin, place, definition, secret) | {"path": str(place)}
        return rewrite_table(origin, place, definition, secret) | {"path": str(place)}


def refuse_without_extra() -> None:
    """Refuse before any work where the packages for DICOM are not installed.

    Raises:
        ConfigurationError: one of them is missing.
    """
    missing = [name for name in ("pydicom", "dicomanonymizer", "cv2") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            "what reads DICOM is not installed",
            expected="the packages of medai's extra `imaging`",
            received=f"without {', '.join(missing)}",
            action="pip install '.[imaging]' in the folder that medai was cloned to",
        )


def _key(settings: Settings, path: str | None) -> Key:
    return kept_key(settings.home) if path is None else read_key(expanded(path))
