"""The source dicom: folders, DICOMDIR, labels, and what becomes of files that were mixed up."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medai.cohort.definition import SliceSeries
from medai.cohort.slices import all_slices, judged
from medai.errors import ConfigurationError, DataRefused
from medai.ingestion import ingest
from medai.problem import load_problem
from medai.sources import dicom
from medai.sources.dicom import Dicom, LabelTable, raw_files, read
from medai.sources.dicom.elements import open_elements
from medai.sources.dicom.finding import find
from medai.sources.dicom.headers import facts_of
from medai.sources.dicom.labels import key_of, labels_of
from medai.sources.synthetic.dicom_files import file_of
from medai.tables import Facts
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace
from tests.medai.sources.dicom.making import JPEG_LS, LITTLE, RLE, TWELVE, dataset, lying, made

LABELS = {"path": "labels.csv", "key": "SOPInstanceUID", "columns": ["finding"]}


def config(**told: Any) -> Dicom:
    """A small working size and a table of labels."""
    return Dicom.model_validate({"kind": "dicom", "size": [8, 8], "labels": LABELS} | told)


def picture(number: int, **told: Any) -> bytes:
    """A picture of its own, of patient ``number``."""
    values = np.roll(TWELVE, number, axis=1) // (1 + number % 3)
    own = {
        "SOPInstanceUID": f"1.2.9.{number}", "StudyInstanceUID": f"1.2.8.{number}", "PatientID": f"K-{number}",
        "WindowCenter": 2048, "WindowWidth": 4096,
    }  # fmt: skip
    return made(values, told.pop("syntax", LITTLE), **(own | told))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four patients' pictures at different depths, and their labels."""
    data = tmp_path / "data"
    for number, place in enumerate(("a.dcm", "deep/er/b", "deep/1.2.840.5", "deep/odd\nname.DCM")):
        (data / place).parent.mkdir(parents=True, exist_ok=True)
        (data / place).write_bytes(picture(number, syntax=(LITTLE, RLE, JPEG_LS, LITTLE)[number]))
    (data / "labels.csv").write_text(
        "SOPInstanceUID,finding\n" + "".join(f"1.2.9.{number},{number % 2}\n" for number in range(4))
    )
    (data / "README.md").write_text("which ward these came from\n")
    (data / ".DS_Store").write_bytes(b"\0")
    return data


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., tuple[Facts, pl.DataFrame, Path]]:
    """Read a folder: facts, the images joined with their labels and places, and where the tables lie."""

    def read_in(data: Path, out: str = "out", **told: Any) -> tuple[Facts, pl.DataFrame, Path]:
        place = tmp_path / out
        place.mkdir()
        facts = read(config(**told), data, place)
        images = pl.read_parquet(place / "images.parquet")
        for other in ("labels", "picture_identifiers"):
            images = images.join(pl.read_parquet(place / f"{other}.parquet"), on="row_id")
        return facts, images.sort("site_id"), place

    return read_in


def test_files_at_any_depth_become_rows_with_their_labels(
    folder: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]
) -> None:
    """Names with or without an ending, with a newline too; each compressed its own way; others are passed over."""
    facts, images, out = taken(folder)
    assert facts.unit == "patient"
    assert facts.tables == {"images": 4, "labels": 4}
    assert facts.counts == {}
    assert images["site_id"].to_list() == ["a.dcm", "deep/1.2.840.5", "deep/er/b", "deep/odd\nname.DCM"]
    assert images["label"].to_list() == [0, 0, 1, 1]
    assert images["fault"].null_count() == 4
    assert images["voi"].to_list() == ["window"] * 4
    assert set(images["bits"].to_list()) == {12}
    assert (images["height"][0], images["width"][0]) == TWELVE.shape
    pixels = np.load(out / "pixels.npy")
    assert pixels.shape == (4, 8, 8, 1)
    np.testing.assert_allclose(
        pixels.reshape(4, -1).mean(axis=1), pl.read_parquet(out / "images.parquet")["mean"], rtol=1e-6
    )


