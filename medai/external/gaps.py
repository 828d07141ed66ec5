"""``gap``: the champion's figures on other data beside those of its own test, each difference with its interval.

Both sets of patients are a sample of their own, so both are resampled: the interval of a difference is wider than that
of either figure. It tells chance alone; what makes the sites differ (patients, devices, how labels were made) it does
not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.evaluation import Evaluation, columns_of
from medai.outputs import Binary, Mask, Output
from medai.records import Candidate, Frozen, Measure, Record, Scorecard, stage_key
from medai.scores import measured_of, read_scores, truth_and_scores
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
METRICS = ("auroc", "micro_auroc", "auprc", "kappa", "sensitivity", "specificity", "brier")
"""Metrics that are compared, where the output has them; of single findings the first alone."""


class Apart(Frozen):
    """One metric on the champion's own test and on other data.

    Attributes:
        own, here: the figures, of the same findings.
        difference: here minus own, with an interval over the patients of both.
    """

    own: float
    here: float
    difference: Measure


class Gap(Record):
    """How far the figures on other data lie from those of the champion's own test.

    Attributes:
        own, here: keys of the scorecards.
        unit: what was resampled, in each set by itself.
        metrics: metric → both figures and their difference; of several findings each one's AUROC, too.
    """

    own: str
    here: str
    unit: str
    confidence: float
    resamples: int
    metrics: dict[str, Apart]


class _Comparing(Frozen):
    evaluation: Evaluation
    output: Output


def gap(
    workspace: Workspace,
    candidate: Candidate,
    own: Scorecard,
    here: Scorecard,
    outputs: dict[str, Output],
    config: Evaluation,
) -> Made[Gap]:
    """Compare two scorecards of one candidate that share no patient.

    Args:
        own: on the candidate's own test, of all that it answers.
        here: on other data.
        outputs: what was measured there; of its own test the same columns are taken.
    """
    name, output = next(iter(outputs.items()))
    key = stage_key(
        "gap",
        VERSION,
        {"candidate": candidate.key, "own": own.key, "here": here.key},
        _Comparing(evaluation=config, output=output),
        ("numpy",),
    )

    def build(_folder: Path) -> Gap:
        from pydantic import TypeAdapter

        from medai.measurement import metrics
        from medai.measurement.bootstrap import unpaired_differences

        fitted: Output = TypeAdapter[Output](Output).validate_python(candidate.outputs[name])
        columns = columns_of(candidate, name, output)
        if isinstance(output, Mask):
            return told(*_of_masks(workspace, name, output, (here, own), config))
        thresholds = tuple(candidate.thresholds[name][column] for column in columns if candidate.thresholds[name])
        names = [one for one in metrics.available(output) if _compared(one)]
        rows = []
        for card, answered in ((here, output), (own, fitted)):
            table = read_scores(workspace, card)
            truth, scores = truth_and_scores(table, name, answered)
            if card is own:
                truth, scores = _asked(truth, scores, output, fitted, columns)
            rows.append((truth, scores, table["subject_id"].to_numpy(), thresholds))
        differences = unpaired_differences(
            output,
            *rows,
            names=names,
            confidence=config.confidence,
            resamples=config.resamples,
            seed=config.seed,
        )
        there, at_home = (
            {metric: float(figure[0]) for metric, figure in found.items()}
            for found in (metrics.compute(output, *part[:2], thresholds, None, names) for part in rows)
        )
        return told(there, at_home, differences)

    def told(there: dict[str, float], at_home: dict[str, float], differences: dict[str, Measure]) -> Gap:
        return Gap(
            key=key,
            own=own.key,
            here=here.key,
            unit=here.unit,
            confidence=config.confidence,
            resamples=config.resamples,
            metrics={
                metric: Apart(own=at_home[metric], here=there[metric], difference=difference)
                for metric, difference in differences.items()
            },
        )

    return workspace.materialise("gap", key, Gap, build)


def _of_masks(
    workspace: Workspace, name: str, output: Mask, cards: tuple[Scorecard, Scorecard], config: Evaluation
) -> tuple[dict[str, float], dict[str, float], dict[str, Measure]]:
    """Figures here, figures at home, and their differences, of what was measured picture by picture."""
    from medai.measurement import segmentation

    tables = [read_scores(workspace, card) for card in cards]
    sides = [
        (segmentation.terms(output, measured_of(table, name, output)), table["subject_id"].to_numpy())
        for table in tables
    ]
    differences = segmentation.unpaired_differences(
        *sides, confidence=config.confidence, resamples=config.resamples, seed=config.seed
    )
    there, at_home = (segmentation.figures(sums) for sums, _ in sides)
    return there, at_home, differences


def _compared(metric: str) -> bool:
    name, _, finding = metric.partition("/")
    return name == METRICS[0] if finding else name in METRICS


def _asked(
    truth: np.ndarray, scores: np.ndarray, output: Output, fitted: Output, columns: list[int]
) -> tuple[Any, Any]:
    """Truth and scores of the own test, of what was asked alone."""
    if fitted.kind != "multilabel":
        return truth, scores
    chosen = truth[:, columns]
    return (chosen[:, 0] if isinstance(output, Binary) else chosen), scores[:, columns]
