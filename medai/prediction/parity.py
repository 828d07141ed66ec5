"""Train/serve parity: a sample of the gate's rows goes the way of a prediction, and its scores are held beside those
that the gate is shown.

The sample is a cohort of its own, so that its arrays are made without the other rows, by the preprocessing that the
candidate's record holds; the record and the model's file are read again from the store and their hashes checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medai.errors import ServiceFailed
from medai.evaluation import scored_batches
from medai.outputs import Mask, Output
from medai.prediction.scoring import score
from medai.records import Arrays, Candidate, Cohort, Frozen, Parity, Role, Scorecard, Splits, stage_key
from medai.scores import SCORES, read_scores, score_columns
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 1


class _Sampling(Frozen):
    role: Role
    samples: int


def sample(workspace: Workspace, cohort: Cohort, splits: Splits, role: Role, samples: int) -> Made[Cohort]:
    """So many rows of a role, evenly spread over it in the order of sample_id; all of them where they are fewer.

    The record tells of the sample what its scores need: neither classes nor attrition.
    """
    key = stage_key(
        "sample",
        VERSION,
        {"cohort": cohort.key, "splits": splits.key},
        _Sampling(role=role, samples=samples),
        ("polars", "pyarrow"),
    )

    def build(folder: Path) -> Cohort:
        import polars as pl

        from medai.tables import OWNER_ALONE, read_table, write_table

        table = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet"))
        roles = pl.DataFrame(read_table(workspace.folder("split", splits.key) / "splits.parquet"))
        mine = roles.filter(pl.col("role") == role).select("sample_id")
        table = table.join(mine, on="sample_id", how="semi", maintain_order="left")
        chosen = np.unique(np.linspace(0, table.height - 1, min(samples, table.height)).round().astype(np.int64))
        table = table[chosen]
        write_table(folder / "cohort.parquet", table.to_arrow(), mode=OWNER_ALONE)
        return cohort.model_copy(
            update={
                "key": key,
                "samples": table.height,
                "subjects": table["subject_id"].n_unique(),
                "classes": {},
                "attrition": (),
            }
        )

    return workspace.materialise("select", key, Cohort, build)


def rescore(
    workspace: Workspace, candidate: Candidate, scorecard: Scorecard, judged: Arrays, served: Arrays, output: Output
) -> Made[Parity]:
    """Score a sample as it would be served, and compare.

    Args:
        scorecard: of the candidate, with its scores of all rows of a role.
        judged: the arrays that the scorecard was made from.
        served: those of the sample alone.
        output: the candidate's only one.

    Raises:
        ServiceFailed: the candidate's files are missing or were altered.
    """
    key = stage_key(
        "rescore",
        VERSION,
        {"scorecard": scorecard.key, "judged": judged.key, "served": served.key},
        None,
        ("numpy", "onnxruntime"),
    )

    def build(_folder: Path) -> Parity:
        own = workspace.find("fit", candidate.key, Candidate)
        if own is None:
            raise ServiceFailed(
                "the candidate's files are not as they were written",
                expected="its record and model in the store, byte for byte",
                received="a folder that is gone or was altered",
                action="run the same command again: it is fitted anew",
            )
        name = next(iter(own.outputs))
        pairs = _maps(workspace, own, judged, served) if isinstance(output, Mask) else None
        if pairs is None:
            pairs = iter([_scores(workspace, own, scorecard, served, name, output)])
        apart = np.concatenate([np.abs(one - other).reshape(len(one), -1).max(axis=1) for one, other in pairs])
        return Parity(
            key=key,
            scorecard=scorecard.key,
            samples=len(apart),
            unequal=int((apart > 0).sum()),
            difference=float(apart.max(initial=0)),
        )

    return workspace.materialise("rescore", key, Parity, build)


def _scores(
    workspace: Workspace, candidate: Candidate, scorecard: Scorecard, served: Arrays, name: str, output: Output
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(samples, columns) probabilities: those that were judged, and those that are served."""
    import polars as pl

    from medai.tables import read_table

    scores = score(workspace, candidate, served, name, output).record
    again = pl.DataFrame(read_table(workspace.folder("score", scores.key) / SCORES))
    columns = score_columns(name, output)
    before = again.select("sample_id").join(
        read_scores(workspace, scorecard), on="sample_id", how="left", maintain_order="left", validate="1:1"
    )
    first, second = (table.select(pl.col(columns).cast(pl.Float64)).to_numpy() for table in (before, again))
    return first, second


def _maps(
    workspace: Workspace, candidate: Candidate, judged: Arrays, served: Arrays
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The raw scores of every pixel, a batch of pictures at a time."""
    from medai.training.gathering import at, open_arrays

    folders = [workspace.folder("prepare", arrays.key) for arrays in (judged, served)]
    places, sampled = (_index(folder) for folder in folders)
    rows = sampled.select("sample_id").join(places, on="sample_id", how="left", maintain_order="left")["row"].to_numpy()
    before = scored_batches(workspace, candidate, at(open_arrays(folders[0], judged), rows))
    again = scored_batches(workspace, candidate, open_arrays(folders[1], served))
    for (_, one), (_, other) in zip(before, again, strict=True):
        yield one.astype(np.float64), other.astype(np.float64)


def _index(folder: Path) -> pl.DataFrame:
    """sample_id and row of prepared arrays, in the order of the rows."""
    import polars as pl

    from medai.tables import read_table

    return pl.DataFrame(read_table(folder / "samples.parquet", ["row", "sample_id"])).sort("row")
