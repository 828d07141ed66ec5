"""Statistics: means and deviations fitted on train of one split, applied as constants inside the model."""

from __future__ import annotations

from typing import Any

import numpy as np

_BLOCK = 4096
_VALUES = 1 << 22
"""Rows, and values, held as float64 at a time; sums of pixels are whole numbers and do not depend on either."""
_ROWS = 1 << 17
"""Rows that are looked at: evenly spaced ones where there are more. Windows of one stay overlap, so a mean over all of
them is hardly more exact, and takes as long as an epoch."""
_SMALLEST_DEVIATION = 1e-6  # a variable that never changes in train is left at zero instead of divided by zero


RANGE = (0.01, 0.99)
"""Shares of the train values at or below the low and the high end of a range."""


def fit_statistics(arrays: dict[str, Any], rows: np.ndarray, ranges: bool = False) -> dict[str, Any]:
    """Mean and standard deviation of each float or pixel array over the train rows, NaN ignored.

    Args:
        arrays: name → array, or what answers to shape and rows like one; ``pixels`` (N, H, W, C) is taken per channel,
            float arrays per last axis; the series' ``mask`` and ``elapsed``, and pictures' ``masks`` need none.
        rows: positions of the train samples.
        ranges: whether grey levels (uint8 arrays of pictures or volumes) get their 1st and 99th percentile, too.

    Returns:
        name → {"mean": [...], "deviation": [...]}; a column without any value has mean 0 and deviation 1. Float64
        sums in row order, so the same rows give the same figures. With ranges also ``NAME_range`` →
        {"low": [...], "high": [...]}: the least level that a hundredth, or 99 of a hundred, of the values do not
        exceed.
    """
    statistics: dict[str, Any] = {}
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    for name, array in sorted(arrays.items()):
        if name in ("mask", "elapsed", "masks"):
            continue
        width = array.shape[-1]
        count, total, squares = np.zeros(width), np.zeros(width), np.zeros(width)
        step = min(_BLOCK, max(1, _VALUES // (array[:1].size or 1)))
        for start in range(0, len(rows), step):
            block = np.asarray(array[rows[start : start + step]], np.float64).reshape(-1, width)
            known = ~np.isnan(block)
            values = np.where(known, block, 0.0)
            count += known.sum(axis=0)
            total += values.sum(axis=0)
            squares += (values * values).sum(axis=0)
        mean = np.divide(total, count, out=np.zeros(width), where=count > 0)
        variance = np.divide(squares, count, out=np.ones(width), where=count > 0) - mean * mean
        deviation = np.sqrt(np.maximum(variance, 0.0))
        deviation = np.where((count > 0) & (deviation > _SMALLEST_DEVIATION), deviation, 1.0)
        statistics[name] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
        if ranges and array.dtype == np.uint8:
            low, high = _percentiles(array, rows)
            statistics[f"{name}_range"] = {"low": low, "high": high}
    return statistics


def _percentiles(array: Any, rows: np.ndarray) -> list[list[float]]:
    """The range's low and high ends, one value a channel, counted exactly."""
    width = array.shape[-1]
    counts = np.zeros((width, 256), np.int64)
    step = min(_BLOCK, max(1, _VALUES // (array[:1].size or 1)))
    for start in range(0, len(rows), step):
        block = np.asarray(array[rows[start : start + step]]).reshape(-1, width)
        for channel in range(width):
            counts[channel] += np.bincount(block[:, channel], minlength=256)
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    return [(shares >= share).argmax(axis=1).astype(float).tolist() for share in RANGE]
