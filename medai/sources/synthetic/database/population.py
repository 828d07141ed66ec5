"""A block of patients: who they are, when they came, what they had, in which units they lay, how it ended.

All of a block is drawn at once, each kind of thing from a stream of its own, so a block depends on the seed and its
number alone. A patient's place in the block is his index. Times are minutes since 1970, spans are minutes.

Skew as in real hospitals: admissions of a patient follow a power law (one in k² has k or more), stays in intensive care
are log-normal. Illness, severity and death are drawn together: each illness multiplies the risk of death, and severity
is shifted by the outcome as strongly as ``signal`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.csv_bytes import DAY, NEVER, first_of, year_of
from medai.sources.synthetic.database.words import words
from medai.sources.synthetic.patients import INSURANCES, KINDS, LANGUAGES, MARITAL, RACES, TO, UNITS, WARDS, Choice
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase

BLOCK = 128
"""Patients of a block: some 40 stays in intensive care, 15 MB of chart."""
PEOPLE, ADMISSIONS, ILLNESSES, CHART, LABS, FLUIDS, FAULTS = range(7)
"""Streams of a block."""
MOST_ADMISSIONS = 60
YEARS = ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019", "2020 - 2022")
HOUR = 60
_MEDIAN_STAY, _SPREAD_STAY = 46 * HOUR, 1.05
"""Stays in intensive care: median, and standard deviation of the logarithm."""
_LONGEST_STAY = 60 * DAY
MEAN_STAY = 79 * HOUR
"""Mean of what is drawn, for whoever must know the rows of a stay beforehand; a test holds it."""
STAYS_A_PATIENT = 1.7
"""Admissions of a patient, and stays of an admission with intensive care, multiplied: mean, for such estimates."""
_SHIFT = 2.2
"""How far the severities of those who die and those who live lie apart at signal 1, in standard deviations."""
_ELSEWHERE = 3
"""How much rarer an illness is, where nobody needs intensive care."""
_EMERGENCIES = 2
"""The first kinds of admission come through the emergency department."""


@dataclass(slots=True)
class Patients:
    """Arrays of a block's patients; what is told in words is the index of a word, -1 for none."""

    subject_id: np.ndarray
    woman: np.ndarray
    age: np.ndarray
    """At the first admission, which is in the anchor year."""
    anchor_year: np.ndarray
    years: np.ndarray
    """The index of the anchor year's group in YEARS."""
    race: np.ndarray
    language: np.ndarray
    insurance: np.ndarray
    marital: np.ndarray
    height: np.ndarray
    weight: np.ndarray
    own: np.ndarray
    """Own deviation of each variable, in standard deviations: (patients, variables)."""
    birthday: np.ndarray
    dod: np.ndarray
    """The day of death, or NEVER."""


@dataclass(slots=True)
class Admissions:
    """Arrays of a block's admissions, ordered by patient and time."""

    patient: np.ndarray
    number: np.ndarray
    hadm_id: np.ndarray
    start: np.ndarray
    end: np.ndarray
    death: np.ndarray
    kind: np.ndarray
    went_to: np.ndarray
    provider: np.ndarray
    ward: np.ndarray
    registered: np.ndarray
    """Arrival in the emergency department, or NEVER."""
    left: np.ndarray
    drifted: np.ndarray
    """How far practice has drifted by the real year: 0 in 2008, ``drift`` in 2023."""
    severity: np.ndarray
    illness: np.ndarray
    """(admissions, illnesses)."""
    intensive_from: np.ndarray
    intensive_to: np.ndarray
    """First and last minute in intensive care; NEVER."""
    injured: np.ndarray
    """The onset of an acute kidney injury, or NEVER."""
    injury: np.ndarray
    """How many times its own level the creatinine rises by."""


@dataclass(slots=True)
class Stays:
    """Arrays of a block's stays in intensive care, ordered by admission and time."""

    admission: np.ndarray
    patient: np.ndarray
    turn: np.ndarray
    stay_id: np.ndarray
    start: np.ndarray
    end: np.ndarray
    first: np.ndarray
    last: np.ndarray
    caregiver: np.ndarray


@dataclass(slots=True)
class Block:
    """A block's patients, admissions and stays."""

    patients: Patients
    admissions: Admissions
    stays: Stays


def block_of(config: SyntheticDatabase, number: int) -> Block:
    """Draw a block of patients, whole, whatever the size of the database."""
    patients, counts, first_day = _people(config, number)
    admissions, stays = _admitted(config, number, patients, counts, first_day)
    return Block(patients, admissions, stays)


def names_of(choice: Choice) -> list[str | None]:
    """The words that can be chosen."""
    return [name for name, _ in choice]


