"""JPEG by libjpeg-turbo at 1/8, 2/8, 3/8 or 4/8, where the inverse transform takes the mean, or whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SPARE = 1.125
"""How many times the working size is left at least where a JPEG is decoded at a fraction."""
_BLOCK, _FILLED = 8, 128
_CHANNELS = {"Gray": 1, "YCbCr": 3, "RGB": 3, "CMYK": 4, "YCCK": 4}
_EXIF = b"Exif\0\0"


class Jpeg(NamedTuple):
    """A JPEG's header; four channels are colours made for print."""

    height: int
    width: int
    channels: int
    has_exif: bool


def header_of(data: bytes) -> Jpeg:
    """The header.

    Raises:
        ValueError: there is none.
    """
    import simplejpeg

    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    return Jpeg(height, width, _CHANNELS[colours], data.find(_EXIF, 0, data.find(b"\xff\xda")) >= 0)


def is_closed(data: bytes) -> bool:
    """Whether the last scan is closed by the end mark."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def eighths(height: int, width: int, size: tuple[int, int]) -> int:
    """The fraction to decode at: the least of 1 to 4 eighths that leaves ``SPARE`` times the size, or all eight."""
    for part in (1, 2, 3, 4):
        if height * part >= _BLOCK * SPARE * size[0] and width * part >= _BLOCK * SPARE * size[1]:
            return part
    return _BLOCK


def levels_of(data: bytes, header: Jpeg, part: int, grey: bool) -> np.ndarray | None:
    """(height, width) luma or (height, width, 3) RGB, uint8, of so many eighths; None where rows were filled in.

    Raises:
        ValueError: libjpeg-turbo met bytes that do not belong there.
    """
    import simplejpeg

    least = {
        "min_height": math.ceil(header.height * part / _BLOCK),
        "min_width": math.ceil(header.width * part / _BLOCK),
    }
    levels: np.ndarray = simplejpeg.decode_jpeg(data, "GRAY" if grey else "RGB", min_factor=1, **least)
    if is_filled(levels, header.height):
        return None
    return levels[..., 0] if grey else levels


def is_filled(levels: np.ndarray, height: int) -> bool:
    """Whether a decoded JPEG ends in what libjpeg fills in when a scan ends early: blocks of zeros, level 128.

    Args:
        levels: the picture, which may have been decoded at a fraction.
        height: of the original.
    """
    rows = max(1, _BLOCK * levels.shape[0] // height)
    return bool((levels[-rows:] == _FILLED).all())
