"""Which of a subject's events are counted beside a prediction, and by what a batch is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.ingestion import ingest
from medai.monitoring import Monitoring
from medai.monitoring.comparing import CAME, WENT, Comparing, of_codes
from medai.monitoring.observing import contents_of, counted_codes
from medai.monitoring.windows import judge
from medai.sources import (
    Dicom,
    ImageFolder,
    ImageMasks,
    ImageTable,
    MedMNIST,
    Meds,
    Mimic3,
    Mimic4,
    NIHChestXray,
    Physionet2012,
    unlabelled,
)
from medai.sources.nih_chest_xray.listing import FINDINGS
from medai.sources.synthetic import Synthetic, generate
from medai.tables import write_table
from medai.workspace import Workspace
from tests.medai.sources.dicom.making import LITTLE, TWELVE, made

BOUNDS = Monitoring()
START = datetime(2100, 1, 1)
SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "known_time": pl.Datetime("us"),
    "code": pl.String,
    "variable": pl.String,
}


def hour(number: float) -> datetime:
    """So long after the start."""
    return START + timedelta(hours=number)


def events(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    """A table of subject, hours of ``time`` and ``known_time`` (None for none), code and variable."""
    timed = [(row[0], *(None if one is None else hour(one) for one in row[1:3]), *row[3:]) for row in rows]
    table = pl.DataFrame(timed, schema=SCHEMA, orient="row").sort("subject_id", "time", maintain_order=True)
    write_table(path, table.to_arrow())
    return path


def asked(*samples: tuple[int, float]) -> pl.DataFrame:
    """Subjects with the hour of a prediction."""
    rows = [(subject, hour(at)) for subject, at in samples]
    return pl.DataFrame(rows, schema={"subject_id": pl.Int64, "prediction_time": pl.Datetime("us")}, orient="row")


def test_what_became_known_after_the_prediction_is_not_counted(tmp_path: Path) -> None:
    """Charted in time and stored late is late; without a time counts unless it was known late; at the hour is in time.

    Another subject's events are nobody's, and one who has only later ones holds no code.
    """
    path = events(
        tmp_path / "events.parquet",
        [
            (1, None, None, "SEX", None),
            (1, None, 10, "WEIGHT", None),
            (1, None, 25, "DISCHARGE", None),
            (1, 3, None, "HR", "HR"),
            (1, 4, 4, "HR", "HR"),
            (1, 24, 24, "HR", "HR"),
            (1, 20, 30, "CULTURE", None),
            (1, 25, 25, "HR", "HR"),
            (1, 60, 60, "DISCHARGE", None),
            (2, 60, 60, "HR", "HR"),
            (3, 1, 1, "HR", "HR"),
        ],
    )
    assert counted_codes(path, asked((1, 24), (2, 24))).rows() == [
        ("HR", "HR", 3, 1), ("SEX", None, 1, 1), ("WEIGHT", None, 1, 1),
    ]  # fmt: skip


def test_an_event_counts_once_for_all_predictions_of_its_subject(tmp_path: Path) -> None:
    """Of one who was asked about at 24, 48 and 36 hours, what was known by the latest."""
    path = events(tmp_path / "events.parquet", [(1, at, at, "HR", "HR") for at in (1, 30, 40, 60)])
    assert counted_codes(path, asked((1, 24), (1, 48), (1, 36))).rows() == [("HR", "HR", 3, 1)]


def test_whole_stays_and_stays_that_go_on_have_the_same_codes(tmp_path: Path) -> None:
    """A reference of stays to their discharge at 72 hours, and a ward asked at 24: nothing went, and nothing came."""

    def ward(name: str, people: range, until: int) -> pl.DataFrame:
        rows: list[tuple[Any, ...]] = []
        for subject in people:
            rows += [(subject, at, at, "HR//1//bpm", "HR") for at in range(min(until, 72))]
            rows += [(subject, at, at, "ORAL//1//mL", "oral intake") for at in range(30, min(until, 72), 3)]
        return counted_codes(events(tmp_path / name, rows), asked(*((subject, 24) for subject in people)))

    before, here = ward("before.parquet", range(200), 72), ward("here.parquet", range(1000, 1060), 25)
    found = {one.name: one for one in of_codes(before, here, 200, 60, Comparing.of("data", BOUNDS))}
    assert {name: one.value for name, one in found.items()} == {
        (WENT, "codes"): 0, (CAME, "codes"): 0, ("HR", "units"): 0,
    }  # fmt: skip
    assert {judge(one, BOUNDS) for one in found.values()} == {"within"}
    assert before["readings"].to_list() == [200 * 25]


# -- by what a batch is known --------------------------------------------------------------------------------------


def picture(path: Path, number: int) -> None:
    """A picture of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(20, 230, (24, 20), np.uint8)).save(path)


