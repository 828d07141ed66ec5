"""Intensity, spread, entropy and sharpness of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from medai.monitoring.pictures import MEASURES, measured


def test_pictures_that_are_known() -> None:
    """A flat one has neither spread, entropy nor edges; half black and half white has one bit, and one sharp edge."""
    flat = np.full((16, 16, 1), 51, np.uint8)
    halves = np.zeros((16, 16, 1), np.uint8)
    halves[:, 8:] = 255
    found = measured(np.stack([flat, halves]))
    assert found.shape == (2, len(MEASURES))
    assert found[0].tolist() == pytest.approx([0.2, 0, 0, 0])
    assert found[1].tolist() == pytest.approx([0.5, 0.5, 1, 2 / 16])


def test_a_blurred_picture_is_less_sharp() -> None:
    """And as light as it was."""
    from scipy.ndimage import uniform_filter

    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1)).astype(np.uint8)
    blurred = uniform_filter(noise, (1, 3, 3, 1))
    sharp, soft = measured(noise)[0], measured(blurred)[0]
    assert soft[3] < sharp[3] / 5
    assert soft[0] == pytest.approx(sharp[0], abs=0.01)


def test_volumes_and_nothing() -> None:
    """A volume is measured as a whole, slice by slice where edges are asked for; no picture is no row."""
    volume = np.zeros((1, 4, 8, 8, 1), np.uint8)
    volume[0, ::2] = 255
    assert measured(volume)[0].tolist() == pytest.approx([0.5, 0.5, 1, 0])
    assert measured(np.empty((0, 8, 8, 1), np.uint8)).shape == (0, len(MEASURES))
