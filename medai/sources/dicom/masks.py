"""Masks of DICOM pictures, from the segmentation objects that lie among them.

A picture's mask is what all segmentations that were drawn on it show; each is brought to the working size, and then
they are united, the larger class number standing where two overlap. What cannot be followed is refused, since a picture
whose mask was not read would count as healthy.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused
from medai.sources.dicom import segments
from medai.sources.dicom.finding import Found
from medai.sources.image_masks.decoding import OTHER_SIZE
from medai.sources.pictures.workers import Lost, each_decoded
from medai.tables import new_pixels

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.dicom import Dicom, SegmentMasks
    from medai.sources.dicom.rows import Row

MASKED = {"label": "int64", "share": "float64", "mask_hash": "string"}
"""Label column → type, of pictures with masks: whether any finding shows, on which share, and the mask's hash."""


_SECONDS = 300.0
"""Seconds that one segmentation may take: it may show a thousand slices."""


class Masks(NamedTuple):
    """The masks of some rows.

    Attributes:
        levels: (rows, height, width) uint8, on disk; 0 for background and k for the k-th finding.
        faults: row → why its mask cannot be taken.
        counts: what was noticed, by reason.
    """

    levels: np.ndarray
    faults: dict[int, str]
    counts: dict[str, int]

    def labels(self, row: int) -> tuple[int, float, str]:
        """A row's values of ``MASKED``."""
        import numpy as np

        mask = np.ascontiguousarray(self.levels[row])
        share = np.count_nonzero(mask) / mask.size
        return int(share > 0), share, hashlib.sha256(mask.tobytes()).hexdigest()


def masks_of(config: Dicom, wanted: SegmentMasks, files: Sequence[Found], rows: Sequence[Row], path: Path) -> Masks:
    """The masks of rows, by the segmentations that were drawn on their pictures.

    Args:
        files: the segmentation objects.
        path: where the masks wait on disk.

    Raises:
        DataRefused: there is no segmentation, one cannot be read, none was drawn on these pictures, one was drawn on a
            picture of several frames, or a picture has none where that is refused.
    """
    import numpy as np

    if not files:
        raise _refused("no segmentation lies among the pictures", "DICOM segmentation objects", "none")
    levels = new_pixels(path, (len(rows), *config.size))
    places: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row.told is not None and row.told.sop is not None and row.picture.decoded.fault is None:
            places[row.told.sop].append(at)
    drawn_on = np.zeros(len(rows), bool)
    faults: dict[int, str] = {}
    others = absent = 0
    read = partial(segments.drawn_in, findings=wanted.segments, working=config.size, pad=config.resize == "pad")
    paths = [file.path for file in files]
    for answer in each_decoded(read, paths, module=segments.__name__, seconds=_SECONDS):
        if isinstance(answer, Lost):
            raise _refused("a segmentation cannot be read", "one that is decoded in minutes", answer.reason)
        others += not answer.masks
        absent += len(answer.masks.keys() - places.keys())
        for uid in answer.masks.keys() & places.keys():
            for at in places[uid]:
                header = rows[at].header
                if header is None or header.frames > 1:
                    received = "one that was drawn on a picture of several frames"
                    raise _refused("a segmentation cannot be followed", "pictures of one frame each", received)
                drawn_on[at] = True
                if (header.rows, header.columns) != answer.size:
                    faults[at] = OTHER_SIZE
                else:
                    np.maximum(levels[at], answer.masks[uid], out=levels[at])
    if not drawn_on.any():
        received = f"{len(files)} segmentations, {others} of them without a segment of these labels"
        raise _refused("no segmentation was drawn on these pictures", "those that belong to them", received)
    without = sum(not drawn_on[at] for known in places.values() for at in known)
    if without and wanted.missing == "refuse":
        received = f"{without} of {sum(map(len, places.values()))} without one"
        raise _refused("pictures have no mask", "a segmentation drawn on each, or masks.missing: no_finding", received)
    counts = {
        "picture_without_mask": without,
        "segmented_picture_absent": absent,
        "segmentation_of_other_labels": others,
    }
    return Masks(levels, faults, {why: many for why, many in counts.items() if many})


def _refused(wrong: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        wrong,
        expected=expected,
        received=received,
        action="add the segmentations that belong to these pictures, or correct masks of the Problem's source",
    )
