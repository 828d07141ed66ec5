"""Canonical tables on disk."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medai.errors import DataRefused
from medai.tables import (
    ROWS_IN_GROUP,
    NewArray,
    read_table,
    scan,
    subject_ids,
    table_of,
    write_groups,
    write_table,
    write_tables,
)

TYPES = {"row_id": "int64", "time": "timestamp[us]", "code": "string"}


@pytest.fixture
def table() -> pa.Table:
    """A thousand rows of noise, which compression leaves long enough to damage."""
    rng = np.random.default_rng(1)
    return table_of({"row_id": rng.integers(0, 1 << 62, 1000), "code": [f"c{number}" for number in range(1000)]}, TYPES)


def test_a_table_is_read_as_it_was_written(tmp_path: Path, table: pa.Table) -> None:
    """Columns keep their order and types; an absent one is null; a choice of columns comes in its order."""
    assert write_table(tmp_path / "t.parquet", table) == 1000
    assert read_table(tmp_path / "t.parquet") == table
    assert table["time"].null_count == 1000
    assert read_table(tmp_path / "t.parquet", ["code", "row_id"]).column_names == ["code", "row_id"]


def test_equal_tables_give_equal_bytes(tmp_path: Path, table: pa.Table) -> None:
    """Neither chunks nor foreign metadata leave a trace."""
    chunked = pa.concat_tables([table.slice(0, 10), table.slice(10)]).replace_schema_metadata({"who": "me"})
    write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "b.parquet", chunked)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_flipped_byte_is_refused(tmp_path: Path, table: pa.Table) -> None:
    """Page checksums are written and verified: one bit in the middle of a data page is enough."""
    path = tmp_path / "t.parquet"
    write_table(path, table)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    damaged = bytearray(path.read_bytes())
    end = column.dictionary_page_offset + column.total_compressed_size
    damaged[(column.data_page_offset + end) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataRefused, match="table t cannot be read") as refusal:
        read_table(path, ["row_id"])
    assert refusal.value.received == "a damaged file"


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_table_cut_short_is_refused(tmp_path: Path, table: pa.Table, keep: int) -> None:
    """However little is missing."""
    path = tmp_path / "t.parquet"
    write_table(path, table)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataRefused, match="table t cannot be read"):
        read_table(path)


def test_a_missing_table_or_column_is_refused(tmp_path: Path, table: pa.Table) -> None:
    """A column that is not there is named; the reader's own choice would be to leave it out."""
    with pytest.raises(DataRefused, match="table t cannot be read"):
        read_table(tmp_path / "t.parquet")
    write_table(tmp_path / "t.parquet", table)
    with pytest.raises(DataRefused, match="table t lacks column mode"):
        read_table(tmp_path / "t.parquet", ["row_id", "mode"])


def test_a_private_table_is_its_owner_s_alone(tmp_path: Path, table: pa.Table) -> None:
    """The mode is set when the file is made, so that there is no moment without it."""
    write_table(tmp_path / "t.parquet", table, mode=0o600)
    assert stat.S_IMODE((tmp_path / "t.parquet").stat().st_mode) == 0o600


def test_tables_of_polars_are_accepted(tmp_path: Path) -> None:
    """String views become plain strings."""
    write_table(tmp_path / "t.parquet", pl.DataFrame({"a": ["x", None]}).to_arrow(compat_level=pl.CompatLevel.newest()))
    assert read_table(tmp_path / "t.parquet")["a"].to_pylist() == ["x", None]


def test_subject_ids_are_stable_positive_and_separate_sources() -> None:
    """The ids of a site never change, and equal numbers of two sites are two people."""
    assert subject_ids("physionet2012", ["132539"]) == [1797022266015449123]
    assert subject_ids("other", ["132539"]) != subject_ids("physionet2012", ["132539"])
    assert all(0 <= one < 1 << 63 for one in subject_ids("x", [str(number) for number in range(1000)]))


