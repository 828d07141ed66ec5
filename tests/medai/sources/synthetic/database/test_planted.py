"""Planted faults of the large databases: as many as the manifest says, found by the readers as what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.synthetic.database.planted import KINDS
from medai.tables import Facts

Database = Callable[..., Path]
Rows = Callable[[Path, str], pl.DataFrame]
Read = tuple[Facts, Path, dict[str, int]]


def counted(folder: Path) -> dict[str, int]:
    """What the manifest says."""
    return dict(json.loads((folder / "planted_faults.json").read_text())["faults"])


@pytest.fixture(scope="module", params=["mimic3", "mimic4"])
def read_back(request: pytest.FixtureRequest, database: Database, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """What the reader of the layout says of a database with faults, its tables, and the manifest."""
    folder = database(request.param, 700, faults=0.1, intensive=0.4, chart_rows_per_stay=300)
    source = Mimic3(kind="mimic3") if request.param == "mimic3" else Mimic4(kind="mimic4")
    out = tmp_path_factory.mktemp("read")
    return source.read(folder, out), out, counted(folder)


def test_the_reader_refuses_nothing_and_finds_every_planted_row(read_back: Read) -> None:
    """Rows twice (where rows have no number), rows marked as an error, unknown admissions, events years away."""
    facts, out, counts = read_back
    if counts.get("error_row"):
        assert facts.counts["marked_as_error_chartevents"] == counts["error_row"]
        assert "same_row_twice" not in facts.counts
    else:
        assert facts.counts["same_row_twice"] == counts["duplicate_row"]
    assert facts.dropped.get("events", 0) == 0
    assert "table_with_extra_columns" not in facts.counts
    events = pl.read_parquet(out / "events.parquet")
    chart = events.filter(pl.col("source_table") == "chartevents")
    # Rows of orphan stays name an unknown admission too.
    unknown = chart.filter(pl.col("link") == "unknown_admission").height
    assert unknown >= counts["event_of_unknown_admission"] * 0.8 > 0
    away = chart.filter(pl.col("hours_outside_admission").abs() > 24 * 300).height
    assert 0.85 * counts["event_outside_admission"] <= away <= counts["event_outside_admission"] + 20
    assert set(chart["link"]) == {"admission", "unknown_admission"}


def test_stays_have_the_planted_faults_and_no_other(read_back: Read) -> None:
    """Orphans, turned times, deaths that cannot be; stays without events."""
    facts, out, counts = read_back
    stays = pl.read_parquet(out / "stays.parquet")
    found = dict(stays["record_fault"].drop_nulls().value_counts().iter_rows())
    assert found.pop("orphan_admission") == counts["orphan_stay"] > 0
    assert found.pop("impossible_dates") == counts["stay_out_before_in"] > 0
    assert set(found) == {"death_before_birth", "death_before_admission"}
    assert facts.counts["stay_without_series"] >= counts["stay_without_events"] > 0


def test_values_that_cannot_be_keep_their_text_or_lie_outside(database: Database, rows: Rows) -> None:
    """Words without a number, sentinels and pulses of 0, degrees and pounds of another unit."""
    folder = database("mimic4", 700, faults=0.1, intensive=0.4, chart_rows_per_stay=300)
    counts, chart, labs = counted(folder), rows(folder, "icu/chartevents"), rows(folder, "hosp/labevents")
    once = chart.unique(maintain_order=True)
    number = pl.col("valuenum").cast(float)
    word = pl.col("value").is_in(["?", "ERROR", "___"])
    assert once.filter(word).height == counts["text_in_value"] > 0
    zero = (pl.col("itemid") == "220045") & (number == 0)
    sentinel = pl.col("value") == "999999"
    assert once.filter(zero).height > 0
    assert once.filter(zero | sentinel).height == counts["implausible_value"]
    mixed = (
        ((pl.col("itemid") == "223762") & (number > 80))
        | ((pl.col("itemid") == "223835") & (number < 1.01))
        | ((pl.col("itemid").is_in(["226512", "224639"])) & (number > 250))
    )
    obvious = once.filter(mixed & ~sentinel).height
    assert 0.5 * counts["unit_mix"] < obvious <= counts["unit_mix"]
    assert labs["valuenum"].null_count() == counts["lab_text_in_value"] > 0
    assert (labs["value"] == "999999").sum() == counts["lab_implausible_value"] > 0


def test_the_rest_is_as_it_would_be_without_faults(database: Database, rows: Rows) -> None:
    """Rows that no fault touched are those of the same database without faults; a fault may have its own rate."""
    fields = {"intensive": 0.4, "chart_rows_per_stay": 300}
    sound, faulty = database("mimic4", 700, faults=0, **fields), database("mimic4", 700, faults=0.1, **fields)
    assert set(counted(sound).values()) == {0}
    assert set(counted(faulty)) == {fault for faults in KINDS.values() for fault in faults}
    before, after = rows(sound, "icu/chartevents"), rows(faulty, "icu/chartevents")
    touched = after.join(before, on=before.columns, how="anti", nulls_equal=True).height
    assert 0 < touched < 0.07 * after.height
    own = database("mimic4", 700, faults=0, rates={"duplicate_row": 0.25}, **fields)
    twice = counted(own)["duplicate_row"]
    assert twice == rows(own, "icu/chartevents").height - before.height
    assert twice / before.height == pytest.approx(0.25, rel=0.05)
