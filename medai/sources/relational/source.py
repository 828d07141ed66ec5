"""What every source of this kind is: a configuration, the files that it reads, and one call that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from medai.errors import near_match
from medai.records import Frozen
from medai.sources.relational.folder import tables_below
from medai.sources.relational.mapping import Mapping, load_mapping
from medai.sources.relational.stays import AGE_GROUPS, AGED, OWN
from medai.tables import Facts, Names
from medai.vocabularies import load_vocabulary
from medai.vocabularies.phenotypes import Phenotypes, load_phenotypes, phenotype_files

PHENOTYPES = "phenotypes25"
"""The conditions that ``phenotypes: true`` stands for."""


class Database(Frozen):
    """A folder of a hospital's tables.

    Attributes:
        tables: the event tables to read; the source's mapping describes which can be.
        vocabulary: the clinical variables to recognise.
        delay_minutes: event table → minutes after which a reading without a stored time counts as known, in place of
            the delays that the mapping states with their reasons.
        phenotypes: a list of conditions whose labels are made from the admissions' diagnoses (``phenotype_…``); true
            for the 25 of the public benchmark. They are labels and nothing else.
    """

    mapping_file: ClassVar[Path]

    tables: tuple[str, ...] = Field(("chartevents", "labevents", "outputevents"), min_length=1)
    vocabulary: str = "benchmark17"
    delay_minutes: dict[str, int] = Field(default={})
    phenotypes: bool | str = False

    @model_validator(mode="after")
    def _names_known_tables(self) -> Database:
        known = self.mapping().events
        for table in (*self.tables, *self.delay_minutes):
            if table not in known:
                raise ValueError(f"{table!r} is no event table of this source; {near_match(table, known)}")
        if len(set(self.tables)) < len(self.tables):
            raise ValueError("each table is named once")
        if any(minutes < 0 for minutes in self.delay_minutes.values()):
            raise ValueError("a reading is not known before it was taken: delays are 0 minutes or more")
        lists = phenotype_files()
        if isinstance(self.phenotypes, str) and self.phenotypes not in lists:
            raise ValueError(
                f"there is no list of phenotypes {self.phenotypes!r}; {near_match(self.phenotypes, lists)}"
            )
        return self

    @property
    def conditions(self) -> Phenotypes | None:
        """The conditions that are asked for."""
        if not self.phenotypes:
            return None
        return load_phenotypes(self.phenotypes if isinstance(self.phenotypes, str) else PHENOTYPES)

    @classmethod
    def mapping(cls) -> Mapping:
        """What each table of this source says."""
        return load_mapping(cls.mapping_file)

    def raw_files(self, path: Path, hint: str = "") -> list[tuple[str, Path]]:
        """Each table that is read, with its file.

        Args:
            hint: the next step where a table is missing.

        Raises:
            DataRefused: a table is missing, there twice, empty, or another type than its name says.
        """
        mapping = self.mapping()
        wanted = [*(entities.table for entities in mapping.entities), *self.tables]
        if self.phenotypes and mapping.diagnoses is not None:
            wanted.append(mapping.diagnoses.table)
        return sorted(tables_below(path, mapping.folders, list(dict.fromkeys(wanted)), hint).items())

    def names(self) -> Names:
        """What a Problem may speak of: the vocabulary's variables that this source records, and the stays' columns."""
        mapping = self.mapping()
        variables = load_vocabulary(self.vocabulary).variables
        groups = {name: (*levels, "other") for name, levels in mapping.groups.items()}
        ages = tuple(dict.fromkeys((*(name for _, name in AGE_GROUPS), AGED)))
        without = {"record_fault"} | ({"admission_year"} if "anchor_group" not in mapping.patients.columns else set())
        levels = {"gender": ("F", "M"), "age_group": ages, **groups}
        return Names(
            variables=tuple(name for name, variable in variables.items() if variable.items.get(mapping.source)),
            static={name: levels.get(name, ()) for name in (*OWN, *groups) if name not in without},
        )

    def read(self, path: Path, folder: Path) -> Facts:
        """Write events, stays, labels, codes and identifiers.

        Raises:
            DataRefused: a table is damaged, cut short, ragged, or lacks a column; nothing is guessed.
        """
        from medai.sources.relational.snapshot import Reading, write_snapshot

        vocabulary = load_vocabulary(self.vocabulary)
        files = dict(self.raw_files(path))
        reading = Reading(self.mapping(), vocabulary, self.tables, files, self.delay_minutes, self.conditions)
        return write_snapshot(reading, folder)
