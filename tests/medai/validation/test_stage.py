"""The stage: what passes, what is set aside, what stops the run, and what is written."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from medai.errors import ConfigurationError, DataRefused, ValidationFailed
from medai.records import Failure, QualityReport
from medai.validation import catalogue_suite, refuse_if_failed, set_aside_rows, validate

Tables = dict[str, pl.DataFrame]
SnapshotOf = Callable[..., tuple[Any, Any]]


def _set(table: pl.DataFrame, column: str, rows: list[int], value: object) -> pl.DataFrame:
    hit = pl.int_range(pl.len()).is_in(rows)
    dtype = table.schema[column]
    return table.with_columns(pl.when(hit).then(pl.lit(value, dtype=dtype)).otherwise(pl.col(column)).alias(column))


def test_a_clean_snapshot_passes(images: Tables, snapshot_of: SnapshotOf) -> None:
    """Every rule holds, nothing is set aside, the report counts rows and rules."""
    workspace, snapshot = snapshot_of(images)
    made = validate(workspace, snapshot, catalogue_suite("medmnist"))
    report = made.record
    assert (made.reused, report.passed, report.rows, report.set_aside, report.failures) == (False, True, 60, {}, ())
    assert report.tables == {"images": 60, "labels": 60}
    assert report.rules == 30
    refuse_if_failed(report)
    assert set_aside_rows(workspace.folder("validate", report.key), "images").is_empty()


def test_rows_are_set_aside_under_the_first_reason(images: Tables, snapshot_of: SnapshotOf) -> None:
    """A twin that is also a duplicate and black counts once, as a twin; evaluation rows are only counted."""
    table = _set(images["images"], "twin_of", [3, 4], "test")
    table = _set(table, "copy_number", [4, 5, 45], 1)
    table = _set(table, "maximum", [4, 50], 0)
    workspace, snapshot = snapshot_of({**images, "images": table})
    report = validate(workspace, snapshot, catalogue_suite("medmnist")).record
    assert report.passed
    assert report.set_aside == {"twin_in_evaluation_data": 2, "duplicate_in_training": 1}
    assert report.warned == {"duplicate_in_evaluation": 1, "all_black_picture_in_evaluation": 1}
    folder = workspace.folder("validate", report.key)
    assert set_aside_rows(folder, "images").rows() == [
        (3, "twin_in_evaluation_data"),
        (4, "twin_in_evaluation_data"),
        (5, "duplicate_in_training"),
    ]
    assert pl.read_parquet_schema(folder / "set_aside.parquet") == {
        "table": pl.String,
        "row_id": pl.Int64,
        "reason": pl.String,
    }
    assert stat.S_IMODE((folder / "set_aside.parquet").stat().st_mode) == 0o600
    verdicts = json.loads((folder / "verdicts.json").read_bytes())
    assert len(verdicts) == report.rules
    twin = next(one for one in verdicts if one["reason"] == "twin_in_evaluation_data")
    assert (twin["success"], twin["unexpected"], twin["evaluated"], twin["action"]) == (False, 2, 60, "set_aside")


def test_the_same_judgement_is_reused(images: Tables, snapshot_of: SnapshotOf) -> None:
    """The second run finds the report; another tolerance is another judgement; bytes are equal in another home."""
    workspace, snapshot = snapshot_of({**images, "images": _set(images["images"], "twin_of", [3], "test")})
    suite = catalogue_suite("medmnist")
    first = validate(workspace, snapshot, suite)
    again = validate(workspace, snapshot, suite)
    assert again.reused
    assert again.record == first.record
    stricter = validate(workspace, snapshot, suite, tolerance=0.5)
    assert not stricter.reused
    assert stricter.record.key != first.record.key
    one, other = (workspace.folder("validate", made.record.key) for made in (first, stricter))
    for name in ("set_aside.parquet", "verdicts.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_reused_run_imports_nothing_heavy(images: Tables, snapshot_of: SnapshotOf) -> None:
    """Finding a report needs neither Great Expectations nor Polars nor pandas."""
    workspace, snapshot = snapshot_of(images)
    validate(workspace, snapshot, catalogue_suite("medmnist"))
    script = (
        "import sys; from pathlib import Path; from medai.records import Snapshot\n"
        "from medai.workspace import Workspace\n"
        "from medai.validation import catalogue_suite, validate\n"
        f"snapshot = Snapshot.parse({snapshot.canonical()!r})\n"
        f"made = validate(Workspace(Path({str(workspace.root)!r})), snapshot, catalogue_suite('medmnist'))\n"
        "print(made.reused, sorted({'great_expectations', 'polars', 'pandas'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "True []"


def test_more_than_the_tolerance_blocks(images: Tables, snapshot_of: SnapshotOf) -> None:
    """A fifth of the rows may go; one more stops the run, unless the Problem tolerates it."""
    suite = catalogue_suite("medmnist")
    workspace, snapshot = snapshot_of({**images, "images": _set(images["images"], "twin_of", list(range(12)), "test")})
    assert validate(workspace, snapshot, suite).record.passed
    workspace, snapshot = snapshot_of({**images, "images": _set(images["images"], "twin_of", list(range(13)), "test")})
    report = validate(workspace, snapshot, suite).record
    assert not report.passed
    assert report.failures[0].reason == "too_many_set_aside"
    with pytest.raises(ValidationFailed) as refused:
        refuse_if_failed(report)
    assert refused.value.wrong == "the data failed validation: too_many_set_aside in table images"
    assert refused.value.received == "13 of 60 rows set aside: twin_in_evaluation_data 13"
    assert "validation.tolerance" in refused.value.action
    assert refused.value.exit_status == 3
    assert validate(workspace, snapshot, suite, tolerance=0.25).record.passed
    with pytest.raises(ConfigurationError, match="tolerance"):
        validate(workspace, snapshot, suite, tolerance=float("nan"))


@pytest.mark.parametrize(("dropped", "passed"), [(4, True), (5, False)])
def test_what_the_reader_left_out_counts_against_the_tolerance(
    events: Tables, snapshot_of: SnapshotOf, dropped: int, passed: bool
) -> None:
    """A fifth of 164 readings and those left out is 33; 29 set aside leave room for four more, not for five."""
    few = (
        events["events"]
        .with_row_index("at")
        .with_columns(code=pl.when(pl.col("at") < 29).then(pl.lit("unheard_of")).otherwise("code"))
    )
    workspace, snapshot = snapshot_of(events | {"events": few.drop("at")}, "events")
    snapshot = snapshot.model_copy(update={"dropped": {"events": dropped, "elsewhere": 999}})
    report = validate(workspace, snapshot, catalogue_suite("physionet2012")).record
    found = [failure for failure in report.failures if failure.reason == "too_many_set_aside"]
    assert (found == []) is passed
    if not passed:
        assert (found[0].table, found[0].unexpected, found[0].evaluated) == ("events", 34, 169)
        with pytest.raises(ValidationFailed) as refused:
            refuse_if_failed(report)
        told = "34 of 169 rows set aside: unknown_variable 29, left out by the reader 5"
        assert refused.value.received.startswith(told)


def test_a_condition_that_meets_no_row_is_told(images: Tables, snapshot_of: SnapshotOf, write_suite: Any) -> None:
    """A misspelt word in a condition makes a rule that always holds; the report names its reason."""
    rule = """
    - type: expect_column_values_to_be_between
      kwargs: {{column: std, min_value: 1000000, row_condition: 'publisher_role == "{role}"'}}
      meta: {{reason: {reason}, action: warn, why: "Shows nothing."}}
