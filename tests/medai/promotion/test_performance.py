"""What the gate asks of a candidate alone: calibration, subgroups, quality of the data, parity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medai.promotion.gate import CalibrationBounds, ParityBound, QualityBound, SubgroupFloors
from medai.promotion.performance import calibration, parity, quality, subgroups
from medai.records import Decision, Measure, Parity, QualityReport, Snapshot, Subgroup

Judge = Callable[..., Any]


def measured(value: float, low: float, high: float) -> Measure:
    """A figure with its interval."""
    return Measure(value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("bounds", "figure", "required"),
    [
        ({"ece": 0.12}, "0.0500 [0.0200, 0.1200]", "upper bound at most 0.12"),
        ({"brier": 0.2}, "0.1500 [0.1000, 0.2000]", "upper bound at most 0.2"),
        ({"slope": [0.8, 1.4]}, "1.1000 [0.8000, 1.4000]", "interval within 0.8 … 1.4"),
        ({"intercept": [-0.3, 0.1]}, "-0.1000 [-0.3000, 0.1000]", "interval within -0.3 … 0.1"),
    ],
)
def test_the_far_end_of_the_interval_is_held_against_the_bound(
    bounds: dict[str, Any], figure: str, required: str, judge: Judge
) -> None:
    """The bound itself is good enough; a hundredth less is not, however good the figure."""
    card = judge("x", 3).scorecard.model_copy(
        update={
            "metrics": {"death": {"ece": measured(0.05, 0.02, 0.12), "brier": measured(0.15, 0.1, 0.2)}},
            "calibration": {"death": {"slope": measured(1.1, 0.8, 1.4), "intercept": measured(-0.1, -0.3, 0.1)}},
        }
    )
    (met,) = calibration(CalibrationBounds.model_validate(bounds), "death", card)
    assert (met.passed, met.figure, met.required) == (True, figure, required)
    (name, bound), *_ = bounds.items()
    for tighter in (
        [bound - 0.01] if isinstance(bound, float) else [[bound[0] + 0.01, bound[1]], [bound[0], bound[1] - 0.01]]
    ):
        (unmet,) = calibration(CalibrationBounds.model_validate({name: tighter}), "death", card)
        assert not unmet.passed
    (missing,) = calibration(
        CalibrationBounds.model_validate(bounds),
        "death",
        card.model_copy(update={"metrics": {"death": {}}, "calibration": {}}),
    )
    assert (missing.passed, missing.judged, missing.figure) == (False, True, "undefined")


def of_group(level: str, subjects: int, positives: int, low: float | None) -> Subgroup:
    """A subgroup with an AUROC, or without."""
    metrics = {} if low is None else {"auroc": measured(low + 0.05, low, low + 0.1)}
    return Subgroup(
        group="unit", level=level, samples=2 * subjects, subjects=subjects, positives=2 * positives,
        positive_subjects=positives, metrics=metrics,
    )  # fmt: skip


def test_the_worst_subgroup_that_is_large_enough_is_held_against_the_floor(judge: Judge) -> None:
    """Subjects are counted, not samples; too small ones are named without their figures, and do not decide."""
    groups = (
        of_group("A", 100, 20, 0.8),
        of_group("B", 60, 12, 0.7),
        of_group("C", 59, 30, 0.1),
        of_group("D", 200, 11, 0.1),
        of_group("E", 80, 40, None),
    )
    card = judge("x", 3).scorecard.model_copy(update={"subgroups": {"death": groups}})
    rule = SubgroupFloors(floors={"auroc": 0.7}, minimum_subjects=60, minimum_positives=12)
    (met,) = subgroups(rule, "death", card)
    assert (met.name, met.passed) == ("death auroc in the worst subgroup of gate", True)
    assert met.figure == "unit B: 0.7500 [0.7000, 0.8000]; not judged: unit C, unit D, unit E"
    assert met.required == "lower bound at least 0.7 wherever there are 60 patients, 12 of them positive"
    (unmet,) = subgroups(rule.model_copy(update={"floors": {"auroc": 0.71}}), "death", card)
    assert (unmet.passed, unmet.judged) == (False, True)


def test_where_no_subgroup_is_large_enough_the_evidence_is_insufficient(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """A condition that cannot be judged is neither met nor a refusal."""
    ours = judge("new", 3)
    groups = tuple(of_group(level, 10, 5, None) for level in "ABCDEFG")
    ours = ours._replace(scorecard=ours.scorecard.model_copy(update={"subgroups": {"death": groups}}))
    decision = decided(ours, gate={"subgroups": {"floors": {"auroc": 0.5}}})
    assert decision.verdict == "insufficient_evidence"
    assert decision.reasons == (
        "death auroc in the worst subgroup of gate: no subgroup is large enough; not judged: unit A, unit B, unit C, "
        "unit D, unit E and 2 more (required: lower bound at least 0.5 wherever there are 50 patients, 10 of them "
        "positive)",
    )


def test_rows_set_aside_and_rows_the_reader_dropped_count_against_the_bound(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """Of all tables together; without a report nothing is known of the data, and nothing is judged."""
    snapshot = Snapshot(
        key="s",
        shape="events",
        source="x",
        unit="patient",
        data_sha256="d",
        tables={"events": 95},
        dropped={"events": 5},
    )
    report = QualityReport(
        key="q",
        passed=True,
        rows=95,
        tables={"events": 90, "stays": 5},
        set_aside={"late": 4, "odd": 1},
        failures=(),
        rules=2,
    )
    (met,) = quality(QualityBound(set_aside=0.1), snapshot, report)
    assert (met.passed, met.figure, met.required) == (True, "10 of 100 (10.00%)", "at most 10.00% of all rows")
    ours = judge("new", 3)
    strict = {"quality": {"set_aside": 0.09}}
    refused = decided(ours, gate=strict, snapshot=snapshot, quality=report)
    assert refused.verdict == "refused"
    assert refused.reasons == ("rows set aside: 10 of 100 (10.00%) (required: at most 9.00% of all rows)",)
    unknown = decided(ours, gate=strict)
    assert (unknown.verdict, unknown.reasons) == (
        "insufficient_evidence",
        ("rows set aside: no report of the data (required: at most 9.00% of all rows)",),
    )


@pytest.mark.parametrize(
    ("difference", "unequal", "passed", "told"),
    [
        (0.0, 0, True, "0 in 50 samples (equal)"),
        (2e-7, 3, True, "2e-07 in 50 samples (3 unequal)"),
        (1e-3, 9, False, "0.001 in 50 samples (9 unequal)"),
    ],
)
def test_the_served_scores_differ_by_no_more_than_the_tolerance(
    difference: float, unequal: int, passed: bool, told: str
) -> None:
    """The largest difference is shown whether it passes or not."""
    found = Parity(key="p", scorecard="s", samples=50, unequal=unequal, difference=difference)
    (condition,) = parity(ParityBound(), found, "gate")
    assert condition.name == "scores of the served path on a sample of gate"
    assert (condition.passed, condition.figure) == (passed, f"largest difference {told}")
    assert condition.required == "equal within 1e-06"


def test_a_sample_that_was_not_scored_again_is_no_parity(judge: Judge, decided: Callable[..., Decision]) -> None:
    """The gate asks for it, so its absence is missing evidence."""
    decision = decided(judge("new", 3), gate={"parity": {}})
    assert decision.verdict == "insufficient_evidence"
    assert "no sample was scored again" in decision.reasons[0]
