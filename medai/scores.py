"""The scores table: what a candidate answered on one role's rows, beside the truth.

Of masks, whose scores are as large as the pictures, it holds what was measured of each picture instead
(``medai.measurement.overlap.MEASURES``, a column a finding): figures are made of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort import truth_columns
from medai.measurement.overlap import MEASURES
from medai.outputs import Mask, Output
from medai.records import Scorecard
from medai.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

SCORES = "scores.parquet"


def score_columns(name: str, output: Output) -> list[str]:
    """Columns of an output's scores: one for binary, one a class otherwise."""
    return [f"{name}.score.{position}" for position in range(output.columns)]


def measure_columns(name: str, output: Mask) -> list[str]:
    """Columns of what is measured of a mask: finding by finding, in the order of the measures."""
    return [f"{name}.{measure}.{finding}" for finding in range(len(output.findings)) for measure in MEASURES]


def write_measured(path: Path, rows: pl.DataFrame, name: str, output: Mask, measured: np.ndarray) -> None:
    """Write sample_id, subject_id, truth and (samples, findings, measures) of a mask; for the owner alone."""
    import polars as pl

    from medai.tables import OWNER_ALONE, write_table

    flat = measured.reshape(len(measured), -1)
    table = rows.select("sample_id", "subject_id", *truth_columns(name, output)).with_columns(
        pl.Series(column, flat[:, place], pl.Float64) for place, column in enumerate(measure_columns(name, output))
    )
    write_table(path, table.to_arrow(), mode=OWNER_ALONE)


def measured_of(table: pl.DataFrame, name: str, output: Mask) -> np.ndarray:
    """(samples, findings, measures) float64."""
    flat = table.select(measure_columns(name, output)).to_numpy()
    return flat.reshape(table.height, len(output.findings), len(MEASURES))


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
