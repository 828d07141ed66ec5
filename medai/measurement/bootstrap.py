"""Intervals: the bootstrap over patients.

The unit drawn with replacement is the patient (or whatever the scorecard's unit is): all its rows come together, so
that rows of one patient are not taken for independent evidence (Efron & Tibshirani 1993, ch. 13; the cluster bootstrap
of Field & Welsh 2007). Units are drawn in the order of their sorted ids: the order of the rows does not matter.

An interval always holds its figure. Most are made of percentiles. The calibration error is a sum of absolute gaps, so
its resamples scatter upwards, often until all lie above the figure: their percentiles are shifted until the median is
the figure, which takes away the bias that the bootstrap adds (Efron & Tibshirani 1993, ch. 10), and end at 0. That the
figure itself lies high on few rows (Bröcker 2012; Kumar et al. 2019) is not undone.

With more than ``LARGEST`` rows (a prediction an hour makes millions) a resample is never written out by rows. Where
scores are ranked, rows are gathered into cells of equal truth, equal decision and a logit of the score within 1/256 (a
score within 0.001 at most), which takes the mean score there; a resample then is how often each cell was drawn, which
needs a patient's counts only. Several classes and findings are ranked one by one; the confusion and the sums behind
all other metrics of several classes are added up by patient, exactly. Point figures are of the rows themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.errors import MedaiError
from medai.measurement import metrics
from medai.measurement.calibration import EPSILON
from medai.outputs import Binary
from medai.records import Measure

log = logging.getLogger(__name__)

_BLOCK = 1 << 21
"""Drawn weights at a time: 4 MiB as uint16."""
LARGEST = 1 << 13
"""Rows that are resampled one by one; where there are more, the cells are fewer than they."""
GRID = 256
"""Cells a unit of the logit: two rows of a cell differ by less than 1/256, and rank as equal."""
_NAMED = 12
CENTRED = frozenset({"ece"})
"""Metrics whose resamples lie above the rows' own figure: sums of absolute values."""
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
    for counts in _drawn_units(int(place.max()) + 1, resamples, seed, len(place)):
        yield counts.astype(np.uint16)[:, place]


def _drawn_units(size: int, resamples: int, seed: int, width: int) -> Iterator[NDArray[np.int64]]:
    """(b, size) how often each unit was drawn, so many resamples at a time as keep ``width`` columns in bounds."""
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(width, size))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(size, size=(rows, size), dtype=np.int64)
        drawn += np.arange(rows, dtype=np.int64)[:, None] * size
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def resampled(
    output: metrics.Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    units: NDArray[Any],
    resamples: int,
    seed: int,
    grid: int = GRID,
) -> tuple[NDArray[Any], NDArray[Any], Iterator[NDArray[Any]]]:
    """Truth, scores and how often each of their rows was drawn, block by block: the rows themselves, or cells of them.

    Args:
        thresholds: decisions that a cell must agree in; () where none are asked for.
        units: (N,) unit id of each row.
        grid: cells a unit of the logit.

    Returns:
        (C,) truth, (C, columns) scores, and (b, C) unsigned weights whose rows add up to ``resamples``.
    """
    if output.kind != "binary" or len(truth) <= LARGEST:
        return truth, scores, draw(units, resamples, seed)
    score = np.asarray(scores[:, 0], np.float64)
    decided = score >= thresholds[0] if thresholds else np.zeros(len(score), bool)
    clipped = np.clip(score, EPSILON, 1 - EPSILON)
    logit = np.log(clipped) - np.log1p(-clipped)
    _, near = np.unique(2 * np.floor(logit * grid).astype(np.int64) + decided, return_inverse=True)
    number = int(near.max()) + 1
    lowest, highest = np.full(number, np.inf), np.full(number, -np.inf)
    np.minimum.at(lowest, near, score)
    np.maximum.at(highest, near, score)
    # One score for both classes, so that within a cell neither ranks above the other.
    mean = np.clip(np.bincount(near, score, number) / np.bincount(near, minlength=number), lowest, highest)
    sides = np.repeat(np.array([0, 1], truth.dtype), number)
    cell = np.where(truth == 1, near + number, near)
    return sides, np.tile(mean, 2)[:, None], _drawn_cells(cell, 2 * number, units, resamples, seed)


def _drawn_cells(
    cell: NDArray[np.int64], number: int, units: NDArray[Any], resamples: int, seed: int
) -> Iterator[NDArray[Any]]:
    """(b, cells) how often each cell was drawn: the units' counts times how many rows a unit has in a cell."""
    from scipy.sparse import csr_array

    _, place = np.unique(units, return_inverse=True)
    shape = number, int(place.max()) + 1
    rows = csr_array((np.ones(len(cell)), (cell, place)), shape=shape)
    rows.sum_duplicates()
    for counts in _drawn_units(shape[1], resamples, seed, shape[0]):
        # Whole numbers below 2^53: exact in any order.
        yield np.ascontiguousarray((rows @ counts.T.astype(np.float64)).T).astype(np.uint32)


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
    tell: bool = True,
) -> dict[str, Measure]:
    """Metrics with their intervals; see ``medai.measurement.evaluate_output``."""
    points = metrics.compute(output, truth, scores, thresholds, names=names)
    defined = {name: float(point[0]) for name, point in points.items() if np.isfinite(point[0])}
    drawn = _drawn(output, truth, scores, thresholds, _matched(units, truth), resamples, seed, list(defined))
    found = {}
    skipped = {}
    for name, value in defined.items():
        if missing := int(np.count_nonzero(~np.isfinite(drawn[name]))):
            skipped[name] = missing
        measure = interval(name, value, drawn[name], confidence, least=0.0)
        if measure is not None:
            found[name] = measure
    if tell:
        _tell(skipped, [name for name in defined if name not in found], resamples)
    return found


