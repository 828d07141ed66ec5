"""``evaluate``: a candidate's scorecard on one role of one split.

Scores come from the exported ONNX file through the candidate's own calibration; the threshold is the one that was
chosen on validation. Intervals resample the cohort's unit, so that several samples of one patient move together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from medai.errors import ConfigurationError
from medai.outputs import Mask, Output, answering
from medai.records import (
    Arrays,
    Candidate,
    Cohort,
    Comparison,
    Frozen,
    Measure,
    Role,
    Scorecard,
    Splits,
    Subgroup,
    sha256_of,
    stage_key,
)
from medai.scores import SCORES, measured_of, read_scores, truth_and_scores, write_measured, write_scores
from medai.tables import SPACING
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import numpy as np

    from medai.training.rows import Rows

VERSION = 5
UNKNOWN = "not recorded"
"""The level of samples whose group is not known."""


class Evaluation(Frozen):
    """How a scorecard is made.

    Attributes:
        confidence: of the bootstrap intervals.
        resamples: bootstrap resamples of the unit.
        seed: of the resampling; not the run's, so that two runs on the same rows are resampled alike.
        minimum_subgroup: levels of a group with fewer subjects are counted, not judged.
    """

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=100, le=100_000)
    seed: int = Field(0, ge=0, lt=2**32)
    minimum_subgroup: int = Field(30, ge=1)


class _Scoring(Frozen):
    evaluation: Evaluation
    role: Role


class _Comparing(Frozen):
    evaluation: Evaluation
    metrics: tuple[str, ...]


def evaluate(
    workspace: Workspace,
    candidate: Candidate,
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    outputs: dict[str, Output],
    role: Role,
    config: Evaluation,
) -> Made[Scorecard]:
    """Score a candidate on the rows of one role.

    Args:
        arrays: prepared with the candidate's own preprocessing.
        outputs: what is measured: the candidate's own, or some of its findings.
    """
    key = stage_key(
        "evaluate",
        VERSION,
        {"candidate": candidate.key, "arrays": arrays.key, "cohort": cohort.key, "splits": splits.key},
        _Scoring(evaluation=config, role=role),
        ("numpy", "onnxruntime"),
    )

    def build(folder: Path) -> Scorecard:
        from medai.measurement import calibration, evaluate_output, segmentation
        from medai.measurement.evidence import evidence_of
        from medai.measurement.recalibration import recalibrate
        from medai.training.rows import Rows

        name, output = next(iter(outputs.items()))
        columns = columns_of(candidate, name, output)
        thresholds = tuple(candidate.thresholds[name][column] for column in columns if candidate.thresholds[name])
        rows = Rows.load(workspace, arrays, cohort, splits, outputs)
        positions = rows.of(role)
        table, truth = rows.table[positions], rows.truth[name][positions]
        subjects = table["subject_id"].to_numpy()
        if isinstance(output, Mask):
            overlaps = _overlaps(workspace, candidate, rows, positions, name, output, arrays)
            write_measured(folder / SCORES, table, name, output, overlaps)
        else:
            raw = score(workspace, candidate, rows.at(positions))
            scores = calibration.apply(candidate.calibration[name], raw)[:, columns]
            write_scores(folder / SCORES, table, name, output, scores)
            amounts = rows.amounts[name][positions] if name in rows.amounts else None
            errors = _errors(candidate, name, scores, amounts)

        def measured(chosen: np.ndarray, *, tell: bool) -> tuple[dict[str, Measure], tuple[tuple[int, ...], ...]]:
            if isinstance(output, Mask):
                measures = segmentation.intervals(
                    segmentation.terms(output, overlaps[chosen]),
                    subjects[chosen],
                    confidence=config.confidence,
                    resamples=config.resamples,
                    seed=config.seed,
                )
                return measures, segmentation.confusion(overlaps[chosen])
            return evaluate_output(
                output,
                truth[chosen],
                scores[chosen],
                thresholds,
                subjects[chosen],
                confidence=config.confidence,
                resamples=config.resamples,
                seed=config.seed,
                tell=tell,
                errors=None if errors is None else errors[chosen],
            )

        import numpy as np

        metrics, confusion = measured(np.arange(len(positions)), tell=True)
        subgroups = []
        positive = (
            np.full(len(truth), True) if output.kind == "multiclass" else (truth.reshape(len(truth), -1) > 0).any(1)
        )
        for group in cohort.groups:
            levels = np.array([_level(value) for value in table[group].to_list()], object)
            for level in sorted(set(levels), key=_standing):
                chosen = np.flatnonzero(levels == level)
                number = len(np.unique(subjects[chosen]))
                subgroups.append(
                    Subgroup(
                        group=group,
                        level=level,
                        samples=len(chosen),
                        subjects=number,
                        positives=int((truth[chosen] > 0).sum()),
                        positive_subjects=len(np.unique(subjects[chosen][positive[chosen]])),
                        metrics=measured(chosen, tell=False)[0] if number >= config.minimum_subgroup else {},
                    )
                )
        agreement = {}
        if output.kind == "binary":
            agreement[name] = recalibrate(
                truth,
                scores[:, 0],
                subjects,
                confidence=config.confidence,
                resamples=config.resamples,
                seed=config.seed,
            )
        return Scorecard(
            key=key,
            candidate=candidate.key,
            role=role,
            unit=cohort.unit,
            samples=len(positions),
            subjects=int(table["subject_id"].n_unique()),
            confidence=config.confidence,
            resamples=config.resamples,
            classes={name: _count(output, truth)},
            evidence={name: evidence_of(output, truth, subjects)},
            metrics={name: metrics},
            confusion={name: confusion},
            subgroups={name: tuple(subgroups)} if subgroups else {},
            calibration=agreement,
            rows_sha256=sha256_of(table["sample_id"].to_list()),
            opens_test=role == "test",
        )

    return workspace.materialise("evaluate", key, Scorecard, build)


def columns_of(candidate: Candidate, name: str, output: Output) -> list[int]:
    """The candidate's score columns that answer an output.

    Raises:
        ConfigurationError: it answers another question.
    """
    from pydantic import TypeAdapter

    own: Output = TypeAdapter[Output](Output).validate_python(candidate.outputs[name])
    columns = answering(output, own)
    if columns is None:
        raise ConfigurationError(
            f"the candidate does not answer the output {name}",
            expected=", ".join(own.names),
            received=", ".join(output.names),
            action="evaluate it under the outputs that it was fitted for",
        )
    return list(columns)


def score(workspace: Workspace, candidate: Candidate, arrays: dict[str, Any]) -> np.ndarray:
    """(samples, columns) float32 raw scores: the mean over the candidate's members."""
    import numpy as np

    from medai.inference import Scorer

    folder = workspace.folder("fit", candidate.key)
    scores = [
        Scorer(folder / "model.onnx", member.onnx_sha256, threads=1).score(arrays) for member in candidate.members
    ]
    return np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)


