"""The words of the databases: what is measured, charted and coded; ``words.yaml`` over ``hospital_items.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field

from medai.records import Frozen
from medai.sources.synthetic.hospital_items import Course, Item, LabTest, Panel, items

__all__ = ["Carevue", "Illness", "Routine", "Words", "charted_items", "flag_of", "words"]


class Carevue(Frozen):
    """How MIMIC-III's older system writes the same readings: item ids, labels, units, words of the coma scale."""

    items: dict[str, int]
    labels: dict[str, str]
    units: dict[str, str]
    coma_scale: dict[str, tuple[str, ...]]
    intubated: str


class Routine(Frozen):
    """What is charted beside the clinical variables.

    Attributes:
        words: its texts, the commonest first.
        numbers: or its first and last number, and the step between.
    """

    itemid: int
    label: str
    abbreviation: str
    category: str
    unit: str | None = None
    words: tuple[str, ...] = ()
    numbers: tuple[int, int, int] | None = None


class Illness(Frozen):
    """What a patient may have.

    Attributes:
        group: of the MIMIC-III benchmark's phenotypes; None: of none.
        chronic: whether the patient has it in every admission.
        icd9, icd10: code and title.
        share: of admissions with intensive care (chronic: of patients).
        risk: factor of the risk of death.
        moves: variable → by how much, in its unit.
    """

    group: str | None = None
    chronic: bool = False
    icd9: tuple[str, str]
    icd10: tuple[str, str]
    share: float = Field(gt=0, lt=1)
    risk: float = 1
    moves: dict[str, float] = Field(default={})


class _File(Frozen):
    courses: dict[str, Course]
    chart: dict[str, Item]
    labs: dict[str, LabTest]
    panels: dict[str, Panel]
    carevue: Carevue
    routine: tuple[Routine, ...]
    illnesses: dict[str, Illness]


class Words(Frozen):
    """All that can be charted, tested and coded.

    Attributes:
        chart, outputs, inputs, labs, panels: name → its line in the dictionary, and its course.
        courses: variable → its course; ``coma`` counts points lost of the coma scale.
        coma_scale, intubated: words for each score, from 1 up.
    """

    chart: dict[str, Item]
    outputs: dict[str, Item]
    inputs: dict[str, Item]
    labs: dict[str, LabTest]
    panels: dict[str, Panel]
    courses: dict[str, Course]
    coma_scale: dict[str, tuple[str, ...]]
    intubated: str
    carevue: Carevue
    routine: tuple[Routine, ...]
    illnesses: dict[str, Illness]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that have a course, in the order of a patient's own deviations."""
        return tuple(self.courses)


_COMA = Course(level=2, between=1.2, within=0.8, change=1.6, limits=(0, 12))


@cache
def words() -> Words:
    """Both files, read once."""
    from medai.yaml_files import read_yaml

    own = _File.model_validate(read_yaml(Path(__file__).with_suffix(".yaml")))
    shared = items()
    chart, labs = shared.chart | own.chart, shared.labs | own.labs
    courses: dict[str, Course] = {
        name: item for name, item in {**chart, **shared.outputs, **labs}.items() if item.level
    }
    return Words(
        chart=chart,
        outputs=shared.outputs,
        inputs=shared.inputs,
        labs=labs,
        panels=shared.panels | own.panels,
        courses={name: Course(**_course(one)) for name, one in {**courses, **own.courses, "coma": _COMA}.items()},
        coma_scale={name: tuple(texts) for name, texts in shared.coma_scale.items()},
        intubated=shared.intubated,
        carevue=own.carevue,
        routine=own.routine,
        illnesses=own.illnesses,
    )


def _course(one: Course) -> dict[str, object]:
    """The course's part of an item."""
    return {name: getattr(one, name) for name in Course.model_fields}


def charted_items() -> dict[str, tuple[int, str | None, float, float]]:
    """Item → id, unit, and the values beyond which a reading has a warning: further out than its range is wide."""
    known = words()
    facts: dict[str, tuple[int, str | None, float, float]] = {}
    for name, item in known.chart.items():
        low, high = item.normal or (float("-inf"), float("inf"))
        width = high - low if item.normal else 0
        facts[name] = (item.itemid, item.unit, low - width, high + width)
    for one in known.routine:
        facts[str(one.itemid)] = (one.itemid, one.unit, float("-inf"), float("inf"))
    return facts


def flag_of(test: LabTest, written: str) -> str:
    """``abnormal`` outside the reference range."""
    low, high = test.normal
    return "abnormal" if written and not low <= float(written) <= high else ""
