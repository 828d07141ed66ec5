"""The mappings say what they say: a change of what a table means asks for a new version of its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from medai.errors import ConfigurationError
from medai.records import sha256_of
from medai.sources import mimic3, mimic4
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.relational import Database
from medai.sources.relational.mapping import load_mapping
from medai.vocabularies import vocabularies
from medai.yaml_files import read_yaml

CONTENT = {
    ("mimic3", 1): "c661e86dcabd22ad913637055e5adfb708ee1e5b6f23a46516f34076b4d45638",
    ("mimic4", 1): "890e27d74f87c2b672998f247b29db5778aba68f4a74340db86d7eeed0e7e99c",
    ("benchmark17", 1): "dfce085b44e8d7e1516635bdbccd9e070ca3a6c9864fbf776e2d1d80ddd68c91",
}
"""(File, version of the readers that follow it) → hash of what it says; comments and layout do not count."""


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
    """Every column that is read is one of the publisher's; every delay has its reason."""
    mapping = source.mapping()
    headers = {table: set(header.split()) for table, header in mapping.headers.items()}
    for entities in mapping.entities:
        assert set(entities.columns.values()) <= headers[entities.table], entities.table
    for name, table in mapping.events.items():
        assert set(table.columns(mapping.patients.columns["subject"])) <= headers[name], name
        assert bool(table.delay_minutes) == bool(table.delay_why), name
        assert table.dictionary is None or table.dictionary in mapping.dictionaries, name
    assert "noteevents" not in mapping.events


def test_a_misspelt_mapping_is_refused(tmp_path: Path) -> None:
    """With the key and the near match."""
    text = Mimic4.mapping_file.read_text().replace("stored: storetime", "storde: storetime", 1)
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"did you mean 'stored'\?"):
        load_mapping(tmp_path / "mapping.yaml")
