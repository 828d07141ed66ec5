"""Thousands of identifiers planted in DICOM files and a table: none leaves, and what belongs together still joins."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medai.deidentification import Key, rewrite_folder
from medai.deidentification.columns import Definition
from medai.deidentification.rows import rewrite_table
from tests.medai.deidentification.conftest import Written, radiograph
from tests.medai.deidentification.planted import BORN, Planted, hits, leaks

pydicom = pytest.importorskip("pydicom", reason="the extra imaging is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"], ids=["explicit", "implicit"])
def test_no_planted_identifier_leaves_a_file(syntax: str, dicom: Written, key: Key, tmp_path: Path) -> None:
    """Over all attributes, in sequences, private, overlays, curves, file meta, preamble, after the pixels, in names."""
    planted = Planted()

    def plant(dataset: object) -> None:
        planted.over_all_tags(dataset)
        planted.meta(dataset)

    source = tmp_path / "data" / planted.word()
    source.mkdir(parents=True)
    person = planted.word()
    data = dicom(change=plant, syntax=syntax, PatientID=person, PatientName=f"{planted.word()}^{planted.word()}")
    at = data.index(b"DICM")
    data = planted.word().encode().ljust(at, b"x")[:at] + data[at:] + planted.word().encode()
    (source / f"{planted.word()}.dcm").write_bytes(data)
    (source / f"{planted.word()}.txt").write_text(planted.word())
    assert planted.count > 3000
    assert len({hit for hit in hits(data)}) > 2900  # the search finds what was planted
    report = rewrite_folder(source.parent, tmp_path / "out", key)
    assert (report["rewritten"], report["set_aside"]) == (1, {"not_dicom": 1})
    assert leaks(tmp_path / "out") == []
    file = next((tmp_path / "out" / "files").rglob("*.dcm"))
    assert np.array_equal(pydicom.dcmread(file).pixel_array, radiograph())


def test_pictures_and_tables_still_join(dicom: Written, key: Key, tmp_path: Path) -> None:
    """By patient, by order and by study; and a day between a picture and a row stays a day."""
    folder = tmp_path / "data"
    folder.mkdir()
    planted, people = Planted(), [f"{number:04}" for number in range(30)]
    with (folder / "records.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["MRN", "order", "StudyInstanceUID", "visit", "age", "born", "note", "finding"])
        for number, person in enumerate(people):
            (folder / f"{planted.word()}.dcm").write_bytes(
                dicom(
                    PatientID=f" {person} ",
                    AccessionNumber=f"A{number}",
                    SOPInstanceUID=f"1.2.3.9.{number}",
                    StudyInstanceUID=f"1.2.3.{number}",
                )
            )
            visit = f"2020-03-02 {number % 24:02}:15:00"
            rows.writerow(
                [person, f"A{number}", f"1.2.3.{number}", visit, 60 + number * 2, BORN, planted.word(), "yes"]
            )
    mapping = Definition.model_validate({
        "subject": "mrn", "identifiers": {"order": "accession"}, "uids": ["StudyInstanceUID"], "dates": ["visit"],
        "ages": ["age"], "drop": ["note", "born"], "keep": ["finding"],
    })  # fmt: skip
    rewrite_folder(folder, tmp_path / "out", key)
    told = rewrite_table(folder / "records.csv", tmp_path / "tables" / "records.csv", mapping, key)
    assert (told["rows"], told["emptied"]) == (30, {})
    assert leaks(tmp_path / "out") == leaks(tmp_path / "tables") == []
    with (tmp_path / "tables" / "records.csv").open(newline="") as file:
        records = {row["MRN"]: row for row in csv.DictReader(file)}
    assert len(records) == 30
    pictures = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(pictures) == 30
    shifts = set()
    for picture in pictures:
        row = records[picture.PatientID]
        assert (row["order"], row["StudyInstanceUID"]) == (picture.AccessionNumber, picture.StudyInstanceUID)
        day = np.datetime64(f"{picture.StudyDate[:4]}-{picture.StudyDate[4:6]}-{picture.StudyDate[6:]}")
        assert np.datetime64(row["visit"][:10]) - day == 1
        assert row["visit"][16:] == ":00"
        shifts.add(day)
    assert len(shifts) > 20
    ages = sorted(int(row["age"]) for row in records.values())
    assert ages.count(90) == 15
    assert ages[0] == 60
