"""The mappings say what they say: a change of what a table means asks for a new version of its reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from medai.errors import ConfigurationError
from medai.records import sha256_of
from medai.sources import mimic3, mimic4
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.relational import Database
from medai.sources.relational.mapping import DISCHARGE, EventTable, load_mapping
from medai.sources.synthetic.hospital_tables import COLUMNS
from medai.vocabularies import vocabularies
from medai.yaml_files import read_yaml

CONTENT = {
    ("mimic3", 6): "13c61aac91a3f8559f0a502398e34b2d8d837bfff35ecc84946b0e9342b3abeb",
    ("mimic4", 6): "a737c97a46ad9b38ad06292a562d94b9a4554281dfe20bfc8b924c18aace7134",
    ("benchmark17", 6): "dfce085b44e8d7e1516635bdbccd9e070ca3a6c9864fbf776e2d1d80ddd68c91",
    ("yaib48", 6): "146fe60715c6ff21e35a73976bcdd79625613dce510cfc1c5e1cf1be57cbaf19",
}
"""(File, version of the readers that follow it) → hash of what it says; comments and layout do not count."""


DEFINITIONS = Path(__file__).parents[1] / "mimic_definitions.yaml"


def official(source: str) -> dict[str, dict[str, str]]:
    """Table → column → type, as the publisher defines them."""
    return {
        name.rpartition("/")[2]: dict(column.split(":") for column in columns.split())
        for name, columns in read_yaml(DEFINITIONS)[source].items()
    }


def test_a_change_of_meaning_has_a_new_version() -> None:
    """Snapshots are found by the reader's version: with another mapping or vocabulary under the same version, an old
    snapshot would be taken for a new one. Raise ``VERSION`` of both readers, then write the new hashes here.
    """
    assert mimic3.VERSION == mimic4.VERSION
    for (name, version), sha256 in CONTENT.items():
        path = vocabularies().get(name) or {"mimic3": Mimic3, "mimic4": Mimic4}[name].mapping_file
        assert (version, sha256_of(read_yaml(path))) == (mimic3.VERSION, sha256), name


@pytest.mark.parametrize("source", [Mimic3, Mimic4])
def test_mappings_are_whole(source: type[Database]) -> None:
    """Every table of the publisher is read or is not, with the reason; every delay has its reason."""
    mapping = source.mapping()
    read = [*(entities.table for entities in mapping.entities), *mapping.events]
    assert sorted([*read, *mapping.not_read]) == sorted(official(mapping.source))
    assert sorted(mapping.headers) == sorted(read)
    assert all(reason.endswith(".") for reason in mapping.not_read.values())
    assert "noteevents" not in mapping.events
    for name, table in mapping.events.items():
        assert bool(table.delay_minutes) == bool(table.delay_why), name
        assert table.dictionary is None or table.dictionary in mapping.dictionaries, name


@pytest.mark.parametrize("source", [Mimic3, Mimic4])
def test_headers_and_types_are_the_publishers(source: type[Database]) -> None:
    """Each column stands where the official definition has it, and has the type that its part in an event needs."""
    mapping = source.mapping()
    for name, columns in official(mapping.source).items():
        if name in mapping.headers:
            assert mapping.headers[name].split() == list(columns), name
    wanted = {"subject": "integer", "admission": "integer", "stay": "integer", "item": "integer"}
    wanted |= dict.fromkeys(("start", "end", "birth", "death"), "timestamp date")
    for entities in mapping.entities:
        columns = official(mapping.source)[entities.table]
        for meant, column in entities.columns.items():
            assert columns[column] in wanted.get(meant, "text integer"), (entities.table, column)
    for name, table in mapping.events.items():
        columns = official(mapping.source)[name]
        typed = {
            "integer": [mapping.patients.columns["subject"], table.admission, table.row],
            "timestamp": [table.stored, *(entry.time for entry in table.entries)],
            "timestamp date": [entry.date for entry in table.entries],
            "numeric": [entry.number for entry in table.entries],
            "text": [entry.unit for entry in table.entries],
            "text numeric timestamp": [entry.text for entry in table.entries],
            "text integer": [*table.code, *table.left_out],
        }
        assert {column for named in typed.values() for column in named} - {None, DISCHARGE} == set(
            table.columns(mapping.patients.columns["subject"])
        )
        for kinds, named in typed.items():
            for column in named:
                assert column in (None, DISCHARGE) or columns[column] in kinds.split(), (name, column)


def test_the_synthetic_hospital_has_the_publishers_columns() -> None:
    """What is generated as MIMIC-IV has the columns of the same definition."""
    definitions = read_yaml(DEFINITIONS)["mimic4"]
    for name, columns in COLUMNS.items():
        assert columns.split() == [column.partition(":")[0] for column in definitions[name].split()], name


def test_an_event_has_a_time() -> None:
    """A table with neither time nor date has no events."""
    with pytest.raises(ValidationError, match="a time, or a date at least"):
        EventTable(prefix="X", code=("a",))


def test_a_misspelt_mapping_is_refused(tmp_path: Path) -> None:
    """With the key and the near match."""
    text = Mimic4.mapping_file.read_text().replace("stored: storetime", "storde: storetime", 1)
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"did you mean 'stored'\?"):
        load_mapping(tmp_path / "mapping.yaml")
