"""Where a probability becomes a decision: thresholds chosen on validation rows.

Candidates are the midpoints between adjacent distinct scores, and between the outermost scores and 0 or 1: all
decisions the scores allow. Of equal optima the threshold nearest 0.5 is taken, and of two equally near the lower one,
which misses fewer. A row is positive where score ≥ threshold (``medai.measurement.metrics.predict``).
"""

from __future__ import annotations

import logging
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medai.measurement.metrics import Scored, check
from medai.records import Frozen

log = logging.getLogger(__name__)

NEUTRAL = 0.5

Method = Literal["youden", "f1", "accuracy", "fixed", "sensitivity_at_least", "specificity_at_least", "dice"]
METHODS: tuple[str, ...] = get_args(Method)


class Threshold(Frozen):
    """How the threshold is chosen.

    Attributes:
        method: ``youden`` maximises sensitivity + specificity − 1 (Youden 1950), ``f1`` and ``accuracy`` their metric;
            ``fixed`` takes ``value``; ``sensitivity_at_least`` maximises specificity among thresholds whose sensitivity
            is at least ``target``, ``specificity_at_least`` the other way round. Of a mask's pixels: ``dice`` maximises
            the mean Dice of the pictures (``medai.measurement.segmentation``), or ``fixed``.
        value: the threshold of ``fixed``.
        target: the share that the ``…_at_least`` methods must reach.
    """

    method: Method = "youden"
    value: float | None = Field(default=None, ge=0, le=1)
    target: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _argument_fits_method(self) -> Threshold:
        for name, needed in (("value", self.method == "fixed"), ("target", self.method.endswith("at_least"))):
            given = getattr(self, name) is not None
            if needed and not given:
                raise ValueError(f"method {self.method} needs {name}")
            if given and not needed:
                raise ValueError(f"{name} has no meaning for method {self.method}")
        return self


def choose(output: Scored, truth: NDArray[Any], scores: NDArray[Any], config: Threshold) -> tuple[float, ...]:
    """Thresholds of an output, one a score column; empty for multiclass, which takes the arg-max.

    Args:
        output: what is predicted.
        truth: (N,) for binary, (N, K) for multilabel; validation rows.
        scores: (N, columns) probabilities, calibrated as they will be when the threshold is used.
        config: the method.

    A column with one class only allows no choice: it gets 0.5, and a warning is logged.
    """
    if output.kind == "multiclass":
        return ()
    if config.value is not None:
        return (config.value,) * output.columns
    check(output, truth, scores, None)
    columns = truth.reshape(len(truth), -1)
    return tuple(
        _best(columns[:, k] == 1, np.asarray(scores[:, k], np.float64), config, k) for k in range(output.columns)
    )


def _best(truth: NDArray[np.bool_], score: NDArray[np.float64], config: Threshold, column: int) -> float:
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        log.warning("score column %d has one class only on the validation rows: threshold %s", column, NEUTRAL)
        return NEUTRAL
    levels, place = np.unique(score, return_inverse=True)
    # Position i: the rows at levels[i] and above are positive; the last position: none is.
    true = np.append(_from_the_top(np.bincount(place[truth], minlength=len(levels))), 0)
    false = np.append(_from_the_top(np.bincount(place[~truth], minlength=len(levels))), 0)
    cuts = _midpoints(np.concatenate([[0.0], levels, [1.0]]))
    allowed = np.ones(len(cuts), bool)
    allowed[-1] = levels[-1] < 1  # no threshold up to 1 lies above a score of 1
    # Integers where it can be, so that equal optima are exactly equal.
    if config.method == "youden":
        gain = (true * negatives - false * positives).astype(np.float64)
    elif config.method == "accuracy":
        gain = (true - false).astype(np.float64)
    elif config.method == "f1":
        gain = 2 * true / (true + false + positives)
    elif config.method == "sensitivity_at_least":
        gain = np.where(true / positives >= (config.target or 0), -false, -np.inf)
    else:
        gain = np.where((negatives - false) / negatives >= (config.target or 0), true, -np.inf)
    gain = np.where(allowed, gain, -np.inf)
    if not np.isfinite(gain).any():
        # Only scores of exactly 1 on negatives can put a target of specificity out of reach.
        log.warning("no threshold of score column %d reaches the target: threshold 1", column)
        return 1.0
    best = cuts[gain == gain.max()]
    return float(min(best, key=lambda cut: (abs(cut - NEUTRAL), cut)))


def _from_the_top(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts[::-1])[::-1]


def _midpoints(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between neighbours; the upper one where no number lies between them, so that it still parts them."""
    middle = (edges[:-1] + edges[1:]) / 2
    return np.where(middle > edges[:-1], middle, edges[1:])
