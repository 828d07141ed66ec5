"""Net benefit of acting on a model's answer, for decision curves (Vickers & Elkin 2006).

Whoever acts at a threshold probability t holds one missed case as bad as (1 − t) / t needless actions, so the net
benefit a row is TP / N − FP / N · t / (1 − t). Acting on everybody and on nobody (0) are what a model must beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def net_benefit(truth: NDArray[Any], score: NDArray[Any], thresholds: Floats) -> Floats:
    """(thresholds,) net benefit of acting where score ≥ threshold; thresholds lie below 1.

    >>> net_benefit(np.array([1, 0]), np.array([0.9, 0.6]), np.array([0.5, 0.8])).tolist()
    [0.0, 0.5]
    """
    positive = np.asarray(truth) == 1
    acted = np.asarray(score, np.float64)[None, :] >= thresholds[:, None]
    true, false = (acted & positive).sum(axis=1), (acted & ~positive).sum(axis=1)
    return np.asarray((true - false * thresholds / (1 - thresholds)) / len(positive))


def of_acting_on_all(prevalence: float, thresholds: Floats) -> Floats:
    """(thresholds,) net benefit of acting on everybody."""
    return np.asarray(prevalence - (1 - prevalence) * thresholds / (1 - thresholds))
