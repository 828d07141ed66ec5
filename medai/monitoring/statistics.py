"""How far two samples lie apart, and how far chance alone would put them.

Samples count subjects, one value each: several pictures of one patient are no independent evidence.

psi      population stability index Σ (pᵢ - qᵢ)·ln(pᵢ / qᵢ) over the tenths of the reference: Jeffreys' divergence
         (Jeffreys 1946). Half a count is added to each bin, so that an empty one is finite.
ks       largest distance of the two empirical distribution functions (Smirnov 1948)
share    Wilson's interval of a proportion (Wilson 1927), and Newcombe's of the difference of two (Newcombe 1998,
         method 10), which rests on it

lacking  readings of the codes that so many subjects may lack by chance, as a share of all
mix      total variation distance of two mixes, of readings that come together in subjects

Under equal distributions the index of n and m values in B bins is about (1/n + 1/m) times a chi-squared variable of
B - 1 degrees of freedom (Yurdakul & Naranjo 2020, Statistical properties of the population stability index): with few
subjects it passes any fixed limit by chance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TENTHS = tuple(number / 10 for number in range(1, 10))
FEW_VALUES = 10
"""Up to so many different values in the reference, each is a bin of its own."""


def edges(reference: Floats) -> tuple[Floats, bool]:
    """Where the bins of a reference end, and whether each edge is a bin of its own, between its neighbours.

    Args:
        reference: finite values, at least one.
    """
    values = np.unique(reference)
    if len(values) <= FEW_VALUES:
        return values, True
    return np.unique(np.quantile(reference, TENTHS)), False


def binned(values: Floats, edge: Floats, alone: bool) -> NDArray[np.int64]:
    """Count of values in each bin, lowest first: up to and with each edge, and above the last.

    >>> binned(np.array([0.0, 1.0, 1.5, 9.0]), np.array([1.0, 2.0]), alone=False).tolist()
    [2, 1, 1]
    >>> binned(np.array([0.0, 1.0, 1.5, 9.0]), np.array([1.0, 2.0]), alone=True).tolist()
    [1, 1, 1, 0, 1]
    """
    if not alone:
        return np.bincount(np.searchsorted(edge, values, side="left"), minlength=len(edge) + 1)
    left, right = (np.searchsorted(edge, values, side=side) for side in ("left", "right"))
    return np.bincount(left + right, minlength=2 * len(edge) + 1)


def psi(before: NDArray[np.int64], after: NDArray[np.int64], significance: float) -> tuple[float, float]:
    """The index of two counts of the same bins, and what chance exceeds with this probability.

    Bins that nobody is in on either side do not count.
    """
    from scipy.stats import chi2

    some = (before + after) > 0
    before, after = before[some], after[some]
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, after))
    value = float(np.sum((q - p) * np.log(q / p)))
    freedom = len(before) - 1
    by_chance = float(chi2.isf(significance, freedom)) if freedom else 0.0
    return value, by_chance * (1 / int(before.sum()) + 1 / int(after.sum()))


def ks(before: Floats, after: Floats, significance: float) -> tuple[float, float]:
    """The distance of two samples' distribution functions, and what chance exceeds with this probability."""
    from scipy.stats import ks_2samp, kstwobign

    value = float(ks_2samp(before, after, method="asymp").statistic)
    n, m = len(before), len(after)
    return value, float(kstwobign.isf(significance)) * math.sqrt((n + m) / (n * m))


def lacking(
    readings: NDArray[np.int64], holders: NDArray[np.int64], whole: int, others: int, significance: float
) -> float:
    """Share of the readings of those codes that so many others lack with more than this probability.

    A code that h of n subjects have is lacking among m others with probability (1 - h/n)^m. Rare codes come and go
    together, as with an admission: all that may be lacking are taken to be lacking at once.

    Args:
        readings: (codes,) of each.
        holders: (codes,) subjects who have it.
        whole: all subjects of whom this was counted.
        others: how many others are looked at.

    >>> lacking(np.array([900, 100]), np.array([80, 1]), 80, 40, 0.01)
    0.1
    """
    absent = (1 - np.minimum(holders / whole, 1)) ** others
    return float(readings[absent > significance].sum() / max(int(readings.sum()), 1))


def mixed(before: Floats, after: Floats, n: int, m: int, significance: float) -> float:
    """Total variation distance of two mixes of one distribution that chance exceeds with less than this probability.

    Readings of one subject are alike, so that subjects count. Of two parts it is the normal bound of the difference of
    two shares; of more the sum over parts, which lies above.

    Args:
        before, after: (parts,) shares.
        n, m: subjects of each.
    """
    from scipy.stats import norm

    together = (n * before + m * after) / (n + m)
    spread = np.sqrt(together * (1 - together) * (1 / n + 1 / m))
    return float(norm.isf(significance / 2) * spread.sum() / 2)


def wilson(part: int, whole: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share.

    >>> [round(end, 4) for end in wilson(0, 10)]
    [0.0, 0.2775]
    """
    z = _deviations(confidence)
    share, extra = part / whole, z * z / whole
    middle = (share + extra / 2) / (1 + extra)
    half = z * math.sqrt(share * (1 - share) / whole + extra / (4 * whole)) / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(before: tuple[int, int], after: tuple[int, int], confidence: float = 0.95) -> tuple[float, float, float]:
    """Share after minus share before, each (part, whole), with Newcombe's interval.

    >>> [round(one, 4) for one in difference((48, 80), (56, 70))]
    [0.2, 0.0524, 0.3339]
    """
    (a, n), (b, m) = before, after
    p, q = a / n, b / m
    (p_low, p_high), (q_low, q_high) = wilson(a, n, confidence), wilson(b, m, confidence)
    value = q - p
    return (
        value,
        value - math.hypot(q - q_low, p_high - p),
        value + math.hypot(q_high - q, p - p_low),
    )


def of_subjects(subjects: NDArray[Any], values: NDArray[Any]) -> Floats:
    """One value a subject, in the order of their numbers: the mean of what is finite; NaN where nothing is.

    Args:
        subjects: (rows,) numbers of the rows' subjects, from 0 on, none left out.
        values: (rows,) or (rows, columns).
    """
    whole = np.asarray(values, np.float64)
    rows = whole.reshape(len(subjects), int(np.prod(whole.shape[1:])))
    finite = np.isfinite(rows)
    number = int(subjects.max()) + 1 if len(subjects) else 0
    sums, counts = np.zeros((number, rows.shape[1])), np.zeros((number, rows.shape[1]))
    np.add.at(sums, subjects, np.where(finite, rows, 0.0))
    np.add.at(counts, subjects, finite)
    with np.errstate(invalid="ignore"):
        means: Floats = sums / counts
    return means.reshape(number, *whole.shape[1:])


def _deviations(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)
