"""Compressed frames: what is written beside the picture goes, and the picture stays to the bit."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from medai.deidentification.codestreams import JPEG, JPEG_2000, JPEG_LS, RLE, NotUnderstood, clean

imagecodecs = pytest.importorskip("imagecodecs", reason="the extra imaging is not installed")

NAME = b"Mustermann^Erika"
PICTURE = (np.add.outer(np.arange(40) ** 2, np.arange(56) * 3) % 251).astype(np.uint8)


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment of JPEG, JPEG-LS or JPEG 2000."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def rle(data: bytes) -> bytes:
    """A frame of one RLE segment, of literal runs."""
    packed = b"".join(bytes([len(run) - 1]) + run for run in (data[at : at + 128] for at in range(0, len(data), 128)))
    return struct.pack("<16I", 1, 64, *[0] * 14) + packed


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, RLE])
def test_names_in_a_stream_are_gone(syntax: str) -> None:
    """In comments, application segments, tile-part headers, after the end; and again nothing changes."""
    if syntax == RLE:
        plain = rle(PICTURE.tobytes())
        dirty = plain + NAME
        assert clean(dirty, RLE, PICTURE.size) == plain
        return
    encode, decode = {
        JPEG: (imagecodecs.jpeg8_encode, imagecodecs.jpeg8_decode),
        JPEG_LS: (imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        JPEG_2000: (lambda one: imagecodecs.jpeg2k_encode(one, codecformat="j2k"), imagecodecs.jpeg2k_decode),
    }[syntax]
    plain = bytes(encode(PICTURE))
    comments = segment(0x64, b"\0\1" + NAME) if syntax == JPEG_2000 else segment(0xFE, NAME) + segment(0xE5, NAME)
    at = 2
    if syntax == JPEG_2000:  # the first segment is the size's; comments may stand after it, and in a tile's header
        at = 4 + struct.unpack_from(">H", plain, 4)[0]
        tile = plain.index(b"\xff\x90")
        size = struct.unpack_from(">I", plain, tile + 6)[0]
        header = plain[tile : tile + 6] + struct.pack(">I", size + len(comments) if size else 0) + plain[tile + 10 :]
        plain = plain[:tile] + header[:12] + comments + header[12:]
    dirty = plain[:at] + comments + plain[at:] + NAME
    cleaned = clean(dirty, syntax, PICTURE.size)
    assert NAME in dirty
    assert NAME not in cleaned
    assert np.array_equal(decode(cleaned), decode(bytes(encode(PICTURE))))
    assert clean(cleaned, syntax, PICTURE.size) == cleaned


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, RLE])
def test_damaged_streams_are_not_understood(syntax: str) -> None:
    """Cut, of another format, or noise: refused, and never another exception."""
    whole = {
        JPEG: lambda: imagecodecs.jpeg8_encode(PICTURE),
        JPEG_LS: lambda: imagecodecs.jpegls_encode(PICTURE),
        JPEG_2000: lambda: imagecodecs.jpeg2k_encode(PICTURE, codecformat="j2k"),
        RLE: lambda: rle(PICTURE.tobytes()),
    }
    data = bytes(whole[syntax]())
    draws = np.random.default_rng(0)
    others = [bytes(whole[other]()) for other in whole if other != syntax and {other, syntax} != {JPEG, JPEG_LS}]
    for bad in (b"", b"\xff", data[:2], data[: len(data) // 2], data[:-2][::-1], NAME * 20, *others):
        with pytest.raises(NotUnderstood):
            clean(bad, syntax, PICTURE.size)
    for _ in range(200):
        noise = bytearray(data)
        for place in draws.integers(0, min(len(data), 300), 3):
            noise[place] = draws.integers(256)
        try:
            clean(bytes(noise), syntax, PICTURE.size)
        except NotUnderstood:
            continue
