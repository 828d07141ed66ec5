"""A patient of the synthetic hospital: who it is, when it came, in which units it lay, how each admission ended.

Outcomes are drawn first. A patient's latent severity is then shifted by the outcome, as strongly as ``signal`` says,
and everything that is measured follows the severity. Nothing else depends on the outcome but what happens after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from medai.sources.synthetic.clock import DAY, HOUR
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticHospital

PERSON, PICTURES, FAULTS, ADMISSIONS = 0, 1, 2, 8
"""Parts of a patient's stream; each admission has four, from ADMISSIONS on: course, chart, labs, labs of the ward."""
_SHIFT = 2.2
"""How far the severities of those who die and those who live lie apart at signal 1, in standard deviations."""
_MOST_ADMISSIONS = 5
_IDS = 70
"""Room for the ids of one patient in each series of ids; five admissions have at most 35 transfers."""

Choice = tuple[tuple[str | None, float], ...]

RACES: Choice = (
    ("WHITE", 0.62), ("BLACK/AFRICAN AMERICAN", 0.14), ("UNKNOWN", 0.06), ("OTHER", 0.05),
    ("HISPANIC/LATINO - PUERTO RICAN", 0.04), ("WHITE - RUSSIAN", 0.03), ("ASIAN - CHINESE", 0.03), ("ASIAN", 0.03),
)  # fmt: skip
LANGUAGES: dict[str, Choice] = {
    "2.2": (("ENGLISH", 0.9), ("?", 0.1)),
    "3.1": (("English", 0.9), ("Spanish", 0.03), ("Russian", 0.02), ("Chinese", 0.02), ("Kabuverdianu", 0.015),
            (None, 0.015)),
}  # fmt: skip
INSURANCES: dict[str, Choice] = {
    "2.2": (("Medicare", 0.42), ("Other", 0.48), ("Medicaid", 0.1)),
    "3.1": (("Medicare", 0.42), ("Private", 0.34), ("Medicaid", 0.18), ("Other", 0.04), (None, 0.015),
            ("No charge", 0.005)),
}  # fmt: skip
MARITAL: Choice = (("MARRIED", 0.44), ("SINGLE", 0.35), ("WIDOWED", 0.12), ("DIVORCED", 0.07), (None, 0.02))
_GROUPS = {
    "2.2": ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019"),
    "3.1": ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019", "2020 - 2022"),
}
KINDS: Choice = (
    ("EW EMER.", 0.46), ("OBSERVATION ADMIT", 0.16), ("URGENT", 0.13), ("SURGICAL SAME DAY ADMISSION", 0.12),
    ("DIRECT EMER.", 0.07), ("ELECTIVE", 0.06),
)  # fmt: skip
_EMERGENCIES = ("EW EMER.", "OBSERVATION ADMIT")
_FROM = {"URGENT": "TRANSFER FROM HOSPITAL", "DIRECT EMER.": "CLINIC REFERRAL"}
TO: Choice = (
    ("HOME", 0.4), ("HOME HEALTH CARE", 0.26), ("SKILLED NURSING FACILITY", 0.19), ("REHAB", 0.08),
    ("CHRONIC/LONG TERM ACUTE CARE", 0.04), ("HOSPICE", 0.03),
)  # fmt: skip
UNITS: Choice = (
    ("Medical Intensive Care Unit (MICU)", 0.22), ("Cardiac Vascular Intensive Care Unit (CVICU)", 0.19),
    ("Medical/Surgical Intensive Care Unit (MICU/SICU)", 0.17), ("Surgical Intensive Care Unit (SICU)", 0.16),
    ("Trauma SICU (TSICU)", 0.13), ("Coronary Care Unit (CCU)", 0.11),
    ("Neuro Surgical Intensive Care Unit (Neuro SICU)", 0.02),
)  # fmt: skip
WARDS: Choice = (("Medicine", 0.4), ("Med/Surg", 0.3), ("Surgery", 0.15), ("Neurology", 0.08), ("Cardiology", 0.07))


