"""Tables that came as Parquet: the same snapshot as from CSV, and no flipped byte unseen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medai.errors import DataRefused
from medai.sources.mimic4 import Mimic4, read
from medai.sources.relational.csv_text import read_whole
from tests.bench import chart_rows


def test_typed_tables_give_the_snapshot_of_their_text(tmp_path: Path) -> None:
    """Numbers, times and nulls of typed columns are those of the CSV: every table has the same bytes."""
    config = Mimic4(kind="mimic4", tables=("chartevents",))
    data = tmp_path / "csv"
    chart_rows.write(data, 6000)
    for file in sorted(data.rglob("*.csv*")):
        typed = tmp_path / "parquet" / file.relative_to(data).parent / (file.name.split(".")[0] + ".parquet")
        typed.parent.mkdir(parents=True, exist_ok=True)
        table = pl.read_csv(file, try_parse_dates=True)
        pq.write_table(table.to_arrow(), typed, write_page_checksum=True)
    for name in ("csv", "parquet"):
        (tmp_path / f"out-{name}").mkdir()
    facts = [read(config, tmp_path / name, tmp_path / f"out-{name}") for name in ("csv", "parquet")]
    assert facts[0] == facts[1]
    for file in sorted((tmp_path / "out-csv").glob("*.parquet")):
        other = tmp_path / "out-parquet" / file.name
        if file.name != "stays.parquet":  # it names the file that it came from
            assert other.read_bytes() == file.read_bytes(), file.name


def written(path: Path, checksums: bool) -> Path:
    """A table of one text and one number column."""
    table = pa.table({"A": ["x", None, "z"] * 500, "b": [1.0, 2.5, None] * 500})
    pq.write_table(table, path, write_page_checksum=checksums, compression="none")
    return path


def test_missing_checksums_are_counted(tmp_path: Path) -> None:
    """With them nothing is said; columns are found whatever their case; whole numbers are written plainly."""
    for checksums, expected in ((True, {}), (False, {"table_without_checksums": 1})):
        counts = Counter[str]()
        rows = read_whole("t", written(tmp_path / "t.parquet", checksums), ("b", "a"), "a b", counts)
        assert rows.rows()[:3] == [("1", "x"), ("2.5", ""), ("", "z")]
        assert +counts == expected


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    """In a page that carries a checksum, and a file that is cut short, or lacks a column."""
    path = written(tmp_path / "t.parquet", checksums=True)
    whole = bytearray(path.read_bytes())
    whole[200] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        read_whole("t", path, ("a", "b"), "", Counter())
    path.write_bytes(bytes(whole[:300]))
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        read_whole("t", path, ("a", "b"), "", Counter())
    with pytest.raises(DataRefused, match="has no column c"):
        read_whole("t", written(path, checksums=True), ("c",), "", Counter())


def test_what_is_no_value_is_refused(tmp_path: Path) -> None:
    """A column of lists has no text."""
    pq.write_table(pa.table({"a": [[1], [2]]}), tmp_path / "t.parquet")
    with pytest.raises(DataRefused, match=r"column a: its values are no texts"):
        read_whole("t", tmp_path / "t.parquet", ("a",), "", Counter())
