"""A picture's and its masks' bytes to one array of the working size, the mask behind the picture's channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medai.sources.files import what_is
from medai.sources.image_masks.pairs import Pair
from medai.sources.pictures import decoding, finishing
from medai.sources.pictures.decoding import FILE_LIMIT, Decoded, Target, decode, decode_file

if TYPE_CHECKING:
    import numpy as np

UNREADABLE, OTHER_SIZE, NOT_A_MASK = "unreadable_mask", "mask_of_another_size", "strange_mask_values"
FAULTS = (UNREADABLE, OTHER_SIZE, NOT_A_MASK)
"""What may be wrong with a picture's masks: damaged or no PNG; of other sides than the picture; of other values than a
mask has."""
_PNG = what_is(b"\x89PNG")
_HEAD = 512
_WHITE = 255


def prepare() -> None:
    """Import the decoders once for all workers."""
    decoding.prepare()


def decode_pair(pair: Pair, target: Target, findings: int) -> Decoded:
    """A picture, its pixels (height, width, channels + 1) with the class numbers last; or why it was not read."""
    import numpy as np

    seen = decode_file(pair.picture, target)
    if seen.pixels is None:
        return seen
    whole = np.zeros((seen.height, seen.width), np.uint8)
    for path in pair.masks:
        read = read_mask(path, (seen.height, seen.width), findings)
        if isinstance(read, str):
            return seen._replace(fault=read, pixels=None)
        np.maximum(whole, read, out=whole)
    small = resized(whole, (target.height, target.width), findings, pad=target.pad)
    return seen._replace(pixels=np.concatenate([seen.pixels, small[..., None]], axis=-1))


def read_mask(path: Path, size: tuple[int, int], findings: int) -> np.ndarray | str:
    """(height, width) uint8 class numbers of one file, or one of ``FAULTS``.

    Args:
        size: height and width that it must have.
        findings: how many there are; one may be 1 or 255.
    """
    import numpy as np

    if path.stat().st_size > FILE_LIMIT:
        return UNREADABLE
    data = path.read_bytes()
    if what_is(data[:_HEAD]) != _PNG:
        return UNREADABLE
    found = decode(data, Target(*size, 1, False, 65535))
    if found.height and (found.height, found.width) != size:
        return OTHER_SIZE
    if found.pixels is None:
        return UNREADABLE
    mask: np.ndarray = found.pixels[..., 0]
    values = set(np.unique(mask).tolist())
    if findings == 1 and values <= {0, _WHITE}:
        return (mask > 0).astype(np.uint8)
    return mask if values <= set(range(findings + 1)) else NOT_A_MASK


def inner(size: Sequence[int], working: Sequence[int], *, pad: bool) -> tuple[int, int]:
    """Height and width that a picture takes of the working size: all of it, or what keeps its aspect ratio.

    >>> inner((100, 50), (64, 64), pad=True), inner((100, 50), (64, 64), pad=False)
    ((64, 32), (64, 64))
    """
    if not pad:
        return working[0], working[1]
    scale = min(working[0] / size[0], working[1] / size[1])
    return min(working[0], max(1, round(size[0] * scale))), min(working[1], max(1, round(size[1] * scale)))


def resized(mask: np.ndarray, working: tuple[int, int], findings: int, *, pad: bool) -> np.ndarray:
    """(height, width) class numbers at the working size, each pixel by the areas that it covers.

    Shares are taken as pictures are resized, so that both lie alike.
    """
    import numpy as np

    high, wide = inner(mask.shape, working, pad=pad)
    shares = np.stack(
        [finishing.resized(np.where(mask == k, _WHITE, 0).astype(np.uint8), (high, wide)) for k in range(findings + 1)]
    )
    # Of equal shares the larger number: the last in order, so looked for from behind.
    small = (findings - shares[::-1].argmax(axis=0)).astype(np.uint8)
    for k in range(1, findings + 1):
        if (mask == k).any() and not (small == k).any():
            small[np.unravel_index(int(shares[k].argmax()), small.shape)] = k
    result = np.zeros(working, np.uint8)
    top, left = (working[0] - high) // 2, (working[1] - wide) // 2
    result[top : top + high, left : left + wide] = small
    return result
