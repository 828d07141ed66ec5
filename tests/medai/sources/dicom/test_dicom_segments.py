"""DICOM segmentation objects as masks of the pictures that they were drawn on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from medai.errors import DataRefused
from medai.sources import unlabelled
from medai.sources.dicom import Dicom, SegmentMasks, read
from medai.sources.dicom.segments import drawn_in
from medai.sources.image_masks.decoding import resized
from medai.tables import Facts
from tests.medai.sources.dicom.making import segmented

HIGH, WIDE = 24, 20
CORE_AND_RIM = SegmentMasks(segments={"core": 1, "rim": 2})


def slices(count: int, **told: Any) -> list[Any]:
    """Computed tomography slices of 24 × 20 of one patient, each of its own shades."""
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
        one.Modality, one.InstanceNumber, one.SeriesNumber, one.PatientID = "CT", number + 1, 1, "K-17"
        for empty in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
            setattr(one, empty, "")
        one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        one.Rows, one.Columns, one.PixelSpacing, one.SamplesPerPixel = HIGH, WIDE, [0.5, 0.5], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.0 * number]
        one.SliceThickness = 2.0
        levels = np.random.default_rng(number).integers(0, 4096, (HIGH, WIDE)).astype("<u2")
        one.PixelData = levels.tobytes()
        for keyword, value in told.items():
            setattr(one, keyword, value)
        made.append(one)
    return made


def empty(count: int) -> np.ndarray:
    """A segment that covers nothing."""
    return np.zeros((count, HIGH, WIDE), bool)


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, list[Any]]:
    """A folder with three slices, and the slices."""
    folder, pictures = tmp_path / "data", slices(3)
    folder.mkdir()
    for number, one in enumerate(pictures):
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder, pictures


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., tuple[Facts, dict[str, np.ndarray], pl.DataFrame]]:
    """Reads a folder at its own size: facts, SOP Instance UID → mask, and the pictures' table with the labels."""

    def read_in(data: Path, **told: Any) -> tuple[Facts, dict[str, np.ndarray], pl.DataFrame]:
        place = tmp_path / "out"
        place.mkdir()
        config = Dicom(**{"kind": "dicom", "size": (HIGH, WIDE), "masks": CORE_AND_RIM} | told)
        facts = read(config, data, place)
        masks = np.load(place / "masks.npy")
        uids = pl.read_parquet(place / "picture_identifiers.parquet")["sop_instance_uid"].to_list()
        labels = pl.read_parquet(place / "labels.parquet")
        return (
            facts,
            dict(zip(uids, masks, strict=True)),
            pl.read_parquet(place / "images.parquet").join(labels, "row_id"),
        )

    return read_in


def test_each_segment_becomes_a_class_on_the_pictures_it_was_drawn_on(data: Any, taken: Any) -> None:
    """Where two overlap the larger number stands; empty frames are healthy; a label nobody asked for is background."""
    folder, pictures = data
    core, rim, other = empty(3), empty(3), empty(3)
    core[0, 2:5, 2:5], rim[0, 4:8, 4:8], other[2, :2] = True, True, True
    segmented(folder / "seg.dcm", pictures, {"core": core, "rim": rim, "other": other})
    facts, masks, images = taken(folder)
    uids = [str(one.SOPInstanceUID) for one in pictures]
    assert sorted(masks) == sorted(uids)
    assert np.array_equal(masks[uids[0]], np.where(rim[0], 2, np.where(core[0], 1, 0)))
    assert not masks[uids[1]].any()
    assert not masks[uids[2]].any()
    assert facts.counts == {}
    assert images["fault"].null_count() == images.height == 3
    assert sorted(images["label"].to_list()) == [0, 0, 1]
    assert sorted(images["share"].to_list()) == [0, 0, (9 + 16 - 1) / (HIGH * WIDE)]
    assert images["mask_hash"].n_unique() == 2


def test_several_segmentations_of_a_picture_are_united(data: Any, taken: Any) -> None:
    """Each is brought to the working size as other masks are; a fractional one covers a pixel from a half on."""
    folder, pictures = data
    core, rim = empty(3), np.zeros((3, HIGH, WIDE), np.float32)
    core[0, :8, :8], rim[0, 12:, 12:], rim[0, :4, :4] = True, 0.6, 0.4
    segmented(folder / "one.dcm", pictures, {"core": core})
    segmented(folder / "two.dcm", pictures, {"rim": rim}, "FRACTIONAL")
    _, masks, _ = taken(folder, size=(12, 16), resize="pad")
    whole = np.where(rim[0] >= 0.5, 2, np.where(core[0], 1, 0)).astype(np.uint8)
    expected = resized(whole, (12, 16), 2, pad=True)
    assert np.array_equal(masks[str(pictures[0].SOPInstanceUID)], expected)
    assert set(np.unique(expected)) == {0, 1, 2}


