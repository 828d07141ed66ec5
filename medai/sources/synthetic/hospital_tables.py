"""The tables of MIMIC-IV that the synthetic hospital writes: their columns, and how their bytes come about.

The columns and their order are those of the official definition, ``mimic-iv/buildmimic/postgres/create.sql`` of
MIT-LCP/mimic-code: commit db74e5d4 for v2.2, b52db56c for v3.1. Between the two no column came, went or moved; v3.1
has longer text in ``admissions.language``, whole names instead of ``ENGLISH`` and ``?``. The contents differ further:
v3.1 tells private insurance and admissions without charge apart, and knows the ``anchor_year_group`` 2020 - 2022.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

COLUMNS: dict[str, str] = {
    "hosp/admissions": "subject_id hadm_id admittime dischtime deathtime admission_type admit_provider_id"
    " admission_location discharge_location insurance language marital_status race edregtime edouttime"
    " hospital_expire_flag",
    "hosp/d_icd_diagnoses": "icd_code icd_version long_title",
    "hosp/d_labitems": "itemid label fluid category",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/labevents": "labevent_id subject_id hadm_id specimen_id itemid order_provider_id charttime storetime value"
    " valuenum valueuom ref_range_lower ref_range_upper flag priority comments",
    "hosp/microbiologyevents": "microevent_id subject_id hadm_id micro_specimen_id order_provider_id chartdate"
    " charttime spec_itemid spec_type_desc test_seq storedate storetime test_itemid test_name org_itemid org_name"
    " isolate_num quantity ab_itemid ab_name dilution_text dilution_comparison dilution_value interpretation comments",
    "hosp/omr": "subject_id chartdate seq_num result_name result_value",
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/prescriptions": "subject_id hadm_id pharmacy_id poe_id poe_seq order_provider_id starttime stoptime drug_type"
    " drug formulary_drug_cd gsn ndc prod_strength form_rx dose_val_rx dose_unit_rx form_val_disp form_unit_disp"
    " doses_per_24_hrs route",
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
    "hosp/services": "subject_id hadm_id transfertime prev_service curr_service",
    "hosp/transfers": "subject_id hadm_id transfer_id eventtype careunit intime outtime",
    "icu/chartevents": "subject_id hadm_id stay_id caregiver_id charttime storetime itemid value valuenum valueuom"
    " warning",
    "icu/d_items": "itemid label abbreviation linksto category unitname param_type lownormalvalue highnormalvalue",
    "icu/icustays": "subject_id hadm_id stay_id first_careunit last_careunit intime outtime los",
    "icu/inputevents": "subject_id hadm_id stay_id caregiver_id starttime endtime storetime itemid amount amountuom"
    " rate rateuom orderid linkorderid ordercategoryname secondaryordercategoryname ordercomponenttypedescription"
    " ordercategorydescription patientweight totalamount totalamountuom isopenbag continueinnextdept statusdescription"
    " originalamount originalrate",
    "icu/outputevents": "subject_id hadm_id stay_id caregiver_id charttime storetime itemid value valueuom",
}
"""Table → its columns, in order. Microbiology, measurements outside, prescriptions and procedures stay empty."""

_LEVEL = 1
_BLOCK = 1 << 20
"""Characters that are gathered before they are deflated."""


class Tables:
    """The open ``.csv.gz`` files below a folder; equal lines give equal bytes: no time, no name, one level.

    Args:
        folder: an existing folder; ``hosp`` and ``icu`` are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._files: dict[str, gzip.GzipFile] = {}
        self._waiting: dict[str, list[str]] = {}
        self._length: dict[str, int] = {}
        self.rows = dict.fromkeys(COLUMNS, 0)
        for module in ("hosp", "icu"):
            (folder / module).mkdir()
        for table, columns in COLUMNS.items():
            raw = self._stack.enter_context((folder / f"{table}.csv.gz").open("wb"))
            file = gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_LEVEL, mtime=0)
            self._files[table] = self._stack.enter_context(file)
            self._waiting[table] = [columns.replace(" ", ",")]
            self._length[table] = 0

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for table in COLUMNS:
                    self._deflate(table)
        finally:
            self._stack.close()

    def add(self, table: str, lines: list[str]) -> None:
        """Append lines, each a row in CSV without its line end."""
        if not lines:
            return
        self.rows[table] += len(lines)
        self._waiting[table] += lines
        self._length[table] += len(lines) * len(lines[0])
        if self._length[table] >= _BLOCK:
            self._deflate(table)

    def _deflate(self, table: str) -> None:
        lines = self._waiting[table]
        if lines:
            self._files[table].write(("\n".join(lines) + "\n").encode())
        self._waiting[table], self._length[table] = [], 0


def line(values: Iterable[object]) -> str:
    """A row in CSV: None is empty, text with a comma or a quote is quoted.

    >>> line([1, None, "Bilirubin, Total", 0.5])
    '1,,"Bilirubin, Total",0.5'
    """
    return ",".join("" if value is None else _cell(str(value)) for value in values)


def _cell(text: str) -> str:
    if "," in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text
