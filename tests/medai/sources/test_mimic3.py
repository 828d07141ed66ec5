"""MIMIC-III's tables become events, stays and labels; what cannot be trusted is counted, told apart or refused."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.records import sha256_of_file
from medai.sources.mimic3 import Mimic3, names, raw_files, read
from medai.sources.relational import snapshot
from medai.tables import EVENTS, STAYS, Facts, read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

CONFIG = Mimic3(kind="mimic3")
TABLES = ("events", "stays", "labels", "codes", "identifiers", "stay_identifiers", "admission_identifiers")
WriteMimic3 = Callable[..., Path]
Text = Callable[..., str]


def read_to(path: Path, folder: Path, config: Mimic3 = CONFIG) -> tuple[Facts, dict[str, pl.DataFrame]]:
    """Read into a new folder; events, stays and labels carry the site's own number (``site``)."""
    folder.mkdir()
    facts = read(config, path, folder)
    tables = {name: pl.DataFrame(read_table(folder / f"{name}.parquet")) for name in TABLES}
    site = pl.col("site_id").cast(pl.Int64).alias("site")
    people = tables["identifiers"].select("subject_id", site)
    stays = tables["stay_identifiers"].select("stay_id", site)
    tables["events"] = tables["events"].join(people, on="subject_id", maintain_order="left")
    for name in ("stays", "labels"):
        tables[name] = tables[name].join(stays, on="stay_id", maintain_order="left")
    return facts, tables


def of(table: pl.DataFrame, column: str) -> dict[int, Any]:
    """The site's number → a column's value, sorted by the number."""
    return dict(table.sort("site").select("site", column).rows())


def events_of(tables: dict[str, pl.DataFrame], code: str) -> list[tuple[Any, ...]]:
    """(time, known_time, variable, number, text) of a code."""
    columns = ("time", "known_time", "variable", "numeric_value", "text_value")
    return tables["events"].filter(pl.col("code") == code).select(columns).sort("time").rows()


