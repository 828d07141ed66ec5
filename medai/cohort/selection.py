"""``select``: from a snapshot to one row a prediction, with the attrition table.

A row of ``cohort.parquet`` carries sample_id, subject_id, prediction_time, publisher_role, the group columns and one
integer column an output (one a finding for multilabel, named ``output.position``). Nothing known after
prediction_time may enter a feature; the cohort only fixes that time, ``prepare`` keeps to it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.definition import CohortDefinition, Criterion, Pictures, Stays
from medai.cohort.truth import count_classes, note, with_truth
from medai.conditions import Columns, Unanswerable, parse_condition
from medai.errors import ConfigurationError, DataRefused, near_match
from medai.outputs import Output
from medai.records import Cohort, Exclusion, Frozen, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 4


class _Selection(Frozen):
    """What ``select`` reads: the narrow configuration that enters its key."""

    cohort: CohortDefinition
    outputs: dict[str, Output]


def select(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    definition: Pictures | Stays,
    outputs: dict[str, Output],
) -> Made[Cohort]:
    """Select the cohort of a Problem from a validated snapshot.

    Raises:
        DataRefused: the snapshot's shape does not fit the definition, a label is outside the Problem's classes, or
            nobody is left.
    """
    wanted = "images" if isinstance(definition, Pictures) else "events"
    if snapshot.shape != wanted:
        raise DataRefused(
            f"a cohort of {definition.kind} cannot be selected from a snapshot of {snapshot.shape}",
            expected=f"a source that gives {wanted}",
            received=f"the source {snapshot.source}, which gives {snapshot.shape}",
            action="name the fitting cohort kind in the Problem, or another source",
        )
    key = stage_key(
        "select",
        VERSION,
        {"snapshot": snapshot.key, "quality": quality.key},
        _Selection(cohort=definition, outputs=outputs),
        ("polars", "pyarrow"),
    )

    def build(folder: Path) -> Cohort:
        raw = workspace.folder("ingest", snapshot.key)
        aside = workspace.folder("validate", quality.key)
        attrition: list[Exclusion] = []
        chosen = _pictures if wanted == "images" else _stays
        table, labels = chosen(raw, aside, definition, attrition)
        table = with_truth(table, labels, outputs, definition.groups, attrition)
        note(attrition, "selected", table)
        if table.height == 0:
            raise DataRefused(
                "the cohort is empty",
                expected="at least one sample after every criterion",
                received="; ".join(f"{line.criterion}: {line.samples}" for line in attrition),
                action="look at the attrition table, then at the cohort's criteria or the data",
            )
        from medai.tables import write_table

        write_table(folder / "cohort.parquet", table.to_arrow())
        (folder / "cohort.parquet").chmod(0o600)
        return Cohort(
            key=key,
            unit=snapshot.unit,
            samples=table.height,
            subjects=table["subject_id"].n_unique(),
            classes={name: count_classes(output, table, name) for name, output in outputs.items()},
            attrition=tuple(attrition),
            data_sha256=snapshot.data_sha256,
            groups=definition.groups,
        )

    return workspace.materialise("select", key, Cohort, build)


def _pictures(
    raw: Path, aside: Path, _definition: Pictures | Stays, attrition: list[Exclusion]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The pictures that were kept with their labels, and which columns are labels."""
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet"))
    note(attrition, "pictures in the snapshot", images)
    images = _without_set_aside(images, "images", aside, attrition)
    images, labels = _with_labels(images, "row_id", raw, aside, attrition)
    times = pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time")
    return images.with_columns(times).sort("sample_id"), labels


