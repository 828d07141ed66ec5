"""The chart of intensive care: vital signs by the pace of the unit, slower variables, and routine, most of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.codebook import charted
from medai.sources.synthetic.database.course import Courses
from medai.sources.synthetic.database.csv_bytes import DAY
from medai.sources.synthetic.database.population import CHART, HOUR, MEAN_STAY, Block
from medai.sources.synthetic.database.words import Routine, words
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase

_PACE = (1.0, 1.5, 1.1, 1.2, 1.3, 0.9, 1.2)
"""Rounds of vital signs an hour, by unit: a heart just operated on is watched most closely."""
_MEAN_PACE = 1.18
_VITALS = ("heart_rate", "respiratory_rate", "spo2")
_A_ROUND = 6
"""Vital signs of a round, the three blood pressures among them."""
_SLOW_ROWS = 1.6
"""Rows an hour of everything slower."""
_THERE = 0.95
"""Share of rounds in which a vital sign is charted."""
_APART = 0.89
"""Share of rounds that remain where two of them fall on one full hour."""
_CHART_DELAY = 45
"""Mean minutes until a round is stored; some are stored before the time that they are charted for."""


@dataclass(slots=True)
class Readings:
    """Readings of stays, ordered by stay and time: arrays of equal length.

    Attributes:
        stay: the stay's index in its block.
        minute, stored: when charted and when stored.
        code: in the codebook.
    """

    stay: np.ndarray
    minute: np.ndarray
    stored: np.ndarray
    code: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Readings:
        """Some of the rows."""
        return Readings(self.stay[rows], self.minute[rows], self.stored[rows], self.code[rows])


def times(
    stream: np.random.Generator, start: np.ndarray, end: np.ndarray, every: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Whose, and when: about ``every`` minutes from each start to its end, at least once.

    More often than not on the hour, as nurses chart; ordered, no two of one owner at once.
    """
    import numpy as np

    length = end - start
    count = np.maximum(1, np.rint(length / every * (0.8 + 0.4 * stream.random(len(start))))).astype(np.int64)
    owner = np.repeat(np.arange(len(start)), count)
    turn = np.arange(len(owner)) - np.repeat(count.cumsum() - count, count)
    share = (turn + stream.random(len(owner))) / count[owner]
    minute = start[owner] + (share * length[owner]).astype(np.int64)
    full = -(-minute // HOUR) * HOUR
    minute = np.where((stream.random(len(owner)) < 0.6) & (full < end[owner]), full, minute)
    owner, minute = np.divmod(np.unique((owner << 32) + minute), 1 << 32)
    return owner, minute


def chart_of(config: SyntheticDatabase, number: int, block: Block, courses: Courses) -> Readings:
    """All that is charted in a block's stays."""
    import numpy as np

    stream = stream_of(config.seed, number, CHART)
    stays, book = block.stays, charted()
    who = block.patients
    chance = stream.random((12, len(stays.stay_id)))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    parts.append(_rounds(config, stream, block, courses, line=(chance[0] < 0.4) * chance[1]))

    def add(name: str, owner: np.ndarray, minute: np.ndarray, values: np.ndarray) -> None:
        parts.append((owner, minute, book.codes(name, values)))

    def some(condition: np.ndarray, every: float) -> tuple[np.ndarray, np.ndarray]:
        """Times in the stays that meet a condition."""
        places = np.flatnonzero(condition)
        owner, minute = times(stream, stays.start[places], stays.end[places], every)
        return places[owner], minute

    def course(name: str, owner: np.ndarray, minute: np.ndarray) -> np.ndarray:
        state = courses.state(stays.admission[owner], minute)
        return courses.values(name, state, stream.standard_normal(len(owner)))

    everyone = np.ones(len(stays.stay_id), bool)
    owner, minute = some(everyone, 240)
    celsius = course("temperature_celsius", owner, minute)
    american = chance[2, owner] < 0.85
    add("temperature_fahrenheit", owner[american], minute[american], celsius[american] * 1.8 + 32)
    add("temperature_celsius", owner[~american], minute[~american], celsius[~american])
    for name, share, every in (("fio2", chance[3] < 0.6, 360), ("glucose_stick", chance[4] < 0.7, 360)):
        owner, minute = some(share, every)
        add(name, owner, minute, course(name, owner, minute))

    # Of the points that are lost on the coma scale the eyes lose a little less; a tube leaves a verbal score of one.
    owner, minute = some(everyone, 240)
    lost = course("coma", owner, minute)
    for name, share, best in (("gcs_eye", 0.3, 4), ("gcs_verbal", 0.35, 5), ("gcs_motor", 0.35, 6)):
        add(name, owner, minute, best - share * lost)
    verbal, tube = parts[-2], chance[5, owner] < 0.3
    parts[-2] = (owner, minute, np.where(tube, book.codes("tube", np.ones(len(owner))), verbal[2]))

    weight = who.weight[stays.patient] + 2 * (chance[6] - 0.5)
    day = [(stays.start + 60 * chance[7]).astype(np.int64), (stays.start + 90 * chance[9]).astype(np.int64)]
    weighed, measured = np.flatnonzero(chance[8] < 0.92), np.flatnonzero(chance[10] < 0.55)
    add("admission_weight", weighed, day[0][weighed], weight[weighed])
    add("height", measured, day[1][measured], who.height[stays.patient[measured]])
    count = np.where(chance[11] < 0.6, np.maximum(0, stays.end - stays.start - 6 * HOUR + DAY - 1) // DAY, 0)
    owner = np.repeat(np.arange(len(count)), count)
    turn = np.arange(len(owner)) - np.repeat(count.cumsum() - count, count)
    add(
        "daily_weight",
        owner,
        stays.start[owner] + 6 * HOUR + DAY * turn,
        weight[owner] + stream.standard_normal(len(owner)),
    )
    return _ordered(stream, stays.start, parts)


def _rounds(
    config: SyntheticDatabase, stream: np.random.Generator, block: Block, courses: Courses, line: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rounds at the bedside: vital signs and routine, as many rows as the configuration asks for.

    Args:
        line: the share of each stay that an arterial line lies for, from its beginning.
    """
    import numpy as np

    stays, book, routine = block.stays, charted(), words().routine
    an_hour = max(0.5, config.chart_rows_per_stay * HOUR / MEAN_STAY - _SLOW_ROWS)
    extra = min(len(routine), max(0, round(an_hour / _MEAN_PACE - _A_ROUND * _THERE)))
    pace = np.array(_PACE)[stays.first] * an_hour / (_MEAN_PACE * _APART * (_A_ROUND * _THERE + extra))
    owner, minute = times(stream, stays.start, stays.end, HOUR / pace)
    state = courses.state(stays.admission[owner], minute)
    noise = stream.standard_normal((len(_VITALS) + 2, len(owner)))
    there = stream.random((len(_VITALS) + 1, len(owner))) < _THERE

    codes = np.empty((len(owner), _A_ROUND + extra), np.int32)
    shown = np.ones(codes.shape, bool)
    for place, name in enumerate(_VITALS):
        codes[:, place] = book.codes(name, courses.values(name, state, noise[place]))
        shown[:, place] = there[place]
    diastolic = courses.values("nbp_diastolic", state, noise[-1])
    systolic = np.maximum(courses.values("nbp_systolic", state, noise[-2]), diastolic + 10)
    # An arterial line reads in place of the cuff.
    lies = (minute - stays.start[owner]) < (line * (stays.end - stays.start))[owner]
    pressures = {"systolic": systolic, "diastolic": diastolic, "mean": (systolic + 2 * diastolic) / 3}
    for place, (name, values) in enumerate(pressures.items(), len(_VITALS)):
        codes[:, place] = np.where(lies, book.codes(f"abp_{name}", values), book.codes(f"nbp_{name}", values))
        shown[:, place] = there[-1]

    first, count = (np.array(column) for column in zip(*map(_span, routine), strict=True))
    # Each round takes up the routine where the last left it; a stay mostly has the same answers.
    which = (np.arange(len(owner))[:, None] * extra + np.arange(extra)) % len(routine)
    usual = stream.integers(0, 256, (len(stays.stay_id), len(routine)), dtype=np.uint8)
    other = stream.integers(0, 256, which.shape, dtype=np.uint8)
    answer = np.where(other < 200, usual[owner[:, None], which], other)
    codes[:, _A_ROUND:] = first[which] + answer % count[which]
    rows = shown.ravel()
    return np.repeat(owner, codes.shape[1])[rows], np.repeat(minute, codes.shape[1])[rows], codes.ravel()[rows]


def _span(one: Routine) -> tuple[int, int]:
    """First code and number of readings of a routine item."""
    scale, first = charted().scales[str(one.itemid)]
    return first, (scale.high - scale.low) // scale.step + 1


def _ordered(
    stream: np.random.Generator, start: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> Readings:
    """All readings by stay, time and code, each with the time at which its round was stored."""
    import numpy as np

    stay, minute, code = (np.concatenate([part[place] for part in parts]) for place in range(3))
    order = np.argsort((stay << 40) + ((minute - start[stay]) << 16) + code, kind="stable")
    stay, minute, code = stay[order], minute[order], code[order].astype(np.int32)
    begins = np.append(True, (stay[1:] != stay[:-1]) | (minute[1:] != minute[:-1]))[: len(stay)]
    rounds = begins.cumsum() - 1
    times_of = np.flatnonzero(begins)
    delay = np.rint(_CHART_DELAY * stream.standard_exponential(len(times_of)))
    early = stream.random(len(times_of)) < 0.12
    delay = np.where(early, -stream.integers(1, 20, len(times_of)), delay).astype(np.int64)
    return Readings(stay, minute, minute + delay[rounds], code)