def scored_batches(
    workspace: Workspace, candidate: Candidate, arrays: dict[str, Any]
) -> Iterator[tuple[int, np.ndarray]]:
    """The first row's number and the raw scores of a batch at a time: the mean over the candidate's members."""
    import numpy as np

    from medai.inference import Scorer

    path = workspace.folder("fit", candidate.key) / "model.onnx"
    scorers = [Scorer(path, member.onnx_sha256, threads=1) for member in candidate.members]
    for batches in zip(*(scorer.batches(arrays) for scorer in scorers), strict=True):
        yield batches[0][0], np.asarray(np.mean([batch for _, batch in batches], axis=0, dtype=np.float64), np.float32)


def _overlaps(
    workspace: Workspace,
    candidate: Candidate,
    rows: Rows,
    positions: np.ndarray,
    name: str,
    output: Mask,
    arrays: Arrays,
) -> np.ndarray:
    """(samples, findings, measures) of the candidate's masks over the true ones."""
    import numpy as np

    from medai.measurement import segmentation

    masks, spacing = rows.goal(name, output), _spacing(workspace, arrays)
    found = []
    for start, scores in scored_batches(workspace, candidate, rows.at(positions)):
        chosen = positions[start : start + len(scores)]
        answer = segmentation.decided(output, scores, candidate.thresholds[name])
        steps = None if spacing is None else spacing[chosen]
        found.append(segmentation.overlaps(output, masks[chosen], answer, steps))
    return np.concatenate(found)


