"""What is measured of each picture in the pass that decodes it; all of the picture at the working size, no padding.

Sums are of whole numbers, so that the figures are the same on any machine.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SIDE = 32
"""Sides of a thumbnail."""
_LOWEST = 8
_ONE = 1 << 14


class Quality(NamedTuple):
    """Measures of a picture.

    Attributes:
        mean, std, minimum, maximum: of its levels, 0–255, over all channels.
        black, white: shares of levels that are 0 and 255.
        entropy: of the histogram of levels, in bits; 0 for one level, 8 for all alike.
        sharpness: variance of the Laplacian of the luma (Pech-Pacheco JL, et al. Diatom autofocusing in brightfield
            microscopy. ICPR 2000), in levels squared; small where a picture is blurred.
        phash: 64 signs of the lowest frequencies of the cosine transform against their median, constant row and column
            left out (Zauner C. Implementation and benchmarking of perceptual image hash functions. 2010), as a signed
            number; pictures that look alike differ in few bits.
        thumbnail: ``SIDE`` × ``SIDE`` levels of the luma, row by row; nothing for a picture that was not read.
    """

    mean: float = 0.0
    std: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    black: float = 0.0
    white: float = 0.0
    entropy: float = 0.0
    sharpness: float = 0.0
    phash: int = 0
    thumbnail: bytes = b""


def measure(pixels: np.ndarray) -> Quality:
    """Measure a picture: (height, width, channels) uint8, contiguous."""
    import cv2
    import numpy as np

    histogram = cv2.calcHist([pixels.reshape(-1, 1)], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    count = pixels.size
    levels, squared = _levels()
    total, squares = int(histogram @ levels), int(histogram @ squared)
    present = np.flatnonzero(histogram)
    numbers = histogram[present]
    spread = math.log2(count) - float((numbers * np.log2(numbers)).sum()) / count
    luma = pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = thumbnail_of(luma)
    curves = cv2.Laplacian(luma, cv2.CV_16S)
    bend, bends = cv2.sumElems(curves)[0], cv2.norm(curves, cv2.NORM_L2SQR)
    return Quality(
        total / count,
        math.sqrt(count * squares - total * total) / count,
        float(present[0]),
        float(present[-1]),
        histogram[0].item() / count,
        histogram[255].item() / count,
        abs(round(spread, 4)),  # logarithms differ in their last digit from one machine to another
        (luma.size * bends - bend * bend) / luma.size**2,
        perceptual_hash(small),
        small.tobytes(),
    )


def thumbnail_of(luma: np.ndarray) -> np.ndarray:
    """(height, width) uint8 as (``SIDE``, ``SIDE``)."""
    import cv2

    area = min(luma.shape) >= SIDE
    small: np.ndarray = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR_EXACT)
    return small


def perceptual_hash(thumbnail: np.ndarray) -> int:
    """``Quality.phash`` of a thumbnail; by whole numbers, so that no machine rounds a sign another way."""
    import numpy as np

    waves = _waves()
    lowest = (waves @ thumbnail.astype(np.int64) @ waves.T).ravel()
    signs = lowest > np.sort(lowest)[lowest.size // 2 - 1]
    return int(np.packbits(signs).view(">i8")[0])


@cache
def _levels() -> tuple[np.ndarray, np.ndarray]:
    """Each level and its square."""
    import numpy as np

    levels = np.arange(256, dtype=np.float64)
    return levels, levels**2


@cache
def _waves() -> np.ndarray:
    """Rows 1 to 8 of the cosine transform (DCT-II) of 32 levels, as whole numbers."""
    import numpy as np

    at = np.arange(SIDE)
    rows = [np.cos(np.pi * (2 * at + 1) * order / (2 * SIDE)) for order in range(1, _LOWEST + 1)]
    whole: np.ndarray = np.rint(_ONE * np.array(rows)).astype(np.int64)
    return whole
