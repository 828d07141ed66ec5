"""What a source's tables say, as data: one YAML file a source.

An event table is described by the columns that hold its parts (``EventTable``); patients, admissions and stays by what
each of their columns means. The publisher's header stands beside, so that another one is noticed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field, model_validator

from medai.records import Frozen
from medai.yaml_files import read_as

DISCHARGE = ":discharge"


class Entry(Frozen):
    """One of the things that a row says, at one moment: an event.

    Attributes:
        prefix: first part of the event's code.
        time: when it happened; ``:discharge`` for the end of the admission, where the table has no time of its own.
        date: the day it happened, where ``time`` is empty or the table gives no hour. Such an event stands at the
            day's begin and is known at its end.
        unit: the recorded unit, the last part of the code; None where the table has none.
        number: the publisher's own number; None where the text alone says it.
        text: the reading as it was written.
    """

    prefix: str
    time: str | None = None
    date: str | None = None
    unit: str | None = None
    number: str | None = None
    text: str | None = None

    @property
    def said_in(self) -> tuple[str | None, ...]:
        """The columns that say it; None among them."""
        return (None if self.time == DISCHARGE else self.time, self.date, self.unit, self.number, self.text)


class EventTable(Entry):
    """One event table: which column holds what.

    Attributes:
        code: columns whose words follow the prefix, joined by ``//``, ``UNK`` for an empty one. The first is the item,
            which the dictionary and the vocabulary know.
        stored: when it was stored; ``:discharge`` for codes that are given when the admission ends, whatever day they
            name; None where the table does not say.
        delay_minutes: how long after its time, or its day's end, a reading counts as known where no stored time can be
            read.
        delay_why: where that delay comes from.
        further: what else a row says, at a time of its own or, without one, at the table's. An event each where its
            reading, or without one its time, is not empty; none of the vocabulary's variables.
        admission: the hospital stay; None where the table does not say.
        row: the publisher's number of the row.
        left_out: column → values by which the publisher marks a row as an error.
        dictionary: the table that names the items.
    """

    code: tuple[str, ...] = Field(min_length=1)
    stored: str | None = None
    delay_minutes: int = Field(0, ge=0)
    delay_why: str = ""
    further: tuple[Entry, ...] = ()
    admission: str | None = "hadm_id"
    row: str | None = None
    left_out: dict[str, tuple[str, ...]] = Field(default={})
    dictionary: str | None = None

    @model_validator(mode="after")
    def _has_a_time(self) -> EventTable:
        if self.time is None and self.date is None:
            raise ValueError("an event has a time, or a date at least")
        return self

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What a row says: its own reading, then the further ones."""
        timed = (
            one if one.time or one.date else one.model_copy(update={"time": self.time, "date": self.date})
            for one in self.further
        )
        return (self, *timed)

    def columns(self, subject: str) -> tuple[str, ...]:
        """The columns that are read, each once."""
        stored = None if self.stored == DISCHARGE else self.stored
        said = [column for entry in self.entries for column in entry.said_in]
        named = (subject, self.admission, *self.code, stored, self.row, *said)
        return tuple(dict.fromkeys(name for name in (*named, *self.left_out) if name is not None))


class Entities(Frozen):
    """Patients, admissions, stays or a dictionary of items.

    Attributes:
        table: its table.
        columns: what is meant → the column that says it.
    """

    table: str
    columns: dict[str, str]


class Diagnoses(Entities):
    """The table of diagnosis codes: ``admission``, ``code`` and, where it tells, ``version``.

    Attributes:
        version: the ICD revision of all codes, where the table has no column for it.
    """

    version: int | None = None


class Mapping(Frozen):
    """One source.

    Attributes:
        source: its name in the vocabularies, and the namespace of its subject ids.
        folders: where tables lie below the data folder; empty: in it.
        earliest, latest: years that a date of this source can have, both included.
        diagnoses: read where a Problem asks for phenotypes.
        groups: column of the stays table → group → how the words begin that belong to it, in upper case; words of no
            group are ``other``.
        not_read: every other table of the publisher's → why it is not read.
        headers: table → the publisher's columns, in order. A table without one is not checked for extra columns.
    """

    source: str
    folders: tuple[str, ...] = ()
    earliest: int
    latest: int
    patients: Entities
    admissions: Entities
    stays: Entities
    dictionaries: dict[str, Entities] = Field(default={})
    diagnoses: Diagnoses | None = None
    groups: dict[str, dict[str, tuple[str, ...]]] = Field(default={})
    events: dict[str, EventTable]
    not_read: dict[str, str] = Field(default={})
    headers: dict[str, str] = Field(default={})

    @property
    def entities(self) -> tuple[Entities, ...]:
        """The tables that every snapshot reads."""
        return (self.patients, self.admissions, self.stays, *self.dictionaries.values())


@cache
def load_mapping(path: Path) -> Mapping:
    """Read a source's mapping.

    Raises:
        ConfigurationError: the file cannot be followed.
    """
    return read_as(Mapping, path, f"the mapping {path.name}")
