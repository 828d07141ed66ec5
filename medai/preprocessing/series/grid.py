"""Layout ``sample``: the window before each prediction, one row a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medai.preprocessing.series import SUMMARIES, Series
from medai.preprocessing.series.plan import Plan
from medai.preprocessing.series.readings import Seen, Spans

if TYPE_CHECKING:
    import polars as pl

_MINUTE = 60_000_000


def plan(samples: pl.DataFrame, config: Series) -> Plan:
    """Last, mask, elapsed (samples, steps, variables) and summaries (samples, variables × summaries).

    Args:
        samples: row, subject_id, prediction_time; sorted by row.
    """
    count, width = samples.height, len(config.variables)
    order = np.argsort(samples["subject_id"].to_numpy(), kind="stable")
    end = samples["prediction_time"].dt.epoch("us").to_numpy()[order]
    one = np.ones(count, np.int64)
    subject, begin = samples["subject_id"].to_numpy()[order], end - config.hours * 60 * _MINUTE
    shapes: dict[str, tuple[int, ...]] = {name: (count, config.steps, width) for name in ("last", "mask", "elapsed")}
    shapes["summaries"] = (count, width * len(SUMMARIES))
    return Plan(Spans(subject, begin, end, one, np.arange(count), one - 1), order, shapes, {})


def arrays(seen: Seen, spans: Spans, config: Series) -> tuple[dict[str, np.ndarray], int]:
    """The windows of some samples, and how many readings were known only after them.

    A reading exactly at prediction_time belongs to the last bin: the window is closed at its end.
    """
    late = seen.known_time > spans.end[seen.span]
    admitted = seen.only(~late) if config.admit_by == "known_time" and late.any() else seen
    minutes = (admitted.time - spans.begin[admitted.span]) // _MINUTE
    step = np.minimum(minutes // config.step_minutes, config.steps - 1)
    count, width = len(spans.subject), len(config.variables)
    cell = (admitted.span * config.steps + step) * width + admitted.variable
    last, mask = binned(cell, admitted.value, (count, config.steps, width), config.bin)
    elapsed = carry_forward(last, mask)
    table = summaries(admitted.span * width + admitted.variable, admitted.value, count * width)
    found = {"last": last, "mask": mask.astype(np.uint8), "elapsed": elapsed, "summaries": table.reshape(count, -1)}
    return found, int(late.sum())


def binned(cell: np.ndarray, value: np.ndarray, shape: tuple[int, ...], how: str) -> tuple[np.ndarray, np.ndarray]:
    """What stands in each cell, NaN where nothing was measured, as float32; and whether something was.

    Args:
        cell: of each reading, in the order in which the last one stands.
        value: float64.
        how: ``last``, or ``mean``: the readings' sum in double precision and in their order, over their number.
    """
    grid = np.full(int(np.prod(shape)), np.nan, np.float32)
    if how == "mean":
        counts = np.bincount(cell, minlength=len(grid))
        sums = np.bincount(cell, value, minlength=len(grid))
        measured = counts > 0
        grid[measured] = sums[measured] / counts[measured]
    else:
        grid[cell] = value  # of repeated places NumPy leaves the last
        measured = ~np.isnan(grid)
    return grid.reshape(shape), measured.reshape(shape)


def carry_forward(last: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill ``last`` (rows, steps, variables) forward in place.

    Returns:
        the steps since the last reading, uint8; the number of steps if there was none.
    """
    steps = last.shape[1]
    step = np.arange(steps, dtype=np.int16)[None, :, None]
    latest = np.maximum.accumulate(np.where(mask, step, np.int16(-1)), axis=1)
    last[:] = np.take_along_axis(last, np.maximum(latest, 0), axis=1)
    return np.where(latest < 0, steps, step - latest).astype(np.uint8)


def summaries(cell: np.ndarray, value: np.ndarray, cells: int) -> np.ndarray:
    """(cells, summaries) float32 of the readings of each cell, in their order; NaN where there is none, its count 0."""
    counts = np.bincount(cell, minlength=cells)
    found = np.full((cells, len(SUMMARIES)), np.nan)
    first, last, least, largest, mean, count = range(len(SUMMARIES))
    found[cell[::-1], first] = value[::-1]
    found[cell, last] = value
    np.fmin.at(found[:, least], cell, value)
    np.fmax.at(found[:, largest], cell, value)
    measured = counts > 0
    found[measured, mean] = np.bincount(cell, value, minlength=cells)[measured] / counts[measured]
    found[:, count] = counts
    return found.astype(np.float32)
