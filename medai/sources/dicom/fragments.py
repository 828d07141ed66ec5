"""Encapsulated pixels (PS3.5 annex A.4): a table of offsets and fragments, put together into one codestream a frame.

What a codestream says of itself (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1) is compared with the file's
header before it is decoded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from medai.sources.dicom.elements import Fault, Opened

if TYPE_CHECKING:
    from mmap import mmap

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")
"""First bytes of a JPEG or JPEG-LS codestream, and of a JPEG 2000 one."""
_TILE_PART = b"\xff\x90"
_JP2 = b"\x00\x00\x00\x0cjP  "
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among FFC0 to FFCF that begin no frame: Huffman tables, an extension, arithmetic conditioning."""
_LS_FRAME = 0xF7
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


class Told(NamedTuple):
    """What a codestream says of its picture; ``signed`` is None where its format has no say."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool | None


def codestreams_of(opened: Opened, frames: int, *, one_each: bool) -> list[bytes]:
    """The codestream of each frame.

    Args:
        frames: how many the header says.
        one_each: whether every fragment is a frame of its own, as for RLE.

    Raises:
        Fault: the fragments are cut short, or do not make so many frames.
    """
    if opened.length is not None:  # a compressed picture is never one value of a known length
        raise Fault("length_mismatch")
    table, spans = _spans(opened.body, opened.begin)
    body = opened.body
    if len(spans) == frames:
        if table and table != [begin - spans[0][0] for begin, _ in spans]:
            raise Fault("frames_mismatch")
        return [body[begin:end] for begin, end in spans]
    if one_each or len(spans) < frames:
        raise Fault("frames_mismatch")
    if frames == 1:
        return [b"".join(body[begin:end] for begin, end in spans)]
    firsts = _by_offsets(table or opened.elements.longs("ExtendedOffsetTable"), spans)
    if firsts is None:
        firsts = [at for at, (begin, end) in enumerate(spans) if body[begin : min(end, begin + 4)].startswith(_STARTS)]
    if len(firsts) != frames or firsts[0] != 0:
        raise Fault("frames_mismatch")
    return [
        b"".join(body[begin:end] for begin, end in spans[first:after])
        for first, after in zip(firsts, [*firsts[1:], len(spans)], strict=True)
    ]


def _spans(body: bytes | mmap, begin: int) -> tuple[list[int], list[tuple[int, int]]]:
    """The basic offset table, and where each fragment begins and ends."""
    spans: list[tuple[int, int]] = []
    at = begin
    while True:
        head = body[at : at + 8]
        if len(head) < 8:
            raise Fault("truncated_pixels")
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _END:
            break
        if head[:4] != _ITEM:
            raise Fault("damaged_pixels")
        if at + 8 + length > len(body):
            raise Fault("truncated_pixels")
        spans.append((at + 8, at + 8 + length))
        at += 8 + length
    if len(spans) < 2:
        raise Fault("truncated_pixels")
    (first, last), *fragments = spans
    if (last - first) % 4:
        raise Fault("damaged_pixels")
    return list(struct.unpack(f"<{(last - first) // 4}I", body[first:last])), fragments


def _by_offsets(offsets: list[int], spans: list[tuple[int, int]]) -> list[int] | None:
    """Which fragment each frame begins with; None without offsets.

    Raises:
        Fault: an offset names no fragment.
    """
    if not offsets:
        return None
    places = {begin - 8 - (spans[0][0] - 8): at for at, (begin, _) in enumerate(spans)}
    if any(offset not in places for offset in offsets):
        raise Fault("frames_mismatch")
    return [places[offset] for offset in offsets]


def told_by_jpeg(stream: bytes) -> Told:
    """What the frame header of a JPEG or JPEG-LS codestream says.

    Raises:
        Fault: there is none.
    """
    at = 2
    if stream[:2] != b"\xff\xd8":
        raise Fault("damaged_pixels")
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            break
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker == _LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            if at + 10 > len(stream):
                break
            bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 4)
            return Told(rows, columns, samples, bits, None)
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    raise Fault("damaged_pixels")


def told_by_jpeg_2000(stream: bytes) -> Told:
    """What the SIZ marker of a JPEG 2000 codestream says, inside a JP2 file too, which some writers store.

    Raises:
        Fault: there is none.
    """
    at = stream.find(_STARTS[1], 0, 4096) if stream.startswith(_JP2) else 0
    if at < 0 or not stream.startswith(_STARTS[1], at) or len(stream) < at + 45:
        raise Fault("damaged_pixels")
    right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
    (samples,) = struct.unpack_from(">H", stream, at + 40)
    depth = stream[at + 42]
    return Told(bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def has_all_tiles(stream: bytes) -> bool:
    """Whether each tile of a JPEG 2000 codestream has a part (ISO/IEC 15444-1 A.4.2); OpenJPEG leaves others black."""
    at = max(0, stream.find(_STARTS[1], 0, 4096))
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", stream, at + 8)
    if not width or not height:
        return False
    tiles, seen = -(-(right - left) // width) * -(-(bottom - top) // height), set[int]()
    at += 2
    while at + 12 <= len(stream) and stream[at] == 0xFF:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 2] == _TILE_PART:
            tile, length = struct.unpack_from(">HI", stream, at + 4)
            seen.add(tile)
            if not length:  # the last one, up to the end
                break
            at += length
        else:
            at += 2 + length
    return bool(len(seen) == tiles)


def ends_whole(stream: bytes) -> bool:
    """Whether a codestream closes with its end mark, which JPEG, JPEG-LS and JPEG 2000 share; padding may follow.

    >>> ends_whole(b"...\\xff\\xd9\\x00"), ends_whole(b"...\\x12\\x34")
    (True, False)
    """
    return stream.rstrip(b"\0").endswith(b"\xff\xd9") or stream.endswith((b"\xff\xd9", b"\xff\xd9\xff"))
