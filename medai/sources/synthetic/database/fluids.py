"""Urine, and infusions: saline for everybody, norepinephrine for whom the pressure fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.chart import times
from medai.sources.synthetic.database.course import Courses
from medai.sources.synthetic.database.csv_bytes import DAY
from medai.sources.synthetic.database.population import FLUIDS, HOUR, Block
from medai.sources.synthetic.database.words import words
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase

_PRESSOR_HOURS = 6


@dataclass(slots=True)
class Outputs:
    """Urine, ordered by stay and time: by catheter or not, in mL."""

    stay: np.ndarray
    minute: np.ndarray
    catheter: np.ndarray
    volume: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Outputs:
        """Some of the rows."""
        return Outputs(*(getattr(self, name)[rows] for name in Outputs.__slots__))


@dataclass(slots=True)
class Infusions:
    """Infusions, ordered by stay and time: of saline (500 mL in an hour) or norepinephrine.

    Attributes:
        rate: in thousandths of the rate's unit: mL/hour, or mcg/kg/min.
        amount: in thousandths of mL or of mg.
    """

    stay: np.ndarray
    start: np.ndarray
    end: np.ndarray
    pressor: np.ndarray
    rate: np.ndarray
    amount: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Infusions:
        """Some of the rows."""
        return Infusions(*(getattr(self, name)[rows] for name in Infusions.__slots__))


def fluids_of(config: SyntheticDatabase, number: int, block: Block, courses: Courses) -> tuple[Outputs, Infusions]:
    """Urine and infusions of a block's stays."""
    import numpy as np

    stream = stream_of(config.seed, number, FLUIDS)
    stays = block.stays
    chance = stream.random((2, len(stays.start)))
    catheter = chance[0] < 0.75
    known = words().courses
    every = np.where(catheter, known["foley"].every, known["void"].every)
    owner, minute = times(stream, stays.start, stays.end, every)
    state = courses.state(stays.admission[owner], minute)
    noise = stream.standard_normal(len(owner))
    volume = np.where(catheter[owner], courses.values("foley", state, noise), courses.values("void", state, noise))
    outputs = Outputs(owner, minute, catheter[owner], np.rint(volume).astype(np.int64))

    saline, begin = times(stream, stays.start, stays.end, 14 * HOUR)
    shock = block.admissions.illness[stays.admission, list(words().illnesses).index("shock")]
    need = block.admissions.severity[stays.admission] + np.where(shock, 2.5, 0) + chance[1]
    span = np.minimum(stays.end - stays.start, 2 * DAY) // HOUR
    count = np.where(need > 2.4, span // _PRESSOR_HOURS, 0)
    pressor = np.repeat(np.arange(len(count)), count)
    turn = np.arange(len(pressor)) - np.repeat(count.cumsum() - count, count)
    rate = np.rint(50 + 60 * np.clip(need - 2.4, 0, 4)).astype(np.int64)[pressor]
    weight = block.patients.weight[stays.patient[pressor]]
    start = stays.start[pressor] + _PRESSOR_HOURS * HOUR * turn
    parts = (
        (saline, begin, begin + HOUR, np.zeros(len(saline), bool), np.full(len(saline), 500_000), 500_000),
        (
            pressor,
            start,
            start + _PRESSOR_HOURS * HOUR,
            np.ones(len(pressor), bool),
            rate,
            np.rint(rate * weight * _PRESSOR_HOURS * HOUR / 1000).astype(np.int64),
        ),
    )
    columns = [np.concatenate([np.broadcast_to(part[place], len(part[0])) for part in parts]) for place in range(6)]
    order = np.lexsort((columns[3], columns[1], columns[0]))
    return outputs, Infusions(*(column[order] for column in columns))
