"""MIMIC-III: 26 tables of a hospital's intensive care, as CSV or CSV.GZ, to canonical events.

Johnson AEW, Pollard TJ, Shen L, et al. MIMIC-III, a freely accessible critical care database. Sci Data 2016;3:160035.
What each table says stands in ``mimic3.yaml``, the clinical variables in ``medai/vocabularies``, the rules for rows in
``medai.sources.relational.events``, those for stays in ``medai.sources.relational.stays``. NOTEEVENTS is never read.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from medai.sources.relational import Database
from medai.tables import Facts, Names

VERSION = 6
SHAPE: Literal["images", "events"] = "events"


class Mimic3(Database):
    """A folder of MIMIC-III's tables, names and headers in either case."""

    mapping_file: ClassVar[Path] = Path(__file__).with_suffix(".yaml")

    kind: Literal["mimic3"]


def raw_files(config: Mimic3, path: Path) -> list[tuple[str, Path]]:
    """Each table that is read, with its file; see ``Database.raw_files``."""
    modern = (path / "hosp").is_dir() and (path / "icu").is_dir()
    hint = "this looks like MIMIC-IV, which has hosp/ and icu/: use a problem whose source is mimic4"
    return config.raw_files(path, hint if modern else "")


def names(config: Mimic3) -> Names:
    """What a Problem may speak of; see ``Database.names``."""
    return config.names()


def read(config: Mimic3, path: Path, folder: Path) -> Facts:
    """Write events, stays, labels, codes and identifiers; see ``Database.read``."""
    return config.read(path, folder)
