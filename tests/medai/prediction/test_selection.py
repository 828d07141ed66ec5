"""Who can be predicted now, by what is known now."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from medai.cohort import Criterion, Pictures, Stays, Windows
from medai.errors import ConfigurationError
from medai.prediction import fit_for_scoring, left_unjudged, select
from medai.records import Cohort, Failure, QualityReport, Snapshot
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
ADMITTED = datetime(2020, 1, 1)


def hours(number: float | None) -> datetime | None:
    """So many hours after the first admission."""
    return None if number is None else ADMITTED + timedelta(hours=number)


def tables(
    stays: list[tuple[float, float | None]], admissions: list[int | None] | None = None, last: float = 60
) -> dict[str, pl.DataFrame]:
    """Stays from (start, end) in hours, each of a subject of its own, with a reading in its second hour, and one of the
    first subject ``last`` hours after its admission.
    """
    count = len(stays)
    table = pl.DataFrame(
        {
            "row_id": range(count),
            "subject_id": [10 + place for place in range(count)],
            "stay_id": [100 + place for place in range(count)],
            "admission_id": admissions or list(range(count)),
            "start": [hours(start) for start, _ in stays],
            "end": [hours(end) for _, end in stays],
            "publisher_role": [None] * count,
            "age": [30.0 + 10 * place for place in range(count)],
        },
        schema_overrides={"publisher_role": pl.String, "end": pl.Datetime("us"), "start": pl.Datetime("us")},
    )
    times = [*(hours(start + 2) for start, _ in stays), hours(last)]
    events = pl.DataFrame(
        {
            "row_id": range(count + 1),
            "subject_id": [*table["subject_id"], 10],
            "time": times,
            "known_time": times,
            "code": ["HR"] * (count + 1),
            "variable": ["HR"] * (count + 1),
            "numeric_value": [80.0] * (count + 1),
        },
        schema_overrides={"time": pl.Datetime("us"), "known_time": pl.Datetime("us")},
    )
    labels = pl.DataFrame({"stay_id": table["stay_id"], "length_of_stay": [None] * count, "died": [None] * count})
    return {"stays": table, "events": events, "labels": labels.cast({"length_of_stay": pl.Float64, "died": pl.Int64})}


def read_again(given: dict[str, pl.DataFrame], subject: int, hour: float, known: float) -> dict[str, pl.DataFrame]:
    """The tables with one more reading of a subject, so many hours after the first admission."""
    further = (
        given["events"]
        .head(1)
        .with_columns(
            pl.lit(given["events"].height).cast(pl.Int64).alias("row_id"),
            pl.lit(subject).cast(pl.Int64).alias("subject_id"),
            pl.lit(hours(hour)).alias("time"),
            pl.lit(hours(known)).alias("known_time"),
        )
    )
    return given | {"events": pl.concat([given["events"], further])}


def statuses(workspace: Workspace, cohort: Cohort) -> list[str | None]:
    """Each row's status, in the order of stay or picture."""
    return pl.read_parquet(workspace.folder("select", cohort.key) / "rows.parquet")["status"].to_list()


def definition(*criteria: dict[str, Any], observation_hours: int = 48) -> Stays:
    """A cohort of stays."""
    return Stays(
        kind="stays",
        observation_hours=observation_hours,
        criteria=tuple(Criterion(**criterion) for criterion in criteria),
        groups=("gender",),
    )


