"""What the columns of a table hold: a small YAML file that says of each column what becomes of it.

    subject: PatientID                    the patient's id: the pseudonym that DICOM files get, too
    numbers: false                        pseudonyms as whole numbers, for readers that want numbers
    identifiers: {hadm_id: admission}     other ids, by kind: equal ids of one kind stay equal in every table
    uids: [StudyInstanceUID]              DICOM UIDs, replaced as in files
    dates: [StudyDate]                    dates and times, moved by the patient's days
    births: {dob: 1930-01-01}             dates of birth, moved; one before this day is this day (90 and older)
    years: [anchor_year]                  a year, of the day that its middle was moved to
    ages: [age]                           years; over 89 becomes 90
    drop: [note]                          free text and whatever else must go
    empty: [comments]                     the same, for readers that miss a column: it stays, without a value
    keep: [finding]                       stays as it is: whoever writes the file says that nobody can be told by it
    tables: {notes: {drop: [text]}}       what is otherwise in one table of a folder

A column that is not named is refused, and never passed on by default.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from medai.errors import ConfigurationError, near_match
from medai.records import Frozen
from medai.yaml_files import read_yaml

Fate = Literal["subject", "identifier", "uid", "date", "birth", "year", "age", "drop", "empty", "keep"]


class Columns(Frozen):
    """What becomes of the columns of a table; names are compared without case."""

    subject: str | None = None
    identifiers: dict[str, str] = Field(default={})
    uids: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    births: dict[str, datetime.date] = Field(default={})
    years: tuple[str, ...] = ()
    ages: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @field_validator("identifiers")
    @classmethod
    def _kinds(cls, kinds: dict[str, str]) -> dict[str, str]:
        if not all(kind[:1].isalpha() for kind in kinds.values()):
            raise ValueError("a kind of identifier begins with a letter")
        return kinds

    @model_validator(mode="after")
    def _once(self) -> Columns:
        twice = [name for name, count in Counter(name for name, _ in self._named()).items() if count > 1]
        if twice:
            raise ValueError(f"a column has one fate: {', '.join(sorted(twice))} has two")
        return self

    def _named(self) -> Iterator[tuple[str, Fate]]:
        if self.subject:
            yield self.subject.lower(), "subject"
        groups: tuple[tuple[Fate, Sequence[str] | Mapping[str, object]], ...] = (
            ("identifier", self.identifiers), ("uid", self.uids), ("date", self.dates), ("birth", self.births),
            ("year", self.years), ("age", self.ages), ("drop", self.drop), ("empty", self.empty), ("keep", self.keep),
        )  # fmt: skip
        for fate, names in groups:
            for name in names:
                yield name.lower(), fate

    def fates(self) -> dict[str, Fate]:
        """Column in lower case → what becomes of it."""
        return dict(self._named())


class Definition(Columns):
    """A whole file: what holds for every table, and what is otherwise in some."""

    numbers: bool = False
    tables: dict[str, Columns] = Field(default={})

    def of(self, table: str) -> Table:
        """What becomes of one table's columns."""
        own = {name.lower(): columns for name, columns in self.tables.items()}.get(table.lower(), Columns())
        kinds, births = self.identifiers | own.identifiers, self.births | own.births
        return Table(
            self.fates() | own.fates(),
            {name.lower(): kind for name, kind in kinds.items()},
            {name.lower(): day for name, day in births.items()},
            self.numbers,
        )


class Table:
    """What becomes of the columns of one table.

    Args:
        fates: column in lower case → fate.
        kinds: identifier's column → its kind.
        births: column → the earliest date of birth that is told.
        numbers: whether pseudonyms are whole numbers.
    """

    def __init__(
        self, fates: Mapping[str, Fate], kinds: Mapping[str, str], births: Mapping[str, datetime.date], numbers: bool
    ) -> None:
        self.fates, self.kinds, self.births, self.numbers = fates, kinds, births, numbers

    def settle(self, columns: Sequence[str]) -> dict[str, Fate]:
        """Column → fate, of the columns that a table has.

        Raises:
            ConfigurationError: a column is not named, or dates are to be moved in a table without a patient.
        """
        unnamed = [position for position, name in enumerate(columns, 1) if name.lower() not in self.fates]
        if unnamed:
            headed = len(unnamed) < len(columns)  # of a table without a header the first row is a patient's
            shown = ", ".join(columns[at - 1] for at in unnamed if headed and columns[at - 1].isidentifier())
            raise ConfigurationError(
                "a table has columns that the mapping does not name",
                expected="each under subject, identifiers, uids, dates, births, years, ages, drop, empty or keep",
                received=f"{len(unnamed)} unnamed, at {', '.join(map(str, unnamed))}" + (f": {shown}" if shown else ""),
                action="name them in the --columns file; what may hold text that somebody typed belongs under drop",
            )
        settled = {name: self.fates[name.lower()] for name in columns}
        if {"date", "birth", "year"} & set(settled.values()) and "subject" not in settled.values():
            raise ConfigurationError(
                "a table has dates, but no column that says whose they are",
                expected="the patient's id in each table with dates",
                received="a table without it",
                action="join the patient's id to the table first, or drop the dates",
            )
        return settled


def read_definition(path: Path) -> Definition:
    """The mapping of a file, or of one that medai brings along (``mimic4``).

    Raises:
        ConfigurationError: it cannot be read or followed.
    """
    brought = {
        file.name.removesuffix(".yaml"): file
        for file in (resources.files("medai.deidentification") / "mappings").iterdir()
    }
    if str(path) in brought:
        with resources.as_file(brought[str(path)]) as file:
            data = read_yaml(file)
    elif path.suffix not in (".yaml", ".yml"):
        raise ConfigurationError(
            f"there is no mapping of columns named {path.name}",
            expected="a YAML file, or one of " + ", ".join(sorted(brought)),
            received=near_match(str(path), brought),
            action="write one: medai/deidentification/columns.py describes it",
        )
    else:
        data = read_yaml(path)
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigurationError(
            "the mapping of columns cannot be followed",
            expected="subject, numbers, identifiers, uids, dates, births, years, ages, drop, empty, keep, tables",
            received="; ".join(faults),
            action="correct the --columns file",
        ) from None
