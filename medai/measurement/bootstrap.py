"""Intervals: the percentile bootstrap over patients.

The unit drawn with replacement is the patient (or whatever the scorecard's unit is): all its rows come together, so
that rows of one patient are not taken for independent evidence (Efron & Tibshirani 1993, ch. 13; the cluster bootstrap
of Field & Welsh 2007). Units are drawn in the order of their sorted ids: the order of the rows does not matter.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.errors import MedaiError
from medai.measurement import metrics
from medai.records import Measure

log = logging.getLogger(__name__)

_BLOCK = 1 << 21
"""Drawn weights at a time: 4 MiB as uint16."""
LEAST_DEFINED = 0.5
"""Share of resamples on which a metric must be defined for its interval to be believed."""


def draw(units: NDArray[Any], resamples: int, seed: int) -> Iterator[NDArray[np.uint16]]:
    """Weights of a unit bootstrap, block by block.

    Args:
        units: (N,) unit id of each row, any sortable type.
        resamples: how many resamples in all.
        seed: of NumPy's PCG64 generator.

    Yields:
        (b, N) uint16: how often each row was drawn. The blocks' rows add up to ``resamples``.
    """
    _, place = np.unique(units, return_inverse=True)
    size = int(place.max()) + 1
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(place))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(size, size=(rows, size), dtype=np.int64)
        drawn += np.arange(rows, dtype=np.int64)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts.astype(np.uint16)[:, place]


def intervals(
    output: metrics.Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    units: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    names: Collection[str] | None = None,
) -> dict[str, Measure]:
    """Metrics with percentile intervals; see ``medai.measurement.evaluate_output``."""
    points = metrics.compute(output, truth, scores, thresholds, names=names)
    defined = {name: float(point[0]) for name, point in points.items() if np.isfinite(point[0])}
    blocks = [
        metrics.compute(output, truth, scores, thresholds, weights, defined)
        for weights in draw(_matched(units, truth), resamples, seed)
    ]
    found = {}
    for name, value in defined.items():
        measure = _percentiles(name, value, np.concatenate([block[name] for block in blocks]), confidence)
        if measure is not None:
            found[name] = measure
    return found


def paired_difference(
    metric_name: str,
    output: metrics.Scored,
    truth: NDArray[Any],
    scores_a: NDArray[Any],
    scores_b: NDArray[Any],
    units: NDArray[Any],
    *,
    thresholds_a: tuple[float, ...],
    thresholds_b: tuple[float, ...],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
) -> Measure | None:
    """Metric of a minus metric of b on the same rows, both scored on the same resamples of units.

    Args:
        metric_name: a metric of ``metrics.available(output)``; mind ``metrics.LOWER_IS_BETTER`` when judging the sign.
        output, truth: as for ``metrics.compute``.
        scores_a, scores_b: (N, columns) each.
        units: (N,) unit id of each row.
        thresholds_a, thresholds_b: each model's own.
        confidence: of the percentile interval.
        resamples, seed: of the bootstrap.

    Returns:
        The difference with its interval; None where the metric is undefined on the rows (one class only), or on more
        than half of the resamples.

    Raises:
        ConfigurationError: an unknown metric.
        DataRefused: scores that are no probabilities.
    """
    sides = ((scores_a, thresholds_a), (scores_b, thresholds_b))

    def difference(weights: NDArray[Any] | None) -> NDArray[np.float64]:
        a, b = (
            metrics.compute(output, truth, scores, thresholds, weights, [metric_name])[metric_name]
            for scores, thresholds in sides
        )
        return a - b

    value = float(difference(None)[0])
    if not np.isfinite(value):
        return None
    drawn = np.concatenate([difference(weights) for weights in draw(_matched(units, truth), resamples, seed)])
    return _percentiles(metric_name, value, drawn, confidence)


def _percentiles(name: str, value: float, drawn: NDArray[np.float64], confidence: float) -> Measure | None:
    """Percentile interval (Efron & Tibshirani 1993, ch. 13) of the resamples on which the metric is defined."""
    kept = drawn[np.isfinite(drawn)]
    if len(kept) < len(drawn):
        log.info("%s: %d of %d resamples skipped, undefined on them", name, len(drawn) - len(kept), len(drawn))
    if len(kept) < LEAST_DEFINED * len(drawn) or len(kept) == 0:
        log.warning("%s is left out: defined on only %d of %d resamples", name, len(kept), len(drawn))
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Measure(value=value, low=float(low), high=float(high))


def _matched(units: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    if units.shape != (len(truth),):
        raise MedaiError(
            "the units of the bootstrap do not match the rows",
            expected=f"one unit id a row, shape ({len(truth)},)",
            received=f"shape {units.shape}",
            action="report this as a defect of medai",
        )
    return units