@dataclass(slots=True)
class Stay:
    """A stay in intensive care; times in minutes (see ``clock``)."""

    stay_id: int
    start: int
    end: int
    first_unit: str
    last_unit: str


@dataclass(slots=True)
class Transfer:
    """A place within an admission; ``end`` is None after discharge."""

    transfer_id: int
    kind: str
    unit: str | None
    start: int
    end: int | None


@dataclass(slots=True)
class Admission:
    """A stay in hospital.

    Attributes:
        number: 0 is the patient's first.
        death: the time of death in hospital.
        emergency: registration in and departure from the emergency department.
        severity: latent; what is measured follows it.
    """

    number: int
    hadm_id: int
    start: int
    end: int
    death: int | None
    kind: str
    came_from: str
    went_to: str
    emergency: tuple[int, int] | None
    severity: float
    stays: list[Stay]
    transfers: list[Transfer]
    provider: str
    pneumonia: bool = False


@dataclass(slots=True)
class Patient:
    """A patient; ``dod`` is a day number, ``age`` the one at the first admission, which is in the anchor year."""

    subject: int
    subject_id: int
    gender: str
    age: int
    anchor_year: int
    year_group: str
    race: str | None
    language: str | None
    insurance: str | None
    marital: str | None
    pneumonia: bool
    height: float
    weight: float
    own: np.ndarray
    dod: int | None = None
    admissions: list[Admission] = field(default_factory=list)

    @property
    def anchor_age(self) -> int:
        """As MIMIC-IV gives it: everybody over 89 is 91."""
        return 91 if self.age > 89 else self.age


def pick(choice: Choice, chance: float) -> str | None:
    """The value that a chance from 0 to 1 falls on."""
    for value, share in choice:
        chance -= share
        if chance < 0:
            return value
    return choice[0][0]


def chosen(choice: Choice, chance: float) -> str:
    """As ``pick``, where every value is known."""
    return pick(choice, chance) or ""


def patient_of(config: SyntheticHospital, subject: int, variables: int) -> Patient:
    """Draw a patient with all its admissions.

    Args:
        subject: the patient's number.
        variables: how many personal deviations to draw, one for each variable that is measured.
    """
    stream = stream_of(config.seed, subject, PERSON)
    chance = stream.random(20).tolist()
    normal = stream.standard_normal(4).tolist()
    woman = chance[0] < 0.48
    groups = _GROUPS[config.version]
    first_day = date(2110 + int(71 * chance[3]), 1, 1).toordinal() + int(365 * chance[4])
    tilt = 0.15 * min(1.0, config.signal)
    patient = Patient(
        subject=subject,
        subject_id=10_000_000 + _IDS * subject + int(_IDS * chance[1]),
        gender="F" if woman else "M",
        age=min(102, max(18, round(63 + 17 * normal[0]))),
        anchor_year=date.fromordinal(first_day).year,
        year_group=groups[int(len(groups) * chance[5])],
        race=pick(RACES, chance[6]),
        language=pick(LANGUAGES[config.version], chance[7]),
        insurance=pick(INSURANCES[config.version], chance[8]),
        marital=pick(MARITAL, chance[9]),
        pneumonia=chance[10] < config.pneumonia * (1 - tilt if woman else 1 + tilt),
        height=(163 if woman else 176) + 7 * normal[1],
        weight=max(38.0, (72 if woman else 86) + 15 * normal[2]),
        own=stream.standard_normal(variables),
    )
    admissions = 1 + sum(chance[11] < share for share in (0.3, 0.12, 0.05, 0.02))
    start = first_day * DAY + int(DAY * chance[12])
    used = 0
    for number in range(min(admissions, _MOST_ADMISSIONS)):
        admission, used = _admission(config, patient, number, start, used)
        patient.admissions.append(admission)
        if admission.death is not None:
            patient.dod = admission.death // DAY
            return patient
        start = admission.end + int(DAY * (20 + 300 * min(3.0, stream.standard_exponential())))
    if chance[13] < 0.1:
        patient.dod = patient.admissions[-1].end // DAY + 1 + int(360 * chance[14])
    return patient


