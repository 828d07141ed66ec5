"""What a viewer shows: each formula of PS3.3 C.11 on numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medai.sources.dicom.decoding import Target, decode
from medai.sources.dicom.rendering import Window
from medai.sources.synthetic.dicom_files import file_of
from tests.medai.sources.dicom.making import LITTLE, dataset, fault_of, grey, made

STEPS = np.array([[0, 1, 2, 3], [4, 5, 6, 4095]], np.uint16)
STEPS_SIZE = Target(2, 4, 1, False, "header", "each")


def shown(values: np.ndarray = STEPS, windowing: Any = "header", **told: Any) -> list[int]:
    """The levels of a file of these values, at their own size."""
    target = Target(*values.shape[-2:], 1, False, windowing, "each")
    return grey(made(values, **told), target).reshape(-1).tolist()


def lut(first: int, values: list[int], bits: int) -> Sequence:
    """A sequence of one table."""
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.add_new(0x00283006, "OW", np.array(values, "<u2").tobytes())
    return Sequence([item])


def test_windows_follow_their_formulas() -> None:
    """LINEAR has its half steps, LINEAR_EXACT none, SIGMOID a soft shoulder; a value on an edge belongs below."""
    told = {"WindowCenter": 3, "WindowWidth": 4}
    expected = [0, 0] + [math.floor(255 * ((x - 2.5) / 3 + 0.5) + 0.5) for x in (2, 3)] + [255] * 4
    assert shown(**told) == expected
    exact = [min(255, max(0, math.floor(255 * ((x - 3) / 4 + 0.5) + 0.5))) for x in (0, 1, 2, 3, 4, 5, 6, 4095)]
    assert shown(**told, VOILUTFunction="LINEAR_EXACT") == exact
    soft = [math.floor(255 / (1 + math.exp(-4 * (x - 3) / 4)) + 0.5) for x in (0, 1, 2, 3, 4, 5, 6)]
    assert shown(**told, VOILUTFunction="SIGMOID") == [*soft, 255]
    assert shown(WindowCenter=3, WindowWidth=1) == [0, 0, 0, 255, 255, 255, 255, 255]
    assert shown(WindowCenter=[3, 400], WindowWidth=[4, 9]) == expected  # the first of several


def test_modality_values_are_what_windows_speak_of() -> None:
    """Rescale, and a table in its place whose ends hold for what lies beyond it."""
    rescaled = shown(RescaleSlope=2, RescaleIntercept=-4, WindowCenter=0, WindowWidth=8, VOILUTFunction="LINEAR_EXACT")
    assert rescaled == [0, 64, 128, 191, 255, 255, 255, 255]
    table = shown(ModalityLUTSequence=lut(2, [10, 20, 30], 16), WindowCenter=20.5, WindowWidth=21)
    assert table == [0, 0, 0, 128, 255, 255, 255, 255]


def test_a_table_of_levels_goes_before_a_window() -> None:
    """A VOI LUT of ten bits, of eight, and of bytes packed two in a word; a damaged one is a fault."""
    told = {"WindowCenter": 3, "WindowWidth": 4}
    assert shown(VOILUTSequence=lut(1, [0, 1023, 512], 10), **told) == [0, 0, 255, 128, 128, 128, 128, 128]
    packed = Dataset()
    packed.LUTDescriptor = [4, 0, 8]
    packed.add_new(0x00283006, "OW", bytes((0, 100, 200, 255)))
    assert shown(VOILUTSequence=Sequence([packed])) == [0, 100, 200, 255, 255, 255, 255, 255]
    for broken in (lut(0, [0, 300], 8), lut(0, [0, 1], 20)):
        assert fault_of(made(STEPS, VOILUTSequence=broken), STEPS_SIZE) == "damaged_header"


def test_dense_is_white_whatever_the_file_says() -> None:
    """MONOCHROME1 and a presentation shape INVERSE are turned round; IDENTITY says that they need not be."""
    told = {"WindowCenter": 3, "WindowWidth": 4}
    plain = shown(**told)
    turned = [255 - level for level in plain]
    assert np.abs(np.subtract(shown(PhotometricInterpretation="MONOCHROME1", **told), turned)).max() <= 1
    assert np.abs(np.subtract(shown(PresentationLUTShape="INVERSE", **told), turned)).max() <= 1
    shape = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}
    assert shown(**shape, **told) == plain


def test_without_a_window_the_values_range_or_percentiles_stand_for_it() -> None:
    """Padding is no part of the picture; eight plain bits are levels already; the Problem may state a window."""
    assert shown() == [0, 0, 0, 0, 0, 0, 0, 255]
    assert shown(PixelPaddingValue=4095) == [0, 43, 85, 128, 170, 212, 255, 255]
    assert shown(PixelPaddingValue=5, PixelPaddingRangeLimit=4095) == [0, 64, 128, 191, 255, 255, 255, 255]
    eight = np.array([[10, 20], [30, 200]], np.uint8)
    assert shown(eight) == [10, 20, 30, 200]
    assert shown(eight, RescaleSlope=1, RescaleIntercept=5) == [0, 13, 27, 255]
    assert shown(eight, "range") == [0, 13, 27, 255]
    assert shown(STEPS, Window(3, 4), WindowCenter=9, WindowWidth=2) == shown(WindowCenter=3, WindowWidth=4)
    many = np.full((100, 100), 500, np.uint16)
    many[0, :40], many[0, 40:80], many[0, 80] = 0, 4000, 1000
    assert shown(many, "percentiles")[80:82] == [255, 128]  # 0.4 % of outliers on each side leave one value
    assert shown(np.full((2, 2), 7, np.uint16)) == [128] * 4


def test_how_levels_came_about_is_told() -> None:
    """A window that no formula can follow is none, and said to be unusable."""
    for told, voi in (
        ({}, "range"),
        ({"WindowCenter": 3, "WindowWidth": 4}, "window"),
        ({"WindowCenter": 3, "WindowWidth": 0}, "unusable"),
        ({"WindowCenter": 3, "WindowWidth": 4, "VOILUTFunction": "CUBIC"}, "unusable"),
        ({"VOILUTSequence": lut(0, [0, 1], 8)}, "lut"),
    ):
        (picture,) = decode(made(STEPS, **told), STEPS_SIZE).pictures
        assert picture.voi == voi
    assert shown(WindowCenter=3, WindowWidth=0) == shown()
    assert fault_of(made(STEPS, RescaleSlope=0, RescaleIntercept=1), STEPS_SIZE) == "damaged_header"


def test_frames_of_an_enhanced_file_have_their_own_windows() -> None:
    """Per-frame groups stand before shared ones, and those before the top of the file (PS3.3 C.7.6.16)."""

    def voi(centre: float) -> Dataset:
        window, groups = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = centre, 2, "LINEAR_EXACT"
        groups.FrameVOILUTSequence = Sequence([window])
        return groups

    shared, rescale = voi(1), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, 1
    shared.PixelValueTransformationSequence = Sequence([rescale])
    frames = np.array([[[0, 1, 2, 3]], [[0, 1, 2, 3]]], np.uint16)
    told = dataset(frames, NumberOfFrames=2, SharedFunctionalGroupsSequence=Sequence([shared]))
    target = Target(1, 4, 1, False, "header", "each")

    def levels(target: Target) -> list[list[int]]:
        pictures = decode(file_of(told, frames, LITTLE), target).pictures
        return [picture.decoded.pixels.reshape(-1).tolist() for picture in pictures]  # type: ignore[union-attr]

    assert levels(target) == [[128, 255, 255, 255]] * 2
    told.PerFrameFunctionalGroupsSequence = Sequence([voi(2), voi(3)])
    assert levels(target) == [[0, 128, 255, 255], [0, 0, 128, 255]]
    assert levels(target._replace(frames="middle")) == [[0, 0, 128, 255]]
    assert levels(target._replace(frames="first")) == [[0, 128, 255, 255]]


def test_palettes_give_their_colours() -> None:
    """Sixteen bits keep their high ones; segments are told out; indices below the first take the first."""
    values = np.array([[0, 1], [2, 3]], np.uint8)
    told = dataset(values, PhotometricInterpretation="PALETTE COLOR")
    for colour, entries in (("Red", [0, 65535, 0]), ("Green", [0, 32768, 65535]), ("Blue", [256, 0, 0])):
        setattr(told, f"{colour}PaletteColorLookupTableDescriptor", [3, 1, 16])
        setattr(told, f"{colour}PaletteColorLookupTableData", np.array(entries, "<u2").tobytes())
    target = Target(2, 2, 3, False, "header", "each")
    (picture,) = decode(file_of(told, values, LITTLE), target).pictures
    assert picture.decoded.pixels is not None
    assert picture.decoded.pixels.reshape(-1, 3).tolist() == [[0, 0, 1], [0, 0, 1], [255, 128, 0], [0, 255, 0]]
    del told.RedPaletteColorLookupTableData
    told.SegmentedRedPaletteColorLookupTableData = np.array([0, 1, 0, 1, 2, 65535], "<u2").tobytes()
    (picture,) = decode(file_of(told, values, LITTLE), target).pictures
    assert picture.decoded.pixels is not None
    assert picture.decoded.pixels[..., 0].reshape(-1).tolist() == [0, 0, 128, 255]
    del told.GreenPaletteColorLookupTableDescriptor
    assert fault_of(file_of(told, values, LITTLE), target) == "damaged_header"


def test_colours_become_luma_and_ybr_becomes_rgb() -> None:
    """BT.601's weights; more than eight bits keep their high ones; grey becomes three equal channels."""
    red = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    target = Target(1, 2, 1, False, "header", "each")
    assert grey(made(red), target).tolist() == [[76, 150]]
    wide = red.astype(np.uint16) << 8
    assert grey(made(wide, BitsStored=16, HighBit=15), target).tolist() == [[76, 150]]
    ybr = np.array([[[76, 85, 255], [150, 44, 21]]], np.uint8)
    (picture,) = decode(made(ybr, PhotometricInterpretation="YBR_FULL"), target._replace(channels=3)).pictures
    assert picture.decoded.pixels is not None
    assert np.abs(picture.decoded.pixels.astype(int) - red).max() <= 2
    (picture,) = decode(made(STEPS), STEPS_SIZE._replace(channels=3)).pictures
    assert picture.decoded.pixels is not None
    assert (picture.decoded.pixels == picture.decoded.pixels[..., :1]).all()


def test_padding_keeps_the_aspect_ratio() -> None:
    """In the middle of black; grey levels are of the picture alone."""
    tall = np.full((8, 4), 200, np.uint8)
    (picture,) = decode(made(tall), Target(8, 8, 1, True, "header", "each")).pictures
    assert picture.decoded.pixels is not None
    assert picture.decoded.pixels[:, 2:6, 0].tolist() == tall.tolist()
    assert not picture.decoded.pixels[:, :2].any()
    assert picture.decoded.levels == (200, 0, 200, 200)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 900}])
def test_the_way_of_looking_up_leaves_no_trace(window: dict[str, int]) -> None:
    """Sixteen bits through a table, thirty-two bits one by one."""
    values = np.random.default_rng(5).integers(0, 4096, (7, 9))
    narrow, wide = shown(values.astype(np.uint16), **window), shown(values.astype(np.uint32), **window)
    signed = shown((values - 2048).astype(np.int16), **(window | {"RescaleSlope": 1, "RescaleIntercept": 2048}))
    assert narrow == wide == signed
