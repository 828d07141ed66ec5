"""Events to an hourly grid: last value in a bin, what was measured, how long ago, and summaries of each variable.

A window admits rows by ``known_time <= prediction_time`` and bins them by ``time``. Readings of one bin are ordered
by content (time, known_time, code, value, text), the order of the snapshot, and the last one stands, so that ties
give the same bytes on every machine. What a feature may be made of is decided by construction: readings of the
source's clinical variables, static codes, and columns of the stays table, which holds nothing that was known later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from medai.errors import ConfigurationError, DataRefused
from medai.records import ArrayFile, Arrays, Cohort, Frozen, QualityReport, Snapshot
from medai.tables import STAYS

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from medai.workspace import Workspace

VERSION = 3
LONGEST_HOURS = 24 * 365
"""A window or a time of observation of more than a year is a slip."""
SUMMARIES = ("first", "last", "minimum", "maximum", "mean", "count")
"""Summaries of one variable over the window, in the order of their columns."""


class Series(Frozen):
    """Clinical time series on a regular grid.

    Attributes:
        hours: length of the window that ends at prediction_time.
        step_minutes: width of a bin; it divides the window and gives at most 255 steps.
        variables: clinical variables, one column each, in this order.
        static: columns of the stays table, or codes without a time, whose number is used as it is.
        categories: static column or code → its levels, one column each (one-hot).
        admit_by: ``known_time``, or ``time`` as public benchmarks do, which lets readings in that were stored only
            after prediction_time; how many is counted either way (``readings_known_later``).
    """

    kind: Literal["series"]
    hours: int = Field(48, ge=1, le=LONGEST_HOURS)
    step_minutes: int = Field(60, ge=1)
    variables: tuple[str, ...] = Field(min_length=1)
    static: tuple[str, ...] = ()
    categories: dict[str, tuple[int | str, ...]] = Field(default={})
    admit_by: Literal["known_time", "time"] = "known_time"

    @model_validator(mode="after")
    def _steps_are_whole(self) -> Series:
        if (self.hours * 60) % self.step_minutes:
            raise ValueError(f"step_minutes must divide the window of {self.hours * 60} minutes")
        if self.steps > 255:
            raise ValueError(f"the grid may have 255 steps at most, not {self.steps}")
        named = {"variables": self.variables, "static": self.static} | {
            f"categories.{code}": levels for code, levels in self.categories.items()
        }
        for key, values in named.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must be named once each")
        if not all(self.categories.values()):
            raise ValueError("categories need one level at least")
        return self

    @property
    def steps(self) -> int:
        """Bins of the grid."""
        return self.hours * 60 // self.step_minutes

    @property
    def static_names(self) -> tuple[str, ...]:
        """Columns of the static array."""
        levels = tuple(f"{code}={level}" for code, values in self.categories.items() for level in values)
        return self.static + levels

    @property
    def summary_names(self) -> tuple[str, ...]:
        """Columns of the summaries array: variable by variable, its summaries in order."""
        return tuple(f"{variable}.{summary}" for variable in self.variables for summary in SUMMARIES)


def write(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    cohort: Cohort,
    config: Series,
    key: str,
    folder: Path,
) -> Arrays:
    """Write last, mask, elapsed, static and summaries, one row a sample in the order of sample_id."""
    import numpy as np
    import polars as pl

    from medai.tables import read_table, write_table

    if snapshot.shape != "events":
        raise DataRefused(
            "preprocessing series needs events",
            expected="a snapshot of events",
            received=f"a snapshot of {snapshot.shape}",
            action="use preprocessing kind pixels, or an event source",
        )
    samples = pl.DataFrame(
        read_table(
            workspace.folder("select", cohort.key) / "cohort.parquet", ["sample_id", "subject_id", "prediction_time"]
        )
    ).with_row_index("row")
    events = pl.DataFrame(
        read_table(
            workspace.folder("ingest", snapshot.key) / "events.parquet",
            ["row_id", "subject_id", "time", "known_time", "code", "variable", "numeric_value"],
        )
    )
    aside = pl.DataFrame(read_table(workspace.folder("validate", quality.key) / "set_aside.parquet"))
    events = events.join(
        aside.filter(pl.col("table") == "events").select("row_id"), on="row_id", how="anti", maintain_order="left"
    ).filter(pl.col("numeric_value").is_not_null())

    readings = _readings(events, samples, config)
    later = int(readings["later"].sum())
    if config.admit_by == "known_time":
        readings = readings.filter(~pl.col("later"))
    count = samples.height
    last = _last_values(readings, count, config)
    mask = ~np.isnan(last)
    elapsed = _carry_forward(last, mask)
    arrays: dict[str, tuple[Any, tuple[str, ...]]] = {
        "last": (last, config.variables),
        "mask": (mask.astype(np.uint8), config.variables),
        "elapsed": (elapsed, config.variables),
        "summaries": (_summaries(readings, count, config), config.summary_names),
    }
    if config.static_names:
        stays = pl.DataFrame(read_table(workspace.folder("ingest", snapshot.key) / "stays.parquet"))
        arrays["static"] = (_static(events, stays, samples, config), config.static_names)
    files = {}
    for name, (values, names) in sorted(arrays.items()):
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
        files[name] = ArrayFile(file=f"{name}.npy", dtype=str(values.dtype), shape=values.shape, names=names)
    write_table(folder / "samples.parquet", samples.select(pl.col("row").cast(pl.Int64), "sample_id").to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    empty = int(count - readings["row"].n_unique())
    if cohort.classes and empty == count:  # labelled: to be learnt from or judged by, which nothing can be
        raise DataRefused(
            "not one sample has a reading in its window",
            expected=f"readings of the variables in the {config.hours} hours before prediction_time",
            received=f"{count} samples, all without any",
            action="correct 'variables' and 'hours' of the preprocessing, and 'observation_hours' of the cohort",
        )
    counts = {"samples_without_reading": empty, "readings_known_later": later}
    return Arrays(key=key, kind="series", arrays=files, samples=count, counts=counts)


def _readings(events: pl.DataFrame, samples: pl.DataFrame, config: Series) -> pl.DataFrame:
    """Rows (row, step, variable, value, later) inside each sample's window, in the snapshot's order.

    ``later`` marks a reading that was taken inside the window and known only after prediction_time.

    A reading exactly at prediction_time belongs to the last bin: the window is closed at its end.
    """
    import polars as pl

    columns = pl.Enum(config.variables)
    start = pl.col("prediction_time").dt.offset_by(f"-{config.hours}h")
    minutes = (pl.col("time") - start).dt.total_microseconds() // 60_000_000
    return (
        events.filter(pl.col("time").is_not_null() & pl.col("variable").is_in(list(config.variables)))
        .with_columns(pl.col("variable").cast(columns).to_physical().cast(pl.Int32))
        .join(samples, on="subject_id", how="inner", maintain_order="left")
        .filter(
            pl.col("time") <= pl.col("prediction_time"),
            pl.col("time") >= start,
        )
        .with_columns((minutes // config.step_minutes).clip(0, config.steps - 1).cast(pl.Int32).alias("step"))
        .select(
            pl.col("row").cast(pl.Int64),
            "step",
            "variable",
            pl.col("numeric_value").alias("value"),
            (pl.coalesce("known_time", "time") > pl.col("prediction_time")).alias("later"),
        )
    )


def _last_of_runs(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Positions of the last reading of each group, when ``order`` sorts the groups stably."""
    import numpy as np

    ordered = groups[order]
    return order[np.flatnonzero(np.append(ordered[1:] != ordered[:-1], len(ordered) > 0))]


