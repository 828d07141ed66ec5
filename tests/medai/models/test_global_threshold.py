"""The one grey level that a U-Net must beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medai.errors import MedaiError
from medai.inference import Scorer
from medai.models.global_threshold import GlobalThreshold
from medai.outputs import Mask
from medai.records import sha256_of_file

LESION = Mask(kind="mask", classes={0: "background", 1: "lesion"})


def pictures(middle: int, around: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Twelve noisy pictures of 24 × 20 with a disc of one level on another, and their masks."""
    generator = np.random.default_rng(2)
    down, across = np.mgrid[:24, :20]
    masks = np.stack([((down - 12) ** 2 + (across - place) ** 2 <= 30) for place in range(4, 16)]).astype(np.uint8)
    levels = np.where(masks > 0, middle, around)[..., None] + generator.normal(0, 15, (12, 24, 20, channels))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8), masks


@pytest.mark.parametrize(("middle", "around"), [(150, 110), (90, 130)], ids=["bright", "dark"])
@pytest.mark.parametrize("channels", [1, 3])
def test_finds_the_level_between_disc_and_ground_and_scores_alike_in_onnx(
    middle: int, around: int, channels: int, tmp_path: Path
) -> None:
    """It lies between the two, after some smoothing; half marks it; equal fits give equal files."""
    pixels, masks = pictures(middle, around, channels)
    fitted = GlobalThreshold().fit({"pixels": pixels}, masks, LESION, 0, 1)
    assert min(middle, around) < fitted.level < max(middle, around)
    assert fitted.dark == (middle < around)
    assert fitted.smoothing > 0
    scores = fitted.scores({"pixels": pixels})
    assert scores.shape == (12, 24, 20, 1)
    marked = scores[..., 0] >= 0.5
    dice = 2 * (marked & (masks > 0)).sum() / (marked.sum() + masks.sum())
    assert dice > 0.85
    path = tmp_path / "model.onnx"
    fitted.export(path)
    served = Scorer(path, sha256_of_file(path)).score({"pixels": pixels})
    assert np.abs(served - scores).max() < 1e-5
    again = GlobalThreshold().fit({"pixels": pixels}, masks, LESION, 1, 2)
    assert again.onnx_bytes() == path.read_bytes()


def test_without_smoothing_the_level_is_exact() -> None:
    """Two levels without noise: any border between them is perfect, and the lowest one is taken."""
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[:, 2:5, 2:5] = 1
    pixels = np.where(masks > 0, 200, 50).astype(np.uint8)[..., None]
    fitted = GlobalThreshold(smoothing=(0.0,)).fit({"pixels": pixels}, masks, LESION, 0, 1)
    assert (fitted.level, fitted.smoothing, fitted.dark) == (50.5, 0.0, False)
    assert np.array_equal(fitted.scores({"pixels": pixels})[..., 0] >= 0.5, masks > 0)


def test_marks_one_finding_alone() -> None:
    """Of several classes no level can tell; the Problem is refused before, so this is a defect."""
    two = Mask(kind="mask", classes={0: "background", 1: "core", 2: "rim"})
    with pytest.raises(MedaiError, match="one grey level marks one finding"):
        GlobalThreshold().fit({"pixels": np.zeros((1, 4, 4, 1), np.uint8)}, np.zeros((1, 4, 4)), two, 0, 1)
