"""MIMIC-IV, v2.2 and v3.1: tables below ``hosp/`` and ``icu/``, as CSV or CSV.GZ, to canonical events.

Johnson AEW, Bulgarelli L, Shen L, et al. MIMIC-IV, a freely accessible electronic health record dataset. Sci Data
2023;10:1. What each table says stands in ``mimic4.yaml``; the rules are those of ``mimic3``. A patient's age is that
of the anchor year and the years since; an anchor age of 91 stands for all over 89 and becomes 90.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from medai.sources.relational import Database
from medai.tables import Facts, Names

VERSION = 6
SHAPE: Literal["images", "events"] = "events"


class Mimic4(Database):
    """A folder that holds MIMIC-IV's ``hosp`` and ``icu``."""

    mapping_file: ClassVar[Path] = Path(__file__).with_suffix(".yaml")

    kind: Literal["mimic4"]


def raw_files(config: Mimic4, path: Path) -> list[tuple[str, Path]]:
    """Each table that is read, with its file; see ``Database.raw_files``."""
    flat = path.is_dir() and not (path / "hosp").is_dir()
    hint = "point --data at the folder that holds hosp/ and icu/; tables in one folder are MIMIC-III's (source mimic3)"
    return config.raw_files(path, hint if flat else "")


def names(config: Mimic4) -> Names:
    """What a Problem may speak of; see ``Database.names``."""
    return config.names()


def read(config: Mimic4, path: Path, folder: Path) -> Facts:
    """Write events, stays, labels, codes and identifiers; see ``Database.read``."""
    return config.read(path, folder)
