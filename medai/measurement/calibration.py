"""From score to probability: Platt scaling fitted on validation rows.

probability = sigmoid(slope × logit(score) + intercept), one pair a score column, by maximum likelihood with Platt's
smoothed targets (P + 1) / (P + 2) and 1 / (N + 2) (Platt 1999), found by Newton's method with halved steps as in Lin,
Lin & Weng 2007. Scores are clipped to [1e-7, 1 − 1e-7] before the logit: about what float32 can tell from 0 and 1.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medai.errors import ConfigurationError
from medai.measurement.metrics import Scored, check
from medai.records import Calibration, Frozen

log = logging.getLogger(__name__)

EPSILON = 1e-7
_STEPS = 100
_SMALLEST = 1e-10


class CalibrationChoice(Frozen):
    """How scores are calibrated.

    Attributes:
        method: ``none``, or ``platt`` (binary and multilabel outputs).
    """

    method: Literal["none", "platt"] = "none"


def fit(output: Scored, truth: NDArray[Any], scores: NDArray[Any], config: CalibrationChoice) -> Calibration:
    """The calibration of one output on validation rows.

    Args:
        output: what is predicted.
        truth: (N,) for binary, (N, K) for multilabel.
        scores: (N, columns) raw scores.
        config: the method.

    A column whose fitted slope is not positive (calibration would turn the ranking round), or that has one class only,
    keeps its scores; where no column is left the method is ``none``. Both are logged.

    Raises:
        ConfigurationError: ``platt`` for a multiclass output.
    """
    if config.method == "none":
        return Calibration()
    if output.kind == "multiclass":
        raise ConfigurationError(
            "Platt scaling does not fit a multiclass output",
            expected="calibration method none for a multiclass output",
            received="platt",
            action="set the calibration method to none in the Problem file",
        )
    check(output, truth, scores, None)
    columns = truth.reshape(len(truth), -1)
    pairs = [_platt(columns[:, k] == 1, _logit(scores[:, k])) for k in range(output.columns)]
    kept = []
    for column, pair in enumerate(pairs):
        if pair is None or pair[0] <= 0:
            why = "one class only" if pair is None else f"slope {pair[0]:.3g} is not positive"
            log.warning("score column %d is not calibrated: %s", column, why)
            pair = (1.0, 0.0)
        kept.append(pair)
    if all(pair == (1.0, 0.0) for pair in kept):
        return Calibration()
    return Calibration(method="platt", slope=tuple(p[0] for p in kept), intercept=tuple(p[1] for p in kept))


def apply(calibration: Calibration, scores: NDArray[Any]) -> NDArray[np.float32]:
    """(N, columns) float32 probabilities; never reorders the scores of a column."""
    result = np.array(scores, np.float32)
    if calibration.method == "none":
        return result
    for column, (slope, intercept) in enumerate(zip(calibration.slope, calibration.intercept, strict=True)):
        if (slope, intercept) != (1.0, 0.0):
            result[:, column] = _sigmoid(slope * _logit(scores[:, column]) + intercept)
    return result


def _logit(score: NDArray[Any]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(score, np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1.0, small) / (1.0 + small)


def _platt(truth: NDArray[np.bool_], logit: NDArray[np.float64]) -> tuple[float, float] | None:
    """Slope and intercept; None where the rows have one class only."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return None
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, spread = float(logit.mean()), float(logit.std())
    if spread == 0:
        return 0.0, 0.0
    design = np.stack([(logit - centre) / spread, np.ones_like(logit)], axis=1)

    def loss(at: NDArray[np.float64]) -> float:
        value = design @ at
        return float(np.mean(np.logaddexp(0, value) - target * value))

    at = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    here = loss(at)
    for _ in range(_STEPS):
        probability = _sigmoid(design @ at)
        gradient = design.T @ (probability - target) / len(target)
        curvature = (design.T * (probability * (1 - probability))) @ design / len(target) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > _SMALLEST and (there := loss(at - size * step)) > here - 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= _SMALLEST or np.abs(gradient).max() < _SMALLEST:
            break
        at, here = at - size * step, there
    slope = float(at[0] / spread)
    return slope, float(at[1] - slope * centre)
