"""``select``: from a snapshot to one row a prediction, with the attrition table.

A row of ``cohort.parquet`` carries sample_id, subject_id, prediction_time, publisher_role, the group columns and one
integer column an output (one a finding for multilabel, named ``output.position``). Nothing known after
prediction_time may enter a feature; the cohort only fixes that time, ``prepare`` keeps to it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medai.conditions import Columns, Unanswerable, parse_condition
from medai.errors import ConfigurationError, DataRefused, near_match
from medai.outputs import Multilabel, Output
from medai.records import Cohort, Exclusion, Frozen, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 3


class Pictures(Frozen):
    """Every picture that validation kept is one prediction."""

    kind: Literal["pictures"]
    groups: tuple[str, ...] = ()


class Criterion(Frozen):
    """Who stays in, as one line of the attrition table. Criteria apply in their order, each to who is left.

    Attributes:
        name: how the line is headed.
        where: a condition on the columns of the stays and labels tables, in the language of the suites' rows.
        only_in: keep a stay that is, of those left, the only one of its admission or of its subject.
        observed: keep a stay with at least one reading of a clinical variable between its start and prediction_time.
    """

    name: str = Field(min_length=1, max_length=120)
    where: str | None = None
    only_in: Literal["admission", "subject"] | None = None
    observed: Literal[True] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Criterion:
        if sum(part is not None for part in (self.where, self.only_in, self.observed)) != 1:
            raise ValueError("a criterion has one of where, only_in and observed")
        if self.where is not None:
            try:
                parse_condition(self.where)
            except ValueError as error:
                raise ValueError(f"where cannot be read: expected {error}") from None
        return self


class Stays(Frozen):
    """Every stay is one prediction, made after a time of observation.

    Attributes:
        observation_hours: prediction_time is this long after the stay's start.
        criteria: who stays in.
        groups: columns of the stays table, or static codes, that evaluation may use as subgroups.
    """

    kind: Literal["stays"]
    observation_hours: int = Field(48, ge=1)
    criteria: tuple[Criterion, ...] = ()
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
    images = _without_set_aside(images, "images", aside, attrition)
    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    return (
        images.join(labels, on="row_id", how="left", maintain_order="left")
        .with_columns(pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time"))
        .sort("sample_id")
    )


def _without_set_aside(table: pl.DataFrame, name: str, aside: Path, attrition: list[Exclusion]) -> pl.DataFrame:
    """The rows that validation kept; each reason is a line of the attrition table."""
    import polars as pl

    from medai.tables import read_table

    rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == name)
    for reason in sorted(rows["reason"].unique()):
        table = table.join(
            rows.filter(pl.col("reason") == reason).select("row_id"), on="row_id", how="anti", maintain_order="left"
        )
        _note(attrition, f"not set aside: {reason}", table)
    return table


def _stays(raw: Path, aside: Path, definition: Pictures | Stays, attrition: list[Exclusion]) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    assert isinstance(definition, Stays)  # noqa: S101 - select chose this reader by the kind
    stays = pl.DataFrame(read_table(raw / "stays.parquet"))
    _note(attrition, "stays in the snapshot", stays)
    stays = _without_set_aside(stays, "stays", aside, attrition)
    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    stays = (
        stays.join(labels, on="stay_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("stay_id").alias("sample_id"),
            (pl.col("start") + timedelta(hours=definition.observation_hours)).alias("prediction_time"),
        )
        .sort("sample_id")
    )
    for criterion in definition.criteria:
        if criterion.where is not None:
            stays = stays.filter(_condition(criterion, stays.schema))
        elif criterion.only_in is not None:
            stays = stays.filter(pl.len().over(f"{criterion.only_in}_id") == 1)
        else:
            stays = stays.join(_observed(raw, aside, stays), on="sample_id", how="semi", maintain_order="left")
        _note(attrition, criterion.name, stays)
    for group in definition.groups:
        if group not in stays.columns:
            stays = stays.join(_static_level(raw, aside, group), on="subject_id", how="left", maintain_order="left")
    return stays


def _condition(criterion: Criterion, schema: pl.Schema) -> pl.Expr:
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

    rows = pl.DataFrame(read_table(aside / "set_aside.parquet")).filter(pl.col("table") == "events")
    events = pl.DataFrame(read_table(raw / "events.parquet", ["row_id", *columns]))
    return events.join(rows.select("row_id"), on="row_id", how="anti", maintain_order="left")


def _observed(raw: Path, aside: Path, stays: pl.DataFrame) -> pl.DataFrame:
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
