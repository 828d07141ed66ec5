"""MIMIC-IV's tables, official and generated, become the same canonical tables as MIMIC-III's."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.sources.mimic4 import Mimic4, names, raw_files, read
from medai.sources.synthetic import SyntheticHospital, generate
from medai.sources.synthetic.hospital_tables import COLUMNS
from medai.tables import read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

CONFIG = Mimic4(kind="mimic4")
HOSPITAL = {
    "hosp/patients": "10,F,64,2150,2014 - 2016,\n11,M,91,2160,2014 - 2016,2160-03-09\n",
    "hosp/admissions": "10,20,2152-05-01 08:00:00,2152-05-09 12:00:00,,EW EMER.,P1,ER,HOME,Medicare,English,SINGLE,"
    "BLACK/CARIBBEAN ISLAND,,,0\n"
    "11,21,2160-03-01 00:00:00,2160-03-09 05:00:00,2160-03-09 04:00:00,URGENT,P2,ER,DIED,Private,English,,"
    "HISPANIC OR LATINO,,,1\n",
    "icu/icustays": "10,20,30,MICU,SICU,2152-05-01 10:00:00,2152-05-03 10:00:00,2\n"
    "11,21,31,CVICU,CVICU,2160-03-01 06:00:00,2160-03-09 04:30:00,7.9\n",
    "hosp/d_labitems": "50931,Glucose,Blood,Chemistry\n",
    "icu/d_items": "220045,Heart Rate,HR,chartevents,Vitals,bpm,Numeric,,\n",
    "icu/chartevents": "10,20,30,,2152-05-01 11:00:00,2152-05-01 11:20:00,220045,88,88,bpm,0\n"
    "11,21,31,,2160-03-01 07:00:00,2160-03-01 07:10:00,223761,98.6,98.6,°F,0\n"
    "11,21,31,,2160-03-01 07:00:00,2160-03-01 07:10:00,223761,98.6,98.6,°F,0\n",
    "hosp/labevents": "1,10,,40,50931,P1,2152-04-01 09:00:00,2152-04-01 10:00:00,___,101,mg/dL,70,105,,ROUTINE,"
    '"Hemolyzed, slightly.\nRepeat."\n'
    "2,10,20,41,50931,P1,2152-05-01 12:00:00,,120,120,mg/dL,70,105,,STAT,\n",
    "icu/outputevents": "",
    "hosp/diagnoses_icd": "10,20,1,A419,10\n",
}
"""Two patients of MIMIC-IV's form: nobody."""


@pytest.fixture
def write_mimic4(tmp_path: Path) -> Callable[..., Path]:
    """Write a small MIMIC-IV; keywords (module_table) replace a table's rows."""

    def write(folder: str = "mimic4", **tables: str) -> Path:
        root = tmp_path / folder
        for name, rows in HOSPITAL.items():
            file = root / f"{name}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = tables.get(name.replace("/", "_"), rows)
            file.write_text(COLUMNS[name].replace(" ", ",") + "\n" + rows, encoding="utf-8")
        return root

    return write


def tables_of(path: Path, folder: Path, config: Mimic4 = CONFIG) -> tuple[dict[str, int], dict[str, pl.DataFrame]]:
    """Counts and tables; stays and labels in the order of the site's stay numbers."""
    folder.mkdir()
    facts = read(config, path, folder)
    tables = {name: pl.DataFrame(read_table(folder / f"{name}.parquet")) for name in ("events", "stays", "labels")}
    order = pl.DataFrame(read_table(folder / "stay_identifiers.parquet"))
    for name in ("stays", "labels"):
        tables[name] = tables[name].join(order, on="stay_id").sort(pl.col("site_id").cast(pl.Int64))
    return facts.counts, tables


def test_rows_become_events(tmp_path: Path, write_mimic4: Callable[..., Path]) -> None:
    """Stored times count, a missing one is the delay's; a row that stands twice is one; units are converted."""
    counts, tables = tables_of(write_mimic4(), tmp_path / "out")
    assert counts == {"age_over_89": 1, "no_rows_outputevents": 1, "same_row_twice": 1}
    columns = ("code", "time", "known_time", "variable", "numeric_value", "text_value", "link")
    assert tables["events"].sort("time").select(columns).rows() == [
        ("LAB//50931//mg/dL", datetime(2152, 4, 1, 9), datetime(2152, 4, 1, 10), "glucose", 101.0, None, "none"),
        (
            "CHART//220045//bpm",
            datetime(2152, 5, 1, 11),
            datetime(2152, 5, 1, 11, 20),
            "heart_rate",
            88.0,
            None,
            "admission",
        ),
        ("LAB//50931//mg/dL", datetime(2152, 5, 1, 12), datetime(2152, 5, 1, 14), "glucose", 120.0, None, "admission"),
        (
            "CHART//223761//°F",
            datetime(2160, 3, 1, 7),
            datetime(2160, 3, 1, 7, 10),
            "temperature",
            37.0,
            None,
            "admission",
        ),
    ]