def mean_interval(
    values: NDArray[Any], units: NDArray[Any], *, confidence: float, resamples: int, seed: int
) -> Measure:
    """The mean of the rows' values, resampled by units."""
    _, place = np.unique(_matched(units, values), return_inverse=True)
    sums, rows = np.bincount(place, values), np.bincount(place)
    drawn = [
        (counts * sums).sum(axis=1) / (counts * rows).sum(axis=1)
        for counts in _drawn_units(len(rows), resamples, seed, len(rows))
    ]
    measure = interval("mean", float(sums.sum() / rows.sum()), np.concatenate(drawn), confidence)
    assert measure is not None  # noqa: S101 - every unit has a row, so each mean is defined
    return measure


def drawn_ratios(
    sums: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    units: NDArray[Any],
    resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Name → (resamples,) sum of one thing over the sum of another, both of the drawn units; NaN where that is 0.

    Args:
        sums: name → (N,) what is summed, and (N,) what it is divided by. All names share their resamples.
        units: (N,) unit id of each row.
    """
    if not sums:
        return {}
    pairs = np.stack([column for pair in sums.values() for column in pair])
    _, place = np.unique(_matched(units, pairs[0]), return_inverse=True)
    by_unit = np.stack([np.bincount(place, column) for column in pairs], axis=1)
    drawn = np.concatenate([counts @ by_unit for counts in _drawn_units(len(by_unit), resamples, seed, len(by_unit))])
    above, below = drawn[:, 0::2], drawn[:, 1::2]
    ratios = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return dict(zip(sums, ratios.T, strict=True))


_ALONE = Binary(kind="binary", classes={0: "no", 1: "yes"}, positive="yes")
"""One class against the rest, or one finding."""


def _drawn(
    output: metrics.Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    units: NDArray[Any],
    resamples: int,
    seed: int,
    names: Collection[str],
) -> dict[str, NDArray[np.float64]]:
    """Metric → (resamples,) its figures; the same seed draws the same units, whatever is measured."""
    if output.kind == "binary" or truth.size <= LARGEST:
        rows, values, weights = resampled(output, truth, scores, thresholds, units, resamples, seed)
        blocks = [metrics.compute(output, rows, values, thresholds, block, names) for block in weights]
        return {name: np.concatenate([block[name] for block in blocks]) for name in names}

    def alone(
        one: NDArray[Any], score: NDArray[Any], whose: NDArray[Any], asked: Collection[str], *threshold: float
    ) -> dict[str, NDArray[np.float64]]:
        rows, values, weights = resampled(_ALONE, one, score[:, None], threshold, whose, resamples, seed)
        blocks = [metrics.compute(_ALONE, rows, values, threshold or (0.5,), block, asked) for block in weights]
        return {name: np.concatenate([block[name] for block in blocks]) for name in asked}

    found: dict[str, NDArray[np.float64]] = {}
    if output.kind == "multiclass":
        ranks = [name for name in ("auroc", "auprc") if name in names]
        if ranks:
            each = [alone(truth == k, scores[:, k], units, ranks) for k in range(output.columns) if (truth == k).any()]
            found |= {name: np.mean([one[name] for one in each], axis=0) for name in ranks}
        _, place = np.unique(units, return_inverse=True)
        sums = metrics.class_sums(truth, scores, place)
        counts = _drawn_units(len(sums), resamples, seed, max(sums.shape))
        blocks = [metrics.of_class_sums(block.astype(np.float64), sums, output) for block in counts]
        return found | {name: np.concatenate([block[name] for block in blocks]) for name in names if name not in ranks}
    macro = [name for name in metrics.NAMES if name in names]
    terms: dict[str, list[NDArray[np.float64]]] = {name: [] for name in macro}
    for k, finding in enumerate(output.names):
        own = [name for name in metrics.NAMES if name in macro or f"{name}/{finding}" in names]
        if own:
            one = alone(truth[:, k], scores[:, k], units, own, thresholds[k])
            found |= {f"{name}/{finding}": one[name] for name in own}
            whole = metrics.compute(_ALONE, truth[:, k], scores[:, [k]], (thresholds[k],), None, own)
            for name in macro:
                if metrics.counts_in_average(name, whole[name], truth[:, k]):
                    terms[name].append(one[name])
    if "micro_auroc" in names:
        pooled = alone(truth.T.ravel(), scores.T.ravel(), np.tile(units, output.columns), ["auroc"])
        found["micro_auroc"] = pooled["auroc"]
    found |= {name: metrics.average(name, some) for name, some in terms.items()}
    return {name: found[name] for name in names}


def _tell(skipped: dict[str, int], left_out: list[str], resamples: int) -> None:
    """Say in one line on how many resamples figures were undefined, and in another which are left out for it.

    Of single findings, of which there may be many, only how many resamples lack the rarest.
    """
    alike: dict[int, list[str]] = {}
    for name, number in skipped.items():
        if "/" not in name:
            alike.setdefault(number, []).append(name)
    told = [f"{_some(names)} on {number}" for number, names in alike.items()]
    if single := [number for name, number in skipped.items() if "/" in name]:
        told.append(f"figures of single findings on up to {max(single)}")
    if told:
        log.info("skipped of %d resamples, undefined: %s", resamples, "; ".join(told))
    if left_out:
        log.warning("left out, defined on less than half of %d resamples: %s", resamples, _some(left_out))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


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
        confidence: of the interval.
        resamples, seed: of the bootstrap.

    Returns:
        The difference with its interval; None where the metric is undefined on the rows (one class only), or on more
        than half of the resamples.

    Raises:
        ConfigurationError: an unknown metric.
        DataRefused: scores that are no probabilities.
    """
    sides = ((scores_a, thresholds_a), (scores_b, thresholds_b))

    def figures(scores: NDArray[Any], thresholds: tuple[float, ...]) -> tuple[NDArray[np.float64], ...]:
        point = metrics.compute(output, truth, scores, thresholds, None, [metric_name])
        if not np.isfinite(point[metric_name][0]):
            return point[metric_name], point[metric_name]
        drawn = _drawn(output, truth, scores, thresholds, _matched(units, truth), resamples, seed, [metric_name])
        return point[metric_name], drawn[metric_name]

    (a, drawn_a), (b, drawn_b) = (figures(scores, thresholds) for scores, thresholds in sides)
    value = float(a[0] - b[0])
    if not np.isfinite(value):
        return None
    return interval(metric_name, value, drawn_a - drawn_b, confidence)


Rows = tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[float, ...]]
"""Truth, scores (N, columns), unit id of each row, thresholds."""


