"""Who is in a cohort, as the page shows it."""

from __future__ import annotations

from medai.records import Cohort, Exclusion
from medai.reporting.population import flow


def test_stays_that_become_hours_lose_nobody() -> None:
    """More samples than before is a new unit, not a negative number of those who left."""
    lines = [("stays in the snapshot", 5), ("adult", 4), ("hours from 5 on", 90), ("measured", 80)]
    cohort = Cohort(
        key="k",
        unit="patient",
        samples=80,
        subjects=3,
        classes={},
        attrition=tuple(Exclusion(criterion=name, samples=number, subjects=3) for name, number in lines),
        data_sha256="0" * 64,
    )
    assert [step.left for step in flow(cohort, {})] == [0, 1, 0, 10]
