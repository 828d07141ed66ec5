"""What is planted can be learnt: the share of pairs that one plain feature puts in order, from the tables alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

Database = Callable[..., Path]
Rows = Callable[[Path, str], pl.DataFrame]
DAY = pl.duration(hours=24)


def auroc(scores: pl.Series, truth: pl.Series) -> float:
    """The share of pairs (positive, negative) that the score puts in order; equal scores count half."""
    values, positive = scores.to_numpy().astype(float), truth.to_numpy().astype(bool)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def time(name: str) -> pl.Expr:
    """A column of times."""
    return pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S")


@pytest.fixture(scope="module")
def folder(database: Database) -> Path:
    """A database with much intensive care and no faults."""
    return database("mimic4", 1300, faults=0, intensive=0.5, chart_rows_per_stay=400)


@pytest.fixture(scope="module")
def silent(database: Database) -> Path:
    """The same without a signal."""
    return database("mimic4", 1300, faults=0, intensive=0.5, chart_rows_per_stay=400, signal=0)


@pytest.fixture(scope="module")
def chart(rows: Rows) -> Callable[[Path, str], pl.DataFrame]:
    """One item's readings with their stay's and admission's times."""

    def read(folder: Path, item: str) -> pl.DataFrame:
        stays, admissions = rows(folder, "icu/icustays"), rows(folder, "hosp/admissions")
        readings = rows(folder, "icu/chartevents").filter(pl.col("itemid") == item)
        return (
            readings.select("stay_id", time("charttime"), pl.col("valuenum").cast(float))
            .join(stays.select("stay_id", "hadm_id", time("intime"), time("outtime")), on="stay_id")
            .join(admissions.select("hadm_id", time("deathtime")), on="hadm_id")
        )

    return read


Chart = Callable[[Path, str], pl.DataFrame]


def by_stay(readings: pl.DataFrame) -> pl.DataFrame:
    """Mean of the first 48 hours, and death in hospital."""
    early = readings.filter(pl.col("charttime") < pl.col("intime") + 2 * DAY)
    return early.group_by("stay_id").agg(pl.col("valuenum").mean(), died=pl.col("deathtime").is_not_null().first())


def test_death_in_hospital_shows_in_the_first_days(folder: Path, silent: Path, chart: Chart) -> None:
    """By the coma scale plainly, by the heart rate less; without a signal not at all."""
    eye = by_stay(chart(folder, "220739"))
    pulse = by_stay(chart(folder, "220045"))
    assert auroc(-eye["valuenum"], eye["died"]) > 0.75
    assert auroc(pulse["valuenum"], pulse["died"]) > 0.65
    nothing = by_stay(chart(silent, "220045"))
    assert 0.4 < auroc(nothing["valuenum"], nothing["died"]) < 0.6


def test_death_within_a_day_shows_among_those_who_die(folder: Path, silent: Path, chart: Chart) -> None:
    """Readings of the last 24 hours are worse than earlier ones of the same patients."""

    def soon(where: Path) -> float:
        readings = chart(where, "220045").drop_nulls("deathtime")
        return auroc(readings["valuenum"], readings.select(pl.col("deathtime") - pl.col("charttime") < DAY).to_series())

    assert soon(folder) > 0.58
    assert 0.42 < soon(silent) < 0.58


def test_leaving_shows_a_day_before(folder: Path, chart: Chart) -> None:
    """Whoever lives is better in the last 24 hours of the stay."""
    readings = chart(folder, "220045").filter(pl.col("deathtime").is_null())
    leaving = readings.select(pl.col("outtime") - pl.col("charttime") < DAY).to_series()
    assert auroc(-readings["valuenum"], leaving) > 0.53


@pytest.mark.parametrize(
    ("item", "codes", "sign", "least"),
    [
        ("50931", ("25000", "E119", "25060", "E1140"), 1, 0.8),
        ("50983", ("2761", "E871"), -1, 0.8),
        ("50885", ("5715", "K7460"), 1, 0.75),
        ("51222", ("5789", "K922"), -1, 0.75),
        ("50818", ("496", "J449"), 1, 0.75),
        ("51003", ("41071", "I214"), 1, 0.75),
    ],
)
def test_illnesses_show_in_results(
    item: str, codes: tuple[str, ...], sign: int, least: float, folder: Path, silent: Path, rows: Rows
) -> None:
    """Each moves its own test, not so far that it gives itself away; without a signal none does."""

    def shown(where: Path) -> float:
        intensive = rows(where, "icu/icustays")["hadm_id"].implode()
        labs = rows(where, "hosp/labevents").filter((pl.col("itemid") == item) & pl.col("hadm_id").is_in(intensive))
        means = labs.group_by("hadm_id").agg(pl.col("valuenum").cast(float).mean())
        ill = rows(where, "hosp/diagnoses_icd").filter(pl.col("icd_code").is_in(codes))["hadm_id"]
        return auroc(sign * means["valuenum"], means["hadm_id"].is_in(ill.implode()))

    assert least < shown(folder) < 0.99
    assert 0.38 < shown(silent) < 0.62


def test_kidney_injury_is_that_of_kdigo(folder: Path, rows: Rows) -> None:
    """Creatinine rises by half or by 0.3 mg/dL with the code and never without; urine falls below 0.5 mL/kg/h."""
    intensive = rows(folder, "icu/icustays")
    labs = rows(folder, "hosp/labevents").filter(
        (pl.col("itemid") == "50912") & pl.col("hadm_id").is_in(intensive["hadm_id"].implode())
    )
    value = pl.col("valuenum").cast(float)
    rise = (
        labs.group_by("hadm_id")
        .agg(ratio=value.max() / value.min(), step=value.max() - value.min(), count=pl.len())
        .filter(pl.col("count") > 3)
    )
    injured = rise.select((pl.col("ratio") >= 1.5) | (pl.col("step") >= 0.31)).to_series()
    codes = rows(folder, "hosp/diagnoses_icd").filter(pl.col("icd_code").is_in(["5849", "N179"]))["hadm_id"]
    coded = rise["hadm_id"].is_in(codes.implode())
    assert injured.filter(coded).mean() > 0.85
    assert injured.filter(~coded).mean() < 0.05

    urine = (
        rows(folder, "icu/outputevents").join(intensive, on="stay_id").with_columns(time("charttime"), time("outtime"))
    )
    late = urine.filter((pl.col("outtime") - pl.col("charttime") < DAY) & (pl.col("los").cast(float) > 3))
    sums = late.group_by("stay_id", "hadm_id").agg(pl.col("value").cast(float).sum())
    assert auroc(-sums["value"], sums["hadm_id"].is_in(codes.implode())) > 0.8
