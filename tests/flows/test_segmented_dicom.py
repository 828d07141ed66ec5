"""The whole road from DICOM pictures with their segmentation objects to a judged U-Net and its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from medai.problem import catalogue
from medai.sources.synthetic.lesions import draw
from tests.medai.sources.dicom.making import segmented

pytestmark = pytest.mark.slow  # one process and server of its own

PATIENTS, SIZE = 160, 48


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs with planted lesions; a segmentation of each, of which every other patient's shows nothing."""
    import pydicom
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    root = tmp_path_factory.mktemp("segmented")
    for patient in range(PATIENTS):
        stream = np.random.default_rng(patient)
        levels, lesions = draw(stream, stream.random(12) * 2 - 1, 2 * (patient % 2), 2.0, SIZE)
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = ComputedRadiographyImageStorage
        for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(one, name, generate_uid(entropy_srcs=[f"{name} {patient}"]))
        one.Modality, one.InstanceNumber, one.SeriesNumber, one.PatientID = "CR", 1, 1, f"P{patient}"
        for empty in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate"):
            setattr(one, empty, "")
        one.StudyTime = one.ReferringPhysicianName = ""
        one.Rows = one.Columns = SIZE
        one.PixelSpacing, one.SamplesPerPixel, one.PixelRepresentation = [0.5, 0.5], 1, 0
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
        one.WindowCenter, one.WindowWidth = 128, 256
        one.PixelData = levels.tobytes()
        one.save_as(root / f"{patient:03}.dcm", enforce_file_format=True)
        mask = np.logical_or.reduce([np.zeros((SIZE, SIZE), bool), *lesions])
        segmented(root / f"{patient:03}-seg.dcm", [one], {"Opacity": mask[None]})
    return root


@pytest.fixture
def problem(tmp_path: Path) -> str:
    """The catalogue's question of lesions, asked of DICOM."""
    asked = yaml.safe_load(catalogue()["synthetic_lesions"].read_text())
    del asked["data"], asked["inputs"]["picture"]["source"]["subject"]
    asked["name"] = "segmented_dicom"
    asked["inputs"]["picture"]["source"] |= {
        "kind": "dicom",
        "size": [SIZE, SIZE],
        "masks": {"segments": {"Opacity": 1}},
    }
    asked["inputs"]["picture"]["preprocessing"]["size"] = [SIZE, SIZE]
    asked["training"]["epochs"] = 10
    asked["gate"] |= {"floors": {"dice": 0.4}, "minimum_positives": 5}
    path = tmp_path / "segmented_dicom.yaml"
    path.write_text(yaml.safe_dump(asked))
    return str(path)


def test_masks_of_segmentation_objects_are_learnt(
    medai: Any, data: Path, problem: str, home: Path, tmp_path: Path
) -> None:
    """Promoted by its Dice on patients it never saw; without the segmentations, pictures are answered by masks."""
    found = medai.run(problem, "--data", str(data), home=home)
    assert found["decision"] == "promoted", found["reasons"]
    assert found["cohort"]["subjects"] == PATIENTS
    assert found["set_aside"] == {}
    out = tmp_path / "answers.csv"
    answer = medai("predict", problem, str(data), "--out", str(out), "--json", home=home)
    assert answer.status == 0, answer.err
    answered = pl.read_csv(out)
    assert answered.height == PATIENTS
