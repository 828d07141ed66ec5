"""Figures of masks: each picture's overlaps, their means with intervals over patients, and the threshold of a pixel.

=====================  ====================================================================================
dice                   mean over pictures; 1 where neither truth nor answer holds anything
dice_lesions           mean over the pictures that show the finding: what ``dice`` hides where most pictures show none
false_positive_share   share of the pictures without the finding in which something is marked
hd95, hd               mean HD95 and Hausdorff distance, in pixels of the prepared picture, over the pictures that show
                       the finding
hd95_mm, hd_mm         the same in millimetres, over those whose pixel spacing is known
lesion_sensitivity     share of all findings of which at least one pixel is marked
false_lesions          parts marked in a picture that touch no finding, mean over pictures
=====================  ====================================================================================

``medai.measurement.overlap`` defines what they are made of. Of several classes each picture gives the mean over them,
and ``metric/CLASS`` is the class's own. A pixel is marked where its probability ≥ threshold, compared in float64; of
several classes it takes the likeliest, the first of equals.

Every figure is a sum over pictures divided by another (of pictures, of findings), and both are drawn again with the
patient. Areas under curves, calibration and the like speak of whole pictures' scores: a mask has none.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.errors import ConfigurationError, DataRefused, near_match
from medai.measurement import bootstrap
from medai.measurement.metrics import MASK_NAMES, available
from medai.measurement.overlap import MEASURES, dice, overlap
from medai.measurement.thresholds import NEUTRAL, Threshold
from medai.outputs import Mask
from medai.records import Measure

log = logging.getLogger(__name__)

CUTS = np.arange(1, 200) / 200
"""Thresholds among which one is chosen."""
_GRID = float(1 << 20)
"""Terms enter sums as multiples of 1 / _GRID, so that their order leaves no trace."""

Terms = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Metric → (N,) what is summed, and (N,) what it is divided by."""


def decided(output: Mask, scores: NDArray[Any], thresholds: tuple[float, ...]) -> NDArray[np.uint8]:
    """(N, …) uint8 class numbers of (N, …, columns) probabilities.

    >>> lesion = Mask(kind="mask", classes={0: "background", 1: "lesion"})
    >>> decided(lesion, np.array([[[0.2], [0.7]]], np.float32), (0.5,)).tolist()
    [[0, 1]]
    """
    if output.columns == 1:
        return np.asarray(np.asarray(scores[..., 0], np.float64) >= thresholds[0], np.uint8)
    return np.asarray(scores.argmax(axis=-1), np.uint8)


