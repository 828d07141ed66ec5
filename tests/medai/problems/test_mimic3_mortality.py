"""The public benchmark's cohort on the real MIMIC-III demo, and on copies of it that were altered by hand."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from medai.cohort import select
from medai.ingestion import ingest
from medai.preprocessing import prepare
from medai.problem import load_problem
from medai.records import Cohort
from medai.splitting import split
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

pytestmark = pytest.mark.data

PROBLEM = load_problem("mimic3_mortality")
HEART_RATE = (",211,", ",220045,")
BENCHMARK = [136, 126, 115, 114, 57, 57]
"""Stays left, as the benchmark's own code leaves them: all; one ward and unit; the only one of the admission; 18 years
or older; 48 hours or longer; with an event in the first 48 hours."""

Change = Callable[[dict[str, pl.DataFrame]], dict[str, pl.DataFrame]]


@pytest.fixture(scope="module")
def demo() -> Path:
    """The real demo."""
    folder = os.environ.get("MEDAI_TEST_DATA")
    if not folder:
        pytest.skip("MEDAI_TEST_DATA does not name a folder of real data")
    return Path(folder) / "mimic3_demo"


@pytest.fixture(scope="module")
def copied(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tables that are read; of the chart its heart rates alone, which every stay of the cohort has."""
    folder = tmp_path_factory.mktemp("demo")
    for table in ("PATIENTS", "ADMISSIONS", "ICUSTAYS", "D_ITEMS", "D_LABITEMS", "LABEVENTS", "OUTPUTEVENTS"):
        shutil.copyfile(demo / f"{table}.csv", folder / f"{table}.csv")
    with gzip.open(demo / "CHARTEVENTS.csv.gz", "rt") as chart, (folder / "CHARTEVENTS.csv").open("w") as out:
        out.writelines(
            line for number, line in enumerate(chart) if number == 0 or any(item in line for item in HEART_RATE)
        )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def alter(copied: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy with some tables changed."""

    def change_tables(change: Change) -> Path:
        root = tmp_path / "altered"
        shutil.copytree(copied, root)
        tables = {file.stem: pl.read_csv(file, infer_schema=False) for file in copied.glob("*.csv")}
        for name, table in change(tables).items():
            table.write_csv(root / f"{name}.csv")
        return root

    return change_tables


def cohort_of(path: Path, home: Path) -> tuple[Cohort, Path]:
    """The problem's cohort from the data at a path, and the folder of its table."""
    workspace = Workspace(home)
    snapshot = ingest(workspace, PROBLEM.input.source, path).record
    quality = validate(workspace, snapshot, catalogue_suite("mimic3")).record
    assert quality.passed
    cohort = select(workspace, snapshot, quality, PROBLEM.cohort, PROBLEM.outputs).record
    return cohort, workspace.folder("select", cohort.key)


def counts_of(cohort: Cohort) -> list[int]:
    """Stays left after each line of the attrition table, without the last, which repeats the one before."""
    assert cohort.attrition[-1].criterion == "selected"
    return [line.samples for line in cohort.attrition[:-1]]


def chosen(copied: Path, *, died: bool) -> dict[str, str]:
    """A stay of the benchmark's cohort whose patient has one admission and one stay in all."""
    stays = pl.read_csv(copied / "ICUSTAYS.csv", infer_schema=False)
    admissions = pl.read_csv(copied / "ADMISSIONS.csv", infer_schema=False)
    once = stays.filter(pl.len().over("subject_id") == 1).join(
        admissions.filter(pl.len().over("subject_id") == 1), on=["subject_id", "hadm_id"]
    )
    same = (pl.col("first_wardid") == pl.col("last_wardid")) & (pl.col("first_careunit") == pl.col("last_careunit"))
    fits = once.filter(same, pl.col("los").cast(pl.Float64) >= 2, pl.col("deathtime").is_not_null() == died)
    return {name: str(value) for name, value in fits.sort("icustay_id").row(0, named=True).items()}


def with_value(table: pl.DataFrame, key: str, row: str, **values: str) -> pl.DataFrame:
    """A table with some fields of one row replaced."""
    return table.with_columns(
        pl.when(pl.col(key) == row).then(pl.lit(value)).otherwise(column).alias(column)
        for column, value in values.items()
    )


def test_the_whole_demo_gives_the_benchmarks_cohort(demo: Path, tmp_path: Path) -> None:
    """57 stays with 17 deaths, by the benchmark's steps, and arrays of 48 hours of 17 variables."""
    root = tmp_path / "demo"
    root.mkdir()
    for file in demo.glob("*.csv*"):
        shutil.copyfile(file, root / file.name)
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, PROBLEM.input.source, root).record
    quality = validate(workspace, snapshot, catalogue_suite("mimic3")).record
    cohort = select(workspace, snapshot, quality, PROBLEM.cohort, PROBLEM.outputs).record
    assert counts_of(cohort) == BENCHMARK
    assert cohort.classes == {"death": {"survived": 40, "died": 17}}
    assert quality.warned["lab_before_admission"] == 5172
    assert {reason for reason in quality.set_aside if reason.startswith("stay_")} == set()
    splits = split(workspace, snapshot, cohort, PROBLEM.split).record
    assert sum(splits.samples.values()) == 57
    arrays = prepare(workspace, snapshot, quality, cohort, PROBLEM.input.preprocessing).record
    assert arrays.arrays["last"].shape == (57, 48, 17)
    assert arrays.counts["samples_without_reading"] == 0
    # What the stricter rule would keep out: stored only after the 48 hours.
    assert arrays.counts["readings_known_later"] == 281


