"""Thresholds chosen on validation rows."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medai.measurement import metrics
from medai.measurement.thresholds import Threshold, choose
from medai.outputs import Binary, Multiclass, Multilabel

BINARY = Binary(kind="binary", classes={0: "normal", 1: "pneumonia"}, positive="pneumonia")
TRUTH = np.array([0, 0, 1, 0, 1, 1])
SCORES = np.array([[0.1], [0.2], [0.3], [0.4], [0.8], [0.9]])


@pytest.mark.parametrize(
    ("config", "threshold"),
    [
        ({"method": "youden"}, 0.6),
        ({"method": "accuracy"}, 0.6),
        ({"method": "f1"}, 0.25),
        ({"method": "fixed", "value": 0.37}, 0.37),
        ({"method": "sensitivity_at_least", "target": 0.9}, 0.25),
        ({"method": "specificity_at_least", "target": 0.6}, 0.25),
        ({"method": "specificity_at_least", "target": 1.0}, 0.6),
    ],
)
def test_methods(config: dict[str, Any], threshold: float) -> None:
    """Each method takes the midpoint that is best for it, and of equal ones that nearest 0.5."""
    assert choose(BINARY, TRUTH, SCORES, Threshold(**config)) == pytest.approx((threshold,))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.sampled_from([3, 10, 1000]))
def test_no_threshold_is_better(seed: int, rows: int, levels: int) -> None:
    """No threshold on a fine grid beats the chosen one, whatever the ties."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, rows)
    scores = (generator.integers(0, levels + 1, (rows, 1)) / levels).astype(np.float32)
    assume(0 < truth.sum() < rows)
    grid = np.unique(np.concatenate([scores[:, 0].astype(float), [0.0, 1.0]]))
    for method, metric in (("youden", "balanced_accuracy"), ("accuracy", "accuracy"), ("f1", "f1")):
        chosen = choose(BINARY, truth, scores, Threshold(method=method))  # type: ignore[arg-type]
        best = metrics.compute(BINARY, truth, scores, chosen)[metric][0]
        others = [metrics.compute(BINARY, truth, scores, (float(cut),))[metric][0] for cut in grid]
        assert best >= max(others) - 1e-12


def test_of_equal_optima_the_nearest_to_one_half() -> None:
    """0.25 and 0.75 are equally good and equally near: the lower one, which misses fewer."""
    truth, scores = np.array([0, 1, 0, 1]), np.array([[0.0], [0.5], [0.5], [1.0]])
    assert choose(BINARY, truth, scores, Threshold(method="youden")) == (0.25,)


def test_the_order_of_rows_does_not_matter() -> None:
    """Shuffled validation rows give the same threshold."""
    order = np.random.default_rng(0).permutation(6)
    assert choose(BINARY, TRUTH[order], SCORES[order], Threshold()) == choose(BINARY, TRUTH, SCORES, Threshold())


def test_neighbouring_numbers_are_still_parted() -> None:
    """Between two neighbouring float64 lies no midpoint: the upper one parts them."""
    low, high = 0.5, float(np.nextafter(0.5, 1))
    threshold = choose(BINARY, np.array([0, 1]), np.array([[low], [high]]), Threshold())
    assert metrics.predict(BINARY, np.array([[low], [high]]), threshold).tolist() == [0, 1]


def test_multilabel_has_one_a_finding_and_multiclass_none() -> None:
    """Each finding has its own threshold; arg-max needs none."""
    multilabel = Multilabel(kind="multilabel", classes={"x": "effusion", "y": "oedema"})
    truth, scores = np.stack([TRUTH, 1 - TRUTH], 1), np.concatenate([SCORES, 1 - SCORES], 1)
    chosen = choose(multilabel, truth, scores, Threshold())
    assert chosen == pytest.approx((0.6, 0.4))
    assert choose(multilabel, truth, scores, Threshold(method="fixed", value=0.5)) == (0.5, 0.5)
    multiclass = Multiclass(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    assert choose(multiclass, np.array([0, 1]), np.full((2, 3), 1 / 3), Threshold()) == ()


def test_one_class_gives_one_half_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be chosen the threshold is 0.5 and the log says why."""
    with caplog.at_level(logging.WARNING):
        assert choose(BINARY, np.ones(3, int), np.full((3, 1), 0.2), Threshold()) == (0.5,)
    assert caplog.messages == ["score column 0 has one class only on the validation rows: threshold 0.5"]


def test_a_specificity_out_of_reach_gives_the_highest_threshold(caplog: pytest.LogCaptureFixture) -> None:
    """Negatives scored exactly 1 cannot be called negative: threshold 1, and a warning."""
    config = Threshold(method="specificity_at_least", target=1.0)
    with caplog.at_level(logging.WARNING):
        assert choose(BINARY, np.array([0, 1]), np.array([[1.0], [0.5]]), config) == (1.0,)
    assert caplog.messages == ["no threshold of score column 0 reaches the target: threshold 1"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "fixed"}, "method fixed needs value"),
        ({"method": "sensitivity_at_least"}, "method sensitivity_at_least needs target"),
        ({"method": "youden", "target": 0.9}, "target has no meaning for method youden"),
        ({"method": "fixed", "value": 1.5}, "less than or equal to 1"),
        ({"method": "sensitivity_at_least", "target": 0}, "greater than 0"),
        ({"method": "fixed", "value": float("nan")}, "finite number"),
    ],
)
def test_contradictory_configurations_are_refused(config: dict[str, Any], message: str) -> None:
    """An argument that its method needs or does not know is refused before any work."""
    with pytest.raises(ValidationError, match=message):
        Threshold(**config)
