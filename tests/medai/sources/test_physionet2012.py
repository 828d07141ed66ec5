"""Stays in the layout of the PhysioNet Challenge 2012."""

from __future__ import annotations

import math
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medai.errors import DataRefused
from medai.sources.physionet2012 import Physionet2012, names, raw_files, read
from medai.sources.physionet2012.text import minutes_of, number_of
from medai.tables import Facts, read_table
from medai.validation import catalogue_suite, load_suite

STAYS = {
    "132539": "00:00,RecordID,132539\n00:00,Age,54\n00:07,HR,73\n",
    "132540": "00:00,RecordID,132540\n00:00,Age,60\n01:30,pH,7.4\n",
    "132541": "00:00,RecordID,132541\n00:00,Age,61\n00:00,Gender,1\n",
}
CONFIG = Physionet2012(kind="physionet2012")
HEADER = "Time,Parameter,Value\n"
TABLES = ("events", "stays", "labels", "identifiers")
WriteStays = Callable[..., Path]


def read_to(path: Path, folder: Path, config: Physionet2012 = CONFIG) -> tuple[Facts, dict[str, pl.DataFrame]]:
    """Read a set into a new folder; tables by name, with the site's ids joined to events and labels."""
    folder.mkdir()
    facts = read(config, path, folder)
    tables = {name: pl.DataFrame(read_table(folder / f"{name}.parquet")) for name in TABLES}
    for name in ("events", "labels", "stays"):
        key = "stay_id" if name == "labels" else "subject_id"
        tables[name] = tables[name].join(
            tables["identifiers"], left_on=key, right_on="subject_id", maintain_order="left"
        )
    return facts, tables


def test_stays_become_events(tmp_path: Path, write_stays: WriteStays) -> None:
    """Descriptors lose their time, readings keep theirs, -1 goes, 300 becomes 90, Weight is both."""
    facts, tables = read_to(write_stays(), tmp_path / "out")
    assert facts.unit == "stay"
    assert facts.tables == {"events": 10, "stays": 3, "labels": 3}
    assert facts.counts == {"age_over_89": 1, "coded_missing": 2, "stay_without_series": 1}
    events = tables["events"]
    assert events["row_id"].to_list() == list(range(10))
    assert events.select("subject_id").equals(events.select("subject_id").sort("subject_id"))

    def of(site_id: str) -> list[tuple[object, ...]]:
        return events.filter(pl.col("site_id") == site_id).select("time", "code", "numeric_value", "source_row").rows()

    assert of("132539") == [
        (None, "Age", 54.0, 3),
        (None, "Weight", 80.5, 5),
        (datetime(2000, 1, 1), "Weight", 80.5, 5),
        (datetime(2000, 1, 1, 0, 7), "HR", 73.0, 6),
        (datetime(2000, 1, 3), "HR", 80.0, 7),
    ]
    assert [row[1:] for row in of("132540")] == [
        ("Age", 90.0, 3),
        ("pH", pytest.approx(7.3, rel=1e-6), 6),
        ("pH", pytest.approx(7.4, rel=1e-6), 5),
    ]
    assert (events["known_time"] == events["time"].fill_null(datetime(2000, 1, 1))).all()
    series = dict(tables["stays"].select("site_id", "has_series").rows())
    assert series == {"132539": True, "132540": True, "132541": False}
    assert set(tables["stays"].select("start", "end").rows()) == {(datetime(2000, 1, 1), datetime(2000, 1, 3))}


def test_outcomes_become_labels(tmp_path: Path, write_stays: WriteStays) -> None:
    """-1 is the publisher's word for missing; identifiers stand in a file of their owner alone."""
    _, tables = read_to(write_stays(), tmp_path / "out")
    labels = tables["labels"].sort("site_id")
    assert labels.drop("row_id", "stay_id", "site_id").rows() == [
        (6, 1, 5, None, 0),
        (16, 8, 8, 4, 1),
        (None, 11, 19, None, 0),
    ]
    assert labels.columns[2:7] == ["saps_i", "sofa", "length_of_stay", "survival", "in_hospital_death"]
    assert stat.S_IMODE((tmp_path / "out" / "identifiers.parquet").stat().st_mode) == 0o600
    for name in ("events", "stays", "labels"):
        assert b"132539" not in (tmp_path / "out" / f"{name}.parquet").read_bytes()


