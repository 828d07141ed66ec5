"""The large databases: equal bytes whoever makes them, growing, skewed, consistent, in the publishers' columns."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from medai.errors import ServiceFailed
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.synthetic import SyntheticDatabase, generate
from medai.sources.synthetic.database import population
from medai.sources.synthetic.hospital_tables import COLUMNS

Database = Callable[..., Path]
Rows = Callable[[Path, str], pl.DataFrame]


def config(layout: str = "mimic4", **fields: Any) -> SyntheticDatabase:
    """A small configuration."""
    chosen = {"kind": "synthetic", "layout": layout, "subjects": 300, "chart_rows_per_stay": 200}
    return SyntheticDatabase.model_validate(chosen | fields)


def digest(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def time(name: str) -> pl.Expr:
    """A column of times."""
    return pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(("layout", "golden"), [("mimic3", "68ec22f144cffd78"), ("mimic4", "390bc74d6f5cd7f8")])
def test_the_text_of_a_seed_is_known(layout: str, golden: str, tmp_path: Path) -> None:
    """Golden output: what a seed makes is changed on purpose alone, and generation's VERSION with it."""
    folder = generate(config(layout, subjects=40, compressed=False), tmp_path)
    whole = hashlib.sha256()
    for file in sorted(folder.rglob("*.csv")):
        text = file.read_bytes()
        whole.update(text if text.count(b"\n") > 1 else b"")
    assert whole.hexdigest()[:16] == golden


@pytest.mark.parametrize("layout", ["mimic3", "mimic4"])
def test_bytes_do_not_depend_on_how_many_processes_made_them(layout: str, tmp_path: Path) -> None:
    """One process, or two that finish in any order; another seed makes others."""
    made = {}
    for name, workers, seed in (("one", 1, 0), ("two", 2, 0), ("other", 1, 1)):
        (tmp_path / name).mkdir()
        made[name] = digest(generate(config(layout, seed=seed), tmp_path / name, workers))
    assert made["one"] == made["two"]
    chart = next(name for name in made["one"] if "chartevents" in name.lower())
    assert made["one"][chart] != made["other"][chart]


@pytest.mark.parametrize("layout", ["mimic3", "mimic4"])
def test_a_larger_database_begins_with_the_smaller_one(layout: str, tmp_path: Path) -> None:
    """Line by line in every table, whether the smaller one ends within a block or not, planted faults included."""
    texts = {}
    for subjects in (100, 128, 200):
        (tmp_path / f"{subjects}").mkdir()
        folder = generate(config(layout, subjects=subjects, faults=0.1, compressed=False), tmp_path / f"{subjects}")
        texts[subjects] = {file.relative_to(folder): file.read_text() for file in folder.rglob("*.csv")}
    for table, text in texts[200].items():
        assert text.startswith(texts[128][table]), table
        assert texts[128][table].startswith(texts[100][table]), table
    grown = next(table for table in texts[100] if "chartevents" in table.name.lower())
    assert len(texts[100][grown]) < len(texts[128][grown]) < len(texts[200][grown])


@pytest.mark.parametrize("layout", ["mimic3", "mimic4"])
def test_headers_are_those_of_the_mapping(layout: str, database: Database, rows: Rows) -> None:
    """Every table that the reader describes is there, each column in its place; MIMIC-III's in capitals."""
    folder = database(layout, 300)
    mapping = (Mimic3 if layout == "mimic3" else Mimic4).mapping()
    files = {file.name.split(".")[0].lower(): file for file in folder.rglob("*.csv.gz")}
    for table, header in mapping.headers.items():
        name = files[table].relative_to(folder).as_posix().removesuffix(".csv.gz")
        assert rows(folder, name).columns == header.split(), table
    if layout == "mimic3":
        assert all(file.name.removesuffix(".csv.gz").isupper() for file in files.values())
        assert pl.read_csv(files["patients"], infer_schema=False).columns[0] == "ROW_ID"
    else:
        found = {file.relative_to(folder).as_posix().removesuffix(".csv.gz") for file in files.values()}
        assert set(COLUMNS) <= found
        assert {"icu/procedureevents", "hosp/emar"} <= found