def test_a_picture_without_a_mask_is_refused_or_told(data: Any, taken: Any) -> None:
    """As ``missing`` says; told are other labels, too, and pictures that are not there."""
    folder, pictures = data
    one = empty(2)
    one[0, :4, :4] = True
    strangers = slices(1, SOPInstanceUID="1.2.3.4.5")
    segmented(folder / "seg.dcm", pictures[:2], {"core": one})
    segmented(folder / "strange.dcm", strangers, {"rim": one[:1]})
    segmented(folder / "other.dcm", pictures[2:], {"liver": one[:1]})
    config = Dicom(kind="dicom", size=(HIGH, WIDE), masks=CORE_AND_RIM)
    with pytest.raises(DataRefused, match="pictures have no mask") as refused:
        taken(folder)
    assert refused.value.received == "1 of 3 without one"
    assert str(pictures[2].SOPInstanceUID) not in str(refused.value)
    (folder.parent / "out").rename(folder.parent / "refused")
    lenient = SegmentMasks(segments={"core": 1, "rim": 2}, missing="no_finding")
    facts, masks, _ = taken(folder, masks=lenient)
    assert facts.counts == {
        "picture_without_mask": 1,
        "segmented_picture_absent": 1,
        "segmentation_of_other_labels": 1,
    }
    assert [int(mask.max()) for mask in masks.values()].count(0) == 2
    assert config.findings == 2


def test_a_mask_of_another_size_costs_its_picture(data: Any, taken: Any) -> None:
    """Where in it a pixel lies is a guess."""
    folder, pictures = data
    segmented(folder / "seg.dcm", pictures, {"core": empty(3)})
    smaller = slices(3)[0]
    smaller.Rows, smaller.PixelData = 16, smaller.PixelData[: 16 * WIDE * 2]
    smaller.save_as(folder / "0.dcm", enforce_file_format=True)
    _, _, images = taken(folder)
    assert images.filter(pl.col("fault").is_not_null())["fault"].to_list() == ["mask_of_another_size"]


@pytest.mark.parametrize(
    ("harm", "wrong"),
    [
        (lambda path: path.unlink(), "no segmentation lies among the pictures"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "a segmentation cannot be read"),
        (lambda path: segmented(path, slices(1), {"liver": empty(1)}), "no segmentation was drawn on these pictures"),
        (
            lambda path: segmented(path, slices(1, SOPInstanceUID="1.2.3"), {"core": empty(1)}),
            "no segmentation was drawn on these pictures",
        ),
    ],
)
def test_a_segmentation_that_cannot_be_followed_is_refused(
    harm: Callable[[Path], object], wrong: str, data: Any, taken: Any
) -> None:
    """A picture whose mask was not read would count as healthy; no label and no identifier is told."""
    folder, pictures = data
    harm(segmented(folder / "seg.dcm", pictures, {"core": empty(3)}))
    with pytest.raises(DataRefused, match=wrong) as refused:
        taken(folder)
    for secret in ("core", "liver", str(pictures[0].SOPInstanceUID), "K-17"):
        assert secret not in str(refused.value)


def test_a_segmentation_is_no_picture(data: Any, tmp_path: Path) -> None:
    """Where nobody asks for masks it is counted with reports and plans; so it is where pictures are predicted."""
    folder, pictures = data
    segmented(folder / "seg.dcm", pictures, {"core": empty(3)})
    out = tmp_path / "out"
    out.mkdir()
    facts = read(unlabelled(Dicom(kind="dicom", size=(HIGH, WIDE), masks=CORE_AND_RIM)), folder, out)
    assert (facts.tables["images"], facts.counts) == (3, {"file_without_picture": 1})
    assert not (out / "masks.npy").exists()


def test_masks_that_name_no_classes_are_refused() -> None:
    """Numbers begin at 1 and leave no gap; pictures to learn from have labels or masks, not both."""
    for segments in ({}, {"core": 0}, {"core": 2}, {"core": 1, "rim": 3}):
        with pytest.raises(ValidationError):
            SegmentMasks(segments=segments)
    with pytest.raises(ValidationError, match="segmentation objects in masks"):
        Dicom(kind="dicom", size=(8, 8))
    assert Dicom(kind="dicom", size=(8, 8), masks=SegmentMasks(segments={"a": 1, "b": 1})).findings == 1


def test_a_file_that_is_no_segmentation_is_refused(tmp_path: Path) -> None:
    """Text, and a picture."""
    (tmp_path / "text.dcm").write_text("no DICOM")
    slices(1)[0].save_as(tmp_path / "picture.dcm", enforce_file_format=True)
    for name in ("text.dcm", "picture.dcm"):
        with pytest.raises(DataRefused, match="a segmentation cannot be read"):
            drawn_in(tmp_path / name, {"core": 1}, pad=False)
