"""Which part of a picture is looked at: without its frame, or the lungs alone.

A box is (top, bottom, left, right) in pixels, bottom and right not included. Where a method finds nothing that it
trusts, there is no box, the whole picture stays, and the record counts it: a wrong crop hides what a wide one shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from medai.records import Frozen

if TYPE_CHECKING:
    import numpy as np

_STRAY = 0.02
"""Share of a frame's line that may be something else at either end of its grey levels: a marker, a letter."""
_SMALLEST_LUNG = 0.02
"""Share of the patient's part of the picture that is the least a lung covers."""
_LARGEST_LUNG = 0.45
_LEAST_FIELD = 0.2
"""Share of it that the box around both lungs covers at least, before its margin is added."""


class Box(NamedTuple):
    """A part of a picture, in pixels; bottom and right are not included."""

    top: int
    bottom: int
    left: int
    right: int


class BorderCrop(Frozen):
    """Cuts a near-constant frame away: collimation, a scanner's margin, the black beside a padded picture.

    From each side inwards, rows and columns go as long as their grey levels, but for the most extreme 2 % at either
    end, span no more than the tolerance and lie within it of the outermost line's median.

    Attributes:
        tolerance: grey levels out of 255.
        least: share of each side that must be left; a picture that would lose more stays whole, and is counted.
    """

    kind: Literal["border"]
    tolerance: int = Field(8, ge=0, le=64)
    least: float = Field(0.4, gt=0, le=1)


class LungFieldCrop(Frozen):
    """Cuts a frontal chest radiograph, air dark, to the box around both lungs.

    In the smoothed picture the air beside the patient, dark and together with a corner, is taken away. In the rest
    Otsu's threshold (Otsu 1979, doi:10.1109/TSMC.1979.4310076) parts dark from light, thin bridges are opened, and the
    largest dark part of each half is a lung. Each must cover 2 to 45 % of the rest, and their box a fifth of it;
    otherwise the picture stays whole, and is counted.

    Attributes:
        margin: added around the box on each side, as a share of the picture's side.
    """

    kind: Literal["lung_field"]
    margin: float = Field(0.05, ge=0, le=0.5)


Crop = Annotated[BorderCrop | LungFieldCrop, Field(discriminator="kind")]


def box_of(picture: np.ndarray, crop: BorderCrop | LungFieldCrop) -> Box | None:
    """The part of the picture that the crop leaves; None where it found none.

    Args:
        picture: (height, width, channels) uint8; colours are judged by their mean.

    Masks and other pictures of the same geometry are cut by the same box.
    """
    import numpy as np

    grey = picture[..., 0] if picture.shape[-1] == 1 else picture.mean(axis=-1).round().astype(np.uint8)
    return _framed(grey, crop) if isinstance(crop, BorderCrop) else _lungs(np.ascontiguousarray(grey), crop)


def _framed(grey: np.ndarray, crop: BorderCrop) -> Box | None:
    """Rows are judged over the whole width, then columns over the rows that are left."""
    top, bottom = _within(grey, crop.tolerance)
    if bottom - top < crop.least * grey.shape[0]:
        return None
    left, right = _within(grey[top:bottom].T, crop.tolerance)
    if right - left < crop.least * grey.shape[1]:
        return None
    top, bottom = _within(grey[:, left:right], crop.tolerance)  # a frame beside hid that a row is frame for the rest
    return Box(top, bottom, left, right) if bottom - top >= crop.least * grey.shape[0] else None


def _within(lines: np.ndarray, tolerance: int) -> tuple[int, int]:
    """First and last line, exclusive, that are no frame; (0, 0) where all are."""
    import numpy as np

    ranked = np.sort(lines, axis=1).astype(np.int16)
    stray = int(_STRAY * ranked.shape[1])
    low, high, middle = ranked[:, stray], ranked[:, ranked.shape[1] - 1 - stray], ranked[:, ranked.shape[1] // 2]
    flat = high - low <= tolerance
    before = flat & (np.abs(middle - middle[0]) <= tolerance)
    behind = flat & (np.abs(middle - middle[-1]) <= tolerance)
    if before.all() or behind.all():
        return 0, 0
    return int(np.argmin(before)), len(lines) - int(np.argmin(behind[::-1]))


def _lungs(grey: np.ndarray, crop: LungFieldCrop) -> Box | None:
    import cv2
    import numpy as np

    height, width = grey.shape
    side = min(height, width)
    smooth = cv2.blur(grey, (_odd(side / 24), _odd(side / 24)), borderType=cv2.BORDER_REPLICATE)
    inside = ~_air(smooth)
    if not inside.any():
        return None
    level, _ = cv2.threshold(smooth[inside], 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    dark = ((smooth <= level) & inside).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(side / 24),) * 2))
    columns = np.flatnonzero(inside.any(axis=0))
    middle = int(columns[0] + columns[-1] + 1) // 2
    lungs = []
    for start, half in ((0, dark[:, :middle]), (middle, dark[:, middle:])):
        _, _, parts, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(half), connectivity=4)
        x, y, wide, tall, area = max(parts[1:].tolist(), key=lambda part: part[cv2.CC_STAT_AREA], default=(0,) * 5)
        if not _SMALLEST_LUNG <= area / inside.sum() <= _LARGEST_LUNG:
            return None
        lungs.append((y, y + tall, start + x, start + x + wide))
    boxes = np.array(lungs)
    top, left = boxes[:, [0, 2]].min(axis=0).tolist()
    bottom, right = boxes[:, [1, 3]].max(axis=0).tolist()
    if (bottom - top) * (right - left) < _LEAST_FIELD * inside.sum():
        return None
    down, across = round(crop.margin * height), round(crop.margin * width)
    return Box(max(0, top - down), min(height, bottom + down), max(0, left - across), min(width, right + across))


def _air(smooth: np.ndarray) -> np.ndarray:
    """Where there is nobody: what hangs together with a corner and is nearer to its level than to Otsu's threshold."""
    import cv2
    import numpy as np

    level, _ = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    air = np.zeros(smooth.shape, bool)
    for row in (0, -1):
        for column in (0, -1):
            corner = float(smooth[row, column])
            if corner < level and not air[row, column]:
                _, labels = cv2.connectedComponents((smooth <= (corner + level) / 2).astype(np.uint8), connectivity=4)
                air |= labels == labels[row, column]
    return air


def _odd(length: float) -> int:
    """The nearest odd number of pixels, at least 3 where there is anything to smooth."""
    return max(3, int(length) // 2 * 2 + 1)