def _with_labels(
    table: pl.DataFrame, key: str, raw: Path, aside: Path, attrition: list[Exclusion]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table joined with its labels, and which columns they are; who lost a row of labels leaves."""
    import polars as pl

    from medai.tables import read_table

    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    if "row_id" in labels.columns:  # validation refuses to set rows aside that have no name
        rows = _set_aside(aside, "labels").join(labels.select(sorted({"row_id", key})), on="row_id")
        for reason in sorted(rows["reason"].unique()):
            named = rows.filter(pl.col("reason") == reason).select(key)
            table = table.join(named, on=key, how="anti", maintain_order="left")
            note(attrition, f"labels not set aside: {reason}", table)
    own = tuple(column for column in labels.columns if column not in table.columns)
    return table.join(labels.select(key, *own), on=key, how="left", maintain_order="left"), own


def _set_aside(aside: Path, name: str) -> pl.DataFrame:
    """row_id and reason of the rows of a table that validation set aside."""
    import polars as pl

    from medai.tables import read_table

    rows = pl.DataFrame(read_table(aside / "set_aside.parquet"))
    return rows.filter(pl.col("table") == name).select("row_id", "reason")


def _without_set_aside(table: pl.DataFrame, name: str, aside: Path, attrition: list[Exclusion]) -> pl.DataFrame:
    """The rows that validation kept; each reason is a line of the attrition table."""
    import polars as pl

    rows = _set_aside(aside, name)
    for reason in sorted(rows["reason"].unique()):
        table = table.join(
            rows.filter(pl.col("reason") == reason).select("row_id"), on="row_id", how="anti", maintain_order="left"
        )
        note(attrition, f"not set aside: {reason}", table)
    return table


def _stays(
    raw: Path, aside: Path, definition: Pictures | Stays, attrition: list[Exclusion]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The stays that meet every criterion with their labels, and which columns are labels."""
    import polars as pl

    from medai.tables import read_table

    assert isinstance(definition, Stays)  # noqa: S101 - select chose this reader by the kind
    stays = pl.DataFrame(read_table(raw / "stays.parquet"))
    note(attrition, "stays in the snapshot", stays)
    stays = _without_set_aside(stays, "stays", aside, attrition)
    stays, labels = _with_labels(stays, "stay_id", raw, aside, attrition)
    stays = stays.with_columns(
        pl.col("stay_id").alias("sample_id"),
        (pl.col("start") + timedelta(hours=definition.observation_hours)).alias("prediction_time"),
    ).sort("sample_id")
    for criterion in definition.criteria:
        if criterion.where is not None:
            stays = stays.filter(condition(criterion, stays.schema))
        elif criterion.only_in is not None:
            stays = stays.filter(pl.len().over(f"{criterion.only_in}_id") == 1)
        else:
            stays = stays.join(observed_stays(raw, aside, stays), on="sample_id", how="semi", maintain_order="left")
        note(attrition, criterion.name, stays)
    for group in definition.groups:
        if group not in stays.columns:
            stays = stays.join(_static_level(raw, aside, group), on="subject_id", how="left", maintain_order="left")
    return stays, labels


def condition(criterion: Criterion, schema: pl.Schema) -> pl.Expr:
    """The rows that a criterion's ``where`` keeps.

    Raises:
        ConfigurationError: a column is not there or of another type.
    """
    try:
        return Columns(schema).meet(parse_condition(criterion.where or ""))
    except Unanswerable as unanswerable:
        missing = unanswerable.reason == "missing_column"
        raise ConfigurationError(
            f"the criterion '{criterion.name}' cannot be followed",
            expected="a condition on columns of the stays and labels tables, each with values of its type",
            received=f"column {unanswerable.column}, "
            + (f"which is not there; {near_match(unanswerable.column, schema)}" if missing else "of another type"),
            action="correct cohort.criteria in the Problem",
        ) from None


def _kept_events(raw: Path, aside: Path, columns: list[str]) -> pl.DataFrame:
    """Events that validation kept, in the snapshot's order."""
    import polars as pl

    from medai.tables import read_table

    events = pl.DataFrame(read_table(raw / "events.parquet", ["row_id", *columns]))
    return events.join(_set_aside(aside, "events").select("row_id"), on="row_id", how="anti", maintain_order="left")


def observed_stays(raw: Path, aside: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """sample_id of the stays with a reading of a clinical variable in the observation window, both ends included."""
    import polars as pl

    events = _kept_events(raw, aside, ["subject_id", "time", "variable", "numeric_value"])
    return (
        events.filter(pl.all_horizontal(pl.col("time", "variable", "numeric_value").is_not_null()))
        .join(stays.select("sample_id", "subject_id", "start", "prediction_time"), on="subject_id")
        .filter(pl.col("time").is_between("start", "prediction_time"))
        .select(pl.col("sample_id").unique())
    )


def _static_level(raw: Path, aside: Path, code: str) -> pl.DataFrame:
    """subject_id and the last number of a static code, under the code's name."""
    import polars as pl

    events = _kept_events(raw, aside, ["subject_id", "time", "code", "numeric_value"])
    return (
        events.filter(pl.col("time").is_null() & (pl.col("code") == code))
        .group_by("subject_id", maintain_order=True)
        .agg(pl.col("numeric_value").drop_nulls().last().alias(code))
    )