def exponential(x: np.ndarray) -> np.ndarray:
    """e to the x by products alone, so that it is the same on every machine; right to 1 % within -4 and 4."""
    power: np.ndarray = 1 + x / 1024
    for _ in range(10):
        power = power * power
    return power


def picked(choice: Choice, chance: np.ndarray) -> np.ndarray:
    """The index of the word that a chance from 0 to 1 falls on."""
    import numpy as np

    limits = np.array([share for _, share in choice]).cumsum()
    return np.minimum(np.searchsorted(limits, chance, side="right"), len(choice) - 1)


def _people(config: SyntheticDatabase, number: int) -> tuple[Patients, np.ndarray, np.ndarray]:
    """Patients, the admissions that each would have, the day of the first."""
    import numpy as np

    stream = stream_of(config.seed, number, PEOPLE)
    chance = stream.random((14, BLOCK))
    normal = stream.standard_normal((3, BLOCK))
    subjects = number * BLOCK + np.arange(BLOCK)
    woman = chance[0] < 0.48
    first_day = first_of(2110 + (71 * chance[1]).astype(np.int64)) + (365 * chance[2]).astype(np.int64)
    age = np.clip(np.rint(63 + 17 * normal[0]), 18, 102).astype(np.int64)
    patients = Patients(
        subject_id=10_000_000 + 7 * subjects + (7 * chance[3]).astype(np.int64),
        woman=woman,
        age=age,
        anchor_year=year_of(first_day),
        years=(len(YEARS) * chance[4]).astype(np.int64),
        race=picked(RACES, chance[5]),
        language=picked(LANGUAGES["3.1"], chance[6]),
        insurance=picked(INSURANCES["3.1"], chance[7]),
        marital=picked(MARITAL, chance[8]),
        height=np.rint(np.where(woman, 163, 176) + 7 * normal[1]).astype(np.int64),
        weight=np.maximum(38, np.where(woman, 72, 86) + 15 * normal[2]),
        own=stream.standard_normal((BLOCK, len(words().courses))),
        birthday=first_day - (365.2425 * (age + chance[9])).astype(np.int64),
        dod=np.full(BLOCK, NEVER),
    )
    # One in k² patients has k admissions or more.
    counts = np.minimum(MOST_ADMISSIONS, 1 / np.sqrt(1 - chance[10])).astype(np.int64)
    return patients, counts, first_day


