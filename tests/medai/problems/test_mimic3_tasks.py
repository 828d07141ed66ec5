"""The benchmark's and YAIB's tasks on the real MIMIC-III demo, beside counts made plainly from its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from medai.cohort import select
from medai.cohort.kidney import kidney_labels
from medai.ingestion import ingest
from medai.problem import Problem, load_problem
from medai.records import Cohort
from medai.splitting import split
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

pytestmark = pytest.mark.data

ROOT = [136, 126, 115, 114]
"""Stays left, as the benchmark's own code leaves them before any task: all; one ward and unit; the only one of the
admission; 18 years or older."""


@pytest.fixture(scope="module")
def demo() -> Path:
    """The demo's folder."""
    data = os.environ.get("MEDAI_TEST_DATA")
    if not data or not (Path(data) / "mimic3_demo").is_dir():
        pytest.skip("MEDAI_TEST_DATA names no folder with mimic3_demo")
    return Path(data) / "mimic3_demo"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One for all tasks: those that read alike share a snapshot."""
    return Workspace(tmp_path_factory.mktemp("tasks"))


Chosen = Callable[[str], tuple[Problem, Cohort, pl.DataFrame, Path, Path]]


@pytest.fixture(scope="module")
def chosen(demo: Path, workspace: Workspace) -> Chosen:
    """A problem of the catalogue with its cohort, the rows, the snapshot's folder and that of the validation."""

    def choose(name: str) -> tuple[Problem, Cohort, pl.DataFrame, Path, Path]:
        problem = load_problem(name)
        snapshot = ingest(workspace, problem.input.source, demo).record
        quality = validate(workspace, snapshot, catalogue_suite("mimic3")).record
        cohort = select(workspace, snapshot, quality, problem.cohort, problem.outputs).record
        assert sum(split(workspace, snapshot, cohort, problem.split).record.samples.values()) == cohort.samples
        rows = pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")
        return (
            problem,
            cohort,
            rows,
            workspace.folder("ingest", snapshot.key),
            workspace.folder("validate", quality.key),
        )

    return choose