def test_rows_become_events(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """Codes, converted numbers, times, what was stored later, and what a laboratory takes."""
    facts, tables = read_to(write_mimic3(), tmp_path / "out")
    assert facts.unit == "patient"
    assert facts.tables == {"events": 8, "stays": 3, "labels": 3, "codes": 7}
    assert facts.counts == {
        "age_over_89": 1,
        "end_not_given": 1,
        "marked_as_error_chartevents": 1,
        "stay_without_series": 2,
    }
    hour = datetime(2130, 1, 1, 11)
    assert events_of(tables, "CHART//211//BPM") == [
        (hour, datetime(2130, 1, 1, 11, 30), "heart_rate", 88.0, None),
        (datetime(2130, 1, 2, 1), datetime(2130, 1, 2, 1, 5), "heart_rate", None, "ERROR"),
    ]
    # Stored before it was charted: known when it was charted.
    assert events_of(tables, "CHART//223761//?F") == [(hour, hour, "temperature", 37.0, None)]
    assert events_of(tables, "CHART//220739//UNK") == [
        (datetime(2130, 1, 1, 12), datetime(2130, 1, 1, 12), "gcs_eye", 1.0, None)
    ]
    # No stored time: the laboratory's delay.
    assert events_of(tables, "LAB//50931//mmol/L") == [
        (datetime(2130, 1, 1, 7), datetime(2130, 1, 1, 9), "glucose", pytest.approx(126.1092, rel=1e-6), None)
    ]
    # A comparison is no number, whatever stands beside it.
    assert events_of(tables, "LAB//50820//units") == [
        (datetime(2130, 2, 1, 8), datetime(2130, 2, 1, 10), "ph", None, "<6.8")
    ]
    assert events_of(tables, "SUBJECT_FLUID_OUTPUT//40055//mL") == [
        (datetime(2130, 1, 1, 13), datetime(2130, 1, 1, 13, 10), None, 120.0, None)
    ]


def test_events_say_how_they_lie_to_their_admission(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text
) -> None:
    """Before, inside, after; without one, of an unknown one, of another patient's, of an unknown patient."""
    rows = mimic3_text("labevents") + (
        "4,12,22,50931,2130-01-06 10:30:00,100,100,mg/dL,\n"
        "5,12,99,50931,2130-01-02 10:30:00,100,100,mg/dL,\n"
        "6,12,21,50931,2130-01-02 10:30:00,100,100,mg/dL,\n"
        "7,77,,50931,2130-01-02 10:30:00,100,100,mg/dL,\n"
    )
    _, tables = read_to(write_mimic3(labevents=rows), tmp_path / "out")
    labs = tables["events"].filter(pl.col("source_table") == "labevents").sort("source_row")
    assert labs.select("source_row", "link", "hours_outside_admission").rows() == [
        (1, "none", None),
        (2, "admission", -1.0),
        (3, "admission", 0.0),
        (4, "admission", 24.0),
        (5, "unknown_admission", None),
        (6, "other_patient", None),
        (7, "unknown_patient", None),
    ]
    assert labs["admission_id"].is_null().to_list() == [True, False, False, False, True, True, True]


def test_stays_know_their_start_and_labels_the_rest(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """Age of 300 is 90; what was known later stands in the labels alone."""
    _, tables = read_to(write_mimic3(), tmp_path / "out")
    stays, labels = tables["stays"], tables["labels"]
    assert set(STAYS) < set(stays.columns)
    assert of(stays, "age")[33] == 90.0
    assert of(stays, "age")[31] == pytest.approx(59.84, abs=0.01)
    assert of(stays, "age_group") == {31: "45 to 64", 32: "18 to 44", 33: "80 and over"}
    assert of(stays, "gender") == {31: "F", 32: "M", 33: "F"}
    assert of(stays, "ethnicity_group") == {31: "white", 32: "black", 33: "other"}
    assert of(stays, "insurance") == {31: "Medicare", 32: "Private", 33: "Medicaid"}
    assert of(stays, "first_unit") == {31: "MICU", 32: "SICU", 33: "CSRU"}
    assert of(stays, "record_fault") == {31: None, 32: None, 33: None}
    assert of(stays, "has_series") == {31: True, 32: False, 33: False}
    assert of(labels, "in_hospital_death") == {31: 0, 32: 1, 33: 0}
    assert of(labels, "in_unit_death") == {31: 0, 32: 1, 33: None}
    assert of(labels, "length_of_stay_hours") == {31: 120.0, 32: 82.0, 33: None}
    assert of(labels, "hours_to_death") == {31: None, 32: 82.0, 33: None}
    assert of(labels, "transferred") == {31: 0, 32: 1, 33: 0}
    assert not set(stays.columns) & (set(labels.columns) - {"stay_id", "site"})


@pytest.mark.parametrize(
    ("left", "time", "in_unit"),
    [
        ("2130-01-05 10:00:00", "2130-01-05 10:00:00", 1),
        ("2130-01-05 06:00:00", "2130-01-05 10:00:00", 0),
        ("2130-01-05 06:00:00", "", 1),
        ("2130-01-04 23:00:00", "", 0),
    ],
)
def test_a_time_of_death_speaks_before_its_date(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text, left: str, time: str, in_unit: int
) -> None:
    """Who left the unit at six and died on a ward at ten did not die in the unit, though the date is the same."""
    path = write_mimic3(
        icustays=mimic3_text("icustays", ("2130-01-05 10:00:00,3.4167", f"{left},3.4167")),
        admissions=mimic3_text("admissions", ("10:30:00,2130-01-05 10:00:00", f"10:30:00,{time}")),
    )
    _, tables = read_to(path, tmp_path / "out")
    assert of(tables["labels"], "in_unit_death")[32] == in_unit
    assert of(tables["labels"], "in_hospital_death")[32] == 1


def test_codes_are_named(tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text) -> None:
    """Each code with its dictionary's words; an item that no dictionary knows is told."""
    rows = mimic3_text("labevents") + "9,13,23,59999,2130-02-01 09:00:00,1,1,,\n"
    _, tables = read_to(write_mimic3(labevents=rows), tmp_path / "out")
    codes = {row["code"]: row for row in tables["codes"].iter_rows(named=True)}
    assert codes["CHART//211//BPM"]["description"] == "Heart Rate"
    assert (codes["CHART//211//BPM"]["readings"], codes["CHART//211//BPM"]["numbers"]) == (2, 1)
    assert codes["LAB//50820//units"]["category"] == "Blood Gas"
    assert codes["LAB//50820//units"]["variable"] == "ph"
    assert codes["LAB//59999//UNK"]["named"] is False
    assert codes["LAB//50820//units"]["named"] is True


FAULTS = [
    ("orphan_patient", "icustays", [("2,12,22,32", "2,77,22,32")]),
    ("orphan_admission", "icustays", [("2,12,22,32", "2,12,99,32")]),
    ("orphan_admission", "icustays", [("2,12,22,32", "2,12,21,32")]),
    ("impossible_dates", "icustays", [("2130-01-05 10:00:00,3.4167", "2130-01-01 10:00:00,3.4167")]),
    ("impossible_dates", "icustays", [("2130-01-02 00:00:00,2130-01-05", "1/2/30 0:00,2130-01-05")]),
    ("impossible_dates", "admissions", [("2130-01-05 10:30:00,2130-01-05", "2129-01-05 10:30:00,2130-01-05")]),
    ("outside_admission", "icustays", [("2130-01-05 10:00:00,3.4167", "2130-01-06 10:31:00,3.4167")]),
    ("death_before_birth", "patients", [("2130-01-05 00:00:00,2130-01-05 00:00:00,,1", "2099-01-05 00:00:00,,,1")]),
    ("death_before_admission", "patients", [("2130-01-05 00:00:00,2130-01-05 00:00:00,,1", "2129-12-31 00:00:00,,,1")]),
    ("born_after_admission", "patients", [("2100-06-15", "2130-01-03")]),
]


@pytest.mark.parametrize(("fault", "table", "changes"), FAULTS)
def test_a_stay_keeps_the_word_for_its_fault(
    tmp_path: Path,
    write_mimic3: WriteMimic3,
    mimic3_text: Text,
    fault: str,
    table: str,
    changes: list[tuple[str, str]],
) -> None:
    """The stay stays in the table, so that validation sets it aside; others are as before."""
    _, tables = read_to(write_mimic3(**{table: mimic3_text(table, *changes)}), tmp_path / "out")
    assert of(tables["stays"], "record_fault") == {31: None, 32: fault, 33: None}


def test_overlapping_stays_and_admissions_are_told(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text
) -> None:
    """Both of two stays that overlap; stays that touch do not; stays of admissions that overlap."""
    second = mimic3_text("icustays") + "4,11,21,34,metavision,MICU,MICU,50,50,{},2130-01-07 00:00:00,1\n"
    _, tables = read_to(write_mimic3(icustays=second.format("2130-01-06 09:00:00")), tmp_path / "overlap")
    overlap = "overlapping_stays"
    assert of(tables["stays"], "record_fault") == {31: overlap, 32: None, 33: None, 34: overlap}
    _, tables = read_to(write_mimic3("b", icustays=second.format("2130-01-06 10:00:00")), tmp_path / "touch")
    assert of(tables["stays"], "record_fault") == dict.fromkeys((31, 32, 33, 34))
    admissions = mimic3_text("admissions") + (
        "4,11,24,2130-01-08 08:00:00,2130-01-10 12:00:00,,EMERGENCY,ER,HOME,Medicare,,,,WHITE,,,X,0,1\n"
    )
    _, tables = read_to(write_mimic3("c", admissions=admissions), tmp_path / "admissions")
    assert of(tables["stays"], "record_fault")[31] == "overlapping_admissions"


@pytest.mark.parametrize(
    ("written", "number", "text"),
    [
        ("88,88", 88.0, None),
        ("88.5,", 88.5, None),
        ("+88,", 88.0, None),
        ("120/80,", None, "120/80"),
        ('"8,5",', None, "8,5"),
        ("<0.01,0.01", None, "<0.01"),
        ("GREATER THAN 500,", None, "GREATER THAN 500"),
        ("ERROR,", None, "ERROR"),
        ("?,", None, "?"),
        ("1e400,", None, "1e400"),
        ("nan,nan", None, "nan"),
        ("inf,inf", None, "inf"),
        (",", None, None),
        (",77", 77.0, None),
        ("high,77", 77.0, None),
        ("٣,", None, "٣"),
        ("99999,99999", 99999.0, None),
    ],
)
def test_numbers_are_read_by_one_rule(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text, written: str, number: float | None, text: str | None
) -> None:
    """The publisher's number, else a plain decimal text; a comparison, a word or an infinity is none."""
    rows = mimic3_text("chartevents", (",88,88,BPM", f",{written},BPM"))
    _, tables = read_to(write_mimic3(chartevents=rows), tmp_path / "out")
    reading = tables["events"].filter((pl.col("source_table") == "chartevents") & (pl.col("source_row") == 1))
    assert reading.select("numeric_value", "text_value").row(0) == (number, text)


@pytest.mark.parametrize(
    ("value", "number"), [("0.5", 0.5), ("50", 0.5), ("1", 1.0), ("1.0", 1.0), ("100", 1.0), ("21", 0.21)]
)
def test_oxygen_is_a_fraction(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text, value: str, number: float
) -> None:
    """Percentages and fractions under one item, whatever unit stands beside them."""
    rows = mimic3_text("chartevents") + f"7,11,21,31,189,2130-01-01 12:00:00,,,{value},{value},torr,,,,\n"
    facts, tables = read_to(write_mimic3(chartevents=rows), tmp_path / "out")
    (event,) = events_of(tables, "CHART//189//torr")
    assert event[2:4] == ("fio2", pytest.approx(number))
    assert "unit_of_another_quantity" not in facts.counts


def test_rows_that_cannot_be_placed_are_counted(tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text) -> None:
    """A two-digit year, an impossible day, a missing time, patient or item; a unit of another quantity."""
    good = "".join(f"{row},11,21,31,211,2130-01-01 12:{row}:00,,,80,80,mmHg,,,,\n" for row in range(10, 40))
    rows = (
        mimic3_text("chartevents")
        + good
        + (
            "51,11,21,31,211,01/02/30 11:00,,,80,80,BPM,,,,\n"
            "52,11,21,31,211,0030-01-02 11:00:00,,,80,80,BPM,,,,\n"
            "53,11,21,31,211,2130-02-30 11:00:00,,,80,80,BPM,,,,\n"
            "54,11,21,31,211,,,,80,80,BPM,,,,\n"
            "55,,21,31,211,2130-01-01 12:00:00,,,80,80,BPM,,,,\n"
            "56,11,21,31,,2130-01-01 12:00:00,,,80,80,BPM,,,,\n"
            "57,11.0,21.0,31,211,2130-01-01 12:00:00,,,80,80,BPM,,,,\n"
        )
    )
    facts, tables = read_to(write_mimic3(chartevents=rows), tmp_path / "out")
    assert facts.counts["impossible_time_chartevents"] == 4
    assert facts.counts["row_without_subject_chartevents"] == 1
    assert facts.counts["row_without_item_chartevents"] == 1
    assert facts.counts["unit_of_another_quantity"] == 30
    kept = tables["events"].filter(pl.col("source_table") == "chartevents")["source_row"].to_list()
    assert {51, 52, 53, 54, 55, 56}.isdisjoint(kept)
    assert 57 in kept


def test_dates_from_a_spreadsheet_are_refused(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text, refusal: Callable[[MedaiError], str]
) -> None:
    """A table most of whose times cannot be read is not trusted as a whole."""
    rows = mimic3_text("chartevents").replace("2130-01-0", "1/").replace(":00,2", ",2")
    with pytest.raises(DataRefused) as caught:
        read_to(write_mimic3(chartevents=rows), tmp_path / "out")
    assert "chartevents, column charttime" in refusal(caught.value)


def test_keys_that_come_twice_are_settled(tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text) -> None:
    """Of several rows under one key the first by content stays, whatever their order; it is counted."""
    admissions = mimic3_text("admissions")
    again = "9,13,23,2130-02-01 00:00:00,2130-02-09 00:00:00,,ELECTIVE,ER,HOME,Other,,,,ASIAN,,,CABG,0,1\n"
    results = []
    head, _, body = admissions.partition("\n")
    for number, text in enumerate((admissions + again, f"{head}\n{again}{body}")):
        facts, tables = read_to(write_mimic3(f"m{number}", admissions=text), tmp_path / f"out{number}")
        assert facts.counts["key_twice"] == 1
        results.append(tables)
    assert results[0]["stays"].drop("source_id").equals(results[1]["stays"].drop("source_id"))
    assert of(results[0]["stays"], "insurance")[33] == "Medicaid"


def test_ties_are_ordered_by_content(tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text) -> None:
    """At one time: by when it was known, then the most trusted item last, then by value."""
    rows = mimic3_text("chartevents") + (
        "61,11,21,31,225664,2130-01-01 15:00:00,2130-01-01 15:00:00,,140,140,,,,,\n"
        "62,11,21,31,811,2130-01-01 15:00:00,2130-01-01 15:00:00,,130,130,,,,,\n"
        "63,11,21,31,811,2130-01-01 15:00:00,2130-01-01 15:00:00,,120,120,,,,,\n"
        "64,11,21,31,225664,2130-01-01 15:00:00,2130-01-01 15:30:00,,110,110,,,,,\n"
    )
    _, tables = read_to(write_mimic3(chartevents=rows), tmp_path / "out")
    glucose = tables["events"].filter((pl.col("variable") == "glucose") & (pl.col("time") == datetime(2130, 1, 1, 15)))
    assert glucose["source_row"].to_list() == [61, 63, 62, 64]


def _hashes(folder: Path) -> dict[str, str]:
    return {
        file.name: sha256_of_file(file)
        for file in sorted(folder.iterdir())
        if file.name not in ("stays.parquet",)  # its source_id names the bytes of the raw file
    }


def test_order_parts_and_names_change_no_byte(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows shuffled, events in one part or nine, zipped or plain, upper or lower case: one hash."""
    rng = np.random.default_rng(5)
    body = "".join(
        f"{row},{rng.choice((11, 12, 13))},,,{rng.choice((211, 678, 184, 5))},2130-01-0{rng.integers(1, 6)} "
        f"{rng.integers(0, 4):02}:00:00,,,{rng.choice(('80', '98', '1 No Response', 'x'))},,BPM,,,,\n"
        for row in range(100, 2000)
    )
    head, _, first = mimic3_text("chartevents").partition("\n")
    rows = (first + body).splitlines(keepends=True)
    plain = write_mimic3("plain", chartevents=f"{head}\n{''.join(rows)}")
    read_to(plain, tmp_path / "one")
    expected = _hashes(tmp_path / "one")
    rng.shuffle(rows)
    shuffled = write_mimic3("shuffled", name="{}.CSV", chartevents=f"{head.upper()}\n{''.join(rows)}")
    for file in list(shuffled.iterdir()):
        (shuffled / f"{file.stem.upper()}.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    read_to(shuffled, tmp_path / "two")
    assert _hashes(tmp_path / "two") == expected
    monkeypatch.setattr(snapshot.write_snapshot, "__defaults__", (20_000,))
    read_to(plain, tmp_path / "three")
    assert _hashes(tmp_path / "three") == expected


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_change_no_byte(tmp_path: Path, write_mimic3: WriteMimic3, threads: str) -> None:
    """Another process with another number of threads writes the same bytes, those pinned here."""
    path = write_mimic3()
    (tmp_path / "out").mkdir()
    program = (
        "import sys; from pathlib import Path; from medai.sources.mimic3 import Mimic3, read;"
        "read(Mimic3(kind='mimic3'), Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    environment = os.environ | {"POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads}
    subprocess.run([sys.executable, "-c", program, path, tmp_path / "out"], check=True, env=environment)
    assert sha256_of_file(tmp_path / "out" / "events.parquet") == EVENTS_SHA256
    assert sha256_of_file(tmp_path / "out" / "labels.parquet") == LABELS_SHA256


EVENTS_SHA256 = "7b203bcd8b43e3e5bb6ca6797b2cd473974b95aacda2fb84bbf98d946aa55835"
LABELS_SHA256 = "beeef070acd24a4b2da7e0049769824fcb70db8c212934f83913f024b748bb70"
"""A change of these bytes asks for a new ``VERSION`` of the reader."""


def test_identifiers_are_their_owners_alone(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """Patients, stays and admissions of the site stand in files that nobody else can read, and nowhere else."""
    _, tables = read_to(write_mimic3(), tmp_path / "out")
    for name in ("identifiers", "stay_identifiers", "admission_identifiers"):
        assert stat.S_IMODE((tmp_path / "out" / f"{name}.parquet").stat().st_mode) == 0o600
    assert sorted(tables["identifiers"]["site_id"]) == ["11", "12", "13"]
    assert sorted(tables["stay_identifiers"]["site_id"]) == ["31", "32", "33"]
    ids = [*tables["stays"]["subject_id"], *tables["stays"]["stay_id"], *tables["stays"]["admission_id"]]
    assert len(set(ids)) == 9
    assert min(ids) > 1000


def test_events_have_the_canonical_columns(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """The canonical columns first, then the source's own; sorted by subject and time, numbered."""
    _, tables = read_to(write_mimic3(), tmp_path / "out")
    events = tables["events"]
    assert events.columns[: len(EVENTS)] == list(EVENTS)
    assert events["row_id"].to_list() == list(range(events.height))
    assert events.select("subject_id", "time").equals(events.select("subject_id", "time").sort("subject_id", "time"))
    assert (events["known_time"] >= events["time"]).all()


def test_other_tables_are_read_on_request(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """Diagnoses happen at the end of their admission, which is when they are written."""
    path = write_mimic3(diagnoses_icd="row_id,subject_id,hadm_id,seq_num,icd9_code\n1,11,21,1,99592\n2,12,22,1,78552\n")
    config = Mimic3(kind="mimic3", tables=("chartevents", "diagnoses_icd"))
    _, tables = read_to(path, tmp_path / "out", config)
    (event,) = events_of(tables, "DIAGNOSIS//ICD//9//99592")
    assert event[:3] == (datetime(2130, 1, 9, 12), datetime(2130, 1, 9, 12), None)
    assert "labevents" not in set(tables["events"]["source_table"])


def test_delays_are_the_sites_to_set(tmp_path: Path, write_mimic3: WriteMimic3) -> None:
    """Another laboratory is slower."""
    _, tables = read_to(write_mimic3(), tmp_path / "out", Mimic3(kind="mimic3", delay_minutes={"labevents": 0}))
    (event,) = events_of(tables, "LAB//50820//units")
    assert event[0] == event[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tables": ["chartevent"]}, "did you mean 'chartevents'?"),
        ({"tables": ["noteevents"]}, "no event table"),
        ({"tables": ["labevents", "labevents"]}, "named once"),
        ({"tables": []}, "at least 1"),
        ({"delay_minutes": {"labs": 5}}, "no event table"),
        ({"delay_minutes": {"labevents": -5}}, "0 minutes or more"),
    ],
)
def test_a_misspelt_configuration_is_refused(keys: dict[str, Any], message: str) -> None:
    """Before any work, with the near match."""
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        Mimic3.model_validate({"kind": "mimic3", **keys})


def test_what_a_problem_may_speak_of() -> None:
    """All 17 variables, the stays' own columns; neither labels nor the word for a fault."""
    known = names(CONFIG)
    assert len(known.variables) == 17
    assert {"age", "gender", "ethnicity_group", "first_unit"} <= set(known.static)
    assert "record_fault" not in known.static
    assert "in_hospital_death" not in known.static


@pytest.mark.parametrize(
    ("break_it", "wrong", "action"),
    [
        (lambda root: (root / "labevents.csv").unlink(), "table labevents is missing", "publisher"),
        (
            lambda root: shutil.copy(root / "labevents.csv", root / "LABEVENTS.CSV"),
            "table labevents is there 2 times",
            "leave one",
        ),
        (lambda root: (root / "labevents.csv").write_bytes(b""), "is empty", "fetch"),
        (
            lambda root: (root / "labevents.csv").write_bytes(gzip.compress(b"row_id\n")),
            "table labevents is not what it should be",
            "publisher",
        ),
        (
            lambda root: [(root / name).mkdir() for name in ("hosp", "icu")] and (root / "patients.csv").unlink(),
            "table patients is missing",
            "mimic4",
        ),
    ],
)
def test_a_folder_without_its_tables_is_refused(
    tmp_path: Path,
    write_mimic3: WriteMimic3,
    break_it: Callable[[Path], object],
    wrong: str,
    action: str,
    refusal: Callable[[MedaiError], str],
) -> None:
    """A table that is missing, there twice, empty or of another type; MIMIC-IV's folder in place of MIMIC-III's."""
    root = write_mimic3()
    break_it(root)
    with pytest.raises(DataRefused) as caught:
        raw_files(CONFIG, root)
    refusal(caught.value)
    assert wrong in caught.value.wrong
    assert action in caught.value.action


def test_an_event_table_without_rows_is_no_fault_but_all_are(
    tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text
) -> None:
    """One empty table is possible, and counted; a snapshot without an event is not."""
    empty = {name: mimic3_text(name).partition("\n")[0] + "\n" for name in ("chartevents", "labevents", "outputevents")}
    facts, _ = read_to(write_mimic3("a", outputevents=empty["outputevents"]), tmp_path / "one")
    assert facts.tables["events"] == 7
    assert facts.counts["no_rows_outputevents"] == 1
    with pytest.raises(DataRefused, match="hold no event"):
        read_to(write_mimic3("b", **empty), tmp_path / "all")


def test_the_suite_sets_aside_what_cannot_be(tmp_path: Path, write_mimic3: WriteMimic3, mimic3_text: Text) -> None:
    """Sentinels, wrong units, words, orphans and rows far outside: each under its reason, none silent."""
    chart = mimic3_text("chartevents") + "".join(
        f"{row},11,{admission},31,{item},{time},,,{value},{value},,,,,\n"
        for row, (admission, item, time, value) in enumerate(
            (
                ("21", 211, "2130-01-01 12:00:00", "99999"),
                ("21", 211, "2130-01-01 12:00:00", "0"),
                ("21", 211, "2130-01-01 12:00:00", "inf"),
                ("21", 676, "2130-01-01 12:00:00", "98.6"),
                ("21", 223761, "2130-01-01 12:00:00", "36.6"),
                ("21", 780, "2130-01-01 12:00:00", "74"),
                ("21", 184, "2130-01-01 12:00:00", "5"),
                ("99", 211, "2130-01-01 12:00:00", "80"),
                ("22", 211, "2130-01-01 12:00:00", "80"),
                ("21", 211, "2130-03-01 12:00:00", "80"),
                ("21", 211, "2130-01-10 11:00:00", "80"),
            ),
            start=100,
        )
    )
    stays = mimic3_text("icustays", ("2,12,22,32", "2,12,99,32"))
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, CONFIG, write_mimic3(chartevents=chart, icustays=stays)).record
    report = validate(workspace, snapshot, catalogue_suite("mimic3"), tolerance=1.0).record
    assert report.passed
    assert report.set_aside == {
        "event_of_unknown_admission": 1,
        "event_of_another_patient": 1,
        "event_outside_admission": 1,
        "not_a_number": 3,
        "implausible_gcs_eye": 1,
        "implausible_heart_rate": 2,
        "implausible_temperature": 2,
        "implausible_ph": 1,
        "stay_orphan_admission": 1,
    }
    assert report.warned["lab_before_admission"] == 1
    assert report.warned["event_without_admission"] == 1
    assert report.warned["unknown_item"] > 0


@pytest.mark.data
def test_the_real_demo(tmp_path: Path, real_data: Path) -> None:
    """The publisher's counts: 100 patients, 136 stays, 648 rows marked as errors, 9 stays of patients over 89."""
    facts, tables = read_to(real_data / "mimic3_demo", tmp_path / "out")
    assert facts.tables["events"] == 758_355 - 648 + 76_074 + 11_320
    assert facts.tables["stays"] == 136
    assert facts.counts == {"age_over_89": 9, "marked_as_error_chartevents": 648, "stay_without_series": 1}
    assert tables["identifiers"].height == 100
    assert tables["stays"]["record_fault"].null_count() == 136
    temperature = tables["events"].filter(pl.col("variable") == "temperature")["numeric_value"].drop_nulls()
    assert 30 < temperature.min() < temperature.max() < 45  # type: ignore[operator]
    oxygen = tables["events"].filter(pl.col("variable") == "fio2")["numeric_value"].drop_nulls()
    assert oxygen.max() == 1.0
    eyes = tables["events"].filter(pl.col("variable") == "gcs_eye")["numeric_value"].drop_nulls()
    assert set(eyes) == {1.0, 2.0, 3.0, 4.0}
