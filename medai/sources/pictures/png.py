"""PNG by hand up to its rows: each chunk against its checksum, inflated once, by isal; rows are undone by OpenCV.

Only what is plain goes this way: 8-bit grey or RGB, one frame, rows in order, nothing that changes how pixels are seen.
OpenCV's own inflating is the slowest part of its decoding, so it is handed the rows in stored blocks.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_HEADER_END = 33
_SILENT = frozenset({b"IHDR", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"tIME", b"tEXt"})
"""Chunks that leave pixels as they are; a text chunk unless it holds EXIF data."""
_STORED = 65_535
"""Most bytes of a stored block (RFC 1951, section 3.2.4)."""


class Png(NamedTuple):
    """A PNG's chunks, all of which agree with their checksums.

    Attributes:
        plain: whether its pixels can be read by ``levels_of``.
        stored: the parts of its compressed rows.
    """

    plain: bool
    stored: list[memoryview]


def chunks_of(data: bytes) -> Png | None:
    """The chunks up to the end mark; None where one does not agree with its checksum, or the end mark is missing."""
    from isal import isal_zlib

    view, at = memoryview(data), 8
    plain = data.startswith(_START) and data[24] == 8 and data[25] in (0, 2) and data[26:29] == b"\0\0\0"
    stored: list[memoryview] = []
    before = b""
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if end > len(data) or isal_zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return None
        kind = data[at + 4 : at + 8]
        plain = plain and kind in _SILENT and data[at + 8 : at + 19] != b"Raw profile"
        if kind == b"IDAT":
            plain = plain and (before == b"IDAT" or not stored)
            stored.append(view[at + 8 : end - 4])
        elif kind == b"IEND":
            _clear_registers()
            return Png(plain, stored)
        before, at = kind, end
    return None


def levels_of(data: bytes, png: Png) -> np.ndarray | None:
    """(height, width) grey or (height, width, 3) BGR, uint8; None where rows are missing or cannot be undone.

    Raises:
        isal.isal_zlib.error: the compressed rows are damaged.
    """
    import cv2
    import numpy as np
    from isal import isal_zlib

    width, height = struct.unpack(">II", data[16:24])
    channels = 3 if data[25] == 2 else 1
    rows = inflated(png.stored, height * (1 + width * channels))
    if rows is None:
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, 1 + width * channels)
    filters = table[:, 0]
    if filters.max() > 4:
        return None
    if channels == 1 and not filters.any():
        return table[:, 1:]
    blocks: list[bytes | memoryview] = [b"IDAT\x78\x01"]
    view = memoryview(rows)
    for start in range(0, len(rows), _STORED):
        block = view[start : start + _STORED]
        last = start + _STORED >= len(rows)
        blocks += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", isal_zlib.adler32(rows)))
    body = b"".join(blocks)
    end = struct.pack(">I", isal_zlib.crc32(body)) + b"\0\0\0\0IEND\xae\x42\x60\x82"
    whole = b"".join((data[:_HEADER_END], struct.pack(">I", len(body) - 4), body, end))
    _clear_registers()
    found: np.ndarray | None = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_UNCHANGED)
    return found


def inflated(stored: list[memoryview], length: int) -> bytes | None:
    """So many bytes of a zlib stream in parts; None where it holds fewer. What follows them is never inflated."""
    from isal import isal_zlib

    whole = stored[0] if len(stored) == 1 else b"".join(stored)
    found: bytes = isal_zlib.decompressobj().decompress(whole, length)
    return found if len(found) == length else None


def _clear_registers() -> None:
    """Have NumPy clear the upper halves of the vector registers, which isal leaves in use.

    Until some code does, OpenCV's resizing takes four times as long on processors with AVX-512.
    """
    import numpy as np

    np.ones(64, np.float32) + 1
