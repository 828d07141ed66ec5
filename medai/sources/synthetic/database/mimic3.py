"""A block in MIMIC-III's layout (v1.4): the same patients, admissions and readings, in tables with capital names.

The stays of the earlier years were charted in CareVue, the later ones in MetaVision, whose items are those of MIMIC-IV.
Routine, weight on admission and height stand under MetaVision's items throughout. Births of those over 89 lie 300 years
before their first admission; results carry no stored time; illnesses are coded by ICD-9. Tables that are described but
not generated have a header alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from medai.sources.mimic3 import Mimic3
from medai.sources.synthetic.clock import DAY
from medai.sources.synthetic.database.codebook import charted, tested
from medai.sources.synthetic.database.contents import Contents, coded
from medai.sources.synthetic.database.csv_bytes import NEVER, choice, decimal, moment, number, signed, table
from medai.sources.synthetic.database.planted import NOWHERE
from medai.sources.synthetic.database.population import names_of
from medai.sources.synthetic.database.words import charted_items, flag_of, words
from medai.sources.synthetic.hospital_tables import line
from medai.sources.synthetic.patients import INSURANCES, KINDS, MARITAL, RACES, TO

if TYPE_CHECKING:
    import numpy as np

HEADERS = {
    name.upper(): columns.upper()
    for name, columns in {
        "d_icd_diagnoses": "row_id icd9_code short_title long_title",
        **Mimic3.mapping().headers,
    }.items()
}
"""Table → its columns, as the reader's mapping has them."""
CHART_A_BLOCK, ROWS_A_BLOCK = 1 << 22, 1 << 18
"""Room for a block's row numbers in the chart, and in every other table."""
_UNITS = ("MICU", "CSRU", "MICU", "SICU", "TSICU", "CCU", "SICU")
_WARD_IDS = (50, 14, 52, 33, 57, 7, 23)
_SYSTEMS = ("carevue", "metavision")
_CAREVUE_YEARS = 2
"""Groups of years in which CareVue was in use."""
_TYPES = {"URGENT": "URGENT", "ELECTIVE": "ELECTIVE", "SURGICAL SAME DAY ADMISSION": "ELECTIVE"}
_FROM = ("EMERGENCY ROOM ADMIT", "PHYS REFERRAL/NORMAL DELI")
_INPUTS = {"carevue": ("30018", "30047"), "metavision": ("225158", "221906")}
"""Saline and norepinephrine."""


def tables(contents: Contents) -> dict[str, bytes]:
    """Table → the block's rows as CSV, without the header."""
    made = {
        "PATIENTS": _patients(contents),
        "ADMISSIONS": _admissions(contents),
        "ICUSTAYS": _stays(contents),
        "CHARTEVENTS": _chart(contents),
        "LABEVENTS": _labs(contents),
        "OUTPUTEVENTS": _outputs(contents),
        "INPUTEVENTS_CV": _infusions(contents, "carevue"),
        "INPUTEVENTS_MV": _infusions(contents, "metavision"),
        "DIAGNOSES_ICD": _diagnoses(contents),
        "SERVICES": _services(contents),
    }
    return {name: _written(name, contents.number, columns) for name, columns in made.items()}


def _written(name: str, block: int, columns: dict[str, np.ndarray | bytes]) -> bytes:
    """A table's rows, in the order of its header, numbered on from the room of the blocks before."""
    import numpy as np

    rows = next(len(column) for column in columns.values() if not isinstance(column, bytes))
    room = CHART_A_BLOCK if name == "CHARTEVENTS" else ROWS_A_BLOCK
    columns["row_id"] = number(block * room + 1 + np.arange(rows))
    return table([columns.get(column, b"") for column in HEADERS[name].lower().split()])


def dictionaries() -> dict[str, bytes]:
    """The tables of what items and codes stand for, without their headers."""
    known, older = words(), words().carevue
    items: list[tuple[object, ...]] = []
    for linked, group in (
        ("chartevents", known.chart),
        ("inputevents_mv", known.inputs),
        ("outputevents", known.outputs),
    ):
        for name, item in group.items():
            items.append((item.itemid, item.label, item.abbreviation, _SYSTEMS[1], linked, item.category, item.unit))
            if name in older.items:
                items.append((older.items[name], older.labels[name], None, _SYSTEMS[0], linked, None, None))
    for label, itemid in zip((".9% Normal Saline", "Levophed"), _INPUTS[_SYSTEMS[0]], strict=True):
        items.append((int(itemid), label, None, _SYSTEMS[0], "inputevents_cv", None, None))
    for one in known.routine:
        items.append((one.itemid, one.label, one.abbreviation, _SYSTEMS[1], "chartevents", one.category, one.unit))
    tests = [(test.itemid, test.label, test.fluid, test.category) for test in known.labs.values()]
    codes = [(one.icd9[0], one.icd9[1][:24], one.icd9[1]) for one in known.illnesses.values()]
    empty = {"D_ITEMS": (None, None), "D_LABITEMS": (None,), "D_ICD_DIAGNOSES": ()}
    return {
        name: "".join(
            line((place, *row, *empty[name])) + "\n"
            for place, row in enumerate(sorted(group, key=lambda row: str(row[0])), 1)
        ).encode()
        for name, group in (("D_ITEMS", items), ("D_LABITEMS", tests), ("D_ICD_DIAGNOSES", codes))
    }


