"""Stored values: codings give back what was stored; what contradicts itself is a fault, never another picture."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended

from medai.sources.dicom import decoding, elements, fragments
from medai.sources.dicom.fragments import ends_whole
from medai.sources.synthetic.dicom_files import file_of
from tests.medai.sources.dicom.making import (
    BIG,
    DEFLATED,
    HTJ2K,
    IMPLICIT,
    JPEG,
    JPEG_12,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    LITTLE,
    RLE,
    TWELVE,
    WHOLE,
    dataset,
    fault_of,
    frames,
    lying,
    made,
    reason_of,
    stored,
)  # fmt: skip

RGB = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
LOSSLESS = (LITTLE, IMPLICIT, BIG, DEFLATED, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_codings_give_back_what_was_stored(syntax: str) -> None:
    """Twelve bits in sixteen, several frames, and eight bits."""
    if syntax == HTJ2K and not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("imagecodecs cannot write HTJ2K")
    np.testing.assert_array_equal(stored(made(syntax=syntax)), TWELVE)
    several = np.stack([TWELVE, TWELVE[::-1], TWELVE // 2])
    found = frames(made(several, syntax, NumberOfFrames=3))
    np.testing.assert_array_equal([frame.values for frame in found], several)
    eight = (TWELVE >> 4).astype(np.uint8)
    np.testing.assert_array_equal(stored(made(eight, syntax)), eight)


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG, RLE])
def test_signed_values_keep_their_sign(syntax: str) -> None:
    """Whether the bits above BitsStored repeat the sign, or are zero."""
    signed = TWELVE.astype(np.int16) - 2048
    np.testing.assert_array_equal(stored(made(signed, syntax)), signed)
    cut = (signed.view(np.uint16) & 0xFFF).view(np.int16)
    np.testing.assert_array_equal(stored(made(cut, syntax)), signed)


def test_a_codestream_without_a_sign_gets_the_headers() -> None:
    """Two's complement of the codestream's own bits, as pydicom's file of that kind shows."""
    signed = TWELVE.astype(np.int16) - 2048
    data = dataset(signed)
    bits = signed.view(np.uint16) & 0xFFF
    for syntax in (JPEG_LS, JPEG_2000, JPEG_LOSSLESS):
        np.testing.assert_array_equal(stored(file_of(data, bits, syntax)), signed)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.arange(24, dtype=np.uint32).reshape(4, 6) << 20, {}),
        (np.arange(24, dtype=np.int32).reshape(4, 6) - 9, {}),
        (np.arange(24, dtype=np.uint16).reshape(4, 6) << 11, {"BitsStored": 16, "HighBit": 15}),
    ],
)
def test_values_of_all_their_bits(values: np.ndarray, told: dict[str, int]) -> None:
    """Thirty-two bits with and without a sign, and sixteen of sixteen."""
    for syntax in (LITTLE, IMPLICIT, RLE):
        np.testing.assert_array_equal(stored(made(values, syntax, **told)), values)


def test_single_bits_run_on_from_frame_to_frame() -> None:
    """PS3.5 section 8.1.1: the first pixel is the lowest bit, and no frame begins a byte of its own."""
    masks = np.random.default_rng(1).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    packed = np.packbits(masks.reshape(-1), bitorder="little")
    told = dataset(masks, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=3)
    found = frames(file_of(told, packed.reshape(1, 1, -1), LITTLE))
    np.testing.assert_array_equal([frame.values for frame in found], masks)


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floats_are_read_and_must_be_finite(keyword: str, kind: str) -> None:
    """Parametric maps (PS3.3 C.7.6.24); an infinity has no place on any screen."""
    values = np.linspace(-1, 1, 20).reshape(4, 5).astype(kind)
    for value, reason in ((0.5, "none"), (np.inf, "not_finite"), (np.nan, "not_finite")):
        values[1, 1] = value
        told = dataset(np.zeros((4, 5), np.uint8), BitsAllocated=values.itemsize * 8, BitsStored=None, HighBit=None)
        data = file_of(told, np.zeros((4, 5), np.uint8), LITTLE, **{keyword: values.tobytes()})
        if reason == "none":
            np.testing.assert_array_equal(stored(data), values)
        assert reason_of(data) == reason


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG, RLE, JPEG_LS, JPEG_2000, JPEG_LOSSLESS])
def test_colours_stay_with_their_pixels(syntax: str) -> None:
    """Pixel by pixel, or one plane after the other."""
    (frame,) = frames(made(RGB, syntax))
    np.testing.assert_array_equal(frame.values, RGB)
    assert frame.photometric == "RGB"
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    told = dataset(RGB, PlanarConfiguration=1)
    if syntax in (LITTLE, IMPLICIT):
        np.testing.assert_array_equal(stored(file_of(told, planes.reshape(6, 8, 3), syntax)), RGB)