def test_without_faults_everything_fits_together(database: Database, rows: Rows) -> None:
    """Keys are met, times in order, deaths told alike, nothing is charted outside its stay; no fault is counted."""
    folder = database("mimic4", 600, faults=0, intensive=0.5)
    patients, admissions = rows(folder, "hosp/patients"), rows(folder, "hosp/admissions")
    stays, chart = rows(folder, "icu/icustays"), rows(folder, "icu/chartevents")
    assert patients["subject_id"].n_unique() == patients.height == 600
    assert admissions["hadm_id"].n_unique() == admissions.height
    assert stays["stay_id"].n_unique() == stays.height
    assert set(admissions["subject_id"]) == set(patients["subject_id"])
    assert set(chart["stay_id"]) == set(stays["stay_id"])
    both = stays.join(admissions, on=["subject_id", "hadm_id"]).select(
        time("intime"), time("outtime"), time("admittime"), time("dischtime"), time("deathtime")
    )
    assert both.height == stays.height
    assert (both["admittime"] <= both["intime"]).all()
    assert (both["intime"] < both["outtime"]).all()
    assert (both["outtime"] <= both["dischtime"]).all()
    assert both["admittime"].dt.year().is_between(2110, 2215).all()
    died = admissions.filter(pl.col("hospital_expire_flag") == "1")
    assert died["subject_id"].n_unique() == died.height > 20
    dead = died.join(patients, on="subject_id")
    assert (dead["deathtime"] == dead["dischtime"]).all()
    assert (dead["deathtime"].str.head(10) == dead["dod"]).all()
    last = admissions.group_by("subject_id").agg(time("admittime").max().alias("last"))
    assert (died.join(last, on="subject_id").select(time("admittime") == pl.col("last")).to_series()).all()
    ordered = admissions.with_columns(time("admittime"), time("dischtime")).sort("subject_id", "admittime")
    overlap = (pl.col("admittime") < pl.col("dischtime").shift(1)) & (
        pl.col("subject_id") == pl.col("subject_id").shift(1)
    )
    assert ordered.select(overlap.sum()).item() == 0
    timed = chart.join(stays, on="stay_id").select(time("charttime"), time("intime"), time("outtime"))
    assert timed.select((pl.col("charttime").is_between("intime", "outtime")).all()).item()
    assert chart.unique().height == chart.height
    moves = rows(folder, "hosp/transfers")
    assert set(moves["hadm_id"]) == set(admissions["hadm_id"])
    assert moves.filter(pl.col("outtime") < pl.col("intime")).height == 0
    assert set(chart["itemid"]) <= set(rows(folder, "icu/d_items")["itemid"])
    codes = rows(folder, "hosp/diagnoses_icd").join(
        rows(folder, "hosp/d_icd_diagnoses"), on=["icd_code", "icd_version"], how="anti"
    )
    assert codes.height == 0


def test_it_is_skewed_as_hospitals_are(database: Database, rows: Rows) -> None:
    """Long tails of stays and admissions, busier units, the mix of codes and of years; rows as asked for."""
    folder = database("mimic4", 2000)
    stays, admissions = rows(folder, "icu/icustays"), rows(folder, "hosp/admissions")
    length = stays["los"].cast(float)
    length = length.filter(length > 0)
    assert 1.6 < length.median() < 2.4
    assert 1.4 < length.mean() / length.median() < 2.2
    assert length.max() > 15
    counts = admissions.group_by("subject_id").len()["len"]
    assert 1.35 < counts.mean() < 1.75
    assert (counts == 1).mean() > 0.7
    assert counts.max() >= 15
    chart = rows(folder, "icu/chartevents")
    assert 0.85 < chart.height / stays.height / 700 < 1.15
    assert stays["los"].cast(float).mean() * 24 == pytest.approx(population.MEAN_STAY / 60, rel=0.1)
    assert admissions.height * 0.2 * 1.08 / 2000 < population.STAYS_A_PATIENT * 0.25
    an_hour = (
        chart.filter(pl.col("itemid") == "220045").group_by("stay_id").len().join(stays, on="stay_id")
        .group_by("first_careunit").agg(pl.col("len").sum() / (pl.col("los").cast(float).sum() * 24))
    )  # fmt: skip
    pace = dict(an_hour.iter_rows())
    assert pace["Cardiac Vascular Intensive Care Unit (CVICU)"] > 1.3 * pace["Coronary Care Unit (CCU)"]
    intensive = admissions.filter(pl.col("hadm_id").is_in(stays["hadm_id"].implode()))
    assert 0.08 < (intensive["hospital_expire_flag"] == "1").mean() < 0.17
    groups = rows(folder, "hosp/patients")["anchor_year_group"].value_counts()
    assert groups.height == 5
    assert groups["count"].min() > 300
    by_version = rows(folder, "hosp/diagnoses_icd")["icd_version"].value_counts(normalize=True)
    assert by_version["proportion"].min() > 0.35
    early = rows(folder, "icu/chartevents").select(time("storetime") < time("charttime")).to_series().mean()
    assert 0.08 < early < 0.16


