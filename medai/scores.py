"""The scores table: what a candidate answered on one role's rows, beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort import truth_columns
from medai.outputs import Output
from medai.records import Scorecard
from medai.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

SCORES = "scores.parquet"


def score_columns(name: str, output: Output) -> list[str]:
    """Columns of an output's scores: one for binary, one a class otherwise."""
    return [f"{name}.score.{position}" for position in range(output.columns)]


def write_scores(path: Path, rows: pl.DataFrame, name: str, output: Output, scores: np.ndarray) -> None:
    """Write sample_id, subject_id, truth and scores; readable by the owner alone."""
    import polars as pl

    from medai.tables import write_table

    table = rows.select("sample_id", "subject_id", *truth_columns(name, output)).with_columns(
        pl.Series(column, scores[:, position]) for position, column in enumerate(score_columns(name, output))
    )
    write_table(path, table.to_arrow())
    path.chmod(0o600)


def read_scores(workspace: Workspace, scorecard: Scorecard) -> pl.DataFrame:
    """The scores behind a scorecard, in the order of sample_id."""
    import polars as pl

    from medai.tables import read_table

    return pl.DataFrame(read_table(workspace.folder("evaluate", scorecard.key) / SCORES))


def truth_and_scores(table: pl.DataFrame, name: str, output: Output) -> tuple[np.ndarray, np.ndarray]:
    """Truth (samples,) or (samples, findings), and scores (samples, columns), of one output."""
    truth = table.select(truth_columns(name, output)).to_numpy()
    scores = table.select(score_columns(name, output)).to_numpy()
    return (truth if output.kind == "multilabel" else truth[:, 0]), scores
