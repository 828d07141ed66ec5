"""Tables beyond the charts: each becomes events at the time it happened, known when it could be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.sources.mimic3 import Mimic3
from medai.sources.mimic3 import read as read_mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.mimic4 import read as read_mimic4
from medai.tables import Facts, read_table

TABLES = {
    "inputevents_mv": [
        {"starttime": "2130-01-01 12:00:00", "endtime": "2130-01-01 14:00:00", "storetime": "2130-01-01 12:30:00",
         "itemid": "221906", "amount": "2.5", "amountuom": "mg", "rate": "0.02", "rateuom": "mcg/kg/min"},
        {"starttime": "2130-01-01 15:00:00", "endtime": "2130-01-01 15:01:00", "storetime": "2130-01-01 15:05:00",
         "itemid": "225158", "amount": "100", "amountuom": "mL"},
        {"starttime": "2130-01-01 16:00:00", "endtime": "1/1/30 16:30", "itemid": "225158", "amount": "9",
         "amountuom": "mL", "statusdescription": "FinishedRunning"},
        {"starttime": "2130-01-01 12:00:00", "itemid": "221906", "statusdescription": "Rewritten"},
    ],
    "inputevents_cv": [{"charttime": "2130-01-01 12:00:00", "storetime": "2130-01-01 12:20:00", "itemid": "30013",
                        "amount": "50", "amountuom": "ml", "rate": "25", "rateuom": "ml/hr"},
                       {"charttime": "2130-01-01 13:00:00", "itemid": "30013", "amount": "10", "amountuom": "ml"}],
    "procedureevents_mv": [{"starttime": "2130-01-01 12:00:00", "endtime": "2130-01-01 18:00:00", "itemid": "225752",
                            "value": "360", "valueuom": "min", "storetime": "2130-01-01 12:10:00"}],
    "microbiologyevents": [
        # One bad time among six rows is no table of bad times.
        *[{"chartdate": "2130-01-02 00:00:00", "spec_itemid": "70012", "org_name": "YEAST"}] * 4,
        {"chartdate": "2130-01-02 00:00:00", "charttime": "2130-01-02 09:00:00", "spec_itemid": "70012",
         "org_name": "ESCHERICHIA COLI", "ab_name": "GENTAMICIN", "interpretation": "S"},
        {"chartdate": "2130-01-02 00:00:00", "charttime": "1/2/30 9:00", "spec_itemid": "70012"},
    ],
    "prescriptions": [{"startdate": "2130-01-03 00:00:00", "enddate": "2130-01-05 00:00:00", "drug": "Aspirin",
                       "dose_val_rx": "81", "dose_unit_rx": "mg"},
                      {"startdate": "2130-01-03 00:00:00", "drug": "Heparin", "dose_val_rx": "5-10"}],
    "callout": [{"callout_service": "MED", "createtime": "2130-01-02 09:00:00", "updatetime": "2130-01-02 10:00:00"}],
    "services": [{"transfertime": "2130-01-02 09:00:00", "curr_service": "MED"}],
    "transfers": [{"eventtype": "admit", "curr_careunit": "MICU", "intime": "2130-01-01 10:00:00"},
                  {"eventtype": "transfer", "intime": "2130-01-06 10:00:00"}],
    "diagnoses_icd": [{"icd9_code": "0389"}],
    "procedures_icd": [{"icd9_code": "9604"}],
    "drgcodes": [{"drg_type": "MS", "drg_code": "871"}],
    "cptevents": [{"cpt_cd": "99291"}],
    "datetimeevents": [{"charttime": "2130-01-01 12:00:00", "storetime": "2130-01-01 12:40:00", "itemid": "224290",
                        "value": "2129-12-30 00:00:00"}],
}  # fmt: skip
END = datetime(2130, 1, 9, 12)
"""The discharge of admission 21."""


def at(hour: int, minute: int = 0, day: int = 1) -> datetime:
    """A moment of January 2130."""
    return datetime(2130, 1, day, hour, minute)


def csv_of(header: str, rows: list[dict[str, str]], given: dict[str, str]) -> str:
    """A table in the publisher's columns; ``given`` stands in every row that has such a column."""
    names = header.split()
    lines = [
        ",".join((given | {"row_id": str(at)} | row).get(name, "") for name in names) for at, row in enumerate(rows)
    ]
    return "\n".join([",".join(names), *lines]) + "\n"