def test_a_stay_is_predicted_once_its_observation_is_over(put: Put) -> None:
    """Shorter than the window: not yet. Without an end: as long as the patient's own last reading tells that was kept;
    another patient's, whose dates are shifted by another offset, tells nothing.
    """
    given = tables([(0, 48), (0, 47.5), (10, None), (20, None), (0, None)], last=60)
    for subject, hour, known in ((12, 20, 58), (13, 67, 67.5), (14, 50, 50)):
        given = read_again(given, subject, hour, known)
    workspace, snapshot, quality = put(given, "events", (("events", 8, "bad"),))
    made = select(workspace, snapshot, quality, definition())
    unfinished = "excluded:observed for 48 h"
    assert statuses(workspace, made.record) == [None, unfinished, None, unfinished, unfinished]
    assert [line.samples for line in made.record.attrition] == [5, 2]
    folder = workspace.folder("select", made.record.key)
    assert pl.read_parquet(folder / "cohort.parquet")["sample_id"].to_list() == [100, 102]
    assert all(stat.S_IMODE((folder / name).stat().st_mode) == 0o600 for name in ("cohort.parquet", "rows.parquet"))
    assert select(workspace, snapshot, quality, definition()).reused


def test_criteria_on_what_is_known_apply_in_their_order(put: Put) -> None:
    """The first that a stay does not meet is its answer; outcomes, all unknown, exclude nobody and are named."""
    workspace, snapshot, quality = put(tables([(0, 72)] * 3), "events")
    cohort = definition(
        {"name": "long enough", "where": "length_of_stay >= 48"},
        {"name": "over 35", "where": "age > 35"},
        {"name": "over 45", "where": "age > 45"},
        {"name": "survived or not", "where": "died is not null and age > 0"},
        {"name": "has left", "where": "end is not null"},
    )
    record = select(workspace, snapshot, quality, cohort).record
    assert statuses(workspace, record) == ["excluded:over 35", "excluded:over 45", None]
    assert left_unjudged(workspace, snapshot, cohort) == ("long enough", "survived or not", "has left")
    assert left_unjudged(workspace, snapshot, Pictures(kind="pictures")) == ()


def test_a_second_stay_is_known_once_it_has_begun(put: Put) -> None:
    """Of two stays of one admission the first was predicted before anybody knew of the second; a first one that was too
    short to be predicted is a first one all the same.
    """
    workspace, snapshot, quality = put(
        tables([(0, 50), (60, 120), (0, 50), (20, 90), (0, 10), (60, 120)], [1, 1, 2, 2, 3, 3], last=130), "events"
    )
    alone = definition({"name": "one stay an admission", "only_in": "admission"})
    status = "excluded:one stay an admission"
    assert statuses(workspace, select(workspace, snapshot, quality, alone).record) == [
        None, status, status, status, "excluded:observed for 48 h", status,
    ]  # fmt: skip


def test_a_stay_without_a_reading_is_excluded_where_the_cohort_asks_for_one(put: Put) -> None:
    """Readings before the window, and of no clinical variable, do not count."""
    given = tables([(0, 72), (0, 72), (0, 72)])
    given["events"] = given["events"].with_columns(
        pl.when(pl.col("row_id") == 1).then(None).otherwise("variable").alias("variable"),
        pl.when(pl.col("row_id") == 2).then(hours(-3)).otherwise("time").alias("time"),
    )
    workspace, snapshot, quality = put(given, "events")
    record = select(workspace, snapshot, quality, definition({"name": "observed", "observed": True})).record
    assert statuses(workspace, record) == [None, "excluded:observed", "excluded:observed"]


def test_rows_set_aside_keep_their_reason(put: Put) -> None:
    """Also where a criterion would exclude them; pictures likewise; nobody left is an answer, too."""
    workspace, snapshot, quality = put(tables([(0, 72), (0, 5)]), "events", (("stays", 1, "odd"), ("events", 0, "bad")))
    assert statuses(workspace, select(workspace, snapshot, quality, definition()).record) == [None, "set_aside:odd"]
    images = pl.DataFrame(
        {"row_id": [0, 1], "subject_id": [5, None], "time": [None, None], "publisher_role": ["train", None]},
        schema_overrides={"time": pl.Datetime("us"), "publisher_role": pl.String},
    )
    labels = pl.DataFrame({"row_id": [0, 1]})
    workspace, snapshot, quality = put(
        {"images": images, "labels": labels}, "images", (("images", 0, "black"), ("images", 1, "nobody"))
    )
    record = select(workspace, snapshot, quality, Pictures(kind="pictures")).record
    assert statuses(workspace, record) == ["set_aside:black", "set_aside:nobody"]
    assert (record.samples, record.classes) == (0, {})


