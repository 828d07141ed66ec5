"""Resampling: millimetres stay millimetres, whatever the slices' spacing was."""

from __future__ import annotations

import numpy as np
import pytest

from medai.preprocessing.volume.resampling import Stack, resampled


def scene(spacing: tuple[float, float, float], extent: float = 30.0) -> Stack:
    """A ball of 8 mm around (2, -3, 4) mm from the middle, seen at this spacing over ± extent mm."""
    axes = [np.arange(-extent, extent + 1e-9, step) for step in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    levels = 200 * np.clip(9 - np.sqrt((z - 2) ** 2 + (y + 3) ** 2 + (x - 4) ** 2), 0, 1)
    return Stack(np.rint(levels).astype(np.uint8), 100 + axes[0], spacing[1], spacing[2])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 0.5), (2.5, 1.5, 0.75), (0.5, 2.0, 2.0)], ids=str)
def test_a_ball_keeps_its_place_and_volume(spacing: tuple[float, float, float]) -> None:
    """Its middle within 0.3 mm and its volume within 6 % of what it is, from slices thick or thin."""
    volume, cut = resampled(scene(spacing), (61, 61, 61), (1.0, 1.0, 1.0))
    assert not cut
    assert volume.dtype == np.uint8
    z, y, x = np.meshgrid(*[np.arange(-30, 31)] * 3, indexing="ij")
    weight = volume / 200
    centre = [float((weight * axis).sum() / weight.sum()) for axis in (z, y, x)]
    np.testing.assert_allclose(centre, (2, -3, 4), atol=0.3)
    assert weight.sum() == pytest.approx(4 / 3 * np.pi * 8.5**3, rel=0.06)


def test_the_same_spacing_and_size_leave_a_stack_as_it_is() -> None:
    """To the level; and a second time to the byte."""
    stack = scene((2.0, 1.0, 1.0), 10)
    volume, cut = resampled(stack, stack.levels.shape, (2.0, 1.0, 1.0))  # type: ignore[arg-type]  # three sides
    np.testing.assert_array_equal(volume, stack.levels)
    assert not cut
    again, _ = resampled(stack, (7, 9, 11), (3.0, 2.0, 2.0))
    np.testing.assert_array_equal(again, resampled(stack, (7, 9, 11), (3.0, 2.0, 2.0))[0])


def test_what_is_outside_is_black_and_what_is_cut_off_is_told() -> None:
    """A volume larger than the stack is filled up; a smaller one shows the middle."""
    stack = Stack(np.full((10, 10, 10), 90, np.uint8), np.arange(10.0), 1.0, 1.0)
    larger, cut = resampled(stack, (20, 20, 20), (1.0, 1.0, 1.0))
    assert not cut
    assert larger[0].max() == larger[:, :, -1].max() == 0
    assert larger[6:14, 6:14, 6:14].min() == 90
    smaller, cut = resampled(stack, (4, 10, 10), (1.0, 1.0, 1.0))
    assert cut
    assert smaller.min() == 90


def test_what_lies_between_two_voxels_is_not_lost() -> None:
    """A single bright slice among dark ones, at a third of the slices: wherever it lies, the sum over the volume
    stays."""
    levels = np.zeros((31, 6, 6), np.uint8)
    for place in (14, 15, 16):
        stack = Stack(levels.copy(), np.arange(31.0), 1.0, 1.0)
        stack.levels[place] = 240
        volume, _ = resampled(stack, (11, 6, 6), (3.0, 1.0, 1.0))
        assert int(volume[:, 3, 3].sum()) == pytest.approx(80, rel=0.15)
