"""Acute kidney injury by KDIGO, on readings worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from medai.cohort import Stays, select
from medai.cohort.kidney import creatinine_stages, kidney_labels, urine_stages
from medai.outputs import Output

START = datetime(2020, 1, 1)


def readings(*values: tuple[float, float], stay: int = 1) -> pl.DataFrame:
    """Readings of one stay: hour, value."""
    return pl.DataFrame(
        {
            "stay_id": [stay] * len(values),
            "time": [START + timedelta(hours=hour) for hour, _ in values],
            "value": [float(value) for _, value in values],
        },
        schema={"stay_id": pl.Int64, "time": pl.Datetime("us"), "value": pl.Float64},
    )


def stages(table: pl.DataFrame) -> dict[float, int]:
    """Hour → stage."""
    hours = ((table["time"] - START).dt.total_minutes() / 60).to_list()
    return dict(zip(hours, table.sort("time")["stage"].to_list(), strict=True))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 0.3 mg/dL within 48 h, and just not: the lowest of 48 h is 1.0, which is 49 h away in the second case.
        ([(0, 1.0), (48, 1.3)], {0: 0, 48: 1}),
        ([(0, 1.0), (49, 1.3)], {0: 0, 49: 0}),
        ([(0, 1.0), (24, 1.29)], {0: 0, 24: 0}),
        # 1.5, 2 and 3 times the lowest of 7 days.
        ([(0, 0.5), (100, 0.75)], {0: 0, 100: 1}),
        ([(0, 0.5), (100, 1.0)], {0: 0, 100: 2}),
        ([(0, 0.5), (100, 1.5)], {0: 0, 100: 3}),
        ([(0, 0.5), (169, 1.5)], {0: 0, 169: 0}),
        # 4.0 mg/dL is stage 3 where it has risen, and none where it always was so.
        ([(0, 3.7), (20, 4.0)], {0: 0, 20: 3}),
        ([(0, 4.0), (20, 4.1)], {0: 0, 20: 0}),
        # The baseline is the lowest, wherever in the 7 days it stands; a fall is no injury.
        ([(0, 1.0), (10, 0.6), (20, 0.95)], {0: 0, 10: 0, 20: 1}),
        ([(0, 2.0), (24, 1.0)], {0: 0, 24: 0}),
    ],
)
def test_creatinine(values: list[tuple[float, float]], expected: dict[float, int]) -> None:
    """Each reading against the lowest of the last 48 hours and 7 days."""
    assert stages(creatinine_stages(readings(*values))) == expected


def test_creatinine_does_not_see_ahead_nor_other_stays() -> None:
    """A later, lower reading changes nothing before it, and a stay has its own baseline."""
    both = pl.concat([readings((0, 1.0), (10, 1.2), (20, 0.5)), readings((5, 0.5), stay=2)])
    assert creatinine_stages(both).filter(pl.col("stay_id") == 1)["stage"].to_list() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 80 kg: below 40 mL/h for 6 h. 39 mL an hour after the first entry: judged from hour 6 on, not before.
        ([(float(hour), 39.0) for hour in range(8)], {**dict.fromkeys(range(6), 0), 6: 1, 7: 1}),
        ([(float(hour), 40.0) for hour in range(8)], dict.fromkeys(range(8), 0)),
        # What the first entry holds ran out before: 1 L of it does not help.
        ([(0.0, 1000.0), (6.0, 200.0)], {0: 0, 6: 1}),
        ([(0.0, 0.0), (6.0, 240.0)], {0: 0, 6: 0}),
        # 12 h below 0.5 is stage 2; 24 h below 0.3 (24 mL/h) or 12 h of nothing stage 3.
        ([(0.0, 0.0), (12.0, 400.0)], {0: 0, 12: 2}),
        ([(0.0, 0.0), (24.0, 570.0)], {0: 0, 24: 3}),
        ([(0.0, 0.0), (24.0, 600.0)], {0: 0, 24: 2}),
        ([(0.0, 50.0), (12.0, 0.0)], {0: 0, 12: 3}),
        # An entry of 8 h that begins before the window counts by its share: 6/8 of 300 mL, and 60 mL on top.
        ([(0.0, 0.0), (8.0, 300.0), (9.0, 60.0)], {0: 0, 8: 1, 9: 0}),
        # After more than 24 h without an entry nothing is known of those hours.
        ([(0.0, 0.0), (25.0, 10.0), (31.0, 300.0)], {0: 0, 25: 0, 31: 0}),
    ],
)
def test_urine_output(values: list[tuple[float, float]], expected: dict[float, int]) -> None:
    """What ran out in the last 6, 12 and 24 hours, at each entry that entries cover them."""
    assert stages(urine_stages(readings(*values), readings((0, 80.0), (1, 20.0)))) == expected


def test_a_patient_without_a_weight_weighs_75_kg() -> None:
    """37.5 mL an hour are the border then; entries at one time add up."""
    assert stages(urine_stages(readings((0, 0), (6, 224), (6, 0)), readings())) == {0: 0, 6: 1}
    assert stages(urine_stages(readings((0, 0), (6, 200), (6, 25)), readings())) == {0: 0, 6: 0}


@pytest.fixture
def tables(event_tables: Callable[..., Any]) -> dict[str, pl.DataFrame]:
    """Four stays of 72 h: creatinine rises at hour 30; no urine from hour 2 to 8 of 75 kg; ill before; no reading."""
    made: dict[str, pl.DataFrame] = event_tables(
        [
            *((0, -100, -100, "creatinine", 1.0), (0, 10, 10, "creatinine", 1.1), (0, 30, 30, "creatinine", 1.6)),
            *((0, 80, 80, "creatinine", 9.0), (1, 1, 1, "urine_output", 90.0)),
            *((1, 2, 2, "urine_output", 90.0), (1, 8, 8, "urine_output", 0.0)),
            *((2, -30, -30, "creatinine", 4.5), (2, -6, -6, "creatinine", 5.0), (2, 3, 3, "creatinine", 4.9)),
        ],
        subjects=4,
    )
    return made


def test_onset_and_stage_of_a_stay(put: Callable[..., Any], tables: dict[str, pl.DataFrame]) -> None:
    """From 7 days before the stay until its end; before the stay is below 0, never is null."""
    workspace, snapshot, quality = put(tables, "events")
    folders = workspace.folder("ingest", snapshot.key), workspace.folder("validate", quality.key)
    labels = kidney_labels(*folders, tables["stays"]).sort("stay_id")
    assert labels.columns == [
        *("stay_id", "hours_to_kidney_injury", "kidney_injury_stage", "high_baseline_creatinine"),
    ]
    # 5.0 is 0.5 more than 4.5 and above 4.0: stage 3, 6 h before the stay; 4.9 is still 0.4 more.
    assert labels.rows() == [(0, 30.0, 1, 0), (1, 8.0, 1, 0), (2, -6.0, 3, 1), (3, None, 0, 0)]


def test_a_cohort_asks_for_injury_within_hours(
    put: Callable[..., Any], tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """Hourly until the onset; a criterion may ask for the baseline; predictions after the onset are none."""
    output = output_of(
        kind="binary",
        within={"hours": 6, "of": "hours_to_kidney_injury"},
        classes={0: "no injury", 1: "injury"},
        positive="injury",
    )
    definition = Stays.model_validate(
        {
            **{"kind": "stays", "every_hours": 1, "first_hours": 6},
            "criteria": [{"name": "baseline up to 4 mg/dL", "where": "high_baseline_creatinine == 0"}],
        }
    )
    workspace, snapshot, quality = put(tables, "events")
    cohort = select(workspace, snapshot, quality, definition, {"injury": output}).record
    assert [(line.criterion, line.samples) for line in cohort.attrition][1:4] == [
        ("baseline up to 4 mg/dL", 3),
        ("hours from 6 on", 3 * 67),
        ("before hours_to_kidney_injury", 24 + 2 + 67),
    ]
    assert cohort.classes == {"injury": {"no injury": 18 + 67, "injury": 6 + 2}}
