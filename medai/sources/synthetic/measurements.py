"""What is charted in intensive care: vital signs, the coma scale, breathing, weight, urine, infusions.

Each variable runs around a level of its own for each patient and follows the severity more as the hours pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.clock import DAY, HOUR, time_text
from medai.sources.synthetic.hospital_items import Course, Item, items
from medai.sources.synthetic.hospital_tables import line
from medai.sources.synthetic.patients import ADMISSIONS, Admission, Patient, Stay
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

_VITALS = ("heart_rate", "nbp_systolic", "nbp_diastolic", "respiratory_rate", "spo2")
_SLOW = ("temperature_celsius", "fio2", "foley", "void")
_LABS = tuple(items().labs)
VARIABLES = (*_VITALS, *_SLOW, *_LABS, "coma")
"""Variables with a personal deviation, in the order of ``Patient.own``."""
_PLACE = {name: place for place, name in enumerate(VARIABLES)}
_COURSE_HOURS = 48
_LAST_COURSE = 72 * HOUR
_CHART_DELAY = 45
"""Mean minutes until a nurse's reading is stored; some are stored before the time that they are charted for."""


@dataclass
class Readings:
    """The chart of a stay, ordered by time: arrays of equal length.

    Attributes:
        minute, stored: when charted and when stored, in minutes (see ``clock``).
        itemid: of MIMIC.
        value, number: as text and as number in text; ``number`` is empty where there is none.
    """

    minute: np.ndarray
    stored: np.ndarray
    itemid: np.ndarray
    value: list[str]
    number: list[str]


def course_of(severity: float, minutes: np.ndarray) -> np.ndarray:
    """How far a severity has moved a variable, ``minutes`` after the stay began (before: as at its beginning)."""
    import numpy as np

    hours = np.clip(minutes, 0, _LAST_COURSE) / HOUR
    course: np.ndarray = severity * (0.5 + 0.8 * hours / _COURSE_HOURS)
    return course


