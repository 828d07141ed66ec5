"""A table's text, read strictly: what other readers fill in, rename or cut off silently is refused."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medai.errors import DataRefused, MedaiError
from medai.sources.relational import csv_text
from medai.sources.relational.csv_text import read_rows, read_whole

HEADER = b"a,b,c\n"
ROWS = b"1,2,3\n" * 50_000


def read(folder: Path, data: bytes, name: str = "t.csv") -> tuple[pl.DataFrame, Counter[str]]:
    """Columns a and c of a table ``t``."""
    (folder / name).write_bytes(data)
    counts = Counter[str]()
    return read_whole("t", folder / name, ("a", "c"), "a b c", counts), +counts


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b,c\n1,2,3\n", [("1", "3")]),
        (b"A,B,C\n1,2,3\n", [("1", "3")]),
        (b"a,b,c\r\n1,2,3\r\n", [("1", "3")]),
        (b"\xef\xbb\xbfa,b,c\n1,2,3\n", [("1", "3")]),
        (b'a,b,c\n1,"x, ""y""\nz",3\n4,,\n', [("1", "3"), ("4", "")]),
        (b'"a","b","c"\n1,2,"3,\n4"\n', [("1", "3,\n4")]),
        ("a,b,c\né,2,ü\n".encode(), [("é", "ü")]),
        (b"a,b,c\nNA,2,null\n", [("NA", "null")]),
        (b"a,b,c\n1,2,3\n\n", [("1", "3"), ("", "")]),
        (b"a,b,c\n", []),
    ],
)
def test_text_is_read_as_it_is(tmp_path: Path, data: bytes, rows: list[tuple[str, str]]) -> None:
    """Case of the header, quotes with commas and line ends, a byte-order mark, words that others take for nulls."""
    table, counts = read(tmp_path, data)
    assert table.rows() == rows
    assert not counts


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Extra and reordered columns do no harm and are counted."""
    table, counts = read(tmp_path, b"C,extra,b,A\n3,x,2,1\n")
    assert table.rows() == [("1", "3")]
    assert counts == {"table_with_extra_columns": 1, "table_with_reordered_columns": 1}


@pytest.mark.parametrize(
    ("data", "wrong", "received"),
    [
        (b"a,b,c\n1,2\n3,4,5\n", "ragged row", "2 fields"),
        (b"a,b,c\n1,2,3,4\n", "ragged row", "4 fields"),
        (b"a,b,c\n1,2,3\n4,5,6", "cut short", "row 3 breaks off"),
        (b"a,b,c\n1,2,3\n4,5", "cut short", "row 3 breaks off"),
        (b'a,b,c\n1,2,"3\n4,5,6\n', "cannot be parsed", "never closed"),
        (b"a,b,c\n1,2,\xff\n", "no UTF-8 text", "row 2"),
        (b"a,b,c\n1,\0,3\n", "no text", "NUL"),
        ("a,b,c\n1,2,é".encode()[:-1] + b"\n", "no UTF-8 text", "other bytes"),
        (b"a,b\n1,2\n", "no column c", "no such header"),
        (b"a,b,c,A\n1,2,3,4\n", "column a more than once", "a second one"),
        (b"<!DOCTYPE html>\n<html>\n", "no column a", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "no column a", "Git-LFS pointer"),
        (b"a,b,c", "no header", "no such header"),
    ],
)
def test_what_is_not_whole_is_refused(
    tmp_path: Path, data: bytes, wrong: str, received: str, refusal: Callable[[MedaiError], str]
) -> None:
    """Each fault is named, and no row of the table is quoted."""
    with pytest.raises(DataRefused) as caught:
        read(tmp_path, data)
    refusal(caught.value)
    assert "table t" in caught.value.wrong
    assert wrong in caught.value.wrong
    assert received in caught.value.received


