"""The net and every baseline of a run, and which of them goes to the gate."""

from __future__ import annotations

import sys
from typing import Any

from flows.outcome import Steps
from medai.evaluation import figure
from medai.problem import Problem
from medai.promotion import best
from medai.records import Arrays, Candidate, Cohort, Origin, Splits
from medai.training import Execution
from medai.workspace import Workspace
from tasks.evaluate import evaluate
from tasks.fit import FitProgress, fit

NET = "net"


def fit_all(
    workspace: Workspace,
    question: Problem,
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    execution: Execution,
    seed: int,
    steps: Steps,
    origin: Origin,
) -> dict[str, Candidate]:
    """The net and every baseline, each found or fitted."""
    candidates = {}
    models: dict[str, Any] = {NET: question.input.encoder, **question.baselines}
    for name, model in models.items():
        candidates[name] = steps.take(
            "fit" if name == NET else f"fit:{name}",
            fit(
                workspace,
                name=name,
                model=model,
                training=question.training if name == NET else None,
                arrays=arrays,
                cohort=cohort,
                splits=splits,
                outputs=question.outputs,
                preprocessing=question.input.preprocessing,
                threshold=question.threshold,
                calibration=question.calibration,
                execution=execution,
                seed=seed,
                progress=FitProgress(name),
                origin=origin,
            ),
        )
    return candidates


def choose(
    workspace: Workspace,
    question: Problem,
    candidates: dict[str, Candidate],
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    steps: Steps,
) -> str:
    """Which candidate goes to the gate; validation may choose it, test never does. The net wins a tie.

    Raises:
        DataRefused: nobody has a figure to be chosen by.
    """
    if question.choose == NET or len(candidates) == 1:
        return NET
    figures: dict[str, float | None] = {}
    # One figure of all rows is asked for: neither its interval nor subgroups.
    config = question.evaluation.model_copy(update={"resamples": 100, "minimum_subgroup": sys.maxsize})
    for name, candidate in candidates.items():
        scorecard = steps.take(
            f"choose:{name}",
            evaluate(workspace, candidate, arrays, cohort, splits, question.outputs, "validation", config),
        )
        figures[name] = figure(workspace, candidate, scorecard, question.outputs, question.choose_metric)
    return best(figures, question.choose_metric)