def test_both_layouts_tell_of_the_same_hospital(database: Database, rows: Rows) -> None:
    """Patients, admissions, stays and times are equal; half of MIMIC-III was charted in the older system."""
    four, three = database("mimic4", 300, faults=0), database("mimic3", 300, faults=0)
    for column, (new, old) in {
        "intime": ("icu/icustays", "ICUSTAYS"),
        "deathtime": ("hosp/admissions", "ADMISSIONS"),
        "charttime": ("icu/chartevents", "CHARTEVENTS"),
        "subject_id": ("hosp/patients", "PATIENTS"),
    }.items():
        assert rows(four, new)[column].equals(rows(three, old)[column]), column
    chart = rows(three, "CHARTEVENTS")
    assert {"211", "220045", "184", "220739", "678", "223761"} <= set(chart["itemid"])
    assert {"carevue", "metavision"} == set(rows(three, "ICUSTAYS")["dbsource"])
    assert {"4 Spontaneously", "Spontaneously", "1.0 ET/Trach", "No Response-ETT"} <= set(chart["value"])
    old = rows(three, "PATIENTS").filter(pl.col("dob") < "2000")
    assert old.height == (rows(four, "hosp/patients")["anchor_age"] == "91").sum()


def test_drift_moves_levels_over_the_years(database: Database, rows: Rows) -> None:
    """Glucose rises from the first group of years to the last, with drift; without it, nothing moves."""

    def rise(drift: float) -> float:
        folder = database("mimic4", 600, drift=drift, faults=0, chart_rows_per_stay=100)
        labs = rows(folder, "hosp/labevents").filter(pl.col("itemid") == "50931")
        both = labs.join(rows(folder, "hosp/patients"), on="subject_id")
        means = dict(both.group_by("anchor_year_group").agg(pl.col("valuenum").cast(float).mean()).iter_rows())
        return float(means["2020 - 2022"] - means["2008 - 2010"])

    assert rise(2) - rise(0) > 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_size() -> None:
    """20,000 patients take no more than a few blocks do: far below a gigabyte in the process that makes them."""
    script = (
        "import sys, tempfile; from pathlib import Path\n"
        "from medai.sources.synthetic import SyntheticDatabase, generate\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    generate(SyntheticDatabase(kind='synthetic', layout='mimic4', subjects=int(sys.argv[1]),\n"
        "        chart_rows_per_stay=50), Path(folder), workers=1)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )

    def peak(patients: int) -> float:
        """In MiB."""
        arguments = [sys.executable, "-c", script, str(patients)]
        return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout) / 1024

    assert peak(20_000) < min(peak(2000) + 60, 400)


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figure that is needed."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with pytest.raises(ServiceFailed, match="not enough space") as raised:
        generate(config(subjects=300_000, chart_rows_per_stay=3600), tmp_path)
    assert "GB free" in raised.value.expected
    assert raised.value.received == "0.0 GB"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"subjects": 9}, "greater than or equal to 10"),
        ({"subjects": 1_000_001}, "less than or equal to 1000000"),
        ({"chart_rows_per_stay": 10_000}, "less than or equal to 8000"),
        ({"rates": {"unit_mixx": 0.1}}, "unit_mix"),
        ({"rates": {"error_row": 0.1}}, "MIMIC-IV has no column"),
        ({"rates": {"text_in_value": 0.5, "implausible_value": 0.5, "unit_mix": 0.1}}, "add up to a share of 1."),
        ({"drift": 3}, "less than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    """Bounds, unknown faults, faults that a layout cannot show, shares above one."""
    with pytest.raises(ValueError, match=message):
        config(**fields)
