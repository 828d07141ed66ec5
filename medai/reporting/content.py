"""What a run's page is made of: content records alone, so that the page carries no patient's value."""

from __future__ import annotations

from typing import Any

from medai.records import (
    Candidate,
    Cohort,
    Comparison,
    Decision,
    Figures,
    Frozen,
    QualityReport,
    Scorecard,
    Snapshot,
    Splits,
)


class Content(Frozen):
    """The records of one run.

    Attributes:
        problem: the resolved Problem.
        scorecards: model → scorecard on test.
        openings: how many candidates were scored on this test set, this one included.
    """

    problem: dict[str, Any]
    seed: int
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    chosen: Candidate
    scorecards: dict[str, Scorecard]
    comparison: Comparison
    figures: Figures
    decision: Decision
    run_id: str
    version: int
    openings: int
