"""Losses: each against its formula, and what rows and findings weigh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medai.outputs import Output
from medai.training import Training

pytestmark = pytest.mark.usefixtures("pinned")

CLASSES: dict[str, dict[str, Any]] = {
    "binary": {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"},
    "multiclass": {"kind": "multiclass", "classes": {0: "a", 1: "b", 2: "c"}},
    "multilabel": {"kind": "multilabel", "classes": {"x": "mass", "y": "edema"}},
}
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random((12, 2)).astype(np.float32)
TRUTH = np.array([[1, 0], [0, 0], [0, 1], [0, 0]] * 3, np.int8)


def training(**options: Any) -> Training:
    """A training of these options."""
    return Training.model_validate({"epochs": 1, **options})


@pytest.mark.parametrize("focal", [None, 2.0])
@pytest.mark.parametrize(
    ("class_weights", "present", "absent"),
    [(None, (1, 1), (1, 1)), ("balanced", (2, 2), (2 / 3, 2 / 3)), ({"mass": 5, "edema": 2}, (5, 2), (1, 1))],
    ids=["alike", "balanced", "given"],
)
def test_findings_weigh_by_presence(
    output_of: Callable[..., Output], class_weights: Any, present: Any, absent: Any, focal: float | None
) -> None:
    """The mean over findings of -w (1 - p)^focal log p, p being what is given to the truth; balanced, the quarter with
    a finding weighs as much as the others; and the loss is rebuilt from its configuration."""
    from medai.training.losses import FindingsCrossEntropy, loss_of

    loss = loss_of(training(class_weights=class_weights, focal=focal), output_of(**CLASSES["multilabel"]), TRUTH)
    given = np.where(TRUTH == 1, SCORES, 1 - SCORES).astype(np.float64)
    weights = np.where(TRUTH == 1, present, absent)
    wanted = -(weights * (1 - given) ** (focal or 0) * np.log(given)).mean()
    assert float(loss(TRUTH.astype(np.float32), SCORES)) == pytest.approx(wanted, rel=1e-4)
    if isinstance(loss, FindingsCrossEntropy):
        again = FindingsCrossEntropy.from_config(loss.get_config())
        assert float(again(TRUTH.astype(np.float32), SCORES)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_focal_loss_lessens_what_is_answered_well(output_of: Callable[..., Output], kind: str) -> None:
    """-(1 - p)^2 log p, all classes alike; without it plain cross-entropy."""
    from medai.training.losses import loss_of

    output = output_of(**CLASSES[kind])
    if kind == "binary":
        goal, scores = TRUTH[:, :1].astype(np.float32), SCORES[:, :1]
        given = np.where(goal == 1, scores, 1 - scores)[:, 0].astype(np.float64)
    else:
        goal = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
        scores = RANDOM.dirichlet(np.ones(3), 12).astype(np.float32)
        given = (goal * scores).sum(axis=1).astype(np.float64)
    for focal, factor in ((None, np.ones(12)), (2.0, (1 - given) ** 2)):
        loss = loss_of(training(focal=focal), output, TRUTH[:, 0])
        assert float(loss(goal, scores)) == pytest.approx(-(factor * np.log(given)).mean(), rel=1e-4)


def test_smoothing_draws_the_truth_in(output_of: Callable[..., Output]) -> None:
    """As Keras' own binary cross-entropy does, with weights of one."""
    import keras

    from medai.training.losses import loss_of

    ours = loss_of(
        training(class_weights={"mass": 1, "edema": 1}, label_smoothing=0.2), output_of(**CLASSES["multilabel"]), TRUTH
    )
    theirs = keras.losses.BinaryCrossentropy(label_smoothing=0.2)
    goal = TRUTH.astype(np.float32)
    assert float(ours(goal, SCORES)) == pytest.approx(float(theirs(goal, SCORES)), rel=1e-5)


def test_rows_weigh_by_their_class(output_of: Callable[..., Output]) -> None:
    """Balanced: samples / (classes × samples of the class), counted on train alone, given to every row; or as the
    Problem says, in the order of the classes; findings are not weighed by rows."""
    from medai.training.losses import sample_weights

    binary, three, findings = (output_of(**CLASSES[kind]) for kind in ("binary", "multiclass", "multilabel"))
    balanced = training(class_weights="balanced")
    truth = np.array([0, 0, 0, 1, 1, 1, 1])
    weights = sample_weights(balanced, binary, truth, np.array([0, 1, 2, 3]))
    assert weights is not None
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [4 / 6] * 3 + [2] * 4, rtol=1e-6)
    several = sample_weights(balanced, three, np.array([0, 1, 2, 2]), np.arange(4))
    assert several is not None
    np.testing.assert_allclose(several, [4 / 3, 4 / 3, 4 / 6, 4 / 6], rtol=1e-6)
    said = sample_weights(training(class_weights={"ill": 7, "well": 0.5}), binary, truth, np.arange(7))
    assert said is not None
    assert said.tolist() == [0.5] * 3 + [7] * 4
    assert sample_weights(training(), binary, truth, np.arange(7)) is None
    assert sample_weights(balanced, findings, TRUTH, np.arange(12)) is None