def _patients(contents: Contents) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    who, its, some = contents.block.patients, contents.block.admissions, slice(contents.patients)
    first = its.start[its.number == 0] // DAY
    born = np.where(who.age > 89, first - 109_573, who.birthday)  # 300 years, as MIMIC-III moves them
    died = np.where(who.dod == NEVER, NEVER, who.dod * DAY)
    dead_here = np.zeros(len(died), bool)
    dead_here[its.patient[its.death != NEVER]] = True
    return {
        "subject_id": number(who.subject_id[some]),
        "gender": choice("MF", who.woman[some] + 0),
        "dob": moment(born[some] * DAY),
        "dod": moment(died[some]),
        "dod_hosp": moment(np.where(dead_here, died, NEVER)[some]),
        "dod_ssn": moment(np.where(dead_here, NEVER, died)[some]),
        "expire_flag": number((died[some] != NEVER) + 0),
    }


def _ids(contents: Contents) -> dict[str, np.ndarray]:
    """Subject and admission of each admission that is written."""
    its, some = contents.block.admissions, slice(contents.admissions)
    return {
        "subject_id": number(contents.block.patients.subject_id[its.patient[some]]),
        "hadm_id": number(its.hadm_id[some]),
    }


def _admissions(contents: Contents) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    its, some = contents.block.admissions, slice(contents.admissions)
    who, patient = contents.block.patients, its.patient[some]
    titles = [one.icd9[1].upper() for one in words().illnesses.values()]
    ill = its.illness[some]
    charted_at_all = np.isin(np.arange(contents.admissions), contents.block.stays.admission)
    return {
        **_ids(contents),
        "admittime": moment(its.start[some]),
        "dischtime": moment(its.end[some]),
        "deathtime": moment(its.death[some]),
        "admission_type": choice([_TYPES.get(name or "", "EMERGENCY") for name in names_of(KINDS)], its.kind[some]),
        "admission_location": choice(_FROM, (its.registered[some] == NEVER) + 0),
        "discharge_location": choice([*names_of(TO), "DEAD/EXPIRED"], its.went_to[some]),
        "insurance": choice(names_of(INSURANCES["3.1"]), who.insurance[patient]),
        "marital_status": choice(names_of(MARITAL), who.marital[patient]),
        "ethnicity": choice(names_of(RACES), who.race[patient]),
        "edregtime": moment(its.registered[some]),
        "edouttime": moment(its.left[some]),
        "diagnosis": choice(titles, np.where(ill.any(axis=1), ill.argmax(axis=1), -1)),
        "hospital_expire_flag": number((its.death[some] != NEVER) + 0),
        "has_chartevents_data": number(charted_at_all + 0),
    }


def _older(contents: Contents) -> np.ndarray:
    """Whether each stay was charted in CareVue."""
    older: np.ndarray = contents.block.patients.years[contents.block.stays.patient] < _CAREVUE_YEARS
    return older


def _stays(contents: Contents) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    stays, some = contents.block.stays, slice(contents.stays)
    turned, start, end = contents.turned[some], stays.start[some], stays.end[some]
    wards = [str(ward) for ward in _WARD_IDS]
    return {
        **_stay_ids(contents, np.arange(contents.stays)),
        "dbsource": choice(_SYSTEMS, ~_older(contents)[some] + 0),
        "first_careunit": choice(_UNITS, stays.first[some]),
        "last_careunit": choice(_UNITS, stays.last[some]),
        "first_wardid": choice(wards, stays.first[some]),
        "last_wardid": choice(wards, stays.last[some]),
        "intime": moment(np.where(turned, end, start)),
        "outtime": moment(np.where(turned, start, end)),
        "los": signed(decimal(np.rint((end - start) / DAY * 1e4), 4), turned),
    }


def _stay_ids(contents: Contents, stay: np.ndarray, unknown: np.ndarray | bool = False) -> dict[str, np.ndarray]:
    """Subject, admission and stay of rows; ``unknown``: rows that name an admission that is not there."""
    import numpy as np

    stays, some = contents.block.stays, slice(contents.stays)
    known = number(np.concatenate([contents.hadm_id[some], contents.hadm_id[some] + 2 * NOWHERE]))
    return {
        "subject_id": number(contents.block.patients.subject_id[stays.patient[some]])[stay],
        "hadm_id": known[stay + contents.stays * np.asarray(unknown)],
        "icustay_id": number(stays.stay_id[some])[stay],
    }


def _chart(contents: Contents) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    rows = contents.readings
    older = _older(contents)[rows.stay]
    item, value, written, unit = (column[older + 0, rows.code] for column in _charted())
    return {
        **_stay_ids(contents, rows.stay, contents.unknown),
        "itemid": item,
        "charttime": moment(rows.minute),
        "storetime": moment(rows.stored),
        "cgid": number(contents.block.stays.caregiver[: contents.stays])[rows.stay],
        "value": value,
        "valuenum": written,
        "valueuom": unit,
        "error": choice(["0", "1", "", "1"], contents.errors + 2 * older),
        "stopped": np.where(older, b"NotStopd", b""),
    }