def _spacing(workspace: Workspace, arrays: Arrays) -> np.ndarray | None:
    """(samples, 2) millimetres between pixels, down and across, NaN where they are not known; None: for nobody."""
    import polars as pl

    from medai.tables import read_table

    index = pl.DataFrame(read_table(workspace.folder("prepare", arrays.key) / "samples.parquet"))
    if not set(SPACING) <= set(index.columns):
        return None
    return index.sort("row").select(SPACING).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def figure(
    workspace: Workspace, candidate: Candidate, scorecard: Scorecard, outputs: dict[str, Output], metric: str
) -> float | None:
    """A metric of the first output on the rows of a scorecard; None if it is undefined on them.

    On few rows a figure may be defined and its interval not, because most resamples lack a class or finding.
    """
    import numpy as np

    from medai.measurement import metrics

    name, output = next(iter(outputs.items()))
    if metric in scorecard.metrics[name]:
        return scorecard.metrics[name][metric].value
    if isinstance(output, Mask):
        from medai.measurement import segmentation

        sums = segmentation.terms(output, measured_of(read_scores(workspace, scorecard), name, output))
        return segmentation.figures(sums).get(metric)
    truth, scores = truth_and_scores(read_scores(workspace, scorecard), name, output)
    value = metrics.compute(output, truth, scores, candidate.thresholds[name], names=[metric])[metric][0]
    return float(value) if np.isfinite(value) else None


def paired(
    workspace: Workspace,
    output: Output,
    name: str,
    metric: str,
    ours: tuple[Candidate, Scorecard],
    theirs: tuple[Candidate, Scorecard],
    config: Evaluation,
) -> Measure | None:
    """Metric of ours minus metric of theirs, both on the same resamples of the same rows; None if undefined."""
    from medai.measurement import bootstrap

    table, other = read_scores(workspace, ours[1]), read_scores(workspace, theirs[1])
    if isinstance(output, Mask):
        from medai.measurement import segmentation

        first, second = (segmentation.terms(output, measured_of(one, name, output)) for one in (table, other))
        return segmentation.paired_difference(
            metric,
            first,
            second,
            table["subject_id"].to_numpy(),
            confidence=config.confidence,
            resamples=config.resamples,
            seed=config.seed,
        )
    truth, scores = truth_and_scores(table, name, output)
    return bootstrap.paired_difference(
        metric,
        output,
        truth,
        scores,
        truth_and_scores(other, name, output)[1],
        table["subject_id"].to_numpy(),
        thresholds_a=ours[0].thresholds[name],
        thresholds_b=theirs[0].thresholds[name],
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.seed,
    )


def compare(
    workspace: Workspace,
    outputs: dict[str, Output],
    chosen: tuple[Candidate, Scorecard],
    others: dict[str, tuple[Candidate, Scorecard]],
    metrics: tuple[str, ...],
    config: Evaluation,
) -> Made[Comparison]:
    """The chosen candidate beside the others on the same rows, with paired intervals."""
    inputs = {"chosen": chosen[1].key} | {name: scorecard.key for name, (_, scorecard) in others.items()}
    key = stage_key("compare", VERSION, inputs, _Comparing(evaluation=config, metrics=metrics), ("numpy",))

    def build(_folder: Path) -> Comparison:
        name, output = next(iter(outputs.items()))
        differences = {}
        for other, theirs in others.items():
            measures = {metric: paired(workspace, output, name, metric, chosen, theirs, config) for metric in metrics}
            differences[other] = {metric: measure for metric, measure in measures.items() if measure is not None}
        return Comparison(key=key, scorecard=chosen[1].key, differences=differences)

    return workspace.materialise("compare", key, Comparison, build)


def _errors(candidate: Candidate, name: str, scores: np.ndarray, amounts: np.ndarray | None) -> np.ndarray | None:
    """(N,) hours between what was and what the predicted class stands for; None where classes are no bins."""
    import numpy as np

    levels = candidate.levels.get(name)
    if levels is None or amounts is None:
        return None
    predicted = np.array(levels)[np.asarray(scores, np.float64).argmax(axis=1)]
    return np.asarray(np.abs(amounts.astype(np.float64) - predicted))


def _level(value: Any) -> str:
    """A group's level as it is called: whole numbers without a point."""
    if value is None or value != value:
        return UNKNOWN
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _standing(level: str) -> tuple[int, float, str]:
    """Numbers by size, then names, and what is not recorded last."""
    try:
        return 0, float(level), level
    except ValueError:
        return 2 if level == UNKNOWN else 1, 0.0, level


def _count(output: Output, truth: np.ndarray) -> dict[str, int]:
    if output.kind == "multilabel":
        return {finding: int(truth[:, position].sum()) for position, finding in enumerate(output.names)}
    return {label: int((truth == position).sum()) for position, label in enumerate(output.names)}
