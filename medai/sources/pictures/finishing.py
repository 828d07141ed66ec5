"""Decoded levels to the picture of the working size: resized, turned, padded, hashed and measured.

- Each pixel is the mean over the area that it covers in the original (OpenCV's INTER_AREA), also where the original was
  decoded at a fraction that does not divide it. Along an axis on which the original is smaller it is interpolated.
- An original of even sides is first halved, each pixel the rounded mean of four, as long as at least ``SPARE`` times
  the working size is left: under half a level (root mean square) from the exact mean, in a quarter of the time.
- Where so many rows become so few in small steps (512 become 224 as 16 become 7), the means are sums of whole numbers,
  rounded once: three times as fast as OpenCV's, and the same on any machine, in whatever order it adds.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.pictures.quality import Quality, measure
from medai.sources.pictures.sameness import content_hash

if TYPE_CHECKING:
    import numpy as np

SPARE = 1.5
"""How many times the working size is left at least where an original is averaged in whole steps."""
_MOST_STEPS = 16
"""Places in which the pixels of a period may lie to those of the original; with more, OpenCV is faster."""
_WHOLE = {"uint8": ("float32", 24), "uint16": ("float64", 53)}
"""Type of levels → a type of floats for their sums, and the bits up to which it tells every whole number apart."""


class Target(NamedTuple):
    """What a picture becomes: height, width and channels; padded or stretched; the white of 16-bit grey."""

    height: int
    width: int
    channels: int
    pad: bool
    white: int


class Decoded(NamedTuple):
    """A picture and what was found out about it.

    Attributes:
        content_hash: of the pixels; of the file's bytes where there are none.
        fault: why there are no pixels; None for a picture that was read whole.
        pixels: (height, width, channels) uint8 of the working size; None with a fault.
        height, width, channels, bits: the original's, as a viewer shows it; 0 where the header could not be read.
        quality: of the pixels, without padding; zeros with a fault.
    """

    content_hash: str
    fault: str | None = None
    pixels: np.ndarray | None = None
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 0
    quality: Quality = Quality()

    @property
    def levels(self) -> tuple[float, float, float, float]:
        """Mean, standard deviation, minimum and maximum."""
        return self.quality[:4]


def turns(orientation: Any) -> bool:
    """Whether EXIF's orientation exchanges height and width."""
    return orientation in (5, 6, 7, 8)


def inner(height: int, width: int, target: Target, turned: bool) -> tuple[int, int]:
    """Height and width to resize an original to, in the axes as they are stored; without the padding."""
    high, wide = (target.width, target.height) if turned else (target.height, target.width)
    if not target.pad:
        return high, wide
    scale = min(high / height, wide / width)
    return min(high, max(1, round(height * scale))), min(wide, max(1, round(width * scale)))