@pytest.mark.parametrize(("resize", "across"), [("stretch", 1.0), ("pad", 1.5)])
def test_slices_of_a_series_lie_in_space(
    tmp_path: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]], resize: str, across: float
) -> None:
    """Whatever their files are called: in order along their normal, with the spacing of the working picture."""
    data = tmp_path / "ct"
    data.mkdir()
    values = np.arange(12 * 8, dtype=np.uint16).reshape(12, 8)
    for number in range(5):
        (data / f"{(3 * number) % 5}.dcm").write_bytes(
            made(
                values + 5 * number,
                LITTLE,
                SOPInstanceUID=f"1.2.9.{number}",
                Modality="CT",
                PixelSpacing=[1, 1],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                ImagePositionPatient=[0, 0, 2.5 * number],
            )
        )  # fmt: skip
    _, _, out = taken(data, labels=None, labelled=False, resize=resize)
    slices = all_slices(out)
    assert slices["slice_position"].to_list() == [0, 2.5, 5, 7.5, 10]
    assert slices["series"].n_unique() == 1
    assert slices.select("spacing_down", "spacing_across").unique().rows() == [(1.5, across)]
    definition = SliceSeries(kind="slice_series", least_slices=5)
    assert [kept.height for _, kept in judged(slices, definition)] == [1] * 6
    assert [kept.height for _, kept in judged(slices.filter(pl.col("slice_position") != 5), definition)][-1] == 0


def test_no_identifier_stands_but_in_the_owners_tables(
    folder: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]
) -> None:
    """Neither numbers nor UIDs nor names of files; the owner's tables are readable by the owner alone."""
    _, _, out = taken(folder)
    for name in ("images", "labels"):
        words = pl.read_parquet(out / f"{name}.parquet").select(pl.col(pl.String)).to_dicts()
        assert not [
            word for row in words for word in row.values() if word and ("K-" in word or word.startswith("1.2.9"))
        ]
        octets = (out / f"{name}.parquet").read_bytes()
        assert not any(secret in octets for secret in (b"K-2", b"1.2.9.2", b"1.2.8.2", b"odd"))
    for name in ("identifiers", "picture_identifiers"):
        assert stat.S_IMODE((out / f"{name}.parquet").stat().st_mode) == 0o600
    assert pl.read_parquet(out / "identifiers.parquet")["site_id"].sort().to_list() == ["K-0", "K-1", "K-2", "K-3"]
    assert "1.2.9.2" in pl.read_parquet(out / "picture_identifiers.parquet")["sop_instance_uid"].to_list()
    assert sorted(path.name for path in out.iterdir()) == [
        "identifiers.parquet", "images.parquet", "labels.parquet", "picture_identifiers.parquet", "pixels.npy",
    ]  # fmt: skip


