"""Events to an hourly grid: last value in a bin, what was measured, how long ago, and summaries of each variable.

A window admits rows by ``known_time <= prediction_time`` and bins them by ``time``. Readings of one bin are ordered
by content (time, known_time, code, value, text), the order of the snapshot, and the last one stands, so that ties
give the same bytes on every machine. Events are worked on shard by shard, each whole subjects, by one pure function:
here, or by other machines. What a shard's samples hold is written before the next is looked at: memory does not grow
with the snapshot. What a feature may be made of is decided by construction: readings of the source's clinical
variables, static codes, and columns of the stays table, which holds nothing that was known later.

    readings   the readings that samples may see, of one shard
    plan       what a layout asks of them
    grid       layout ``sample``: a window a sample
    stays      layout ``stay``: a series a stay, samples being an index
    blocks     the work on one shard, here or elsewhere
    writing    all shards' arrays, put together
    static     what was known before
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from medai.errors import DataRefused
from medai.records import Arrays, Cohort, Frozen, QualityReport, Snapshot

if TYPE_CHECKING:
    from medai.shards import Spread
    from medai.workspace import Workspace

VERSION = 5
LIBRARIES = ("numpy", "polars", "pyarrow")
"""Their versions may change the bytes."""
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
        bin: what stands for several readings of one bin: the last, or their mean.
    """

    kind: Literal["series"]
    hours: int = Field(48, ge=1, le=LONGEST_HOURS)
    step_minutes: int = Field(60, ge=1)
    variables: tuple[str, ...] = Field(min_length=1)
    static: tuple[str, ...] = ()
    categories: dict[str, tuple[int | str, ...]] = Field(default={})
    admit_by: Literal["known_time", "time"] = "known_time"
    bin: Literal["last", "mean"] = "last"

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
    spread: Spread | None = None,
) -> Arrays:
    """Write last, mask, elapsed, static and summaries; one row a sample in the order of sample_id, or a stay's series.

    Where the cohort names stays (``stay_id``, ``series_start``), each stay's series is stored once and samples are an
    index into it (layout ``stay``); see ``medai.preprocessing.series.stays``.

    Args:
        spread: who works on the shards of the events; threads of this process by default. It leaves no trace.

    Raises:
        DataRefused: the snapshot holds no events, or not one labelled sample has a reading.
        ConfigurationError: a static column is no number, or a level of another type.
        ServiceFailed: a store of shards failed.
    """
    import polars as pl

    from medai.preprocessing.series import grid, stays, writing
    from medai.preprocessing.series.static import static_columns
    from medai.store import Store
    from medai.tables import read_table, write_array, write_table

    if snapshot.shape != "events":
        raise DataRefused(
            "preprocessing series needs events",
            expected="a snapshot of events",
            received=f"a snapshot of {snapshot.shape}",
            action="use preprocessing kind pixels, or an event source",
        )
    samples = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet"))
    layout: Literal["sample", "stay"] = "stay" if {"stay_id", "series_start"} <= set(samples.columns) else "sample"
    samples = samples.select(
        "sample_id", "subject_id", "prediction_time", *(["stay_id", "series_start"] if layout == "stay" else [])
    ).with_row_index("row")
    raw = workspace.folder("ingest", snapshot.key)
    events = writing.Events.of(raw, workspace.folder("validate", quality.key), snapshot.key)
    plan = (stays if layout == "stay" else grid).plan(samples, config)
    if spread and spread.store:
        blocks = spread.store.folder(f"blocks-{key}-{spread.owner}")
    else:
        blocks = Store.of(workspace.root / "scratch" / "prepare" / key)
    written = writing.write(events, plan, layout, config, folder, spread, blocks)
    arrays = dict(written.arrays)
    if config.static_names:
        values = static_columns(written.untimed, pl.DataFrame(read_table(raw / "stays.parquet")), samples, config)
        arrays["static"] = write_array(folder / "static.npy", values, config.static_names)
    write_table(folder / "samples.parquet", samples.select(pl.col("row").cast(pl.Int64), "sample_id").to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    if cohort.classes and written.empty == samples.height:  # labelled: to be learnt from or judged by
        raise DataRefused(
            "not one sample has a reading in its window",
            expected=f"readings of the variables in the {config.hours} hours before prediction_time",
            received=f"{samples.height} samples, all without any",
            action="correct 'variables' and 'hours' of the preprocessing, and 'observation_hours' of the cohort",
        )
    return Arrays(
        key=key,
        kind="series",
        layout=layout,
        steps=config.steps if layout == "stay" else 0,
        arrays=dict(sorted(arrays.items())),
        samples=samples.height,
        counts={"samples_without_reading": written.empty, "readings_known_later": written.later},
    )
