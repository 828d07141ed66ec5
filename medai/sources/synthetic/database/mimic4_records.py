"""A block's patients, admissions, moves and stays in MIMIC-IV's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.sources.synthetic.clock import DAY
from medai.sources.synthetic.database.contents import Contents, coded
from medai.sources.synthetic.database.csv_bytes import NEVER, choice, date, decimal, moment, number, signed, table
from medai.sources.synthetic.database.population import YEARS, names_of
from medai.sources.synthetic.database.words import words
from medai.sources.synthetic.patients import INSURANCES, KINDS, LANGUAGES, MARITAL, RACES, TO, UNITS, WARDS

if TYPE_CHECKING:
    import numpy as np

_FROM = ("EMERGENCY ROOM", "PHYSICIAN REFERRAL", "TRANSFER FROM HOSPITAL", "CLINIC REFERRAL")
_CAME = {"URGENT": 2, "DIRECT EMER.": 3}
_SURGICAL = "SURGICAL"
_TENTH = (0.0, 0.0, 0.5, 1.0, 1.0)
"""Share of patients whose illnesses are coded by ICD-10, by the anchor year's group: it came in 2015."""


def patients(contents: Contents) -> bytes:
    """Rows of ``patients``; everybody over 89 is 91."""
    import numpy as np

    who, some = contents.block.patients, slice(contents.patients)
    return table(
        [
            number(who.subject_id[some]),
            choice("MF", who.woman[some].astype(int)),
            number(np.where(who.age > 89, 91, who.age)[some]),
            number(who.anchor_year[some]),
            choice(YEARS, who.years[some]),
            date(who.dod[some]),
        ]
    )


def ids_of(contents: Contents) -> tuple[np.ndarray, np.ndarray]:
    """Subject and admission of each admission that is written."""
    its = contents.block.admissions
    some = slice(contents.admissions)
    return number(contents.block.patients.subject_id[its.patient[some]]), number(its.hadm_id[some])


def providers(numbers: np.ndarray) -> np.ndarray:
    """A provider's sign, ``P12345``."""
    import numpy as np

    signs = np.empty(len(numbers), [("letter", "S1"), ("number", "S5")])
    signs["letter"], signs["number"] = b"P", number(numbers)
    return signs.view("S6")


def admissions(contents: Contents) -> bytes:
    """Rows of ``admissions``."""
    import numpy as np

    its, some = contents.block.admissions, slice(contents.admissions)
    who, patient = contents.block.patients, its.patient[some]
    came = np.array([_CAME.get(name or "", 1) for name in names_of(KINDS)])[its.kind[some]]
    return table(
        [
            *ids_of(contents),
            moment(its.start[some]),
            moment(its.end[some]),
            moment(its.death[some]),
            choice(names_of(KINDS), its.kind[some]),
            providers(its.provider[some]),
            choice(_FROM, np.where(its.registered[some] == NEVER, came, 0)),
            choice([*names_of(TO), "DIED"], its.went_to[some]),
            choice(names_of(INSURANCES["3.1"]), who.insurance[patient]),
            choice(names_of(LANGUAGES["3.1"]), who.language[patient]),
            choice(names_of(MARITAL), who.marital[patient]),
            choice(names_of(RACES), who.race[patient]),
            moment(its.registered[some]),
            moment(its.left[some]),
            number((its.death[some] != NEVER).astype(int)),
        ]
    )


def diagnoses(contents: Contents) -> bytes:
    """Rows of ``diagnoses_icd``: ICD-9 in the earlier years, ICD-10 in the later."""
    import numpy as np

    subject, hadm_id = ids_of(contents)
    admission, place, illness = coded(contents)
    who = contents.block.patients
    patient = contents.block.admissions.patient[admission]
    # In the group of the change one half of the patients, by their number.
    tenth = (who.subject_id % 2 + 1) / 2 <= np.array(_TENTH)[who.years]
    known = list(words().illnesses.values())
    codes = [one.icd9[0] for one in known] + [one.icd10[0] for one in known]
    later = tenth[patient].astype(int)
    return table(
        [
            subject[admission],
            hadm_id[admission],
            number(place),
            choice(codes, illness + len(known) * later),
            choice(["9", "10"], later),
        ]
    )


def services(contents: Contents) -> bytes:
    """Rows of ``services``."""
    import numpy as np

    its, some = contents.block.admissions, slice(contents.admissions)
    kinds = names_of(KINDS)
    surgical = np.array([(name or "").startswith(_SURGICAL) for name in kinds])[its.kind[some]]
    return table([*ids_of(contents), moment(its.start[some]), b"", choice(["MED", "SURG"], surgical + 0)])


def transfers(contents: Contents) -> bytes:
    """Emergency department, ward before, intensive care, ward between and after, discharge: what there was of them."""
    import numpy as np

    its, stays, some = contents.block.admissions, contents.block.stays, slice(contents.admissions)
    subject, hadm_id = ids_of(contents)
    wards, units = names_of(WARDS), names_of(UNITS)
    places = [*units, *wards, "Emergency Department", "UNKNOWN"]
    emergency, unknown = len(places) - 2, len(places) - 1
    ward = len(units) + its.ward[some]
    everybody = np.arange(contents.admissions)
    urgent = everybody[its.registered[some] != NEVER]
    mine = slice(contents.stays)
    lain, begun, left, unit = stays.admission[mine], stays.start[mine], stays.end[mine], stays.first[mine]
    free = its.start[some].copy()
    parts: list[tuple[np.ndarray, ...]] = []

    def move(which: np.ndarray, begin: np.ndarray, end: np.ndarray, place: np.ndarray | int, sort: int) -> None:
        parts.append(tuple(np.broadcast_to(column, len(which)) for column in (which, begin, end, place, sort)))

    move(urgent, its.registered[urgent], its.left[urgent], emergency, 0)
    for turn in (0, 1):
        which = stays.turn[mine] == turn
        admission = lain[which]
        waited = begun[which] > free[admission]
        move(admission[waited], free[admission][waited], begun[which][waited], ward[admission][waited], 2)
        move(admission, begun[which], left[which], unit[which], 2)
        free[admission] = left[which]
    after = free < its.end[some]
    move(everybody[after], free[after], its.end[some][after], ward[after], 2)
    move(everybody, its.end[some], np.full(contents.admissions, NEVER), unknown, 3)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[4], columns[1], columns[0]))
    admission, begin, end, place, sort = (column[order] for column in columns)
    first = np.searchsorted(admission, admission)
    step = np.arange(len(admission)) - first
    # The first place within the hospital is an admission.
    sort = np.where((sort == 2) & (begin == its.start[admission]), 1, sort)
    return table(
        [
            subject[admission],
            hadm_id[admission],
            number(its.hadm_id[admission] * 8 + step),
            choice(["ED", "admit", "transfer", "discharge"], sort),
            choice(places, place),
            moment(begin),
            moment(end),
        ]
    )


def stays(contents: Contents) -> bytes:
    """Rows of ``icustays``."""
    import numpy as np

    stays, some = contents.block.stays, slice(contents.stays)
    turned = contents.turned[some]
    start, end = stays.start[some], stays.end[some]
    first, last = np.where(turned, end, start), np.where(turned, start, end)
    length = decimal(np.rint((end - start) / DAY * 1e6), 6)
    return table(
        [
            number(contents.block.patients.subject_id[stays.patient[some]]),
            number(contents.hadm_id[some]),
            number(stays.stay_id[some]),
            choice(names_of(UNITS), stays.first[some]),
            choice(names_of(UNITS), stays.last[some]),
            moment(first),
            moment(last),
            signed(length, turned),
        ]
    )
