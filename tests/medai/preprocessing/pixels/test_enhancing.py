"""Noise, contrast and size: what each operation does to known pictures, whatever the threads."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from medai.preprocessing.pixels import enhancing
from medai.preprocessing.pixels.enhancing import CLAHE, Median, NonLocalMeans, contrasted, denoised, resized

Work = Callable[[np.ndarray], np.ndarray]
OPERATIONS: dict[str, Work] = {
    "median": lambda picture: denoised(picture, Median(kind="median")),
    "non_local_means": lambda picture: denoised(picture, NonLocalMeans(kind="non_local_means", search=7)),
    "clahe": lambda picture: contrasted(picture, CLAHE(kind="clahe")),
    "smaller": lambda picture: resized(picture, (37, 29)),
    "larger": lambda picture: resized(picture, (90, 61)),
}


def scene(channels: int, noise: float = 0.0, shape: tuple[int, int] = (60, 50)) -> np.ndarray:
    """A bright disc on a dark slope, of these channels."""
    down, across = np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij")
    grey = 90 + 30 * down + 60 * (down**2 + across**2 < 0.4)
    picture = np.stack([grey * (1 - 0.1 * channel) for channel in range(channels)], axis=-1)
    return np.clip(picture + np.random.default_rng(0).normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_keep_type_and_channels_on_any_machine(operation: str, channels: int) -> None:
    """Grey or colour, uint8 stays; the bytes are the same with one thread and without vector instructions, and the
    picture that was given stays as it was."""
    picture = scene(channels, noise=9)
    before, threads = picture.copy(), cv2.getNumThreads()
    found = OPERATIONS[operation](picture)
    try:
        cv2.setNumThreads(1)
        cv2.setUseOptimized(False)
        again = OPERATIONS[operation](picture)
    finally:
        cv2.setNumThreads(threads)
        cv2.setUseOptimized(True)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(picture, before)
    assert found.dtype == np.uint8
    sizes = {"smaller": (37, 29), "larger": (90, 61)}
    assert found.shape == (*sizes.get(operation, (60, 50)), channels)
    assert not np.array_equal(found[:37, :29], picture[:37, :29])


def test_a_median_takes_stray_pixels_away_and_leaves_edges() -> None:
    """Salt on a step: exactly the step comes back."""
    step = np.repeat(np.array([40, 200], np.uint8), 20)[None, :, None] * np.ones((30, 1, 1), np.uint8)
    salted = step.copy()
    salted[4::7, 3::9] = 255
    np.testing.assert_array_equal(denoised(salted, Median(kind="median")), step)


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_halves_the_noise(channels: int) -> None:
    """Nearer to the scene without noise than half of what it was, and nearer than without looking."""
    noisy, clean = scene(channels, noise=12), scene(channels).astype(np.float64)
    better = denoised(noisy, NonLocalMeans(kind="non_local_means", strength=14))
    assert np.abs(better - clean).mean() < 0.5 * np.abs(noisy - clean).mean()


def test_contrast_is_evened_out_within_its_limit() -> None:
    """A faint pattern in the dark becomes plainer, the more the higher the limit; colours keep their hue."""
    faint = np.clip(scene(1, noise=9, shape=(240, 200)).astype(np.int16) // 4 + 20, 0, 255).astype(np.uint8)
    spreads = [contrasted(faint, CLAHE(kind="clahe", clip_limit=limit, tiles=4)).std() for limit in (1, 2, 8)]
    assert faint.std() <= spreads[0] < spreads[1] < spreads[2]
    colour = scene(3)
    evened = contrasted(colour, CLAHE(kind="clahe")).astype(np.float64)
    ratio = evened[..., 2] / evened[..., 0]
    np.testing.assert_allclose(ratio, colour[..., 2] / colour[..., 0].astype(np.float64), atol=0.08)


def test_a_smaller_picture_is_the_mean_of_its_area() -> None:
    """Cells of whole pixels give their mean to the level; a part-covered pixel weighs by its part; one of the same
    size is left alone."""
    picture = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    means = picture.reshape(10, 4, 20, 3, 3).mean(axis=(1, 3))
    assert np.abs(resized(picture, (10, 20)) - means).max() <= 0.5
    row = np.array([[[0], [90], [240]]], np.uint8)
    assert resized(np.repeat(row, 2, axis=0), (2, 2))[0, :, 0].tolist() == [30, 190]
    assert resized(picture, (40, 60)) is picture


def test_impossible_operations_are_refused() -> None:
    """A neighbourhood without a middle, and limits that mean nothing."""
    with pytest.raises(ValidationError, match="use an odd size"):
        enhancing.Median(kind="median", size=4)
    with pytest.raises(ValidationError, match="use an odd size"):
        NonLocalMeans(kind="non_local_means", search=8)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        CLAHE(kind="clahe", clip_limit=0)
