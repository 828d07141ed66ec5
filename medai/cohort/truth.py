"""What is true of a cohort's samples: class numbers from the labels table, and from nowhere else.

Most labels are of the whole stay. Those that ask what follows a prediction (``Binary.within``,
``Multiclass.remaining``) are worked out for each sample from the hours, since the stay's start, of what is asked for
and of the prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.cohort.attrition import Attrition
from medai.errors import ConfigurationError, DataRefused, near_match
from medai.outputs import Binary, Mask, Multiclass, Multilabel, Output

if TYPE_CHECKING:
    import polars as pl

ASKED_AT = "hours_asked_at"
"""Column of a selection at work: hours from the stay's start to the prediction."""


def truth_columns(name: str, output: Output) -> list[str]:
    """The cohort's columns of an output: one, or one a finding."""
    if isinstance(output, Multilabel):
        return [f"{name}.{position}" for position in range(output.columns)]
    return [name]


def amount_columns(name: str, output: Output) -> list[str]:
    """The cohort's column of what an output's classes are bins of, in hours; none for other outputs.

    >>> bins = {"remaining": "length_of_stay_hours", "bins": (24, 48), "classes": {0: "short", 1: "middle", 2: "long"}}
    >>> amount_columns("left", Multiclass(kind="multiclass", **bins))
    ['left.hours']
    """
    return [f"{name}.hours"] if isinstance(output, Multiclass) and output.ordered else []


def count_classes(output: Output, table: pl.DataFrame, name: str) -> dict[str, int]:
    """Class name → samples (for multilabel: finding → samples that show it)."""
    if isinstance(output, Multilabel):
        return {
            finding: int(table[column].sum())
            for finding, column in zip(output.names, truth_columns(name, output), strict=True)
        }
    return {label: int((table[name] == position).sum()) for position, label in enumerate(output.names)}


def with_truth(
    table: pl.DataFrame,
    labels: tuple[str, ...],
    outputs: dict[str, Output],
    groups: tuple[str, ...],
    attrition: Attrition,
    own: dict[str, str] | None = None,
) -> pl.DataFrame:
    """The cohort's columns; a truth is made of labels alone, whatever else the table holds.

    Args:
        labels: which of the table's columns are labels.
        own: further column of the cohort → the table's column of that content.

    Raises:
        ConfigurationError: a group is no column.
        DataRefused: a label is not there, or holds what its output cannot mean.
    """
    import polars as pl

    unknown = [group for group in groups if group not in table.columns]
    if unknown:
        raise ConfigurationError(
            f"the cohort has no column {unknown[0]} to group by",
            expected="groups that the source records",
            received=f"{unknown[0]!r}; {near_match(unknown[0], table.columns)}",
            action="correct 'groups' of the cohort, or of another site's file; a column of one's own table is known"
            " once source.columns.attributes names it",
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
        if isinstance(output, Multilabel | Mask) or not _follows(output):
            table = _of_the_stay(table, name, output, attrition)
        else:
            table = _after_the_prediction(table, name, output, attrition)
    kept = [
        column
        for name, output in outputs.items()
        for column in (*truth_columns(name, output), *amount_columns(name, output))
    ]
    further = [pl.col(column).alias(name) for name, column in (own or {}).items()]
    return table.select("sample_id", "subject_id", "prediction_time", "publisher_role", *further, *groups, *kept)


def _follows(output: Binary | Multiclass) -> bool:
    """Whether an output asks what follows a prediction."""
    return (output.within if isinstance(output, Binary) else output.remaining) is not None


def _of_the_stay(table: pl.DataFrame, name: str, output: Output, attrition: Attrition) -> pl.DataFrame:
    """With the truth of an output whose labels hold for a whole picture or stay."""
    import polars as pl

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
    table = table.filter(pl.all_horizontal(pl.col(label).is_not_null() for label in output.labels))
    attrition.note(f"{name} is known", table, quiet=True)
    allowed = [0, 1] if isinstance(output, Multilabel | Mask) else sorted(output.classes)
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
    return table.with_columns(
        pl.Series(column, truth if truth.ndim == 1 else truth[:, position]).cast(pl.Int64)
        for position, column in enumerate(truth_columns(name, output))
    )


def _after_the_prediction(
    table: pl.DataFrame, name: str, output: Binary | Multiclass, attrition: Attrition
) -> pl.DataFrame:
    """With the truth of an output that asks what follows; predictions at or after it are left out."""
    import polars as pl

    if ASKED_AT not in table.columns:
        raise ConfigurationError(
            f"output {name} asks what follows a prediction, and these samples have no stay that it could follow in",
            expected="a cohort of kind stays, or a label of the sample itself",
            received="a cohort of another kind",
            action="give the output a 'label', or the cohort kind stays",
        )
    for label in output.labels:
        if not (table.schema[label].is_numeric() or table.schema[label] == pl.Boolean):
            raise DataRefused(
                f"output {name}: the label {label} is no number",
                expected="hours since the stay's start, or 0 and 1",
                received=f"a column of {table.schema[label]}",
                action="correct the output in the Problem",
            )
    if isinstance(output, Binary):
        assert output.within is not None  # noqa: S101 - asked by the caller
        of, hours, given = output.within.of, output.within.hours, output.within.given
        left = pl.col(of).fill_nan(None) - pl.col(ASKED_AT)
        counts = pl.lit(True) if given is None else pl.col(given) == 1
        comes = counts & left.is_not_null()
        if given is not None:
            table = table.filter(pl.col(given).is_not_null())
            attrition.note(f"{name} is known", table, quiet=True)
        table = table.filter(~(comes & (left <= 0)))
        truth = (comes & (left <= hours)).fill_null(False).cast(pl.Int64)
    else:
        of = str(output.remaining)
        left = pl.col(of).fill_nan(None) - pl.col(ASKED_AT)
        table = table.filter(left.is_not_null())
        attrition.note(f"{name} is known", table, quiet=True)
        table = table.filter(left > 0)
        truth = pl.sum_horizontal((left >= edge).cast(pl.Int64) for edge in output.bins)
    attrition.note(f"before {of}", table)
    amount = {column: left.cast(pl.Float32) for column in amount_columns(name, output)}
    return table.with_columns(truth.alias(name), **amount)
