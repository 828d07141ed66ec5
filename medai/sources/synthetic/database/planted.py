"""Planted faults of the large databases: which, how often, where.

A fault falls by chance, one at most on a stay, a patient or a row, each from streams of the faults' own: whatever is
not touched is the same as without faults. Every fault that was planted is counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from medai.sources.synthetic.database.csv_bytes import DAY, NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase
    from medai.sources.synthetic.database.chart import Readings
    from medai.sources.synthetic.database.laboratory import Results
    from medai.sources.synthetic.database.population import Block

__all__ = ["KINDS", "DatabaseFault", "Planted", "of_chart", "of_entities", "of_results", "share_of"]

DatabaseFault = Literal[
    "stay_out_before_in", "orphan_stay", "stay_without_events",
    "death_before_birth", "death_before_admission",
    "text_in_value", "implausible_value", "unit_mix", "event_outside_admission", "event_of_unknown_admission",
    "duplicate_row", "error_row",
    "lab_text_in_value", "lab_implausible_value",
]  # fmt: skip
"""Of stays; of patients; of rows of the chart; of results. ``unit_mix``: °F under °C's item, a fraction of oxygen for
its percentage, pounds for kilograms. ``error_row``: marked so by the hospital; MIMIC-IV has no column for it."""
STAYS: tuple[DatabaseFault, ...] = get_args(DatabaseFault)[:3]
PATIENTS: tuple[DatabaseFault, ...] = get_args(DatabaseFault)[3:5]
CHART: tuple[DatabaseFault, ...] = get_args(DatabaseFault)[5:12]
LABS: tuple[DatabaseFault, ...] = get_args(DatabaseFault)[12:]
KINDS = {"stays": STAYS, "patients": PATIENTS, "rows of the chart": CHART, "results": LABS}
_PARTS: dict[str, float] = {
    **dict.fromkeys(STAYS, 1 / 3),
    **dict.fromkeys(PATIENTS, 1 / 2),
    "text_in_value": 0.05,
    "implausible_value": 0.1,
    "unit_mix": 0.5,
    "event_outside_admission": 0.05,
    "event_of_unknown_admission": 0.02,
    "duplicate_row": 0.1,
    "error_row": 0.1,
    "lab_text_in_value": 0.1,
    "lab_implausible_value": 0.05,
}
"""Share of what it may fall on, as a multiple of the configuration's ``faults``."""
NOWHERE = 900_000_000
"""Added to an admission's id, it is that of none."""


class Planted:
    """What is wrong in a block.

    Attributes:
        counts: fault → how many, within the size of the database.
        stay, patient: the fault of each, as its place in STAYS or PATIENTS; -1 for none.
    """

    def __init__(self, stay: np.ndarray, patient: np.ndarray) -> None:
        self.stay = stay
        self.patient = patient
        self.counts: Counter[str] = Counter()

    def stays_with(self, fault: DatabaseFault) -> np.ndarray:
        """Whether each stay has this fault."""
        has: np.ndarray = self.stay == STAYS.index(fault)
        return has


def share_of(config: SyntheticDatabase, fault: str) -> float:
    """The share of what a fault may fall on that it falls on."""
    if fault == "error_row" and config.layout == "mimic4":
        return 0.0
    named = {str(name): rate for name, rate in config.rates.items()}
    return named.get(fault, config.faults * _PARTS[fault])


def _fallen(config: SyntheticDatabase, faults: Sequence[str], stream: np.random.Generator, count: int) -> np.ndarray:
    """The fault of each of ``count`` things; -1 for none."""
    import numpy as np

    edges = np.array([share_of(config, fault) for fault in faults]).cumsum()
    chance = stream.random(count)
    fallen: np.ndarray = np.where(chance < edges[-1], np.searchsorted(edges, chance, side="right"), -1)
    return fallen


def of_entities(config: SyntheticDatabase, stream: np.random.Generator, block: Block, limit: int) -> Planted:
    """Faults of stays and of patients (of those who live and are under 90); ``patients.dod`` is altered.

    Args:
        limit: patients of the block that are written.
    """
    import numpy as np

    who = block.patients
    patient = _fallen(config, PATIENTS, stream, len(who.dod))
    # Whoever is over 89 has no birth that could be told, and the dead no other death.
    patient[(who.dod != NEVER) | (who.age > 89)] = -1
    planted = Planted(_fallen(config, STAYS, stream, len(block.stays.start)), patient)
    first = block.admissions.start[block.admissions.number == 0] // DAY
    unborn = first - 366 * (who.age + 20)
    who.dod = np.where(patient == 0, unborn, np.where(patient == 1, first - 30, who.dod))
    _count(planted.counts, PATIENTS, patient[:limit])
    _count(planted.counts, STAYS, planted.stay[block.stays.patient < limit])
    return planted


def of_chart(
    config: SyntheticDatabase, stream: np.random.Generator, readings: Readings, counts: Counter[str],
    codebook: Sequence[np.ndarray], written: int,
) -> tuple[Readings, np.ndarray, np.ndarray]:  # fmt: skip
    """Faults in the rows of a chart.

    Args:
        codebook: what a code becomes as a word, as a value that cannot be, in another unit.
        written: rows that are within the size of the database; the others go.

    Returns:
        The rows, which of them name an unknown admission, which are marked as an error.
    """
    import numpy as np

    fallen = _fallen(config, CHART, stream, len(readings.code))[:written]
    days = stream.integers(400, 700, len(readings.code))[:written]
    readings = readings.take(slice(written))
    kind: dict[str, np.ndarray] = {name: fallen == place for place, name in enumerate(CHART)}
    code = readings.code
    for name, altered in zip(("text_in_value", "implausible_value", "unit_mix"), codebook, strict=True):
        kind[name] &= altered[readings.code] != readings.code
        code = np.where(kind[name], altered[readings.code], code)
    moved = np.where(kind["event_outside_admission"], DAY * days * (1 - 2 * (days % 2)), 0)
    readings = replace(readings, minute=readings.minute + moved, stored=readings.stored + moved, code=code)
    for name, rows in kind.items():
        if planted := int(rows.sum()):
            counts[name] += planted
    twice = 1 + kind["duplicate_row"].astype(np.int64)
    return (
        readings.take(np.repeat(np.arange(len(twice)), twice)),
        np.repeat(kind["event_of_unknown_admission"], twice),
        np.repeat(kind["error_row"], twice),
    )


def of_results(
    config: SyntheticDatabase, stream: np.random.Generator, results: Results, counts: Counter[str],
    codebook: Sequence[np.ndarray], written: int,
) -> Results:  # fmt: skip
    """Faults in results: as in the chart, a word or a value that cannot be."""
    import numpy as np

    fallen = _fallen(config, LABS, stream, len(results.code))[:written]
    results = results.take(slice(written))
    for place, altered in enumerate(codebook):
        results.code = np.where(fallen == place, altered[results.code], results.code)
    _count(counts, LABS, fallen)
    return results


def _count(counts: Counter[str], faults: Sequence[str], fallen: np.ndarray) -> None:
    for place, fault in enumerate(faults):
        if planted := int((fallen == place).sum()):
            counts[fault] += planted
