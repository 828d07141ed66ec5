"""The user's own file: whole or not there, nobody else's to read, and no spreadsheet runs a cell of it."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medai.errors import ConfigurationError, ServiceFailed
from medai.prediction.results import Destination, as_csv, safe

FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1"]
PLAIN = ["a,b", 'he said "no"', "two\nlines", "cr\r\nlf", "Ångström–Größe 患者", "'quoted", "", " =x", "a=b", "7"]


def read_back(data: bytes) -> list[list[str]]:
    """The cells as the rules say that they are read: CSV, then one apostrophe less where a formula was kept apart."""
    rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))

    def plain(cell: str) -> str:
        cell = cell[1:] if re.match("''*[=+\\-@\t\r\n＝＋－＠]", cell) else cell
        return re.sub("([;,\t\r\n])'(?=[\"']*[=+\\-@＝＋－＠])", r"\1", cell)

    return [[plain(cell) for cell in row] for row in rows]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    """OWASP's list of first signs, the full-width ones among them; negative numbers stay numbers."""
    table = pl.DataFrame({"id": [text], "score": [-0.5]})
    (_, row) = list(csv.reader(io.StringIO(b"".join(as_csv(table)).decode(), newline="")))
    assert row == ["'" + text, "-0.5"]


@pytest.mark.parametrize("inner", ["=1", "+1", "-1", "@x", "＝1", '"=1', "'=1"])
@pytest.mark.parametrize("separator", [";", ",", "\t", "\n"])
def test_no_cell_begins_with_a_formula_wherever_a_spreadsheet_splits(separator: str, inner: str) -> None:
    """At semicolons or tabs, inside quotes or not: what follows a separator gets its apostrophe, and comes back."""
    for text in (f"{separator}{inner}.png", f"scan{separator}{inner}{separator}{inner}"):
        data = b"".join(as_csv(pl.DataFrame({"row": [1], "id": [text]})))
        for split in (";", "\t"):
            cells = [cell for line in data.decode().splitlines() for cell in line.split(split)]
            assert not any(re.match('"*[=+\\-@＝]', cell) for cell in cells)
        assert read_back(data)[1][1] == text
    assert safe("a; -b; c,d;e") == "a; -b; c,d;e"


@pytest.mark.parametrize("text", PLAIN)
def test_other_cells_stay_as_they_are(text: str) -> None:
    """Commas, quotes, line ends and any script come back from a plain CSV reader."""
    assert safe(text) == text
    (_, row) = list(
        csv.reader(io.StringIO(b"".join(as_csv(pl.DataFrame({"id": [text], "x": [1]}))).decode(), newline=""))
    )
    assert row == [text, "1"]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.floats(width=32, allow_nan=False)), max_size=8
    )
)
def test_what_was_written_can_be_read_back(rows: list[tuple[str, float]]) -> None:
    """Any text and any number, whatever the size of the blocks."""
    table = pl.DataFrame(rows, schema={"=id": pl.String, "score": pl.Float32}, orient="row")
    data = b"".join(as_csv(table, rows=3))
    assert data == b"".join(as_csv(table))
    header, *cells = read_back(data)
    assert header == ["=id", "score"]
    assert [text for text, _ in cells] == [text for text, _ in rows]
    assert [np.float32(number) for _, number in cells] == [np.float32(number) for _, number in rows]


def test_missing_values_are_empty_and_numbers_short() -> None:
    """Nothing stands for nothing; a float32 has the digits that tell it from the next."""
    table = pl.DataFrame(
        {"id": ["a", None], "score": [0.1, None], "threshold": [0.25, None], "model_version": [2, 2]},
        schema_overrides={"score": pl.Float32},
    )
    assert b"".join(as_csv(table)) == b"id,score,threshold,model_version\r\na,0.1,0.25,2\r\n,,,2\r\n"


@pytest.mark.parametrize("name", ["answers.csv", "answers.PARQUET", "answers.parquet"])
def test_the_file_is_for_its_owner_alone_and_equal_for_equal_answers(name: str, tmp_path: Path) -> None:
    """Mode 0600, no trace beside it, the same bytes each time; its suffix names its format in either case."""
    table = pl.DataFrame({"id": ["=a", "b"], "score": [0.5, None]}, schema_overrides={"score": pl.Float32})
    hashes = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        hashes.append(Destination(tmp_path / folder / name).write(table))
        assert stat.S_IMODE((tmp_path / folder / name).stat().st_mode) == 0o600
        assert [path.name for path in (tmp_path / folder).iterdir()] == [name]
    assert hashes[0] == hashes[1]
    if name.endswith(".parquet"):
        assert pl.read_parquet(tmp_path / "one" / name).equals(table)


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    """Also one that came up while the answers were made, and a link to nothing."""
    table = pl.DataFrame({"id": ["a"]})
    path = tmp_path / "answers.csv"
    late = Destination(path)
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already"):
        Destination(path)
    with pytest.raises(ConfigurationError, match="is there already"):
        late.write(table)
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["answers.csv"]
    Destination(path, overwrite=True).write(table)
    assert path.read_bytes() == b"id\r\na\r\n"
    (tmp_path / "link.csv").symlink_to(tmp_path / "nothing.csv")
    with pytest.raises(ConfigurationError, match="is there already"):
        Destination(tmp_path / "link.csv")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no/such.csv", "nothing of that name"),
        ("file/inside.csv", "a path through something that is no folder"),
        ("loop/inside.csv", "links that lead round in a circle"),
        ("a" * 300 + ".csv", "a name that is too long"),
        ("pipe.csv", "a pipe, a socket or a device"),
        ("~nobody-of-that-name/x.csv", "nobody-of-that-name"),
        ("zero\0.csv", "zero"),
    ],
)
def test_a_place_where_no_file_can_stand_is_refused(name: str, told: str, tmp_path: Path) -> None:
    """Before any work, in words."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigurationError) as caught:
        Destination(Path(name) if name.startswith("~") else tmp_path / name, overwrite=True)
    assert told in caught.value.received


def test_the_longest_name_of_a_file_is_written(tmp_path: Path) -> None:
    """What stands beside it meanwhile has a short name of its own."""
    path = tmp_path / ("a" * 251 + ".csv")
    Destination(path).write(pl.DataFrame({"id": ["a"]}))
    assert path.read_bytes() == b"id\r\na\r\n"


def test_a_folder_that_goes_away_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """Status 4 with the errno; the path, which may name a patient, is not repeated."""
    (tmp_path / "doe").mkdir()
    destination = Destination(tmp_path / "doe" / "answers.csv")
    (tmp_path / "doe").rmdir()
    with pytest.raises(ServiceFailed) as caught:
        destination.write(pl.DataFrame({"id": ["a"]}))
    assert "errno 2" in str(caught.value)
    assert "doe" not in str(caught.value)


def test_a_device_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No partial file stays where the disk is full."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medai.prediction.results.sync_file", full)
    with pytest.raises(ServiceFailed, match="the disk is full"):
        Destination(tmp_path / "answers.csv").write(pl.DataFrame({"id": ["a"]}))
    assert list(tmp_path.iterdir()) == []


def test_a_place_among_the_inputs_is_refused(tmp_path: Path) -> None:
    """The input itself, or a file inside an input folder, also through a link."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "input.csv").write_text("")
    for path in (tmp_path / "link" / "answers.csv", tmp_path / "input.csv"):
        with pytest.raises(ConfigurationError, match="among the inputs"):
            Destination(path, overwrite=True, inputs=[tmp_path / "data", tmp_path / "input.csv"])
