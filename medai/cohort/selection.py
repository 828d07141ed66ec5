"""``select``: from a snapshot to one row a prediction, with the attrition table.

A row of ``cohort.parquet`` carries sample_id, subject_id, prediction_time, publisher_role, the group columns and one
integer column an output (one a finding for multilabel, named ``output.position``). Where a stay has its series for
itself, there are also stay_id, series_start (the stay's start) and hours (from there to prediction_time). Nothing known
after prediction_time may enter a feature; the cohort only fixes that time, ``prepare`` keeps to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.attrition import Attrition
from medai.cohort.definition import Pictures, SliceSeries, Stays
from medai.cohort.events import set_aside
from medai.cohort.extraction import LABEL, triggers
from medai.cohort.kidney import LABELS as KIDNEY
from medai.cohort.kidney import kidney_labels
from medai.cohort.slices import all_slices, first_of_each, judged, kept_slices
from medai.cohort.stays import chosen_stays, predictions
from medai.cohort.truth import ASKED_AT, count_classes, with_truth
from medai.cohort.windows import Windows
from medai.conditions import parse_condition
from medai.errors import DataRefused
from medai.outputs import Output
from medai.records import Cohort, Frozen, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

    from medai.cohort import CohortDefinition

VERSION = 6

Labelled = tuple["pl.DataFrame", tuple[str, ...]]
"""Rows with their labels, and which columns are labels."""


class _Selection(Frozen):
    """What ``select`` reads: the narrow configuration that enters its key."""

    cohort: Pictures | SliceSeries | Stays | Windows
    outputs: dict[str, Output]


def select(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    definition: CohortDefinition,
    outputs: dict[str, Output],
) -> Made[Cohort]:
    """Select the cohort of a Problem from a validated snapshot.

    Raises:
        DataRefused: the snapshot's shape does not fit the definition, a label is outside the Problem's classes, or
            nobody is left.
    """
    wanted = "images" if isinstance(definition, Pictures | SliceSeries) else "events"
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
        import polars as pl

        from medai.tables import OWNER_ALONE, write_tables

        raw = workspace.folder("ingest", snapshot.key)
        aside = workspace.folder("validate", quality.key)
        attrition = Attrition()
        classes: dict[str, dict[str, int]] = {name: dict.fromkeys(output.names, 0) for name, output in outputs.items()}
        subjects: list[pl.Series] = []

        def parts() -> Iterator[pl.DataFrame]:
            for table in _tables(raw, aside, definition, outputs, attrition):
                attrition.note("selected", table)
                for name, output in outputs.items():
                    for label, count in count_classes(output, table, name).items():
                        classes[name][label] += count
                subjects.append(table["subject_id"].unique())
                yield table

        samples = write_tables(folder / "cohort.parquet", (part.to_arrow() for part in parts()), OWNER_ALONE)
        lines = attrition.lines()
        if samples == 0:
            raise DataRefused(
                "the cohort is empty",
                expected="at least one sample after every criterion",
                received="; ".join(f"{line.criterion}: {line.samples}" for line in lines),
                action="look at the attrition table, then at the cohort's criteria or the data",
            )
        return Cohort(
            key=key,
            unit=snapshot.unit,
            samples=samples,
            subjects=pl.concat(subjects).n_unique(),
            classes=classes,
            attrition=lines,
            data_sha256=snapshot.data_sha256,
            groups=definition.groups,
        )

    return workspace.materialise("select", key, Cohort, build)


def _tables(
    raw: Path, aside: Path, definition: CohortDefinition, outputs: dict[str, Output], attrition: Attrition
) -> Iterator[pl.DataFrame]:
    """The cohort, block by block, in the order of sample_id."""
    if isinstance(definition, Pictures | SliceSeries):
        if isinstance(definition, SliceSeries):
            images, labels = _series(raw, aside, definition, attrition)
        else:
            images, labels = _pictures(raw, aside, attrition)
        yield with_truth(images, labels, outputs, definition.groups, attrition)
        return
    if isinstance(definition, Windows):
        samples = triggers(raw, aside, definition, attrition)
        labels = tuple(column for column in samples.columns if column == LABEL)
        yield with_truth(samples, labels, outputs, definition.groups, attrition)
        return
    stays, labels = _labelled_stays(raw, aside, attrition)
    if derived(definition, outputs):
        stays = stays.join(kidney_labels(raw, aside, stays), on="stay_id", how="left", maintain_order="left")
        labels += KIDNEY
    stays = chosen_stays(raw, aside, stays, definition, attrition)
    asked = {label for output in outputs.values() for label in output.labels}
    needed = {"sample_id", "subject_id", "stay_id", "start", "end", "publisher_role", "prediction_time"}
    stays = stays.select(name for name in stays.columns if name in needed | asked | set(definition.groups))
    own = {"stay_id": "stay_id", "series_start": "start", "hours": ASKED_AT} if definition.has_series else {}
    for block in predictions(raw, aside, stays, definition, attrition):
        yield with_truth(block, labels, outputs, definition.groups, attrition, own)


def derived(definition: Stays, outputs: dict[str, Output]) -> list[str]:
    """The labels asked for that are worked out from events."""
    named = {label for output in outputs.values() for label in output.labels}
    for criterion in definition.criteria:
        if criterion.where is not None:
            named |= {one.column for one in parse_condition(criterion.where)}
    return [label for label in KIDNEY if label in named]


def _pictures(raw: Path, aside: Path, attrition: Attrition) -> Labelled:
    """The pictures that were kept with their labels, and which columns are labels."""
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet"))
    attrition.note("pictures in the snapshot", images)
    images = _without_set_aside(images, "images", aside, attrition)
    images, labels = _with_labels(images, "row_id", raw, aside, attrition)
    times = pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time")
    return images.with_columns(times).sort("sample_id"), labels


def _series(raw: Path, aside: Path, definition: SliceSeries, attrition: Attrition) -> Labelled:
    """One row a series that is whole, with the labels of its slices, which must agree, and which columns are labels."""
    import polars as pl

    attrition.note("series in the snapshot", first_of_each(all_slices(raw)))
    slices = kept_slices(raw, aside)
    table = first_of_each(slices)
    attrition.note("with a slice that was not set aside", table)
    for criterion, series in judged(slices, definition):
        table = table.join(series, on="series", how="semi", maintain_order="left")
        attrition.note(criterion, table)
    slices = slices.join(table.select("series"), on="series", how="semi", maintain_order="left")
    every, labels = _with_labels(slices, "row_id", raw, aside, Attrition())
    agreed = every.group_by("series").agg(pl.struct(labels).n_unique() == 1) if labels else every.select("series")
    if labels:
        agreed = agreed.filter(pl.col(labels[0])).select("series")
    table = table.join(agreed, on="series", how="semi", maintain_order="left")
    attrition.note("its slices' labels agree", table)
    table = table.join(every.select("row_id", *labels), on="row_id", how="inner", maintain_order="left")
    times = pl.col("row_id").alias("sample_id"), pl.col("time").alias("prediction_time")
    return table.with_columns(times).sort("sample_id"), labels


def _labelled_stays(raw: Path, aside: Path, attrition: Attrition) -> Labelled:
    """The stays that were kept with their labels, and which columns are labels."""
    import polars as pl

    from medai.tables import read_table

    stays = pl.DataFrame(read_table(raw / "stays.parquet"))
    attrition.note("stays in the snapshot", stays)
    stays = _without_set_aside(stays, "stays", aside, attrition)
    return _with_labels(stays, "stay_id", raw, aside, attrition)


def _with_labels(table: pl.DataFrame, key: str, raw: Path, aside: Path, attrition: Attrition) -> Labelled:
    """The table joined with its labels, and which columns they are; who lost a row of labels leaves."""
    import polars as pl

    from medai.tables import read_table

    labels = pl.DataFrame(read_table(raw / "labels.parquet"))
    if "row_id" in labels.columns:  # validation refuses to set rows aside that have no name
        rows = set_aside(aside, "labels").join(labels.select(sorted({"row_id", key})), on="row_id")
        for reason in sorted(rows["reason"].unique()):
            named = rows.filter(pl.col("reason") == reason).select(key)
            table = table.join(named, on=key, how="anti", maintain_order="left")
            attrition.note(f"labels not set aside: {reason}", table)
    own = tuple(column for column in labels.columns if column not in table.columns)
    return table.join(labels.select(key, *own), on=key, how="left", maintain_order="left"), own


def _without_set_aside(table: pl.DataFrame, name: str, aside: Path, attrition: Attrition) -> pl.DataFrame:
    """The rows that validation kept; each reason is a line of the attrition table."""
    import polars as pl

    rows = set_aside(aside, name)
    for reason in sorted(rows["reason"].unique()):
        table = table.join(
            rows.filter(pl.col("reason") == reason).select("row_id"), on="row_id", how="anti", maintain_order="left"
        )
        attrition.note(f"not set aside: {reason}", table)
    return table
