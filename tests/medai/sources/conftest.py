"""Small sets in the publishers' layouts, and the real ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data named by MEDAI_TEST_DATA."""
    folder = os.environ.get("MEDAI_TEST_DATA")
    if not folder:
        pytest.skip("MEDAI_TEST_DATA does not name a folder of real data")
    return Path(folder)


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    """Six arrays of a small grey set: 12, 4 and 4 pictures of 8 × 8, all different."""
    rng = np.random.default_rng(3)
    arrays = {}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (count, 1), dtype=np.uint8)
    return arrays


STAYS = {
    "132539": "00:00,RecordID,132539\n00:00,Age,54\n00:00,Height,-1\n00:00,Weight,80.5\n00:07,HR,73\n48:00,HR,80\n",
    "132540": "00:00,RecordID,132540\n00:00,Age,300\n00:00,Weight,-1\n01:30,pH,7.4\n01:30,pH,7.3\n",
    "132541": "00:00,RecordID,132541\n00:00,Age,61\n00:00,Gender,1\n",
}
OUTCOMES = (
    "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    "132539,6,1,5,-1,0\n132540,16,8,8,4,1\n132541,-1,11,19,-1,0\n"
)


@pytest.fixture
def write_stays(tmp_path: Path) -> Callable[..., Path]:
    """Write stays and outcomes in the challenge's layout; keywords replace a stay's text or the outcomes."""

    def write(
        folder: str = "set",
        *,
        header: str = "Time,Parameter,Value\n",
        outcomes: str | None = OUTCOMES,
        stays: dict[str, str] = STAYS,
    ) -> Path:
        root = tmp_path / folder
        (root / "set-a").mkdir(parents=True)
        for name, text in stays.items():
            (root / "set-a" / f"{name}.txt").write_bytes((header + text).encode("utf-8", "surrogateescape"))
        if outcomes is not None:
            (root / "Outcomes-a.txt").write_bytes(outcomes.encode())
        return root

    return write


MIMIC3 = {
    "patients": "row_id,subject_id,gender,dob,dod,dod_hosp,dod_ssn,expire_flag\n"
    "1,11,F,2070-03-01 00:00:00,,,,0\n"
    "2,12,M,2100-06-15 00:00:00,2130-01-05 00:00:00,2130-01-05 00:00:00,,1\n"
    "3,13,F,1830-01-01 00:00:00,,,,0\n",
    "admissions": "row_id,subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admission_location,"
    "discharge_location,insurance,language,religion,marital_status,ethnicity,edregtime,edouttime,diagnosis,"
    "hospital_expire_flag,has_chartevents_data\n"
    "1,11,21,2130-01-01 08:00:00,2130-01-09 12:00:00,,EMERGENCY,ER,HOME,Medicare,ENGL,,,WHITE - RUSSIAN,,,"
    '"SEPSIS, ""SEVERE""\nWITH SHOCK",0,1\n'
    "2,12,22,2130-01-01 00:00:00,2130-01-05 10:30:00,2130-01-05 10:00:00,URGENT,ER,DEAD,Private,,,,"
    "BLACK/AFRICAN AMERICAN,,,FALL,1,1\n"
    "3,13,23,2130-02-01 00:00:00,2130-02-08 00:00:00,,ELECTIVE,ER,HOME,Medicaid,,,,MULTI RACE ETHNICITY,,,CABG,0,1\n",
    "icustays": "row_id,subject_id,hadm_id,icustay_id,dbsource,first_careunit,last_careunit,first_wardid,last_wardid,"
    "intime,outtime,los\n"
    "1,11,21,31,metavision,MICU,MICU,50,50,2130-01-01 10:00:00,2130-01-06 10:00:00,5\n"
    "2,12,22,32,carevue,SICU,MICU,7,50,2130-01-02 00:00:00,2130-01-05 10:00:00,3.4167\n"
    "3,13,23,33,carevue,CSRU,CSRU,14,14,2130-02-01 06:00:00,,\n",
    "d_items": "row_id,itemid,label,abbreviation,dbsource,linksto,category,unitname,param_type,conceptid\n"
    "1,211,Heart Rate,,carevue,chartevents,,,,\n2,678,Temperature F,,carevue,chartevents,,,,\n"
    "3,223761,Temperature Fahrenheit,TF,metavision,chartevents,Vitals,?F,Numeric,\n"
    "4,220739,GCS - Eye Opening,,metavision,chartevents,Neuro,,Text,\n"
    "5,40055,Urine Out Foley,,carevue,outputevents,,,,\n",
    "d_labitems": "row_id,itemid,label,fluid,category,loinc_code\n1,50931,Glucose,Blood,Chemistry,2345-7\n"
    "2,50820,pH,Blood,Blood Gas,11558-4\n",
    "chartevents": "row_id,subject_id,hadm_id,icustay_id,itemid,charttime,storetime,cgid,value,valuenum,valueuom,"
    "warning,error,resultstatus,stopped\n"
    "1,11,21,31,211,2130-01-01 11:00:00,2130-01-01 11:30:00,,88,88,BPM,,,,NotStopd\n"
    "2,11,21,31,223761,2130-01-01 11:00:00,2130-01-01 10:00:00,,98.6,98.6,?F,0,0,,\n"
    "3,11,21,31,220739,2130-01-01 12:00:00,,,None,,,0,0,,\n"
    "4,12,22,32,211,2130-01-02 01:00:00,2130-01-02 01:05:00,,ERROR,,BPM,,,,\n"
    "5,12,22,32,211,2130-01-02 02:00:00,2130-01-02 02:05:00,,250,250,BPM,0,1,,\n",
    "labevents": "row_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,flag\n"
    "1,11,,50931,2129-12-01 09:00:00,101,101,mg/dL,\n"
    "2,11,21,50931,2130-01-01 07:00:00,7,7,mmol/L,\n"
    "3,13,23,50820,2130-02-01 08:00:00,<6.8,6.8,units,abnormal\n",
    "outputevents": "row_id,subject_id,hadm_id,icustay_id,charttime,itemid,value,valueuom,storetime,cgid,stopped,"
    "newbottle,iserror\n1,11,21,31,2130-01-01 13:00:00,40055,120,mL,2130-01-01 13:10:00,,,,\n",
}
"""Three patients of MIMIC-III's form: nobody. One died in hospital, one is over 89 years old."""


@pytest.fixture
def write_mimic3(tmp_path: Path) -> Callable[..., Path]:
    """Write a small MIMIC-III; keywords replace a table's text, or leave it out (None)."""

    def write(folder: str = "mimic3", *, name: str = "{}.csv", **tables: str | None) -> Path:
        root = tmp_path / folder
        root.mkdir()
        for table, text in (MIMIC3 | tables).items():
            if text is not None:
                (root / name.format(table)).write_text(text, encoding="utf-8")
        return root

    return write


@pytest.fixture
def mimic3_text() -> Callable[..., str]:
    """A table of the small MIMIC-III with one text put in place of another, which must be there."""

    def change(table: str, *changes: tuple[str, str]) -> str:
        text = MIMIC3[table]
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return text

    return change
