"""Clinical variables as data: what each is, in which unit, where a source records it, and which values can be.

A vocabulary is one YAML file beside this module, readable and editable by a clinician; its origin stands in it. The
suites' limits of plausibility are those written here (a test compares them).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, model_validator

from medai.records import Frozen
from medai.vocabularies.phenotypes import phenotype_files
from medai.yaml_files import named_file, read_as


class Range(Frozen):
    """Limits in the variable's unit, both included unless ``strict_min``."""

    min: float
    max: float
    strict_min: bool = False


class Conversion(Frozen):
    """How a unit becomes another: ``(value - subtract) * multiply``."""

    subtract: float = 0.0
    multiply: float


class Items(Frozen):
    """Where a source records a variable.

    Attributes:
        table: the source's table.
        ids: its item ids.
        codes: in place of ids, for the source ``meds``: codes, each whole or its beginning before ``//`` and the unit.
        unit: the unit that the item itself means; the variable's own when left out.
        note: what a reader should know of these items.
    """

    table: str
    ids: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    unit: str | None = None
    note: str = ""

    @model_validator(mode="after")
    def _names_items(self) -> Items:
        if bool(self.ids) == bool(self.codes):
            raise ValueError("items are named by ids or by codes")
        return self


class Variable(Frozen):
    """One clinical variable.

    Attributes:
        label: its name for people.
        unit: the unit of ``numeric_value``.
        plausible: outside it a reading is set aside as an error of record.
        physiological: outside it a reading is possible and rare.
        normal: what stands for a patient in whom it was never measured.
        texts: what a text means as a number, in lower case.
        conversions: unit → how, of this variable alone: what a mole weighs depends on what it is of.
        percent_above: readings above this number are percentages and are divided by 100, whatever unit is recorded.
        items: source → where it is recorded, the most trusted first: of readings that tie in time it is the last
            word.
        note: decisions, with their reason.
    """

    label: str
    unit: str
    plausible: Range
    physiological: Range
    normal: float
    texts: dict[str, float] = Field(default={})
    conversions: dict[str, Conversion] = Field(default={})
    percent_above: float | None = None
    items: dict[str, tuple[Items, ...]]
    note: str = ""


class Recipe(NamedTuple):
    """What becomes of a reading of one item in one recorded unit.

    Attributes:
        variable: its name; None where the item measures none of the vocabulary.
        priority: higher for the more trusted item of a variable; 0 where it is none.
        subtract, multiply: ``(value - subtract) * multiply`` is in the variable's unit.
        strange_unit: the recorded unit is none that the variable can have; the item's own was taken.
    """

    variable: str | None
    priority: int = 0
    subtract: float = 0.0
    multiply: float = 1.0
    strange_unit: bool = False


class Vocabulary(Frozen):
    """The variables of one file.

    Attributes:
        origin: where items, ranges and normal values come from.
        spellings: unit → how sources spell it, compared without regard to case.
        conversions: unit → unit → how.
        variables: name → variable.
    """

    name: str
    origin: str
    spellings: dict[str, tuple[str, ...]] = Field(default={})
    conversions: dict[str, dict[str, Conversion]] = Field(default={})
    variables: dict[str, Variable] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_sound(self) -> Vocabulary:
        for name, variable in self.variables.items():
            for source, places in variable.items.items():
                for unit in {place.unit for place in places} - {None, variable.unit}:
                    if self._conversion(variable, str(unit)) is None:
                        raise ValueError(f"{name}, {source}: no conversion from {unit} to {variable.unit}")
            for unit in (variable.unit, *variable.conversions):
                if self._unit(unit) != unit:
                    raise ValueError(f"{name}: {unit} is a spelling of {self._unit(unit)}, too, and would be read so")
        for source in {source for variable in self.variables.values() for source in variable.items}:
            ids = [item for variable in self.variables.values() for _, item in _places(variable, source)]
            if len(set(ids)) < len(ids):
                raise ValueError(f"an item of {source} stands under two variables, or twice under one")
        return self

    def items_of(self, source: str, table: str) -> dict[int, str]:
        """Item id → variable, of one table of a source."""
        return {
            item: name
            for name, variable in self.variables.items()
            for place, item in _places(variable, source)
            if place.table == table and isinstance(item, int)
        }

    def recipe(self, source: str, table: str, item: int | str | None, recorded_unit: str) -> Recipe:
        """What becomes of readings of an item, or a code, that were recorded in a unit (empty: none was recorded).

        The recorded unit counts where it is the variable's own or can be converted to it; else the item's own does.
        """
        name = self._variable_of(source, table, item) if item is not None else None
        if name is None:
            return Recipe(None)
        variable = self.variables[name]
        places = _places(variable, source)
        position = next(at for at, (place, one) in enumerate(places) if one == item and place.table == table)
        own = places[position][0].unit or variable.unit
        recorded = self._unit(recorded_unit)
        fits = recorded == variable.unit or self._conversion(variable, recorded) is not None
        unit = recorded if recorded and fits else own
        strange = bool(recorded) and not fits and recorded != own and variable.percent_above is None
        how = None if unit == variable.unit else self._conversion(variable, unit)
        return Recipe(
            name,
            len(places) - position,
            0.0 if how is None else how.subtract,
            1.0 if how is None else how.multiply,
            strange,
        )

    def _variable_of(self, source: str, table: str, item: int | str) -> str | None:
        for name, variable in self.variables.items():
            if any(one == item and place.table == table for place, one in _places(variable, source)):
                return name
        return None

    def _conversion(self, variable: Variable, unit: str) -> Conversion | None:
        """How a unit becomes the variable's: by its own rule before the file's; None where it does not."""
        return variable.conversions.get(unit) or self.conversions.get(unit, {}).get(variable.unit)

    def _unit(self, spelling: str) -> str:
        """The unit that a source spells so, in any case; the spelling itself where it is not known."""
        folded = spelling.strip().casefold()
        for unit, known in self.spellings.items():
            if folded == unit.casefold() or folded in (one.casefold() for one in known):
                return unit
        own = (unit for variable in self.variables.values() for unit in (variable.unit, *variable.conversions))
        return next((unit for unit in (*self.conversions, *own) if folded == unit.casefold()), spelling.strip())


def _places(variable: Variable, source: str) -> list[tuple[Items, int | str]]:
    places = variable.items.get(source, ())
    named: list[tuple[Items, int | str]] = []
    for place in places:
        named += [(place, item) for item in place.ids or place.codes]
    return named


def vocabularies() -> dict[str, Path]:
    """Name → file of every vocabulary of clinical variables that medai brings along."""
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return {path.stem: path for path in files if path.stem not in phenotype_files()}


@cache
def load_vocabulary(name: str) -> Vocabulary:
    """Read a packaged vocabulary.

    Raises:
        ConfigurationError: there is none of this name, or its file cannot be followed.
    """
    return read_as(Vocabulary, named_file("vocabulary", name, vocabularies()), f"the vocabulary {name}")
