"""When in a stay a prediction is made, how it is named, and what follows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from medai.cohort import Stays, select
from medai.cohort import stays as hourly
from medai.errors import ConfigurationError, DataRefused
from medai.outputs import Output
from medai.problem import Problem, catalogue, load_problem
from medai.records import Cohort, QualityReport, Snapshot
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
START = datetime(2020, 1, 1)
DEATH = {"kind": "binary", "classes": {0: "stays well", 1: "dies"}, "positive": "dies"}
WITHIN: dict[str, Any] = {**DEATH, "within": {"hours": 24, "of": "hours_to_death", "given": "in_hospital_death"}}
LENGTH: dict[str, Any] = {
    "kind": "multiclass",
    "remaining": "length_of_stay_hours",
    "bins": [24, 48],
    "classes": {0: "below a day", 1: "a day", 2: "longer"},
}


@pytest.fixture
def tables(event_tables: Callable[..., Any]) -> dict[str, pl.DataFrame]:
    """Three stays: 30 h until death, 50.5 h with a death 10 h after, 3 h; first readings after 6 h, 1 h, none."""
    made: dict[str, pl.DataFrame] = event_tables([(0, 6, 6, "HR", 80), (1, 1, 1, "HR", 80)], subjects=3)
    lasts = [30.0, 50.5, 3.0]
    stays = made["stays"].with_columns(
        subject_id=pl.Series([0, 1, 2]),
        end=pl.Series([START + timedelta(hours=hours) for hours in lasts]),
        unit=pl.Series(["MICU", "CCU", "CCU"]),
    )
    labels = made["labels"].with_columns(
        hours_to_death=pl.Series([30.0, 60.5, None]),
        in_hospital_death=pl.Series([1, 0, 0]),
        length_of_stay_hours=pl.Series(lasts),
    )
    return made | {"stays": stays, "labels": labels}


def selected(
    put: Put, tables: dict[str, pl.DataFrame], output: Output, **definition: Any
) -> tuple[Cohort, pl.DataFrame]:
    """The cohort's record and rows."""
    workspace, snapshot, quality = put(tables, "events")
    made = Stays.model_validate({"kind": "stays", **definition})
    cohort = select(workspace, snapshot, quality, made, {"death": output}).record
    return cohort, pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")


