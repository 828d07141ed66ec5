"""DICOM segmentation objects as masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.errors import DataRefused
from medai.sources.image_masks.segments import masks_of

pytest.importorskip("highdicom")


def slices(count: int) -> list[Any]:
    """Computed tomography slices of 12 × 10 that name nobody."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series, study, frame = (generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame"))
    made = []
    for number in range(count):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[f"slice {number}"])
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.InstanceNumber, one.SeriesNumber = "CT", number + 1, 1
        for empty in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
            setattr(one, empty, "")
        one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        one.Rows, one.Columns, one.PixelSpacing = 12, 10, [0.5, 0.5]
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.0 * number]
        one.SliceThickness = 2.0
        made.append(one)
    return made


def write(path: Path, pictures: list[Any], segments: dict[str, np.ndarray]) -> Path:
    """A binary segmentation: label → (slices, 12, 10)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(segments, start=1)
    ]
    hd.seg.Segmentation(
        source_images=pictures,
        pixel_array=np.stack(list(segments.values()), axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    ).save_as(path)
    return path


def test_each_segment_becomes_a_class_on_the_pictures_it_was_drawn_on(tmp_path: Path) -> None:
    """In any order of the pictures; where two overlap the larger number stands; empty frames are healthy."""
    pictures = slices(3)
    core, rim, other = (np.zeros((3, 12, 10), bool) for _ in range(3))
    core[0, 2:5, 2:5], rim[0, 4:8, 4:8], other[2, :2] = True, True, True
    path = write(tmp_path / "seg.dcm", pictures, {"core": core, "rim": rim, "other": other})
    uids = [str(one.SOPInstanceUID) for one in pictures]
    found = masks_of(path, uids[::-1], {"core": 1, "rim": 2})
    assert list(found) == uids[::-1]
    expected = np.where(rim[0], 2, np.where(core[0], 1, 0))
    assert np.array_equal(found[uids[0]], expected)
    assert found[uids[0]].dtype == np.uint8
    assert not found[uids[1]].any()
    assert not found[uids[2]].any(), "a label that nobody asked for is background"
    assert masks_of(path, uids[2:], {"other": 1})[uids[2]].sum() == 20


def test_what_is_no_segmentation_of_these_pictures_is_refused(tmp_path: Path) -> None:
    """Another file, other labels, other pictures; no label and no identifier is told."""
    pictures = slices(1)
    path = write(tmp_path / "seg.dcm", pictures, {"core": np.ones((1, 12, 10), bool)})
    uids = [str(pictures[0].SOPInstanceUID)]
    (tmp_path / "text.dcm").write_text("no DICOM")
    for file, asked, labels, wrong in (
        (tmp_path / "text.dcm", uids, {"core": 1}, "no segmentation that can be read"),
        (path, uids, {"rim": 1}, "lacks the findings asked for"),
        (path, ["1.2.3"], {"core": 1}, "not those that were segmented"),
    ):
        with pytest.raises(DataRefused, match=wrong) as told:
            masks_of(file, asked, labels)
        assert uids[0] not in str(told.value)
        assert "core" not in str(told.value)