def _admission(
    config: SyntheticHospital, patient: Patient, number: int, start: int, used: int
) -> tuple[Admission, int]:
    """An admission that begins at about ``start``, and how many transfer ids of the patient are used after it."""
    stream = stream_of(config.seed, patient.subject, ADMISSIONS + 4 * number)
    chance = stream.random(24).tolist()
    slow = stream.standard_exponential(6).tolist()
    base = _IDS * patient.subject
    kind = chosen(KINDS, chance[0])
    emergency = (start - int(90 + 300 * chance[1]), start + int(60 * chance[2])) if kind in _EMERGENCIES else None
    transfers: list[Transfer] = []

    def move(unit: str | None, begin: int, end: int | None, kind: str = "transfer") -> int:
        identity = 30_000_000 + base + 2 * (used + len(transfers)) + (begin & 1)
        transfers.append(Transfer(identity, kind, unit, begin, end))
        return identity

    if emergency is not None:
        move("Emergency Department", *emergency, kind="ED")
    ward = chosen(WARDS, chance[3])
    stays: list[Stay] = []
    now = start
    if chance[4] < 0.38:
        for turn in range(2 if chance[5] < 0.1 else 1):
            direct = turn == 0 and chance[6] < 0.6
            begin = now + (int(5 + 100 * chance[7]) if direct else int(HOUR * (6 + 40 * chance[8 + turn])))
            if begin - now > HOUR:
                move(ward, now, begin, "admit" if now == start else "transfer")
            first = chosen(UNITS, chance[10 + turn])
            last = chosen(UNITS, chance[12 + turn]) if chance[14 + turn] < 0.1 else first
            now = begin + min(30 * DAY, int(HOUR * (20 + 55 * slow[turn])))
            stays.append(Stay(move(first, begin, now), begin, now, first, last))
    died, severity = _outcome(config, patient, bool(stays), chance[16], float(stream.standard_normal()))
    after = int(HOUR * (14 + 60 * slow[2]))
    if died:
        after = 0 if stays and chance[17] < 0.75 else int(HOUR * (2 + 40 * chance[18]))
    end = now + min(40 * DAY, after)
    if end > now:
        move(ward, now, end, "admit" if now == start else "transfer")
    move(None, end, None, "discharge")
    admission = Admission(
        number=number,
        hadm_id=20_000_000 + base + _IDS // _MOST_ADMISSIONS * number + int(_IDS // _MOST_ADMISSIONS * chance[19]),
        start=start,
        end=end,
        death=end if died else None,
        kind=kind,
        came_from="EMERGENCY ROOM" if emergency is not None else _FROM.get(kind, "PHYSICIAN REFERRAL"),
        went_to="DIED" if died else chosen(TO, chance[20]),
        emergency=emergency,
        severity=severity,
        stays=stays,
        transfers=transfers,
        provider=f"P{int(chance[21] * 90_000 + 10_000)}",
        pneumonia=patient.pneumonia and chance[22] < 0.7,
    )
    return admission, used + len(transfers)


def _outcome(
    config: SyntheticHospital, patient: Patient, intensive: bool, chance: float, normal: float
) -> tuple[bool, float]:
    """Whether the patient dies in this admission, and its severity.

    Men and the old die a little more often, as far as there is a signal at all.
    """
    tilt = min(1.0, config.signal)
    risk = config.mortality if intensive else config.mortality / 8
    risk *= 1 + tilt * ((-0.15 if patient.gender == "F" else 0.14) + 0.008 * (patient.age - 63))
    risk = min(0.95, max(0.001, risk))
    died = chance < risk
    return died, normal + _SHIFT * config.signal * (died - risk)
