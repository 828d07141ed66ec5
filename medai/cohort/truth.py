"""What is true of a cohort's samples: class numbers from the labels table, and from nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.errors import ConfigurationError, DataRefused, near_match
from medai.outputs import Multilabel, Output
from medai.records import Exclusion

if TYPE_CHECKING:
    import polars as pl


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


def note(attrition: list[Exclusion], criterion: str, table: pl.DataFrame) -> None:
    """A further line of the attrition table: who is left."""
    attrition.append(Exclusion(criterion=criterion, samples=table.height, subjects=table["subject_id"].n_unique()))


def with_truth(
    table: pl.DataFrame,
    labels: tuple[str, ...],
    outputs: dict[str, Output],
    groups: tuple[str, ...],
    attrition: list[Exclusion],
) -> pl.DataFrame:
    """The cohort's columns; a truth is made of labels alone, whatever else the table holds."""
    import polars as pl

    unknown = [group for group in groups if group not in table.columns]
    if unknown:
        raise ConfigurationError(
            f"the cohort has no column {unknown[0]} to group by",
            expected="groups that the source records",
            received=f"{unknown[0]!r}; {near_match(unknown[0], table.columns)}",
            action="correct 'groups' of the cohort in the Problem",
        )
    for name, output in outputs.items():
        missing = [label for label in output.labels if label not in labels]
        if missing:
            raise DataRefused(
                f"output {name}: the labels table has no column {', '.join(missing)}",
                expected="the label columns that the Problem names",
                received=f"{missing[0]!r}; {near_match(missing[0], labels)}",
                action="correct 'label' or 'classes' of the output in the Problem",
            )
        table = table.with_columns(
            pl.col(label).cast(pl.Int64) for label in output.labels if table.schema[label] == pl.Boolean
        )
        for label in output.labels:
            if not table.schema[label].is_integer():
                raise DataRefused(
                    f"output {name}: the label {label} is no class number",
                    expected="whole numbers, or true and false",
                    received=f"a column of {table.schema[label]}",
                    action="correct 'label' or 'classes' of the output in the Problem",
                )
        known = table.filter(pl.all_horizontal(pl.col(label).is_not_null() for label in output.labels))
        if known.height < table.height:
            table = known
            note(attrition, f"{name} is known", table)
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
