"""The U-Net and its loss: shapes, equal builds, the same scores from its ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.inference import Scorer
from medai.models import Augmentation, Head, UNet
from medai.records import sha256_of_file

pytestmark = pytest.mark.usefixtures("pinned")

STATISTICS: dict[str, Any] = {"pixels": {"mean": [100.0], "deviation": [40.0]}}


def build(columns: int, **keys: Any) -> Any:
    """A small net for pictures of 16 × 24."""
    net = UNet.model_validate({"kind": "unet", "filters": [4, 8, 12], **keys})
    augmentation = Augmentation(contrast=0.1)
    return net.build({"pixels": (16, 24, 1)}, STATISTICS, Head(kind="mask", columns=columns), augmentation, 7)


@pytest.mark.parametrize(
    ("columns", "keys"),
    [(1, {"dropout": 0.2}), (3, {"normalisation": "group", "residual": False})],
    ids=["one finding, residual, batch", "two findings, plain, group"],
)
def test_a_probability_of_each_class_at_each_pixel_in_keras_and_in_onnx(
    columns: int, keys: dict[str, Any], tmp_path: Path
) -> None:
    """Equal seeds give equal nets and files; the file scores any number of pictures as the net does."""
    from medai.models.exchange import onnx_bytes

    model, again = build(columns, **keys), build(columns, **keys)
    for one, other in zip(model.weights, again.weights, strict=True):
        assert np.array_equal(one, other)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 1), np.uint8)
    scores = np.asarray(model({"pixels": pixels}, training=False))
    assert scores.shape == (3, 16, 24, columns)
    assert ((scores >= 0) & (scores <= 1)).all()
    if columns > 1:
        assert scores.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes(model))
    assert onnx_bytes(again) == path.read_bytes()
    scorer = Scorer(path, sha256_of_file(path))
    assert scorer.columns == columns
    assert np.abs(scorer.score({"pixels": pixels}) - scores).max() < 1e-5
    parts = [(start, len(block)) for start, block in scorer.batches({"pixels": pixels}, 2)]
    assert parts == [(0, 2), (2, 1)]


def test_what_height_and_width_must_divide_by() -> None:
    """Each level but the first halves them."""
    assert UNet(kind="unet", filters=(4, 8)).step == 2
    assert UNet(kind="unet", filters=(4, 8, 8, 8)).step == 8


def test_the_loss_is_dice_and_cross_entropy_by_hand() -> None:
    """One finding: two sums over all pixels; several: the background counts in the cross-entropy alone."""
    from medai.models.losses import DiceCrossEntropy, soft_dice

    truth = np.array([[[[1.0], [0.0]]], [[[0.0], [0.0]]]], np.float32)
    scores = np.array([[[[0.8], [0.4]]], [[[0.1], [0.3]]]], np.float32)
    dice = (2 * 0.8 + 1) / (1 + 1.6 + 1)
    entropy = -np.mean(np.log([0.8, 0.6, 0.9, 0.7]))
    assert float(soft_dice(truth, scores)) == pytest.approx(dice, abs=1e-6)
    assert float(DiceCrossEntropy(1)(truth, scores)) == pytest.approx(1 - dice + entropy, abs=1e-5)
    nothing = np.zeros_like(truth)
    assert float(soft_dice(nothing, nothing)) == 1.0
    several = np.array([[[[0.2, 0.5, 0.3]]]], np.float32)
    core = np.array([[[[0.0, 1.0, 0.0]]]], np.float32)
    mean = ((2 * 0.5 + 1) / (1 + 0.5 + 1) + 1 / (0.3 + 1)) / 2
    assert float(soft_dice(core, several)) == pytest.approx(mean, abs=1e-6)
    assert float(DiceCrossEntropy(3)(core, several)) == pytest.approx(1 - mean - np.log(0.5), abs=1e-5)
