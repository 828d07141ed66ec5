"""Cohorts of events: what a definition may say, and whom it finds on records worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from medai.cohort import Windows, extraction, select
from medai.cohort.attrition import Attrition
from medai.errors import DataRefused
from medai.outputs import Output
from medai.records import QualityReport, Snapshot
from medai.workspace import Workspace

START = datetime(2020, 1, 1)
Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
INPUT = {"start": "trigger", "end": "start + 24h", "start_inclusive": True, "end_inclusive": True}
DEFINITION: dict[str, Any] = {
    "kind": "windows",
    "predicates": {
        "admission": {"code": {"prefix": "ADMISSION//"}},
        "discharge": {"code": {"regex": "^DISCHARGE(//|$)"}},
        "death": {"code": "MEDS_DEATH"},
        "end_of_stay": {"any_of": ["discharge", "death"]},
        "fever": {"variable": "temperature", "value_min": 38.0, "value_min_inclusive": True},
    },
    "trigger": "admission",
    "windows": {
        "input": {**INPUT, "has": {"fever": {"min": 1}}, "index_timestamp": "end"},
        "gap": {
            **{"start": "input.end", "end": "start + 24h", "start_inclusive": False, "end_inclusive": True},
            "has": {"end_of_stay": {"max": 0}, "admission": {"max": 0}},
        },
        "target": {
            **{"start": "gap.end", "end": "start -> end_of_stay", "start_inclusive": False, "end_inclusive": True},
            "label": "death",
        },
    },
}


def record(*events: tuple[int, float | None, str, float | None]) -> pl.DataFrame:
    """Events: subject, hour (None: static), code or variable, number."""
    return pl.DataFrame(
        {
            "subject_id": [one[0] for one in events],
            "time": [None if one[1] is None else START + timedelta(hours=one[1]) for one in events],
            "code": [one[2] for one in events],
            "variable": [one[2] if one[2].islower() else None for one in events],
            "numeric_value": [one[3] for one in events],
        },
        schema_overrides={
            "time": pl.Datetime("us"),
            "variable": pl.String,
            "numeric_value": pl.Float32,
            "subject_id": pl.Int64,
        },
    )


RECORD = record(
    # 1: admitted, feverish within the day, dies at hour 60: a sample, label 1.
    *((1, 0, "ADMISSION//EW", None), (1, 5, "temperature", 38.0), (1, 60, "MEDS_DEATH", None)),
    # 2: discharged at hour 72; comes back without fever.
    *((2, 0, "ADMISSION//EW", None), (2, 24, "temperature", 39.0), (2, 72, "DISCHARGE//HOME", None)),
    *((2, 500, "ADMISSION//EW", None), (2, 510, "temperature", 37.9), (2, 600, "DISCHARGE", None)),
    # 3: feverish an hour too late. 4: discharged in the gap. 5: no end of the stay at all.
    *((3, 0, "ADMISSION//EW", None), (3, 25, "temperature", 40.0), (3, 90, "DISCHARGE", None)),
    *((4, 0, "ADMISSION//EW", None), (4, 1, "temperature", 40.0), (4, 48, "DISCHARGE", None)),
    *((5, 0, "ADMISSION//EW", None), (5, 1, "temperature", 40.0), (5, 50, "temperature", 36.0)),
)


def found(definition: dict[str, Any], events: pl.DataFrame) -> tuple[list[tuple[Any, ...]], list[tuple[str, int, int]]]:
    """(subject, hour of prediction, label) of the samples, and the attrition table."""
    attrition = Attrition()
    samples = extraction.extracted(events, Windows.model_validate(definition), attrition)
    hours = (samples["prediction_time"] - START).dt.total_hours().to_list()
    labels = samples["label"].to_list() if "label" in samples.columns else [None] * len(hours)
    return (
        list(zip(samples["subject_id"].to_list(), hours, labels, strict=True)),
        [(line.criterion, line.samples, line.subjects) for line in attrition.lines()],
    )


def changed(windows: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The definition with other keys, and with other keys of its windows."""
    merged = {
        name: {**DEFINITION["windows"].get(name, {}), **(windows or {}).get(name, {})}
        for name in {**DEFINITION["windows"], **(windows or {})}
    }
    return {**DEFINITION, "windows": merged, **keys}


def test_input_gap_and_target() -> None:
    """Six admissions; who leaves at which window."""
    samples, lines = found(DEFINITION, RECORD)
    assert samples == [(1, 24, 1), (2, 24, 0)]
    assert lines == [
        ("trigger admission", 6, 5),
        ("window input", 4, 4),  # without subject 2's second stay and subject 3
        ("window gap", 3, 3),  # without subject 4
        ("window target", 2, 2),  # without subject 5
    ]