def _tar(root: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted((root / "set-a").iterdir(), reverse=True):
            archive.add(file, f"set-a/{file.name}")


def _zip(root: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (root / "set-a").iterdir():
            archive.write(file, f"set-a/{file.name}")


@pytest.mark.parametrize("layout", ["tar", "zip", "zip with outcomes", "tar itself", "stays beside", "all in one"])
def test_every_layout_gives_the_same_bytes(tmp_path: Path, write_stays: WriteStays, layout: str) -> None:
    """Folder, tar.gz or zip, outcomes inside or beside: the same events."""
    root = write_stays()
    read_to(root, tmp_path / "a")
    path = root
    if layout == "stays beside":
        path = root / "set-a"
    elif layout == "all in one":
        (root / "Outcomes-a.txt").rename(root / "set-a" / "Outcomes-a.txt")
        path = root / "set-a"
    else:
        archive = root / ("set-a.tar.gz" if layout.startswith("tar") else "set-a.zip")
        if layout == "zip with outcomes":
            (root / "Outcomes-a.txt").rename(root / "set-a" / "Outcomes-a.txt")
        (_tar if layout.startswith("tar") else _zip)(root, archive)
        shutil.rmtree(root / "set-a")
        path = archive if layout == "tar itself" else root
    read_to(path, tmp_path / "b")
    for name in TABLES:
        left, right = (tmp_path / side / f"{name}.parquet" for side in "ab")
        assert left.read_bytes() == right.read_bytes()


def test_raw_files_are_named_by_their_role(write_stays: WriteStays) -> None:
    """A role never holds a stay's number."""
    tokens = [token for token, _ in raw_files(CONFIG, write_stays())]
    assert tokens == ["outcomes", "stays/*", "stays/*", "stays/*"]


@pytest.mark.parametrize(
    "text",
    ["120/80", "8,5".replace(",", "."), "<0.01", "ERROR", "?", "inf", "nan", "1e400", "3.5e38", "1_0", " 7", "", "٣"],
)
def test_a_reading_that_is_no_number_keeps_its_text(tmp_path: Path, write_stays: WriteStays, text: str) -> None:
    """Validation sets it aside later; ingestion neither guesses nor drops."""
    root = write_stays(stays={"132539": f"00:00,RecordID,132539\n00:07,Temp,{text}\n00:08,Temp,37\n"})
    _, tables = read_to(root, tmp_path / "out")
    expected = (8.5, None) if text == "8.5" else (None, text)
    assert tables["events"].select("numeric_value", "text_value").rows() == [expected, (37.0, None)]


def test_impossible_times_and_nameless_variables_are_set_aside(tmp_path: Path, write_stays: WriteStays) -> None:
    """A row that cannot be placed is counted, not kept without a time."""
    rows = "".join(
        f"{time},HR,80\n" for time in ("48:01", "7:30", "12:60", "-1:00", "99:99", "", "2000-01-01", "07:30")
    )
    root = write_stays(stays={"132539": f"00:00,RecordID,132539\n{rows}01:00,,5\n"})
    facts, tables = read_to(root, tmp_path / "out")
    assert facts.counts == {"impossible_time": 7, "unnamed_variable": 1, "orphan_outcome": 2}
    assert tables["events"].select("time", "numeric_value").rows() == [(datetime(2000, 1, 1, 7, 30), 80.0)]


@pytest.mark.parametrize(
    ("age", "kept"), [("89", 89), ("89.5", 90), ("90", 90), ("104", 90), ("300", 90), ("999", 999)]
)
def test_ages_over_89(tmp_path: Path, write_stays: WriteStays, age: str, kept: float) -> None:
    """Over 89 is 90, also when shifted to 300; a sentinel stays for validation to set aside."""
    root = write_stays(stays={"132539": f"00:00,RecordID,132539\n00:00,Age,{age}\n"})
    _, tables = read_to(root, tmp_path / "out")
    assert tables["events"]["numeric_value"].to_list() == [kept]


def test_ties_are_ordered_by_content(tmp_path: Path, write_stays: WriteStays) -> None:
    """Several readings at one time: value, then text, then line; never the order of the machine."""
    rows = ["00:07,HR,80", "00:07,HR,?", "00:07,HR,70", "00:07,ALT,9", "00:07,HR,<5", "00:07,HR,70"]
    root = write_stays(stays={"132539": "00:00,RecordID,132539\n" + "\n".join(rows) + "\n"})
    _, tables = read_to(root, tmp_path / "out")
    assert tables["events"].select("code", "numeric_value", "text_value", "source_row").rows() == [
        ("ALT", 9.0, None, 6), ("HR", None, "<5", 7), ("HR", None, "?", 4), ("HR", 70.0, None, 5),
        ("HR", 70.0, None, 8), ("HR", 80.0, None, 3),
    ]  # fmt: skip


def test_columns_are_taken_by_name(tmp_path: Path, write_stays: WriteStays) -> None:
    """Another order, another case and an extra column do no harm, and are reported; so are Windows line ends."""
    plain = write_stays()
    stays = {}
    for file in (plain / "set-a").iterdir():
        rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
        stays[file.stem] = "".join(f"{value},note,{time},{code}\r\n" for time, code, value in rows)
    _, expected = read_to(plain, tmp_path / "a")
    root = write_stays("other", header="VALUE,Note,time,parameter\r\n", stays=stays)
    facts, tables = read_to(root, tmp_path / "b")
    assert facts.counts["header_by_name"] == 3
    assert tables["events"].equals(expected["events"])


RECORD = "00:00,RecordID,132539\n"
DAMAGED = {
    "cut in mid-row": (HEADER + RECORD + "00:07,HR,7", "is cut short", "row 3 breaks off"),
    "cut in mid-field": (HEADER + RECORD + "00:07,H", "is cut short", "row 3 breaks off"),
    "too few fields": (HEADER + RECORD + "00:07,HR\n00:08,HR,80\n", "row 3 is ragged", "2 fields"),
    "too many fields": (HEADER + RECORD + "00:08,HR,80\n00:07,HR,8,5\n", "row 4 is ragged", "4 fields"),
    "ragged rows that even out": (HEADER + RECORD + "00:07,HR\n00:07,HR,8,5\n", "row 3 is ragged", "2 fields"),
    "blank row": (HEADER + RECORD + "\n00:07,HR,80\n", "row 3 is ragged", "1 fields"),
    "no header": (RECORD + "00:07,HR,80\n", "has no column Time", "3 columns; row 1 is no such header"),
    "missing column": ("Time,Value\n00:00,5\n", "has no column Parameter", "2 columns; row 1 is no such header"),
    "column twice": ("Time,Parameter,Value,value\na,b,c,d\n", "has column Value more than once", "4 columns"),
    "ragged under another header": ("time,parameter,value\n00:00,1\n", "row 2 is ragged", "2 fields"),
    "empty": ("", "is cut short", "an empty file"),
    "header alone": (HEADER, "does not say whose it is", "none"),
    "no RecordID": (HEADER + "00:07,HR,80\n", "does not say whose it is", "none"),
    "another RecordID": (HEADER + "00:00,RecordID,132599\n", "row 2 names another stay", "a different one"),
    "HTML": ("<html>404</html>\n", "has no column Time", "the file is an HTML page"),
    "Git-LFS": ("version https://git-lfs.github.com/spec/v1\n", "has no column Time", "the file is a Git-LFS pointer"),
    "zeros": ("\0" * 20, "is no text", "a NUL byte; it is binary data"),
    "not UTF-8": (HEADER + RECORD + "00:07,HR,\udcff\n", "is no text", "other bytes in row 3"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_stay_is_refused(tmp_path: Path, write_stays: WriteStays, fault: str) -> None:
    """The refusal names the file by its token and the row, never the stay's number."""
    text, wrong, received = DAMAGED[fault]
    root = write_stays(header="", stays={"132540": HEADER + "00:00,RecordID,132540\n", "132539": text})
    with pytest.raises(DataRefused, match=wrong) as refusal:
        read_to(root, tmp_path / "out")
    assert received in refusal.value.received
    assert "file " in refusal.value.wrong
    assert "1325" not in str(refusal.value)


OUTCOME_HEADER = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
BAD_OUTCOMES = {
    "stay twice": (OUTCOME_HEADER + "132539,6,1,5,-1,0\n132539,6,1,5,-1,0\n", "row 3 names a stay again"),
    "ragged": (OUTCOME_HEADER + "132539,6,1,5,-1\n", "row 2 is ragged"),
    "cut short": (OUTCOME_HEADER + "132539,6,1,5,-1,0", "is cut short"),
    "missing column": (OUTCOME_HEADER.replace(",SOFA", "") + "132539,6,5,-1,0\n", "has no column SOFA"),
    "column twice": (OUTCOME_HEADER.replace("SAPS-I", "SOFA"), "has no column SAPS-I"),
    "same name twice": (OUTCOME_HEADER.replace("\n", ",sofa\n"), "has column SOFA more than once"),
    "other stays": (OUTCOME_HEADER + "1,6,1,5,-1,0\n", "is of other stays"),
}


@pytest.mark.parametrize("fault", BAD_OUTCOMES)
def test_damaged_outcomes_are_refused(tmp_path: Path, write_stays: WriteStays, fault: str) -> None:
    """A label that cannot be trusted stops the run."""
    text, wrong = BAD_OUTCOMES[fault]
    with pytest.raises(DataRefused, match=f"the outcomes table.*{wrong}"):
        read_to(write_stays(outcomes=text), tmp_path / "out")


def test_orphans_on_either_side_are_counted(tmp_path: Path, write_stays: WriteStays) -> None:
    """An outcome without its stay goes; a stay without its outcome, or with an unreadable one, has no labels at all."""
    outcomes = OUTCOME_HEADER + "132539,6,1,ERROR,-1,0.5\n999,6,1,5,-1,0\n132541,1,1,1,-1,1\n"
    facts, tables = read_to(write_stays(outcomes=outcomes), tmp_path / "out")
    counts = {name: facts.counts[name] for name in ("orphan_outcome", "stay_without_outcome", "unreadable_outcome")}
    assert counts == {"orphan_outcome": 1, "stay_without_outcome": 1, "unreadable_outcome": 1}
    assert facts.dropped == {"labels": 2}
    assert tables["labels"].select("site_id", "in_hospital_death").rows() == [("132541", 1)]


def test_stays_without_known_outcomes(tmp_path: Path, write_stays: WriteStays) -> None:
    """New stays have no outcomes yet: the source says so, and every label is null."""
    root = write_stays(outcomes=None)
    with pytest.raises(DataRefused, match="the outcomes file is missing"):
        read_to(root, tmp_path / "a")
    _, tables = read_to(root, tmp_path / "b", Physionet2012(kind="physionet2012", outcomes=None))
    assert tables["labels"]["in_hospital_death"].null_count() == 3


@pytest.mark.parametrize("name", ["../Outcomes-a.txt", "/etc/passwd", "..", ""])
def test_the_outcomes_are_a_file_name(name: str) -> None:
    """A path in place of a name is refused before any work."""
    with pytest.raises(ValidationError):
        Physionet2012(kind="physionet2012", outcomes=name)


def test_the_same_stay_under_two_names_is_kept_once(tmp_path: Path, write_stays: WriteStays) -> None:
    """The plainer name stays, and the copy is counted."""
    root = write_stays()
    shutil.copy(root / "set-a" / "132539.txt", root / "set-a" / "132539 (1).txt")
    facts, tables = read_to(root, tmp_path / "out")
    assert facts.counts["same_stay_twice"] == 1
    assert sorted(tables["stays"]["site_id"]) == ["132539", "132540", "132541"]


def test_the_same_stay_under_two_record_ids_is_one_patient(tmp_path: Path, write_stays: WriteStays) -> None:
    """It would stand on both sides of a split; stays of descriptors alone may well be equal and stay."""
    text = STAYS["132540"]
    others = {name: text.replace("132540", name) for name in ("0132540", "140000")}
    alike = {name: STAYS["132541"].replace("132541", name) for name in ("140001",)}
    facts, tables = read_to(write_stays(stays=STAYS | others | alike), tmp_path / "out")
    assert facts.counts["same_stay_other_id"] == 2
    assert sorted(tables["stays"]["site_id"]) == ["132539", "132540", "132541", "140001"]
    wrong = {"140000": text.replace("132540", "140009")}
    with pytest.raises(DataRefused, match="names another stay"):
        read_to(write_stays("other", stays=STAYS | wrong), tmp_path / "b")


@pytest.mark.parametrize("where", ["inside and beside", "twice inside", "in both folders"])
def test_outcomes_that_contradict_each_other_are_refused(tmp_path: Path, write_stays: WriteStays, where: str) -> None:
    """Which one is read must not depend on the order of an archive or on where --data points; equal copies may."""
    root = write_stays()
    truth = (root / "Outcomes-a.txt").read_bytes()
    path = root / "set-a" if where == "in both folders" else root
    for number, second in enumerate((truth, truth.replace(b"-1,0", b"-1,1"))):
        if where == "in both folders":
            (root / "set-a" / "Outcomes-a.txt").write_bytes(second)
        else:
            with zipfile.ZipFile(root / "set-a.zip", "w") as archive:
                for name, text in STAYS.items():
                    archive.writestr(f"set-a/{name}.txt", HEADER + text)
                archive.writestr("a/Outcomes-a.txt", second)
                if where == "twice inside":
                    archive.writestr("b/Outcomes-a.txt", truth)
            shutil.rmtree(root / "set-a", ignore_errors=True)
            if where == "twice inside":
                (root / "Outcomes-a.txt").unlink(missing_ok=True)
        if number == 0:
            assert read_to(path, tmp_path / "out")[0].counts["same_outcomes_twice"] == 1
            continue
        with pytest.raises(DataRefused, match="two outcomes tables contradict each other") as refusal:
            read_to(path, tmp_path / "other")
        assert refusal.value.received == "2 tables, 2 of them different"


def test_what_cannot_be_placed_is_told_to_validation(tmp_path: Path, write_stays: WriteStays) -> None:
    """Rows left out for a fault count against the tolerance; the publisher's code for missing is no fault."""
    rows = "7:30,HR,80\n49:00,HR,80\n01:00,,80\n01:00,HR,-1\n"
    facts, _ = read_to(write_stays(stays=STAYS | {"132541": STAYS["132541"] + rows}), tmp_path / "out")
    assert facts.dropped == {"events": 3}
    assert (facts.counts["impossible_time"], facts.counts["unnamed_variable"]) == (2, 1)


def test_files_among_the_stays_are_read_or_counted(tmp_path: Path, write_stays: WriteStays) -> None:
    """A suffix in capitals is a stay; another name is counted; a stay in a folder below is ambiguous."""
    root = write_stays()
    stays = root / "set-a"
    (stays / "140000.TXT").write_text(HEADER + "00:00,RecordID,140000\n01:00,HR,99\n")
    (stays / "more").mkdir()
    for name in ("150001.csv", "p150001.txt", "more/notes.zip", "SHA256SUMS.txt", ".hidden.txt"):
        (stays / name).write_text("x\n")
    facts, tables = read_to(root, tmp_path / "out")
    assert facts.counts["ignored_file"] == 3
    assert "140000" in tables["stays"]["site_id"].to_list()
    assert [role for role, _ in raw_files(CONFIG, root) if role.startswith("ignored")] == ["ignored/*"] * 3
    with tarfile.open(root / "set-a.tar.gz", "w:gz") as archive:
        archive.add(stays, "set-a")
    in_archive, _ = read_to(root / "set-a.tar.gz", tmp_path / "tar")
    assert in_archive.counts["ignored_file"] == 3
    (root / "set-a.tar.gz").unlink()
    (stays / "more" / "150002.txt").write_text("x\n")
    with pytest.raises(DataRefused, match="the stays cannot be told") as refusal:
        raw_files(CONFIG, root)
    assert refusal.value.received == "stays in folders below the stays"


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    """A set of pictures in place of stays is told from an empty archive."""
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00")
        archive.writestr("train_labels.npy", b"\x93NUMPY\x01\x00")
    with pytest.raises(DataRefused, match="there is not a single stay") as refusal:
        read_to(tmp_path / "set.npz", tmp_path / "out")
    assert refusal.value.received == "2 other files, the first of them a single NumPy array (.npy)"


def test_names_are_those_of_the_challenge() -> None:
    """37 series and 5 descriptors, two of them with levels, over 48 hours; the suite knows the same."""
    offered = names(CONFIG)
    assert (len(offered.variables), len(offered.static), offered.hours) == (37, 5, 48)
    assert offered.static["ICUType"] == (1, 2, 3, 4)
    rule = next(
        rule for rule in load_suite(catalogue_suite("physionet2012")).rules if rule.reason == "unknown_variable"
    )
    assert set(rule.kwargs["value_set"]) == {*offered.variables, *offered.static}


def test_two_versions_of_a_stay_are_refused(tmp_path: Path, write_stays: WriteStays) -> None:
    """Nobody can tell which one is right."""
    root = write_stays()
    text = (root / "set-a" / "132539.txt").read_text()
    with zipfile.ZipFile(root / "set-a.zip", "w") as archive:
        archive.writestr("a/132539.txt", text)
        archive.writestr("b/132539.txt", text + "09:00,HR,80\n")
    shutil.rmtree(root / "set-a")
    with pytest.raises(DataRefused, match="two files of one stay differ"):
        read_to(root, tmp_path / "out")


def test_a_folder_that_cannot_be_told_is_refused(tmp_path: Path, write_stays: WriteStays) -> None:
    """Two candidates, or none, are not guessed between."""
    root = write_stays()
    _zip(root, root / "set-a.zip")
    with pytest.raises(DataRefused, match="the stays cannot be told") as refusal:
        raw_files(CONFIG, root)
    assert refusal.value.received == "1 folders and 1 archives"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "README").write_text("x")
    with pytest.raises(DataRefused, match="holds no stays"):
        raw_files(CONFIG, tmp_path / "none")


@pytest.mark.parametrize("where", ["archive", "outcomes", "path"])
def test_an_error_page_in_place_of_a_part_is_refused(write_stays: WriteStays, where: str) -> None:
    """The refusal says what the part really is."""
    root, page = write_stays(), "<!DOCTYPE html><title>404</title>\n"
    if where == "outcomes":
        (root / "Outcomes-a.txt").write_text(page.replace("<", "\x1f\x8b<", 1), encoding="latin-1")
    else:
        shutil.rmtree(root / "set-a")
        (root / "set-a.tar.gz").write_text(page)
    path = root / "set-a.tar.gz" if where == "path" else root
    with pytest.raises(DataRefused, match="is not what it should be") as refusal:
        raw_files(CONFIG, path)
    assert refusal.value.received in ("an HTML page, as a failed download leaves behind", "a gzip file")


@pytest.mark.parametrize("link", ["stay", "folder", "outcomes"])
def test_a_link_that_leaves_the_data_is_refused(tmp_path: Path, write_stays: WriteStays, link: str) -> None:
    """What lies outside the data folder is not read, whoever links to it."""
    root, elsewhere = write_stays(), tmp_path / "elsewhere"
    moved = {"stay": "set-a/132541.txt", "folder": "set-a", "outcomes": "Outcomes-a.txt"}[link]
    (root / moved).rename(elsewhere)
    (root / moved).symlink_to(elsewhere)
    with pytest.raises(DataRefused, match=r"not plain data|not what it should be") as refusal:
        raw_files(CONFIG, root)
    assert refusal.value.received == "a link that leaves the folder"


@given(st.text(max_size=12))
def test_numbers_are_finite_or_none(text: str) -> None:
    """Whatever a reading says, its number is finite, fits 32 bits, and is what Python reads."""
    number = number_of(text)
    assert number is None or (math.isfinite(number) and number == float(text) and abs(number) < 3.41e38)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_number_is_read_back(number: float) -> None:
    """All that 32 bits can hold is a number."""
    assert number_of(repr(number)) == number


@given(st.text(max_size=6) | st.from_regex(r"\d\d:\d\d", fullmatch=True))
def test_times_lie_within_48_hours_or_are_none(text: str) -> None:
    """A time is a minute of the stay, or cannot be."""
    minutes = minutes_of(text)
    assert minutes is None or (0 <= minutes <= 2880 and text == f"{minutes // 60:02d}:{minutes % 60:02d}")


FIELD = st.text(st.characters(codec="utf-8", exclude_characters=",\n\r\0"), max_size=5)
ROW = st.tuples(FIELD | st.sampled_from(["00:00", "07:30", "48:00"]), FIELD | st.just("HR"), FIELD | st.just("80"))


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=8), st.binary(max_size=3), st.integers(0, 400))
def test_whatever_a_file_holds_rows_are_kept_or_it_is_refused(
    rows: list[tuple[str, str, str]], noise: bytes, at: int
) -> None:
    """No row is lost or invented: kept, counted under a reason, or the whole file refused."""
    body = RECORD + "".join(",".join(row) + "\n" for row in rows)
    clean = (HEADER + body).encode()
    for data in (clean, clean[:at] + noise + clean[at:]):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "132539.txt").write_bytes(data)
            try:
                facts = read(Physionet2012(kind="physionet2012", outcomes=None), folder, folder)
            except DataRefused:
                assert data is not clean or "RecordID" in body[len(RECORD) :]
                continue
            events = pl.DataFrame(read_table(folder / "events.parquet"))
        timed = events.filter(pl.col("source_row").is_first_distinct())
        aside = sum(facts.counts.get(why, 0) for why in ("impossible_time", "unnamed_variable", "coded_missing"))
        assert timed.height + aside + data.count(b"RecordID") == data.count(b"\n") - 1
        kept = timed.filter(pl.col("numeric_value").is_not_null() == pl.col("text_value").is_not_null())
        assert kept.is_empty()


