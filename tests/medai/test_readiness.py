"""What is missing in a cohort before a model can learn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from medai.outputs import Output
from medai.readiness import empty_classes, empty_in_train
from medai.records import Cohort, Splits
from medai.tables import write_table
from medai.workspace import Workspace

ILL = {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}
FINDINGS = {"kind": "multilabel", "classes": {"a": "mass", "b": "effusion"}}


def cohort_of(classes: dict[str, int], samples: int) -> Cohort:
    """A cohort's record."""
    return Cohort(
        key="a" * 32, unit="patient", samples=samples, subjects=samples, classes={"x": classes}, attrition=(),
        data_sha256="0" * 64,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "classes", "missing"),
    [
        (ILL, {"well": 3, "ill": 1}, []),
        (ILL, {"well": 4, "ill": 0}, ["x.ill"]),
        (FINDINGS, {"mass": 0, "effusion": 4}, ["x.mass", "x.no effusion"]),
    ],
)
def test_a_class_of_which_nothing_is_left_is_a_failure(
    keys: dict[str, Any], classes: dict[str, int], missing: list[str], output_of: Callable[..., Output]
) -> None:
    """It blocks, and names output and class; a finding that everybody has is no better than one that nobody has."""
    found = empty_classes(cohort_of(classes, 4), {"x": output_of(**keys)})
    assert [failure.column for failure in found] == missing
    assert all(
        (one.table, one.reason, one.blocking, one.evaluated) == ("cohort", "class_empty", True, 4) for one in found
    )


@pytest.mark.parametrize(("truth", "missing"), [([0, 1, 0, 1], []), ([0, 0, 1, 1], ["x.ill"])])
def test_a_class_that_is_not_in_train_is_a_failure(
    truth: list[int], missing: list[str], output_of: Callable[..., Output], tmp_path: Any
) -> None:
    """However many there are in test, or without a role."""
    workspace = Workspace(tmp_path)
    for stage, table in (
        ("select", pl.DataFrame({"sample_id": range(4), "x": truth})),
        ("split", pl.DataFrame({"sample_id": range(3), "role": ["train", "train", "test"]})),
    ):
        folder = workspace.folder(stage, "a" * 32)
        folder.mkdir(parents=True)
        write_table(folder / {"select": "cohort.parquet", "split": "splits.parquet"}[stage], table.to_arrow())
    splits = Splits(key="a" * 32, samples={"train": 2}, subjects={"train": 2}, test_sha256="0" * 64)
    found = empty_in_train(workspace, cohort_of({"well": 2, "ill": 2}, 4), splits, {"x": output_of(**ILL)})
    assert [(failure.table, failure.column, failure.evaluated) for failure in found] == [
        ("train", column, 2) for column in missing
    ]
