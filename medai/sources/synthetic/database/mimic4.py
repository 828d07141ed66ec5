"""A block in MIMIC-IV's layout (v3.1): tables below ``hosp/`` and ``icu/``, columns as in ``hospital_tables``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from medai.sources.mimic4 import Mimic4
from medai.sources.synthetic.database import mimic4_records as records
from medai.sources.synthetic.database.codebook import charted, tested
from medai.sources.synthetic.database.contents import Contents
from medai.sources.synthetic.database.csv_bytes import choice, decimal, joined, moment, number, table
from medai.sources.synthetic.database.planted import NOWHERE
from medai.sources.synthetic.database.words import charted_items, flag_of, words
from medai.sources.synthetic.hospital_tables import COLUMNS, line

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic.hospital_items import Item

HEADERS = COLUMNS | {
    f"{'icu' if 'stay_id' in columns.split() else 'hosp'}/{name}": columns
    for name, columns in Mimic4.mapping().headers.items()
    if not {f"hosp/{name}", f"icu/{name}"} & COLUMNS.keys()
}
"""Table → its columns; what is described and not generated has a header alone."""
RESULTS_A_BLOCK = 1 << 18
"""Room for a block's numbers in ``labevents``: a million patients stay within 32 bits."""


def tables(contents: Contents) -> dict[str, bytes]:
    """Table → the block's rows as CSV, without the header."""
    return {
        "hosp/patients": records.patients(contents),
        "hosp/admissions": records.admissions(contents),
        "hosp/diagnoses_icd": records.diagnoses(contents),
        "hosp/services": records.services(contents),
        "hosp/transfers": records.transfers(contents),
        "hosp/labevents": _labs(contents),
        "icu/icustays": records.stays(contents),
        "icu/chartevents": _chart(contents),
        "icu/outputevents": _outputs(contents),
        "icu/inputevents": _infusions(contents),
    }


def dictionaries() -> dict[str, bytes]:
    """The tables of what items and codes stand for, without their headers."""
    known = words()
    rows: list[tuple[object, ...]] = []
    for linked, group in (("chartevents", known.chart), ("inputevents", known.inputs), ("outputevents", known.outputs)):
        for item in group.values():
            facts = (item.itemid, item.label, item.abbreviation, linked, item.category, item.unit, item.type)
            rows.append((*facts, *(item.normal or (None, None))))
    for one in known.routine:
        kind = "Numeric" if one.numbers else "Text"
        rows.append((one.itemid, one.label, one.abbreviation, "chartevents", one.category, one.unit, kind, None, None))
    tests = [(test.itemid, test.label, test.fluid, test.category) for test in known.labs.values()]
    codes = [(one.icd9[0], 9, one.icd9[1]) for one in known.illnesses.values()]
    codes += [(one.icd10[0], 10, one.icd10[1]) for one in known.illnesses.values()]
    return {
        name: "".join(line(row) + "\n" for row in sorted(group, key=lambda row: (str(row[0]), str(row[1])))).encode()
        for name, group in (("icu/d_items", rows), ("hosp/d_labitems", tests), ("hosp/d_icd_diagnoses", codes))
    }


def stay_ids(contents: Contents, *more: np.ndarray) -> np.ndarray:
    """Subject, admission, stay and more of each stay as one cell; then the same with an admission that is unknown."""
    import numpy as np

    stays, some = contents.block.stays, slice(contents.stays)
    subject = number(contents.block.patients.subject_id[stays.patient[some]])
    stay = number(stays.stay_id[some])
    hadm_id = contents.hadm_id[some]
    known, unknown = number(np.concatenate([hadm_id, hadm_id + 2 * NOWHERE])).reshape(2, -1)
    return np.concatenate([joined([subject, ids, stay, *more]) for ids in (known, unknown)])


def _chart(contents: Contents) -> bytes:
    rows = contents.readings
    caregiver = number(contents.block.stays.caregiver[: contents.stays])
    ids = stay_ids(contents, caregiver)[rows.stay + contents.stays * contents.unknown]
    return table([ids, moment(rows.minute), moment(rows.stored), _charted()[rows.code]])


