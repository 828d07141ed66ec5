"""Who of a snapshot can be predicted now. No label is read, and nothing that is known only after the prediction.

A stay can be predicted once its time of observation is over. Of the cohort's criteria those apply that ask for what is
known at that time; those that ask for an outcome or a length of stay are left unjudged, and named.

Beside ``cohort.parquet`` (who is scored) the folder holds ``rows.parquet``: every picture or stay of the snapshot, with
``status``: null for who is scored, ``set_aside:REASON`` or ``excluded:CRITERION`` for the others.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort import (
    CohortDefinition,
    Criterion,
    SliceSeries,
    Stays,
    Windows,
    condition,
    kidney_schema,
    observed_stays,
)
from medai.cohort.events import kept_events
from medai.cohort.slices import first_of_each, judged, kept_slices
from medai.conditions import parse_condition
from medai.errors import ConfigurationError
from medai.records import Cohort, Exclusion, Frozen, QualityReport, Snapshot, stage_key
from medai.validation import TOO_MANY
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 2
ROWS = "rows.parquet"
SET_ASIDE, EXCLUDED = "set_aside:", "excluded:"

_KNOWN_LATER = frozenset({"end"})
"""Columns of the stays table that nobody knows at prediction time."""
_LAST = "last reading of the subject"
_ROW_COUNTS = "expect_table_row_count_to_be_between"


class _Selecting(Frozen):
    cohort: CohortDefinition
    purpose: str = "prediction"


def fit_for_scoring(report: QualityReport, *, labelled: bool = False) -> QualityReport:
    """The report without rules that concern learning: how many rows there must be, and what the labels say.

    One picture is too few to learn from, and enough to be scored. A table that loses more rows than the tolerance
    allows blocks as ever.

    Args:
        labelled: keep the rules on labels.
    """
    kept = tuple(
        failure
        for failure in report.failures
        if (failure.table != "labels" or labelled)
        and (failure.expectation != _ROW_COUNTS or failure.reason == TOO_MANY)
    )
    return report.model_copy(update={"failures": kept, "passed": not any(failure.blocking for failure in kept)})


def select(
    workspace: Workspace, snapshot: Snapshot, quality: QualityReport, definition: CohortDefinition
) -> Made[Cohort]:
    """Select who of a snapshot can be predicted; nobody is an answer, too.

    A stay of many predictions is answered for once, at its newest: at the last of its hours that is over.

    Raises:
        ConfigurationError: a criterion asks for a column that is not there, or the cohort is one of windows.
    """
    if isinstance(definition, Windows):
        raise ConfigurationError(
            "who is asked about is found by what happens later, too",
            expected="a cohort of pictures or stays, whose every row can be answered for",
            received="a cohort of kind windows",
            action="run the problem on labelled data, or give it a cohort of kind stays",
        )
    key = stage_key(
        "select",
        VERSION,
        {"snapshot": snapshot.key, "quality": quality.key},
        _Selecting(cohort=definition),
        ("polars", "pyarrow"),
    )

    def build(folder: Path) -> Cohort:
        import polars as pl

        from medai.tables import OWNER_ALONE, write_table

        raw = workspace.folder("ingest", snapshot.key)
        aside = workspace.folder("validate", quality.key)
        if isinstance(definition, Stays):
            table, what = _stays(raw, aside, definition), "stays"
            own = ["stay_id", "series_start", "hours"] if definition.has_series else []
        elif isinstance(definition, SliceSeries):
            table, what, own = _series(raw, aside, definition), "series", []
        else:
            table, what, own = _pictures(raw, aside), "pictures", []
        names = ["sample_id", "subject_id", "prediction_time", "publisher_role"]
        scored = table.filter(pl.col("status").is_null()).select(*names, *own).sort("sample_id")
        table = table.select(*names, "status").sort("sample_id")
        write_table(folder / ROWS, table.to_arrow(), mode=OWNER_ALONE)
        write_table(folder / "cohort.parquet", scored.to_arrow(), mode=OWNER_ALONE)
        return Cohort(
            key=key,
            unit=snapshot.unit,
            samples=scored.height,
            subjects=scored["subject_id"].n_unique(),
            classes={},
            attrition=(_line(f"{what} in the snapshot", table), _line("to be scored", scored)),
            data_sha256=snapshot.data_sha256,
        )

    return workspace.materialise("select", key, Cohort, build)


def left_unjudged(workspace: Workspace, snapshot: Snapshot, definition: CohortDefinition) -> tuple[str, ...]:
    """Names of the criteria that cannot be judged at prediction time."""
    if not isinstance(definition, Stays):
        return ()
    known = set(_columns(workspace.folder("ingest", snapshot.key) / "stays.parquet")) - _KNOWN_LATER
    return tuple(criterion.name for criterion in definition.criteria if not _answerable(criterion, known))


def _line(criterion: str, table: pl.DataFrame) -> Exclusion:
    return Exclusion(criterion=criterion, samples=table.height, subjects=table["subject_id"].n_unique())


def _columns(path: Path) -> list[str]:
    from medai.tables import read_table

    return list(read_table(path).column_names)


def _answerable(criterion: Criterion, known: set[str]) -> bool:
    """Whether a criterion asks only for columns that are known when a stay begins."""
    return criterion.where is None or all(one.column in known for one in parse_condition(criterion.where))


def _with_status(table: pl.DataFrame, name: str, aside: Path) -> pl.DataFrame:
    """The table with ``status``: why validation set a row aside."""
    import polars as pl

    from medai.tables import read_table

    rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == name)
    reasons = rows.select("row_id", pl.concat_str(pl.lit(SET_ASIDE), "reason").alias("status"))
    return table.join(reasons, on="row_id", how="left", maintain_order="left", validate="m:1")


def _pictures(raw: Path, aside: Path) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet", ["row_id", "subject_id", "time", "publisher_role"]))
    return _with_status(images, "images", aside).with_columns(
        pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time")
    )


def _series(raw: Path, aside: Path, definition: SliceSeries) -> pl.DataFrame:
    """The first slice of each series, and every slice that was set aside."""
    import polars as pl

    pictures = _pictures(raw, aside)
    slices = kept_slices(raw, aside)
    table = first_of_each(slices).select("row_id", "series")
    table = pictures.join(table, on="row_id", how="left", maintain_order="left")
    table = table.filter(pl.col("series").is_not_null() | pl.col("status").is_not_null())
    for criterion, series in judged(slices, definition):
        table = _keep(table, table.join(series, on="series", how="semi"), criterion)
    return table


def _stays(raw: Path, aside: Path, definition: Stays) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    lasts = _last_readings(raw, aside)
    stays = _with_status(pl.DataFrame(read_table(raw / "stays.parquet")), "stays", aside)
    stays = stays.join(lasts, on="subject_id", how="left", maintain_order="left", validate="m:1").with_columns(
        pl.col("stay_id").alias("sample_id"),
        pl.col("start").alias("series_start"),
        _asked_at(definition, pl.col(_LAST)).alias("prediction_time"),
    )
    lasted = (pl.col("prediction_time") - pl.col("start")).dt.total_microseconds() / 3_600_000_000
    stays = stays.with_columns(lasted.alias("hours"))
    known = set(stays.columns) - _KNOWN_LATER - {_LAST}
    everything = pl.Schema(
        {**kidney_schema(), **pl.DataFrame(read_table(raw / "labels.parquet")).schema, **stays.drop(_LAST).schema}
    )
    for criterion in definition.criteria:
        left = stays.filter(pl.col("status").is_null())
        if criterion.where is not None:
            holds = condition(criterion, everything)  # first of all: a misspelt column is no outcome
            kept = left.filter(holds) if _answerable(criterion, known) else left
        elif criterion.only_in is not None:
            kept = _without_earlier(left, f"{criterion.only_in}_id")
        else:
            kept = left.join(observed_stays(raw, aside, left), on="sample_id", how="semi")
        stays = _keep(stays, kept, criterion.name)
    # Last: a stay that is not over yet is still the earlier one of its admission.
    over = pl.col("end").fill_null(pl.col(_LAST)) >= pl.col("prediction_time")
    return _keep(stays, stays.filter(over.fill_null(False)), _time_of_observation(definition))


def _asked_at(definition: Stays, last: pl.Expr) -> pl.Expr:
    """prediction_time of each stay; of one that predicts again and again, the last that is over by now."""
    import polars as pl

    if not definition.has_series:
        return pl.col("start") + timedelta(hours=definition.observation_hours)
    now = pl.col("end").fill_null(last)
    if definition.every_hours is None:
        return pl.when(now > pl.col("start")).then(now)
    lasted = pl.min_horizontal((now - pl.col("start")).dt.total_hours(), pl.lit(definition.last_hours, pl.Int64))
    past = lasted - (lasted - definition.first_hours) % definition.every_hours
    return pl.col("start") + pl.duration(hours=pl.max_horizontal(past, definition.first_hours))


def _time_of_observation(definition: Stays) -> str:
    if definition.observation == "whole_stay":
        return "with an end or a reading"
    return f"observed for {definition.observation_hours if not definition.has_series else definition.first_hours} h"


def _keep(stays: pl.DataFrame, kept: pl.DataFrame, criterion: str) -> pl.DataFrame:
    """Give those who leave at a criterion their status; who left before keeps the earlier one."""
    import polars as pl

    leaves = pl.col("status").is_null() & ~pl.col("row_id").is_in(kept["row_id"].implode())
    return stays.with_columns(pl.when(leaves).then(pl.lit(EXCLUDED + criterion)).otherwise("status").alias("status"))


def _last_readings(raw: Path, aside: Path) -> pl.DataFrame:
    """Each subject's last reading that was kept: until then a stay of his without an end has lasted.

    Another subject's readings say nothing of it: in MIMIC each patient's dates are shifted by an offset of his own.
    """
    import polars as pl

    lasts = [
        block.group_by("subject_id").agg(pl.max_horizontal("time", "known_time").max().alias(_LAST))
        for block in kept_events(raw, aside, ["subject_id", "time", "known_time"])
    ]
    return pl.concat(lasts)


def _without_earlier(stays: pl.DataFrame, group: str) -> pl.DataFrame:
    """Stays without another of the same group that began by their prediction_time: a later one is not known yet."""
    import polars as pl

    others = stays.select(group, pl.col("row_id").alias("other"), pl.col("start").alias("began"))
    met = stays.join(others, on=group).filter(
        pl.col("other") != pl.col("row_id"), pl.col("began") <= pl.col("prediction_time")
    )
    return stays.join(met, on="row_id", how="anti", maintain_order="left")
