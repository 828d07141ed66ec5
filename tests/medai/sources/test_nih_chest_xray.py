"""ChestX-ray14 as published: which pictures, whose, with which findings; and what is refused or counted."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.problem import load_problem
from medai.sources import NIHChestXray, reading
from medai.sources.nih_chest_xray import LABELS, raw_files, read
from medai.sources.nih_chest_xray.listing import FINDINGS, read_listing
from medai.tables import Facts, read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

NEW = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
OLD = NEW.replace("Sex", "Gender") + ","
Row = tuple[str, str, int, str, str, str, str]
ROWS: tuple[Row, ...] = (
    ("00000001_000.png", "Cardiomegaly", 0, "1", "58", "M", "PA"),
    ("00000001_001.png", "Cardiomegaly|Emphysema", 1, "1", "58", "M", "AP"),
    ("00000002_000.png", "No Finding", 0, "2", "91", "F", "PA"),
    ("00000013_005.png", "Pleural_Thickening|Hernia", 5, "13", "414", "F", "AP"),
)
LISTS = {
    "train_val_list.txt": "00000001_000.png\n00000001_001.png\n00000002_000.png\n",
    "test_list.txt": "00000013_005.png\n",
}


def config(**fields: Any) -> NIHChestXray:
    """The source at 16 × 16."""
    return NIHChestXray.model_validate({"kind": "nih_chest_xray", "size": [16, 16]} | fields)


def picture(seed: int, mode: str = "L") -> bytes:
    """A PNG's bytes; equal seeds give equal pictures."""
    levels = np.random.default_rng(seed).integers(20, 230, (24, 24), np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """Write an archive: its table, lists and pictures, each in a folder that ``place`` gives."""

    def write(
        name: str = "archive",
        *,
        rows: tuple[Row, ...] = ROWS,
        old: bool = False,
        lists: dict[str, str] = LISTS,
        place: Callable[[int], str] = lambda at: "images",
        absent: tuple[int, ...] = (),
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        header, age, end = (OLD, "{:0>3}Y", ",") if old else (NEW, "{}", "")
        lines = [
            ",".join([file, *map(str, (found, number, patient)), age.format(years), sex, view, "9,9,0.1,0.1"]) + end
            for file, found, number, patient, years, sex, view in rows
        ]
        table = "Data_Entry_2017.csv" if old else "Data_Entry_2017_v2020.csv"
        (root / table).write_text("\n".join([header, *lines]) + "\n")
        for file, text in lists.items():
            (root / file).write_text(text)
        for at, row in enumerate(rows):
            if at not in absent:
                (root / place(at)).mkdir(parents=True, exist_ok=True)
                (root / place(at) / row[0]).write_bytes(picture(at, "RGBA" if at == 1 else "L"))
        return root

    return write


def read_set(root: Path, **fields: Any) -> tuple[Facts, pl.DataFrame]:
    """Read an archive; the facts, and images joined with labels and file names, by file."""
    out = root.with_name(f"{root.name} read")
    out.mkdir()
    facts = read(config(**fields), root, out)
    table = pl.DataFrame(read_table(out / "images.parquet"))
    for other in ("labels", "picture_identifiers"):
        table = table.join(pl.DataFrame(read_table(out / f"{other}.parquet")), on="row_id", maintain_order="left")
    return facts, table.rename({"site_id": "file"}).sort("file")


@pytest.mark.parametrize("old", [False, True], ids=["v2020", "2017"])
def test_each_release_gives_findings_patients_and_attributes(lay: Callable[..., Path], old: bool) -> None:
    """Fourteen findings as columns, none of them where there is none; ages as 58 or 058Y, over 89 as 90, an impossible
    one kept for the rules; the lists' sides; a picture of four channels is grey.
    """
    facts, table = read_set(lay(old=old))
    assert (facts.unit, facts.tables, facts.dropped) == ("patient", {"images": 4, "labels": 4}, {})
    assert facts.counts == {"subjects_straddling_publisher_roles": 0}
    shown = {row["file"]: [name for name in LABELS if row[name]] for row in table.iter_rows(named=True)}
    assert list(shown.values()) == [["cardiomegaly"], ["cardiomegaly", "emphysema"], ["no_finding"],
                                    ["hernia", "pleural_thickening"]]  # fmt: skip
    told = table.select("age", "age_band", "sex", "view", "follow_up", "publisher_role", "fault").rows()
    assert told == [
        (58, "40-64", "M", "PA", 0, "train", None), (58, "40-64", "M", "AP", 1, "train", None),
        (90, "90+", "F", "PA", 0, "train", None), (414, None, "F", "AP", 5, "test", None),
    ]  # fmt: skip
    assert table["subject_id"].n_unique() == 3
    assert table["channels"].to_list() == [1, 3, 1, 1]


def test_pictures_lie_in_one_folder_or_in_some_of_twelve(lay: Callable[..., Path]) -> None:
    """With and without an inner folder; what is not there is counted, and so is what no row names; the bytes that come
    out are the same wherever the pictures lie.
    """
    plain = lay("plain")
    twelve = lay("twelve", place=lambda at: "images_001/images" if at < 2 else "images_012")
    first, second = (read_set(root) for root in (plain, twelve))
    assert first[1].equals(second[1])
    assert [role for role, _ in raw_files(config(), twelve)] == [
        "table",
        "train_list",
        "test_list",
        *["pictures/*"] * 4,
    ]
    some = lay("some", absent=(0, 3))
    (some / "images" / "00000099_000.png").write_bytes(picture(9))
    (some / "images" / "read_me.txt").write_text("x")
    facts, table = read_set(some)
    assert table["file"].to_list() == ["00000001_001.png", "00000002_000.png"]
    assert (facts.counts["in_table_not_on_disk"], facts.counts["on_disk_not_in_table"]) == (2, 1)


def test_rows_that_contradict_themselves_are_left_out_and_counted(lay: Callable[..., Path]) -> None:
    """They count against the tolerance; an equal row is one; without lists nobody has a side."""
    rows = (
        *ROWS,
        ROWS[0],
        ("00000003_000.png", "No Finding|Mass", 0, "3", "40", "F", "PA"),
        ("00000004_000.png", "Mass", 0, "5", "40", "F", "PA"),
        ("../../etc/passwd", "Mass", 0, "6", "40", "F", "PA"),
        ("00000007_000.png", "Mass", 0, "7", "x", "?", "LL"),
    )
    facts, table = read_set(lay(rows=rows[:7] + rows[8:], lists={}))
    assert (table.height, facts.dropped) == (5, {"images": 2})
    listing = read_listing(lay("text", rows=rows, absent=(7,)))
    assert listing.counts == {
        "no_finding_beside_findings": 1, "not_recorded_age": 1, "not_recorded_sex": 1, "not_recorded_view": 1,
        "patient_unlike_the_pictures_name": 1, "picture_on_no_list": 1, "row_without_picture_or_patient": 1,
        "same_row_twice": 1,
    }  # fmt: skip
    assert table["publisher_role"].null_count() == 5


def remove(name: str) -> Callable[[Path], None]:
    """Remove a file of the archive."""
    return lambda root: (root / name).unlink()


def put(name: str, content: bytes) -> Callable[[Path], None]:
    """Write a file of the archive."""

    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)

    return write


TABLE = "Data_Entry_2017_v2020.csv"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no table": (remove(TABLE), "one Data_Entry_2017*.csv"),
    "two tables": (put("Data_Entry_2017.csv", b"x\n"), "2 of them"),
    "a web page": (put(TABLE, b"<!DOCTYPE html><title>404"), "an HTML page"),
    "another header": (put(TABLE, b"a,b\n1,2\n"), "has no column image index"),
    "ragged": (put(TABLE, (NEW + "\n00000001_000.png,Mass\n").encode()), "ragged row"),
    "cut short": (put(TABLE, (NEW + "\n00000001_000.png,Ma").encode()), "table Data_Entry_2017"),
    "unknown finding": (
        put(TABLE, f"{NEW}\n00000001_000.png,Efusion,0,1,5,M,PA,9,9,0.1,0.1\n".encode()),
        "did you mean 'effusion'?",
    ),
    "two rows": (
        put(
            TABLE,
            "\n".join([NEW, *(f"00000001_000.png,{f},0,1,5,M,PA,9,9,0.1,0.1" for f in FINDINGS[:2]), ""]).encode(),
        ),
        "row 3 of Data_Entry_2017",
    ),
    "one list": (remove("test_list.txt"), "train_val_list.txt and test_list.txt"),
    "on both lists": (put("test_list.txt", b"00000001_000.png\n"), "a picture that the other list names, too"),
    "no list": (put("test_list.txt", b"somebody\n"), "line 1 of the publisher's list for test"),
    "no pictures": (lambda root: (root / "images").rename(root / "pictures"), "images_001 to images_012"),
    "twice": (put("images_001/00000001_000.png", b"x"), "the same name a second time"),
    "a link": (lambda root: (root / "images" / "00000009_000.png").symlink_to("/etc/hostname"), "leaves the folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_published_is_refused(
    lay: Callable[..., Path], case: str, refusal: Callable[[MedaiError], str], tmp_path: Path
) -> None:
    """Three parts and a next step; no file and no patient is named; nothing is written."""
    change, message = REFUSED[case]
    root = lay()
    change(root)
    with pytest.raises(DataRefused) as caught:
        ingest(Workspace(tmp_path / "home"), config(), root)
    text = refusal(caught.value)
    assert message in text
    assert "00000" not in text
    assert "Efusion" not in text
    assert not list((tmp_path / "home").rglob("images.parquet"))


def test_the_suite_sets_aside_impossible_ages_and_broken_pictures(lay: Callable[..., Path], tmp_path: Path) -> None:
    """Each under its reason; a subset may lack a finding, which is a warning; a rare view is none."""
    rows = tuple((f"{n:08d}_000.png", FINDINGS[n % 14], 0, str(n), "55" if n else "155", "F", "PA") for n in range(30))
    root = lay(rows=rows, lists={})
    path = root / "images" / "00000007_000.png"
    path.write_bytes(path.read_bytes()[:-40])
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, config(), root).record
    report = validate(workspace, snapshot, catalogue_suite("nih_chest_xray")).record
    assert report.passed
    assert report.set_aside == {"unreadable_picture": 1, "impossible_age": 1}
    assert {failure.reason for failure in report.failures} == {
        "unreadable_picture", "impossible_age", "finding_nearly_absent",
    }  # fmt: skip


def test_pictures_to_predict_need_no_table(lay: Callable[..., Path]) -> None:
    """One or a folder of them; the publisher's names tell the patient, others tell nobody."""
    root = lay()
    (root / "images" / "somebody.png").write_bytes(picture(77))
    facts, table = read_set(root / "images", labelled=False)
    assert facts.unit == "patient"
    assert table.height == 5
    assert table["subject_id"].n_unique() == 4
    assert table["mass"].null_count() == 5
    assert config().unlabelled() == config(labelled=False)


def test_the_problem_of_the_literature_asks_for_fourteen_findings_and_the_official_test() -> None:
    """Its outputs are the reader's columns; what a champion reads is how its pictures were kept."""
    problem = load_problem("nih_chest_xray")
    output = problem.outputs["findings"]
    assert [*output.labels, "no_finding"] == list(LABELS)
    assert problem.split.needed == ("train", "validation", "test")
    assert reading(problem.input.source) == {
        "kind": "nih_chest_xray", "size": [64, 64], "channels": 1, "resize": "stretch", "white": 65535,
    }  # fmt: skip
    with pytest.raises(ValidationError, match="between 1 and 4096"):
        config(size=[0, 16])