@cache
def _charted() -> np.ndarray:
    """Item, value, number, unit and warning of each code."""
    import numpy as np

    book, items = charted(), charted_items()
    texts = []
    for name, value, written in zip(book.item, book.value, book.number, strict=True):
        itemid, unit, low, high = items[name]
        texts.append(line((itemid, value, written, unit, int(bool(written) and not low <= float(written) <= high))))
    return np.array([text.encode() for text in texts])


def _labs(contents: Contents) -> bytes:
    import numpy as np

    rows, its = contents.results, contents.block.admissions
    subject, hadm_id = records.ids_of(contents)
    first = contents.number * RESULTS_A_BLOCK + 1
    head, tail = _tested()
    named = np.where(rows.named, hadm_id[rows.admission], b"")
    return table(
        [
            number(first + np.arange(len(rows.code))),
            subject[rows.admission],
            named,
            number(first + rows.specimen),
            head[rows.code],
            records.providers(its.provider[rows.admission]),
            moment(rows.minute),
            moment(rows.stored),
            tail[rows.code],
            choice(["ROUTINE", "STAT"], rows.stat + 0),
            b"",
        ]
    )


@cache
def _tested() -> tuple[np.ndarray, np.ndarray]:
    """Item id of each code; its value, number, unit, range and flag."""
    import numpy as np

    book, tests = tested(), words().labs
    heads = np.array([str(tests[name].itemid).encode() for name in book.item])
    tails = []
    for name, value, written in zip(book.item, book.value, book.number, strict=True):
        test = tests[name]
        low, high = test.normal
        tails.append(line((value, written, test.unit, f"{low:g}", f"{high:g}", flag_of(test, written))).encode())
    return heads, np.array(tails)


def _outputs(contents: Contents) -> bytes:
    rows, stays = contents.outputs, contents.block.stays
    foley, void = (words().outputs[name] for name in ("foley", "void"))
    ids = stay_ids(contents, number(stays.caregiver[: contents.stays]))
    return table(
        [
            ids[rows.stay],
            moment(rows.minute),
            moment(rows.minute + 4),
            choice([str(void.itemid), str(foley.itemid)], rows.catheter + 0),
            number(rows.volume),
            b"mL",
        ]
    )


ORDERS = (
    "02-Fluids (Crystalloids),Additive (Crystalloid),Main order parameter,Continuous IV",
    "01-Drips,02-Fluids (Crystalloids),Main order parameter,Continuous Med",
)
"""Categories of an order of saline, and of norepinephrine."""


def infused(contents: Contents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, amount and rate with their units as one cell; order's number; patient's weight."""
    rows = contents.infusions
    kind = rows.pressor + 0
    saline, pressor = (_item(words().inputs[name]) for name in ("saline", "norepinephrine"))
    what = joined(
        [
            choice([saline, pressor], kind),
            decimal(rows.amount, 3),
            choice(["mL", "mg"], kind),
            decimal(rows.rate, 3),
            choice(["mL/hour", "mcg/kg/min"], kind),
        ]
    )
    import numpy as np

    order = number(1 + contents.number * (1 << 16) + np.arange(len(rows.start)))
    weight = contents.block.patients.weight[contents.block.stays.patient[rows.stay]]
    return what, order, decimal(np.rint(weight * 10), 1)


def _item(item: Item) -> str:
    return str(item.itemid)


def _infusions(contents: Contents) -> bytes:
    import numpy as np

    rows, stays = contents.infusions, contents.block.stays
    kind = rows.pressor + 0
    what, order, weight = infused(contents)
    return table(
        [
            stay_ids(contents, number(stays.caregiver[: contents.stays]))[rows.stay],
            moment(rows.start),
            moment(rows.end),
            moment(rows.end + 5),
            what,
            order,
            order,
            np.array([text.encode() for text in ORDERS])[kind],
            weight,
            choice(["500", "250"], kind),
            b"mL",
            b"0",
            b"0",
            b"FinishedRunning",
            decimal(rows.amount, 3),
            decimal(rows.rate, 3),
        ]
    )