def test_ages_come_from_the_anchor(tmp_path: Path, write_mimic4: Callable[..., Path]) -> None:
    """64 in 2150 is 66 in 2152; an anchor of 91 is 90, whenever."""
    _, tables = tables_of(write_mimic4(), tmp_path / "out")
    stays, labels = tables["stays"], tables["labels"]
    assert stays["age"].to_list() == [66.0, 90.0]
    assert stays["race_group"].to_list() == ["black", "hispanic"]
    assert stays["record_fault"].to_list() == [None, None]
    assert labels["in_hospital_death"].to_list() == [0, 1]
    assert labels["transferred"].to_list() == [1, 0]
    assert labels["hours_to_death"].to_list() == [None, 190.0]


def test_diagnoses_have_their_version(tmp_path: Path, write_mimic4: Callable[..., Path]) -> None:
    """ICD's version and code, at discharge."""
    config = Mimic4(kind="mimic4", tables=("diagnoses_icd",))
    _, tables = tables_of(write_mimic4(), tmp_path / "out", config)
    assert tables["events"].select("code", "time").rows() == [("DIAGNOSIS//ICD//10//A419", datetime(2152, 5, 9, 12))]


def test_mimic3s_folder_is_told(
    tmp_path: Path, write_mimic3: Callable[..., Path], refusal: Callable[[MedaiError], str]
) -> None:
    """Tables in one folder are MIMIC-III's."""
    with pytest.raises(DataRefused) as caught:
        raw_files(CONFIG, write_mimic3())
    assert "source mimic3" in refusal(caught.value)


def test_what_a_problem_may_speak_of() -> None:
    """MIMIC-IV charts neither the coma scale's total nor capillary refill under items of the vocabulary."""
    known = names(CONFIG)
    assert "gcs_total" not in known.variables
    assert "heart_rate" in known.variables
    assert "race_group" in known.static


@pytest.fixture(scope="module", params=["2.2", "3.1"])
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A synthetic hospital, ingested and validated, with what was planted in it."""
    folder = tmp_path_factory.mktemp("hospital")
    config = SyntheticHospital(
        kind="synthetic", layout="hospital", subjects=250, faults=0.1, version=request.param, size=32
    )
    raw = generate(config, folder)
    workspace = Workspace(folder / "home")
    snapshot = ingest(workspace, CONFIG, raw).record
    report = validate(workspace, snapshot, catalogue_suite("mimic4")).record
    planted = json.loads((raw / "planted_faults.json").read_text())
    return {"snapshot": snapshot, "report": report, "planted": planted, "workspace": workspace}


def test_planted_faults_are_found(hospital: dict[str, Any]) -> None:
    """What the generator planted in stays and rows is set aside under its name, or settled by a stated rule."""
    planted, report, counts = hospital["planted"]["faults"], hospital["report"], hospital["snapshot"].counts
    assert report.passed
    assert counts["same_row_twice"] == planted["duplicate_row"]
    assert report.set_aside["stay_orphan_admission"] == planted["orphan_stay"]
    assert report.set_aside["stay_impossible_dates"] == planted["stay_out_before_in"]
    found = {failure.reason: failure.unexpected for failure in report.failures}
    assert found["implausible_heart_rate"] >= planted["heart_rate_0"] > 0
    # Fahrenheit under the item for Celsius.
    assert found["implausible_temperature"] >= planted["fahrenheit_in_celsius_item"] > 0
    assert found["event_outside_admission"] > 0.8 * planted["event_outside_admission"] > 0
    assert found["not_a_number"] > 0
    assert report.warned["lab_before_admission"] > 0.9 * hospital["planted"]["history"]["lab_before_admission"]
    assert report.warned["event_without_admission"] >= hospital["planted"]["history"]["lab_without_admission"]


def test_known_time_never_comes_before_time(hospital: dict[str, Any]) -> None:
    """Nothing is known before it happened."""
    folder = hospital["workspace"].folder("ingest", hospital["snapshot"].key)
    events = pl.DataFrame(read_table(folder / "events.parquet", ["time", "known_time", "variable", "numeric_value"]))
    assert (events["known_time"] >= events["time"]).all()
    oxygen = events.filter(pl.col("variable") == "fio2")["numeric_value"].drop_nulls()
    assert oxygen.median() < 1.0  # type: ignore[operator]
