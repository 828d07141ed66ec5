"""``reference``: what a champion's own data and answers look like, made once and kept with everything it needs.

It is made from what the store still has when a champion is first compared with anything, by the road of prediction, so
that like is compared with like; from then on it needs neither the data nor the Problem.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medai.errors import DataRefused
from medai.monitoring import features
from medai.monitoring.observing import OBSERVED, Rows, counted_codes, observe_data, observe_scores, rows_of
from medai.monitoring.records import Reference
from medai.monitoring.statistics import of_subjects
from medai.outputs import Mask, Output
from medai.records import Arrays, Candidate, Cohort, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 3
CODES, ANSWERED = "codes.parquet", "answered.parquet"
LEAST_VALIDATION = 30
"""Fewer subjects of validation than these, and scores are those of train."""


def standing_reference(workspace: Workspace, champion: Candidate) -> Reference | None:
    """The reference that was made of a champion; None where there is none, or it was altered.

    One that another version of this stage made is none either: its figures were counted otherwise than a batch's.
    """
    noted = workspace.receipt("reference", champion.key)
    if noted.get("version") != VERSION:
        return None
    return workspace.find("reference", str(noted.get("reference")), Reference)


def make_reference(
    workspace: Workspace,
    champion: Candidate,
    snapshot: Snapshot,
    cohort: Cohort,
    arrays: Arrays,
    name: str,
    output: Output,
) -> Made[Reference]:
    """Make a champion's reference, and remember which it is.

    Args:
        snapshot: the champion's own data.
        cohort: everybody in them who can be predicted; who was not learnt from is left out.
        arrays: of the cohort, by the champion's own preprocessing.
        name: of the output.
        output: as the champion's record defines it.

    Raises:
        DataRefused: nobody whom the champion learnt from is in the data.
        ServiceFailed: the champion's file was altered.
    """
    key = stage_key(
        "reference",
        VERSION,
        {"candidate": champion.key, "snapshot": snapshot.key, "cohort": cohort.key, "arrays": arrays.key},
        None,
        ("numpy", "onnx", "onnxruntime", "polars", "pyarrow", "scipy"),
    )

    def build(folder: Path) -> Reference:
        from medai.tables import OWNER_ALONE, write_table

        rows = {role: _of_role(workspace, champion, cohort, arrays, role) for role in ("train", "validation")}
        learnt = rows["train"]
        if not learnt.subjects:
            raise DataRefused(
                "the champion's reference cannot be made",
                expected="data with patients whom it learnt from",
                received=f"{cohort.samples} samples, none of such a patient",
                action="give the problem as it was when the champion was made, or run it anew",
            )
        role: Literal["train", "validation"] = (
            "validation" if rows["validation"].subjects >= LEAST_VALIDATION else "train"
        )
        answered = rows[role]
        opened = _opened(workspace, arrays)
        data = observe_data(workspace, snapshot, arrays, learnt)
        scores = observe_scores(
            scores_of(workspace, champion, opened, answered, name, output),
            name,
            output,
            _cuts(champion, name),
            answered,
        )
        sha256 = None
        if arrays.kind != "series" and (graph := _features_graph(workspace, champion)) is not None:
            (folder / features.GRAPH).write_bytes(graph)
            sha256 = _sha256(graph)
            mean, inverse = features.fit(_features(folder, sha256, opened, learnt))
            np.savez(folder / features.GAUSSIAN, mean=mean, inverse=inverse)
            far = features.distances(_features(folder, sha256, opened, answered), mean, inverse)
            data.numbers[features.FEATURES] = of_subjects(answered.subject, far)
        write_table(folder / OBSERVED, data.table().to_arrow(), mode=OWNER_ALONE)
        write_table(folder / ANSWERED, scores.table().to_arrow(), mode=OWNER_ALONE)
        if snapshot.shape == "events":
            codes = counted_codes(workspace.folder("ingest", snapshot.key) / "events.parquet", learnt.table)
            write_table(folder / CODES, codes.to_arrow())
        return Reference(
            key=key,
            candidate=champion.key,
            snapshot=snapshot.key,
            unit=snapshot.unit,
            subjects=learnt.subjects,
            scored=answered.subjects,
            role=role,
            features_sha256=sha256,
        )

    made = workspace.materialise("reference", key, Reference, build)
    noted = {"reference": key, "version": VERSION}
    if workspace.receipt("reference", champion.key) != noted:
        workspace.keep_receipt("reference", champion.key, noted)
    return made


def scores_of(
    workspace: Workspace, champion: Candidate, opened: dict[str, Any], rows: Rows, name: str, output: Output
) -> pl.DataFrame:
    """sample_id and what ``medai.prediction.score`` would write, of some rows alone: nobody else is scored."""
    import polars as pl

    from medai.evaluation import score, scored_batches
    from medai.measurement import calibration
    from medai.prediction.masks import marked
    from medai.scores import score_columns
    from medai.training.gathering import at

    chosen = at(opened, rows.places)
    if isinstance(output, Mask):
        blocks = (block for _, block in scored_batches(workspace, champion, chosen))
        return rows.table.select("sample_id").hstack(marked(output, blocks, champion.thresholds[name]))
    scores = calibration.apply(champion.calibration[name], score(workspace, champion, chosen))
    return rows.table.select("sample_id").with_columns(
        pl.Series(column, scores[:, place]) for place, column in enumerate(score_columns(name, output))
    )


def feature_distances(
    workspace: Workspace, reference: Reference, arrays: Arrays, rows: Rows
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """(subjects,) mean distance of each subject's pictures in the champion's features; None where it has none."""
    if reference.features_sha256 is None or not rows.subjects:
        return None
    folder = workspace.folder("reference", reference.key)
    with np.load(folder / features.GAUSSIAN, allow_pickle=False) as gaussian:
        mean, inverse = gaussian["mean"], gaussian["inverse"]
    found = _features(folder, reference.features_sha256, _opened(workspace, arrays), rows)
    return of_subjects(rows.subject, features.distances(found, mean, inverse))


def _features(folder: Path, sha256: str, opened: dict[str, Any], rows: Rows) -> np.ndarray[Any, np.dtype[np.float32]]:
    from medai.training.gathering import at

    return features.features_of(folder / features.GRAPH, sha256, dict(at(opened, rows.places)))


def _of_role(workspace: Workspace, champion: Candidate, cohort: Cohort, arrays: Arrays, role: str) -> Rows:
    """Rows of subjects whom the champion met in one role alone."""
    import polars as pl

    from medai.tables import read_table

    met = pl.DataFrame(read_table(workspace.folder("fit", champion.key) / "subjects.parquet"))
    wanted = met.filter(pl.col("role") == role)["subject_id"]
    if role == "validation":  # who is in train as well is known by heart
        learnt = met.filter(pl.col("role") == "train")["subject_id"]
        wanted = wanted.filter(~wanted.is_in(learnt.implode()))
    return rows_of(workspace, cohort, arrays, lambda subjects: subjects.is_in(wanted.implode()))


def _opened(workspace: Workspace, arrays: Arrays) -> dict[str, Any]:
    from medai.training.gathering import open_arrays

    return open_arrays(workspace.folder("prepare", arrays.key), arrays)


def _cuts(champion: Candidate, name: str) -> tuple[float, ...]:
    return champion.thresholds[name]


def _features_graph(workspace: Workspace, champion: Candidate) -> bytes | None:
    """The champion's net up to its last dense layer; None for a model without one."""
    model = workspace.folder("fit", champion.key) / "model.onnx"
    return features.cut(features.read_graph(model, champion.members[0].onnx_sha256))


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
