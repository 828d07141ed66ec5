"""A table of pictures: what its columns mean, and which paths are followed."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.sources import ImageTable, reading
from medai.sources.image_table import raw_files, read
from medai.tables import Facts, read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

COLUMNS: dict[str, Any] = {
    "path": "file",
    "subject": "patient",
    "labels": {"stage": ["none", "mild", "severe"], "nodule": "number"},
    "attributes": {"site": "text", "age": "age", "dose": "number"},
    "role": "part",
    "time": "taken",
}
TABLE = (
    "file,patient,stage,nodule,site,age,dose,part,taken,remark\n"
    "a/1.png,p1,none,0,north,58,1.5,train,2024-05-01,\n"
    "a/2.png,p1,Mild,1,north,058Y,,train,2024-05-02T10:30:00,x\n"
    "./a/3.png,p2,SEVERE,1.0,south,93,2e1,val,,\n"
    "b/4.png,p3,,0,south,,0.5,test,yesterday,\n"
)


def config(table: str = "pictures.csv", columns: dict[str, Any] = COLUMNS, **fields: Any) -> ImageTable:
    """The source at 16 × 16."""
    given = {"kind": "image_table", "size": [16, 16], "table": table, "columns": columns}
    return ImageTable.model_validate(given | fields)


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """Write a table, and a picture for each number."""

    def write(
        text: str = TABLE, *, name: str = "set", pictures: tuple[str, ...] = ("a/1", "a/2", "a/3", "b/4")
    ) -> Path:
        root = tmp_path / name
        for number, place in enumerate(pictures):
            path = root / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = np.random.default_rng(number).integers(20, 230, (20, 20), np.uint8)
            Image.fromarray(levels).save(path)
        (root / "pictures.csv").write_text(text)
        return root

    return write


def read_set(root: Path, source: ImageTable) -> tuple[Facts, pl.DataFrame]:
    """Read a set; the facts, and images joined with labels and places, by place."""
    out = root.with_name(f"{root.name} {source.table} {source.labelled} read")
    out.mkdir()
    facts = read(source, root, out)
    table = pl.DataFrame(read_table(out / "images.parquet"))
    for other in ("labels", "picture_identifiers"):
        table = table.join(pl.DataFrame(read_table(out / f"{other}.parquet")), on="row_id", maintain_order="left")
    return facts, table.rename({"site_id": "place"}).sort("place")


def test_every_column_becomes_what_the_problem_says_of_it(lay: Callable[..., Path]) -> None:
    """Words are numbers in their order, whatever their case; ages over 89 are 90, with bands; a time is that of
    prediction; an empty or unreadable cell is null and counted; what the Problem does not name is not read.
    """
    facts, table = read_set(lay(), config())
    assert (facts.unit, facts.dropped) == ("patient", {})
    assert facts.counts == {
        "subjects_straddling_publisher_roles": 0, "not_recorded_age": 1, "not_recorded_dose": 1,
        "time_cannot_be_read": 1,
    }  # fmt: skip
    assert table.select("place", "stage", "nodule", "site", "age", "age_band", "dose", "publisher_role").rows() == [
        ("a/1.png", 0, 0, "north", 58, "40-64", 1.5, "train"),
        ("a/2.png", 1, 1, "north", 58, "40-64", None, "train"),
        ("a/3.png", 2, 1, "south", 90, "90+", 20.0, "validation"),
        ("b/4.png", None, 0, "south", None, None, 0.5, "test"),
    ]
    times = [datetime(2024, 5, 1), datetime(2024, 5, 2, 10, 30), None, None]
    assert table["time"].to_list() == times == table["known_time"].to_list()
    assert table["subject_id"].n_unique() == 3
    assert "remark" not in table.columns
    assert reading(config()) == {
        "kind": "image_table", "size": [16, 16], "channels": 1, "resize": "stretch", "white": 65535,
    }  # fmt: skip


def test_csv_gzip_and_parquet_say_the_same(lay: Callable[..., Path]) -> None:
    """The same rows in three forms give the same tables."""
    root = lay()
    (root / "pictures.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    pl.read_csv(io.StringIO(TABLE), infer_schema=False).write_parquet(root / "pictures.parquet")
    found = [read_set(root, config(f"pictures.{end}"))[1] for end in ("csv", "csv.gz", "parquet")]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_paths_that_name_no_picture_of_their_own_are_left_out_and_counted(lay: Callable[..., Path]) -> None:
    """A missing file, a folder, an empty path, a line end in a name; a picture of which two rows differ; equal rows, in
    another spelling of the path too, are one. All but the last count against the tolerance.
    """
    rows = TABLE + (
        "a/9.png,p9,none,0,north,5,1,train,,\n"
        "a,p9,none,0,north,5,1,train,,\n"
        ",p9,none,0,north,5,1,train,,\n"
        '"a/1.png\n",p9,none,0,north,5,1,train,,\n'
        '"a/1\n.png",p9,none,0,north,5,1,train,,\n'
        "a\\1.png,p1,none,0,north,58,1.5,train,2024-05-01,\n"
        "a/./2.png,p1,none,0,north,5,1,train,,\n"
        "b/4.png,p3,,0,south,,0.5,test,yesterday,another remark\n"
    )
    facts, table = read_set(lay(rows), config())
    assert table["place"].to_list() == ["a/1.png", "a/3.png", "b/4.png"]
    told = ("file_is_missing", "path_cannot_be_read", "rows_that_differ_about_a_picture", "same_picture_twice")
    assert [facts.counts[reason] for reason in told] == [2, 3, 1, 3]
    assert facts.dropped == {"images": 6}


def row(path: str = "a/1.png", **changes: str) -> str:
    """One row for each further test, which ends in a line end."""
    cells = {"file": path, "patient": "p7", "stage": "none", "nodule": "0", "site": "north", "age": "5", "dose": "1",
             "part": "train", "taken": "", "remark": ""} | changes  # fmt: skip
    return ",".join(cells.values()) + "\n"


MANY = "".join(row(f"a/{number % 3 + 1}.png", site=f"s{number}") for number in range(3))
REFUSED = {
    "absolute": (row("/etc/hostname"), "row 6 of the table leads out", "an absolute path"),
    "drive": (row("C:\\\\pictures\\\\1.png"), "row 6 of the table leads out", "an absolute path"),
    "climbing": (row("a/../../1.png"), "row 6 of the table leads out", "a path with '..'"),
    "link": (row("a/out.png"), "row 6 of the table leads out", "a link that leaves the folder"),
    "word": (row("b/5.png", stage="severee"), "column stage holds a word", "did you mean 'severe'?"),
    "number": (row("b/5.png", nodule="a lot"), "column nodule holds a word", "whole numbers"),
    "role": (row("b/5.png", part="trian"), "column part holds a word", "did you mean 'train'?"),
    "ragged": ("b/5.png,p1\n", "ragged row", "10 fields"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_leads_astray_is_refused(
    lay: Callable[..., Path], case: str, refusal: Callable[[MedaiError], str], tmp_path: Path
) -> None:
    """Whole, before any picture is read; rows and columns are named, cells are not."""
    text, *messages = REFUSED[case]
    root = lay(TABLE + text, pictures=("a/1", "a/2", "a/3", "b/4", "b/5"))
    (root / "a" / "out.png").symlink_to("/etc/hostname")
    with pytest.raises(DataRefused) as caught:
        ingest(Workspace(tmp_path / "home"), config(), root)
    told = refusal(caught.value)
    assert all(message in told for message in messages)
    for value in ("severee", "a lot", "trian", "hostname", "p7"):
        assert value not in told


def test_an_attribute_of_many_words_is_no_group(lay: Callable[..., Path], refusal: Callable[[MedaiError], str]) -> None:
    """It may tell who somebody is; as may a table that is none, or lies elsewhere."""
    places = tuple(f"c/{number}" for number in range(52))
    rows = TABLE.splitlines(keepends=True)[0] + "".join(row(f"{place}.png", site=f"s{place}") for place in places)
    root = lay(rows, pictures=places)
    with pytest.raises(DataRefused) as caught:
        raw_files(config(), root)
    assert "attribute site has more levels than a group" in refusal(caught.value)
    (root / "pictures.csv").write_bytes(b"PAR1")
    with pytest.raises(DataRefused) as caught:
        raw_files(config(), root)
    assert "a Parquet file" in refusal(caught.value)
    (root / "pictures.csv").unlink()
    with pytest.raises(DataRefused) as caught:
        raw_files(config(), root)
    assert "the table pictures.csv is missing" in refusal(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": "file"}, "named for two things"),
        ({"labels": {"stage": ["none", "None"]}}, "two words or more"),
        ({"attributes": {"height": "number"}}, "every table of pictures has"),
        ({"labels": {}}, "at least 1"),
        ({"paths": "x"}, "did you mean 'path'?"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    """Before any work."""
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        config(columns=COLUMNS | changes)
    for table in ("../pictures.csv", "/data/pictures.csv", "pictures.xlsx", ".csv"):
        with pytest.raises(ValidationError, match="table"):
            config(table)


def test_without_subjects_each_picture_is_one_and_the_suite_judges_them(
    lay: Callable[..., Path], tmp_path: Path
) -> None:
    """Equal pixels are one subject, set aside as copies; the rest is kept."""
    places = tuple(f"c/{number}" for number in range(24))
    root = lay("file,stage\n" + "".join(f"{place}.png,mild\n" for place in (*places, "c/copy")), pictures=places)
    (root / "c" / "copy.png").write_bytes((root / "c" / "1.png").read_bytes())
    columns = {"path": "file", "labels": {"stage": ["none", "mild"]}}
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, config(columns=columns), root).record
    report = validate(workspace, snapshot, catalogue_suite("image_table")).record
    assert snapshot.unit == "image"
    assert report.passed
    assert report.set_aside == {"duplicate_picture": 1}


def test_pictures_to_predict_may_have_a_table_or_none(lay: Callable[..., Path]) -> None:
    """With a table its subjects and attributes are read, its labels and roles are not; without it any pictures do."""
    root = lay(TABLE.replace("Mild", "no such word").replace("val", "whatever"))
    facts, table = read_set(root, config(labelled=False))
    assert (facts.unit, table["stage"].null_count(), table["publisher_role"].unique().to_list()) == (
        "patient",
        4,
        ["test"],
    )
    assert table["site"].to_list() == ["north", "north", "south", "south"]
    loose, table = read_set(root / "a", config(labelled=False))
    assert (loose.unit, table.height, table["subject_id"].n_unique()) == ("image", 3, 3)