def events(facts: Facts, folder: Path, *columns: str) -> list[tuple[Any, ...]]:
    """(code, time, known_time, number, text) in the order of codes."""
    table = pl.DataFrame(read_table(folder / "events.parquet"))
    assert table.height == facts.tables["events"]
    chosen = columns or ("code", "time", "known_time", "numeric_value", "text_value")
    return table.sort("code", "time").select(chosen).rows()


@pytest.fixture
def read_3(tmp_path: Path, write_mimic3: Callable[..., Path]) -> Callable[[str], tuple[Facts, Path]]:
    """Read one event table of the small MIMIC-III."""

    def read(table: str) -> tuple[Facts, Path]:
        given = {"subject_id": "11", "hadm_id": "21", "icustay_id": "31"}
        text = csv_of(Mimic3.mapping().headers[table], TABLES[table], given)
        (tmp_path / "out").mkdir()
        config = Mimic3(kind="mimic3", tables=(table,))
        return read_mimic3(config, write_mimic3(**{table: text}), tmp_path / "out"), tmp_path / "out"

    return read


WHOLE = {
    # The rate is known when the row was stored, the amount when it had run; a bolus has no rate.
    "inputevents_mv": [
        ("INFUSION_END//221906//mg", at(14), at(14), 2.5, None),
        ("INFUSION_END//225158//mL", at(15, 1), at(15, 5), 100.0, None),
        ("INFUSION_START//221906//mcg/kg/min", at(12), at(12, 30), pytest.approx(0.02), None),
        ("INFUSION_START//225158//UNK", at(15), at(15, 5), None, None),
        ("INFUSION_START//225158//UNK", at(16), at(16), None, None),
    ],
    "inputevents_cv": [
        ("INFUSION//30013//ml", at(12), at(12, 20), 50.0, None),
        ("INFUSION//30013//ml", at(13), at(13), 10.0, None),
        ("INFUSION_RATE//30013//ml/hr", at(12), at(12, 20), 25.0, None),
    ],
    "procedureevents_mv": [
        ("PROCEDURE//END//225752//min", at(18), at(18), 360.0, None),
        ("PROCEDURE//START//225752", at(12), at(12, 10), None, None),
    ],
    # Three days from the specimen, or from its day's end.
    "microbiologyevents": [
        ("MICROBIOLOGY//70012//ESCHERICHIA COLI//GENTAMICIN", at(9, day=2), at(9, day=5), None, "S"),
        ("MICROBIOLOGY//70012//YEAST//UNK", at(0, day=2), at(0, day=6), None, None),
    ],
    "prescriptions": [
        ("MEDICATION//START//Aspirin//mg", at(0, day=3), at(0, day=4), 81.0, None),
        ("MEDICATION//START//Heparin//UNK", at(0, day=3), at(0, day=4), None, "5-10"),
        ("MEDICATION//STOP//Aspirin", at(0, day=5), at(0, day=6), None, None),
    ],
    "callout": [("CALLOUT//MED", at(9, day=2), at(10, day=2), None, None)],
    "services": [("SERVICE//MED", at(9, day=2), at(9, day=2), None, None)],
    "transfers": [
        ("TRANSFER_TO//admit//MICU", at(10), at(10), None, None),
        ("TRANSFER_TO//transfer//UNK", at(10, day=6), at(10, day=6), None, None),
    ],
    "diagnoses_icd": [("DIAGNOSIS//ICD//9//0389", END, END, None, None)],
    "procedures_icd": [("PROCEDURE//ICD//9//9604", END, END, None, None)],
    "drgcodes": [("DRG//MS//871", END, END, None, None)],
    "cptevents": [("CPT//99291", END, END, None, None)],
    "datetimeevents": [("CHART//DATE//224290", at(12), at(12, 40), None, "2129-12-30 00:00:00")],
}


