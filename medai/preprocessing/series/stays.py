"""Layout ``stay``: each stay's series once, all behind each other; samples are an index into it.

A stay's first step begins at series_start. A reading stands in the step in which it became known, the later of time and
known_time; step k holds what became known after its begin and up to its end (the first one, its begin as well). A
sample of length n is made at the end of step n - 1 or later and reads the steps before n: whatever a stay's other
samples know later stands behind. A stay's last sample reads the step that it is made in as well, which ends with it.
With ``admit_by: time`` the reading's own time takes that place.

What becomes known is no news where a later reading of the variable was known in an earlier step already: a value that
is stored hours after it was taken does not push the present one aside. It counts in the summaries, and stands in no
step.

``summaries`` run: of each step they say first, last, minimum, maximum, mean and count of all readings up to it, the
first and the last by the time when they were taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.errors import DataRefused
from medai.preprocessing.series import SUMMARIES, Series
from medai.preprocessing.series.grid import binned
from medai.preprocessing.series.plan import Plan
from medai.preprocessing.series.readings import Seen, Spans

if TYPE_CHECKING:
    import polars as pl

_MINUTE = 60_000_000
_NEVER = 255
"""``elapsed`` before the first reading, and the most it says."""


class _Stays(NamedTuple):
    """The stays of some samples, by subject and stay.

    Attributes:
        subject: whose each is.
        start, end: series_start and the last prediction, in microseconds.
        length: steps that the longest of its samples reads.
        begin: row of its first step.
        of_sample: sample → its stay's place.
        sample_length: sample → steps.
    """

    subject: np.ndarray
    start: np.ndarray
    end: np.ndarray
    length: np.ndarray
    begin: np.ndarray
    of_sample: np.ndarray
    sample_length: np.ndarray

    @classmethod
    def of(cls, samples: pl.DataFrame, width: int) -> _Stays:
        """The stays of the samples, with steps of this many microseconds."""
        import polars as pl

        keys = ["subject_id", "stay_id", "series_start"]
        told = samples.select(*keys, "prediction_time").with_columns(
            pl.col("prediction_time").max().over(keys).alias("end")
        )
        whole = (pl.col("prediction_time") - pl.col("series_start")).dt.total_microseconds()
        is_last = pl.col("prediction_time") == pl.col("end")
        told = told.with_columns(
            pl.when(is_last).then((-(-whole // width)).clip(lower_bound=1)).otherwise(whole // width).alias("length")
        )
        early = int((told["length"] < 1).sum())
        if early:
            raise DataRefused(
                "a prediction lies before the end of the first step of its stay's series",
                expected=f"predictions {width // _MINUTE} minutes after series_start or later",
                received=f"{early} earlier ones",
                action="choose a shorter step_minutes, or later predictions in the cohort",
            )
        stays = told.group_by(keys).agg(pl.col("length").max(), pl.col("end").first())
        stays = stays.sort(keys).with_row_index("place")
        places = told.join(stays.select(*keys, "place"), on=keys, how="left", maintain_order="left")["place"]
        length = stays["length"].to_numpy()
        return cls(
            stays["subject_id"].to_numpy(),
            stays["series_start"].dt.epoch("us").to_numpy(),
            stays["end"].dt.epoch("us").to_numpy(),
            length,
            np.cumsum(length) - length,
            places.to_numpy().astype(np.int64),
            told["length"].to_numpy(),
        )


def plan(samples: pl.DataFrame, config: Series) -> Plan:
    """Last, mask, elapsed (all steps, variables) and summaries of all stays, and begin and length of the samples.

    Args:
        samples: row, subject_id, prediction_time, stay_id, series_start; sorted by row.

    Raises:
        DataRefused: a prediction lies before the end of its stay's first step.
    """
    stays = _Stays.of(samples, config.step_minutes * _MINUTE)
    rows, variables = int(stays.length.sum()), len(config.variables)
    shapes: dict[str, tuple[int, ...]] = {name: (rows, variables) for name in ("last", "mask", "elapsed")}
    shapes["summaries"] = (rows, variables * len(SUMMARIES))
    by_stay = np.argsort(stays.of_sample, kind="stable")
    spans = Spans(
        stays.subject,
        stays.start,
        stays.end,
        stays.length,
        stays.of_sample[by_stay],
        stays.sample_length[by_stay] - 1,
    )
    index = {
        "begin": stays.begin[stays.of_sample].astype(np.int64),
        "length": stays.sample_length.astype(np.int32),
    }
    return Plan(spans, stays.begin, shapes, index)


def arrays(seen: Seen, spans: Spans, config: Series) -> tuple[dict[str, np.ndarray], int]:
    """The series of some stays behind each other, and how many readings were known only in a later step."""
    width = config.step_minutes * _MINUTE
    start, end = spans.begin[seen.span], spans.end[seen.span]
    known, taken = (np.maximum(-(-(time - start) // width) - 1, 0) for time in (seen.known_time, seen.time))
    step = known if config.admit_by == "known_time" else taken
    inside = (seen.known_time <= end) | (config.admit_by == "time")
    return _series(seen.only(inside), step[inside], spans.rows, config), int((known > taken).sum())


def _series(seen: Seen, step: np.ndarray, lengths: np.ndarray, config: Series) -> dict[str, np.ndarray]:
    """The series of some stays behind each other.

    Args:
        seen: their readings, stay after stay.
        step: of each reading.
        lengths: steps of each stay.
    """
    variables, begins = len(config.variables), np.cumsum(lengths) - lengths
    shape = (int(lengths.sum()), variables)
    cell = (begins[seen.span] + step) * variables + seen.variable
    news = ~_overtaken(seen.span * variables + seen.variable, step)
    last, mask = binned(cell[news], seen.value[news], shape, config.bin)
    counts = np.bincount(cell, minlength=mask.size).reshape(shape)
    sums = np.bincount(cell, seen.value, minlength=mask.size).reshape(shape)
    latest, least, largest = (np.full(mask.size, np.nan) for _ in range(3))
    latest[cell[news]] = seen.value[news]
    place, values = np.full(mask.size, len(cell)), np.append(seen.value, np.nan)
    place[cell[::-1]] = np.arange(len(cell))[::-1]
    np.fmin.at(least, cell, seen.value)
    np.fmax.at(largest, cell, seen.value)
    elapsed = np.full(shape, _NEVER, np.uint8)
    table = np.empty((*shape, len(SUMMARIES)), np.float32)
    for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
        own = slice(begin, begin + length)
        steps = np.arange(length)[:, None]
        newest = np.maximum.accumulate(np.where(mask[own], steps, -1), axis=0)
        since = np.maximum(newest, 0)
        elapsed[own] = np.where(newest < 0, _NEVER, np.minimum(steps - newest, _NEVER))
        last[own] = np.take_along_axis(last[own], since, axis=0)
        number = np.cumsum(counts[own], axis=0)
        known = number > 0
        table[own, :, 0] = values[np.minimum.accumulate(place.reshape(shape)[own], axis=0)]
        table[own, :, 1] = np.take_along_axis(latest.reshape(shape)[own], since, axis=0)
        table[own, :, 2] = np.fmin.accumulate(least.reshape(shape)[own], axis=0)
        table[own, :, 3] = np.fmax.accumulate(largest.reshape(shape)[own], axis=0)
        table[own, :, 4] = np.where(known, np.cumsum(sums[own], axis=0) / np.maximum(number, 1), np.nan)
        table[own, :, 5] = number
    return {
        "last": last,
        "mask": mask.astype(np.uint8),
        "elapsed": elapsed,
        "summaries": table.reshape(len(mask), -1),
    }


def _overtaken(series: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Whether a reading became known in a later step than one of its series that was taken after it.

    Args:
        series: number of each reading's variable in its stay; readings of one series stand in the order of their time.
        step: in which it became known.
    """
    order = np.argsort(series, kind="stable")
    # Each series' steps lie above those of the series before it, so that a running minimum from behind stays inside.
    known = (series * (int(step.max(initial=0)) + 1) + step)[order]
    overtaken = np.empty(len(step), bool)
    overtaken[order] = np.minimum.accumulate(known[::-1])[::-1] < known
    return overtaken
