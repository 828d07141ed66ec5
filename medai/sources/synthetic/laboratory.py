"""Blood tests: in the emergency department before admission, in intensive care, on the ward, and long before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.clock import DAY, HOUR, time_text
from medai.sources.synthetic.hospital_items import LabTest, items
from medai.sources.synthetic.measurements import course_of, own_of, values_of
from medai.sources.synthetic.patients import ADMISSIONS, Admission, Patient
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

_PANELS = {
    panel: tuple((name, test) for name, test in items().labs.items() if test.panel == panel) for panel in items().panels
}


@dataclass(slots=True)
class Specimen:
    """Blood drawn once for a panel.

    Attributes:
        hadm_id: None for a specimen that no admission is named for.
        minute, stored: when it was drawn, and when its results were known.
        since: minutes from the beginning of intensive care; less than 0 before or without.
        priority: STAT or ROUTINE.
    """

    panel: str
    hadm_id: int | None
    minute: int
    stored: int
    since: int
    priority: str


@dataclass(slots=True)
class Result:
    """A test's result; ``value`` and ``number`` as in ``measurements.Readings``."""

    specimen: Specimen
    test: LabTest
    value: str
    number: str
    comment: str = ""


def results_of(seed: int, patient: Patient, admission: Admission) -> list[Result]:
    """All results of an admission, ordered by time; the first admission has those of the clinic long before, too."""
    part = ADMISSIONS + 4 * admission.number
    stream = stream_of(seed, patient.subject, part + 2)
    specimens = _before(stream, admission)
    for stay in admission.stays:
        for name, panel in items().panels.items():
            drawn = stream.random() < panel.share
            count = max(1, round((stay.end - stay.start) / panel.every * (0.8 + 0.4 * stream.random())))
            for minute in (stay.start + stream.integers(0, stay.end - stay.start, count)).tolist() if drawn else ():
                specimens.append(_specimen(stream, name, admission.hadm_id, minute, minute - stay.start))
    results = _measured(stream, patient, admission, specimens)
    # The time on the ward ends with death, so that it may not share a stream with what is measured before.
    ward = stream_of(seed, patient.subject, part + 3)
    begin = admission.stays[-1].end if admission.stays else admission.start
    specimens = []
    for day in range(begin + 6 * HOUR, admission.end, DAY):
        for name in ("chemistry", "blood_count"):
            if ward.random() < 0.8:
                specimens.append(_specimen(ward, name, admission.hadm_id, day, -1))
    return results + _measured(ward, patient, admission, specimens)


def _before(stream: np.random.Generator, admission: Admission) -> list[Specimen]:
    """Specimens of the clinic, months before the first admission, and of the emergency department."""
    specimens = []
    chance = stream.random(4).tolist()
    if admission.number == 0 and chance[0] < 0.25:
        minute = admission.start - DAY * (3 + int(90 * chance[1])) - int(DAY * chance[2])
        specimens += [_specimen(stream, name, None, minute, -1) for name in ("chemistry", "blood_count")]
    if admission.emergency is not None:
        minute = admission.emergency[0] + 10 + int(50 * stream.random())
        known = stream.random() < 0.7
        for name in ("chemistry", "blood_count"):
            specimens.append(_specimen(stream, name, admission.hadm_id if known else None, minute, -1, "STAT"))
    return specimens


def _specimen(
    stream: np.random.Generator, panel: str, hadm_id: int | None, minute: int, since: int, priority: str = "ROUTINE"
) -> Specimen:
    delay = 25 + int(60 * min(12.0, stream.standard_exponential()))
    return Specimen(panel, hadm_id, minute, minute + delay, since, priority)


def _measured(
    stream: np.random.Generator, patient: Patient, admission: Admission, specimens: list[Specimen]
) -> list[Result]:
    """Each specimen's tests, specimens in order of time."""
    import numpy as np

    specimens.sort(key=lambda specimen: (specimen.minute, specimen.panel))
    results: dict[int, list[Result]] = {}
    for panel, tests in _PANELS.items():
        mine = [place for place, specimen in enumerate(specimens) if specimen.panel == panel]
        if not mine:
            continue
        moved = course_of(admission.severity, np.array([specimens[place].since for place in mine]))
        noise = stream.standard_normal((len(tests), len(mine)))
        for row, (name, test) in enumerate(tests):
            values = values_of(test, own_of(patient, name), moved, noise[row])
            for place, value in zip(mine, values.tolist(), strict=True):
                text = f"{value:.{test.decimals}f}"
                results.setdefault(place, []).append(Result(specimens[place], test, text, text))
    return [result for place in sorted(results) for result in results[place]]


def lab_lines(patient: Patient, results: list[Result], provider: str, first: int) -> list[str]:
    """The rows of ``labevents``; ``first`` is the first row's ``labevent_id``, from which specimens are numbered."""
    lines = []
    for place, result in enumerate(results):
        specimen, test = result.specimen, result.test
        low, high = test.normal
        flag = "abnormal" if result.number and not low <= float(result.number) <= high else ""
        if place == 0 or results[place - 1].specimen is not specimen:
            number = 40_000_000 + first + place
        lines.append(
            f"{first + place},{patient.subject_id},{specimen.hadm_id or ''},{number},{test.itemid},{provider},"
            f"{time_text(specimen.minute)},{time_text(specimen.stored)},{result.value},{result.number},{test.unit},"
            f"{low:g},{high:g},{flag},{specimen.priority},{result.comment}"
        )
    return lines
