"""Augmentation: each change within its limits, the same for the same seed, and a mask moved with its picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from medai.models import Augmentation

EVERYTHING: dict[str, Any] = {
    "shift": 0.2,
    "rotation": 20,
    "zoom": 0.2,
    "flip": "horizontal",
    "contrast": 0.3,
    "brightness": 0.3,
    "noise": 0.1,
}


def augment(**options: Any) -> Any:
    """The layer."""
    from medai.models.augmenting import Augment

    return Augment(**{"seed": 1, **options}, name="augment")


def ramp(pictures: int = 200) -> np.ndarray:
    """Pictures 10 × 10 whose level is the column's number."""
    return np.tile(np.arange(10, dtype=np.float32)[None, None, :, None], (pictures, 10, 1, 1))


def test_augmentation_changes_training_pictures_only() -> None:
    """Inference sees the picture itself; in training each picture is changed on its own, and draws repeat by seed."""
    picture = np.tile(np.random.default_rng(0).standard_normal((1, 16, 16, 1)).astype(np.float32), (3, 1, 1, 1))
    one = augment(**EVERYTHING, seed=5)
    np.testing.assert_array_equal(one(picture, training=False), picture)
    first, second = one(picture, training=True).numpy(), one(picture, training=True).numpy()
    assert first.shape == picture.shape
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(augment(**EVERYTHING, seed=5)(picture, training=True).numpy(), first)
    assert not np.array_equal(augment(**EVERYTHING, seed=6)(picture, training=True).numpy(), first)


def test_augmentation_moves_within_its_limits() -> None:
    """A flip mirrors about half of the pictures exactly; a shift moves by at most its share; a zoom changes distances
    by at most its share, about the centre."""
    pictures = ramp()
    flipped = augment(flip="horizontal")(pictures, training=True).numpy()
    mirrored = np.array([np.allclose(picture, pictures[0, :, ::-1], atol=1e-4) for picture in flipped])
    kept = np.array([np.allclose(picture, pictures[0], atol=1e-4) for picture in flipped])
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130
    shifted = augment(shift=0.2)(pictures, training=True).numpy()
    moved = np.abs(shifted[:, 5, 5, 0] - 5)
    assert 1.5 < moved.max() <= 2.0 + 1e-4
    zoomed = augment(zoom=0.25)(pictures, training=True).numpy()
    slopes = zoomed[:, 5, 5, 0] - zoomed[:, 5, 4, 0]
    np.testing.assert_allclose(zoomed[:, 5, 4:6, 0].mean(axis=1), 4.5, atol=1e-4)
    assert 0.8 - 1e-4 <= slopes.min() < 0.85
    assert 1.28 < slopes.max() <= 1 / 0.75 + 1e-4


def test_augmentation_relights_within_its_limits() -> None:
    """Contrast keeps each picture's mean; brightness moves the level by at most its deviations of the training pixels;
    noise is normal, and no picture has more of it than was allowed."""
    pictures = ramp()
    contrasted = augment(contrast=0.5)(pictures, training=True).numpy()
    np.testing.assert_allclose(contrasted.mean(axis=(1, 2, 3)), 4.5, atol=1e-4)
    gains = contrasted.std(axis=(1, 2, 3)) / pictures[0].std()
    assert 0.5 - 1e-4 <= gains.min() < 0.6
    assert 1.4 < gains.max() <= 1.5 + 1e-4
    brightened = augment(brightness=0.3, spread=2.0)(pictures, training=True).numpy() - pictures
    assert 0.5 < np.abs(brightened).max() <= 0.6 + 1e-4
    assert brightened.std(axis=(1, 2, 3)).max() < 1e-4
    noise = augment(noise=0.5, spread=2.0)(np.zeros((200, 32, 32, 1), np.float32), training=True).numpy()
    spreads = noise.std(axis=(1, 2, 3))
    assert spreads.min() < 0.05
    assert 0.9 < spreads.max() < 1.1
    assert np.abs(noise.mean(axis=(1, 2, 3))).max() < 0.15


def test_augmentation_turns_about_the_centre() -> None:
    """A turn keeps the distance to the centre: a bright point in the middle of an odd-sided picture stays there."""
    point = np.zeros((50, 9, 9, 1), dtype=np.float32)
    point[:, 4, 4] = 1
    turned = augment(rotation=90)(point, training=True).numpy()
    np.testing.assert_allclose(turned[:, 4, 4, 0], 1, atol=1e-4)


def test_what_comes_in_from_outside_is_said() -> None:
    """The edge again, or zero."""
    level = np.full((50, 8, 8, 1), 3, np.float32)
    assert augment(shift=0.5)(level, training=True).numpy().min() == 3
    filled = augment(shift=0.5, fill="constant")(level, training=True).numpy()
    assert filled.min() == 0
    assert filled.max() == 3


@pytest.mark.parametrize("depth", [(), (5,)], ids=["pictures", "volumes"])
def test_a_mask_is_moved_with_its_picture(depth: tuple[int, ...]) -> None:
    """By one draw: a disc and its mask still cover each other, the mask's values are those it had, and light and noise
    leave it alone. Slices of a volume move alike."""
    down, across = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    disc = ((down - 10) ** 2 + (across - 20) ** 2 < 36).astype(np.uint8)
    masks = np.broadcast_to(disc[..., None] * np.uint8(3), (40, *depth, 32, 32, 1)).copy()
    pictures = masks.astype(np.float32) / 3
    layer = augment(**dict(EVERYTHING, noise=0.0, contrast=0.0, brightness=0.0))
    moved, moved_masks = (np.asarray(values) for values in layer.together(pictures, masks))
    assert moved_masks.dtype == np.uint8
    assert set(np.unique(moved_masks)) == {0, 3}
    both = ((moved > 0.5) & (moved_masks == 3)).sum()
    assert both / ((moved > 0.5) | (moved_masks == 3)).sum() > 0.97
    assert len({mask.tobytes() for mask in moved_masks}) > 30
    if depth:
        assert all((mask == mask[:1]).all() for mask in moved_masks)
    np.testing.assert_array_equal(augment(**EVERYTHING).together(pictures, masks)[1], moved_masks)
    for kept, given in zip(layer.together(pictures, masks, training=False), (pictures, masks), strict=True):
        np.testing.assert_array_equal(kept, given)


def test_a_flip_names_its_axis() -> None:
    """A chest has a left and a right: nothing is mirrored unless the Problem says along which axis."""
    assert Augmentation().flip is None
    with pytest.raises(ValidationError, match="Input should be 'horizontal'"):
        Augmentation.model_validate({"flip": True})
    with pytest.raises(ValidationError, match="less than or equal to 0.5"):  # noqa: RUF043
        Augmentation(zoom=1)
