"""Crops: a frame goes to the pixel, lungs are found where there are two, and what is not trusted stays whole."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from medai.preprocessing.pixels.cropping import BorderCrop, Box, LungFieldCrop, box_of

BORDER = BorderCrop(kind="border")
LUNGS = LungFieldCrop(kind="lung_field", margin=0)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Something to look at: grey levels of 60 to 200."""
    return np.random.default_rng(seed).integers(60, 200, (height, width, 1), dtype=np.uint8)


def chest(size: int, seed: int = 0, lungs: int = 2) -> np.ndarray:
    """A light chest in black air with as many dark lungs, 24 to 72 % down and 20 to 80 % across, and noise."""
    down, across = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
    picture = np.where((np.abs(across - 0.5) < 0.42) & (down > 0.08), 170.0, 4.0)
    for middle in (0.33, 0.67)[:lungs]:
        picture[((down - 0.48) / 0.24) ** 2 + ((across - middle) / 0.13) ** 2 < 1] = 60
    picture += np.random.default_rng(seed).normal(0, 12, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("frame", [(7, 0, 3, 0), (5, 6, 7, 8), (0, 0, 0, 9)], ids=str)
def test_a_frame_is_cut_to_the_pixel(level: int, frame: tuple[int, int, int, int]) -> None:
    """Of any width on any side, black or white, though it is a little noisy or bears a marker."""
    top, below, left, beside = frame
    picture = np.pad(noise(60, 50), ((top, below), (left, beside), (0, 0)), constant_values=level)
    dirty = picture.astype(np.int16) + np.random.default_rng(1).integers(-3, 4, picture.shape)
    if top:
        dirty[2, 10] = 128
    box = box_of(np.clip(dirty, 0, 255).astype(np.uint8), BORDER)
    assert box == (top, top + 60, left, left + 50)


def test_colours_are_judged_together() -> None:
    """A frame in colour pictures goes alike."""
    picture = np.pad(np.repeat(noise(30, 30), 3, axis=2), ((4, 4), (4, 4), (0, 0)))
    assert box_of(picture, BORDER) == (4, 34, 4, 34)


@pytest.mark.parametrize("kept", [0, 10])
def test_a_picture_that_is_nearly_all_frame_stays_whole(kept: int) -> None:
    """A blank picture has no frame to cut, and one that would lose most of a side is not trusted."""
    picture = np.full((40, 40, 1), 9, np.uint8)
    picture[:kept, :kept] = noise(kept, kept)
    assert box_of(picture, BORDER) is None
    assert box_of(noise(40, 40), BORDER) == (0, 40, 0, 40)


@pytest.mark.parametrize("size", [28, 64, 256])
def test_the_lung_field_is_the_box_around_both_lungs(size: int) -> None:
    """Within 6 % of the side, whatever the size and however the picture is framed; a margin widens it."""
    wanted = np.array([0.24, 0.72, 0.2, 0.8]) * size
    for seed in range(5):
        picture = chest(size, seed)
        box = box_of(picture, LUNGS)
        assert box is not None
        np.testing.assert_allclose(box, wanted, atol=max(2, 0.06 * size))
        framed = box_of(np.pad(picture, ((size // 4, 0), (0, 0), (0, 0))), LUNGS)
        assert framed is not None
        np.testing.assert_allclose(framed, wanted + np.array([size // 4, size // 4, 0, 0]), atol=max(2, 0.06 * size))
    wider = box_of(chest(size), LungFieldCrop(kind="lung_field", margin=0.5))
    assert wider == Box(0, size, 0, size)


@pytest.mark.parametrize(
    "picture",
    [chest(64, lungs=1), chest(64, lungs=0), np.zeros((40, 40, 1), np.uint8), np.full((40, 40, 1), 255, np.uint8)],
    ids=["one lung", "no lung", "black", "white"],
)
def test_without_two_lungs_there_is_no_field(picture: np.ndarray) -> None:
    """A white-out of one side must not cut the picture down to the other."""
    assert box_of(picture, LUNGS) is None


def test_impossible_crops_are_refused() -> None:
    """In words, before any work."""
    with pytest.raises(ValidationError, match="less than or equal to 64"):
        BorderCrop(kind="border", tolerance=300)
    with pytest.raises(ValidationError, match=r"less than or equal to 0\.5"):
        LungFieldCrop(kind="lung_field", margin=2)