@pytest.mark.parametrize(
    ("start_inclusive", "end_inclusive", "met"),
    [(True, True, 3), (False, True, 2), (True, False, 2), (False, False, 1)],
)
def test_ends_count_as_they_are_said_to(start_inclusive: bool, end_inclusive: bool, met: int) -> None:
    """Fever at the trigger, within, and at the very end of the window."""
    events = record((1, 0, "ADMISSION//A", None), *((1, hour, "temperature", 39.0) for hour in (0, 12, 24)))
    window = {**INPUT, "start_inclusive": start_inclusive, "end_inclusive": end_inclusive}
    for least in range(5):
        definition = {**DEFINITION, "windows": {"input": {**window, "has": {"fever": {"min": least}}}}}
        assert len(found(definition, events)[0]) == (1 if least <= met else 0)


def test_an_arrow_finds_its_own_moment_if_the_end_is_inclusive() -> None:
    """From a discharge to the next one: itself where the end counts, else the one after."""
    events = record((1, 0, "DISCHARGE", None), (1, 10, "DISCHARGE", None))
    window = {"start": "trigger", "end": "start -> discharge", "start_inclusive": True, "index_timestamp": "end"}
    here = changed(trigger="discharge") | {"windows": {"next": {**window, "end_inclusive": True}}}
    assert found(here, events)[0] == [(1, 0, None), (1, 10, None)]
    there = changed(trigger="discharge") | {"windows": {"next": {**window, "end_inclusive": False}}}
    assert found(there, events)[0] == [(1, 10, None)]


def test_backwards_and_the_ends_of_a_record() -> None:
    """Null is the record's first or last moment; ``<-`` the last moment before."""
    events = record((1, 0, "temperature", 39.0), (1, 4, "ADMISSION//A", None), (1, 9, "ADMISSION//A", None))
    history = {"start": None, "end": "trigger", "start_inclusive": True, "end_inclusive": False}
    window = {**history, "has": {"fever": {"min": 1}}, "index_timestamp": "start"}
    assert found({**DEFINITION, "windows": {"history": window}}, events)[0] == [(1, 0, None), (1, 0, None)]
    future = {
        "start": "trigger",
        "end": None,
        "start_inclusive": False,
        "end_inclusive": True,
        "index_timestamp": "end",
    }
    # From the record's last moment on nothing but that moment itself is left, which is its end.
    assert found({**DEFINITION, "windows": {"future": future}}, events)[0] == [(1, 9, None), (1, 9, None)]
    before = {"start": "end <- admission", "end": "trigger", "start_inclusive": False, "end_inclusive": True}
    definition = {**DEFINITION, "windows": {"before": {**before, "index_timestamp": "start"}}}
    assert found(definition, events)[0] == [(1, 4, None)]


def test_static_predicates_choose_subjects() -> None:
    """Only subjects with an event of that kind without a time are asked about; theirs is a line of its own."""
    events = pl.concat([RECORD, record((2, None, "GENDER//F", None), (1, 3, "GENDER//F", None))]).sort("subject_id")
    definition = changed(predicates={**DEFINITION["predicates"], "woman": {"code": "GENDER//F", "static": True}})
    samples, lines = found(definition, events)
    assert samples == [(2, 24, 0)]
    assert lines[0] == ("events of subjects with woman", 6, 1)


def test_a_definition_that_was_written_is_read_as_the_same() -> None:
    """With every default beside what was said."""
    made = Windows.model_validate(DEFINITION)
    assert Windows.model_validate(made.model_dump(mode="json")) == made


def test_predicates_of_several_kinds() -> None:
    """A list of codes, bounds of a number, and two predicates at one moment."""
    events = record(
        *(
            (1, 0, "A", None),
            (1, 0, "B", 5.0),
            (1, 1, "A", None),
            (1, 2, "B", 5.0),
            (1, 2, "C", 7.5),
            (1, 3, "B", None),
        ),
    )
    predicates = {
        "a_or_c": {"code": {"any": ["A", "C"]}},
        "b": {"code": "B", "value_min": 5.0, "value_max": 6.0, "value_min_inclusive": True},
        "beyond": {"code": "B", "value_min": 5.0},
        "both": {"all_of": ["a_or_c", "b"]},
        "either": {"any_of": ["both", "beyond"]},
    }
    for trigger, hours in (("a_or_c", [0, 1, 2]), ("b", [0, 2]), ("beyond", []), ("both", [0, 2]), ("either", [0, 2])):
        definition = {"kind": "windows", "predicates": predicates, "trigger": trigger}
        assert [hour for _, hour, _ in found(definition, events)[0]] == hours
    anything = {"kind": "windows", "predicates": predicates, "trigger": "_ANY_EVENT"}
    assert [hour for _, hour, _ in found(anything, events)[0]] == [0, 1, 2, 3]