def test_subsampled_colours_stand_for_two_pixels() -> None:
    """YBR_FULL_422 uncompressed: Y1 Y2 Cb Cr for each two pixels of a row (PS3.3 C.7.6.3.1.2)."""
    packed = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
    told = dataset(np.zeros((3, 4, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    told.PixelData = packed.tobytes()
    (frame,) = frames(file_of(told, np.zeros((3, 4, 3), np.uint8), LITTLE, PixelData=packed.tobytes()))
    assert frame.photometric == "YBR_FULL"
    assert frame.values[0].tolist() == [[0, 2, 3], [1, 2, 3], [4, 6, 7], [5, 6, 7]]


def test_jpeg_is_within_what_the_codec_loses() -> None:
    """Eight bits, twelve bits, and colours that the codec turns to YCbCr and back."""
    ramp = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    assert np.abs(stored(made(ramp, JPEG)).astype(int) - ramp).max() <= 3
    twelve = ramp.astype(np.uint16) * 32
    assert np.abs(stored(made(twelve, JPEG_12)).astype(int) - twelve).max() <= 48
    colours = np.stack([ramp, ramp[::-1], ramp // 2], axis=-1)
    (frame,) = frames(made(colours, JPEG, PhotometricInterpretation="YBR_FULL_422"))
    assert frame.photometric == "RGB"
    assert np.abs(frame.values.astype(int) - colours).mean() < 8
    assert reason_of(made(colours, JPEG)) == "colours_contradict"  # JFIF's marker promises YCbCr, the header RGB


@pytest.mark.parametrize("syntax", [LITTLE, RLE, JPEG_LS, JPEG_2000, JPEG_LOSSLESS, DEFLATED])
def test_a_header_that_lies_about_the_picture_is_found_out(syntax: str) -> None:
    """Half the rows would decode to another axis, or to the upper half; more rows to what lies behind."""
    for lies in ({"Rows": 4}, {"Rows": 18}, {"Columns": 7}, {"NumberOfFrames": 2}):
        assert reason_of(lying(syntax=syntax, **lies)) in ("length_mismatch", "truncated_pixels", "frames_mismatch")
    assert reason_of(lying(syntax=syntax, Rows=0)) == "damaged_header"


def test_bits_above_those_in_use_are_a_fault() -> None:
    """A BitsStored that lies would be masked in silence; an exact one stays what it is."""
    assert reason_of(lying(BitsStored=8, HighBit=7)) == "beyond_bits_stored"
    assert reason_of(lying(syntax=RLE, BitsStored=11, HighBit=10)) == "beyond_bits_stored"
    assert reason_of(lying(syntax=JPEG_2000, BitsStored=10, HighBit=9)) == "beyond_bits_stored"
    assert reason_of(lying(BitsStored=17)) == "bits_contradict"
    assert reason_of(lying(HighBit=3)) == "bits_contradict"
    shifted = (TWELVE << 4).astype(np.uint16)
    np.testing.assert_array_equal(stored(made(shifted, HighBit=15)), TWELVE)
    assert reason_of(lying(HighBit=15)) == "beyond_bits_stored"
    assert reason_of(lying(BitsStored=8, HighBit=11)) == "beyond_bits_stored"
    assert reason_of(made(RGB, PlanarConfiguration=7)) == "damaged_header"


@pytest.mark.parametrize("syntax", [LITTLE, BIG, DEFLATED, RLE, JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000])
def test_pixels_cut_anywhere_are_a_fault(syntax: str) -> None:
    """Half a picture is never filled up, and no cut ends anything but its own file."""
    values = TWELVE if syntax != JPEG else (TWELVE >> 4).astype(np.uint8)
    data = made(values, syntax)
    begin = 144 + int.from_bytes(data[140:144], "little")
    if syntax != DEFLATED:
        begin = data.find(b"\x7f\xe0\x00\x10" if syntax == BIG else b"\xe0\x7f\x10\x00")
    for end in {*range(begin + 4, len(data) - 8, 7), len(data) - 9}:
        assert fault_of(data[:end]) in ("truncated_pixels", "damaged_pixels", "damaged_header", "length_mismatch"), end


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_altered_bytes_never_raise(data: st.DataObject) -> None:
    """Whatever three bytes become, the answer is a picture or a fault."""
    syntax = data.draw(st.sampled_from([LITTLE, IMPLICIT, RLE, JPEG_LS, JPEG_2000, JPEG_LOSSLESS, DEFLATED]))
    octets = bytearray(made(syntax=syntax))
    for _ in range(3):
        octets[data.draw(st.integers(132, len(octets) - 1))] = data.draw(st.integers(0, 255))
    for picture in decoding.decode(bytes(octets), WHOLE).pictures:
        assert (picture.decoded.fault is None) == (picture.decoded.pixels is not None)
        assert picture.decoded.fault is None or picture.decoded.fault in decoding.FAULTS


def coded(streams: list[bytes], **told: object) -> bytes:
    """A file of two frames in JPEG-LS whose fragments are given as they are."""
    return file_of(dataset(TWELVE, NumberOfFrames=2, **told), np.stack([TWELVE, TWELVE]), JPEG_LS)


def test_fragments_become_frames_by_offsets_or_beginnings() -> None:
    """One frame in several fragments, with the basic table, the extended one, or none (PS3.5 annex A.4)."""
    streams = [bytes(imagecodecs.jpegls_encode(values)) for values in (TWELVE, TWELVE[::-1].copy())]
    parts = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    two = np.stack([TWELVE, TWELVE[::-1]])
    told = dataset(two, NumberOfFrames=2)
    for pixels in (
        encapsulate(parts, fragments_per_frame=2, has_bot=True),
        encapsulate(parts, fragments_per_frame=2, has_bot=False),
        encapsulate(parts, fragments_per_frame=1, has_bot=False),
    ):
        found = frames(file_of(told, two, JPEG_LS, PixelData=pixels))
        np.testing.assert_array_equal([frame.values for frame in found], two)
    pixels, offsets, lengths = encapsulate_extended(parts)
    whole = dict(PixelData=pixels, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths)
    assert len(frames(file_of(told, two, JPEG_LS, **whole))) == 2
    wrong = encapsulate(parts, fragments_per_frame=2, has_bot=True)
    wrong = wrong[:12] + struct.pack("<I", 6) + wrong[16:]
    assert reason_of(file_of(told, two, JPEG_LS, PixelData=wrong)) == "frames_mismatch"
    assert reason_of(file_of(told, two, JPEG_LS, PixelData=encapsulate(parts[:1]))) == "frames_mismatch"


def test_pixels_of_a_known_length_are_no_codestream() -> None:
    """A compressed syntax over plain pixels, and plain syntax over fragments."""
    plain, fragments = made(), made(syntax=JPEG_LS)
    swapped = plain.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
    assert reason_of(swapped) == "length_mismatch"
    assert reason_of(fragments.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.1\0\0\0", 1)) == "length_mismatch"


def test_syntaxes_that_give_no_picture_say_why() -> None:
    """A video, pixels on a server, and what nobody knows."""
    data = made()
    for syntax, reason in (
        ("1.2.840.10008.1.2.4.102", "video"),
        ("1.2.840.10008.1.2.4.100.1", "video"),
        ("1.2.840.10008.1.2.7.1", "video"),
        ("1.2.840.10008.1.2.4.94", "pixels_elsewhere"),
        ("1.2.840.10008.1.2.4.92", "unknown_transfer_syntax"),
        ("1.2.826.0.1.3680043.2.494.1.1", "unknown_transfer_syntax"),
    ):
        assert fault_of(file_of(dataset(TWELVE), TWELVE, LITTLE)[:0] + _renamed(data, syntax)) == reason
    assert fault_of(made(syntax=None)) == "no_transfer_syntax"


def _renamed(data: bytes, syntax: str) -> bytes:
    """The file with another transfer syntax in its meta information, whose length follows."""
    octets = syntax.encode() + b"\0" * (len(syntax) % 2)
    at = data.find(b"\2\0\x10\0UI")
    old = int.from_bytes(data[at + 6 : at + 8], "little")
    length = int.from_bytes(data[140:144], "little") - old + len(octets)
    changed = data[:at] + b"\2\0\x10\0UI" + len(octets).to_bytes(2, "little") + octets + data[at + 8 + old :]
    return changed[:140] + length.to_bytes(4, "little") + changed[144:]


def test_sizes_beyond_any_picture_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of four thousand million pixels, frames without number, and zeros that inflate."""
    assert fault_of(lying(Rows=65535, Columns=65535)) == "decompression_bomb"
    assert fault_of(lying(NumberOfFrames=1 << 20)) == "decompression_bomb"
    data = made(syntax=DEFLATED)
    begin = 144 + int.from_bytes(data[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(40)) + deflate.flush()
    assert fault_of(data[:begin] + zeros) == "damaged_header"  # as much as deflate can honestly hold, and no picture
    monkeypatch.setattr(elements, "INFLATED_LIMIT", 1 << 20)
    assert fault_of(data[:begin] + zeros) == "decompression_bomb"


def test_a_codestream_without_its_end_is_cut() -> None:
    """The end mark, and padding behind it."""
    assert ends_whole(b"\xff\xd8..\xff\xd9\0\0")
    assert not ends_whole(b"\xff\xd8..\xff\xd8")


@pytest.mark.parametrize(("syntax", "predictor"), [(JPEG_LOSSLESS, 1), (JPEG_LOSSLESS, 4), (JPEG, None)])
@pytest.mark.parametrize("kept", [0.75, 0.9, 0.97])
def test_a_jpeg_cut_short_with_an_end_mark_is_cut_all_the_same(syntax: str, predictor: int | None, kept: float) -> None:
    """libjpeg fills what is missing and says nothing; a whole picture that ends evenly is read as it is."""
    noise = np.random.default_rng(2).integers(0, 200, (40, 36))
    picture = (np.add.outer(np.arange(40), np.arange(36)) * 40 + noise).astype(np.uint16)
    if predictor is None:
        picture = (picture >> 4).astype(np.uint8)
    how = {} if predictor is None else {"lossless": True, "predictor": predictor, "bitspersample": 12}
    for whole in (picture, np.pad(picture[:32, :28], ((0, 8), (0, 8)), constant_values=128)):
        stream = bytes(imagecodecs.jpeg8_encode(whole, **how))
        cut = stream[: int(len(stream) * kept)] + b"\xff\xd9"
        whole_file, cut_file = (
            file_of(dataset(whole), whole, syntax, PixelData=encapsulate([one + b"\0" * (len(one) % 2)]))
            for one in (stream, cut)
        )
        assert stored(whole_file).shape == whole.shape
        assert reason_of(cut_file) == "truncated_pixels"


def test_a_jpeg_2000_without_some_of_its_tiles_is_cut() -> None:
    """OpenJPEG would leave them black: here the codestream says four tiles and brings one."""
    stream = bytearray(imagecodecs.jpeg2k_encode(TWELVE, codecformat="j2k", reversible=True, bitspersample=12))
    assert fragments.has_all_tiles(bytes(stream))
    struct.pack_into(">II", stream, stream.index(b"\xff\x51") + 22, 7, 5)
    assert not fragments.has_all_tiles(bytes(stream))
    tiled = file_of(dataset(TWELVE), TWELVE, JPEG_2000, PixelData=encapsulate([bytes(stream)]))
    assert reason_of(tiled) == "truncated_pixels"


def test_a_table_of_offsets_that_lies_is_a_fault_though_each_fragment_is_a_frame() -> None:
    """Programs that follow it would show other frames than those that count fragments."""
    two = np.stack([TWELVE, TWELVE[::-1]])
    parts = [bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(one))) for one in two]
    pixels = encapsulate([part + b"\0" * (len(part) % 2) for part in parts], has_bot=True)
    told = dataset(two, NumberOfFrames=2)
    assert len(frames(file_of(told, two, JPEG_LS, PixelData=pixels))) == 2
    for first, second in ((0, 0), (struct.unpack("<I", pixels[12:16])[0], 0), (0, 8)):
        lie = pixels[:8] + struct.pack("<II", first, second) + pixels[16:]
        assert reason_of(file_of(told, two, JPEG_LS, PixelData=lie)) == "frames_mismatch"
