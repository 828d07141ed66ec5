"""How good scores are: every metric, over many integer-weighted resamples at once.

A resample of N rows is a row of integer weights (how often each row was drawn), so B resamples are a (B, N) array and
every metric answers with (B,) float64, NaN where it is undefined. ``weights=None`` means the rows as they are: B = 1.
All sums are exact in float64 (counts are integers, probabilities enter as multiples of 2⁻³⁰), so that a figure depends
neither on the order of the rows nor on the threads of the linear algebra library.

Names, for every kind of output (P positives, N negatives, as weighted):

=================  ====================================================================================
auroc              area under the ROC curve = Mann–Whitney U / (P·N), ties count one half (Hanley & McNeil 1982)
auprc              average precision Σ (Rₙ − Rₙ₋₁)·Pₙ over distinct scores, without interpolation, as scikit-learn
accuracy           right answers / all
balanced_accuracy  mean of sensitivity and specificity; multiclass: macro sensitivity
sensitivity        TP / P (recall)
specificity        TN / N
ppv                TP / (TP + FP) (precision); undefined without a positive, when it could be nothing but 0
npv                TN / (TN + FN); undefined without a negative, likewise
f1                 2·TP / (2·TP + FP + FN); undefined without a positive, likewise
brier              mean squared error of the probability; multiclass: summed over the classes (Brier 1950, 0 to 2)
ece                expected calibration error, 15 equal-width bins (Guo et al. 2017). Binary: |P(positive) − share of
                   positives| by bins of P(positive); multiclass: top-label confidence against accuracy
=================  ====================================================================================

Beside these, where an output has them:

=================  ====================================================================================
micro_auroc        of a multilabel output: the AUROC of all pairs (row, finding) taken together
kappa              of a multiclass output whose classes are ordered: 1 - Σ|i − j|·Oᵢⱼ / Σ|i − j|·Eᵢⱼ over true class i
                   and predicted class j, linearly weighted (Cohen 1968)
mad                of the same: mean absolute deviation of the predicted time (``evaluate_output``), in hours
=================  ====================================================================================

Macro averages. Multiclass: one-versus-rest, over the classes present in the truth. Multilabel: over the findings
on which the metric is defined for the rows as they are; ``metric/finding`` is the finding's own. In both, a resample
in which one of the averaged terms is undefined is undefined, except that a class never predicted counts as ppv 0.
A row is predicted positive where score ≥ threshold, compared in float64; multiclass takes the arg-max, first of equals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.errors import ConfigurationError, DataRefused, MedaiError, near_match
from medai.outputs import Binary, Mask, Multiclass, Multilabel

Floats = NDArray[np.float64]
Scored = Binary | Multiclass | Multilabel

NAMES = (
    "auroc",
    "auprc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "brier",
    "ece",
)
MASK_NAMES = (
    "dice",
    "dice_lesions",
    "false_positive_share",
    "hd95",
    "hd",
    "hd95_mm",
    "hd_mm",
    "lesion_sensitivity",
    "false_lesions",
)
"""Of masks; ``medai.measurement.segmentation`` defines them."""
ORDER = ("auroc", "micro_auroc", "auprc", "kappa", "mad", *NAMES[2:], *MASK_NAMES)
"""All names, as a reader expects them."""
LOWER_IS_BETTER = frozenset(
    {"brier", "ece", "mad", "false_positive_share", "hd95", "hd", "hd95_mm", "hd_mm", "false_lesions"}
)
BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. 2017."""

_BLOCK = 1 << 21
"""Weights held as float64 at a time: 16 MiB, and a few arrays of that size beside it."""
_GRID = float(1 << 30)
"""Probabilities enter sums as multiples of 1 / _GRID: exact for eight million rows, wrong by at most 5e-10 a row."""


def in_order(names: Collection[str]) -> list[str]:
    """Metrics as a reader expects them: the order of ``ORDER``, a finding's own after its average.

    >>> in_order(["ece", "auroc/nodule", "auroc"])
    ['auroc', 'auroc/nodule', 'ece']
    """
    return sorted(names, key=lambda name: (ORDER.index(name.partition("/")[0]), name))


# --- one metric of one binary question ------------------------------------------------------------------------------