def test_each_table_of_mimic3_is_tried() -> None:
    """All tables that can be asked for, here or in the tests of the three that are read by default."""
    assert set(WHOLE) == set(Mimic3.mapping().events) - {"chartevents", "labevents", "outputevents"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("table", WHOLE)
def test_tables_of_mimic3(table: str, read_3: Callable[[str], tuple[Facts, Path]]) -> None:
    """What a row says, when it happened, and when it could be known."""
    facts, folder = read_3(table)
    found = events(facts, folder)
    assert list(dict.fromkeys(found)) == WHOLE[table]
    wrong = {name: count for name, count in facts.counts.items() if name.startswith("impossible_time")}
    expected = {"inputevents_mv": 1, "microbiologyevents": 1}.get(table)
    assert wrong == ({f"impossible_time_{table}": expected} if expected else {})
    assert facts.dropped.get("events", 0) == (expected or 0)


def test_the_same_item_is_named_in_each_of_its_codes(read_3: Callable[[str], tuple[Facts, Path]]) -> None:
    """The dictionary is asked for the item, whatever prefix stands before it."""
    _, folder = read_3("inputevents_mv")
    codes = pl.DataFrame(read_table(folder / "codes.parquet"))
    assert codes["named"].to_list() == [False] * 4


ROWS_4 = {
    "inputevents": [{"starttime": "2152-05-01 11:00:00", "endtime": "2152-05-01 13:00:00", "itemid": "221906",
                     "storetime": "2152-05-01 11:10:00", "amount": "2", "amountuom": "mg", "rate": "1",
                     "rateuom": "mg/hour"}],
    "ingredientevents": [{"starttime": "2152-05-01 11:00:00", "endtime": "2152-05-01 13:00:00", "itemid": "220490",
                          "storetime": "2152-05-01 11:10:00", "amount": "20", "amountuom": "mL"}],
    "procedureevents": [{"starttime": "2152-05-01 11:00:00", "endtime": "2152-05-02 11:00:00", "itemid": "225792",
                         "storetime": "2152-05-01 11:10:00", "value": "1440", "valueuom": "min"}],
    "datetimeevents": [{"charttime": "2152-05-01 11:00:00", "itemid": "224290", "value": "2152-04-30 00:00:00"}],
    "microbiologyevents": [{"chartdate": "2152-05-01 00:00:00", "spec_type_desc": "URINE", "test_name": "CULTURE",
                            "storetime": "2152-05-03 08:00:00"}],
    "omr": [{"chartdate": "2152-04-30", "result_name": "Weight (Lbs)", "result_value": "160"}],
    "emar": [{"medication": "Heparin", "event_txt": "Administered", "charttime": "2152-05-01 11:00:00",
              "storetime": "2152-05-01 11:02:00"},
             {"event_txt": "Not Given", "charttime": "2152-05-01 12:00:00", "storetime": "2152-05-01 12:00:00"}],
    "pharmacy": [{"medication": "Heparin", "route": "SC", "entertime": "2152-05-01 11:00:00"}],
    "prescriptions": [{"drug": "Heparin", "dose_val_rx": "5000", "dose_unit_rx": "UNIT",
                       "starttime": "2152-05-01 11:00:00", "stoptime": "2152-05-02 11:00:00"}],
    "poe": [{"order_type": "Lab", "transaction_type": "New", "ordertime": "2152-05-01 11:00:00"}],
    "services": [{"transfertime": "2152-05-01 11:00:00", "curr_service": "MED"}],
    "transfers": [{"eventtype": "ED", "careunit": "Emergency Department", "intime": "2152-05-01 06:00:00"}],
    "diagnoses_icd": [{"icd_code": "A419", "icd_version": "10"}],
    "procedures_icd": [{"icd_code": "5A1935Z", "icd_version": "10", "chartdate": "2152-05-02"}],
    "hcpcsevents": [{"hcpcs_cd": "99281", "chartdate": "2152-05-02"}],
    "drgcodes": [{"drg_type": "APR", "drg_code": "720"}],
}  # fmt: skip


def on(hour: int, minute: int = 0, *, month: int = 5, day: int = 1) -> datetime:
    """A moment of 2152."""
    return datetime(2152, month, day, hour, minute)


WHOLE_4 = {
    "inputevents": [
        ("INFUSION_END//221906//mg", on(13), on(13), 2.0, None),
        ("INFUSION_START//221906//mg/hour", on(11), on(11, 10), 1.0, None),
    ],
    "ingredientevents": [
        ("INGREDIENT_END//220490//mL", on(13), on(13), 20.0, None),
        ("INGREDIENT_START//220490//UNK", on(11), on(11, 10), None, None),
    ],
    "procedureevents": [
        ("PROCEDURE//END//225792//min", on(11, day=2), on(11, day=2), 1440.0, None),
        ("PROCEDURE//START//225792", on(11), on(11, 10), None, None),
    ],
    "datetimeevents": [("CHART//DATE//224290", on(11), on(11), None, "2152-04-30 00:00:00")],
    "microbiologyevents": [("MICROBIOLOGY//URINE//CULTURE//UNK//UNK", on(0), on(8, day=3), None, None)],
    "omr": [("OMR//Weight (Lbs)", on(0, month=4, day=30), on(0), 160.0, None)],
    "emar": [
        ("MEDICATION//Heparin//Administered", on(11), on(11, 2), None, None),
        ("MEDICATION//UNK//Not Given", on(12), on(12), None, None),
    ],
    "pharmacy": [("PHARMACY//Heparin//SC", on(11), on(11), None, None)],
    "prescriptions": [
        ("MEDICATION//START//Heparin//UNIT", on(11), on(11), 5000.0, None),
        ("MEDICATION//STOP//Heparin", on(11, day=2), on(11, day=2), None, None),
    ],
    "poe": [("ORDER//Lab//UNK//New", on(11), on(11), None, None)],
    "services": [("SERVICE//MED", on(11), on(11), None, None)],
    "transfers": [("TRANSFER_TO//ED//Emergency Department", on(6), on(6), None, None)],
    "diagnoses_icd": [("DIAGNOSIS//ICD//10//A419", on(12, day=9), on(12, day=9), None, None)],
    # The operation's own day, known when the admission was coded.
    "procedures_icd": [("PROCEDURE//ICD//10//5A1935Z", on(0, day=2), on(12, day=9), None, None)],
    "hcpcsevents": [("HCPCS//99281", on(0, day=2), on(12, day=9), None, None)],
    "drgcodes": [("DRG//APR//720", on(12, day=9), on(12, day=9), None, None)],
}


def test_each_table_of_mimic4_is_tried() -> None:
    """All tables that can be asked for, here or in the tests of the three that are read by default."""
    assert set(WHOLE_4) == set(Mimic4.mapping().events) - {"chartevents", "labevents", "outputevents"}


@pytest.fixture
def read_4(tmp_path: Path) -> Callable[..., tuple[Facts, Path]]:
    """Read one event table of a MIMIC-IV with one patient: nobody."""
    hospital = {
        "hosp/patients": [{"gender": "F", "anchor_age": "64", "anchor_year": "2150",
                           "anchor_year_group": "2014 - 2016"}],
        "hosp/admissions": [{"admittime": "2152-05-01 08:00:00", "dischtime": "2152-05-09 12:00:00"}],
        "icu/icustays": [{"intime": "2152-05-01 10:00:00", "outtime": "2152-05-03 10:00:00"}],
        "hosp/d_labitems": [],
        "icu/d_items": [],
    }  # fmt: skip

    def read(table: str, **rows: list[dict[str, str]]) -> tuple[Facts, Path]:
        root, headers = tmp_path / "mimic4", Mimic4.mapping().headers
        given = {"subject_id": "10", "hadm_id": "20", "stay_id": "30"}
        for module in ("hosp", "icu"):
            (root / module).mkdir(parents=True)
        for name, said in (hospital | {f"hosp/{table}": ROWS_4[table]}).items():
            text = csv_of(headers[name.rpartition("/")[2]], rows.get(name.rpartition("/")[2], said), given)
            (root / f"{name}.csv").write_text(text)
        (tmp_path / "out").mkdir()
        return read_mimic4(Mimic4(kind="mimic4", tables=(table,)), root, tmp_path / "out"), tmp_path / "out"

    return read


@pytest.mark.parametrize("table", WHOLE_4)
def test_tables_of_mimic4(table: str, read_4: Callable[..., tuple[Facts, Path]]) -> None:
    """What a row says, when it happened, and when it could be known."""
    facts, folder = read_4(table)
    assert events(facts, folder) == WHOLE_4[table]
    assert not facts.dropped
    (link,) = {row[0] for row in events(facts, folder, "link")}
    assert link == ("none" if table == "omr" else "admission")


@pytest.mark.parametrize("table", ["procedures_icd", "hcpcsevents", "diagnoses_icd"])
def test_what_is_coded_at_discharge_needs_one(table: str, read_4: Callable[..., tuple[Facts, Path]]) -> None:
    """An admission without an end was not coded yet: nobody can say when its codes were known."""
    still_in = [{"admittime": "2152-05-01 08:00:00"}]
    rows = ROWS_4[table] + [{"hadm_id": "21", **ROWS_4[table][0]}] * 9
    ended = {"hadm_id": "21", "admittime": "2152-06-01 08:00:00", "dischtime": "2152-06-09 12:00:00"}
    facts, folder = read_4(table, admissions=[*still_in, ended], **{table: rows})
    assert facts.counts[f"impossible_time_{table}"] == facts.dropped["events"] == 1
    assert {row[0] for row in events(facts, folder, "known_time")} == {datetime(2152, 6, 9, 12)}


@pytest.mark.parametrize(
    ("group", "year"), [("2014 - 2016", 2016), ("2020 - 2022", 2022), ("2008-2010", 2010), ("", None), ("___", None)]
)
def test_the_year_of_admission(group: str, year: int | None, read_4: Callable[..., tuple[Facts, Path]]) -> None:
    """The first year of the anchor's group and the years since the anchor; unknown where the group is."""
    patient = {"gender": "F", "anchor_age": "64", "anchor_year": "2150", "anchor_year_group": group}
    _, folder = read_4("services", patients=[patient])
    stays = pl.DataFrame(read_table(folder / "stays.parquet"))
    assert stays["admission_year"].to_list() == [year]
    assert stays.schema["admission_year"] == pl.Int64
    assert "admission_year" in Mimic4(kind="mimic4").names().static
    assert "admission_year" not in Mimic3(kind="mimic3").names().static


@pytest.mark.data
@pytest.mark.parametrize("table", sorted(set(Mimic3.mapping().events) - {"chartevents", "labevents", "outputevents"}))
def test_the_demo_is_read_whole(table: str, tmp_path: Path, real_data: Path) -> None:
    """Every other table of the MIMIC-III demo: nothing dropped but for a stated fault, nothing known too early."""
    config = Mimic3(kind="mimic3", tables=(table,))
    facts = read_mimic3(config, real_data / "mimic3_demo", tmp_path)
    table_read = pl.DataFrame(read_table(tmp_path / "events.parquet"))
    assert facts.tables["events"] == table_read.height > 0
    assert sum(facts.dropped.values()) <= 0.001 * table_read.height
    assert (table_read["known_time"] >= table_read["time"]).all()