def _last_values(readings: pl.DataFrame, count: int, config: Series) -> np.ndarray:
    """(samples, steps, variables) float32: the last value in each bin, NaN where nothing was measured."""
    import numpy as np

    width = len(config.variables)
    grid = np.full(count * config.steps * width, np.nan, np.float32)
    cell = (readings["row"].to_numpy() * config.steps + readings["step"].to_numpy()) * width + readings[
        "variable"
    ].to_numpy()
    chosen = _last_of_runs(np.argsort(cell, kind="stable"), cell)
    grid[cell[chosen]] = readings["value"].to_numpy()[chosen]
    return grid.reshape(count, config.steps, width)


def _carry_forward(last: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill ``last`` forward in place; return the steps since the last reading, uint8 (the grid's length if never)."""
    import numpy as np

    count, steps, width = last.shape
    elapsed = np.empty((count, steps, width), np.uint8)
    since = np.full((count, width), steps, np.int16)
    for step in range(steps):
        measured = mask[:, step]
        since = np.where(measured, 0, np.minimum(since + 1, steps))
        elapsed[:, step] = since
        if step:
            last[:, step] = np.where(measured, last[:, step], last[:, step - 1])
    return elapsed


def _summaries(readings: pl.DataFrame, count: int, config: Series) -> np.ndarray:
    """(samples, variables × summaries) float32; NaN where a variable was never measured, its count 0."""
    import numpy as np

    width = len(config.variables)
    table = np.full((count * width, len(SUMMARIES)), np.nan, np.float32)
    table[:, SUMMARIES.index("count")] = 0
    if readings.height:
        cell = readings["row"].to_numpy() * width + readings["variable"].to_numpy()
        order = np.argsort(cell, kind="stable")
        values = readings["value"].to_numpy()[order].astype(np.float64)
        begins = np.flatnonzero(np.append(True, np.diff(cell[order]) != 0))
        ends = np.append(begins[1:], len(order))
        sizes = ends - begins
        table[cell[order][begins]] = np.stack(
            [
                values[begins],
                values[ends - 1],
                np.minimum.reduceat(values, begins),
                np.maximum.reduceat(values, begins),
                np.add.reduceat(values, begins) / sizes,
                sizes,
            ],
            axis=1,
        )
    return table.reshape(count, width * len(SUMMARIES))


def _static(events: pl.DataFrame, stays: pl.DataFrame, samples: pl.DataFrame, config: Series) -> np.ndarray:
    """(samples, static columns) float32; a number is NaN and a level is 0 where it is not known."""
    import numpy as np
    import polars as pl

    untimed = (
        events.filter(pl.col("time").is_null())
        .join(samples, on="subject_id", how="inner", maintain_order="left")
        .filter(pl.col("known_time").is_null() | (pl.col("known_time") <= pl.col("prediction_time")))
        .unique(["row", "code"], keep="last", maintain_order=True)
    )
    known_at_start = samples.join(stays, left_on="sample_id", right_on="stay_id", how="left", maintain_order="left")
    own = [column for column in stays.columns if column not in STAYS]
    columns = []
    for name in (*config.static, *config.categories):
        if name in own:
            values = known_at_start[name]
        else:
            levels = untimed.filter(pl.col("code") == name).select("row", "numeric_value")
            values = samples.join(levels, on="row", how="left", maintain_order="left")["numeric_value"]
        if name in config.categories:
            columns += [_is_level(values, level) for level in config.categories[name]]
        elif values.dtype.is_numeric() or values.dtype == pl.Boolean:
            columns.append(values.cast(pl.Float32).to_numpy())
        else:
            raise ConfigurationError(
                f"the static column {name} is no number",
                expected="a number a stay",
                received=f"a column of {values.dtype}",
                action=f"name its levels under preprocessing.categories.{name}",
            )
    return np.stack([np.where(np.isnan(column), np.float32(np.nan), column) for column in columns], axis=1)


def _is_level(values: pl.Series, level: int | str) -> np.ndarray:
    """float32 (samples): 1 where the value is this level."""
    import polars as pl

    if isinstance(level, str) != (values.dtype == pl.String):
        raise ConfigurationError(
            f"a level of the static column {values.name} is of another type than its values",
            expected=f"levels of {values.dtype}",
            received=type(level).__name__,
            action="correct preprocessing.categories in the Problem",
        )
    return (values == level).fill_null(False).cast(pl.Float32).to_numpy()