"""
    text = "name: small\ntables:\n  images:" + "".join(
        rule.format(role=role, reason=reason) for role, reason in (("trian", "misspelt"), ("train", "spelt"))
    )
    workspace, snapshot = snapshot_of(images)
    report = validate(workspace, snapshot, write_suite(text)).record
    assert report.idle == ("misspelt",)
    assert report.warned == {"spelt": 40}


def test_a_blocking_rule_stops_the_run(images: Tables, snapshot_of: SnapshotOf) -> None:
    """The error names table, column, reason and counts; blocking failures come first in the report."""
    table = _set(_set(images["images"], "bits", [1, 2], 12), "copy_number", [7], 1)
    labels = _set(images["labels"], "label", [0], -7)
    workspace, snapshot = snapshot_of({"images": table, "labels": labels})
    report = validate(workspace, snapshot, catalogue_suite("medmnist")).record
    assert [(one.reason, one.column, one.blocking, one.unexpected) for one in report.failures] == [
        ("not_8_bit", "bits", True, 2),
        ("label_negative", "label", True, 1),
        ("duplicate_in_training", "copy_number", False, 1),
    ]
    with pytest.raises(ValidationFailed) as refused:
        refuse_if_failed(report)
    assert refused.value.wrong == "the data failed validation: not_8_bit in table images, column bits"
    assert refused.value.received == "2 of 60 rows break it; 1 more blocking rule failed"
    assert "-7" not in str(refused.value) + report.model_dump_json()


def test_each_column_that_a_pattern_matches_is_judged(images: Tables, snapshot_of: SnapshotOf) -> None:
    """Several label columns are judged one by one; a table without any blocks."""
    labels = images["labels"].select("row_id", label_0="label", label_1=pl.lit(-1), other=pl.lit(-1))
    workspace, snapshot = snapshot_of({**images, "labels": labels})
    report = validate(workspace, snapshot, catalogue_suite("medmnist")).record
    assert [(one.column, one.reason) for one in report.failures] == [("label_1", "label_negative")]
    workspace, snapshot = snapshot_of({**images, "labels": labels.select("row_id")})
    report = validate(workspace, snapshot, catalogue_suite("medmnist")).record
    assert {one.reason for one in report.failures} == {"missing_column"}


def test_what_a_table_cannot_answer_blocks(images: Tables, events: Tables, snapshot_of: SnapshotOf) -> None:
    """A missing column, a column of another type and a missing table fail their rules, and the run goes no further."""
    suite = catalogue_suite("medmnist")
    workspace, snapshot = snapshot_of({**images, "images": images["images"].drop("std")})
    report = validate(workspace, snapshot, suite).record
    assert {(one.reason, one.column) for one in report.failures} == {
        ("not_an_images_table", ""),
        ("missing_column", "std"),
    }
    assert all(one.blocking for one in report.failures)
    workspace, snapshot = snapshot_of(
        {**images, "images": images["images"].with_columns(pl.col("std").cast(pl.String))}
    )
    report = validate(workspace, snapshot, suite).record
    assert {(one.reason, one.column, one.blocking) for one in report.failures} == {("wrong_type", "std", True)}
    workspace, snapshot = snapshot_of(events, "events")
    report = validate(workspace, snapshot, suite).record
    assert "missing_table" in {one.reason for one in report.failures}
    with pytest.raises(ValidationFailed, match="missing_table in table images"):
        refuse_if_failed(report)


def test_a_damaged_table_is_refused(images: Tables, snapshot_of: SnapshotOf) -> None:
    """A Parquet file cut short is status 3, and nothing is left in the store."""
    workspace, snapshot = snapshot_of(images)
    path = workspace.folder("ingest", snapshot.key) / "images.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataRefused, match="table images of the snapshot cannot be read"):
        validate(workspace, snapshot, catalogue_suite("medmnist"))
    assert list((workspace.root / "store" / "validate").iterdir()) == []


def test_implausible_readings(events: Tables, snapshot_of: SnapshotOf) -> None:
    """Heart rate 0, pH 735, 20 °C, a word for a number, an unknown code, and -1 for missing: each under its reason."""
    table = events["events"]
    place = {code: at for at, code in enumerate(table["code"].head(41))}
    for code, value in {"HR": 0.0, "pH": 735.0, "Temp": 20.0, "FiO2": 40.0, "Height": -1.0, "Weight": 0.0}.items():
        table = _set(table, "numeric_value", [place[code]], value)
    table = _set(table, "numeric_value", [place["K"]], None)
    table = _set(table, "code", [place["Na"]], "Sodium")
    stays = _set(events["stays"], "has_series", [2], False)
    workspace, snapshot = snapshot_of({**events, "events": table, "stays": stays}, "events")
    report = validate(workspace, snapshot, catalogue_suite("physionet2012")).record
    assert report.passed
    assert report.set_aside == {
        "unknown_variable": 1,
        "not_a_number": 1,
        "recorded_as_missing": 1,
        "implausible_fio2": 1,
        "implausible_hr": 1,
        "implausible_ph": 1,
        "implausible_temp": 1,
        "implausible_weight": 1,
    }
    assert report.warned == {"stay_without_series": 1}


def test_the_refusal_tells_a_table_from_its_rows() -> None:
    """A rule on the whole table has no breaking rows to count."""
    failure = Failure(
        expectation="expect_table_row_count_to_be_between",
        table="images",
        column="",
        reason="too_few_pictures",
        blocking=True,
        unexpected=0,
        evaluated=5,
    )
    report = QualityReport(key="k", passed=False, rows=5, set_aside={}, failures=(failure,), rules=1)
    with pytest.raises(ValidationFailed) as refused:
        refuse_if_failed(report)
    assert refused.value.received == "a table of 5 rows that does not meet it"
