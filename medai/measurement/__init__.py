"""Evaluation: metrics, intervals over patients, thresholds and calibration."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from medai.measurement import bootstrap, metrics
from medai.records import Measure

VERSION = 2


def evaluate_output(
    output: metrics.Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    units: NDArray[Any],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
    tell: bool = True,
    errors: NDArray[Any] | None = None,
) -> tuple[dict[str, Measure], tuple[tuple[int, ...], ...]]:
    """Every metric of one output with its interval, and the confusion matrix.

    Resamples on which a metric is undefined (one class only) are skipped, and their number logged. A metric undefined
    on the rows themselves, or on more than half of the resamples, is left out.

    Args:
        output: what is predicted.
        truth: (N,) for binary and multiclass, (N, K) for multilabel.
        scores: (N, columns) calibrated probabilities.
        thresholds: one a column for binary and multilabel, () for multiclass.
        units: (N,) id of the unit (patient) of each row; all rows of a resampled unit come together.
        confidence: of the intervals, whose making ``medai.measurement.bootstrap`` tells.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        tell: log what was skipped and left out; not for each of many subgroups.
        errors: (N,) distance of each row's prediction from the truth, of which ``mad`` is the mean; classes that are
            bins of a time have one.

    Returns:
        metric → Measure, and the confusion matrix as ``metrics.confusion`` defines it.

    Raises:
        DataRefused: scores that are no probabilities.
        MedaiError: shapes that do not fit together.
    """
    measures = bootstrap.intervals(
        output, truth, scores, thresholds, units, confidence=confidence, resamples=resamples, seed=seed, tell=tell
    )
    if errors is not None:
        measures["mad"] = bootstrap.mean_interval(errors, units, confidence=confidence, resamples=resamples, seed=seed)
    return measures, metrics.confusion(output, truth, metrics.predict(output, scores, thresholds))
