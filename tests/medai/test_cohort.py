"""``select``: who is in, who left and why, and what is true of them."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from medai.cohort import Pictures, Stays, select
from medai.errors import ConfigurationError, DataRefused, MedaiError
from medai.outputs import Output
from medai.records import Cohort, QualityReport, Snapshot
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
PICTURES = Pictures(kind="pictures")
BINARY = {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}


def pictures(labels: dict[str, list[int | None]]) -> dict[str, pl.DataFrame]:
    """Pictures of one subject each, with these label columns."""
    number = len(next(iter(labels.values())))
    images = pl.DataFrame(
        {
            "row_id": range(number),
            "subject_id": [100 + row for row in range(number)],
            "time": [None] * number,
            "publisher_role": ["train"] * number,
            "frame": [0, 1] * (number // 2),
        },
        schema_overrides={"time": pl.Datetime("us")},
    )
    return {
        "images": images,
        "labels": pl.DataFrame({"row_id": range(number), **labels}, schema_overrides=dict.fromkeys(labels, pl.Int64)),
    }


def table(workspace: Workspace, cohort: Cohort) -> pl.DataFrame:
    """The cohort's rows."""
    return pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")


def lines(cohort: Cohort) -> list[tuple[str, int, int]]:
    """The attrition table."""
    return [(line.criterion, line.samples, line.subjects) for line in cohort.attrition]


def test_every_synthetic_picture_is_a_prediction(picture_road: Any) -> None:
    """120 pictures, 120 samples in the order of their ids; the record counts what the table holds."""
    cohort, rows = picture_road.cohort, picture_road.table("select")
    assert (cohort.unit, cohort.samples, cohort.subjects) == ("image", 120, 120)
    assert rows.columns == ["sample_id", "subject_id", "prediction_time", "publisher_role", "opacity"]
    assert rows["sample_id"].to_list() == list(range(120))
    positives = int(rows["opacity"].sum())
    assert cohort.classes == {"opacity": {"absent": 120 - positives, "present": positives}}
    assert 40 < positives < 80
    assert cohort.data_sha256 == picture_road.snapshot.data_sha256


def test_every_synthetic_stay_is_a_prediction_after_its_window(stay_road: Any) -> None:
    """prediction_time is 48 hours after admission; the group column is the stay's own."""
    rows = stay_road.table("select")
    stays = pl.read_parquet(stay_road.workspace.folder("ingest", stay_road.snapshot.key) / "stays.parquet")
    joined = rows.join(stays, left_on="sample_id", right_on="stay_id")
    assert joined.height == stay_road.cohort.samples == 150
    assert (joined["prediction_time"] - joined["start"]).unique().to_list() == [timedelta(hours=48)]
    assert rows["sample_id"].is_sorted()
    assert set(rows["ICUType"].to_list()) == {1.0, 2.0, 3.0, 4.0}
    assert stay_road.cohort.groups == ("ICUType",)


def test_rows_set_aside_leave_by_reason(put: Put, output_of: Callable[..., Output]) -> None:
    """Each reason is a line of the attrition table; a row of another table with the same number stays."""
    aside = (("images", 1, "too_dark"), ("images", 2, "blank"), ("images", 4, "too_dark"), ("events", 0, "blank"))
    workspace, snapshot, quality = put(pictures({"label": [0, 1, 0, 1, 0, 1]}), "images", aside)
    cohort = select(workspace, snapshot, quality, PICTURES, {"ill": output_of(**BINARY)}).record
    assert lines(cohort) == [
        ("pictures in the snapshot", 6, 6),
        ("not set aside: blank", 5, 5),
        ("not set aside: too_dark", 3, 3),
        ("selected", 3, 3),
    ]
    assert table(workspace, cohort)["sample_id"].to_list() == [0, 3, 5]


