"""The items of ``hospital_items.yaml``: what is measured, in which unit, around which level."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from medai.records import Frozen


class Course(Frozen):
    """How a variable runs.

    Attributes:
        level: of a patient without severity.
        between, within: standard deviation between patients, and within one.
        change: for a unit of severity after 48 hours.
        every: mean minutes between readings; of tests, their panel's.
        decimals, limits: of what is written.
    """

    level: float = 0
    between: float = 0
    within: float = 0
    change: float = 0
    every: int = Field(60, gt=0)
    decimals: int = 0
    limits: tuple[float, float] = (0, 1)


class Item(Course):
    """A line of ``d_items``; ``normal`` is the reference range."""

    itemid: int
    label: str
    abbreviation: str
    category: str
    unit: str | None
    type: Literal["Numeric", "Text", "Solution"]
    normal: tuple[float, float] | None = None


class LabTest(Course):
    """A line of ``d_labitems``, drawn with its panel."""

    itemid: int
    label: str
    fluid: str
    category: str
    panel: str
    unit: str
    normal: tuple[float, float]


class Panel(Frozen):
    """How often tests are drawn together, and in which share of stays."""

    every: int
    share: float


class Items(Frozen):
    """All of the file."""

    chart: dict[str, Item]
    coma_scale: dict[str, list[str]]
    intubated: str
    outputs: dict[str, Item]
    inputs: dict[str, Item]
    labs: dict[str, LabTest]
    panels: dict[str, Panel]
    diagnoses: dict[str, tuple[str, str, str, str, float]]


@cache
def items() -> Items:
    """The file, read once."""
    from medai.yaml_files import read_yaml

    return Items.model_validate(read_yaml(Path(__file__).parent / "hospital_items.yaml"))
