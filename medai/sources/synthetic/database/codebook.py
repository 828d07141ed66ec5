"""Every reading that can be written, numbered: item and text. A table of readings is then a table of these numbers.

A variable's readings are as many as its limits and decimals allow: a thousand temperatures, four openings of the eyes.
Beside them stand what is no reading, for planted faults: words, a sentinel, the same reading in another unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.words import words

if TYPE_CHECKING:
    import numpy as np

WORDS = ("?", "ERROR", "___")
"""What stands where a number should."""
SENTINEL = "999999"


@dataclass(frozen=True, slots=True)
class Scale:
    """The readings of a variable.

    Attributes:
        name: by which they are asked for.
        item: the item that they are charted under.
        low, high: the first and last reading, in units of the last decimal.
        texts, carevue: words in place of numbers, from ``low`` up; in MIMIC-III's older system.
        numbered: whether a number stands beside a word.
        step: between readings.
        mixed: the same reading in another unit, and its decimals.
        sentinel: what no patient can have.
    """

    name: str
    item: str
    low: int
    high: int
    decimals: int = 0
    texts: tuple[str, ...] = ()
    carevue: tuple[str, ...] = ()
    numbered: bool = True
    step: int = 1
    mixed: tuple[Callable[[float], float], int] | None = None
    sentinel: str = SENTINEL


@dataclass(slots=True)
class Codebook:
    """All readings of some scales.

    Attributes:
        item: its name, one a reading.
        value, carevue, number: its texts: as charted, in the older system, as a number.
        low: the scale's first number, the first reading's code.
        word, sentinel, mixed: code → the code of a fault in its place; itself, where there is none.
    """

    item: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)
    carevue: list[str] = field(default_factory=list)
    number: list[str] = field(default_factory=list)
    scales: dict[str, tuple[Scale, int]] = field(default_factory=dict)
    word: list[int] = field(default_factory=list)
    sentinel: list[int] = field(default_factory=list)
    mixed: list[int] = field(default_factory=list)

    def add(self, scale: Scale) -> None:
        """Number the readings of a scale."""
        steps = range(scale.low, scale.high + 1, scale.step)
        first, count = len(self.item), len(steps)
        self.scales[scale.name] = (scale, first)
        numbers = [_written(step, scale.decimals) for step in steps]
        texts = list(scale.texts) or numbers
        self._append(scale, texts, list(scale.carevue) or texts, numbers if scale.numbered else [""] * count)
        after = first + count
        self.word += [after + place % len(WORDS) for place in range(count)]
        self.sentinel += [after + len(WORDS)] * count
        self._append(scale, list(WORDS), list(WORDS), [""] * len(WORDS))
        self._append(scale, *([scale.sentinel],) * 3)
        if scale.mixed is None:
            self.mixed += range(first, after)
        else:
            convert, decimals = scale.mixed
            others = [f"{convert(step / 10**scale.decimals):.{decimals}f}" for step in steps]
            self.mixed += range(len(self.item), len(self.item) + count)
            self._append(scale, others, others, others)
        for column in (self.word, self.sentinel, self.mixed):
            column += range(len(column), len(self.item))

    def _append(self, scale: Scale, value: list[str], carevue: list[str], number: list[str]) -> None:
        self.item += [scale.item] * len(value)
        self.value += value
        self.carevue += carevue
        self.number += number

    def codes(self, name: str, values: np.ndarray) -> np.ndarray:
        """The codes of values in the variable's unit, rounded to its decimals."""
        import numpy as np

        scale, first = self.scales[name]
        steps = np.rint(values * 10**scale.decimals).astype(np.int64)
        codes: np.ndarray = (np.clip(steps, scale.low, scale.high) - scale.low) // scale.step + first
        return codes


def _written(step: int, decimals: int) -> str:
    return f"{step / 10**decimals:.{decimals}f}"


@cache
def charted() -> Codebook:
    """What ``chartevents`` holds."""
    known = words()
    book = Codebook()
    for name in known.chart:
        course = known.courses.get(name)
        if name in known.coma_scale:
            texts, older = known.coma_scale[name], known.carevue.coma_scale[name]
            book.add(Scale(name, name, 1, len(texts), 0, texts, older))
        elif name.startswith(("nbp", "abp")):
            book.add(Scale(name, name, 10, 250))
        elif name == "temperature_celsius":
            book.add(Scale(name, name, 330, 415, 1, mixed=(lambda degree: degree * 1.8 + 32, 1)))
        elif name == "temperature_fahrenheit":
            book.add(Scale(name, name, 914, 1067, 1))
        elif name == "fio2":
            book.add(Scale(name, name, 21, 100, 0, mixed=(lambda percent: percent / 100, 2)))
        elif name in ("admission_weight", "daily_weight"):
            book.add(Scale(name, name, 300, 3000, 1, mixed=(lambda kilogram: kilogram * 2.20462, 1)))
        elif name == "height":
            book.add(Scale(name, name, 120, 230))
        elif course is not None:
            low, high = (round(limit * 10**course.decimals) for limit in course.limits)
            lead_off = "0" if name == "heart_rate" else SENTINEL
            book.add(Scale(name, name, low, high, course.decimals, sentinel=lead_off))
    book.add(Scale("tube", "gcs_verbal", 1, 1, 0, (known.intubated,), (known.carevue.intubated,)))
    for one in known.routine:
        name = str(one.itemid)
        if one.numbers is not None:
            low, high, step = one.numbers
            book.add(Scale(name, name, low, high, step=step))
        else:
            book.add(Scale(name, name, 0, len(one.words) - 1, texts=one.words, numbered=False))
    return book


@cache
def tested() -> Codebook:
    """What ``labevents`` holds."""
    known = words()
    book = Codebook()
    for name in known.labs:
        course = known.courses[name]
        low, high = (round(limit * 10**course.decimals) for limit in course.limits)
        book.add(Scale(name, name, low, high, course.decimals))
    return book