def test_the_cohort_is_selected_and_labelled(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """Samples in the order of hashed ids, events set aside left out, the label as an output, groups by static code."""
    tables = event_tables([], subjects=6)
    columns = {"row_id": pl.Int64, "text_value": pl.String, "known_time": pl.Datetime("us"), "source_row": pl.Int32}
    static = record((1, None, "Gender", 1.0), (2, None, "Gender", 0.0))
    events = pl.concat([static, RECORD]).with_columns(pl.lit(None, kind).alias(name) for name, kind in columns.items())
    events = events.drop("row_id").with_row_index("row_id").cast({"row_id": pl.Int64})
    fever = events.filter(pl.col("code") == "temperature", pl.col("subject_id") == 2)["row_id"][0]
    output = output_of(kind="binary", classes={0: "home", 1: "dead"}, positive="dead")
    workspace, snapshot, quality = put({**tables, "events": events}, "events")
    definition = Windows.model_validate({**DEFINITION, "groups": ["Gender"]})
    cohort = select(workspace, snapshot, quality, definition, {"death": output}).record
    rows = pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")
    assert rows.columns == ["sample_id", "subject_id", "prediction_time", "publisher_role", "Gender", "death"]
    assert sorted(rows.select("subject_id", "Gender", "death").rows()) == [(1, 1.0, 1), (2, 0.0, 0)]
    assert rows["sample_id"].is_sorted()
    assert cohort.classes == {"death": {"home": 1, "dead": 1}}
    assert [line.criterion for line in cohort.attrition][-2:] == ["window target", "selected"]
    workspace, snapshot, quality = put(
        {**tables, "events": events}, "events", (("events", fever, "implausible"),), home="aside"
    )
    assert select(workspace, snapshot, quality, definition, {"death": output}).record.samples == 1


def test_names_are_golden() -> None:
    """Of a subject and a time in microseconds; another hash would move every row: raise VERSION then."""
    assert extraction._named(1, 1577836800000000) == 3091421482424972719


def test_ids_that_collide_are_refused(
    put: Put, event_tables: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, output_of: Callable[..., Output]
) -> None:
    """Two samples never share a name."""
    monkeypatch.setattr(extraction, "_named", lambda subject, moment: 7)
    tables = event_tables([(0, 1, 1, "HR", 80.0), (0, 2, 2, "HR", 80.0)])
    workspace, snapshot, quality = put(tables, "events")
    definition = Windows.model_validate(
        {
            **{"kind": "windows", "trigger": "rate", "predicates": {"rate": {"code": "HR"}}},
            "windows": {"day": {**INPUT, "label": "rate"}},
        }
    )
    output = output_of(kind="binary", classes={0: "none", 1: "some"}, positive="some")
    with pytest.raises(DataRefused, match="two samples hash to the same id"):
        select(workspace, snapshot, quality, definition, {"rate": output})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (changed(trigger="admision"), "trigger: there is no predicate 'admision'; did you mean 'admission'"),
        (changed({"gap": {"has": {"deaht": {"max": 0}}}}), "windows.gap.has: there is no predicate 'deaht'; did you"),
        (changed({"gap": {"start": "imput.end"}}), "there is no window 'imput'; did you mean 'input'"),
        (changed({"target": {"end": "start -> dischrge"}}), "windows.target.end: there is no predicate 'dischrge'"),
        (changed({"input": {"start": "gap.end"}}), "in a circle: input, gap, target"),
        (changed({"input": {"end": "start + 24 hourz"}}), "no unit 'hourz'"),
        (changed({"input": {"end": "start - 24h"}}), "start lies before its end"),
        (changed({"input": {"end": "start"}}), "start lies before its end"),
        (changed({"input": {"end": "trigger + 24h"}}), "one end refers to the trigger or another window"),
        (changed({"input": {"start": None, "end": None}}), "one end refers to the trigger"),
        (changed({"gap": {"label": "death"}}), "one window has label, not gap, target"),
        (changed({"gap": {"index_timestamp": "end"}}), "one window has index_timestamp"),
        (changed({"input": {"has": {"fever": {}}}}), "give min, max or both"),
        (changed({"input": {"has": {"fever": {"min": 2, "max": 1}}}}), "min is above max"),
        (changed(predicates={"admission": {"code": {"regex": "(("}}}), "regular expression"),
        (changed(predicates={"admission": {"code": {"any": ["a"], "prefix": "b"}}}), "one of any, prefix and regex"),
        (changed(predicates={"admission": {}}), "names a code or a variable"),
        (changed(predicates={"admission": {"any_of": ["admission", "admission"]}}), "in a circle: admission"),
        (changed(predicates={"admission": {"any_of": ["a"]}}), "take two predicates or more"),
        (changed(predicates={"admission": {"code": "A", "any_of": ["a", "b"]}}), "or one of any_of and all_of"),
        (changed(predicates={"a": {"code": "A", "value_max_inclusive": True}}), "goes with value_max"),
        (changed(predicates={"a": {"code": "A", "value_min": 2, "value_max": 1}}), "value_min is above value_max"),
        (changed(trigger="s", predicates={"s": {"code": "S", "static": True}}), "is static and met at no moment"),
        (changed(predicates={"time": {"code": "A"}}), "'time' is no name of a predicate"),
        (changed({"start": {**INPUT}}), "'start' is no name of a window"),
        (changed(trigers="a"), "did you mean 'trigger'"),
    ],
)
def test_definitions_that_cannot_be_followed_are_refused(definition: dict[str, Any], message: str) -> None:
    """Before any work, and with the near match."""
    with pytest.raises(ValidationError) as raised:
        Windows.model_validate(definition)
    assert message in str(raised.value)
