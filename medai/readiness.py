"""What is missing in a cohort before a model can learn from it, told before any fit."""

from __future__ import annotations

from medai.cohort import count_classes, truth_columns
from medai.outputs import Output
from medai.records import Cohort, Failure, Splits
from medai.workspace import Workspace

CLASS_EMPTY = "class_empty"
_EXPECTATION = "expect_column_distinct_values_to_contain_set"


def empty_classes(cohort: Cohort, outputs: dict[str, Output]) -> tuple[Failure, ...]:
    """Classes of which no sample is left after validation and every criterion, in the table ``cohort``."""
    return tuple(
        failure
        for name, output in outputs.items()
        for failure in _empty("cohort", name, output, cohort.classes[name], cohort.samples)
    )


def empty_in_train(
    workspace: Workspace, cohort: Cohort, splits: Splits, outputs: dict[str, Output]
) -> tuple[Failure, ...]:
    """Classes that nobody in train has, in the table ``train``: nothing could be learnt of them."""
    import polars as pl

    from medai.tables import read_table

    columns = ["sample_id", *(column for name, output in outputs.items() for column in truth_columns(name, output))]
    table = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", columns))
    roles = pl.DataFrame(read_table(workspace.folder("split", splits.key) / "splits.parquet", ["sample_id", "role"]))
    train = table.join(roles.filter(pl.col("role") == "train"), on="sample_id", how="semi")
    return tuple(
        failure
        for name, output in outputs.items()
        for failure in _empty("train", name, output, count_classes(output, train, name), train.height)
    )


def _empty(table: str, name: str, output: Output, counts: dict[str, int], samples: int) -> list[Failure]:
    missing = [label for label in output.names if not counts[label]]
    if output.kind == "mask":  # pictures that all show a finding hold background enough
        missing = [label for label in missing if label == output.positive]
    if output.kind == "multilabel":  # a finding needs pictures without it as well
        missing += [f"no {label}" for label in output.names if counts[label] == samples]
    return [
        Failure(
            expectation=_EXPECTATION,
            table=table,
            column=f"{name}.{label}",
            reason=CLASS_EMPTY,
            blocking=True,
            unexpected=0,
            evaluated=samples,
        )
        for label in missing
    ]