def overlaps(
    output: Mask, truth: NDArray[Any], answer: NDArray[Any], spacing: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """(N, findings, measures) of ``overlap.MEASURES``.

    Args:
        truth, answer: (N, …) class numbers.
        spacing: (N, axes) millimetres between pixels, NaN where they are not known; None where they are for nobody.
    """
    found = np.empty((len(truth), len(output.findings), len(MEASURES)))
    for row, (true, marked) in enumerate(zip(truth, answer, strict=True)):
        steps = None if spacing is None or np.isnan(spacing[row]).any() else tuple(spacing[row].tolist())
        for k in range(len(output.findings)):
            found[row, k] = overlap(true == k + 1, marked == k + 1, steps)
    return found


def terms(output: Mask, measured: NDArray[np.float64]) -> Terms:
    """Every metric's sums, picture by picture, of (N, findings, measures)."""
    every = _of_findings(measured)
    if len(output.findings) > 1:
        for k, finding in enumerate(output.findings):
            every |= {f"{name}/{finding}": pair for name, pair in _of_findings(measured[:, [k]]).items()}
    return {name: every[name] for name in available(output)}


def _of_findings(measured: NDArray[np.float64]) -> Terms:
    """The sums of these classes together."""
    of = {name: measured[:, :, place] for place, name in enumerate(MEASURES)}
    there, one = of["true"] > 0, np.ones(len(measured))
    alike = dice(of["true"], of["marked"], of["both"])
    distances = {"hd95": "distance95", "hd": "distance", "hd95_mm": "distance95_mm", "hd_mm": "distance_mm"}
    found: Terms = {
        "dice": (alike.mean(axis=1), one),
        "dice_lesions": ((alike * there).sum(axis=1), there.sum(axis=1)),
        "false_positive_share": ((~there & (of["marked"] > 0)).sum(axis=1), (~there).sum(axis=1)),
        "lesion_sensitivity": (of["found"].sum(axis=1), of["findings"].sum(axis=1)),
        "false_lesions": (of["false_findings"].sum(axis=1), one),
    }
    for name, distance in distances.items():
        known = ~np.isnan(of[distance])
        found[name] = (np.where(known, of[distance], 0).sum(axis=1), known.sum(axis=1))
    return {
        name: (np.rint(above * _GRID) / _GRID, np.asarray(below, np.float64)) for name, (above, below) in found.items()
    }


def figures(sums: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> dict[str, float]:
    """Metric → its figure on these pictures; those without a picture to speak of are left out."""
    return {name: float(above.sum() / below.sum()) for name, (above, below) in sums.items() if below.sum() > 0}


def intervals(
    sums: Terms, units: NDArray[Any], *, confidence: float, resamples: int, seed: int, names: Collection[str] = ()
) -> dict[str, Measure]:
    """Metrics with their intervals over units; see ``bootstrap.interval``.

    Args:
        units: (N,) unit id of each picture.
        names: metrics wanted; all by default.
    """
    wanted = {name: pair for name, pair in sums.items() if not names or name in names}
    points = figures(wanted)
    drawn = bootstrap.drawn_ratios({name: wanted[name] for name in points}, units, resamples, seed)
    found = {name: bootstrap.interval(name, value, drawn[name], confidence) for name, value in points.items()}
    left_out = sorted(name for name, measure in found.items() if measure is None)
    if left_out:
        log.warning("undefined on most resamples and left out: %s", ", ".join(left_out))
    return {name: measure for name, measure in found.items() if measure is not None}


def paired_difference(
    metric: str,
    ours: Terms,
    theirs: Terms,
    units: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Measure | None:
    """Metric of ours minus metric of theirs, both on the same resamples of the same pictures; None if undefined.

    Raises:
        ConfigurationError: a metric that a mask does not have.
    """
    if metric not in ours:
        raise ConfigurationError(
            f"unknown metric {metric!r}",
            expected="a metric of the output",
            received=f"{metric!r}; {near_match(metric, ours)}",
            action="correct the name in the Problem file",
        )
    each = {"a": ours[metric], "b": theirs[metric]}
    points = figures(each)
    if len(points) < 2:
        return None
    drawn = bootstrap.drawn_ratios(each, units, resamples, seed)
    return bootstrap.interval(metric, points["a"] - points["b"], drawn["a"] - drawn["b"], confidence)


def unpaired_differences(
    here: tuple[Terms, NDArray[Any]],
    there: tuple[Terms, NDArray[Any]],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Measure]:
    """Each metric here minus there, on two sets of pictures that share no unit; as ``bootstrap.unpaired_differences``.

    Args:
        here, there: the sums of ``terms``, and the unit of each picture.
    """
    streams = [int(one) for one in np.random.SeedSequence(seed).generate_state(2)]
    points = [figures(sums) for sums, _ in (here, there)]
    drawn = [
        bootstrap.drawn_ratios(sums, units, resamples, stream)
        for (sums, units), stream in zip((here, there), streams, strict=True)
    ]
    found = {
        name: bootstrap.interval(name, value - points[1][name], drawn[0][name] - drawn[1][name], confidence)
        for name, value in points[0].items()
        if name in points[1]
    }
    return {name: measure for name, measure in found.items() if measure is not None}


def confusion(measured: NDArray[np.float64]) -> tuple[tuple[int, ...], ...]:
    """Pictures: rows without and with any finding, columns without and with anything marked."""
    shows, marks = ((measured[:, :, MEASURES.index(name)] > 0).any(axis=1) for name in ("true", "marked"))
    pairs = np.bincount(2 * shows.astype(np.int64) + marks, minlength=4).tolist()
    return (pairs[0], pairs[1]), (pairs[2], pairs[3])


def choose(output: Mask, blocks: Iterable[tuple[NDArray[Any], NDArray[Any]]], config: Threshold) -> tuple[float, ...]:
    """The threshold of a pixel: of ``CUTS`` the one with the largest mean Dice; () for several classes.

    A picture without any finding in which nothing is marked counts 1, and otherwise 0: a threshold that marks healthy
    pictures pays for it. Of equal optima the one nearest 0.5 is taken, and of two equally near the lower one.

    Args:
        blocks: truth (n, …) class numbers and scores (n, …, columns) of some validation pictures at a time.

    Raises:
        DataRefused: a score that is no probability.
    """
    total, pictures = np.zeros(len(CUTS)), 0
    for truth, scores in blocks:
        if not ((scores >= 0) & (scores <= 1)).all():
            raise DataRefused(
                "the model's scores are not probabilities",
                expected="every score between 0 and 1",
                received="pixels with another score or with none (NaN)",
                action="look at the training curves: the fit may have diverged; a lower learning rate often mends it",
            )
        if output.columns > 1:
            continue
        for true, score in zip(truth.reshape(len(truth), -1) > 0, scores.reshape(len(scores), -1), strict=True):
            # So many cuts lie at or below the score of a pixel: it is marked at each of them.
            place = np.searchsorted(CUTS, np.asarray(score, np.float64), side="right")
            marked, both = (_from_the_top(np.bincount(some, minlength=len(CUTS) + 1)) for some in (place, place[true]))
            total += np.rint(dice(np.full(len(CUTS), true.sum()), marked, both) * _GRID) / _GRID
            pictures += 1
    if output.columns > 1:
        return ()
    if config.value is not None:
        return (config.value,)
    best = CUTS[total == total.max()]
    log.info("threshold of a pixel: mean Dice %.4f on %d validation pictures", float(total.max()) / pictures, pictures)
    return (float(min(best, key=lambda cut: (abs(cut - NEUTRAL), cut))),)


def _from_the_top(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many pixels each cut marks."""
    return np.asarray(np.cumsum(counts[::-1])[::-1][1:])


__all__ = [
    "CUTS",
    "MASK_NAMES",
    "choose",
    "confusion",
    "decided",
    "figures",
    "intervals",
    "overlaps",
    "paired_difference",
    "terms",
    "unpaired_differences",
]
