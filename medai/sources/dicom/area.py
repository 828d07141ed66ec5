"""The exact mean over the area that each pixel of the working picture covers, in whole numbers.

Along one axis of ``old`` pixels, pixel j of ``new`` covers [j × old, (j + 1) × old) in units of 1/new of an old pixel;
so every weight is a whole number, the weights of a pixel sum to ``old``, and the result is the same on any machine.
A picture that grows takes the mean of what little it covers: mostly one pixel's own level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_EXACT_IN_32 = (1 << 32) - 1


def by_area(levels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture at another size, each pixel the rounded mean of what it covers (halves go up).

    Args:
        levels: uint8 or uint16, (rows, columns) or (rows, columns, 3).
        height, width: of the result.

    Returns:
        The same type, (height, width) or (height, width, 3).
    """
    import numpy as np

    rows, columns = levels.shape[:2]
    if (rows, columns) == (height, width):
        return levels
    colours = levels.shape[2:]
    area, white = rows * columns, int(np.iinfo(levels.dtype).max)
    kind = np.dtype(np.uint32 if white * area + area // 2 <= _EXACT_IN_32 else np.uint64)
    narrow = np.dtype(np.uint16 if white == 255 and 255 * (rows // height + 2) < 1 << 16 else kind)
    flat = _along(np.ascontiguousarray(levels).reshape(rows, -1), height, narrow, kind)
    sums = _along(_turned(flat, height, columns), width, kind, kind)
    means = (sums + kind.type(area // 2)) // kind.type(area)
    small: np.ndarray = means.astype(levels.dtype).reshape(width, height, *colours).swapaxes(0, 1)
    return small


def _turned(flat: np.ndarray, height: int, columns: int) -> np.ndarray:
    """(columns, height × colours) of (height, columns × colours)."""
    import cv2
    import numpy as np

    if flat.shape[1] == columns and flat.dtype.itemsize == 4:  # OpenCV turns by blocks, several times as fast
        return np.asarray(cv2.transpose(flat.view(np.int32))).view(flat.dtype)
    return np.ascontiguousarray(flat.reshape(height, columns, -1).transpose(1, 0, 2)).reshape(columns, -1)


def _along(values: np.ndarray, new: int, narrow: np.dtype, kind: np.dtype) -> np.ndarray:
    """Weighted sums along the first axis: (new, values), of weights that sum to the old length.

    Args:
        narrow: a type that holds the sum of the pixels that one new pixel touches.
        kind: a type that holds a weighted sum.
    """
    import numpy as np

    old = len(values)
    begins, ends = np.arange(new) * old, np.arange(1, new + 1) * old
    firsts, lasts = begins // new, -(-ends // new)
    touched = values[firsts].astype(narrow)
    for step in range(1, int((lasts - firsts).max())):  # all new pixels at once: few steps of long rows
        more = firsts + step < lasts
        if more.all():
            touched += values[firsts + step]
        else:
            touched[more] += values[(firsts + step)[more]]
    sums = touched.astype(kind)
    sums *= kind.type(new)
    for places, spare in ((firsts, begins - firsts * new), (lasts - 1, lasts * new - ends)):
        if spare.any():
            sums -= values[places].astype(kind) * spare.astype(kind)[:, None]
    return sums