def unpaired_differences(
    output: metrics.Scored,
    a: Rows,
    b: Rows,
    *,
    names: Collection[str],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
) -> dict[str, Measure]:
    """Each metric of a minus that of b, on two sets of rows that share no unit.

    The units of each set are resampled by themselves (Efron & Tibshirani 1993, ch. 8: the two-sample problem), from two
    streams of one seed, so that an interval tells the chance of both sets.

    Args:
        names: metrics of ``metrics.available(output)``.
        confidence: of the intervals.
        resamples, seed: of the bootstrap.

    Returns:
        metric → difference with its interval, of those that are defined on both sets and on most resamples.
    """
    points, drawn = [], []
    streams = [int(one) for one in np.random.SeedSequence(seed).generate_state(2)]
    for (truth, scores, units, thresholds), stream in zip((a, b), streams, strict=True):
        figures = metrics.compute(output, truth, scores, thresholds, None, names)
        points.append({name: float(figure[0]) for name, figure in figures.items() if np.isfinite(figure[0])})
        whose = _matched(units, truth)
        drawn.append(_drawn(output, truth, scores, thresholds, whose, resamples, stream, list(points[-1])))
    found = {}
    for name in points[0]:
        if name in points[1]:
            value = points[0][name] - points[1][name]
            measure = interval(name, value, drawn[0][name] - drawn[1][name], confidence)
            if measure is not None:
                found[name] = measure
    return found


def interval(
    name: str, value: float, drawn: NDArray[np.float64], confidence: float, least: float = -np.inf
) -> Measure | None:
    """A figure with the interval of its resamples; None where it is undefined on more than half of them.

    Args:
        name: the metric, or ``metric/finding``; it decides whether the percentiles are centred.
        value: the figure of the rows themselves.
        drawn: (B,) its resamples, NaN where undefined.
        confidence: of the interval.
        least: what no figure of this name can fall below.

    Percentiles (Efron & Tibshirani 1993, ch. 13), centred at the figure for a metric in ``CENTRED``. An end beyond
    which the figure still lies is moved to the figure.
    """
    kept = drawn[np.isfinite(drawn)]
    if len(kept) < LEAST_DEFINED * len(drawn) or len(kept) == 0:
        return None
    tail = (1 - confidence) / 2
    low, middle, high = (float(end) for end in np.quantile(kept, [tail, 0.5, 1 - tail]))
    if name.partition("/")[0] in CENTRED:
        low, high = max(low - (middle - value), least), high - (middle - value)
    return Measure(value=value, low=min(low, value), high=max(high, value))


def _matched(units: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    if units.shape != (len(truth),):
        raise MedaiError(
            "the units of the bootstrap do not match the rows",
            expected=f"one unit id a row, shape ({len(truth)},)",
            received=f"shape {units.shape}",
            action="report this as a defect of medai",
        )
    return units
