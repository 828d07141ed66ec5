"""Calibration slope and intercept: known truths, intervals, and scores that have no estimate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from medai.measurement.net_benefit import net_benefit, of_acting_on_all
from medai.measurement.recalibration import recalibrate
from medai.records import Measure


def made(slope: float, intercept: float, rows: int = 4000) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Truth and probabilities such that truth ~ intercept + slope · logit(probability)."""
    generator = np.random.default_rng(3)
    logit = generator.normal(-0.5, 1.2, rows)
    risk = 1 / (1 + np.exp(-(intercept + slope * logit)))
    return (generator.random(rows) < risk).astype(np.int8), 1 / (1 + np.exp(-logit))


def measured(truth: NDArray[np.int8], score: NDArray[np.float64]) -> dict[str, Measure]:
    """Both figures over rows of their own."""
    return recalibrate(truth, score, np.arange(len(truth)), confidence=0.95, resamples=200, seed=1)


def test_honest_probabilities_have_slope_one_and_intercept_zero() -> None:
    """Both intervals hold the ideal."""
    found = measured(*made(1, 0))
    assert found["slope"].low < 1 < found["slope"].high
    assert found["intercept"].low < 0 < found["intercept"].high


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.0), (1.8, 0.0)])
def test_the_slope_is_that_of_an_unpenalised_logistic_regression(slope: float, intercept: float) -> None:
    """Scikit-learn finds the same slope, and the interval excludes 1."""
    truth, score = made(slope, intercept)
    logit = np.log(score / (1 - score))[:, None]
    peer = LogisticRegression(C=np.inf, tol=1e-10).fit(logit, truth)
    found = measured(truth, score)["slope"]
    assert found.value == pytest.approx(peer.coef_[0, 0], abs=1e-4)
    assert found.low <= found.value <= found.high
    assert not found.low <= 1 <= found.high


def test_risks_that_are_too_low_have_a_positive_intercept() -> None:
    """Truth is more frequent than the probabilities say."""
    found = measured(*made(1, 0.8))["intercept"]
    assert found.low > 0.5
    assert found.value == pytest.approx(0.8, abs=0.15)


def test_classes_told_apart_without_an_error_have_no_slope() -> None:
    """The likelihood has no maximum; the intercept still has one. Equal scores have no slope either."""
    truth = np.array([0, 1] * 50, np.int8)
    assert set(measured(truth, np.where(truth == 1, 0.9, 0.1))) == {"intercept"}
    assert set(measured(truth, np.full(100, 0.3))) == {"intercept"}
    assert measured(np.ones(50, np.int8), np.linspace(0.1, 0.9, 50)) == {}


def test_the_net_benefit_weighs_false_alarms_by_the_threshold() -> None:
    """Two found and one alarm of ten rows at 0.2: 2/10 − 1/10 · 0.25; acting on all has its own line."""
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    score = np.array([0.9, 0.8, 0.1, 0.5, 0, 0, 0, 0, 0, 0])
    thresholds = np.array([0.2, 0.5])
    np.testing.assert_allclose(net_benefit(truth, score, thresholds), [0.2 - 0.1 * 0.25, 0.2 - 0.1])
    np.testing.assert_allclose(of_acting_on_all(0.3, thresholds), [0.3 - 0.7 * 0.25, 0.3 - 0.7])


def test_a_rare_outcome_has_a_slope() -> None:
    """One in a hundred, far from what the scores say on average: the slope is found, as scikit-learn finds it."""
    generator = np.random.default_rng(5)
    logit = np.where(generator.random(8000) < 0.05, generator.normal(-2, 1.5, 8000), generator.normal(-8, 0.7, 8000))
    truth = (generator.random(8000) < 1 / (1 + np.exp(-(2 + 1.1 * logit)))).astype(np.int8)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], truth)
    found = measured(truth, 1 / (1 + np.exp(-logit)))["slope"]
    assert found.value == pytest.approx(peer.coef_[0, 0], abs=1e-3)
