"""Whether pages carry checksums, and footers that contradict themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medai.sources.parquet_pages import has_checksums


def looked_at(path: Path, columns: tuple[str, ...]) -> bool:
    """Read the columns and ask."""
    with pq.ParquetFile(path, page_checksum_verification=True) as opened:
        for _ in opened.iter_batches(columns=list(columns)):
            pass
        return has_checksums(path, opened, columns)


@pytest.mark.parametrize("checksums", [True, False])
def test_checksums_are_found(checksums: bool, tmp_path: Path) -> None:
    """In every row group, of numbers, texts and lists; an empty table has nothing to check."""
    table = pa.table({"a": [1.5, None] * 50, "b": ["x", "yy"] * 50, "c": [[1, 2], None] * 50})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=30, write_page_checksum=checksums)
    for columns in (("a",), ("b", "c"), ("a", "b", "c")):
        assert looked_at(tmp_path / "t.parquet", columns) is checksums
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet", write_page_checksum=checksums)
    assert looked_at(tmp_path / "empty.parquet", ("a", "b"))


def test_a_footer_that_contradicts_itself_is_noticed(tmp_path: Path) -> None:
    """Three bits of each of its bytes are turned: none ends the process, some are found only by comparing its parts."""
    path = tmp_path / "t.parquet"
    table = pa.table({"a": list(range(100)), "b": [float(row) for row in range(100)]})
    pq.write_table(table, path, write_page_checksum=True, store_schema=False)
    sound = path.read_bytes()
    begin = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    met = Counter[str]()
    for place in range(begin, len(sound) - 8):
        for bit in range(0, 8, 3):
            data = bytearray(sound)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            try:
                looked_at(path, ("a", "b"))
            except (pa.ArrowException, OSError, ValueError) as error:
                met["of another length" if "another length" in str(error) else "refused"] += 1
    assert met["of another length"] > 0
    assert met["refused"] > 0
