"""Shards of a table: every row in one of them, whole subjects, wherever the row groups end; and their copies."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medai.errors import DataRefused, ServiceFailed
from medai.shards import INDEX, InStore, InTable, cut, share
from medai.store import Store

COLUMNS = ["row_id", "subject_id", "word"]


def write(path: Path, subjects: list[int], groups: list[int]) -> pa.Table:
    """A table of these subjects in row groups of these sizes, which come round again."""
    table = pa.table(
        {
            "row_id": pa.array(range(len(subjects)), pa.int64()),
            "subject_id": pa.array(subjects, pa.int64()),
            "word": pa.array([f"word {subject % 3}" for subject in subjects], pa.string()),
            "text_value": pa.array(["a note"] * len(subjects), pa.string()),
        }
    )
    with pq.ParquetWriter(path, table.schema, write_page_checksum=True) as writer:
        begin, number = 0, 0
        while begin < len(subjects) or number == 0:
            size = groups[number % len(groups)]
            writer.write_table(table.slice(begin, size), row_group_size=max(size, 1))
            begin, number = begin + size, number + 1
    return table


@settings(max_examples=60, deadline=None)
@given(
    subjects=st.lists(st.integers(-3, 6), max_size=40).map(sorted),
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    rows=st.integers(1, 20),
)
def test_shards_are_the_whole_table(subjects: list[int], groups: list[int], rows: int) -> None:
    """Behind each other they are the table; no subject is in two, and every subject_id that can be is of one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        table = write(path, subjects, groups).select(COLUMNS)
        shards = cut(path, rows)
        read = [InTable(path, shard).read(COLUMNS, ["word"]) for shard in shards]
        assert pa.concat_tables(read).cast(table.schema) == table
        seen = [set(part["subject_id"].to_pylist()) for part in read]
        assert sum(map(len, seen)) == len(set(subjects))
        limits = np.iinfo(np.int64)
        assert (shards[0].low, shards[-1].high) == (limits.min, limits.max)
        for one, after in pairwise(shards):
            assert one.high + 1 == after.low
        for shard, part, theirs in zip(shards, read, seen, strict=True):
            assert all(shard.low <= subject <= shard.high for subject in theirs)
            assert all(shard.row_ids[0] <= row <= shard.row_ids[1] for row in part["row_id"].to_pylist())
        shared = share(path, "a" * 32, COLUMNS, Store.of(Path(folder) / "store"), rows)
        assert [shard for shard, _ in shared] == shards
        there = [place.read(COLUMNS, ["word"]).cast(table.schema) for _, place in shared]
        assert there == [part.cast(table.schema) for part in read]


def test_a_long_table_is_cut_where_it_can_be(tmp_path: Path) -> None:
    """A shard has the rows asked for, or one row group; a subject that fills groups keeps them together."""
    path = tmp_path / "events.parquet"
    write(path, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [2])
    assert [shard.groups for shard in cut(path, 1)] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert [shard.groups for shard in cut(path, 4)] == [(0, 2), (2, 4), (4, 5)]
    write(path, [1, 1, 2, 2, 2, 2, 2, 3, 3, 3], [2])
    assert [shard.groups for shard in cut(path, 1)] == [(0, 1), (1, 4), (3, 5)]


def test_a_table_that_does_not_say_its_subjects_is_one_shard(tmp_path: Path) -> None:
    """Nothing is guessed."""
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"subject_id": [1, 2, 3]}), path, row_group_size=1, write_statistics=False)
    assert [shard.groups for shard in cut(path, 1)] == [(0, 3)]


def test_a_store_gets_each_shard_once_and_no_text(tmp_path: Path) -> None:
    """A second run writes nothing; half a copy, which has no index, is completed; columns not asked for stay here."""
    path, store = tmp_path / "events.parquet", tmp_path / "store"
    write(path, [1, 1, 2, 2, 3, 3], [2])
    share(path, "a" * 32, COLUMNS, Store.of(store), 1)
    [folder] = store.iterdir()
    assert folder.name.startswith(f"snapshot-{'a' * 32}-")
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(first) == 4
    assert all(b"a note" not in file.read_bytes() for file in folder.iterdir())
    share(path, "a" * 32, COLUMNS, Store.of(store), 1)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == first
    (folder / INDEX).write_text("[1, 2")
    (folder / next(iter(first.keys() - {INDEX}))).unlink()
    shared = share(path, "a" * 32, COLUMNS, Store.of(store), 1)
    assert {file.name for file in folder.iterdir()} == set(first)
    assert [place.read(["row_id"]).num_rows for _, place in shared] == [2, 2, 2]


def test_a_damaged_shard_is_noticed(tmp_path: Path) -> None:
    """In a store by its hash, in the table by the checksum of its page."""
    path = tmp_path / "events.parquet"
    write(path, list(range(200)), [50])
    shared = share(path, "a" * 32, COLUMNS, Store.of(tmp_path / "store"), 1)
    place = shared[1][1]
    assert isinstance(place, InStore)
    [file] = (tmp_path / "store").glob(f"*/{place.name}")
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(ServiceFailed, match="a file of the store of shards is damaged"):
        place.read(COLUMNS)
    shards = cut(path, 1)
    column = pq.read_metadata(path).row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataRefused, match="table events cannot be read"):
        InTable(path, shards[2]).read(COLUMNS)


def test_a_table_that_a_worker_does_not_see_is_told(tmp_path: Path) -> None:
    """A worker on another machine without a store: the next step names it."""
    path = tmp_path / "events.parquet"
    write(path, [1, 2], [1])
    place = InTable(tmp_path / "elsewhere.parquet", cut(path, 1)[0])
    with pytest.raises(DataRefused, match="--shards"):
        place.read(COLUMNS)
