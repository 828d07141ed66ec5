"""What moves a picture in training moves its mask by the same draw."""

from __future__ import annotations

import numpy as np
import pytest

from medai.models import Augmentation
from medai.training.masks import MaskBatch, in_graph, moved


def pairs(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of 20 × 24 that show their own mask: 200 where it is 1, 2 channels."""
    generator = np.random.default_rng(4)
    masks = np.zeros((count, 20, 24), np.uint8)
    for row in range(count):
        top, left = generator.integers(3, 9, 2)
        masks[row, top : top + 7, left : left + 5] = 1
    return np.repeat((masks * 200)[..., None], 2, axis=-1), masks


@pytest.mark.parametrize(
    "keys",
    [{"flip": "horizontal"}, {"shift": 0.1}, {"rotation": 25}, {"flip": "horizontal", "shift": 0.1, "rotation": 25}],
    ids=["mirrored", "shifted", "turned", "all"],
)
def test_picture_and_mask_stay_together(keys: dict[str, float]) -> None:
    """Wherever the moved mask is well inside, the moved picture shows it; and something did move."""
    pixels, masks = pairs()
    pictures, truths = moved(pixels, masks, Augmentation(**keys), np.random.default_rng(9))
    assert pictures.dtype == truths.dtype == np.uint8
    assert set(np.unique(truths)) <= {0, 1}
    assert np.mean((pictures[..., 0] >= 100) == (truths > 0)) > 0.98
    assert np.array_equal(pictures[..., 0], pictures[..., 1])
    assert not np.array_equal(truths, masks)
    again = moved(pixels, masks, Augmentation(**keys), np.random.default_rng(9))
    assert np.array_equal(again[0], pictures)
    assert np.array_equal(again[1], truths)


def test_a_mirror_is_exact_and_turns_about_half_of_the_pictures() -> None:
    """Each picture is itself or its mirror image, pixel for pixel."""
    pixels, masks = pairs(40)
    pictures, truths = moved(pixels, masks, Augmentation(flip="horizontal"), np.random.default_rng(1))
    turned = [np.array_equal(pictures[row], pixels[row, :, ::-1]) for row in range(40)]
    kept = [np.array_equal(pictures[row], pixels[row]) for row in range(40)]
    assert all(one or other for one, other in zip(turned, kept, strict=True))
    assert 10 <= sum(turned) <= 30
    for row, mirror in enumerate(turned):
        assert np.array_equal(truths[row], masks[row, :, ::-1] if mirror else masks[row])


def test_a_batch_is_made_for_the_loss() -> None:
    """One finding is 0 or 1 in one column, several are one-hot; without a generator nothing moves."""
    pixels, masks = pairs(2)
    augmentation = Augmentation(shift=0.2, contrast=0.1)
    inputs, truth = MaskBatch(1, augmentation).made({"pixels": pixels}, masks, None)
    assert np.array_equal(inputs["pixels"], pixels)
    assert truth.shape == (2, 20, 24, 1)
    assert np.array_equal(truth[..., 0], masks)
    _, several = MaskBatch(3, None).made({"pixels": pixels}, masks * 2, np.random.default_rng(0))
    assert several.shape == (2, 20, 24, 3)
    assert np.array_equal(several.argmax(axis=-1), masks * 2)
    shifted, truth = MaskBatch(1, augmentation).made({"pixels": pixels}, masks, np.random.default_rng(0))
    assert not np.array_equal(shifted["pixels"], pixels)
    assert in_graph(augmentation) == Augmentation(contrast=0.1), "levels change in the graph, where truth has no part"
