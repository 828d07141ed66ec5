"""DICOM segmentation objects as masks: which pixels of which referenced picture each segment covers.

A segmentation (DICOM PS3.3, A.51) refers to the pictures that it was drawn on by their SOP Instance UID and leaves out
frames on which a segment is empty. Read with highdicom (Bridge et al. 2022, doi:10.1007/s10278-022-00683-y); nothing of
the patient is read, kept or told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import ConfigurationError, DataRefused
from medai.sources.damage import parsing

if TYPE_CHECKING:
    import numpy as np

_HALF = 0.5


def masks_of(path: Path, pictures: Sequence[str], findings: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Picture → uint8 (rows, columns) class numbers: 0 where no segment of interest lies.

    Where two findings overlap, the larger number stands, as in ``image_masks``. A fractional segment covers a pixel
    from a half on. A picture that the segmentation was drawn on and that has no frame in it shows no finding.

    Args:
        path: the segmentation object's file.
        pictures: SOP Instance UIDs of the pictures asked for.
        findings: segment label → class number, from 1 on; several labels may mean one finding.

    Raises:
        ConfigurationError: highdicom is not installed.
        DataRefused: the file is no segmentation, lacks a segment of these labels, or was not drawn on these pictures.
    """
    import numpy as np

    try:
        import pydicom
        from highdicom.seg import Segmentation
    except ImportError:
        raise ConfigurationError(
            "segmentation objects need packages that are not installed",
            expected="medai with its extra 'imaging'",
            received="no module highdicom",
            action="pip install 'medai[imaging]'",
        ) from None
    damaged = _refused("the file is no segmentation that can be read", "a damaged file, or another object")
    with parsing(damaged):
        drawn = Segmentation.from_dataset(pydicom.dcmread(path), copy=False)
        labels = {number: str(drawn.get_segment_description(number).segment_label) for number in drawn.segment_numbers}
        sources = {str(uid) for _, _, uid in drawn.get_source_image_uids()}
    wanted = [number for number, label in labels.items() if label in findings]
    if not wanted:
        raise _refused("the segmentation lacks the findings asked for", f"{len(labels)} segments of other labels")
    strangers = sum(uid not in sources for uid in pictures)
    if strangers:
        raise _refused("pictures asked for are not those that were segmented", f"{strangers} of {len(pictures)} others")
    with parsing(damaged):
        stack = drawn.get_pixels_by_source_instance(
            list(pictures), wanted, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
    masks = np.zeros(stack.shape[:3], np.uint8)
    for place, number in enumerate(wanted):
        covered = stack[..., place] >= _HALF
        np.maximum(masks, covered * np.uint8(findings[labels[number]]), out=masks)
    return dict(zip(pictures, masks, strict=True))


def _refused(wrong: str, received: str) -> DataRefused:
    return DataRefused(
        wrong,
        expected="a DICOM segmentation of these pictures, with a segment of each label that the Problem names",
        received=received,
        action="give the segmentation that belongs to these pictures, or correct the labels",
    )
