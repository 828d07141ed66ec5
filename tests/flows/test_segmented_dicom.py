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

pytestmark = pytest.mark.slow  # one process and server of its own

PATIENTS, SIZE = 160, 48


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs with planted lesions; a segmentation of each, of which every other patient's shows nothing."""
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    root = tmp_path_factory.mktemp("segmented")
    finding = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Opacity",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
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
        mask = np.zeros((1, SIZE, SIZE), np.uint8)
        for lesion in lesions:
            mask[0] |= lesion
        hd.seg.Segmentation(
            source_images=[one],
            pixel_array=mask[..., None],
            segmentation_type="BINARY",
            segment_descriptions=[finding],
            series_instance_uid=hd.UID(),
            series_number=2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="none",
            manufacturer_model_name="none",
            software_versions="0",
            device_serial_number="0",
        ).save_as(root / f"{patient:03}-seg.dcm")
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