@pytest.mark.parametrize("cut", [0.3, 0.9, -8, -1])
def test_a_cut_gzip_file_is_refused(tmp_path: Path, cut: float) -> None:
    """In the middle, near the end, inside the checksum: never a shorter table."""
    whole = gzip.compress(HEADER + ROWS)
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        read(tmp_path, whole[: int(cut) if cut < 0 else int(len(whole) * cut)], "t.csv.gz")


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    """A flipped byte in the compressed text."""
    whole = bytearray(gzip.compress(HEADER + ROWS))
    whole[len(whole) // 2] ^= 0x55
    with pytest.raises(DataRefused):
        read(tmp_path, bytes(whole), "t.csv.gz")


def test_zipped_and_plain_text_are_one(tmp_path: Path) -> None:
    """The same rows, and the fault of a late row is found in both."""
    zipped, _ = read(tmp_path, gzip.compress(HEADER + ROWS), "t.csv.gz")
    plain, _ = read(tmp_path, HEADER + ROWS)
    assert zipped.height == 50_000
    assert zipped.equals(plain)
    with pytest.raises(DataRefused, match="ragged row"):
        read(tmp_path, gzip.compress(HEADER + ROWS + b"1,2\n"), "t.csv.gz")


def test_blocks_join_seamlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the blocks, rows and letters that lie across two of them are whole."""
    text = "".join(f'{row},"é, {row}\nü",{row * 7}\n' for row in range(3000)).encode()
    (tmp_path / "t.csv").write_bytes(HEADER + text)
    monkeypatch.setattr(csv_text, "BLOCK", 997)
    monkeypatch.setattr(csv_text, "_LONGEST_HEADER", 64)
    batches = list(read_rows("t", tmp_path / "t.csv", ("a", "b", "c"), "", Counter()))
    assert len(batches) > 5
    expected = list(csv.reader(io.StringIO(text.decode())))
    assert [list(row) for batch in batches for row in batch.rows()] == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[st.text('ab"\n', max_size=5) | st.sampled_from(['"a\nb"', '"""a\n"""'])] * 3), max_size=9)
)
def test_no_place_of_a_cut_changes_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, str]]
) -> None:
    """Whatever quotes and line ends the text holds, cut into small blocks it is refused or read as in one block."""
    whole, text = None, "".join(f"{','.join(row)}\n" for row in rows)
    with suppress(DataRefused):
        whole = read(tmp_path, HEADER + text.encode())[0].rows()
    with monkeypatch.context() as small:
        small.setattr(csv_text, "_LONGEST_HEADER", 8)
        small.setattr(csv_text, "BLOCK", 12)
        try:
            cut = read(tmp_path, HEADER + text.encode())[0].rows()
        except DataRefused:
            return
    assert cut == whole


@pytest.mark.parametrize("letter", ["é", "中", "𝄞"])
def test_letters_across_reads_are_whole_and_a_broken_one_is_found_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    """However the reads cut the text; and of a letter that lost its first byte, the row."""
    row = f"1,{letter * 40},{letter}\n"
    text = row.encode() * 40
    for block in range(120, 400, 7):
        monkeypatch.setattr(csv_text, "BLOCK", block)
        table, _ = read(tmp_path, HEADER + text)
        assert table.rows() == [("1", letter)] * 40
    width, first = len(row.encode()), len(b"1,")
    for at in range(0, 40 * len(letter.encode()), len(letter.encode())):
        place = 20 * width + first + at
        with pytest.raises(DataRefused, match="no UTF-8 text") as refusal:
            read(tmp_path, HEADER + text[:place] + b"x" + text[place + 1 :])
        assert refusal.value.received == "other bytes near row 22"  # of the file, its header among them


_FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(_FIELD, _FIELD, _FIELD), max_size=8))
def test_whatever_is_written_is_read(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    """Any text, as Python's own writer quotes it, comes back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    table, _ = read(tmp_path, HEADER + out.getvalue().encode())
    assert table.rows() == [(row[0], row[2]) for row in rows]