@cache
def _charted() -> tuple[np.ndarray, ...]:
    """Item id, value, number and unit of each code: (2, codes), in MetaVision and in CareVue."""
    import numpy as np

    book, items, older = charted(), charted_items(), words().carevue
    units = {name: facts[1] for name, facts in items.items()}
    export = {"°F": "?F", "°C": "?C"}  # the publisher's export lost the degree sign
    item = [
        [items[name][0] for name in book.item],
        [older.items.get(name, items[name][0]) for name in book.item],
    ]
    unit = [
        [export.get(units[name] or "", units[name]) for name in book.item],
        [older.units.get(name, units[name]) for name in book.item],
    ]
    columns: tuple[Sequence[Sequence[object]], ...] = (item, [book.value, book.carevue], [book.number] * 2, unit)
    return tuple(np.array([[line([text]).encode() for text in row] for row in rows]) for rows in columns)


def _labs(contents: Contents) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    rows, ids = contents.results, _ids(contents)
    item, value, written, unit, flag = (column[rows.code] for column in _tested())
    return {
        "subject_id": ids["subject_id"][rows.admission],
        "hadm_id": np.where(rows.named, ids["hadm_id"][rows.admission], b""),
        "itemid": item,
        "charttime": moment(rows.minute),
        "value": value,
        "valuenum": written,
        "valueuom": unit,
        "flag": flag,
    }


@cache
def _tested() -> tuple[np.ndarray, ...]:
    """Item id, value, number, unit and flag of each code."""
    import numpy as np

    book, tests = tested(), words().labs
    item = [str(tests[name].itemid) for name in book.item]
    unit = [tests[name].unit for name in book.item]
    flag = [flag_of(tests[name], written) for name, written in zip(book.item, book.number, strict=True)]
    return tuple(np.array([text.encode() for text in texts]) for texts in (item, book.value, book.number, unit, flag))


def _outputs(contents: Contents) -> dict[str, np.ndarray | bytes]:
    rows, known = contents.outputs, words()
    older = _older(contents)[rows.stay]
    items = [str(known.outputs[name].itemid) for name in ("void", "foley")]
    items += [str(known.carevue.items[name]) for name in ("void", "foley")]
    return {
        **_stay_ids(contents, rows.stay),
        "charttime": moment(rows.minute),
        "itemid": choice(items, rows.catheter + 2 * older),
        "value": number(rows.volume),
        "valueuom": choice(["mL", "ml"], older + 0),
        "storetime": moment(rows.minute + 4),
        "cgid": number(contents.block.stays.caregiver[: contents.stays])[rows.stay],
    }


def _infusions(contents: Contents, system: str) -> dict[str, np.ndarray | bytes]:
    import numpy as np

    older = _older(contents)[contents.infusions.stay]
    rows = contents.infusions.take(older == (system == _SYSTEMS[0]))
    kind = rows.pressor + 0
    common: dict[str, np.ndarray | bytes] = {
        **_stay_ids(contents, rows.stay),
        "itemid": choice(_INPUTS[system], kind),
        "amount": decimal(rows.amount, 3),
        "amountuom": choice(["mL", "mg"], kind),
        "rate": decimal(rows.rate, 3),
        "rateuom": choice(["mL/hour", "mcg/kg/min"], kind),
        "storetime": moment(rows.end + 5),
    }
    order = number(1 + contents.number * ROWS_A_BLOCK + np.arange(len(rows.start)))
    common |= {"orderid": order, "linkorderid": order}
    if system == _SYSTEMS[0]:
        return common | {"charttime": moment(rows.end)}
    weight = contents.block.patients.weight[contents.block.stays.patient[rows.stay]]
    return common | {
        "starttime": moment(rows.start),
        "endtime": moment(rows.end),
        "patientweight": decimal(np.rint(weight * 10), 1),
        "statusdescription": b"FinishedRunning",
        "originalamount": decimal(rows.amount, 3),
        "originalrate": decimal(rows.rate, 3),
    }


def _diagnoses(contents: Contents) -> dict[str, np.ndarray | bytes]:
    admission, place, illness = coded(contents)
    ids = _ids(contents)
    return {
        "subject_id": ids["subject_id"][admission],
        "hadm_id": ids["hadm_id"][admission],
        "seq_num": number(place),
        "icd9_code": choice([one.icd9[0] for one in words().illnesses.values()], illness),
    }


def _services(contents: Contents) -> dict[str, np.ndarray | bytes]:
    its, some = contents.block.admissions, slice(contents.admissions)
    services = ["SURG" if (name or "").startswith("SURG") else "MED" for name in names_of(KINDS)]
    return {
        **_ids(contents),
        "transfertime": moment(its.start[some]),
        "curr_service": choice(services, its.kind[some]),
    }