def resized(levels: np.ndarray, size: tuple[int, int], extent: tuple[float, float] | None = None) -> np.ndarray:
    """Levels at another size, each the mean over its area.

    Args:
        levels: (height, width) or (height, width, channels), uint8 or uint16.
        size: height and width.
        extent: how much of height and width the original fills, where a last row or column is filled in part.

    Returns:
        (*size) or (*size, channels), of the same type.
    """
    import cv2

    high, wide = extent or levels.shape[:2]
    while (high, wide) == levels.shape[:2] and not (high % 2 or wide % 2) and _halves(high, wide, size):
        high, wide = int(high) // 2, int(wide) // 2
        levels = cv2.resize(levels, (wide, high), interpolation=cv2.INTER_AREA)
    lower, narrower = min(size[0], levels.shape[0]), min(size[1], levels.shape[1])
    if (lower, narrower) != levels.shape[:2] and extent is None and _counts(levels, (lower, narrower)):
        levels = _counted(levels, (lower, narrower))
    elif (lower, narrower) != levels.shape[:2]:
        factors = {"fx": narrower / wide, "fy": lower / high}
        small = cv2.resize(levels, None, interpolation=cv2.INTER_AREA, **factors)
        if small.shape[:2] != (lower, narrower):  # the filled part of a tiny picture rounds to another size
            small = cv2.resize(levels, (narrower, lower), interpolation=cv2.INTER_AREA)
        levels = small
    if levels.shape[:2] != size:
        levels = cv2.resize(levels, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
    return levels


def _halves(high: float, wide: float, size: tuple[int, int]) -> bool:
    return high >= 2 * SPARE * size[0] and wide >= 2 * SPARE * size[1]


def _steps(length: int, shorter: int) -> tuple[int, int]:
    """The smallest numbers in the ratio of two lengths."""
    common = gcd(length, shorter)
    return length // common, shorter // common


def _counts(levels: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether grey levels become means of that size in small steps, their sums being whole numbers to the last."""
    if levels.ndim != 2 or levels.dtype.name not in _WHOLE:
        return False
    (down, lower), (across, narrower) = (_steps(*pair) for pair in zip(levels.shape, size, strict=True))
    bits = _WHOLE[levels.dtype.name][1]
    return max(lower, narrower) <= _MOST_STEPS and (down * across) << (8 * levels.dtype.itemsize) <= 1 << bits


def _counted(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Grey levels as means over the areas of a smaller size's pixels, halves rounded up.

    Along an axis of which p pixels become q, each covers q parts, and p parts are one new pixel. The sums stay below
    2**24 in float32 and 2**53 in float64, where these tell all whole numbers apart, and the quotient is rounded right.
    """
    import numpy as np

    (down, lower), (across, narrower) = (_steps(*pair) for pair in zip(levels.shape, size, strict=True))
    kind, _ = _WHOLE[levels.dtype.name]
    values = levels.astype(kind).reshape(-1, down, levels.shape[1])
    sums = np.matmul(_shares(down, lower, kind), values).reshape(-1, across) @ _shares(across, narrower, kind).T
    parts = down * across
    means: np.ndarray = ((sums + parts // 2) / parts).astype(levels.dtype)
    return means.reshape(size)


@cache
def _shares(many: int, few: int, kind: str) -> np.ndarray:
    """(few, many): how many of a pixel's ``few`` parts belong to each new one."""
    import numpy as np

    owners, pixels = np.arange(many * few) // many, np.arange(many * few) // few
    shares = np.zeros((few, many), kind)
    np.add.at(shares, (owners, pixels), 1)
    return shares


def finished(
    levels: np.ndarray,
    target: Target,
    seen: Decoded,
    *,
    size: tuple[int, int] | None = None,
    extent: tuple[float, float] | None = None,
    orientation: Any = 1,
) -> Decoded:
    """The picture at the working size, as a viewer shows it, and measured.

    Args:
        levels: (height, width) or (height, width, channels) uint8; grey, or the target's channels.
        target: what it becomes.
        seen: what is known of it.
        size: the original's height and width as stored, where the levels are a fraction of it.
        extent: as for ``resized``.
        orientation: EXIF's, 1 to 8; another one counts as 1.
    """
    import numpy as np

    height, width = size or levels.shape[:2]
    small = resized(levels, inner(height, width, target, turns(orientation)), extent)
    small = _turned(small if small.ndim == 3 else small[..., None], orientation)
    pixels = np.ascontiguousarray(np.broadcast_to(small, (*small.shape[:2], target.channels)))
    quality = measure(pixels)
    if pixels.shape[:2] != (target.height, target.width):
        padded = np.zeros((target.height, target.width, target.channels), np.uint8)
        top, left = (target.height - pixels.shape[0]) // 2, (target.width - pixels.shape[1]) // 2
        padded[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        pixels = padded
    return seen._replace(content_hash=content_hash(pixels), pixels=pixels, quality=quality)


def _turned(levels: np.ndarray, orientation: Any) -> np.ndarray:
    """Levels as a viewer shows them: EXIF 2.3, tag 0x0112, which names where row 0 and column 0 are seen."""
    if turns(orientation):
        levels = levels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    return levels
