"""Layout ``sample``: the window before each prediction, one row a sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medai.preprocessing.series import SUMMARIES, Series
from medai.preprocessing.series.readings import Readings, Written
from medai.tables import NewArray

if TYPE_CHECKING:
    import polars as pl

_MINUTE = 60_000_000
_AT_ONCE = 1024


def write(readings: Readings, samples: pl.DataFrame, config: Series, folder: Path) -> Written:
    """Write last, mask, elapsed (samples, steps, variables) and summaries (samples, variables × summaries).

    A reading exactly at prediction_time belongs to the last bin: the window is closed at its end.

    Args:
        samples: row, subject_id, prediction_time; sorted by row.
    """
    count, width = samples.height, len(config.variables)
    shapes: dict[str, tuple[int, ...]] = {name: (count, config.steps, width) for name in ("last", "mask", "elapsed")}
    shapes["summaries"] = (count, width * len(SUMMARIES))
    names = dict.fromkeys(shapes, config.variables) | {"summaries": config.summary_names}
    kinds = {"last": "float32", "mask": "uint8", "elapsed": "uint8", "summaries": "float32"}
    order = np.argsort(samples["subject_id"].to_numpy(), kind="stable")
    end = samples["prediction_time"].dt.epoch("us").to_numpy()[order]
    begin = end - config.hours * 60 * _MINUTE
    empty, untouched = np.ones(count, bool), np.ones(count, bool)
    later = 0
    files = {name: NewArray(folder / f"{name}.npy", kinds[name], shape) for name, shape in shapes.items()}
    try:
        for seen in readings.of(samples["subject_id"].to_numpy()[order], begin, end):
            late = seen.known_time > end[seen.spans[seen.span]]
            later += int(late.sum())
            admitted = seen.only(~late) if config.admit_by == "known_time" and late.any() else seen
            rows, span = order[seen.spans], admitted.span
            minutes = (admitted.time - begin[seen.spans[span]]) // _MINUTE
            step = np.minimum(minutes // config.step_minutes, config.steps - 1)
            cell = (span * config.steps + step) * width + admitted.variable
            shape = (len(rows), config.steps, width)
            last, mask = binned(cell, admitted.value, shape, config.bin)
            found = {"last": last, "mask": mask.astype(np.uint8), "elapsed": carry_forward(last, mask)}
            table = summaries(span * width + admitted.variable, admitted.value, len(rows) * width)
            found["summaries"] = table.reshape(len(rows), -1)
            for name, values in found.items():
                files[name].put(rows, values)
            empty[rows] = np.bincount(span, minlength=len(rows)) == 0
            untouched[rows] = False
        for rows in blocks(np.flatnonzero(untouched)):
            shape = (len(rows), config.steps, width)
            files["last"].put(rows, np.full(shape, np.nan, np.float32))
            files["elapsed"].put(rows, np.full(shape, config.steps, np.uint8))
            nothing = summaries(np.empty(0, np.int64), np.empty(0), len(rows) * width)
            files["summaries"].put(rows, nothing.reshape(len(rows), -1))
    finally:
        for file in files.values():
            file.close()
    return Written({name: file.described(names[name]) for name, file in files.items()}, int(empty.sum()), later)


def blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time."""
    for at in range(0, len(rows), _AT_ONCE):
        yield rows[at : at + _AT_ONCE]


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