def test_stays_to_predict_are_called_by_their_record_and_need_no_outcome(
    tmp_path: Path, write_stays: WriteStays
) -> None:
    """Outcomes that are there are not read; the record's number stands in a file for the owner alone."""
    root = write_stays()
    _, labelled = read_to(root, tmp_path / "labelled")
    (root / "Outcomes-a.txt").write_text("no outcomes at all")
    _, tables = read_to(root, tmp_path / "out", CONFIG.unlabelled())
    for name in ("events", "stays"):
        assert tables[name].equals(labelled[name])
    assert tables["labels"]["in_hospital_death"].null_count() == 3
    path = tmp_path / "out" / "stay_identifiers.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    records = dict(pl.DataFrame(read_table(path)).iter_rows())
    assert records == dict(tables["stays"].select("stay_id", "site_id").iter_rows())


@pytest.mark.data
def test_the_real_set_is_as_its_publisher_describes_it(tmp_path: Path, real_data: Path) -> None:
    """4,000 stays, 554 deaths, 3 stays without series, the heights of 1,894 stays missing."""
    facts, tables = read_to(real_data / "physionet2012", tmp_path / "out")
    assert facts.tables == {"events": 1_676_343, "stays": 4000, "labels": 4000}
    assert facts.counts == {"coded_missing": 1894 + 326 + 3, "stay_without_series": 3}
    assert tables["labels"]["in_hospital_death"].sum() == 554
    events = tables["events"]
    static = events.filter(pl.col("time").is_null())
    known = dict(static.group_by("code").len().rows())
    assert known == {"Age": 4000, "Gender": 3997, "Height": 2106, "ICUType": 4000, "Weight": 4000 - 326}
    assert events.filter(pl.col("code") == "HR").height == 224_602
    assert events["text_value"].null_count() == events.height
    assert events["code"].n_unique() == 41
    order = events.select("subject_id", "time", "code", "numeric_value", "source_row")
    assert order.equals(order.sort(pl.all(), nulls_last=False))
    assert tables["stays"]["subject_id"].n_unique() == 4000