def test_names_and_order_leave_no_trace(
    folder: Path, tmp_path: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]
) -> None:
    """The same files under other names, in other folders, give the same bytes where stages read."""
    _, _, first = taken(folder)
    other = tmp_path / "other"
    other.mkdir()
    for at, file in enumerate(sorted(raw_files(config(), folder), reverse=True)):
        (other / ("labels.csv" if file[0] == "labels" else f"{at}.dcm")).write_bytes(file[1].read_bytes())
    _, _, second = taken(other, "again")
    for name in ("images.parquet", "labels.parquet", "identifiers.parquet", "pixels.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_what_was_mixed_up_is_not_taken(folder: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]) -> None:
    """One study of two patients, one UID of two pictures; an equal copy of a file is a copy."""
    (folder / "study1").write_bytes(picture(11, StudyInstanceUID="1.2.8.77"))
    (folder / "study2").write_bytes(picture(12, StudyInstanceUID="1.2.8.77"))
    (folder / "uid1").write_bytes(picture(13, SOPInstanceUID="1.2.9.77"))
    (folder / "uid2").write_bytes(picture(14, SOPInstanceUID="1.2.9.77"))
    (folder / "copy").write_bytes((folder / "a.dcm").read_bytes())
    (folder / "same_again").write_bytes(picture(0, AccessionNumber="2"))
    (folder / "nobody.dcm").write_bytes(picture(15, PatientID=""))
    (folder / "text.dcm").write_text("not a picture\n")
    (folder / "report.dcm").write_bytes(_report())
    facts, images, out = taken(folder)
    faults = dict(images.select("site_id", "fault").iter_rows())
    assert faults == {
        "a.dcm": None, "copy": None, "deep/1.2.840.5": None, "deep/er/b": None, "deep/odd\nname.DCM": None,
        "nobody.dcm": "unknown_subject", "same_again": None, "study1": "study_of_several_patients",
        "study2": "study_of_several_patients", "text.dcm": "not_dicom", "uid1": "uid_of_several_pictures",
        "uid2": "uid_of_several_pictures",
    }  # fmt: skip
    assert facts.counts == {
        "not_dicom": 1, "unknown_subject": 1, "study_of_several_patients": 2, "uid_of_several_pictures": 2,
        "copy_in_same_role": 2, "file_without_picture": 1, "picture_without_label": 6,
    }  # fmt: skip
    pixels = np.load(out / "pixels.npy")
    rows = pl.read_parquet(out / "images.parquet")
    unread = rows.filter(pl.col("fault").is_not_null() & (pl.col("fault") != "unknown_subject"))["row_id"].to_numpy()
    assert not pixels[unread].any()


def _report() -> bytes:
    """A sound DICOM file without pixels."""
    told = dataset(TWELVE)
    for keyword in ("Rows", "Columns"):
        delattr(told, keyword)
    data = file_of(told, TWELVE, LITTLE)
    return data[: data.rfind(b"\xe0\x7f\x10\0")]


def test_frames_become_rows(tmp_path: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]) -> None:
    """Each of a run, its middle, or its first; all have the file's label."""
    data = tmp_path / "run"
    data.mkdir()
    run = np.stack([TWELVE, TWELVE // 2, TWELVE // 3])
    (data / "run.dcm").write_bytes(made(run, RLE, NumberOfFrames=3, Modality="US"))
    (data / "labels.csv").write_text("SOPInstanceUID,finding\n1.2.3.4,1\n")
    _, images, _ = taken(data)
    assert images["site_id"].to_list() == ["run.dcm#0", "run.dcm#1", "run.dcm#2"]
    assert images["frame"].to_list() == [0, 1, 2]
    assert images["label"].to_list() == [1, 1, 1]
    _, images, _ = taken(data, "middle", frames="middle")
    assert images["frame"].to_list() == [1]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_labels_join_by_what_the_problem_names(form: str, tmp_path: Path) -> None:
    """Several labels keep their columns; words become class numbers; an empty cell is untold."""
    keys = {"SOPInstanceUID": "1.2.9.3", "StudyInstanceUID": "1.2.8.3", "PatientID": "K-3 ", "file": "er/b.dcm"}
    told = facts_of(open_elements(picture(3)).elements)
    for kind, key in keys.items():
        path = tmp_path / f"truth.{form}"
        if form == "csv":
            path.write_text(f'\ufeffid,mass,edema\n{key},yes,no\n"else",no,\n')
        else:
            pq.write_table(pa.table({"id": [key, "else"], "mass": ["yes", "no"], "edema": ["no", None]}), path)
        words = {"no": 0, "yes": 1}
        table = LabelTable(path=path.name, key=kind, column="id", columns=("mass", "edema"), values=words)
        labels = labels_of(table, path)
        name = key_of(kind, "er/b.dcm", told)
        assert name is not None
        assert (labels.values[name], labels.values["else"], labels.contradicted) == ((1, 0), (0, None), 0)
        assert table.names == ("mass", "edema")
    assert key_of("AccessionNumber", "er/b.dcm", told) is None
    assert key_of("PatientID", "er/b.dcm", None) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("SOPInstanceUID,other\n1,0\n", "lacks column finding"),
        ("SOPInstanceUID,finding,finding\n1,0,1\n", "repeats column finding"),
        ("SOPInstanceUID,finding\n1,0\n2\n", "row 3 of the table of labels is ragged"),
        ("SOPInstanceUID,finding\n1,maybe\n", "row 2 of the table of labels: finding is no class"),
        ("SOPInstanceUID,finding\n1,0.5\n", "row 2 of the table of labels: finding is no class"),
        ("SOPInstanceUID,finding\n,1\n", "row 2 of the table of labels has no key"),
        ("SOPInstanceUID,finding\n", "the table of labels is empty"),
        ('SOPInstanceUID,finding\n"1,0\n', "the table of labels cannot be read"),
        ("<!doctype html><title>404</title>\n", "the table of labels is not what it should be"),
    ],
)
def test_a_table_of_labels_that_cannot_be_followed_is_refused(text: str, wrong: str, tmp_path: Path) -> None:
    """With the row, and never with a value."""
    (tmp_path / "labels.csv").write_text(text)
    table = config().labels
    assert table is not None
    with pytest.raises(DataRefused, match=wrong) as refused:
        labels_of(table, tmp_path / "labels.csv")
    assert "maybe" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("Mustermann Erika,1\nMeier Max,0\n", "2 columns, or a table without a first row of names"),
        ("SOPInstanceUID;finding\n1;Mustermann\n", "one column: its cells are separated by semicolons, not commas"),
        ("Sop Instance UID,finding\n1,0\n", "2 columns, Sop Instance UID among them"),
    ],
)
def test_a_table_without_the_asked_column_is_not_told_in_its_own_words(
    text: str, received: str, tmp_path: Path
) -> None:
    """Where there is no header, the first row is a patient's; a spelling of the asked name alone is repeated."""
    (tmp_path / "labels.csv").write_text(text)
    table = config().labels
    assert table is not None
    with pytest.raises(DataRefused) as refused:
        labels_of(table, tmp_path / "labels.csv")
    assert refused.value.received == received
    assert "Mustermann" not in str(refused.value)


