"""What a run's page is made of: content records, and the keys of the stages whose files it reads."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from medai.records import (
    Candidate,
    Cohort,
    Comparison,
    Decision,
    Examples,
    Figures,
    Frozen,
    QualityReport,
    Scorecard,
    Screening,
    Snapshot,
    Splits,
)
from medai.reporting import words


class Report(Frozen):
    """The ``report`` section of a Problem.

    Attributes:
        examples: answers shown of each kind (found, missed, false alarm, cleared; or right and wrong); 0: the page
            holds no patient's picture or curve.
        levels: group → level → what a reader calls it.
    """

    examples: int = Field(4, ge=0, le=12)
    levels: dict[str, dict[str, str]] = Field(default={})


class Content(Frozen):
    """The records of one run.

    Attributes:
        problem: the resolved Problem.
        generated: medai made the data itself; no patient stands behind them.
        screening: what single columns tell of the outcome.
        scorecards: model → scorecard on test.
        examples: None where the Problem shows none.
        run_id, version: in MLflow; None while the registration waits for it.
        openings: how many candidates were scored on this test set, this one included.
    """

    problem: dict[str, Any]
    seed: int
    generated: bool = False
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    screening: Screening | None = None
    chosen: Candidate
    scorecards: dict[str, Scorecard]
    comparison: Comparison
    figures: Figures
    examples: Examples | None = None
    decision: Decision
    run_id: str | None
    version: int | None
    openings: int

    def called(self, model: str) -> str:
        """What the page calls a model of the run."""
        return words.model(model, next(iter(self.problem["inputs"].values()))["encoder"]["kind"])