def class_folders(root: Path, first: int) -> ImageFolder:
    """Two classes, one picture in both of them, another one twice, and a note beside them."""
    for number, place in enumerate(("ill/1.png", "well/2.png", "ill/3.png", "well/4.png", "ill/5.png")):
        picture(root / place, first + number)
    picture(root / "well" / "1.png", first)
    picture(root / "ill" / "2.png", first + 2)
    (root / "note.txt").write_text("which ward")
    return ImageFolder(kind="image_folder", classes=("ill", "well"), size=(16, 16))


def table(root: Path, first: int) -> ImageTable:
    """Three pictures that a table names."""
    for number in range(3):
        picture(root / f"{number}.png", first + number)
    lines = [f"{number}.png,p{number},{number % 2}" for number in range(3)]
    (root / "pictures.csv").write_text("\n".join(["file,patient,ill", *lines]) + "\n")
    columns = {"path": "file", "subject": "patient", "labels": {"ill": "number"}}
    given = {"kind": "image_table", "size": [16, 16], "table": "pictures.csv", "columns": columns}
    return ImageTable.model_validate(given)


def masks(root: Path, first: int) -> ImageMasks:
    """Pictures with masks, one of them unreadable."""
    for number in range(3):
        picture(root / "images" / f"{number}.png", first + number)
        mask = root / "masks" / f"{number}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 20), 255 * (number % 2), np.uint8)).save(mask)
    (root / "masks" / "2.png").write_bytes(b"no picture")
    return ImageMasks(kind="image_masks", size=(16, 16))


def archive(root: Path, first: int) -> NIHChestXray:
    """The archive of chest radiographs with its table and lists."""
    names = [f"0000000{number}_000.png" for number in range(1, 5)]
    lines = [f"{name},{FINDINGS[0]},0,{number},58,M,PA,9,9,0.1,0.1" for number, name in enumerate(names, start=1)]
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *lines]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(names[:3]) + "\n")
    (root / "test_list.txt").write_text(names[3] + "\n")
    for number, name in enumerate(names):
        picture(root / "images" / name, first + number)
    return NIHChestXray(kind="nih_chest_xray", size=(16, 16))


def dicom(root: Path, first: int) -> Dicom:
    """Pictures with a table of labels, one of them without a label."""
    for number in range(4):
        values = np.roll(TWELVE, first + number, axis=1) // (1 + number)
        own = {"SOPInstanceUID": f"1.2.9.{number}", "StudyInstanceUID": f"1.2.8.{number}", "PatientID": f"K-{number}"}
        (root / f"{number}.dcm").write_bytes(made(values, LITTLE, **own))
    (root / "labels.csv").write_text("SOPInstanceUID,finding\n1.2.9.0,0\n1.2.9.1,1\n1.2.9.2,0\n")
    labels = {"path": "labels.csv", "key": "SOPInstanceUID", "columns": ["finding"]}
    return Dicom.model_validate({"kind": "dicom", "size": [8, 8], "labels": labels})


def npz(root: Path, first: int) -> MedMNIST:
    """Generated pictures."""
    file = generate(Synthetic(kind="synthetic", layout="medmnist", subjects=40, seed=first), root)
    root.with_suffix(".npz").write_bytes(file.read_bytes())
    return MedMNIST(kind="medmnist")


def stays(root: Path, first: int) -> Physionet2012:
    """Generated stays with their outcomes."""
    generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=20, seed=first), root)
    return Physionet2012(kind="physionet2012")


@pytest.mark.parametrize("laid", [class_folders, table, masks, archive, dicom, npz, stays])
def test_data_have_the_same_contents_with_their_labels_and_without(tmp_path: Path, laid: Any) -> None:
    """Whatever lies beside them, is set aside for its label or stands in another order; other data have others."""
    workspace, found = Workspace(tmp_path / "home"), []
    for first in (1, 100):
        (root := tmp_path / str(first)).mkdir()
        source = laid(root, first)
        path = root.with_suffix(".npz") if laid is npz else root
        read = [ingest(workspace, one, path).record for one in (source, unlabelled(source))]
        assert read[0].key != read[1].key
        with_labels, without = (contents_of(workspace, one) for one in read)
        assert with_labels == without is not None
        found.append(without)
    assert found[0] != found[1]


def test_a_source_that_tells_no_stays_contents_gives_none(tmp_path: Path) -> None:
    """Then the batch is known by its cohort, as the data are read in one way alone."""
    workspace = Workspace(tmp_path / "home")
    (root := tmp_path / "raw").mkdir()
    snapshot = ingest(workspace, stays(root, 1), root).record
    path = workspace.folder("ingest", snapshot.key) / "stays.parquet"
    read = pl.read_parquet(path).with_columns(pl.lit(None, pl.String).alias("content_hash"))
    path.unlink()
    write_table(path, read.to_arrow())
    assert contents_of(workspace, snapshot) is None
    for source in (Mimic3(kind="mimic3"), Mimic4(kind="mimic4"), Meds(kind="meds")):
        assert unlabelled(source) == source
