"""The scores table: written and read back whole, for each kind of output."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import truth_columns
from medai.outputs import Output
from medai.scores import score_columns, truth_and_scores, write_scores
from medai.tables import read_table

KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "binary": ({"classes": {0: "well", 1: "ill"}, "positive": "ill"}, [0, 1, 1]),
    "multiclass": ({"classes": {0: "a", 1: "b", 2: "c"}}, [2, 0, 1]),
    "multilabel": ({"classes": {"x": "mass", "y": "effusion"}}, [[0, 1], [1, 1], [0, 0]]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_truth_and_scores_come_back(tmp_path: Path, output_of: Callable[..., Output], kind: str) -> None:
    """In shape, type and order, one score column a class, and for the owner's eyes alone."""
    keys, values = KINDS[kind]
    output, truth = output_of(kind=kind, **keys), np.array(values)
    scores = np.random.default_rng(0).random((3, output.columns)).astype(np.float32)
    columns = truth.reshape(3, -1)
    rows = pl.DataFrame({"sample_id": [5, 6, 9], "subject_id": [1, 1, 2], "ICUType": [1, 2, 3]}).with_columns(
        pl.Series(name, columns[:, place]) for place, name in enumerate(truth_columns("finding", output))
    )
    path = tmp_path / "scores.parquet"
    write_scores(path, rows, "finding", output, scores)
    table = pl.DataFrame(read_table(path))
    assert table.columns == [
        "sample_id",
        "subject_id",
        *truth_columns("finding", output),
        *(f"finding.score.{place}" for place in range(output.columns)),
    ]
    assert len(score_columns("finding", output)) == {"binary": 1, "multiclass": 3, "multilabel": 2}[kind]
    known, answered = truth_and_scores(table, "finding", output)
    np.testing.assert_array_equal(known, truth)
    np.testing.assert_array_equal(answered, scores)
    assert answered.dtype == np.float32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
