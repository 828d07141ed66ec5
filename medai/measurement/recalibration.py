"""How well probabilities agree with what happened: calibration slope and intercept, with intervals over patients.

Both come from the logistic recalibration of the truth on the logit of the predicted probability (Cox 1958; Van Calster
et al. 2019, "Calibration: the Achilles heel of predictive analytics"): the slope is that of truth ~ a + b·logit(p),
1 when risks are neither too extreme (below 1) nor too timid (above 1); the intercept is that of truth ~ a + logit(p)
with the slope held at 1 (calibration in the large), 0 when risks are right on average, above 0 when they are too low.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.measurement import bootstrap
from medai.measurement.calibration import EPSILON
from medai.outputs import Binary
from medai.records import Measure

Floats = NDArray[np.float64]
_RISK = Binary(kind="binary", classes={0: "no", 1: "yes"}, positive="yes")
_GRID = 32
"""Cells a unit of the logit, where there are many rows: a line through means of cells is hardly another."""
_STEPS = 25
_CLOSE = 1e-8
_EXTREME = 50.0
"""A slope beyond this is the sign of classes that are told apart without an error: it has no finite estimate."""


def recalibrate(
    truth: NDArray[Any],
    score: NDArray[Any],
    units: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Measure]:
    """``slope`` and ``intercept`` with bootstrap intervals; one that has no finite estimate is left out.

    Args:
        truth: (N,) of 0 and 1.
        score: (N,) probabilities, clipped to [1e-7, 1 − 1e-7] before the logit.
        units: (N,) id of the unit whose rows are resampled together.
        confidence: of the intervals.
        resamples, seed: of the bootstrap.
    """
    clipped = np.clip(np.asarray(score, np.float64), EPSILON, 1 - EPSILON)
    logit = np.log(clipped) - np.log1p(-clipped)
    actual = np.asarray(truth, np.float64)
    once = np.ones((1, len(actual)))
    # Newton's method strays from 0 where the outcome is rare; risks are meant to have a slope of 1.
    tried = [slopes(actual, logit, once, start) for start in (1.0, 0.0)]
    points = {"slope": tried[0] if np.isfinite(tried[0][0]) else tried[1], "intercept": intercepts(actual, logit, once)}
    drawn: dict[str, list[Floats]] = {name: [] for name in points}
    rows, scores, blocks = bootstrap.resampled(_RISK, actual, clipped[:, None], (), units, resamples, seed, _GRID)
    actual, logit = rows, np.log(scores[:, 0]) - np.log1p(-scores[:, 0])
    for counts in blocks:
        weights = counts.astype(np.float64)
        drawn["slope"].append(slopes(actual, logit, weights, float(points["slope"][0])))
        drawn["intercept"].append(intercepts(actual, logit, weights))
    found = {}
    for name, point in points.items():
        if np.isfinite(point[0]):
            measure = bootstrap.interval(name, float(point[0]), np.concatenate(drawn[name]), confidence)
            if measure is not None:
                found[name] = measure
    return found


def slopes(truth: Floats, logit: Floats, weights: Floats, start: float = 0.0) -> Floats:
    """(B,) slope of truth ~ a + b·logit by Newton's method, NaN where it has no finite estimate.

    Args:
        truth, logit: (N,).
        weights: (B, N) how often each row counts.
        start: the slope to begin at, for resamples that lie near the rows themselves.
    """
    if not np.isfinite(start) or np.ptp(logit) == 0:
        return np.full(len(weights), np.nan)
    slope = np.full(len(weights), start)
    offset = _offset(truth, start * logit, weights)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            probability = _sigmoid(offset[:, None] + slope[:, None] * logit)
            residual = weights * (truth - probability)
            spread = weights * probability * (1 - probability)
            none, one, two = spread.sum(axis=1), spread @ logit, spread @ logit**2
            first, second = residual.sum(axis=1), residual @ logit
            room = none * two - one * one
            offset = offset + (two * first - one * second) / room
            step = (none * second - one * first) / room
            slope = slope + step
            if not (np.abs(step) > _CLOSE).any():
                break
        # Told apart without an error: each step leads further out.
        good = (np.abs(step) <= 1e-4) & (np.abs(slope) < _EXTREME)
    return np.where(good & ~_one_class(truth, weights), slope, np.nan)


def intercepts(truth: Floats, logit: Floats, weights: Floats) -> Floats:
    """(B,) intercept of truth ~ a + logit, NaN where a resample has one class only."""
    return np.where(_one_class(truth, weights), np.nan, _offset(truth, logit, weights))


def _one_class(truth: Floats, weights: Floats) -> NDArray[np.bool_]:
    positives = weights @ truth
    return np.asarray((positives == 0) | (positives == weights.sum(axis=1)))


def _offset(truth: Floats, fixed: Floats, weights: Floats) -> Floats:
    """(B,) a of truth ~ a + fixed, kept within ±20."""
    offset = np.zeros(len(weights))
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            probability = _sigmoid(offset[:, None] + fixed)
            gain = (weights * (truth - probability)).sum(axis=1)
            step = gain / np.maximum((weights * probability * (1 - probability)).sum(axis=1), 1e-12)
            offset = np.clip(offset + np.clip(step, -2, 2), -20, 20)
            if np.abs(step).max() < _CLOSE:
                break
    return offset


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -500, 500))))
