"""The hospital's tables against the official definition of MIMIC-IV."""

from __future__ import annotations

import csv
import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from medai.sources.synthetic import SyntheticHospital, generate
from medai.sources.synthetic.hospital_tables import Tables

OFFICIAL = {
    "hosp/admissions": """
        subject_id:i! hadm_id:i! admittime:t! dischtime:t deathtime:t admission_type:s! admit_provider_id:s
        admission_location:s discharge_location:s insurance:s language:s marital_status:s race:s edregtime:t
        edouttime:t hospital_expire_flag:i
        """,
    "hosp/d_icd_diagnoses": """
        icd_code:s! icd_version:i! long_title:s
        """,
    "hosp/d_labitems": """
        itemid:i! label:s fluid:s category:s
        """,
    "hosp/diagnoses_icd": """
        subject_id:i! hadm_id:i! seq_num:i! icd_code:s icd_version:i
        """,
    "hosp/labevents": """
        labevent_id:i! subject_id:i! hadm_id:i specimen_id:i! itemid:i! order_provider_id:s charttime:t storetime:t
        value:s valuenum:f valueuom:s ref_range_lower:f ref_range_upper:f flag:s priority:s comments:s
        """,
    "hosp/microbiologyevents": """
        microevent_id:i! subject_id:i! hadm_id:i micro_specimen_id:i! order_provider_id:s chartdate:t! charttime:t
        spec_itemid:i! spec_type_desc:s! test_seq:i! storedate:t storetime:t test_itemid:i test_name:s org_itemid:i
        org_name:s isolate_num:i quantity:s ab_itemid:i ab_name:s dilution_text:s dilution_comparison:s
        dilution_value:f interpretation:s comments:s
        """,
    "hosp/omr": """
        subject_id:i! chartdate:d! seq_num:i! result_name:s! result_value:s!
        """,
    "hosp/patients": """
        subject_id:i! gender:s! anchor_age:i anchor_year:i! anchor_year_group:s! dod:d
        """,
    "hosp/prescriptions": """
        subject_id:i! hadm_id:i! pharmacy_id:i! poe_id:s poe_seq:i order_provider_id:s starttime:t stoptime:t
        drug_type:s! drug:s! formulary_drug_cd:s gsn:s ndc:s prod_strength:s form_rx:s dose_val_rx:s dose_unit_rx:s
        form_val_disp:s form_unit_disp:s doses_per_24_hrs:f route:s
        """,
    "hosp/procedures_icd": """
        subject_id:i! hadm_id:i! seq_num:i! chartdate:d! icd_code:s icd_version:i
        """,
    "hosp/services": """
        subject_id:i! hadm_id:i! transfertime:t! prev_service:s curr_service:s
        """,
    "hosp/transfers": """
        subject_id:i! hadm_id:i transfer_id:i! eventtype:s careunit:s intime:t outtime:t
        """,
    "icu/chartevents": """
        subject_id:i! hadm_id:i! stay_id:i! caregiver_id:i charttime:t! storetime:t itemid:i! value:s valuenum:f
        valueuom:s warning:i
        """,
    "icu/d_items": """
        itemid:i! label:s! abbreviation:s! linksto:s! category:s! unitname:s param_type:s! lownormalvalue:f
        highnormalvalue:f
        """,
    "icu/icustays": """
        subject_id:i! hadm_id:i! stay_id:i! first_careunit:s last_careunit:s intime:t outtime:t los:f
        """,
    "icu/inputevents": """
        subject_id:i! hadm_id:i! stay_id:i caregiver_id:i starttime:t! endtime:t! storetime:t itemid:i! amount:f
        amountuom:s rate:f rateuom:s orderid:i! linkorderid:i ordercategoryname:s secondaryordercategoryname:s
        ordercomponenttypedescription:s ordercategorydescription:s patientweight:f totalamount:f totalamountuom:s
        isopenbag:i continueinnextdept:i statusdescription:s originalamount:f originalrate:f
        """,
    "icu/outputevents": """
        subject_id:i! hadm_id:i! stay_id:i! caregiver_id:i charttime:t! storetime:t! itemid:i! value:f! valueuom:s
        """,
}
"""Table → column:type, with ! where it is never null: i integer, f floating, t timestamp, d date, s text.

Written down from mimic-iv/buildmimic/postgres/create.sql of MIT-LCP/mimic-code at commit db74e5d4 (v2.2) and b52db56c
(the last before and at v3.1). The two differ in the length of admissions.language alone: 10 characters, then 25.
"""
LANGUAGE = {"2.2": 10, "3.1": 25}
READ = {"i": int, "f": float, "t": datetime.fromisoformat, "d": date.fromisoformat, "s": str}


@pytest.mark.parametrize("version", ["2.2", "3.1"])
def test_columns_order_and_types_are_the_official_ones(tmp_path: Path, version: Any) -> None:
    """Every value of every table has its column's type; what may not be null is there; text fits its column."""
    generate(
        SyntheticHospital(kind="synthetic", layout="hospital", subjects=40, size=32, faults=0.2, version=version),
        tmp_path,
    )
    found = {f"{file.parent.name}/{file.name.removesuffix('.csv.gz')}" for file in tmp_path.glob("*/*.csv.gz")}
    assert found == OFFICIAL.keys()
    for table, definition in OFFICIAL.items():
        columns = [column.split(":") for column in definition.split()]
        with gzip.open(tmp_path / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == [name for name, _ in columns], table
        for row in rows[1:]:
            for value, (name, kind) in zip(row, columns, strict=True):
                if value:
                    READ[kind[0]](value)
                else:
                    assert not kind.endswith("!"), (table, name)
        if table == "hosp/admissions":
            assert max(len(row[rows[0].index("language")]) for row in rows[1:]) <= LANGUAGE[version]


def test_equal_lines_give_equal_bytes_without_time_or_name(tmp_path: Path) -> None:
    """The gzip header holds no name and no time, so that a file depends on its lines alone."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Tables(tmp_path / name) as tables:
            tables.add("hosp/patients", ["10000016,F,71,2150,2011 - 2013,"])
            tables.add("hosp/patients", [])
        assert tables.rows["hosp/patients"] == 1
    data = (tmp_path / "a/hosp/patients.csv.gz").read_bytes()
    assert data == (tmp_path / "b/hosp/patients.csv.gz").read_bytes()
    assert data[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert gzip.decompress(data).endswith(b"dod\n10000016,F,71,2150,2011 - 2013,\n")
