"""Pixels of PNG and JPEG: each rule on the values themselves, and what no rule covers."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from medai.sources.pictures import decoding
from medai.sources.pictures.decoding import Decoded, Target, decode, decode_file

GREY = Target(4, 4, 1, pad=False, white=65535)
RGB = GREY._replace(channels=3)
LEVELS = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *before: bytes) -> bytes:
    """A PNG by hand: the header, other chunks, and rows that carry their own filter bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join((header, *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")))


def grey_of(data: bytes, target: Target = GREY) -> np.ndarray:
    """The decoded picture, which must have no fault, without its axis of one channel."""
    found = decode(data, target)
    assert found.fault is None
    assert found.pixels is not None
    assert found.pixels.dtype == np.uint8
    return found.pixels[..., 0] if target.channels == 1 else found.pixels


def fault_of(data: bytes, target: Target = GREY) -> str | None:
    """The fault of a file that gives no pixels."""
    found = decode(data, target)
    assert found.pixels is None
    assert found.levels == (0, 0, 0, 0)
    assert found.content_hash == hashlib.sha256(b"file\0" + data).hexdigest()
    return found.fault


def test_eight_bit_grey_is_kept_as_it_is() -> None:
    """At its own size nothing changes; geometry, bits and levels are told."""
    found = decode(encoded(Image.fromarray(LEVELS)), GREY)
    assert found.pixels is not None
    np.testing.assert_array_equal(found.pixels[..., 0], LEVELS)
    assert (found.height, found.width, found.channels, found.bits) == (4, 4, 1, 8)
    assert found.levels == (LEVELS.mean(), LEVELS.std(), 0, 240)


def test_grey_becomes_three_equal_channels() -> None:
    """For a net that reads colour."""
    found = grey_of(encoded(Image.fromarray(LEVELS)), RGB)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], LEVELS)


def test_colour_becomes_luma() -> None:
    """0.299 red + 0.587 green + 0.114 blue, rounded (ITU-R BT.601)."""
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[0], colours[1], colours[2], colours[3] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 100, 200)
    found = grey_of(encoded(Image.fromarray(colours)))
    assert found[:, 0].tolist() == [76, 150, 29, 84]
    assert decode(encoded(Image.fromarray(colours)), GREY).channels == 3


@pytest.mark.parametrize(
    ("bits", "row", "levels"), [(1, 0b1010_0000, [255, 0, 255, 0]), (2, 0b00_01_10_11, [0, 85, 170, 255])]
)
def test_few_bits_are_spread(bits: int, row: int, levels: list[int]) -> None:
    """Black stays black and white white; the bits are recorded for validation."""
    data = png(4, 4, bits, 0, bytes([0, row]) * 4)
    assert grey_of(data)[2].tolist() == levels
    assert decode(data, GREY).bits == bits


def test_four_bits_are_spread() -> None:
    """Level k of 15 is 17 k."""
    data = png(4, 4, 4, 0, bytes([0, 0x0F, 0x3C]) * 4)
    assert grey_of(data)[0].tolist() == [0, 255, 51, 204]


@pytest.mark.parametrize(
    ("white", "given", "expected"),
    [
        (65535, [0, 1, 128, 129, 257, 32896, 65406, 65535], [0, 0, 0, 1, 1, 128, 254, 255]),
        (4095, [0, 8, 9, 16, 2048, 4094, 4095, 100], [0, 0, 1, 1, 128, 255, 255, 6]),
    ],
)
def test_sixteen_bit_grey_is_scaled_by_white(white: int, given: list[int], expected: list[int]) -> None:
    """Level × 255 / white, rounded; never the low byte alone, nor the high one."""
    levels = np.array([given[:4], given[4:]] * 2, np.uint16)
    data = encoded(Image.fromarray(levels))
    assert grey_of(data, GREY._replace(white=white)).ravel().tolist()[:8] == expected
    assert decode(data, GREY._replace(white=white)).bits == 16


