"""What a source's tables say, as data: one YAML file a source.

An event table is described by the columns that hold its parts (``EventTable``); patients, admissions and stays by what
each of their columns means. The publisher's header stands beside, so that another one is noticed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from medai.errors import ConfigurationError
from medai.records import Frozen
from medai.yaml_files import read_yaml

DISCHARGE = ":discharge"


class EventTable(Frozen):
    """One event table: which column holds what.

    Attributes:
        prefix: first part of an event's code; item and unit follow, joined by ``//``, ``UNK`` for an empty unit.
        item: what was measured or done: an item id or a word.
        unit: the recorded unit, or what else tells events of one item apart; None where the table has none.
        time: when it happened; ``:discharge`` for the end of the admission, where the table has no time of its own.
        stored: when it was stored; None where the table does not say.
        delay_minutes: how long after ``time`` a reading counts as known where no stored time can be read.
        delay_why: where that delay comes from.
        number: the publisher's own number; None where the text alone says it.
        text: the reading as it was written.
        admission: the hospital stay.
        row: the publisher's number of the row.
        left_out: column → values by which the publisher marks a row as an error.
        dictionary: the table that names the items.
    """

    prefix: str
    item: str
    unit: str | None = None
    time: str
    stored: str | None = None
    delay_minutes: int = Field(0, ge=0)
    delay_why: str = ""
    number: str | None = None
    text: str | None = None
    admission: str = "hadm_id"
    row: str | None = None
    left_out: dict[str, tuple[str, ...]] = Field(default={})
    dictionary: str | None = None

    def columns(self, subject: str) -> tuple[str, ...]:
        """The columns that are read, each once."""
        time = None if self.time == DISCHARGE else self.time
        named = (subject, self.admission, self.item, self.unit, time, self.stored, self.number, self.text, self.row)
        return tuple(dict.fromkeys(name for name in (*named, *self.left_out) if name is not None))


class Entities(Frozen):
    """Patients, admissions, stays or a dictionary of items.

    Attributes:
        table: its table.
        columns: what is meant → the column that says it.
    """

    table: str
    columns: dict[str, str]


class Mapping(Frozen):
    """One source.

    Attributes:
        source: its name in the vocabularies, and the namespace of its subject ids.
        folders: where tables lie below the data folder; empty: in it.
        earliest, latest: years that a date of this source can have, both included.
        groups: column of the stays table → group → how the words begin that belong to it, in upper case; words of no
            group are ``other``.
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
    groups: dict[str, dict[str, tuple[str, ...]]] = Field(default={})
    events: dict[str, EventTable]
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
    data: dict[str, Any] = read_yaml(path)
    try:
        return Mapping.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"the mapping {path.name} cannot be followed",
            expected="tables as the module medai.sources.relational.mapping describes them",
            received=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            action="mend the mapping's file",
        ) from None