def values_of(course: Course, own: float, moved: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Values of a variable, within its limits."""
    import numpy as np

    low, high = course.limits
    values: np.ndarray = np.clip(
        course.level + course.between * own + course.change * moved + course.within * noise, low, high
    )
    return values


def own_of(patient: Patient, variable: str) -> float:
    """The patient's own deviation of a variable, in standard deviations."""
    return float(patient.own[_PLACE[variable]])


def chart_of(seed: int, patient: Patient, admission: Admission) -> list[Readings]:
    """The chart of each stay of an admission."""
    stream = stream_of(seed, patient.subject, ADMISSIONS + 4 * admission.number + 1)
    return [_chart(stream, patient, admission, stay) for stay in admission.stays]


def _chart(stream: np.random.Generator, patient: Patient, admission: Admission, stay: Stay) -> Readings:
    import numpy as np

    chart = items().chart
    chance = stream.random(16).tolist()
    length = stay.end - stay.start
    parts: list[tuple[np.ndarray, np.ndarray, list[str], list[str] | None]] = []

    def add(item: Item, minutes: np.ndarray, values: np.ndarray, decimals: int) -> None:
        if len(minutes):
            text = [f"{value:.{decimals}f}" for value in values.tolist()]
            parts.append((minutes, np.full(len(minutes), item.itemid), text, None))

    def reading(name: str, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        item = chart[name]
        minutes = _times(stream, stay, item.every) if share > 0 else np.empty(0, np.int64)
        moved = course_of(admission.severity, minutes - stay.start)
        return minutes, values_of(item, own_of(patient, name), moved, stream.standard_normal(len(minutes)))

    # Vital signs share their times; an arterial line, where there is one, lies from the beginning.
    minutes = _times(stream, stay, HOUR)
    moved = course_of(admission.severity, minutes - stay.start)
    noise = stream.standard_normal((len(_VITALS), len(minutes)))
    there = stream.random((len(_VITALS), len(minutes))) < 0.95
    vitals = {
        name: values_of(chart[name], own_of(patient, name), moved, noise[place]) for place, name in enumerate(_VITALS)
    }
    vitals["nbp_systolic"] = np.maximum(vitals["nbp_systolic"], vitals["nbp_diastolic"] + 10)
    for place, name in enumerate(_VITALS):
        if not name.startswith("nbp"):
            add(chart[name], minutes[there[place]], vitals[name][there[place]], 0)
    mean = (vitals["nbp_systolic"] + 2 * vitals["nbp_diastolic"]) / 3
    line_end = stay.start + int(length * chance[1]) if chance[0] < 0.4 else stay.start
    for name, values in (
        ("systolic", vitals["nbp_systolic"]),
        ("diastolic", vitals["nbp_diastolic"]),
        ("mean", mean),
    ):
        for way, where in (("abp", minutes < line_end), ("nbp", minutes >= line_end)):
            shown = where & there[1]
            add(chart[f"{way}_{name}"], minutes[shown], values[shown], 0)

    minutes, celsius = reading("temperature_celsius")
    if chance[2] < 0.85:
        add(chart["temperature_fahrenheit"], minutes, celsius * 1.8 + 32, 1)
    else:
        add(chart["temperature_celsius"], minutes, celsius, 1)
    add(chart["fio2"], *reading("fio2", share=float(chance[3] < 0.6)), 0)
    parts += _coma(stream, patient, admission, stay, intubated=chance[4] < 0.3)
    weight = patient.weight + 2 * (chance[5] - 0.5)
    if chance[6] < 0.92:
        add(chart["admission_weight"], np.array([stay.start + int(60 * chance[7])]), np.array([weight]), 1)
    if chance[8] < 0.6:
        days = np.arange(stay.start + 6 * HOUR, stay.end, DAY)
        add(chart["daily_weight"], days, weight + stream.standard_normal(len(days)), 1)
    if chance[9] < 0.55:
        add(chart["height"], np.array([stay.start + int(90 * chance[10])]), np.array([patient.height]), 0)
    return _ordered(stream, parts)


def _coma(
    stream: np.random.Generator, patient: Patient, admission: Admission, stay: Stay, *, intubated: bool
) -> list[tuple[np.ndarray, np.ndarray, list[str], list[str] | None]]:
    """The three scores of the coma scale at the same times, as words with their number beside."""
    import numpy as np

    words = items()
    minutes = _times(stream, stay, 4 * HOUR)
    lost = 1.6 * course_of(admission.severity, minutes - stay.start) + 1.2 * own_of(patient, "coma")
    lost = lost + 0.8 * stream.standard_normal(len(minutes))
    parts: list[tuple[np.ndarray, np.ndarray, list[str], list[str] | None]] = []
    for name, share, best in (("gcs_eye", 0.3, 4), ("gcs_verbal", 0.35, 5), ("gcs_motor", 0.35, 6)):
        # At severity nought about two points of fifteen are lost.
        scores = np.clip(np.rint(best - share * (lost + 2)), 1, best).astype(np.int64).tolist()
        tube = intubated and name == "gcs_verbal"
        if tube:
            scores = [1] * len(scores)
        text = [words.intubated if tube else words.coma_scale[name][score - 1] for score in scores]
        ids = np.full(len(minutes), words.chart[name].itemid)
        parts.append((minutes, ids, text, [str(score) for score in scores]))
    return parts


def _times(stream: np.random.Generator, stay: Stay, every: int) -> np.ndarray:
    """Times within a stay, about ``every`` minutes apart; more often than not on the hour, as nurses chart."""
    import numpy as np

    length = stay.end - stay.start
    count = max(1, round(length / every * (0.8 + 0.4 * stream.random())))
    minutes = stay.start + np.sort(stream.integers(0, length, count))
    on_the_hour = -(-minutes // HOUR) * HOUR
    full = (stream.random(count) < 0.6) & (on_the_hour < stay.end)
    times: np.ndarray = np.unique(np.where(full, on_the_hour, minutes))
    return times


def _ordered(
    stream: np.random.Generator, parts: list[tuple[np.ndarray, np.ndarray, list[str], list[str] | None]]
) -> Readings:
    """All readings by time, then item, with the times at which they were stored."""
    import numpy as np

    minute = np.concatenate([part[0] for part in parts])
    itemid = np.concatenate([part[1] for part in parts])
    value = [text for part in parts for text in part[2]]
    number = [text for part in parts for text in (part[2] if part[3] is None else part[3])]
    order = np.lexsort((itemid, minute))
    minute, itemid = minute[order], itemid[order]
    delay = np.rint(_CHART_DELAY * stream.standard_exponential(len(minute)))
    early = stream.random(len(minute)) < 0.12
    stored = minute + np.where(early, -stream.integers(1, 20, len(minute)), delay).astype(np.int64)
    places = order.tolist()
    return Readings(minute, stored, itemid, [value[at] for at in places], [number[at] for at in places])


def chart_lines(patient: Patient, hadm_id: int, stay: Stay, readings: Readings, caregiver: int) -> list[str]:
    """The rows of ``chartevents``; a reading further outside its reference range than that is wide has a warning."""
    head = f"{patient.subject_id},{hadm_id},{stay.stay_id},{caregiver},"
    lines = []
    for minute, stored, itemid, value, number in zip(
        readings.minute.tolist(),
        readings.stored.tolist(),
        readings.itemid.tolist(),
        readings.value,
        readings.number,
        strict=True,
    ):
        unit, low, high = _FACTS[itemid]
        warning = "1" if number and not low <= float(number) <= high else "0"
        lines.append(f"{head}{time_text(minute)},{time_text(stored)},{itemid},{value},{number},{unit},{warning}")
    return lines


def _facts(item: Item) -> tuple[str, float, float]:
    """Unit, and the values beyond which a reading has a warning."""
    if item.normal is None:
        return item.unit or "", float("-inf"), float("inf")
    low, high = item.normal
    return item.unit or "", low - (high - low), high + (high - low)


_FACTS = {item.itemid: _facts(item) for item in items().chart.values()}


def fluid_lines(
    seed: int, patient: Patient, admission: Admission, stay: Stay, hadm_id: int, caregiver: int, order: int
) -> tuple[list[str], list[str]]:
    """The rows of ``outputevents`` and of ``inputevents`` of a stay; ``order`` is the first order's id."""
    turn = admission.stays.index(stay)
    stream = stream_of(seed, patient.subject, ADMISSIONS + 4 * _FLUIDS + 2 * admission.number + turn)
    head = f"{patient.subject_id},{hadm_id},{stay.stay_id},{caregiver},"
    name = "foley" if stream.random() < 0.75 else "void"
    item = items().outputs[name]
    minutes = _times(stream, stay, item.every)
    moved = course_of(admission.severity, minutes - stay.start)
    volumes = values_of(item, own_of(patient, name), moved, stream.standard_normal(len(minutes)))
    outputs = [
        f"{head}{time_text(minute)},{time_text(minute + 4)},{item.itemid},{volume:.0f},{item.unit}"
        for minute, volume in zip(minutes.tolist(), volumes.tolist(), strict=True)
    ]
    inputs: list[str] = []
    for at in _times(stream, stay, 14 * HOUR).tolist():
        inputs.append(_infusion(head, patient, "saline", at, at + 60, 500, 500, "mL", "mL/hour", order + len(inputs)))
    pressure = admission.severity + stream.standard_normal()
    if pressure > 1.4:
        rate = round(0.05 + 0.06 * min(5, pressure - 1.4), 3)
        for at in range(stay.start + 30, min(stay.end, stay.start + 2 * DAY) - 6 * HOUR, 6 * HOUR):
            amount = round(rate * patient.weight * 6 * HOUR / 1000, 3)
            inputs.append(
                _infusion(
                    head,
                    patient,
                    "norepinephrine",
                    at,
                    at + 6 * HOUR,
                    amount,
                    rate,
                    "mg",
                    "mcg/kg/min",
                    order + len(inputs),
                )
            )
    return outputs, inputs


_FLUIDS = 6
"""The fluids' parts of a stream begin after those of the admissions."""
_ORDER = {
    "saline": ("02-Fluids (Crystalloids)", "Additive (Crystalloid)", "Main order parameter", "Continuous IV", 500),
    "norepinephrine": ("01-Drips", "02-Fluids (Crystalloids)", "Main order parameter", "Continuous Med", 250),
}
"""Item → order category, secondary category, component type, description, and the bag's volume in mL."""


def _infusion(
    head: str,
    patient: Patient,
    name: str,
    start: int,
    end: int,
    amount: float,
    rate: float,
    unit: str,
    rate_unit: str,
    order: int,
) -> str:
    category, secondary, component, description, bag = _ORDER[name]
    tail = line(
        (
            items().inputs[name].itemid, amount, unit, rate, rate_unit, order, order, category, secondary, component,
            description, round(patient.weight, 1), bag, "mL", 0, 0, "FinishedRunning", amount, rate,
        )
    )  # fmt: skip
    return f"{head}{time_text(start)},{time_text(end)},{time_text(end + 5)},{tail}"
