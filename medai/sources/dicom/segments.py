"""DICOM segmentation objects as masks: which pixels of which referenced picture each segment covers.

A segmentation (DICOM PS3.3, A.51) refers to the pictures that it was drawn on by their SOP Instance UID and leaves out
frames on which a segment is empty. Read with highdicom (Bridge et al. 2022, doi:10.1007/s10278-022-00683-y); nothing of
the patient is read, kept or told.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused
from medai.sources.damage import parsing
from medai.sources.dicom.elements import quiet
from medai.sources.image_masks.decoding import resized

if TYPE_CHECKING:
    import numpy as np
    import pydicom

SEGMENTATION = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""SOP classes of segmentations, and of label maps (PS3.4 annex B.5)."""
_HALF = 0.5
_AT_ONCE = 16
"""Pictures whose segments are held at full size at once."""


class Drawn(NamedTuple):
    """What a segmentation shows.

    Attributes:
        masks: SOP Instance UID → uint8 (height, width) class numbers, of every picture that it was drawn on; none
            where it has no segment that was asked for.
        size: rows and columns that the pictures had.
    """

    masks: dict[str, np.ndarray]
    size: tuple[int, int]


@cache
def prepare() -> None:
    """Import what every task needs, before workers are born."""
    import highdicom.seg  # noqa: F401


def drawn_in(path: Path, findings: Mapping[str, int], working: tuple[int, int] | None = None, *, pad: bool) -> Drawn:
    """The masks of the pictures that a segmentation object was drawn on.

    Where two findings overlap, the larger number stands, as in ``image_masks``. A fractional segment covers a pixel
    from a half on. A picture that the segmentation was drawn on and that has no frame in it shows no finding.

    Args:
        path: the segmentation object's file.
        findings: segment label → class number, from 1 on; several labels may mean one finding.
        working: height and width that masks are brought to, as ``image_masks`` does; their own when left out.
        pad: whether pictures keep their aspect ratio in it.

    Raises:
        DataRefused: the file is no segmentation of pictures of one frame that can be read.
    """
    import numpy as np

    prepare()
    import pydicom
    from highdicom.seg import Segmentation

    damaged = DataRefused(
        "a segmentation cannot be read",
        expected="a DICOM segmentation object (PS3.3 A.51) drawn on pictures of one frame each",
        received="a damaged file, or one that refers to its pictures in another way",
        action="have it sent again, or take it out of the data",
    )
    with quiet(), parsing(damaged):
        drawn = Segmentation.from_dataset(_with_thickness(pydicom.dcmread(path)), copy=False)
        labels = {number: str(drawn.get_segment_description(number).segment_label) for number in drawn.segment_numbers}
        uids = sorted({str(uid) for _, _, uid in drawn.get_source_image_uids()})
        size = int(drawn.Rows), int(drawn.Columns)
    wanted = [number for number, label in labels.items() if label in findings]
    masks: dict[str, np.ndarray] = {}
    for begin in range(0, len(uids) if wanted else 0, _AT_ONCE):
        some = uids[begin : begin + _AT_ONCE]
        with quiet(), parsing(damaged):
            stack = drawn.get_pixels_by_source_instance(
                some, wanted, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
            )
        if stack.shape != (len(some), *size, len(wanted)):
            raise damaged
        whole = np.zeros(stack.shape[:3], np.uint8)
        for place, number in enumerate(wanted):
            np.maximum(whole, (stack[..., place] >= _HALF) * np.uint8(findings[labels[number]]), out=whole)
        for uid, mask in zip(some, whole, strict=True):
            masks[uid] = mask if working is None else resized(mask, working, max(findings.values()), pad=pad)
    return Drawn(masks, size)


def _with_thickness(segmentation: pydicom.Dataset) -> pydicom.Dataset:
    """The same with a thickness wherever a pixel has measures: those drawn on radiographs have none, which the standard
    allows and highdicom does not; pictures are told by their UID here, not by their place in space.
    """
    shared = segmentation.get("SharedFunctionalGroupsSequence") or ()
    for group in (*shared, *(segmentation.get("PerFrameFunctionalGroupsSequence") or ())):
        for measures in group.get("PixelMeasuresSequence") or ():
            if "SliceThickness" not in measures:
                measures.SliceThickness = 1.0
    return segmentation