@pytest.fixture(scope="module")
def plain(demo: Path) -> pl.DataFrame:
    """The benchmark's 114 stays from the files: hours until the end and until death, null if not in hospital.

    As the benchmark has it, a death is in hospital if its date or its time lies between admission and discharge.
    """
    tables = {}
    for name in ("ICUSTAYS", "ADMISSIONS", "PATIENTS"):
        found = [path for path in demo.iterdir() if path.name.upper().startswith(f"{name}.CSV")]
        tables[name] = pl.read_csv(found[0], infer_schema=False).rename(str.lower)
    dates = ("intime", "outtime", "deathtime", "admittime", "dischtime", "dod", "dob")
    moments = {name: pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S") for name in dates}
    stays = tables["ICUSTAYS"].filter(
        pl.col("first_careunit") == pl.col("last_careunit"), pl.col("first_wardid") == pl.col("last_wardid")
    )
    stays = stays.filter(pl.len().over("hadm_id") == 1)
    stays = stays.join(tables["ADMISSIONS"].drop("subject_id", "row_id"), on="hadm_id")
    stays = stays.join(tables["PATIENTS"].drop("row_id"), on="subject_id")
    stays = stays.with_columns(**moments)
    stays = stays.filter((pl.col("intime") - pl.col("dob")).dt.total_days() >= 18 * 365.2425)
    inside = [pl.col(name).is_between("admittime", "dischtime").fill_null(False) for name in ("dod", "deathtime")]
    dies = (pl.col("deathtime") - pl.col("intime")).dt.total_seconds() / 3600
    return stays.select(
        "hadm_id",
        lasts=(pl.col("outtime") - pl.col("intime")).dt.total_seconds() / 3600,
        dies=pl.when(pl.any_horizontal(inside)).then(dies),
    )


def lines(cohort: Cohort) -> list[int]:
    """Samples left after each line of the attrition table."""
    return [line.samples for line in cohort.attrition]


def test_decompensation(chosen: Chosen, plain: pl.DataFrame) -> None:
    """Every hour from the 5th on until discharge or death; 1 where death comes within 24 hours."""
    expected = []
    for _, lasts, dies in plain.rows():
        for hour in range(5, int(lasts) + 1):
            if dies is None or hour < dies:
                expected.append(int(dies is not None and dies - hour <= 24))
    _, cohort, rows, *_ = chosen("mimic3_decompensation")
    assert lines(cohort)[:4] == ROOT
    assert lines(cohort)[4:] == [10941, 10941, 10863, 10863]
    assert (len(expected), sum(expected)) == (10863, 456)
    assert cohort.samples == len(expected)
    assert cohort.classes["death"]["death within 24 h"] == sum(expected)
    assert cohort.subjects == 86
    assert rows["sample_id"].n_unique() == rows.height


def test_length_of_stay(chosen: Chosen, plain: pl.DataFrame) -> None:
    """What is left at every hour from the 5th on, in the benchmark's ten classes."""
    edges = [day * 24 for day in (1, 2, 3, 4, 5, 6, 7, 8, 14)]
    counts = [0] * 10
    for _, lasts, _ in plain.rows():
        for hour in range(5, int(lasts) + 1):
            if lasts > hour:
                counts[sum(lasts - hour >= edge for edge in edges)] += 1
    problem, cohort, *_ = chosen("mimic3_length_of_stay")
    assert lines(cohort)[:4] == ROOT
    names = next(iter(problem.outputs.values())).names
    assert [cohort.classes["remaining"][name] for name in names] == counts
    assert counts == [2457, 1629, 996, 752, 601, 498, 474, 354, 1451, 1729]


def test_phenotyping(chosen: Chosen, demo: Path) -> None:
    """One sample a stay, at its end; a condition counts the stays whose admission carries one of its codes."""
    _, cohort, rows, raw, _ = chosen("mimic3_phenotyping")
    assert lines(cohort) == [*ROOT, 114, 113, 113]
    assert len(cohort.classes["condition"]) == 25
    stays = pl.read_parquet(raw / "stays.parquet").join(rows, on="stay_id")
    assert stays.height == 113
    assert (stays["prediction_time"] == stays["end"]).all()
    sites = pl.read_parquet(raw / "stay_identifiers.parquet").join(rows, on="stay_id")["site_id"].to_list()
    found = [path for path in demo.iterdir() if path.name.upper().startswith(("DIAGNOSES_ICD.CSV", "ICUSTAYS.CSV"))]
    diagnoses, icustays = (pl.read_csv(path, infer_schema=False).rename(str.lower) for path in sorted(found))
    admissions = icustays.filter(pl.col("icustay_id").is_in(sites))["hadm_id"]
    pneumonia = diagnoses.filter(
        pl.col("hadm_id").is_in(admissions.implode()), pl.col("icd9_code").is_in(["486", "4829", "485", "48241"])
    )
    assert cohort.classes["condition"]["pneumonia"] == 28 >= pneumonia["hadm_id"].n_unique() > 10


def test_mortality_after_a_day(chosen: Chosen, demo: Path) -> None:
    """Stays of 30 hours or more; death before the stay's end. One left the unit on the day of death and died later."""
    _, cohort, *_ = chosen("mimic3_mortality_24h")
    assert lines(cohort) == [136, 135, 101, 101, 101]
    found = [path for path in demo.iterdir() if path.name.upper().startswith("ICUSTAYS.CSV")]
    long = pl.read_csv(found[0]).rename(str.lower).filter(pl.col("los") >= 30 / 24)
    assert long.height == 102  # one of them a newborn's
    assert cohort.classes["death"] == {"left the unit": 80, "died": 21}


def test_kidney_injury(chosen: Chosen) -> None:
    """The onset of every stay is what a plain walk through its readings finds; so is every hour's label."""
    _, cohort, rows, raw, aside = chosen("mimic3_kidney_injury")
    assert lines(cohort) == [136, 135, 132, 129, 8721, 8721, 2943, 2943]
    stays = pl.read_parquet(raw / "stays.parquet")
    labels = kidney_labels(raw, aside, stays)
    away = pl.read_parquet(aside / "set_aside.parquet").filter(pl.col("table") == "events")["row_id"]
    events = pl.read_parquet(raw / "events.parquet").filter(
        pl.col("variable").is_in(["creatinine", "urine_output", "weight"]), ~pl.col("row_id").is_in(away.implode())
    )
    onsets = {stay["stay_id"]: onset_of(stay, events) for stay in stays.iter_rows(named=True)}
    assert 50 < sum(onset is not None for onset in onsets.values()) < 136
    assert dict(labels.select("stay_id", "hours_to_kidney_injury").rows()) == pytest.approx(onsets)
    for stay_id, hour, label in rows.select("stay_id", "hours", "injury").rows():
        onset = onsets[stay_id]
        assert 6 <= hour <= 168
        assert onset is None or onset > hour
        assert label == int(onset is not None and onset - hour <= 6)


def onset_of(stay: dict[str, object], events: pl.DataFrame) -> float | None:
    """Hours from a stay's start to the first sign of KDIGO stage 1, reading by reading."""
    mine = events.filter(pl.col("subject_id") == stay["subject_id"])
    seconds = (pl.col("time") - pl.lit(stay["start"])).dt.total_seconds()
    mine = mine.with_columns(second=seconds).drop_nulls("numeric_value").filter(pl.col("second") >= -168 * 3600)
    mine = mine.filter(pl.col("time") <= stay["end"]).sort("second")

    def of(variable: str) -> list[tuple[int, float]]:
        return mine.filter(pl.col("variable") == variable).select("second", "numeric_value").rows()

    found = []
    creatinine = of("creatinine")
    for second, value in creatinine:
        two_days = min(other for at, other in creatinine if second - 48 * 3600 <= at <= second)
        week = min(other for at, other in creatinine if second - 168 * 3600 <= at <= second)
        if value - two_days > 0.2999 or value / week > 1.49995:
            found.append(second)
    weight = next((value for _, value in of("weight")), 75.0)
    entries: dict[int, float] = {}
    for second, value in of("urine_output"):
        if second >= 0:
            entries[second] = entries.get(second, 0.0) + value
    times = sorted(entries)
    window = 6 * 3600
    for place, until in enumerate(times):
        ran, covered = 0.0, False
        for earlier, later in zip(reversed(times[:place]), reversed(times[1 : place + 1]), strict=True):
            if later - earlier > 24 * 3600:
                break
            begin = max(earlier, until - window)
            ran += entries[later] * (later - begin) / (later - earlier)
            if earlier <= until - window:
                covered = True
                break
        if covered and round(ran / 6 / weight, 4) < 0.5:
            found.append(until)
    return min(found) / 3600 if found else None
