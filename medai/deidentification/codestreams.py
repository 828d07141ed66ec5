"""Compressed pictures without what their formats let one write beside the picture.

    JPEG, JPEG-LS   comments, application segments (EXIF, thumbnails), bytes after the end
                    (ITU-T T.81 Annex B, T.87 Annex C)
    JPEG 2000       comment segments of the main and of each tile-part header, bytes after the end
                    (ITU-T T.800 Annex A)
    RLE             bytes that no segment needs (DICOM PS3.5 Annex G)

What the picture is stays to the bit: entropy-coded data are copied, never decoded.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise

JPEG, JPEG_LS, JPEG_2000, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "RLE"
SYNTAXES = {
    **{f"1.2.840.10008.1.2.4.{number}": JPEG for number in (50, 51, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{number}": JPEG_LS for number in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{number}": JPEG_2000 for number in (90, 91, 201, 202, 203)},
    "1.2.840.10008.1.2.5": RLE,
}
"""Transfer syntax → the format of its frames. Others (films, JPEG XL, references to elsewhere) are not covered."""

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APPLICATION = range(0xE0, 0xF0)
_ALONE = (0x01, *range(0xD0, 0xD8))
"""Markers without a segment."""
_JFIF_LENGTH, _ADOBE_LENGTH = 14, 12
_IN_JPEG = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_IN_JPEG_LS = re.compile(rb"\xff[\x80-\xfe]")
"""What ends entropy-coded data."""
_J2K_START, _J2K_TILE, _J2K_DATA, _J2K_END, _J2K_COMMENT = b"\xff\x4f", 0xFF90, 0xFF93, b"\xff\xd9", 0xFF64
_J2K_LENGTHS = (0xFF55, 0xFF57)
"""Segments that repeat the lengths of tile-parts (TLM, PLM): they are hints that no longer fit, and go too."""
_RLE_HEADER = 64


class NotUnderstood(Exception):
    """A stream that does not follow its format, so that nobody can say what else it holds."""


def clean(frame: bytes, syntax: str, segment_bytes: int) -> bytes:
    """A frame without anything beside the picture.

    Args:
        syntax: one of SYNTAXES' formats.
        segment_bytes: how many bytes an RLE segment unpacks to: rows × columns.

    Raises:
        NotUnderstood: the stream does not follow its format.
    """
    if syntax == RLE:
        return _rle(frame, segment_bytes)
    return _jpeg_2000(frame) if syntax == JPEG_2000 else _jpeg(frame, _IN_JPEG_LS if syntax == JPEG_LS else _IN_JPEG)


def _octet(data: bytes, at: int) -> int:
    if at >= len(data):
        raise NotUnderstood
    return data[at]


def _numbers(form: str, data: bytes, at: int = 0) -> tuple[int, ...]:
    """The numbers at a place, by ``struct``'s form."""
    if at + struct.calcsize(form) > len(data):
        raise NotUnderstood
    return struct.unpack_from(form, data, at)


def _jpeg(data: bytes, ends: re.Pattern[bytes]) -> bytes:
    at, parts = 0, []
    if data[:2] != bytes((0xFF, _SOI)):
        raise NotUnderstood
    while True:
        if _octet(data, at) != 0xFF:
            raise NotUnderstood
        while _octet(data, at + 1) == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == _EOI:
            parts.append(data[at : at + 2])
            return b"".join(parts)
        if marker == _SOI or marker in _ALONE:
            parts.append(data[at : at + 2])
            at += 2
            continue
        (length,) = _numbers(">H", data, at + 2)
        segment = data[at : at + 2 + length]
        if length < 2 or len(segment) < 2 + length:
            raise NotUnderstood
        at += 2 + length
        parts.append(_kept_segment(marker, segment))
        if marker == _SOS:
            found = ends.search(data, at)
            if found is None:
                raise NotUnderstood
            parts.append(data[at : found.start()])
            at = found.start()


def _kept_segment(marker: int, segment: bytes) -> bytes:
    """A segment, or what of it tells how the colours were made; nothing of what was written beside the picture."""
    if marker == _COM:
        return b""
    if marker not in _APPLICATION:
        return segment
    body = segment[4:]
    if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= _JFIF_LENGTH:
        return b"\xff\xe0\0\x10" + body[: _JFIF_LENGTH - 2] + b"\0\0"  # without its thumbnail
    if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= _ADOBE_LENGTH:
        return b"\xff\xee\0\x0e" + body[:_ADOBE_LENGTH]
    return segment[:9] if marker == 0xE8 and body[:4] == b"mrfx" and len(segment) == 9 else b""


def _jpeg_2000(data: bytes) -> bytes:
    if data[:2] != _J2K_START:
        raise NotUnderstood
    main, at = _segments(data, 2, _J2K_TILE)
    parts = [_J2K_START, main]
    while data[at : at + 2] != _J2K_END:
        marker, length, tile, size, part, count = _numbers(">HHHIBB", data, at)
        if marker != _J2K_TILE or length != 10:
            raise NotUnderstood
        end = at + size if size else data.rfind(_J2K_END)  # before the start where there is none
        header, start = _segments(data, at + 12, _J2K_DATA)
        if not start <= end <= len(data):
            raise NotUnderstood
        body = data[start:end]
        parts.append(struct.pack(">HHHIBB", marker, length, tile, 12 + len(header) + len(body), part, count))
        parts += [header, body]
        at = end
        if at >= len(data):
            raise NotUnderstood
    return b"".join([*parts, _J2K_END])


def _segments(data: bytes, at: int, until: int) -> tuple[bytes, int]:
    """The segments from a place to a marker, without comments; and where that marker stands."""
    kept = []
    while (marker := _numbers(">H", data, at)[0]) != until:
        (length,) = _numbers(">H", data, at + 2)
        if marker < 0xFF00 or length < 2 or at + 2 + length > len(data):
            raise NotUnderstood
        if marker != _J2K_COMMENT and marker not in _J2K_LENGTHS:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join(kept), at


def _rle(data: bytes, segment_bytes: int) -> bytes:
    count, *offsets = _numbers("<16I", data)
    if not 1 <= count <= 15 or offsets[0] != _RLE_HEADER:
        raise NotUnderstood
    edges = [*offsets[:count], len(data)]
    if edges != sorted(edges):
        raise NotUnderstood
    parts, places, at = [], [], _RLE_HEADER
    for start, end in pairwise(edges):
        used = _packed(data, start, end, segment_bytes)
        part = data[start:used] + b"\0" * (used - start & 1)
        places.append(at)
        parts.append(part)
        at += len(part)
    return struct.pack("<16I", count, *places, *[0] * (15 - count)) + b"".join(parts)


def _packed(data: bytes, at: int, end: int, wanted: int) -> int:
    """Where the packed bytes end that give as many as wanted (PackBits)."""
    given = 0
    while given < wanted:
        if at >= end:
            raise NotUnderstood
        control = data[at]
        if control < 128:
            given += control + 1
            at += control + 2
        elif control > 128:
            given += 257 - control
            at += 2
        else:
            at += 1
    if given > wanted or at > end:
        raise NotUnderstood
    return at
