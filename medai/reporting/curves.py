"""``draw``: a run's figures from its scores tables; one SVG each, equal bytes for equal scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medai.outputs import Mask, Output
from medai.records import Candidate, Figures, Frozen, Measure, Scorecard, stage_key
from medai.reporting import words
from medai.reporting.outlines import draw_masks
from medai.scores import read_scores, truth_and_scores
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import numpy as np

VERSION = 4
LEGIBLE = 10
"""Curves of one model that can be told apart; of more classes, all together are drawn, and each behind them."""


class _Drawn(Frozen):
    outputs: dict[str, Output]


def draw(
    workspace: Workspace,
    outputs: dict[str, Output],
    chosen: str,
    candidates: dict[str, Candidate],
    scorecards: dict[str, Scorecard],
) -> Made[Figures]:
    """Draw ROC, precision–recall, calibration, net benefit and confusion on the scored rows, and the training curves.

    Of masks: which share of the pictures reaches which Dice, and Dice by the size of what is true.

    Args:
        chosen: the candidate drawn first; the others beside it (binary outputs).
        scorecards: name → scorecard of the same role.
    """
    inputs = {f"scorecard:{name}": scorecard.key for name, scorecard in scorecards.items()}
    inputs |= {f"candidate:{name}": candidate.key for name, candidate in candidates.items()}
    inputs["chosen"] = chosen
    key = stage_key("draw", VERSION, inputs, _Drawn(outputs=outputs), ("matplotlib", "numpy"))

    def build(folder: Path) -> Figures:

        name, output = next(iter(outputs.items()))
        order = [chosen, *(other for other in scorecards if other != chosen)]
        if isinstance(output, Mask):
            called = [(words.model(other, candidates[other].members[0].kind), scorecards[other]) for other in order]
            files = draw_masks(workspace, folder, name, output, called)
            return Figures(key=key, files=files | _draw_rest(workspace, folder, name, output, candidates, called[0][1]))
        if output.kind == "binary":
            curves = [
                _Scored(
                    words.model(other, candidates[other].members[0].kind),
                    *_scored(workspace, scorecards[other], name, output),
                )
                for other in order
            ]
        else:
            truth, scores = _scored(workspace, scorecards[chosen], name, output)
            curves = [
                _Scored(label, (truth == place) if truth.ndim == 1 else truth[:, place], scores[:, [place]])
                for place, label in enumerate(output.names)
            ]
        measures = [scorecards[other].metrics[name] for other in order] if output.kind == "binary" else []
        faint: list[_Scored] = []
        if len(curves) > LEGIBLE:
            import numpy as np

            together = [np.concatenate([getattr(one, part) for one in curves]) for part in ("truth", "score")]
            faint, curves = curves, [_Scored("all classes together", together[0], together[1][:, None])]
            pooled = scorecards[chosen].metrics[name].get("micro_auroc")
            measures = [{"auroc": pooled}] if pooled else []
        files = _draw_curves(folder, curves, measures, faint)
        if output.kind == "binary":
            files["net_benefit"] = _draw_net_benefit(folder, curves, candidates[chosen].thresholds[name][0])
        files |= _draw_rest(workspace, folder, name, output, candidates, scorecards[chosen])
        return Figures(key=key, files=files)

    return workspace.materialise("draw", key, Figures, build)


def _draw_rest(
    workspace: Workspace,
    folder: Path,
    name: str,
    output: Output,
    candidates: dict[str, Candidate],
    scorecard: Scorecard,
) -> dict[str, str]:
    """Confusion at the threshold, and the curves of training."""
    from medai.reporting import figures

    files = {"confusion": "confusion.svg"}
    columns = ("true negative", "false positive", "false negative", "true positive")
    figures.draw_confusion(
        folder / "confusion.svg",
        scorecard.confusion[name],
        output.names,
        columns if output.kind == "multilabel" else None,
    )
    for candidate in candidates.values():
        history = workspace.folder("fit", candidate.key) / "history.json"
        if history.exists():
            figures.draw_training(folder / "training.svg", json.loads(history.read_bytes()), kept=candidate.epochs)
            files["training"] = "training.svg"
    return files


class _Scored:
    """One curve's name, truth (samples,) and score (samples,)."""

    def __init__(self, name: str, truth: np.ndarray, scores: np.ndarray) -> None:
        self.name = name
        self.truth = truth
        self.score = scores[:, 0]


def _scored(workspace: Workspace, scorecard: Scorecard, name: str, output: Output) -> tuple[np.ndarray, np.ndarray]:
    return truth_and_scores(read_scores(workspace, scorecard), name, output)


def _draw_curves(
    folder: Path, curves: list[_Scored], measures: list[dict[str, Measure]], faint: list[_Scored]
) -> dict[str, str]:
    from medai.measurement import metrics
    from medai.reporting import figures

    def measure(place: int, metric: str) -> Measure | None:
        return measures[place].get(metric) if measures else None

    figures.draw_roc(
        folder / "roc.svg",
        [
            figures.Curve(curve.name, *metrics.roc_points(curve.truth, curve.score), measure(place, "auroc"))
            for place, curve in enumerate(curves)
        ],
        faint=[figures.Curve(curve.name, *metrics.roc_points(curve.truth, curve.score)) for curve in faint],
    )
    figures.draw_precision_recall(
        folder / "precision_recall.svg",
        [
            figures.Curve(
                curve.name, *metrics.precision_recall_points(curve.truth, curve.score), measure(place, "auprc")
            )
            for place, curve in enumerate(curves)
        ],
        prevalence=float(curves[0].truth.mean()),
        faint=[figures.Curve(one.name, *metrics.precision_recall_points(one.truth, one.score)) for one in faint],
    )
    figures.draw_calibration(
        folder / "calibration.svg",
        [
            figures.Reliability(
                curve.name, *metrics.reliability_points(curve.truth, curve.score), measure(place, "ece")
            )
            for place, curve in enumerate(curves)
        ],
    )
    return {"roc": "roc.svg", "precision_recall": "precision_recall.svg", "calibration": "calibration.svg"}


def _draw_net_benefit(folder: Path, curves: list[_Scored], threshold: float) -> str:
    import numpy as np

    from medai.measurement.net_benefit import net_benefit, of_acting_on_all
    from medai.reporting import figures

    thresholds = np.arange(1, 100) / 100
    prevalence = float(curves[0].truth.mean())
    figures.draw_net_benefit(
        folder / "net_benefit.svg",
        [figures.Curve(one.name, thresholds, net_benefit(one.truth, one.score, thresholds)) for one in curves],
        everybody=figures.Curve("act on everybody", thresholds, of_acting_on_all(prevalence, thresholds)),
        threshold=threshold,
    )
    return "net_benefit.svg"
