"""Our own tables: altered in the store, larger than memory, exported with formulas in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.errors import DataRefused
from medai.prediction.results import as_csv
from medai.sources.relational.snapshot import Reading, write_snapshot
from medai.tables import read_table
from medai.vocabularies import load_vocabulary
from medai.workspace import Workspace
from tests.faults.case import refused
from tests.faults.conftest import Undamaged, meets, walk
from tests.faults.sets import HOSPITALS, SETS

STORED = {
    "npz": ("images", "labels", "identifiers", "pixels.npy"),
    "stays": ("events", "stays", "labels", "stay_identifiers"),
    "mimic3": ("events", "codes", "admission_identifiers"),
}


@pytest.mark.parametrize(
    ("source", "name", "way"),
    [(source, name, way) for source, names in STORED.items() for name in names for way in ("cut", "turned", "gone")],
)
def test_a_stored_table_that_was_altered_is_noticed_and_made_again(
    source: str,
    name: str,
    way: str,
    tmp_path: Path,
    undamaged: Undamaged,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    """Our own Parquet, cut, with a byte turned, or gone: set apart, said, and made again, byte by byte."""
    record_property("fault", ("our own tables", source, "made again", False))
    path = undamaged.copy(source, tmp_path / "data")
    workspace = Workspace(tmp_path / "home")
    first, _ = walk(workspace, source, path)
    file = workspace.folder("ingest", first.key) / (name if "." in name else f"{name}.parquet")
    sound = file.read_bytes()
    status = file.stat()
    if way == "gone":
        file.unlink()
    else:
        data = bytearray(sound)
        data[len(data) // 3] ^= 0x20
        file.write_bytes(sound[:-40] if way == "cut" else data)
    if way == "turned" and file.suffix == ".parquet":
        meets_damage(file, sound)
    again, _ = walk(workspace, source, path)
    assert again == first
    assert file.read_bytes() == sound
    assert file.stat().st_mode == status.st_mode
    assert sum("set apart and made again" in record.getMessage() for record in caplog.records) == 1


def meets_damage(file: Path, sound: bytes) -> None:
    """Read by itself, an altered table is refused, or the byte was one that says nothing of its rows."""
    (file.parent / "sound.parquet").write_bytes(sound)
    expected = read_table(file.parent / "sound.parquet")
    (file.parent / "sound.parquet").unlink()
    try:
        assert read_table(file).equals(expected)
    except DataRefused as error:
        meets(error, refused("cannot be read"))


@pytest.mark.parametrize("source", HOSPITALS)
def test_more_rows_than_memory_give_the_same_bytes(
    source: str, tmp_path: Path, undamaged: Undamaged, record_property: Callable[[str, object], None]
) -> None:
    """Sorted part by part, some kilobytes at a time, the events are those that were sorted at once."""
    record_property("fault", ("more rows than memory", source, "the same bytes", False))
    config: Any = SETS[source].config
    path = undamaged.copy(source, tmp_path / "data")
    reading = Reading(
        config.mapping(),
        load_vocabulary(config.vocabulary),
        config.tables,
        dict(config.raw_files(path)),
        config.delay_minutes,
    )
    (tmp_path / "parts").mkdir()
    write_snapshot(reading, tmp_path / "parts", bytes_a_part=4096)
    sound = undamaged.walked(source)[1]
    for name in ("events", "stays", "labels", "codes", "identifiers"):
        assert (tmp_path / "parts" / f"{name}.parquet").read_bytes() == (sound / f"{name}.parquet").read_bytes()
    assert sorted(file.name for file in (tmp_path / "parts").iterdir() if file.is_dir()) == []


@pytest.mark.parametrize("sign", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1"])
def test_formula_signs_are_prefixed(sign: str, record_property: Callable[[str, object], None]) -> None:
    """In cells and in column names of an exported CSV; numbers stay numbers."""
    record_property("fault", ("formulas in an exported CSV", "our own tables", "prefixed", False))
    table = pl.DataFrame({sign: [sign, "plain"], "number": [-1.5, 2.0]})
    header, first, second = csv.reader(io.StringIO(b"".join(as_csv(table)).decode(), newline=""))
    # A sign behind a tab or a line end begins a cell of its own where a spreadsheet splits there.
    assert header[0] == first[0] == "'" + sign.replace(sign[0], f"{sign[0]}'", 1 if sign[0] in "\t\r\n" else 0)
    assert second == ["plain", "2.0"]
    assert first[1] == "-1.5"