def auroc(truth: NDArray[Any], score: NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
    """(B,) area under the ROC curve; NaN where a resample has one class only."""
    return _alone(lambda block: _ranking(truth, score, block)[0], truth, weights)


def auprc(truth: NDArray[Any], score: NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
    """(B,) average precision; NaN where a resample has no positive."""
    return _alone(lambda block: _ranking(truth, score, block)[1], truth, weights)


def brier(truth: NDArray[Any], score: NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
    """(B,) mean squared error of P(positive)."""
    return _alone(lambda block: _mean(_on_grid(_squared_error(truth, score)), block), truth, weights)


def ece(truth: NDArray[Any], score: NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
    """(B,) expected calibration error of P(positive) in 15 equal-width bins."""
    return _alone(lambda block: _calibration_error(truth, score, block), truth, weights)


def at_threshold(
    name: str, truth: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any] | None = None
) -> Floats:
    """(B,) of a metric of decisions: accuracy, sensitivity, specificity, ppv, npv, f1 or balanced_accuracy.

    Args:
        name: the metric.
        truth, predicted: (N,) of 0 and 1.
        weights: (B, N) integers.
    """
    return _alone(lambda block: _of_counts(_counts(truth, predicted, block))[name], truth, weights)


# --- all metrics of an output ---------------------------------------------------------------------------------------


def compute(
    output: Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    weights: NDArray[Any] | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Floats]:
    """Every metric (or those named) of an output, over all resamples.

    Args:
        output: what is predicted; it decides the shapes.
        truth: (N,) for binary and multiclass, (N, K) for multilabel.
        scores: (N, columns) probabilities.
        thresholds: one a column for binary and multilabel; unused for multiclass.
        weights: (B, N) unsigned integers; None: the rows as they are.
        names: metrics wanted, of ``available(output)``; None: all.

    Returns:
        metric → (B,) float64, NaN where undefined.

    Raises:
        ConfigurationError: a metric that the output does not have.
        DataRefused: a score that is no number.
        MedaiError: shapes that do not fit together.
    """
    wanted = _wanted(output, names)
    check(output, truth, scores, thresholds)
    parts = [_of_block(output, truth, scores, thresholds, block, wanted) for block in _blocks(weights, len(truth))]
    return {name: np.concatenate([part[name] for part in parts]) for name in available(output) if name in wanted}


def available(output: Scored | Mask) -> tuple[str, ...]:
    """Names of the metrics of an output, in the order they are reported."""
    if output.kind == "mask":
        single = output.findings if len(output.findings) > 1 else ()
        return (*MASK_NAMES, *(f"{name}/{finding}" for finding in single for name in MASK_NAMES))
    if output.kind != "multilabel":
        return (*NAMES, "kappa") if output.kind == "multiclass" and output.ordered else NAMES
    return (*NAMES, "micro_auroc", *(f"{name}/{finding}" for finding in output.names for name in NAMES))


def predict(output: Scored, scores: NDArray[Any], thresholds: tuple[float, ...]) -> NDArray[np.int64]:
    """Decisions in the shape of the truth: 0 or 1 by score ≥ threshold in float64; multiclass the highest score."""
    exact = np.asarray(scores, np.float64)
    if output.kind == "multiclass":
        return np.asarray(exact.argmax(axis=1), np.int64)
    positive = (exact >= np.asarray(thresholds, np.float64)).astype(np.int64)
    return positive[:, 0] if output.kind == "binary" else positive


def confusion(output: Scored, truth: NDArray[Any], predicted: NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    """Rows true, columns predicted, in the order of ``output.names``; multilabel: TN, FP, FN, TP, one row a finding."""
    if output.kind == "multilabel":
        pairs = 2 * truth.astype(np.int64) + predicted
        return tuple(tuple(np.bincount(pairs[:, k], minlength=4).tolist()) for k in range(output.columns))
    size = len(output.names)
    flat = np.bincount(truth.astype(np.int64) * size + predicted, minlength=size * size)
    return tuple(tuple(row) for row in flat.reshape(size, size).tolist())


def check(output: Scored, truth: NDArray[Any], scores: NDArray[Any], thresholds: tuple[float, ...] | None) -> None:
    """Refuse truth, scores and thresholds that do not fit together, no rows, and scores outside 0 … 1."""
    rows = len(truth)
    shape = (rows, output.columns) if output.kind == "multilabel" else (rows,)
    needed = 0 if output.kind == "multiclass" or thresholds is None else output.columns
    found = needed if output.kind == "multiclass" or thresholds is None else len(thresholds)
    if rows == 0 or truth.shape != shape or scores.shape != (rows, output.columns) or found != needed:
        raise MedaiError(
            f"truth, scores and thresholds of a {output.kind} output do not fit together",
            expected=f"at least one row, scores (rows, {output.columns}) and {needed} threshold(s)",
            received=f"truth {truth.shape}, scores {scores.shape}, {found} threshold(s)",
            action="report this as a defect of medai",
        )
    wrong = int(np.count_nonzero(~((scores >= 0) & (scores <= 1)).all(axis=1)))
    if wrong:
        raise DataRefused(
            "the model's scores are not probabilities",
            expected="every score between 0 and 1",
            received=f"{wrong} of {rows} rows with another score or with none (NaN)",
            action="look at the training curves: the fit may have diverged; a lower learning rate often mends it",
        )


# --- curves for figures ---------------------------------------------------------------------------------------------


def roc_points(truth: NDArray[Any], score: NDArray[Any]) -> tuple[Floats, Floats]:
    """(false positive rate, sensitivity), each (points,), from (0, 0) to (1, 1); points on straight runs left out."""
    true, false = (np.append(0.0, counts[0]) for counts in _cumulative(truth, score, np.ones((1, len(truth)))))
    up, right = np.diff(true), np.diff(false)
    turns = np.concatenate([[True], up[:-1] * right[1:] != up[1:] * right[:-1], [True]])
    return (false / max(false[-1], 1))[turns], (true / max(true[-1], 1))[turns]


def precision_recall_points(truth: NDArray[Any], score: NDArray[Any]) -> tuple[Floats, Floats]:
    """(sensitivity, PPV), each (points,), by falling threshold; the area under its steps is the average precision."""
    true, false = _cumulative(truth, score, np.ones((1, len(truth))))
    recall, precision = true[0] / max(true[0, -1], 1), true[0] / (true[0] + false[0])
    return np.append(0.0, recall), np.append(precision[0], precision)


def reliability_points(
    truth: NDArray[Any], score: NDArray[Any], bins: int = 10
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """(mean score, share of positives, rows), each (bins,), by equal-width bins of the score; NaN in empty bins."""
    place = _bin(np.asarray(score, np.float64), bins)
    rows = np.bincount(place, minlength=bins)
    some = np.where(rows > 0, rows, np.nan)
    return (
        np.bincount(place, np.asarray(score, np.float64), bins) / some,
        np.bincount(place, np.asarray(truth, np.float64), bins) / some,
        rows,
    )


# --- inside ---------------------------------------------------------------------------------------------------------


def _wanted(output: Scored, names: Collection[str] | None) -> frozenset[str]:
    known = available(output)
    for name in names or ():
        if name not in known:
            raise ConfigurationError(
                f"unknown metric {name!r}",
                expected="a metric of the output",
                received=f"{name!r}; {near_match(name, known)}",
                action="correct the name in the Problem file",
            )
    return frozenset(known if names is None else names)


def _blocks(weights: NDArray[Any] | None, rows: int) -> Iterator[Floats]:
    """Weights as float64, a bounded number of resamples at a time."""
    if weights is None:
        yield np.ones((1, rows))
        return
    step = max(1, _BLOCK // max(rows, 1))
    for start in range(0, len(weights), step):
        yield weights[start : start + step].astype(np.float64)


def _alone(metric: Callable[[Floats], Floats], truth: NDArray[Any], weights: NDArray[Any] | None) -> Floats:
    return np.concatenate([metric(block) for block in _blocks(weights, len(truth))])


def _of_block(
    output: Scored,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    block: Floats,
    wanted: frozenset[str],
) -> dict[str, Floats]:
    if output.kind == "binary":
        return _binary(truth, scores[:, 0], predict(output, scores, thresholds), block, wanted)
    if output.kind == "multiclass":
        return _multiclass(output, truth, scores, block, wanted)
    return _multilabel(output, truth, scores, thresholds, block, wanted)


def _binary(
    truth: NDArray[Any], score: NDArray[Any], predicted: NDArray[Any], block: Floats, wanted: Collection[str]
) -> dict[str, Floats]:
    found = _of_counts(_counts(truth, predicted, block))
    if "auroc" in wanted or "auprc" in wanted:
        found["auroc"], found["auprc"] = _ranking(truth, score, block)
    if "brier" in wanted:
        found["brier"] = _mean(_on_grid(_squared_error(truth, score)), block)
    if "ece" in wanted:
        found["ece"] = _calibration_error(truth, score, block)
    return found


def _multiclass(
    output: Multiclass, truth: NDArray[Any], scores: NDArray[Any], block: Floats, wanted: Collection[str]
) -> dict[str, Floats]:
    found = {}
    if {"auroc", "auprc"} & set(wanted):
        present = [k for k in range(output.columns) if (truth == k).any()]
        ranked = [_ranking(truth == k, scores[:, k], block) for k in present]
        found["auroc"], found["auprc"] = (np.stack(each).mean(axis=0) for each in zip(*ranked, strict=True))
    if set(wanted) - {"auroc", "auprc"}:
        alike = len(block) == 1 and bool((block == 1).all())
        # Each row a unit of its own, or all of them one where nothing is drawn.
        place = np.zeros(len(truth), np.int64) if alike else np.arange(len(truth))
        sums = class_sums(truth, scores, place)
        found |= of_class_sums(np.ones((1, 1)) if alike else block, sums, output)
    return found


def class_sums(truth: NDArray[Any], scores: NDArray[Any], place: NDArray[np.int64]) -> Floats:
    """(units, K·K + 1 + bins): of each unit's rows the confusion, the squared error and the gaps of confidence by bin.

    Whatever a multiclass output is measured by, except for ranks, is a function of sums of these; so a resample of
    units needs no row.

    Args:
        truth: (N,) class numbers.
        scores: (N, K).
        place: (N,) the unit of each row, from 0 on.
    """
    scores = np.asarray(scores, np.float64)
    units, classes = int(place.max()) + 1, scores.shape[1]
    predicted = scores.argmax(axis=1)
    pairs = classes * classes
    confused = np.bincount(place * pairs + truth * classes + predicted, minlength=units * pairs)
    # Class by class: no matrix of all rows is made beside the scores.
    error = sum(((truth == k) - scores[:, k]) ** 2 for k in range(classes))
    confidence = scores[np.arange(len(scores)), predicted]
    gaps = _on_grid((truth == predicted) - confidence)
    by_bin = np.bincount(place * BINS + _bin(confidence, BINS), gaps, units * BINS)
    squared = np.bincount(place, _on_grid(np.asarray(error)), units)
    return np.hstack([confused.reshape(units, pairs), squared[:, None], by_bin.reshape(units, BINS)])


def of_class_sums(drawn: Floats, sums: Floats, output: Multiclass) -> dict[str, Floats]:
    """Every metric of a multiclass output but the ranks.

    Args:
        drawn: (B, units) how often each unit was drawn.
        sums: (units, …) of ``class_sums``.
    """
    size = output.columns
    totals = drawn @ sums
    confused = totals[:, : size * size].reshape(-1, size, size)
    rows, true, told = confused.sum(axis=(1, 2)), confused.sum(axis=2), confused.sum(axis=1)
    right = np.einsum("bkk->bk", confused)
    present = np.flatnonzero(sums[:, : size * size].sum(axis=0).reshape(size, size).sum(axis=1))
    each = []
    for k in present:
        missed, wrong = true[:, k] - right[:, k], told[:, k] - right[:, k]
        each.append(_of_counts(np.stack([rows - true[:, k] - wrong, wrong, missed, right[:, k]])))
    found = {name: average(name, [one[name] for one in each]) for name in each[0]}
    found["accuracy"] = _ratio(right.sum(axis=1), rows)
    found["balanced_accuracy"] = found["sensitivity"]
    found["brier"] = _ratio(totals[:, size * size], rows)
    found["ece"] = _ratio(np.abs(totals[:, size * size + 1 :]).sum(axis=1), rows)
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    observed = np.einsum("bij,ij->b", confused, apart) * rows
    found["kappa"] = 1 - _ratio(observed, np.einsum("bi,bj,ij->b", true, told, apart, optimize=True))
    return found


def _multilabel(
    output: Multilabel,
    truth: NDArray[Any],
    scores: NDArray[Any],
    thresholds: tuple[float, ...],
    block: Floats,
    wanted: frozenset[str],
) -> dict[str, Floats]:
    predicted = predict(output, scores, thresholds)
    every = np.ones((1, len(truth)))
    macro = {name for name in NAMES if name in wanted}
    found: dict[str, Floats] = {}
    terms: dict[str, list[Floats]] = {name: [] for name in macro}
    for k, finding in enumerate(output.names):
        own = macro | {name for name in NAMES if f"{name}/{finding}" in wanted}
        if not own:
            continue
        columns = truth[:, k], scores[:, k], predicted[:, k]
        one, whole = _binary(*columns, block, own), _binary(*columns, every, own)
        found |= {f"{name}/{finding}": one[name] for name in own}
        for name in macro:
            if counts_in_average(name, whole[name], truth[:, k]):
                terms[name].append(one[name])
    if "micro_auroc" in wanted:
        found["micro_auroc"] = _ranking(truth.T.ravel(), scores.T.ravel(), np.tile(block, (1, output.columns)))[0]
    return found | {name: average(name, some) if some else np.full(len(block), np.nan) for name, some in terms.items()}


def counts_in_average(name: str, whole: Floats, truth: NDArray[Any]) -> bool:
    """Whether a finding's metric is among those averaged: it is defined on the rows as they are."""
    return bool(np.isfinite(whole[0]) or (name == "ppv" and truth.any()))


def average(name: str, terms: list[Floats]) -> Floats:
    """(B,) the mean over classes or findings."""
    stack = np.stack(terms)
    if name == "ppv":  # a present class never predicted earns nothing rather than being left out
        stack = np.nan_to_num(stack)
    return np.asarray(stack.mean(axis=0))


def _cumulative(truth: NDArray[Any], score: NDArray[Any], block: Floats) -> tuple[Floats, Floats]:
    """(B, distinct scores) true and false positives at each distinct score, from the highest down."""
    score = np.asarray(score, np.float64)
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    drawn = block[:, order]
    both = np.cumsum(drawn, axis=1)
    true = np.cumsum(np.multiply(drawn, np.asarray(truth)[order], out=drawn), axis=1, out=drawn)
    if len(ends) < len(order):
        both, true = both[:, ends], true[:, ends]
    return true, both - true


def _ranking(truth: NDArray[Any], score: NDArray[Any], block: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision from one sort."""
    true, false = _cumulative(truth, score, block)
    positives, negatives = true[:, -1].copy(), false[:, -1].copy()
    gained = np.diff(true, axis=1, prepend=0.0)
    # A positive outranks the negatives below its score, and half of those at it.
    below = negatives[:, None] - false
    at = np.diff(false, axis=1, prepend=0.0)
    outranked = np.einsum("ij,ij->i", gained, below) + 0.5 * np.einsum("ij,ij->i", gained, at)
    precision = np.divide(true, np.maximum(np.add(true, false, out=false), 1.0, out=false), out=true)
    summed = np.multiply(precision, gained, out=gained).sum(axis=1)
    return _ratio(outranked, positives * negatives), _ratio(summed, positives)


def _counts(truth: NDArray[Any], predicted: NDArray[Any], block: Floats) -> Floats:
    """(4, B): true negatives, false positives, false negatives, true positives."""
    pairs = 2 * np.asarray(truth, np.int64) + np.asarray(predicted, np.int64)
    return np.asarray((block @ (pairs[:, None] == np.arange(4)).astype(np.float64)).T)


def _of_counts(counts: Floats) -> dict[str, Floats]:
    tn, fp, fn, tp = counts
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    some_positive, some_negative = tp + fn > 0, tn + fp > 0
    return {
        "accuracy": _ratio(tp + tn, counts.sum(axis=0)),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(tp, (tp + fp) * some_positive),
        "npv": _ratio(tn, (tn + fn) * some_negative),
        "f1": _ratio(2 * tp, (2 * tp + fp + fn) * some_positive),
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


def _mean(values: Floats, block: Floats) -> Floats:
    return _ratio(block @ values, block.sum(axis=1))


def _squared_error(truth: NDArray[Any], score: NDArray[Any]) -> Floats:
    return np.asarray((np.asarray(score, np.float64) - truth) ** 2)


def _on_grid(values: Floats) -> Floats:
    return np.asarray(np.rint(values * _GRID) / _GRID)


def _bin(score: Floats, bins: int) -> NDArray[np.int64]:
    """Bins ((m − 1) / M, m / M], zero in the first, as Guo et al. 2017."""
    return np.asarray(np.clip(np.ceil(score * bins).astype(np.int64) - 1, 0, bins - 1))


def _calibration_error(truth: NDArray[Any], score: NDArray[Any], block: Floats) -> Floats:
    """Σ over bins |Σ (truth − score)| / rows: the bins' gaps weighted by their share of the rows."""
    score = np.asarray(score, np.float64)
    gaps = np.zeros((len(score), BINS))
    gaps[np.arange(len(score)), _bin(score, BINS)] = _on_grid(truth - score)
    return _ratio(np.abs(block @ gaps).sum(axis=1), block.sum(axis=1))