def test_a_misspelt_column_is_no_outcome(put: Put, refusal: Callable[..., str]) -> None:
    """It is refused with the near match, as in training."""
    workspace, snapshot, quality = put(tables([(0, 72)]), "events")
    with pytest.raises(ConfigurationError) as caught:
        select(workspace, snapshot, quality, definition({"name": "old", "where": "agee > 60"}))
    assert "did you mean 'age'?" in refusal(caught.value)


def test_rules_that_concern_learning_do_not_stop_a_prediction() -> None:
    """How many rows there are, and labels; faults of the data, and too many of them, stop it as ever."""

    def failure(table: str, expectation: str, reason: str) -> Failure:
        return Failure(
            expectation=expectation, table=table, column="", reason=reason, blocking=True, unexpected=1, evaluated=1
        )

    rows = failure("images", "expect_table_row_count_to_be_between", "too_few_pictures")
    labels = failure("labels", "expect_column_values_to_not_be_null", "label_missing")
    fault = failure("images", "expect_column_values_to_be_unique", "row_id_twice")
    many = failure("images", "expect_table_row_count_to_be_between", "too_many_set_aside")
    report = QualityReport(key="0", passed=False, rows=1, set_aside={}, failures=(rows, labels, fault, many), rules=4)
    assert fit_for_scoring(report).failures == (fault, many)
    assert not fit_for_scoring(report).passed
    assert fit_for_scoring(report, labelled=True).failures == (labels, fault, many)
    assert fit_for_scoring(report.model_copy(update={"failures": (rows, labels)})).passed


def test_a_stay_of_many_predictions_is_answered_at_its_newest(put: Put) -> None:
    """The last of its hours that is over; before the first one, not yet."""
    workspace, snapshot, quality = put(
        read_again(tables([(0, 47.5), (10, None), (57, None)], last=60), 11, 60, 60), "events"
    )
    hourly = Stays(kind="stays", every_hours=2, first_hours=5)
    made = select(workspace, snapshot, quality, hourly).record
    assert statuses(workspace, made) == [None, None, "excluded:observed for 5 h"]
    rows = pl.read_parquet(workspace.folder("select", made.key) / "cohort.parquet")
    assert rows.select("sample_id", "stay_id", "hours").rows() == [(100, 100, 47.0), (101, 101, 49.0)]
    assert rows["prediction_time"].to_list() == [hours(47), hours(10 + 49)]
    assert rows["series_start"].to_list() == [hours(0), hours(10)]


def test_a_whole_stay_is_answered_at_its_end_or_now(put: Put) -> None:
    """A stay without an end is read until its patient's last reading, whatever another one's dates are."""
    workspace, snapshot, quality = put(
        read_again(tables([(0, 47.5), (10, None), (60, None)], last=90), 11, 62, 62), "events"
    )
    made = select(workspace, snapshot, quality, Stays(kind="stays", observation="whole_stay")).record
    rows = pl.read_parquet(workspace.folder("select", made.key) / "cohort.parquet")
    assert rows["hours"].to_list() == [47.5, 52.0, 2.0]
    assert statuses(workspace, made) == [None, None, None]


def test_moments_of_a_record_are_not_answered_for(put: Put) -> None:
    """Whom windows choose depends on what comes later."""
    windows = Windows.model_validate({"kind": "windows", "trigger": "rate", "predicates": {"rate": {"code": "HR"}}})
    with pytest.raises(ConfigurationError, match="found by what happens later"):
        select(*put(tables([(0, 48)]), "events"), windows)