def test_the_heart_rates_alone_give_the_same_cohort(copied: Path, tmp_path: Path) -> None:
    """The copies that are altered below start from the benchmark's counts."""
    cohort, _ = cohort_of(copied, tmp_path / "home")
    assert counts_of(cohort) == BENCHMARK
    assert cohort.classes["death"]["died"] == 17


def test_a_death_behind_discharge_is_no_death_in_hospital(
    copied: Path, alter: Callable[[Change], Path], tmp_path: Path
) -> None:
    """The same 57 stays, 16 deaths."""
    stay = chosen(copied, died=True)
    later = str(int(stay["dischtime"][:4]) + 1) + stay["dischtime"][4:]

    def change(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {
            "PATIENTS": with_value(
                tables["PATIENTS"], "subject_id", stay["subject_id"], dod=later, dod_hosp="", dod_ssn=later
            ),
            "ADMISSIONS": with_value(tables["ADMISSIONS"], "hadm_id", stay["hadm_id"], deathtime=later),
        }

    cohort, _ = cohort_of(alter(change), tmp_path / "home")
    assert counts_of(cohort) == BENCHMARK
    assert cohort.classes["death"] == {"survived": 41, "died": 16}


def test_a_change_of_ward_leaves_the_cohort(copied: Path, alter: Callable[[Change], Path], tmp_path: Path) -> None:
    """One stay less from the first line on; the survivor's label goes with it."""
    stay = chosen(copied, died=False)

    def change(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {"ICUSTAYS": with_value(tables["ICUSTAYS"], "icustay_id", stay["icustay_id"], last_wardid="999")}

    cohort, _ = cohort_of(alter(change), tmp_path / "home")
    assert counts_of(cohort) == [136, 125, 114, 113, 56, 56]
    assert cohort.classes["death"] == {"survived": 39, "died": 17}


def test_a_stay_without_events_leaves_at_the_last_line(
    copied: Path, alter: Callable[[Change], Path], tmp_path: Path
) -> None:
    """57 stays of 48 hours, 56 with a reading."""
    stay = chosen(copied, died=False)

    def change(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {
            name: tables[name].filter(pl.col("subject_id") != stay["subject_id"])
            for name in ("CHARTEVENTS", "LABEVENTS", "OUTPUTEVENTS")
        }

    cohort, _ = cohort_of(alter(change), tmp_path / "home")
    assert counts_of(cohort) == [136, 126, 115, 114, 57, 56]
    assert cohort.classes["death"] == {"survived": 39, "died": 17}


def test_a_patient_of_17_years_leaves_at_the_line_of_ages(
    copied: Path, alter: Callable[[Change], Path], tmp_path: Path
) -> None:
    """One stay less from the third criterion on."""
    stay = chosen(copied, died=True)
    birth = str(int(stay["intime"][:4]) - 17) + "-01-01 00:00:00"

    def change(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {"PATIENTS": with_value(tables["PATIENTS"], "subject_id", stay["subject_id"], dob=birth)}

    cohort, _ = cohort_of(alter(change), tmp_path / "home")
    assert counts_of(cohort) == [136, 126, 115, 113, 56, 56]
    assert cohort.classes["death"] == {"survived": 40, "died": 16}


def test_an_orphan_stay_is_set_aside_in_the_attrition_table(
    copied: Path, alter: Callable[[Change], Path], tmp_path: Path
) -> None:
    """A stay of an admission that nobody knows is a line of its own, before the criteria."""
    stay = chosen(copied, died=False)

    def change(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {"ADMISSIONS": tables["ADMISSIONS"].filter(pl.col("hadm_id") != stay["hadm_id"])}

    cohort, _ = cohort_of(alter(change), tmp_path / "home")
    assert cohort.attrition[1].criterion == "not set aside: stay_orphan_admission"
    assert counts_of(cohort) == [136, 135, 125, 114, 113, 56, 56]
