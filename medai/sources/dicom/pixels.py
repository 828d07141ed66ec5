"""A file's frames as they are stored: whole numbers or floats at full size, before anything is made of them.

- Uncompressed values are seen where they lie in the file's bytes; nothing is copied unless the order of bytes differs.
- The length of the pixels must be what the header says, up to one byte of padding, and a codestream must say of itself
  what the header says of it: a header that lies about rows would decode to another picture without a word.
- Wide values of a big-endian file are a fault: writers differ about the order of their 16-bit words.
- Bits above BitsStored are a value's sign, or nothing, and those below it nothing. Anything else there is a fault:
  decoders that mask it are silent about a BitsStored or a HighBit that lies.
- Where a JPEG 2000 codestream and the header disagree about the sign, the header is right, as for other codings: the
  bits are the same.
- Whether a JPEG's colours were transformed is told by its Adobe marker (T.872 section 6.5.3) where it has one, else by
  the header; where a JFIF marker, which promises YCbCr, stands against a header that says RGB, nobody can tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.damage import parsing
from medai.sources.dicom.elements import Fault, Opened
from medai.sources.dicom.fragments import (
    Told,
    codestreams_of,
    ends_whole,
    has_all_tiles,
    told_by_jpeg,
    told_by_jpeg_2000,
)
from medai.sources.dicom.headers import Header, body_of, bytes_of

if TYPE_CHECKING:
    import numpy as np

_RLE_HEADER, _MOST_SEGMENTS = 64, 15
_BLOCK, _TAIL = 8, 4
"""Rows and columns of a block of JPEG; pixels at the end of a lossless picture that are looked at."""
_END_OF_IMAGE, _PROBE = b"\xff\xd9", bytes(range(1, 127)) * 4


class Frame(NamedTuple):
    """A decoded frame: (rows, columns) or (rows, columns, 3), and in which photometric interpretation it is now."""

    values: np.ndarray
    photometric: str


def frames_of(opened: Opened, header: Header, wanted: Sequence[int]) -> Iterator[Frame]:
    """Some frames of a file, by their numbers from 0, in turn; the others are measured, not decoded.

    Raises:
        Fault: pixels are cut short or damaged, or contradict the header.
    """
    if header.kind != "whole":
        yield from _floats(opened, header, wanted)
    elif header.coding == "native":
        yield from _native(opened, header, wanted)
    else:
        streams = codestreams_of(opened, header.frames, one_each=header.coding == "rle")
        for frame in wanted:
            yield _rle(streams[frame], header) if header.coding == "rle" else _decoded(streams[frame], header)


def _floats(opened: Opened, header: Header, wanted: Sequence[int]) -> Iterator[Frame]:
    import numpy as np

    if header.coding != "native" or header.samples != 1:
        raise Fault("unknown_bit_depth")
    body, begin, _ = _measured(opened, header)
    kind = np.dtype(f"{'>' if header.big_endian else '<'}f{header.allocated // 8}")
    size = header.rows * header.columns
    for frame in wanted:
        values = np.frombuffer(body, kind, size, begin + frame * size * kind.itemsize)
        if not np.isfinite(values).all():
            raise Fault("not_finite")
        yield Frame(values.reshape(header.rows, header.columns).astype(kind.newbyteorder("=")), header.photometric)


def _measured(opened: Opened, header: Header) -> tuple[bytes | memoryview, int, int]:
    """The bytes of uncompressed pixels, exactly as many as the header says."""
    body, begin, end = body_of(opened)
    expected = bytes_of(header)
    if opened.length is None or end - begin > expected + expected % 2:
        raise Fault("length_mismatch")
    if end - begin < expected:
        raise Fault("truncated_pixels" if end == len(body) else "length_mismatch")
    return body, begin, begin + expected  # type: ignore[return-value]


def _native(opened: Opened, header: Header, wanted: Sequence[int]) -> Iterator[Frame]:
    import numpy as np

    body, begin, end = _measured(opened, header)
    if header.photometric in ("YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"):
        raise Fault("unknown_photometric")
    if header.big_endian and header.allocated == 32:
        raise Fault("order_of_words_unknown")
    turned = header.big_endian and opened.in_words and header.allocated <= 8
    if turned:
        body, begin, end = _turned(bytes(body[begin : end + end % 2])), 0, end - begin
    if header.allocated == 1:
        values = np.unpackbits(np.frombuffer(body, np.uint8, end - begin, begin), bitorder="little")
        size = header.rows * header.columns
        for frame in wanted:
            yield Frame(
                values[frame * size : (frame + 1) * size].reshape(header.rows, header.columns), header.photometric
            )
        return
    kind = np.dtype(f"{'>' if header.big_endian else '<'}u{header.allocated // 8}")
    size = (end - begin) // header.frames // kind.itemsize
    for frame in wanted:
        values = np.frombuffer(body, kind, size, begin + frame * size * kind.itemsize)
        if kind.itemsize > 1 and header.big_endian:
            values = values.astype(kind.newbyteorder("="))
        yield Frame(_settled(_shaped(values, header), header), _plain_name(header))


def _plain_name(header: Header) -> str:
    return "YBR_FULL" if header.photometric.startswith("YBR_FULL") else header.photometric


def _turned(octets: bytes) -> bytes:
    """Bytes out of 16-bit words of a big-endian file (PS3.5 section 7.3 and annex D)."""
    import numpy as np

    return np.frombuffer(octets[: len(octets) // 2 * 2], np.uint16).byteswap().tobytes()


def _shaped(values: np.ndarray, header: Header) -> np.ndarray:
    """(rows, columns[, 3]) of one frame's values in their order in the file."""
    import numpy as np

    rows, columns = header.rows, header.columns
    if header.samples == 1:
        return values.reshape(rows, columns)
    if header.photometric == "YBR_FULL_422" and header.coding == "native":
        # PS3.3 C.7.6.3.1.2: for each two pixels of a row Y1 Y2 Cb Cr.
        pairs = values.reshape(rows, -(-columns // 2), 4)
        whole = np.empty((rows, pairs.shape[1] * 2, 3), values.dtype)
        whole[:, 0::2, 0], whole[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        whole[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
        return whole[:, :columns]
    if header.planar:
        return values.reshape(header.samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, header.samples)


def _settled(values: np.ndarray, header: Header) -> np.ndarray:
    """Values of the bits in use, with their sign; ``values`` are unsigned.

    Raises:
        Fault: a bit that is not in use is set, and it is no sign.
    """
    import numpy as np

    shift = header.high + 1 - header.stored
    if shift:  # retired: values that do not begin at the lowest bit
        if values.size and int(np.bitwise_or.reduce(values, axis=None)) & ((1 << shift) - 1):
            raise Fault("beyond_bits_stored")
        values = values >> shift
    spare = header.allocated - header.stored
    if not header.signed:
        if spare and values.size and int(values.max()) >> header.stored:
            raise Fault("beyond_bits_stored")
        return values
    plain = values.view(np.dtype(f"i{header.allocated // 8}"))
    if not spare:
        return plain
    if values.size and int(values.max()) >> header.stored == 0:  # what is not in use is zero, or nothing is negative
        return (plain << spare) >> spare
    least, most = int(plain.min()), int(plain.max())
    if least < -(1 << header.stored - 1) or most >= 1 << header.stored - 1:
        raise Fault("beyond_bits_stored")
    return plain


def _rle(stream: bytes, header: Header) -> Frame:
    """A frame of RLE (PS3.5 annex G): a segment for each byte of a value, the highest first, one plane after the other.

    Each segment must unpack to as many bytes as there are pixels: most decoders stop there, and are silent about more.
    """
    import imagecodecs
    import numpy as np

    taken, size = header.allocated // 8, header.rows * header.columns
    if header.allocated == 1 or len(stream) < _RLE_HEADER:
        raise Fault("damaged_pixels")
    count, *begins = struct.unpack_from("<16I", stream)
    if count != header.samples * taken:
        raise Fault("frames_mismatch" if 0 < count <= _MOST_SEGMENTS else "damaged_pixels")
    ends = [*begins[1:count], len(stream)]
    if begins[0] != _RLE_HEADER or any(end < begin for begin, end in zip(begins, ends, strict=False)):
        raise Fault("damaged_pixels")
    with parsing(Fault("damaged_pixels")):
        segments = [imagecodecs.packbits_decode(stream[begin:end]) for begin, end in zip(begins, ends, strict=False)]
    if any(len(segment) != size for segment in segments):
        raise Fault("length_mismatch")
    octets = [np.frombuffer(segment, np.uint8).reshape(header.rows, header.columns) for segment in segments]
    planes = []
    for first in range(0, count, taken):
        values = octets[first].astype(np.dtype(f"u{taken}"))
        for lower in octets[first + 1 : first + taken]:
            values <<= 8
            values |= lower
        planes.append(values)
    return Frame(_settled(planes[0] if len(planes) == 1 else np.stack(planes, axis=-1), header), _plain_name(header))


def _decoded(stream: bytes, header: Header) -> Frame:
    """A frame of JPEG, JPEG-LS, JPEG 2000 or JPEG XL, by imagecodecs."""
    import imagecodecs
    import numpy as np

    told = None if header.coding == "jpeg_xl" else _told(stream, header)
    if header.allocated == 1:
        raise Fault("unknown_bit_depth")
    codec = {"jpeg_ls": "jpegls", "jpeg_2000": "jpeg2k", "jpeg_xl": "jpegxl"}.get(header.coding, "jpeg8")
    if codec == "jpeg8":
        values = _by_libjpeg(stream, header)
    else:
        with parsing(Fault("damaged_pixels")):
            values = getattr(imagecodecs, f"{codec}_decode")(stream)
    shape = (header.rows, header.columns, header.samples)[: 2 if header.samples == 1 else 3]
    if values.shape != shape or values.dtype.kind not in "ui":
        raise Fault("length_mismatch")
    if told is not None and header.coding in ("jpeg", "jpeg_lossless") and _may_be_cut(values, header):
        at = stream.rindex(_END_OF_IMAGE)
        if not np.array_equal(_by_libjpeg(stream[:at] + _PROBE + stream[at:], header), values):
            raise Fault("truncated_pixels")
    still = header.coding == "jpeg_ls" or (header.coding == "jpeg_xl" and header.photometric != "RGB")
    photometric = _plain_name(header) if still or header.samples == 1 else "RGB"
    if header.photometric.startswith("YBR_FULL") and header.coding == "jpeg_2000":
        photometric = "YBR_FULL"
    return Frame(_settled(_as_allocated(values, header, told), header), photometric)


def _told(stream: bytes, header: Header) -> Told:
    """What the codestream says of itself, where that agrees with the file's header."""
    told = told_by_jpeg_2000(stream) if header.coding == "jpeg_2000" else told_by_jpeg(stream)
    if (told.rows, told.columns, told.samples) != (header.rows, header.columns, header.samples):
        raise Fault("length_mismatch")
    if told.bits > header.allocated:
        raise Fault("bits_contradict")
    if not ends_whole(stream) or (header.coding == "jpeg_2000" and not has_all_tiles(stream)):
        raise Fault("truncated_pixels")
    return told


def _as_allocated(values: np.ndarray, header: Header, told: Told | None) -> np.ndarray:
    """Decoded values as unsigned numbers of the bits that the header allocates, their sign drawn out to the top."""
    import numpy as np

    taken = np.dtype(f"u{header.allocated // 8}")
    bits = header.stored if told is None else told.bits
    if values.dtype.kind == "i":
        wide = values.astype(np.dtype(f"i{taken.itemsize}"))
        if not header.signed:  # the same bits, read as the header says
            return np.asarray(wide.view(taken) & taken.type((1 << bits) - 1))
        return wide.view(taken)
    whole = values.astype(taken, copy=False)
    if header.signed and bits < header.allocated:
        spare = header.allocated - bits
        signed = whole.view(np.dtype(f"i{taken.itemsize}"))
        return ((signed << spare) >> spare).view(taken)
    return whole


def transformed(stream: bytes, photometric: str) -> bool:
    """Whether a JPEG of three components holds YCbCr.

    Raises:
        Fault: its markers and the header contradict each other.
    """
    jfif, adobe, at = False, None, 2
    while at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != 0xDA:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        body = stream[at + 4 : at + 2 + length]
        if stream[at + 1] == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        if stream[at + 1] == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += 2 + length
    told = photometric != "RGB"
    if adobe is not None:
        return adobe == 1
    if jfif and not told:
        raise Fault("colours_contradict")
    return told


def _by_libjpeg(stream: bytes, header: Header) -> np.ndarray:
    import imagecodecs

    spaces: dict[str, Any] = {}
    if header.samples > 1:
        stored = "YCBCR" if transformed(stream, header.photometric) else "RGB"
        spaces = {"colorspace": stored, "outcolorspace": "RGB"}
    with parsing(Fault("damaged_pixels")):
        return imagecodecs.jpeg8_decode(stream, **spaces)


def _may_be_cut(values: np.ndarray, header: Header) -> bool:
    """Whether a JPEG ends as one does whose scan ends early, of which libjpeg does not tell.

    It takes zeros for what is missing: a lossless picture then changes from pixel to pixel by one constant, or by
    nothing, and blocks are of the middle level. A whole picture may end like that, too. The codestream then is decoded
    once more with bytes put in before its end: where the scan was whole, nobody reads them.
    """
    import numpy as np

    if header.coding == "jpeg_lossless":
        steps = np.diff(values[-1, -_TAIL:].astype(np.int64), axis=0)
        return bool((steps == steps[-1:]).all())
    block = values[(values.shape[0] - 1) // _BLOCK * _BLOCK :, (values.shape[1] - 1) // _BLOCK * _BLOCK :]
    return bool((block == 1 << (11 if values.dtype.itemsize == 2 else 7)).all())
