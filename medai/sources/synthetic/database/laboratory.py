"""Laboratory results: of the clinic, the emergency department, intensive care and the ward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.chart import times
from medai.sources.synthetic.database.codebook import tested
from medai.sources.synthetic.database.course import Courses
from medai.sources.synthetic.database.csv_bytes import DAY, NEVER
from medai.sources.synthetic.database.population import HOUR, LABS, Block
from medai.sources.synthetic.database.words import words
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase

_ON_THE_WARD = ("chemistry", "blood_count")
"""Panels that are drawn outside intensive care too."""


@dataclass(slots=True)
class Results:
    """Results, ordered by admission, time and panel: arrays of equal length.

    Attributes:
        admission: the admission's index in its block, of which the result is, or before which it was drawn.
        named: whether the row names the admission.
        stat: whether it was urgent.
        minute, stored: when drawn and when stored.
        code: in the codebook.
        specimen: numbered within the block; its results follow each other.
    """

    admission: np.ndarray
    named: np.ndarray
    stat: np.ndarray
    minute: np.ndarray
    stored: np.ndarray
    code: np.ndarray
    specimen: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Results:
        """Some of the rows."""
        return Results(*(getattr(self, name)[rows] for name in Results.__slots__))


def results_of(config: SyntheticDatabase, number: int, block: Block, courses: Courses) -> Results:
    """All results of a block's patients."""
    import numpy as np

    stream = stream_of(config.seed, number, LABS)
    specimens = _specimens(stream, block)
    panels = list(words().panels)
    order = np.lexsort(specimens[[2, 1, 0]])
    admission, minute, panel, named, stat = specimens[:, order]
    stored = minute + 25 + (60 * np.minimum(12, stream.standard_exponential(len(minute)))).astype(np.int64)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for place, name in enumerate(panels):
        mine = np.flatnonzero(panel == place)
        tests = [test for test, one in words().labs.items() if one.panel == name]
        state = courses.state(admission[mine], minute[mine])
        noise = stream.standard_normal((len(tests), len(mine)))
        codes = [tested().codes(test, courses.values(test, state, own)) for test, own in zip(tests, noise, strict=True)]
        parts.append((np.repeat(mine, len(tests)), np.stack(codes, axis=1).ravel()))
    which, code = (np.concatenate([part[place] for part in parts]) for place in range(2))
    rows = np.argsort(which, kind="stable")
    which, code = which[rows], code[rows].astype(np.int32)
    return Results(admission[which], named[which] == 1, stat[which] == 1, minute[which], stored[which], code, which)


def _specimens(stream: np.random.Generator, block: Block) -> np.ndarray:
    """Admission, minute, panel, whether it names the admission, whether it is urgent: (5, specimens)."""
    import numpy as np

    its, stays = block.admissions, block.stays
    chance = stream.random((6, len(its.patient)))
    panels = list(words().panels)
    ward = [panels.index(name) for name in _ON_THE_WARD]
    parts = []

    def add(admission: np.ndarray, minute: np.ndarray, panel: int, named: np.ndarray | bool, stat: bool) -> None:
        columns = np.broadcast_arrays(admission, minute, panel, named, stat)
        parts.append(np.stack([column.astype(np.int64) for column in columns]))

    for place, panel in enumerate(words().panels.values()):
        drawn = np.flatnonzero(stream.random(len(stays.start)) < panel.share)
        owner, minute = times(stream, stays.start[drawn], stays.end[drawn], panel.every)
        add(stays.admission[drawn[owner]], minute, place, named=True, stat=False)
    clinic = np.flatnonzero((its.number == 0) & (chance[0] < 0.25))
    urgent = np.flatnonzero(its.registered != NEVER)
    for place in ward:
        months = its.start - DAY * (3 + (90 * chance[1]).astype(np.int64)) - (DAY * chance[2]).astype(np.int64)
        add(clinic, months[clinic], place, named=False, stat=False)
        minute = its.registered + 10 + (50 * chance[3]).astype(np.int64)
        add(urgent, minute[urgent], place, named=chance[4, urgent] < 0.7, stat=True)
        begin = np.where(its.intensive_to == NEVER, its.start, its.intensive_to) + 6 * HOUR
        days = np.maximum(0, -(-(its.end - begin) // DAY))
        admission = np.repeat(np.arange(len(days)), days)
        turn = np.arange(len(admission)) - np.repeat(days.cumsum() - days, days)
        there = stream.random(len(admission)) < 0.8
        add(admission[there], (begin[admission] + DAY * turn)[there], place, named=True, stat=False)
    return np.concatenate(parts, axis=1)
