"""``score``: the champion's answer to each sample, as calibrated probabilities."""

from __future__ import annotations

from pathlib import Path

from medai.evaluation import score as raw_scores
from medai.evaluation import scored_batches
from medai.outputs import Mask, Output
from medai.prediction.masks import marked
from medai.records import Arrays, Candidate, Record, stage_key
from medai.scores import SCORES, score_columns
from medai.workspace import Made, Workspace

VERSION = 1


class Scores(Record):
    """Scores of one candidate on one set of arrays.

    Attributes:
        candidate: its key.
        samples: how many were scored.
    """

    candidate: str
    samples: int


def score(workspace: Workspace, candidate: Candidate, arrays: Arrays, name: str, output: Output) -> Made[Scores]:
    """Write ``scores.parquet``: sample_id and a float32 probability a column, for the owner alone.

    Of a mask it holds what ``medai.prediction.masks`` tells of each picture.

    Args:
        arrays: prepared with the candidate's own preprocessing.
        name: of the output.
        output: as the candidate's record defines it.

    Raises:
        DataRefused: the arrays are not what the candidate reads.
        ServiceFailed: the candidate's file was altered, or a score is not finite.
    """
    key = stage_key(
        "score",
        VERSION,
        {"candidate": candidate.key, "arrays": arrays.key},
        None,
        ("numpy", "onnxruntime", "polars", "pyarrow"),
    )

    def build(folder: Path) -> Scores:
        import polars as pl

        from medai.measurement import calibration
        from medai.tables import OWNER_ALONE, read_table, write_table
        from medai.training.gathering import open_arrays

        prepared = workspace.folder("prepare", arrays.key)
        samples = pl.DataFrame(read_table(prepared / "samples.parquet", ["row", "sample_id"])).sort("row")
        data = open_arrays(prepared, arrays)
        if isinstance(output, Mask):
            blocks = (block for _, block in scored_batches(workspace, candidate, data))
            said = marked(output, blocks, candidate.thresholds[name])
            table = samples.select("sample_id").hstack(said)
            write_table(folder / SCORES, table.to_arrow(), mode=OWNER_ALONE)
            return Scores(key=key, candidate=candidate.key, samples=table.height)
        scores = calibration.apply(candidate.calibration[name], raw_scores(workspace, candidate, data))
        table = samples.select("sample_id").with_columns(
            pl.Series(column, scores[:, position]) for position, column in enumerate(score_columns(name, output))
        )
        write_table(folder / SCORES, table.to_arrow(), mode=OWNER_ALONE)
        return Scores(key=key, candidate=candidate.key, samples=table.height)

    return workspace.materialise("score", key, Scores, build)