def test_a_key_told_twice_otherwise_is_untold(tmp_path: Path) -> None:
    """Nobody can say which of two labels is true; twice the same is one."""
    (tmp_path / "labels.csv").write_text("SOPInstanceUID,finding\n1,0\n2,1\n1,1\n2,1.0\n3,true\n")
    table = config().labels
    assert table is not None
    assert labels_of(table, tmp_path / "labels.csv") == ({"1": (None,), "2": (1,), "3": (1,)}, 1)


def test_nothing_is_followed_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    """Links that leave it, or lead nowhere; pipes; a table of labels elsewhere; files that are no DICOM at all."""
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(picture(9))
    for target in (outside, folder / "nothing"):
        link = folder / "link.dcm"
        link.symlink_to(target)
        with pytest.raises(DataRefused, match="is not plain data") as refused:
            find(folder)
        assert "outside" not in str(refused.value)
        link.unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataRefused, match="is not plain data"):
        find(folder)
    (folder / "pipe").unlink()
    (folder / "labels.csv").unlink()
    (folder / "labels.csv").symlink_to(tmp_path / "outside.dcm")
    with pytest.raises(DataRefused, match=r"outside the data|is not plain data"):
        raw_files(config(), folder)
    with pytest.raises(ValidationError, match="a relative path"):
        config(labels=LABELS | {"path": "../labels.csv"})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(DataRefused, match="holds no DICOM file"):
        find(tmp_path / "texts")
    with pytest.raises(DataRefused, match="is not what it should be"):
        find(tmp_path / "texts" / "a.txt")


def directory(folder: Path, *places: list[str]) -> None:
    """A DICOMDIR that lists these files."""
    records = []
    for place in places:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = place
        records.append(record)
    patient = Dataset()
    patient.DirectoryRecordType = "PATIENT"
    listing = dataset(TWELVE)
    listing.DirectoryRecordSequence = Sequence([patient, *records])
    data = file_of(listing, TWELVE, LITTLE)
    (folder / "DICOMDIR").write_bytes(data[: data.rfind(b"\xe0\x7f\x10\0")])


def test_a_dicomdir_says_what_is_read(folder: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]) -> None:
    """In upper case too, as a medium's names are; what it does not list is counted; it belongs to the raw files."""
    directory(folder, ["A.DCM"], ["DEEP", "ER", "B"])
    facts, images, _ = taken(folder)
    assert images["site_id"].to_list() == ["a.dcm", "deep/er/b"]
    assert facts.counts["file_not_in_dicomdir"] == 2
    assert {role for role, _ in raw_files(config(), folder)} == {"files/*", "directory", "labels"}


@pytest.mark.parametrize(
    ("places", "wrong"),
    [
        ([["a.dcm"], ["deep", "lost"]], "files that the DICOMDIR lists are missing"),
        ([[".."], ["a.dcm"]], "leads out of its folder"),
        ([["..", "outside.dcm"]], "leads out of its folder"),
        ([["/etc/passwd"]], "leads out of its folder"),
    ],
)
def test_a_dicomdir_that_leads_elsewhere_is_refused(places: list[list[str]], wrong: str, folder: Path) -> None:
    """Outside, or to what is not there."""
    directory(folder, *places)
    with pytest.raises(DataRefused, match=wrong) as refused:
        find(folder)
    assert "passwd" not in str(refused.value)


