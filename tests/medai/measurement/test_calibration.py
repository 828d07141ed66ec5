"""Platt scaling."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from medai.errors import ConfigurationError
from medai.measurement import calibration, metrics
from medai.measurement.calibration import CalibrationChoice
from medai.outputs import Binary, Multiclass, Multilabel
from medai.records import Calibration

BINARY = Binary(kind="binary", classes={0: "normal", 1: "pneumonia"}, positive="pneumonia")
PLATT = CalibrationChoice(method="platt")


def overconfident(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from sigmoid(z), scores sigmoid(3 z + 1)."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=rows)
    truth = (generator.random(rows) < 1 / (1 + np.exp(-z))).astype(np.int8)
    return truth, (1 / (1 + np.exp(-3 * z - 1)))[:, None].astype(np.float32)


def test_the_distortion_is_found_and_undone() -> None:
    """Scores sigmoid(3 z + 1) of truth sigmoid(z): slope 1/3, intercept −1/3, and a far smaller error."""
    truth, scores = overconfident(20_000)
    fitted = calibration.fit(BINARY, truth, scores, PLATT)
    assert fitted.method == "platt"
    assert fitted.slope[0] == pytest.approx(1 / 3, abs=0.02)
    assert fitted.intercept[0] == pytest.approx(-1 / 3, abs=0.04)
    after = calibration.apply(fitted, scores)
    assert after.dtype == np.float32
    assert metrics.ece(truth, after[:, 0])[0] < 0.02 < 0.1 < metrics.ece(truth, scores[:, 0])[0]


def test_the_optimum_is_scipys() -> None:
    """Newton's method finds what a general optimiser finds for Platt's likelihood with smoothed targets."""
    truth, scores = overconfident(300, seed=4)
    fitted = calibration.fit(BINARY, truth, scores, PLATT)
    logit = np.log(scores[:, 0].astype(float)) - np.log1p(-scores[:, 0].astype(float))
    positives = truth.sum()
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2))

    def loss(at: np.ndarray) -> float:
        return float(np.sum(np.logaddexp(0, at[0] * logit + at[1]) - target * (at[0] * logit + at[1])))

    found = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose((fitted.slope[0], fitted.intercept[0]), found, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=2, max_size=40))
def test_calibration_keeps_the_order_and_the_range(rows: list[tuple[bool, float]]) -> None:
    """Whatever the rows: finite probabilities, never reordered, and the same again for the same rows."""
    truth, scores = np.array([row[0] for row in rows]), np.array([[row[1]] for row in rows], np.float32)
    fitted = calibration.fit(BINARY, truth, scores, PLATT)
    assert fitted == calibration.fit(BINARY, truth, scores, PLATT)
    after = calibration.apply(fitted, scores)[:, 0]
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after[np.argsort(scores[:, 0], kind="stable")]) >= 0).all()


def test_scores_that_separate_perfectly_stay_finite() -> None:
    """Platt's smoothed targets keep the slope finite where the scores separate the classes."""
    truth, scores = np.array([0] * 20 + [1] * 20), np.array([[1e-9]] * 20 + [[1.0]] * 20)
    fitted = calibration.fit(BINARY, truth, scores, PLATT)
    after = calibration.apply(fitted, scores)[:, 0]
    np.testing.assert_allclose(after, np.where(truth == 1, 21 / 22, 1 / 22), atol=1e-4)


@pytest.mark.parametrize(
    ("truth", "scores", "reason"),
    [
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], "is not positive"),
        ([1, 1, 1], [0.9, 0.8, 0.2], "one class only"),
        ([0, 1, 1], [0.5, 0.5, 0.5], "slope 0 is not positive"),
    ],
)
def test_a_slope_that_is_not_positive_falls_back(
    truth: list[int], scores: list[float], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Calibration never turns the ranking round: the scores stay as they are, and the log says why."""
    with caplog.at_level(logging.WARNING):
        fitted = calibration.fit(BINARY, np.array(truth), np.array(scores)[:, None], PLATT)
    assert fitted == Calibration(method="none")
    assert reason in caplog.text


def test_each_finding_is_calibrated_on_its_own() -> None:
    """One slope a finding; a finding that cannot be calibrated keeps its scores beside one that can."""
    output = Multilabel(kind="multilabel", classes={"x": "effusion", "y": "oedema"})
    truth, scores = overconfident(2000)
    both = np.concatenate([scores, 1 - scores], axis=1)
    fitted = calibration.fit(output, np.stack([truth, truth], axis=1), both, PLATT)
    assert fitted.slope[0] == calibration.fit(BINARY, truth, scores, PLATT).slope[0]
    assert (fitted.slope[1], fitted.intercept[1]) == (1, 0)
    np.testing.assert_array_equal(calibration.apply(fitted, both)[:, 1], both[:, 1])


def test_none_changes_nothing_and_multiclass_has_only_none() -> None:
    """Method none returns the scores; Platt scaling of a multiclass output is a configuration error."""
    output = Multiclass(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    truth, scores = np.array([0, 1, 2]), np.full((3, 3), 1 / 3, np.float32)
    fitted = calibration.fit(output, truth, scores, CalibrationChoice())
    assert fitted == Calibration()
    np.testing.assert_array_equal(calibration.apply(fitted, scores), scores)
    with pytest.raises(ConfigurationError, match="does not fit a multiclass output") as refused:
        calibration.fit(output, truth, scores, PLATT)
    assert refused.value.exit_status == 2