def test_a_level_above_white_is_a_fault() -> None:
    """It is not clipped in silence."""
    data = encoded(Image.fromarray(np.full((4, 4), 4096, np.uint16)))
    assert fault_of(data, GREY._replace(white=4095)) == "brighter_than_white"


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    """The bits are recorded."""
    rows = (b"\0" + struct.pack(">HHH", 0x1234, 0x80FF, 0xFFFF) * 4) * 4
    data = png(4, 4, 16, 2, rows)
    assert grey_of(data, RGB)[0, 0].tolist() == [0x12, 0x80, 0xFF]
    assert (decode(data, RGB).bits, decode(data, RGB).channels) == (16, 3)


def test_what_is_transparent_is_laid_on_black() -> None:
    """Full, half and no cover of white, with and without colour, and by a palette's or a grey level's key."""
    rgba = np.full((4, 4, 4), 255, np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 128
    for image in (Image.fromarray(rgba), Image.fromarray(rgba).convert("LA")):
        data = encoded(image)
        assert grey_of(data)[:, 0].tolist() == [0, 128, 255, 255]
    keyed = Image.fromarray(LEVELS)
    assert grey_of(encoded(keyed, transparency=16))[0].tolist() == [0, 0, 32, 48]
    assert decode(encoded(Image.fromarray(rgba)), GREY).channels == 3


def test_a_palette_is_resolved() -> None:
    """The level is the colour's, not the index."""
    image = Image.fromarray(np.array([[0, 1, 2, 1]] * 4, np.uint8), "P")
    image.putpalette([10, 10, 10, 200, 200, 200, 255, 0, 0])
    data = encoded(image)
    assert grey_of(data)[0].tolist() == [10, 200, 76, 200]
    found = decode(data, RGB)
    assert found.pixels is not None
    assert found.pixels[0, 2].tolist() == [255, 0, 0]
    assert (found.channels, found.bits) == (3, 8)
    assert grey_of(encoded(image, transparency=1))[0].tolist() == [10, 0, 76, 0]
    ten = b"".join(b"\0" + bytes((row, 9 - row, 0, 9)) for row in range(4))
    assert grey_of(png(4, 4, 8, 3, ten, PALETTE))[0].tolist() == [1, 28, 1, 28]


def test_print_colours_become_light() -> None:
    """CMYK: no ink is white, black ink is black; four channels are recorded for a warning."""
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[8:, :, 3] = 255
    data = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    found = grey_of(data, Target(16, 16, 1, pad=False, white=65535))
    assert (set(found[:8].ravel().tolist()), set(found[8:].ravel().tolist())) == ({255}, {0})
    assert decode(data, GREY).channels == 4


def quarters() -> Image.Image:
    """16 × 32 in four shades: 0 and 80 above, 160 and 240 below."""
    levels = np.zeros((16, 32), np.uint8)
    levels[:8, 16:], levels[8:, :16], levels[8:, 16:] = 80, 160, 240
    return Image.fromarray(levels)


SHOWN = {
    1: [[0, 80], [160, 240]],
    2: [[80, 0], [240, 160]],
    3: [[240, 160], [80, 0]],
    4: [[160, 240], [0, 80]],
    5: [[0, 160], [80, 240]],
    6: [[160, 0], [240, 80]],
    7: [[240, 80], [160, 0]],
    8: [[80, 240], [0, 160]],
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_picture_lies_as_it_is_shown(orientation: int, kind: str) -> None:
    """All eight orientations of EXIF; height and width are those of the picture as shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quarters(), kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    target = Target(2, 2, 1, pad=False, white=65535)
    np.testing.assert_allclose(grey_of(data, target).astype(int), SHOWN[orientation], atol=20)
    found = decode(data, target)
    assert (found.height, found.width) == ((32, 16) if orientation >= 5 else (16, 32))


def test_an_orientation_that_means_nothing_is_none() -> None:
    """A damaged or foreign value turns nothing."""
    exif = Image.Exif()
    exif[0x0112] = 77
    found = grey_of(encoded(quarters(), exif=exif), Target(2, 2, 1, False, 65535))
    np.testing.assert_allclose(found.astype(int), SHOWN[1], atol=20)


def test_interlaced_and_progressive_files_give_the_same_picture() -> None:
    """How a file is stored leaves no trace."""
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (37, 41), np.uint8))
    target = Target(16, 16, 1, pad=False, white=65535)
    plain = encoded(image, "JPEG", quality=90)
    progressive = encoded(image, "JPEG", quality=90, progressive=True)
    assert plain != progressive
    assert decode(plain, target).content_hash == decode(progressive, target).content_hash
    by_hand = interlaced(np.asarray(image))
    assert decode(by_hand, target).content_hash == decode(encoded(image), target).content_hash


def interlaced(levels: np.ndarray, cut: int = 0) -> bytes:
    """Adam7 by hand: seven reduced pictures in a row; the last bytes may be left out."""
    height, width = levels.shape
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ):  # fmt: skip
        rows += b"".join(b"\0" + line.tobytes() for line in levels[top::down, left::right])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows[: len(rows) - cut])) + chunk(b"IEND", b"")


def smooth(height: int, width: int) -> np.ndarray:
    """Shades that change slowly, everywhere by another amount."""
    down, across = np.mgrid[0 : 4 : height * 1j, 0 : 5 : width * 1j]
    return np.asarray(127 + 60 * np.sin(down) + 60 * np.cos(across), np.uint8)


def area_means(levels: np.ndarray, size: int) -> np.ndarray:
    """The exact mean over each pixel's area, parts of pixels by their share."""
    for _ in range(2):
        edges = np.arange(size + 1) * len(levels) / size
        sums = np.vstack([np.zeros((1, levels.shape[1])), np.cumsum(levels, axis=0, dtype=float)])
        whole = np.minimum(edges.astype(int), len(levels) - 1)
        upto = sums[whole] + (edges - whole)[:, None] * levels[whole]
        levels = (np.diff(upto, axis=0) * size / len(levels)).T
    return levels


SIZES = [(64, 64), (65, 70), (257, 90), (40, 500), (1000, 1100)]


@pytest.mark.parametrize("size", SIZES)
def test_each_pixel_is_the_mean_of_its_area(size: tuple[int, int]) -> None:
    """Within two levels, for pictures of any shape."""
    levels = smooth(*size)
    found = grey_of(encoded(Image.fromarray(levels)), Target(32, 32, 1, pad=False, white=65535))
    assert np.abs(found - area_means(levels, 32)).max() <= 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_decoded_at_a_fraction_is_the_mean_too(size: tuple[int, int], channels: int) -> None:
    """The larger ones are decoded at a half, a quarter or an eighth: within four levels, on average within one."""
    image = Image.fromarray(smooth(*size)).convert("RGB")
    data = encoded(image, "JPEG", quality=98)
    found = grey_of(data, Target(16, 16, channels, pad=False, white=65535))
    found = found if channels == 1 else found.mean(axis=2)
    distance = np.abs(found - area_means(smooth(*size), 16))
    assert distance.max() <= 4
    assert distance.mean() <= 1


def test_a_flat_picture_stays_flat() -> None:
    """Enlarged or reduced by any factor."""
    for size in ((1, 1), (3, 2), (7, 90), (64, 64)):
        for target in (GREY, RGB, GREY._replace(height=5)):
            assert set(grey_of(encoded(Image.new("L", size, 137)), target).ravel().tolist()) == {137}


def test_padding_keeps_the_aspect_ratio() -> None:
    """In the middle of black; what is measured is the picture, not the padding."""
    image = Image.fromarray(np.array([[100] * 4, [200] * 4], np.uint8))
    found = decode(encoded(image), GREY._replace(pad=True))
    assert found.pixels is not None
    assert found.pixels[..., 0].tolist() == [[0] * 4, [100] * 4, [200] * 4, [0] * 4]
    assert found.levels == (150, 50, 100, 200)
    tall = grey_of(encoded(image.transpose(Image.Transpose.ROTATE_90)), GREY._replace(pad=True))
    assert tall.tolist() == [[0, 100, 200, 0]] * 4
    thin = grey_of(encoded(Image.new("L", (1000, 1), 90)), GREY._replace(pad=True))
    assert thin.tolist() == [[0] * 4, [90] * 4, [0] * 4, [0] * 4]


@pytest.mark.parametrize("colour", ["1", "L", "RGB", "P", "LA", "RGBA"])
def test_black_rows_that_are_there_are_no_fault(colour: str) -> None:
    """A picture may end in black, in any colours, interlaced or not."""
    levels = np.full((21, 13), 255, np.uint8)
    levels[15:] = 0
    image = Image.fromarray(levels).convert(colour)
    if colour.endswith("A"):
        image.putalpha(image.convert("L"))
    target = Target(21, 13, 1, pad=False, white=65535)
    np.testing.assert_array_equal(grey_of(encoded(image), target), levels)
    np.testing.assert_array_equal(grey_of(interlaced(levels), target), levels)


def test_the_hash_is_of_the_pixels() -> None:
    """One picture as PNG of two compressions is one; another size or another pixel is another."""
    image = Image.fromarray(LEVELS)
    first = decode(encoded(image, compress_level=0), GREY)
    assert first.content_hash == decode(encoded(image.convert("RGB"), compress_level=9), GREY).content_hash
    assert first.content_hash == hashlib.sha256(b"4,4,1\0" + LEVELS.tobytes()).hexdigest()
    other = LEVELS.copy()
    other[3, 3] += 1
    assert decode(encoded(Image.fromarray(other)), GREY).content_hash != first.content_hash
    wide = Target(2, 8, 1, pad=False, white=65535)
    assert decode(encoded(Image.fromarray(LEVELS.reshape(2, 8))), wide).content_hash != first.content_hash


def frames() -> bytes:
    """A PNG of two frames."""
    one, two = Image.fromarray(LEVELS), Image.fromarray(LEVELS[::-1].copy())
    return encoded(one, save_all=True, append_images=[two])


def lying(width: int, height: int) -> bytes:
    """A PNG that declares so many pixels over a few bytes."""
    return png(width, height, 8, 0, b"\0" * 100)


NOISE = Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64), np.uint8))
WHOLE_PNG, WHOLE_JPEG = encoded(NOISE), encoded(NOISE, "JPEG")