def test_a_prediction_an_hour_until_the_stay_ends(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """From 5 h on: 25 hours of the first stay (the 30th is the death itself), 46 of the second, none of the third."""
    cohort, rows = selected(put, tables, output_of(**WITHIN), every_hours=1, first_hours=5, groups=["unit"])
    assert [(line.criterion, line.samples, line.subjects) for line in cohort.attrition] == [
        ("stays in the snapshot", 3, 3),
        ("hours from 5 on", 26 + 46, 2),
        ("before hours_to_death", 25 + 46, 2),
        ("selected", 71, 2),
    ]
    assert rows.columns == [
        *("sample_id", "subject_id", "prediction_time", "publisher_role", "stay_id", "series_start", "hours"),
        *("unit", "death"),
    ]
    assert rows["sample_id"].is_sorted()
    assert rows["sample_id"].n_unique() == 71
    first = rows.filter(pl.col("stay_id") == 0)
    assert first["hours"].to_list() == [float(hour) for hour in range(5, 30)]
    assert ((first["prediction_time"] - first["series_start"]).dt.total_hours() == first["hours"]).all()
    # Death comes at hour 30: within 24 h of the predictions from hour 6 on.
    assert first["death"].to_list() == [0] + [1] * 24
    # The second patient dies after discharge, which does not count, although 46 of those hours were near enough.
    assert rows.filter(pl.col("stay_id") == 1)["death"].sum() == 0
    assert cohort.classes == {"death": {"stays well": 47, "dies": 24}}
    assert first["unit"].unique().to_list() == ["MICU"]


def test_a_death_counts_wherever_it_comes_when_nothing_else_is_given(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """Without ``given`` the death at hour 60.5 is within 24 h of the predictions from hour 37 on."""
    output = output_of(**DEATH, within={"hours": 24, "of": "hours_to_death"})
    _, rows = selected(put, tables, output, every_hours=1, first_hours=5)
    second = rows.filter(pl.col("stay_id") == 1)
    assert second.filter(pl.col("death") == 1)["hours"].to_list() == [float(hour) for hour in range(37, 51)]


def test_predictions_may_be_hours_apart_and_need_a_reading_before(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """Every 2 h from 2 h on; those before the stay's first reading (6 h; 1 h; never) leave, each by itself."""
    cohort, rows = selected(
        put,
        tables,
        output_of(**WITHIN),
        every_hours=2,
        first_hours=2,
        criteria=[{"name": "measured", "observed": True}],
    )
    assert [(line.criterion, line.samples) for line in cohort.attrition][1:3] == [
        ("predictions, one every 2 h from 2 h on", 15 + 25 + 1),
        ("measured", 13 + 25),
    ]
    assert rows.filter(pl.col("stay_id") == 0)["hours"].to_list() == [float(hour) for hour in range(6, 30, 2)]


def test_predictions_may_end_before_the_stay(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """None later than last_hours, which is itself one."""
    _, rows = selected(put, tables, output_of(**WITHIN), every_hours=3, first_hours=2, last_hours=11)
    assert rows.group_by("stay_id").agg("hours").sort("stay_id").rows() == [
        (0, [2.0, 5.0, 8.0, 11.0]),
        (1, [2.0, 5.0, 8.0, 11.0]),
        (2, [2.0]),
    ]


def test_what_is_left_of_a_stay_by_bins(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """Class 0 below 24 h, 1 from 24 h on, 2 from 48 h on; at the very end nothing is left, and no sample."""
    _, rows = selected(put, tables, output_of(**LENGTH), every_hours=1)
    second = rows.filter(pl.col("stay_id") == 1).select("hours", "death")
    assert dict(second.rows())[2.0] == 2  # 48.5 h are left
    assert dict(second.rows())[3.0] == 1  # 47.5 h
    assert dict(second.rows())[26.0] == 1  # 24.5 h
    assert dict(second.rows())[27.0] == 0
    first = dict(rows.filter(pl.col("stay_id") == 0).select("hours", "death").rows())
    assert first[6.0] == 1  # exactly 24 h are left
    assert 30.0 not in first


def test_the_whole_stay_is_one_prediction_at_its_end(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """prediction_time is the stay's end and the sample is named as the stay; an unknown end is no prediction."""
    tables["stays"] = tables["stays"].with_columns(end=pl.Series([*tables["stays"]["end"][:2], None]))
    output = output_of(**BINARY_OF_THE_STAY)
    cohort, rows = selected(
        put, tables, output, observation="whole_stay", criteria=[{"name": "measured", "observed": True}]
    )
    assert rows.select("sample_id", "stay_id", "hours").rows() == [(0, 0, 30.0), (1, 1, 50.5)]
    assert rows["prediction_time"].to_list() == tables["stays"]["end"].to_list()[:2]
    assert [line.criterion for line in cohort.attrition] == [
        *("stays in the snapshot", "with an end", "measured", "selected"),
    ]


BINARY_OF_THE_STAY = {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}


def test_one_prediction_a_stay_may_ask_what_follows(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """After 10 h of observation: death within 24 h; the prediction of the stay of 3 h has no death to follow."""
    cohort, rows = selected(put, tables, output_of(**WITHIN), observation_hours=10)
    assert rows.select("sample_id", "death").rows() == [(0, 1), (1, 0), (2, 0)]
    assert "stay_id" not in rows.columns
    assert cohort.attrition[1].criterion == "before hours_to_death"


def test_a_sample_keeps_its_name_when_the_data_grow(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """Names are a hash of the stay and the number of the prediction, nothing else."""
    _, rows = selected(put, tables, output_of(**WITHIN), every_hours=1, first_hours=5)
    fewer = {name: table.filter(pl.col("stay_id") == 0) for name, table in tables.items() if name != "events"}
    _, alone = selected(put, tables | fewer, output_of(**WITHIN), every_hours=1, first_hours=5)
    assert alone["sample_id"].to_list() == rows.filter(pl.col("stay_id") == 0)["sample_id"].to_list()
    assert (rows["sample_id"] >= 0).all()


def test_names_are_golden() -> None:
    """Another hash, or other bits for the number, would move every row of every cohort: raise VERSION then."""
    first, second = hourly._named(pl.Series([0, 1])).to_list()
    assert (first, second) == (8860043961649823744, 2238703111992819712)
    assert first % (1 << hourly.NUMBER_BITS) == 0


def test_blocks_leave_no_trace(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cohort selected stay by stay is that selected at once, line by line and byte by byte."""
    keys = {"every_hours": 1, "first_hours": 2, "criteria": [{"name": "measured", "observed": True}]}
    whole, rows = selected(put, tables, output_of(**WITHIN), **keys)
    monkeypatch.setattr(hourly, "LARGEST_BLOCK", 1)
    parts, again = selected(put, tables, output_of(**WITHIN), **keys)
    assert parts.model_dump(exclude={"key"}) == whole.model_dump(exclude={"key"})
    assert again.equals(rows)


def test_names_that_collide_and_stays_that_never_end_are_refused(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions of two stays never share a name, nor do two of one stay."""
    with monkeypatch.context() as patch:
        patch.setattr(hourly, "_named", lambda ids: pl.Series("name", [0] * len(ids)))
        with pytest.raises(DataRefused, match="two stays hash to the same name"):
            selected(put, tables, output_of(**WITHIN), every_hours=1)
    tables["stays"] = tables["stays"].with_columns(end=pl.col("start") + timedelta(days=700))
    with pytest.raises(DataRefused, match="too long for a prediction so often") as raised:
        selected(put, tables, output_of(**WITHIN), every_hours=1)
    assert raised.value.received == "3 stays with more"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"every_hours": 1, "observation": "whole_stay"}, "exclude each other"),
        ({"every_hours": 1, "observation_hours": 24}, "with first_hours remove it"),
        ({"observation": "whole_stay", "observation_hours": 24}, "with observation: whole_stay remove it"),
        ({"first_hours": 4}, "first_hours goes with every_hours"),
        ({"last_hours": 4}, "last_hours goes with every_hours"),
        ({"every_hours": 1, "first_hours": 5, "last_hours": 4}, "last_hours is before first_hours"),
        ({"every_hours": 0}, "greater than or equal to 1"),
        ({"every_hour": 1}, "did you mean 'every_hours'"),
        ({"groups": ["hours"]}, "is a column that every cohort has"),
    ],
)
def test_ways_to_predict_that_contradict_each_other_are_refused(keys: dict[str, Any], message: str) -> None:
    """A definition says once when predictions are made."""
    with pytest.raises(ValidationError, match=message):
        Stays.model_validate({"kind": "stays", **keys})


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_what_was_read_can_be_read_again(name: str) -> None:
    """Records keep cohorts and outputs whole, with every default: that is the same definition."""
    problem = load_problem(name)
    assert Problem.model_validate(problem.model_dump(mode="json")).sha256 == problem.sha256


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({**WITHIN, "label": "died"}, "one of label and within"),
        ({**WITHIN, "positive": "stays well"}, "class 1, the positive one"),
        ({**WITHIN, "within": {"hours": 0, "of": "x"}}, "greater than 0"),
        ({**LENGTH, "label": "length"}, "one of label and remaining"),
        ({**LENGTH, "bins": []}, "remaining and bins go together"),
        ({**LENGTH, "bins": [24, 24]}, "each larger than the one before"),
        ({**LENGTH, "bins": [24, 48, 72]}, "3 bins make the classes 0 to 3"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    keys: dict[str, Any], message: str, output_of: Callable[..., Output]
) -> None:
    """An output asks for a label of the stay or for what follows, in classes that fit."""
    with pytest.raises(ValidationError, match=message):
        output_of(**keys)


def test_what_cannot_be_hours_is_refused(
    put: Put, tables: dict[str, pl.DataFrame], output_of: Callable[..., Output]
) -> None:
    """A label of words has no hours; a picture has no stay in which something could follow."""
    tables["labels"] = tables["labels"].with_columns(hours_to_death=pl.lit("soon"))
    with pytest.raises(DataRefused, match="the label hours_to_death is no number") as raised:
        selected(put, tables, output_of(**WITHIN), every_hours=1)
    assert "soon" not in str(raised.value)


def test_a_picture_has_nothing_that_follows(put: Put, output_of: Callable[..., Output]) -> None:
    """What follows a prediction is asked of stays only."""
    from medai.cohort import Pictures

    images = pl.DataFrame({"row_id": [0], "subject_id": [0], "time": [START], "publisher_role": ["train"]})
    labels = pl.DataFrame({"row_id": [0], "hours_to_death": [1.0]})
    output = output_of(**DEATH, within={"hours": 24, "of": "hours_to_death"})
    workspace, snapshot, quality = put({"images": images, "labels": labels}, "images")
    with pytest.raises(ConfigurationError, match="no stay that it could follow in"):
        select(workspace, snapshot, quality, Pictures(kind="pictures"), {"death": output})
