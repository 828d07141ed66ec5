"""``select``: from a snapshot to one row a prediction, with the attrition table.

A row of ``cohort.parquet`` carries sample_id, subject_id, prediction_time, publisher_role, the group columns and one
integer column an output (one a finding for multilabel, named ``output.position``). Nothing known after
prediction_time may enter a feature; the cohort only fixes that time, ``prepare`` keeps to it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medai.errors import DataRefused
from medai.outputs import Multilabel, Output
from medai.records import Cohort, Exclusion, Frozen, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 2


class Pictures(Frozen):
    """Every picture that validation kept is one prediction."""

    kind: Literal["pictures"]
    groups: tuple[str, ...] = ()


class Stays(Frozen):
    """Every stay is one prediction, made after a time of observation.

    Attributes:
        observation_hours: prediction_time is this long after the stay's start.
        require_series: leave out stays without a single reading.
        groups: static codes that evaluation may use as subgroups.
    """

    kind: Literal["stays"]
    observation_hours: int = Field(48, ge=1)
    require_series: bool = False
    groups: tuple[str, ...] = ()


CohortDefinition = Annotated[Pictures | Stays, Field(discriminator="kind")]


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
        table = _pictures(raw, aside, attrition) if wanted == "images" else _stays(raw, aside, definition, attrition)
        table = _with_truth(table, outputs, definition.groups, attrition)
        _note(attrition, "selected", table)
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


def truth_columns(name: str, output: Output) -> list[str]:
    """The cohort's columns of an output: one, or one a finding."""
    if isinstance(output, Multilabel):
        return [f"{name}.{position}" for position in range(output.columns)]
    return [name]


def count_classes(output: Output, table: pl.DataFrame, name: str) -> dict[str, int]:
    """Class name → samples (for multilabel: finding → samples that show it)."""
    if isinstance(output, Multilabel):
        return {
            finding: int(table[column].sum())
            for finding, column in zip(output.names, truth_columns(name, output), strict=True)
        }
    return {label: int((table[name] == position).sum()) for position, label in enumerate(output.names)}


def _note(attrition: list[Exclusion], criterion: str, table: pl.DataFrame) -> None:
    attrition.append(Exclusion(criterion=criterion, samples=table.height, subjects=table["subject_id"].n_unique()))


def _pictures(raw: Path, aside: Path, attrition: list[Exclusion]) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet"))
    _note(attrition, "pictures in the snapshot", images)
    rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == "images")
    for reason in sorted(rows["reason"].unique()):
        images = images.join(rows.filter(pl.col("reason") == reason).select("row_id"), on="row_id", how="anti")
        _note(attrition, f"not set aside: {reason}", images)
    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    return (
        images.join(labels, on="row_id", how="left", maintain_order="left")
        .with_columns(pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time"))
        .sort("sample_id")
    )


def _stays(raw: Path, aside: Path, definition: Pictures | Stays, attrition: list[Exclusion]) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    assert isinstance(definition, Stays)  # noqa: S101 - select chose this reader by the kind
    stays = pl.DataFrame(read_table(raw / "stays.parquet"))
    _note(attrition, "stays in the snapshot", stays)
    if definition.require_series:
        stays = stays.filter(pl.col("has_series"))
        _note(attrition, "with at least one reading", stays)
    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    stays = (
        stays.join(labels, on="subject_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("stay_id").alias("sample_id"),
            (pl.col("start") + timedelta(hours=definition.observation_hours)).alias("prediction_time"),
        )
        .sort("sample_id")
    )
    if definition.groups:
        rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == "events")
        events = pl.DataFrame(
            read_table(raw / "events.parquet", ["row_id", "subject_id", "time", "code", "numeric_value"])
        ).join(rows.select("row_id"), on="row_id", how="anti", maintain_order="left")
        for group in definition.groups:
            level = (
                events.filter(pl.col("time").is_null() & (pl.col("code") == group))
                .group_by("subject_id", maintain_order=True)
                .agg(pl.col("numeric_value").drop_nulls().last().alias(group))
            )
            stays = stays.join(level, on="subject_id", how="left", maintain_order="left")
    return stays


def _with_truth(
    table: pl.DataFrame, outputs: dict[str, Output], groups: tuple[str, ...], attrition: list[Exclusion]
) -> pl.DataFrame:
    import polars as pl

    unknown = [group for group in groups if group not in table.columns]
    if unknown:
        raise DataRefused(
            f"the cohort has no column {unknown[0]} to group by",
            expected="groups that the source records",
            received=f"columns {', '.join(sorted(table.columns))}",
            action="correct 'groups' of the cohort in the Problem",
        )
    for name, output in outputs.items():
        missing = [label for label in output.labels if label not in table.columns]
        if missing:
            raise DataRefused(
                f"output {name}: the labels table has no column {', '.join(missing)}",
                expected="the label columns that the Problem names",
                received=f"columns {', '.join(sorted(set(table.columns)))}",
                action="correct 'label' or 'classes' of the output in the Problem",
            )
        known = table.filter(pl.all_horizontal(pl.col(label).is_not_null() for label in output.labels))
        if known.height < table.height:
            table = known
            _note(attrition, f"{name} is known", table)
        allowed = [0, 1] if isinstance(output, Multilabel) else sorted(output.classes)
        strange = int(
            table.select(pl.any_horizontal(~pl.col(label).is_in(allowed) for label in output.labels).sum()).item()
        )
        if strange:
            raise DataRefused(
                f"output {name}: labels outside the Problem's classes",
                expected=f"values {', '.join(map(str, allowed))}",
                received=f"{strange} of {table.height} rows with another value",
                action="correct the classes in the Problem or the labels in the data",
            )
        truth = output.truth([table[label].to_numpy() for label in output.labels])
        columns = truth_columns(name, output)
        table = table.with_columns(
            pl.Series(column, truth if truth.ndim == 1 else truth[:, position]).cast(pl.Int64)
            for position, column in enumerate(columns)
        )
    kept = [column for name, output in outputs.items() for column in truth_columns(name, output)]
    return table.select("sample_id", "subject_id", "prediction_time", "publisher_role", *groups, *kept)