def test_who_lost_a_row_of_labels_leaves(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """A label that was set aside is not learnt from: by the picture's row, and by a row of a stay's own."""
    aside = (("labels", 1, "placeholder"), ("labels", 2, "negative"))
    workspace, snapshot, quality = put(pictures({"label": [0, 1, 0, 1]}), "images", aside)
    cohort = select(workspace, snapshot, quality, PICTURES, {"ill": output_of(**BINARY)}).record
    assert lines(cohort)[1:3] == [("labels not set aside: negative", 3, 3), ("labels not set aside: placeholder", 2, 2)]
    assert table(workspace, cohort)["sample_id"].to_list() == [0, 3]

    tables = stay_tables(event_tables, [])
    stays = tables["labels"]["stay_id"].to_list()
    tables["labels"] = tables["labels"].with_columns(row_id=pl.Series([7, 1, 2, 3], dtype=pl.Int64))
    workspace, snapshot, quality = put(tables, "events", (("labels", 7, "placeholder"),))
    cohort = select(workspace, snapshot, quality, Stays(kind="stays"), {"ill": output_of(**BINARY)}).record
    assert lines(cohort)[1][0] == "labels not set aside: placeholder"
    assert stays[0] not in table(workspace, cohort)["sample_id"].to_list()


def test_a_sample_without_a_label_leaves(put: Put, output_of: Callable[..., Output]) -> None:
    """It is counted out under the output's name."""
    workspace, snapshot, quality = put(pictures({"label": [0, None, 1, 1]}), "images")
    cohort = select(workspace, snapshot, quality, PICTURES, {"ill": output_of(**BINARY)}).record
    assert lines(cohort)[1:] == [("ill is known", 3, 3), ("selected", 3, 3)]
    assert cohort.classes == {"ill": {"well": 1, "ill": 2}}


@pytest.mark.parametrize(
    ("output", "labels", "truth", "classes"),
    [
        (
            {"kind": "binary", "classes": {0: "ill", 1: "well"}, "positive": "ill"},
            {"label": [0, 1, 1, 1]},
            {"x": [1, 0, 0, 0]},
            {"well": 3, "ill": 1},
        ),
        (
            {"kind": "multiclass", "classes": {1: "mild", 4: "grave", 2: "middling"}},
            {"label": [4, 1, 2, 4]},
            {"x": [2, 0, 1, 2]},
            {"mild": 1, "middling": 1, "grave": 2},
        ),
        (
            {"kind": "multilabel", "classes": {"b": "effusion", "a": "mass"}},
            {"a": [1, 0, 1, 1], "b": [0, 0, 1, 0]},
            {"x.0": [0, 0, 1, 0], "x.1": [1, 0, 1, 1]},
            {"effusion": 1, "mass": 3},
        ),
    ],
)
def test_truth_columns_of_each_kind(
    put: Put,
    output_of: Callable[..., Output],
    output: dict[str, Any],
    labels: dict[str, list[int | None]],
    truth: dict[str, list[int]],
    classes: dict[str, int],
) -> None:
    """Binary: 1 is positive. Multiclass: the class's number. Multilabel: a column a finding, in the Problem's order."""
    workspace, snapshot, quality = put(pictures(labels), "images")
    cohort = select(workspace, snapshot, quality, PICTURES, {"x": output_of(**output)}).record
    rows = table(workspace, cohort)
    assert {name: rows[name].to_list() for name in rows.columns[4:]} == truth
    assert cohort.classes == {"x": classes}


@pytest.mark.parametrize(
    ("output", "labels", "received"),
    [
        (BINARY, {"label": [0, 2, 1, 3]}, "2 of 4 rows with another value"),
        ({"kind": "multilabel", "classes": {"a": "mass", "b": "effusion"}}, {"a": [0, 1], "b": [1, -1]}, "1 of 2 rows"),
    ],
)
def test_labels_outside_the_classes_are_refused(
    put: Put,
    output_of: Callable[..., Output],
    refusal: Callable[[MedaiError], str],
    output: dict[str, Any],
    labels: dict[str, list[int | None]],
    received: str,
) -> None:
    """Neither dropped nor taken for a class: the message counts them."""
    workspace, snapshot, quality = put(pictures(labels), "images")
    with pytest.raises(DataRefused, match="labels outside the Problem's classes") as raised:
        select(workspace, snapshot, quality, PICTURES, {"x": output_of(**output)})
    assert received in refusal(raised.value)
    assert not list((workspace.root / "store" / "select").iterdir())


@pytest.mark.parametrize(
    ("definition", "output", "message", "near", "status"),
    [
        ({"groups": ("frame_",)}, BINARY, "the cohort has no column frame_ to group by", "mean 'frame'", 2),
        ({}, BINARY | {"label": "labl"}, "output x: the labels table has no column labl", "mean 'label'", 3),
        ({}, BINARY | {"label": "frame"}, "output x: the labels table has no column frame", "known: label", 3),
        ({}, BINARY | {"label": "row_id"}, "output x: the labels table has no column row_id", "known: label", 3),
    ],
)
def test_columns_that_the_data_lack_are_named(
    put: Put,
    output_of: Callable[..., Output],
    definition: dict[str, Any],
    output: dict[str, Any],
    message: str,
    near: str,
    status: int,
) -> None:
    """A misspelt group, or a label that is no column of the labels, is refused with the near match."""
    workspace, snapshot, quality = put(pictures({"label": [0, 1]}), "images")
    with pytest.raises(MedaiError, match=message) as raised:
        select(workspace, snapshot, quality, Pictures(kind="pictures", **definition), {"x": output_of(**output)})
    assert near in raised.value.received
    assert raised.value.exit_status == status


def test_a_label_is_a_class_number(put: Put, output_of: Callable[..., Output]) -> None:
    """True and false are read as 1 and 0; text is refused by its type."""
    tables = pictures({"label": [0, 1]})
    told = {"label": pl.Series([False, True]), "diagnosis": pl.Series(["none", "flu"])}
    tables["labels"] = tables["labels"].with_columns(**told)
    workspace, snapshot, quality = put(tables, "images")
    cohort = select(workspace, snapshot, quality, PICTURES, {"ill": output_of(**BINARY)}).record
    assert table(workspace, cohort)["ill"].to_list() == [0, 1]
    with pytest.raises(DataRefused, match="output x: the label diagnosis is no class number") as raised:
        select(workspace, snapshot, quality, PICTURES, {"x": output_of(**BINARY | {"label": "diagnosis"})})
    assert raised.value.received == "a column of String"


@pytest.mark.parametrize("groups", [["subject_id"], ["prediction_time"], ["frame", "frame"]])
def test_groups_are_columns_of_their_own(groups: list[str]) -> None:
    """A cohort holds each column once."""
    for kind in (Pictures, Stays):
        with pytest.raises(ValidationError, match=r"group|column that every cohort has"):
            kind.model_validate({"kind": kind.__name__.lower(), "groups": groups})
    with pytest.raises(ValidationError, match="less than or equal to 8760"):
        Stays(kind="stays", observation_hours=10**6)


def test_a_cohort_of_another_shape_is_refused(put: Put, output_of: Callable[..., Output]) -> None:
    """Stays cannot be selected from pictures."""
    workspace, snapshot, quality = put(pictures({"label": [0, 1]}), "images")
    with pytest.raises(DataRefused, match="a cohort of stays cannot be selected from a snapshot of images"):
        select(workspace, snapshot, quality, Stays(kind="stays"), {"x": output_of(**BINARY)})


def test_an_empty_cohort_is_refused_with_its_attrition(put: Put, output_of: Callable[..., Output]) -> None:
    """The message says at which criterion everybody left."""
    aside = (("images", 0, "blank"), ("images", 1, "blank"))
    workspace, snapshot, quality = put(pictures({"label": [0, 1]}), "images", aside)
    with pytest.raises(DataRefused, match="the cohort is empty") as raised:
        select(workspace, snapshot, quality, PICTURES, {"x": output_of(**BINARY)})
    assert "pictures in the snapshot: 2; not set aside: blank: 0" in raised.value.received


def test_stays_without_a_reading_may_be_left_out(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """By default they are kept; a criterion leaves them out, with a line of its own."""
    tables = event_tables([(0, 1, 1, "HR", 80), (1, None, 0, "Age", 60), (2, 2, 2, "HR", 70)], subjects=3)
    workspace, snapshot, quality = put(tables, "events")
    outputs = {"ill": output_of(**BINARY)}
    kept = select(workspace, snapshot, quality, Stays(kind="stays"), outputs).record
    assert lines(kept) == [("stays in the snapshot", 3, 3), ("selected", 3, 3)]
    criteria = [{"name": "with at least one reading", "where": "has_series == true"}]
    definition = Stays.model_validate({"kind": "stays", "criteria": criteria})
    strict = select(workspace, snapshot, quality, definition, outputs).record
    assert lines(strict)[1:] == [("with at least one reading", 2, 2), ("selected", 2, 2)]
    assert strict.key != kept.key


def stay_tables(event_tables: Callable[..., Any], readings: list[Any]) -> dict[str, pl.DataFrame]:
    """Four stays of three subjects: the first two share a subject and an admission; ages and lengths are known."""
    tables: dict[str, pl.DataFrame] = event_tables(readings, subjects=4)
    stays = tables["stays"].with_columns(
        subject_id=pl.Series([0, 0, 2, 3]),
        admission_id=pl.Series([7, 7, 8, 9]),
        age=pl.Series([50.0, 50.0, None, 17.9], dtype=pl.Float32),
        unit=pl.Series(["MICU", "MICU", "CCU", "CCU"]),
        start=pl.col("start") + pl.Series([timedelta(0), timedelta(days=5), timedelta(0), timedelta(0)]),
    )
    labels = tables["labels"].with_columns(hours=pl.Series([50.0, 90.0, 48.0, None]))
    return tables | {"stays": stays, "labels": labels}


def choose(put: Put, tables: Any, output_of: Callable[..., Output], *criteria: dict[str, Any], **more: Any) -> Cohort:
    """A cohort of stays by criteria."""
    workspace, snapshot, quality = put(tables, "events", more.pop("aside", ()))
    definition = Stays.model_validate({"kind": "stays", "observation_hours": 24, "criteria": criteria, **more})
    return select(workspace, snapshot, quality, definition, {"ill": output_of(**BINARY)}).record


def test_criteria_apply_in_their_order(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """The only stay of its admission is judged among those who are left, so the order of two criteria matters."""
    tables = stay_tables(event_tables, [])
    long = {"name": "at least 60 h", "where": "hours >= 60"}
    alone = {"name": "one stay in its admission", "only_in": "admission"}
    assert lines(choose(put, tables, output_of, long, alone))[1:3] == [
        ("at least 60 h", 1, 1),
        ("one stay in its admission", 1, 1),
    ]
    assert lines(choose(put, tables, output_of, alone, {"name": "48 h", "where": "hours >= 48"}))[1:3] == [
        ("one stay in its admission", 2, 2),
        ("48 h", 1, 1),
    ]


def test_a_missing_value_meets_no_ordering(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """An unknown age is not an adult's, and an unknown length no length."""
    tables = stay_tables(event_tables, [])
    adult = {"name": "adult", "where": "age >= 18"}
    assert lines(choose(put, tables, output_of, adult))[1] == ("adult", 2, 1)


def test_observed_is_a_reading_of_a_variable_in_the_window(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """Readings before the start, after prediction_time, of no variable, without a number or set aside do not count."""
    readings = [(0, 24, 24, "HR", 80), (2, -1, -1, "HR", 80), (2, 25, 25, "HR", 80), (3, 2, 2, "HR", None)]
    tables = stay_tables(event_tables, readings)
    observed = {"name": "observed", "observed": True}
    assert lines(choose(put, tables, output_of, observed))[1] == ("observed", 1, 1)
    tables["events"] = tables["events"].with_columns(variable=pl.lit(None, pl.String))
    with pytest.raises(DataRefused, match="the cohort is empty"):
        choose(put, tables, output_of, observed)


def test_stays_set_aside_leave_by_reason(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """A stay that validation named is no prediction."""
    tables = stay_tables(event_tables, [])
    cohort = choose(put, tables, output_of, aside=(("stays", 3, "orphan"), ("events", 2, "implausible")))
    assert lines(cohort)[:2] == [("stays in the snapshot", 4, 3), ("not set aside: orphan", 3, 2)]


def test_a_column_of_the_stays_is_a_group(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """Groups may be columns that the source adds to its stays, text too."""
    tables = stay_tables(event_tables, [])
    workspace, snapshot, quality = put(tables, "events")
    definition = Stays(kind="stays", groups=("unit",))
    cohort = select(workspace, snapshot, quality, definition, {"ill": output_of(**BINARY)}).record
    assert table(workspace, cohort)["unit"].to_list() == ["MICU", "MICU", "CCU", "CCU"]


@pytest.mark.parametrize(
    ("where", "received"),
    [
        ("agee >= 18", "column agee, which is not there; did you mean 'age'"),
        ("unit >= 18", "column unit, of another type"),
    ],
)
def test_a_criterion_on_what_is_not_there_is_refused(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output], where: str, received: str
) -> None:
    """The message names the criterion and the near match."""
    with pytest.raises(ConfigurationError, match="the criterion 'adult' cannot be followed") as raised:
        choose(put, stay_tables(event_tables, []), output_of, {"name": "adult", "where": where})
    assert received in raised.value.received


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ({"name": "both", "where": "age > 1", "only_in": "subject"}, "one of where, only_in and observed"),
        ({"name": "none"}, "one of where, only_in and observed"),
        ({"name": "broken", "where": "age >"}, "where cannot be read"),
    ],
)
def test_a_criterion_says_one_thing(criterion: dict[str, Any], message: str) -> None:
    """A criterion without a meaning, or with two, is refused before any work."""
    with pytest.raises(ValidationError, match=message):
        Stays.model_validate({"kind": "stays", "criteria": [criterion]})


def test_a_group_is_what_validation_kept(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """A descriptor that was set aside makes no subgroup, and a reading of the same code none either."""
    tables = event_tables([(0, None, 0, "Gender", 7), (1, None, 0, "Gender", 1), (1, 3, 3, "Gender", 0)])
    implausible = tables["events"].filter(pl.col("numeric_value") == 7)["row_id"].item()
    workspace, snapshot, quality = put(tables, "events", (("events", implausible, "implausible_gender"),))
    definition = Stays(kind="stays", observation_hours=24, groups=("Gender",))
    cohort = select(workspace, snapshot, quality, definition, {"ill": output_of(**BINARY)}).record
    assert table(workspace, cohort)["Gender"].to_list() == [None, 1.0]


def test_the_table_is_its_owners_alone(stay_road: Any) -> None:
    """Nobody else reads who is in the cohort."""
    path = stay_road.workspace.folder("select", stay_road.cohort.key) / "cohort.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