def test_colliding_subject_ids_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people with one id would be one patient to every later stage."""
    monkeypatch.setattr("medai.tables.subjects.subject_id", lambda namespace, site_id: 7)
    with pytest.raises(DataRefused, match="hash to the same subject"):
        subject_ids("x", ["1", "2"])


@pytest.mark.parametrize("counters", [(), ("number",)])
def test_parts_are_written_as_one_table(tmp_path: Path, counters: tuple[str, ...]) -> None:
    """However a table comes in parts, it gives the bytes of the whole; differences of counters read as numbers."""
    rows = 2 * ROWS_IN_GROUP + 5
    whole = pa.table({"number": np.arange(rows), "word": ["a", "b", "c", "d", "e"] * (rows // 5) + ["a"] * (rows % 5)})
    hashes = set()
    for number, cuts in enumerate(([], [7], [ROWS_IN_GROUP], [1, ROWS_IN_GROUP + 1, 2 * ROWS_IN_GROUP])):
        edges = [0, *cuts, rows]
        parts = [whole.slice(start, end - start) for start, end in itertools.pairwise(edges)]
        path = tmp_path / f"{number}.parquet"
        assert write_tables(path, parts, counters=counters) == rows
        hashes.add(path.read_bytes())
    assert len(hashes) == 1
    assert read_table(tmp_path / "3.parquet").equals(whole)
    if not counters:
        write_table(tmp_path / "whole.parquet", whole)
        assert (tmp_path / "whole.parquet").read_bytes() in hashes


def test_a_scan_gives_whole_subjects(tmp_path: Path) -> None:
    """Row groups that cut a subject in two are joined; words come as dictionaries."""
    subjects = np.repeat(np.arange(20), 7)
    table = pa.table(
        {"subject_id": subjects, "word": [f"w{one % 3}" for one in subjects], "row_id": np.arange(len(subjects))}
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True)
    parts = list(scan(path, ["row_id", "word"], ["word"], rows=10))
    assert [part.schema.names for part in parts] == [["row_id", "word"]] * len(parts)
    assert all(pa.types.is_dictionary(part.schema.field("word").type) for part in parts)
    ends = [subjects[part["row_id"].to_numpy()[[0, -1]]].tolist() for part in parts]
    assert len(parts) > 5
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    assert np.concatenate([part["row_id"].to_numpy() for part in parts]).tolist() == list(range(len(subjects)))
    with pytest.raises(DataRefused, match="lacks column x"):
        list(scan(path, ["x"]))


def test_groups_are_stored_as_they_come(tmp_path: Path) -> None:
    """Dictionaries are written as the texts that they stand for; a flipped byte in a page is noticed."""
    schema = pa.schema([("row_id", pa.int64()), ("word", pa.string()), ("value", pa.float32())])
    groups = [
        pa.table(
            {"row_id": [0, 1], "word": pa.array(["a", None]).dictionary_encode(), "value": pa.array([1, 2], "f4")}
        ),
        pa.table({"row_id": [2], "word": pa.array(["b"]).dictionary_encode(), "value": pa.array([None], "f4")}),
    ]
    path = tmp_path / "t.parquet"
    assert write_groups(path, schema, groups, counters=["row_id"], split=["value"]) == 3
    assert read_table(path).schema.equals(schema)
    assert read_table(path).to_pylist()[1:] == [
        {"row_id": 1, "word": None, "value": 2.0},
        {"row_id": 2, "word": "b", "value": None},
    ]
    assert pq.ParquetFile(path).num_row_groups == 2


def test_a_new_array_is_filled_row_by_row(tmp_path: Path) -> None:
    """In any order; rows that nobody writes are zero; the file is what NumPy would have saved."""
    array = NewArray(tmp_path / "a.npy", "float32", (5, 2))
    array.put(np.array([4, 1, 2]), np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    array.put(np.empty(0, np.int64), np.empty((0, 2), np.float32))
    array.close()
    expected = np.zeros((5, 2), np.float32)
    expected[[4, 1, 2]] = [[1, 2], [3, 4], [5, 6]]
    np.save(tmp_path / "b.npy", expected)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert array.described(("x", "y")).shape == (5, 2)
