"""What changed in a source between two snapshots: codes, units and medians."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from medai.drift import Limits, compare, compare_snapshots, quartiles
from medai.errors import DataRefused, MedaiError
from medai.tables import write_table

BEFORE = [
    ("CHART//1//bpm", "heart_rate", 5000),
    ("LAB//2//mg/dL", "glucose", 1000),
    ("LAB//3//mg/dL", None, 3990),
    ("LAB//4//UNK", None, 10),
]


def codes(rows: list[tuple[str, str | None, int]]) -> pl.DataFrame:
    """A table of codes."""
    schema = {"code": pl.String, "variable": pl.String, "readings": pl.Int64}
    return pl.DataFrame(rows, orient="row", schema=schema)


def values(rows: list[tuple[str, float, float, float, int]]) -> pl.DataFrame:
    """A table of quartiles."""
    return pl.DataFrame(rows, orient="row", schema=["variable", "low", "median", "high", "readings"])


def test_equal_snapshots_have_not_changed() -> None:
    """Nothing to tell, in whatever order the codes stand."""
    found = compare(codes(BEFORE), codes(BEFORE[::-1]))
    assert not found.anything
    assert (found.lost, found.gained) == (0, 0)


def test_codes_that_came_and_went() -> None:
    """With their share of the snapshot that has them; small ones are counted and not listed."""
    after = [*BEFORE[:2], ("LAB//30//mg/dL", None, 3000), ("LAB//31//mg/dL", "sodium", 1000), ("LAB//5//UNK", None, 2)]
    found = compare(codes(BEFORE), codes(after))
    assert [(one.code, one.rows, one.share) for one in found.vanished] == [
        ("LAB//3//mg/dL", 3990, 0.399),
        ("LAB//4//UNK", 10, 0.001),
    ]
    assert [(one.code, one.variable) for one in found.appeared] == [
        ("LAB//30//mg/dL", None),
        ("LAB//31//mg/dL", "sodium"),
    ]
    assert (found.lost, found.gained) == (4000, 4002)
    assert compare(codes(BEFORE), codes(after), limits=Limits(share=0.5)).vanished == ()


@pytest.mark.parametrize(("moved", "told"), [(0, False), (50, False), (100, True), (1000, True)])
def test_a_unit_that_another_takes_the_place_of(moved: int, told: bool) -> None:
    """A laboratory that goes over to mmol/L: the distance is the share of readings that changed their unit."""
    after = [BEFORE[0], ("LAB//2//mg/dL", "glucose", 1000 - moved), ("LAB//2//mmol/L", "glucose", moved), *BEFORE[2:]]
    found = compare(codes(BEFORE), codes([row for row in after if row[2]]))
    assert bool(found.units) == told
    if told:
        (change,) = found.units
        assert (change.variable, change.distance) == ("glucose", moved / 1000)
        assert change.before == {"mg/dL": 1.0}
        assert change.after["mmol/L"] == moved / 1000


def test_few_readings_have_no_mix() -> None:
    """Ten readings of a variable say nothing of its units; one without a unit has UNK."""
    before, after = codes([("A//1//x", "rare", 10)]), codes([("A//1//y", "rare", 10)])
    assert compare(before, after).units == ()
    (change,) = compare(before, codes([("A//1", "rare", 10)]), limits=Limits(readings=5)).units
    assert (change.distance, change.before, change.after) == (1.0, {"x": 1.0}, {"UNK": 1.0})


@pytest.mark.parametrize(("after", "shift"), [(86.0, None), (95.0, None), (96.0, 0.5), (46.0, -2.0), (126.0, 2.0)])
def test_a_median_that_moved(after: float, shift: float | None) -> None:
    """In interquartile ranges of before; half of one is told."""
    before = values([("heart_rate", 76.0, 86.0, 96.0, 500)])
    found = compare(codes(BEFORE), codes(BEFORE), before, values([("heart_rate", 0.0, after, 1.0, 500)])).medians
    assert [one.shift for one in found] == ([] if shift is None else [shift])


def test_a_variable_that_never_varied() -> None:
    """Without a range, the shift is in the variable's unit."""
    before, after = values([("gcs_eye", 4.0, 4.0, 4.0, 500)]), values([("gcs_eye", 3.0, 3.0, 4.0, 500)])
    (change,) = compare(codes(BEFORE), codes(BEFORE), before, after).medians
    assert change.shift == -1.0
    few = values([("gcs_eye", 3.0, 3.0, 4.0, 99)])
    assert compare(codes(BEFORE), codes(BEFORE), before, few).medians == ()


def test_two_folders_are_compared(tmp_path: Path, refusal: Callable[[MedaiError], str]) -> None:
    """Quartiles are those of the numbers; rows without variable or number do not count."""
    for name, factor in (("before", 1.0), ("after", 2.0)):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "codes.parquet", codes(BEFORE).to_arrow())
        rows = [("heart_rate", factor * number) for number in range(101)] + [("heart_rate", None), (None, 1e9)]
        events = pl.DataFrame(rows, orient="row", schema={"variable": pl.String, "numeric_value": pl.Float32})
        events = events.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("subject_id"))
        write_table(tmp_path / name / "events.parquet", events.to_arrow())
    assert quartiles(tmp_path / "before" / "events.parquet").rows() == [("heart_rate", 25.0, 50.0, 75.0, 101)]
    found = compare_snapshots(tmp_path / "before", tmp_path / "after")
    assert [(one.variable, one.before, one.after, one.shift) for one in found.medians] == [
        ("heart_rate", 50.0, 100.0, 1.0)
    ]
    (tmp_path / "after" / "codes.parquet").unlink()
    with pytest.raises(DataRefused) as caught:
        compare_snapshots(tmp_path / "before", tmp_path / "after")
    assert "table codes" in refusal(caught.value)
