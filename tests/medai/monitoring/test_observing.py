"""Which of a subject's events are counted beside a prediction."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from medai.monitoring import Monitoring
from medai.monitoring.comparing import CAME, WENT, Comparing, of_codes
from medai.monitoring.observing import counted_codes
from medai.monitoring.windows import judge
from medai.tables import write_table

BOUNDS = Monitoring()
START = datetime(2100, 1, 1)
SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "known_time": pl.Datetime("us"),
    "code": pl.String,
    "variable": pl.String,
}


def hour(number: float) -> datetime:
    """So long after the start."""
    return START + timedelta(hours=number)


def events(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    """A table of subject, hours of ``time`` and ``known_time`` (None for none), code and variable."""
    timed = [(row[0], *(None if one is None else hour(one) for one in row[1:3]), *row[3:]) for row in rows]
    table = pl.DataFrame(timed, schema=SCHEMA, orient="row").sort("subject_id", "time", maintain_order=True)
    write_table(path, table.to_arrow())
    return path


def asked(*samples: tuple[int, float]) -> pl.DataFrame:
    """Subjects with the hour of a prediction."""
    rows = [(subject, hour(at)) for subject, at in samples]
    return pl.DataFrame(rows, schema={"subject_id": pl.Int64, "prediction_time": pl.Datetime("us")}, orient="row")


def test_what_became_known_after_the_prediction_is_not_counted(tmp_path: Path) -> None:
    """Charted in time and stored late is late; without a time counts unless it was known late; at the hour is in time.

    Another subject's events are nobody's, and one who has only later ones holds no code.
    """
    path = events(
        tmp_path / "events.parquet",
        [
            (1, None, None, "SEX", None),
            (1, None, 10, "WEIGHT", None),
            (1, None, 25, "DISCHARGE", None),
            (1, 3, None, "HR", "HR"),
            (1, 4, 4, "HR", "HR"),
            (1, 24, 24, "HR", "HR"),
            (1, 20, 30, "CULTURE", None),
            (1, 25, 25, "HR", "HR"),
            (1, 60, 60, "DISCHARGE", None),
            (2, 60, 60, "HR", "HR"),
            (3, 1, 1, "HR", "HR"),
        ],
    )
    assert counted_codes(path, asked((1, 24), (2, 24))).rows() == [
        ("HR", "HR", 3, 1), ("SEX", None, 1, 1), ("WEIGHT", None, 1, 1),
    ]  # fmt: skip


def test_an_event_counts_once_for_all_predictions_of_its_subject(tmp_path: Path) -> None:
    """Of one who was asked about at 24, 48 and 36 hours, what was known by the latest."""
    path = events(tmp_path / "events.parquet", [(1, at, at, "HR", "HR") for at in (1, 30, 40, 60)])
    assert counted_codes(path, asked((1, 24), (1, 48), (1, 36))).rows() == [("HR", "HR", 3, 1)]


def test_whole_stays_and_stays_that_go_on_have_the_same_codes(tmp_path: Path) -> None:
    """A reference of stays to their discharge at 72 hours, and a ward asked at 24: nothing went, and nothing came."""

    def ward(name: str, people: range, until: int) -> pl.DataFrame:
        rows: list[tuple[Any, ...]] = []
        for subject in people:
            rows += [(subject, at, at, "HR//1//bpm", "HR") for at in range(min(until, 72))]
            rows += [(subject, at, at, "ORAL//1//mL", "oral intake") for at in range(30, min(until, 72), 3)]
        return counted_codes(events(tmp_path / name, rows), asked(*((subject, 24) for subject in people)))

    before, here = ward("before.parquet", range(200), 72), ward("here.parquet", range(1000, 1060), 25)
    found = {one.name: one for one in of_codes(before, here, 200, 60, Comparing.of("data", BOUNDS))}
    assert {name: one.value for name, one in found.items()} == {
        (WENT, "codes"): 0, (CAME, "codes"): 0, ("HR", "units"): 0,
    }  # fmt: skip
    assert {judge(one, BOUNDS) for one in found.values()} == {"within"}
    assert before["readings"].to_list() == [200 * 25]
