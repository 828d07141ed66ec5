"""Planted faults: what is wrong in a hospital on purpose, and how often.

A fault falls on every so-many-th stay, patient and picture, the kinds in turn, so that even a small hospital has each,
and on rows by chance. It never moves what is drawn for anybody, so that without its faults a hospital is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medai.sources.synthetic.clock import DAY
from medai.sources.synthetic.hospital_items import items
from medai.sources.synthetic.patients import FAULTS, Patient
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic.laboratory import Result
    from medai.sources.synthetic.measurements import Readings

STAYS = ("stay_out_before_in", "orphan_stay", "stay_without_events")
PATIENTS = ("death_before_birth", "death_before_admission")
PICTURES = (
    "duplicate_picture", "blank_picture", "picture_under_two_labels", "text_named_png", "saturated_picture",
    "truncated_picture",
)  # fmt: skip
CHART = {
    "text_in_value": 0.1,
    "sentinel_999999": 0.05,
    "heart_rate_0": 0.1,
    "fahrenheit_in_celsius_item": 0.5,
    "fio2_as_fraction": 0.5,
    "pounds_in_kilogram_item": 1.0,
    "event_outside_admission": 0.05,
    "duplicate_row": 0.1,
}
"""Kind → share of the rows it may fall on, as a multiple of the hospital's share of faults."""
LABS = {"lab_text_in_value": 0.1, "lab_sentinel_999999": 0.05}
KINDS = (*STAYS, *PATIENTS, *PICTURES, *CHART, *LABS)
_WORDS = ("?", "ERROR", "___")
_SENTINEL = "999999"
_POUNDS = 2.20462


def _items_of(kind: str) -> tuple[int, ...]:
    """Items that a kind of fault falls on; none: all."""
    names = {
        "heart_rate_0": ("heart_rate",),
        "fahrenheit_in_celsius_item": ("temperature_celsius",),
        "fio2_as_fraction": ("fio2",),
        "pounds_in_kilogram_item": ("admission_weight", "daily_weight"),
    }
    return tuple(items().chart[name].itemid for name in names.get(kind, ()))


@dataclass
class Faults:
    """Where faults fall, and how many fell.

    Attributes:
        share: of stays, patients and pictures.
        counts: kind → planted so far.
    """

    share: float
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    _met: dict[tuple[str, ...], int] = field(default_factory=dict)

    def next_of(self, kinds: tuple[str, ...]) -> str | None:
        """The fault of the next stay, patient or picture; most have none. Whoever plants it counts it."""
        met = self._met.get(kinds, 0)
        self._met[kinds] = met + 1
        turn = int(met * self.share)
        return kinds[turn % len(kinds)] if int((met + 1) * self.share) > turn else None

    def planted(self, kind: str, times: int = 1) -> None:
        """Count a fault."""
        self.counts[kind] += times

    def stream(self, patient: Patient) -> np.random.Generator:
        """The patient's stream for faults in rows."""
        return stream_of(self.seed, patient.subject, FAULTS)

    def in_chart(self, stream: np.random.Generator, readings: Readings) -> list[int]:
        """Plant faults in a stay's chart, at most one a row.

        Returns:
            The places of the rows that stand twice.
        """
        import numpy as np

        if not self.share:
            return []
        free = np.ones(len(readings.value), bool)
        twice: list[int] = []
        for kind, part in CHART.items():
            fitting = free
            if only := _items_of(kind):
                fitting = free & np.isin(readings.itemid, only)
            chosen = fitting & (stream.random(len(free)) < part * self.share)
            free = free & ~chosen
            places = np.flatnonzero(chosen).tolist()
            self.planted(kind, len(places))
            for place in places:
                if kind == "duplicate_row":
                    twice.append(place)
                elif kind == "event_outside_admission":
                    shift = DAY * int(400 + stream.integers(0, 300)) * (1 if place % 2 else -1)
                    readings.minute[place] += shift
                    readings.stored[place] += shift
                else:
                    readings.value[place], readings.number[place] = _altered(kind, readings.value[place], place)
        return twice

    def in_labs(self, stream: np.random.Generator, results: list[Result]) -> None:
        """Plant faults in an admission's results."""
        if not self.share:
            return
        chances = stream.random(len(results)).tolist()
        text, sentinel = (part * self.share for part in LABS.values())
        for place, (result, chance) in enumerate(zip(results, chances, strict=True)):
            if chance < text:
                result.value, result.number = _WORDS[place % len(_WORDS)], ""
                self.planted("lab_text_in_value")
            elif chance < text + sentinel:
                result.value = result.number = _SENTINEL
                self.planted("lab_sentinel_999999")


def _altered(kind: str, value: str, place: int) -> tuple[str, str]:
    """Value and number of a reading with a fault."""
    if kind == "text_in_value":
        return _WORDS[place % len(_WORDS)], ""
    if kind == "fahrenheit_in_celsius_item":
        new = f"{float(value) * 1.8 + 32:.1f}"
    elif kind == "fio2_as_fraction":
        new = f"{float(value) / 100:.2f}"
    elif kind == "pounds_in_kilogram_item":
        new = f"{float(value) * _POUNDS:.1f}"
    else:
        new = _SENTINEL if kind == "sentinel_999999" else "0"
    return new, new