PALETTE = chunk(b"PLTE", bytes(range(30)))
INDICES = b"".join(b"\0" + bytes(range(4 * row, 4 * row + 4)) for row in range(4))

FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not_a_picture"),
    "text named .png": (lambda: b"a report, not a picture", "not_a_picture"),
    "HTML of a failed download": (lambda: b"<!DOCTYPE html><html>404</html>", "not_a_picture"),
    "Git-LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not_a_picture"),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(64), "not_a_picture"),
    "GIF": (lambda: encoded(NOISE, "GIF"), "not_a_picture"),
    "TIFF": (lambda: encoded(NOISE, "TIFF"), "not_a_picture"),
    "signature alone": (lambda: WHOLE_PNG[:8], "unreadable_picture"),
    "JPEG's first bytes alone": (lambda: WHOLE_JPEG[:4], "unreadable_picture"),
    "PNG cut in half": (lambda: WHOLE_PNG[: len(WHOLE_PNG) // 2], "unreadable_picture"),
    "PNG without its end": (lambda: WHOLE_PNG[:-12], "unreadable_picture"),
    "PNG with its end cut": (lambda: WHOLE_PNG[:-1], "unreadable_picture"),
    "PNG with a flipped byte": (lambda: flipped(WHOLE_PNG, 2000), "unreadable_picture"),
    "PNG with a flipped checksum": (lambda: flipped(WHOLE_PNG, len(WHOLE_PNG) - 14), "unreadable_picture"),
    "PNG with too few rows": (lambda: png(4, 4, 8, 0, b"\0abcd" * 2), "unreadable_picture"),
    "interlaced PNG with too few rows": (lambda: interlaced(np.full((32, 32), 9, np.uint8), 20), "unreadable_picture"),
    "PNG of no width": (lambda: png(0, 4, 8, 0, b"\0" * 4), "unreadable_picture"),
    "PNG of an unknown colour type": (lambda: png(4, 4, 8, 5, b"\0abcd" * 4), "unreadable_picture"),
    "palette PNG with pixels beyond its palette": (lambda: png(4, 4, 8, 3, INDICES, PALETTE), "unreadable_picture"),
    "palette PNG of 4 bits beyond its palette": (
        lambda: png(4, 4, 4, 3, b"\0\x12\x3a" * 4, PALETTE),
        "unreadable_picture",
    ),
    "palette PNG without a palette": (lambda: png(4, 4, 8, 3, INDICES), "unreadable_picture"),
    "JPEG cut in half": (lambda: WHOLE_JPEG[: len(WHOLE_JPEG) // 2], "unreadable_picture"),
    "JPEG cut and padded with zeros": (
        lambda: WHOLE_JPEG[: len(WHOLE_JPEG) // 2] + bytes(len(WHOLE_JPEG)),
        "unreadable_picture",
    ),
    "JPEG cut and closed again": (lambda: WHOLE_JPEG[: len(WHOLE_JPEG) // 2] + b"\xff\xd9", "unreadable_picture"),
    "JPEG without its end": (lambda: WHOLE_JPEG[:-2], "unreadable_picture"),
    "decompression bomb": (lambda: lying(100_000, 100_000), "decompression_bomb"),
    "a little too large": (lambda: lying(8193, 8192), "decompression_bomb"),
    "animated PNG": (frames, "several_frames"),
}


def flipped(data: bytes, at: int) -> bytes:
    """One byte changed."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("target", [GREY, RGB])
def test_what_is_not_a_whole_picture_gives_a_fault(fault: str, target: Target) -> None:
    """Never half a picture, and never an error that stops the set."""
    make, expected = FAULTS[fault]
    assert fault_of(make(), target) == expected


def test_a_bomb_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is enough; what it declares is recorded."""

    def load(_self: object) -> None:
        raise AssertionError("the pixels were read")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    found = decode(lying(100_000, 90_000), GREY)
    assert (found.fault, found.height, found.width) == ("decompression_bomb", 90_000, 100_000)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hashed in blocks, as the bytes of every other fault are."""
    monkeypatch.setattr(decoding, "FILE_LIMIT", 100)
    (tmp_path / "a").write_bytes(WHOLE_PNG)
    found = decode_file(tmp_path / "a", GREY)
    assert found == Decoded(hashlib.sha256(b"file\0" + WHOLE_PNG).hexdigest(), "decompression_bomb")


def test_pillow_is_not_told_to_fill_what_is_missing() -> None:
    """The switch is the process's; medai leaves it off."""
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_stop_the_set(data: st.DataObject) -> None:
    """Whatever is changed, cut or put in, the answer is a picture of the working size or a fault."""
    base = data.draw(st.sampled_from([WHOLE_PNG, WHOLE_JPEG, frames(), encoded(quarters(), "JPEG")]))
    at = data.draw(st.integers(0, len(base)))
    stop = data.draw(st.integers(at, min(len(base), at + 40)))
    found = decode(base[:at] + data.draw(st.binary(max_size=40)) + base[stop:], GREY)
    assert (found.pixels is None) == (found.fault is not None)
    if found.pixels is not None:
        assert found.pixels.shape == (4, 4, 1)
    else:
        assert found.fault in decoding.FAULTS


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_any_grey_picture_is_measured_as_it_is(seed: int, height: int, width: int, colour: bool) -> None:
    """At its own size the pixels come back, with NumPy's own mean, deviation and limits."""
    shape = (height, width, 3) if colour else (height, width)
    levels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = decode(encoded(Image.fromarray(levels)), Target(height, width, 3 if colour else 1, False, 65535))
    assert found.pixels is not None
    np.testing.assert_array_equal(found.pixels.reshape(shape), levels)
    np.testing.assert_allclose(found.levels, (levels.mean(), levels.std(), levels.min(), levels.max()), atol=1e-9)