def _admitted(
    config: SyntheticDatabase, number: int, patients: Patients, counts: np.ndarray, first_day: np.ndarray
) -> tuple[Admissions, Stays]:
    """Admissions up to the one that ends in death, and their stays; ``patients.dod`` is filled in."""
    import numpy as np

    stream = stream_of(config.seed, number, ADMISSIONS)
    total = int(counts.sum())
    chance = stream.random((30, total))
    normal = stream.standard_normal((3, total))
    slow = stream.standard_exponential((3, total))
    patient = np.repeat(np.arange(BLOCK), counts)
    turn = np.arange(total) - np.repeat(counts.cumsum() - counts, counts)
    tilt = min(1.0, config.signal)

    intensive = chance[0] < config.intensive
    illness = _illnesses(config.seed, number, patient, intensive)
    firsts = counts.cumsum() - counts
    drifted = config.drift * (0.1 + 0.2 * patients.years + 0.1 * chance[1, firsts])[patient]
    risk = np.where(intensive, config.mortality, config.mortality / 8)
    for place, one in enumerate(words().illnesses.values()):
        share = one.share
        risk = risk * np.where(illness[:, place], one.risk, 1) / (1 + share * (one.risk - 1))
    risk = risk * (1 + tilt * (np.where(patients.woman, -0.15, 0.14) + 0.008 * (patients.age - 63))[patient])
    risk = risk * (1 - 0.3 * drifted)
    risk = np.clip(risk, 0.001, 0.95)
    died = chance[2] < risk
    severity = normal[0] + _SHIFT * config.signal * (died - risk)

    # What happens within an admission, in minutes since its start: ward, up to two stays, ward.
    emergency = (kind := picked(KINDS, chance[3])) < _EMERGENCIES
    direct = chance[4] < 0.6
    length = [
        np.clip(_MEDIAN_STAY * exponential(_SPREAD_STAY * spread), 4 * HOUR, _LONGEST_STAY).astype(np.int64)
        for spread in (0.93 * normal[1] + 0.37 * tilt * severity, normal[2])
    ]
    start = [np.where(direct, 5 + 100 * chance[5], HOUR * (6 + 40 * chance[6])).astype(np.int64)]
    end = [start[0] + length[0]]
    start.append(end[0] + (HOUR * (6 + 40 * chance[7])).astype(np.int64))
    end.append(start[1] + length[1])
    again = intensive & (chance[8] < 0.08)
    begun, left = np.where(intensive, start[0], NEVER), np.where(again, end[1], np.where(intensive, end[0], NEVER))
    after = np.minimum(40 * DAY, (HOUR * (14 + 60 * slow[0])).astype(np.int64))
    short = np.where(intensive & (chance[9] < 0.75), 0, HOUR * (2 + 40 * chance[10])).astype(np.int64)
    stayed = np.maximum(left, 0) + np.where(died, short, after)

    # Admissions follow each other; frequent patients come back sooner, the last group's before its years are over.
    gap = (DAY * (6 + 300 / (1 + 0.2 * counts[patient]) * np.minimum(slow[1], 3))).astype(np.int64)
    gap = gap * (len(YEARS) - patients.years[patient]) // len(YEARS) + DAY
    spans = (stayed + gap).cumsum()
    before = spans - (stayed + gap)
    first = first_day * DAY + (DAY * chance[11, firsts]).astype(np.int64)
    admitted = first[patient] + before - before[firsts][patient]

    dead_before = died.cumsum() - died
    kept = dead_before == dead_before[firsts][patient]
    onset = _injured(illness, begun, left, chance[12])
    admissions = Admissions(
        patient=patient,
        number=turn,
        hadm_id=20_000_000 + MOST_ADMISSIONS * (number * BLOCK + patient) + turn,
        start=admitted,
        end=admitted + stayed,
        death=np.where(died, admitted + stayed, NEVER),
        kind=kind,
        went_to=np.where(died, len(TO), picked(TO, chance[13])),
        provider=(10_000 + 90_000 * chance[14]).astype(np.int64),
        ward=picked(WARDS, chance[15]),
        registered=np.where(emergency, admitted - (90 + 300 * chance[16]).astype(np.int64), NEVER),
        left=np.where(emergency, admitted + (60 * chance[17]).astype(np.int64), NEVER),
        drifted=drifted,
        severity=severity,
        illness=illness,
        intensive_from=np.where(intensive, admitted + begun, NEVER),
        intensive_to=np.where(intensive, admitted + left, NEVER),
        injured=np.where(onset == NEVER, NEVER, admitted + onset),
        injury=0.8 + 1.7 * chance[18],
    )
    there = np.stack([intensive, again], axis=1) & kept[:, None]
    units = picked(UNITS, chance[19]), picked(UNITS, chance[20])
    changed = picked(UNITS, chance[21]), picked(UNITS, chance[22])
    places = np.where(kept, kept.cumsum() - 1, -1)
    which, turns = np.nonzero(there)
    first_unit = np.stack(units, axis=1)[which, turns]
    moved = chance[23 + turns, which] < 0.1
    stays = Stays(
        admission=places[which],
        patient=patient[which],
        turn=turns,
        stay_id=30_000_000 + 2 * (admissions.hadm_id[which] - 20_000_000) + turns,
        start=(admitted[:, None] + np.stack(start, axis=1))[which, turns],
        end=(admitted[:, None] + np.stack(end, axis=1))[which, turns],
        first=first_unit,
        last=np.where(moved, np.stack(changed, axis=1)[which, turns], first_unit),
        caregiver=(10_000 + 90_000 * chance[25 + turns, which]).astype(np.int64),
    )
    later = kept & (chance[27] < 0.1) & (np.append(patient[1:], -1) != patient)
    patients.dod[patient[later]] = ((admitted + stayed) // DAY + 1 + (360 * chance[28]).astype(np.int64))[later]
    dead = kept & died
    patients.dod[patient[dead]] = ((admitted + stayed) // DAY)[dead]
    return Admissions(**{name: getattr(admissions, name)[kept] for name in Admissions.__slots__}), stays


def _illnesses(seed: int, number: int, patient: np.ndarray, intensive: np.ndarray) -> np.ndarray:
    """Who has what in which admission: the chronic ones in each of a patient's."""
    import numpy as np

    stream = stream_of(seed, number, ILLNESSES)
    known = list(words().illnesses.values())
    lasting = stream.random((BLOCK, len(known)))[patient]
    passing = stream.random((len(patient), len(known)))
    share = np.array([one.share for one in known])
    chronic = np.array([one.chronic for one in known])
    rare = np.where(intensive, 1, 1 / _ELSEWHERE)[:, None]
    has: np.ndarray = np.where(chronic, lasting < share, passing < share * rare)
    return has


def _injured(illness: np.ndarray, begun: np.ndarray, left: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """When a kidney is injured, since the admission's start: within the first week of intensive care, or on arrival."""
    import numpy as np

    has = illness[:, list(words().illnesses).index("kidney_injury")] & (begun != NEVER)
    span = np.minimum(left - begun, 7 * DAY)
    onset = begun + 12 * HOUR + (np.maximum(0, span - 18 * HOUR) * chance).astype(np.int64)
    return np.where(has, np.where(span > DAY, onset, begun - 12 * HOUR), NEVER)