@pytest.mark.parametrize("content", [b"no directory at all\n", picture(1), b"\0" * 128 + b"DICM" + b"\xff" * 400])
def test_a_dicomdir_that_cannot_be_read_is_refused(content: bytes, folder: Path) -> None:
    """Whatever it is, it never ends the run in another way."""
    (folder / "DICOMDIR").write_bytes(content)
    with pytest.raises(DataRefused, match="the DICOMDIR cannot be read"):
        find(folder)


def test_prediction_needs_no_labels(folder: Path, taken: Callable[..., tuple[Facts, pl.DataFrame, Path]]) -> None:
    """One file or a folder; who has no number is a subject by content; without labels no fit."""
    bare = config().unlabelled().model_dump()
    (folder / "nobody.dcm").write_bytes(picture(31, PatientID=""))
    _, images, _ = taken(folder, **bare)
    assert images["subject_id"].null_count() == 0
    _, images, _ = taken(folder / "a.dcm", "one", **bare)
    assert images["site_id"].to_list() == ["a.dcm"]
    with pytest.raises(ValidationError, match="labels are needed"):
        config(labels=None)


def test_files_without_pictures_alone_are_refused(tmp_path: Path) -> None:
    """A folder of reports gives no snapshot."""
    (tmp_path / "r.dcm").write_bytes(_report())
    (tmp_path / "out").mkdir()
    with pytest.raises(DataRefused, match="no DICOM file holds a picture"):
        read(config().unlabelled(), tmp_path, tmp_path / "out")


def test_without_the_extra_the_error_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact hint for installing."""
    monkeypatch.setattr(dicom, "_MODULES", ("pydicom", "no_such_codec"))
    with pytest.raises(ConfigurationError, match="packages that are not installed") as refused:
        raw_files(config(), folder)
    assert refused.value.action == "pip install '.[imaging]' in the folder that medai was cloned to"


def test_the_suite_judges_what_was_read(tmp_path: Path) -> None:
    """Each kind of fault is set aside under its own reason; what a file does not say is held against nobody."""
    data = tmp_path / "data"
    data.mkdir()
    told: list[dict[str, Any]] = [{} for _ in range(30)]
    told[0], told[1], told[2] = {"ViewPosition": "LL"}, {"ViewPosition": "PA", "Modality": "CT"}, {"ViewPosition": "PA"}
    told[3] = {"WindowCenter": 60000, "WindowWidth": 10}
    told[4] = {"BurnedInAnnotation": "YES", "WindowWidth": 0}
    for number, said in enumerate(told):
        large = np.kron(np.roll(TWELVE, number), np.ones((2, 2), np.uint16))
        own = {"SOPInstanceUID": f"1.2.9.{number}", "StudyInstanceUID": f"1.2.8.{number}", "PatientID": f"K-{number}"}
        window = {"WindowCenter": 2048, "WindowWidth": 4096}
        (data / f"{number}.dcm").write_bytes(made(large, **(own | window | said)))
    (data / "cut.dcm").write_bytes(picture(40)[:-40])
    other = {"PatientID": "K-41", "StudyInstanceUID": "1", "SOPInstanceUID": "2"}
    (data / "lie.dcm").write_bytes(lying(BitsStored=8, HighBit=7, **other))
    (data / "labels.csv").write_text("SOPInstanceUID,finding\n1.2.9.1,1\n")
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, config(views=["PA"], modalities=["CR"]), data).record
    report = validate(workspace, snapshot, catalogue_suite("dicom")).record
    assert report.passed
    assert report.set_aside == {
        "truncated_pixels": 1, "beyond_bits_stored": 1, "all_black_picture": 1, "other_view": 1, "other_modality": 1,
    }  # fmt: skip
    assert report.warned == {"window_unusable": 1, "burned_in_annotation": 1}


def test_the_catalogue_has_a_problem_on_it() -> None:
    """Labels in a table, views and modalities asked for, and a champion's reading that another site's labels leave."""
    problem = load_problem("dicom_radiographs")
    assert isinstance(problem.input.source, Dicom)
    with pytest.raises(ConfigurationError, match="cannot be followed") as refused:
        load_problem("dicom_radiographs", ["inputs.radiograph.preprocessing.size=[28,28]"])
    assert "pictures are resized once" in refused.value.expected + refused.value.received
