"""Clinical variables as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from medai.errors import ConfigurationError, MedaiError
from medai.validation import catalogue_suite, load_suite
from medai.vocabularies import Vocabulary, load_vocabulary, vocabularies

BENCHMARK = load_vocabulary("benchmark17")
YAIB = load_vocabulary("yaib48")
BOTH = YAIB.variables | BENCHMARK.variables


def converted(source: str, table: str, item: int, unit: str, value: float) -> float:
    """A reading in its variable's unit."""
    recipe = BENCHMARK.recipe(source, table, item, unit)
    return (value - recipe.subtract) * recipe.multiply


def test_the_benchmarks_variables_are_there() -> None:
    """All 17, and all 48 of YAIB with height and weight."""
    assert len(BENCHMARK.variables) == 17
    assert len(YAIB.variables) == 48 + 2
    assert {"creatinine", "urine_output", "weight"} < set(YAIB.variables)


@pytest.mark.parametrize("vocabulary", [BENCHMARK, YAIB], ids=lambda one: one.name)
def test_variables_are_sound(vocabulary: Vocabulary) -> None:
    """Each recorded in MIMIC-III, with a normal value inside its ranges, the physiological inside the plausible."""
    for name, variable in vocabulary.variables.items():
        assert variable.items["mimic3"], name
        assert variable.plausible.min <= variable.normal <= variable.plausible.max, name
        assert variable.physiological.min <= variable.normal <= variable.physiological.max, name
        for number in variable.texts.values():
            assert variable.plausible.min <= number <= variable.plausible.max, name
        assert all(text == text.casefold() for text in variable.texts), name
        if vocabulary is YAIB and name not in BENCHMARK.variables:
            assert variable.plausible.min <= variable.physiological.min, name
            assert variable.physiological.max <= variable.plausible.max, name
            assert variable.items["mimic4"], name


def test_a_variable_is_the_same_in_both_vocabularies() -> None:
    """One name has one unit, one range and the same items, so that a series means one thing."""
    shared = set(BENCHMARK.variables) & set(YAIB.variables)
    assert len(shared) == 12
    for name in shared:
        assert BENCHMARK.variables[name] == YAIB.variables[name].model_copy(update={"conversions": {}}), name


@pytest.mark.parametrize(
    ("table", "item", "unit", "value", "variable", "expected"),
    [
        ("labevents", 50912, "mg/dL", 1.2, "creatinine", 1.2),
        ("labevents", 50912, "umol/L", 88.42, "creatinine", 1.0),
        ("labevents", 50912, "mmol/L", 1.2, "creatinine", 1.2),
        ("labevents", 50931, "mmol/L", 10.0, "glucose", 180.156),
        ("labevents", 51006, "mmol/L", 10.0, "urea_nitrogen", 28.0134),
        ("labevents", 50983, "mEq/L", 140.0, "sodium", 140.0),
        ("labevents", 50893, "mEq/L", 4.6, "calcium", 9.218),
        ("labevents", 50960, "mEq/L", 1.6, "magnesium", 1.9444),
        ("labevents", 50808, "mEq/L", 2.4, "ionized_calcium", 1.2),
        ("labevents", 51222, "g/L", 140.0, "hemoglobin", 14.0),
        ("labevents", 50862, "g/L", 42.0, "albumin", 4.2),
        ("labevents", 51214, "g/L", 3.0, "fibrinogen", 300.0),
        ("labevents", 51249, "g/l", 340.0, "mchc", 34.0),
        ("labevents", 50889, "mg/dL", 8.9, "c_reactive_protein", 89.0),
        ("labevents", 50889, "mg/L", 8.9, "c_reactive_protein", 8.9),
        ("labevents", 51249, "%", 33.5, "mchc", 33.5),
        ("labevents", 51265, "K/uL", 250.0, "platelets", 250.0),
        ("labevents", 51003, "ng/ml", 0.02, "troponin_t", 0.02),
        ("labevents", 51003, "ng/l", 14.0, "troponin_t", 0.014),
        ("labevents", 50818, "MM HG", 40.0, "pco2", 40.0),
        ("labevents", 50821, "kPa", 12.0, "po2", 90.00744),
        ("outputevents", 226559, "mL", 120.0, "urine_output", 120.0),
        ("outputevents", 226559, "ml", 120.0, "urine_output", 120.0),
    ],
)
def test_a_factor_belongs_to_its_variable(
    table: str, item: int, unit: str, value: float, variable: str, expected: float
) -> None:
    """A mole of glucose is no mole of creatinine, and calcium has two charges: a unit converts by the variable's own
    rule or not at all.
    """
    recipe = YAIB.recipe("mimic4", table, item, unit)
    assert recipe.variable == variable
    assert (value - recipe.subtract) * recipe.multiply == pytest.approx(expected, rel=1e-4)
    assert recipe.strange_unit == (variable == "creatinine" and unit == "mmol/L")


@pytest.mark.parametrize(
    ("item", "unit", "value", "expected"),
    [
        (223761, "?F", 98.6, 37.0),
        (678, "Deg. F", 212.0, 100.0),
        (678, "", 32.0, 0.0),
        (676, "Deg. C", 36.6, 36.6),
        (678, "Deg. C", 36.6, 36.6),
        (223762, "?F", 98.6, 37.0),
        (226531, "", 220.462262, 100.0),
        (763, "kg", 80.0, 80.0),
        (3582, "", 35.273962, 1.0),
        (226707, "Inch", 70.0, 177.8),
        (226730, "cm", 177.8, 177.8),
        (811, "", 100.0, 100.0),
        (811, "mmol/L", 10.0, 180.156),
        (211, "BPM", 80.0, 80.0),
    ],
)
def test_units_are_converted_where_recorded(item: int, unit: str, value: float, expected: float) -> None:
    """The recorded unit counts; where there is none, the item's own."""
    assert converted("mimic3", "chartevents", item, unit, value) == pytest.approx(expected, rel=1e-6)


def test_a_unit_of_another_quantity_is_told() -> None:
    """A unit that the variable cannot have does not convert; oxygen's fractions and percentages need none."""
    assert BENCHMARK.recipe("mimic3", "chartevents", 211, "mmHg").strange_unit
    assert not BENCHMARK.recipe("mimic3", "chartevents", 189, "torr").strange_unit
    assert not BENCHMARK.recipe("mimic3", "chartevents", 211, "").strange_unit


def test_the_most_trusted_item_has_the_last_word() -> None:
    """Earlier in the file is higher in priority: the laboratory before the finger stick, arterial before cuff."""
    laboratory = BENCHMARK.recipe("mimic3", "labevents", 50931, "mg/dL")
    finger = BENCHMARK.recipe("mimic3", "chartevents", 225664, "")
    assert laboratory.variable == finger.variable == "glucose"
    assert laboratory.priority > finger.priority > 0
    line, cuff = (BENCHMARK.recipe("mimic4", "chartevents", item, "mmHg") for item in (220050, 220179))
    assert line.priority > cuff.priority


@pytest.mark.parametrize("item", [51478, 51491, 51094, 50831])
def test_urine_is_not_blood(item: int) -> None:
    """Glucose and pH of other fluids, which the benchmark mixes in, are no reading of the blood's."""
    assert BENCHMARK.recipe("mimic3", "labevents", item, "").variable is None


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
@pytest.mark.parametrize("item", [227510, 40086, 227488, 227489])
def test_what_else_runs_out_is_no_urine(source: str, item: int) -> None:
    """Residuals of a feeding tube, a drain and irrigation would hide that a kidney stands still."""
    assert YAIB.recipe(source, "outputevents", item, "mL").variable is None


@pytest.mark.parametrize("item", [40096, 40651])
def test_both_ureters_count(item: int) -> None:
    """Of two ureteral stents one alone would be half of the urine."""
    assert YAIB.recipe("mimic3", "outputevents", item, "").variable == "urine_output"


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_suites_judge_by_the_vocabularys_ranges(source: str) -> None:
    """A range stands in the vocabulary and in the suite, in equal words; no variable lacks its rule."""
    judged: dict[str, dict[str, Any]] = {}
    for rule in load_suite(catalogue_suite(source)).rules:
        if rule.reason.startswith("implausible_") and rule.table == "events":
            name = rule.reason.removeprefix("implausible_")
            assert rule.kwargs["row_condition"] == f'variable == "{name}"'
            assert rule.unit == BOTH[name].unit
            judged[name] = {
                "min": rule.kwargs["min_value"],
                "max": rule.kwargs["max_value"],
                "strict_min": rule.kwargs.get("strict_min", False),
            }
    recorded = {name: variable.plausible.model_dump() for name, variable in BOTH.items() if variable.items.get(source)}
    assert judged == recorded


def test_an_item_has_one_variable() -> None:
    """The same item under two variables would count one reading twice."""
    data = BENCHMARK.model_dump()
    data["variables"]["weight"]["items"]["mimic3"] = [{"table": "chartevents", "ids": [211]}]
    with pytest.raises(ValidationError, match="two variables"):
        Vocabulary.model_validate(data)


def test_a_unit_needs_its_conversion() -> None:
    """An item in a unit that nobody can convert is refused when the file is read, not when a patient comes."""
    data = BENCHMARK.model_dump()
    data["variables"]["weight"]["items"]["mimic3"] = [{"table": "chartevents", "ids": [763], "unit": "stone"}]
    with pytest.raises(ValidationError, match="no conversion from stone to kg"):
        Vocabulary.model_validate(data)


def test_a_unit_is_no_other_ones_spelling() -> None:
    """Case is no difference: with G/l for 10⁹/L, grams per litre would be read as cells."""
    told = BENCHMARK.model_dump() | {"spellings": {"10⁹/L": ["MG/DL"]}}
    with pytest.raises(ValueError, match=r"glucose: mg/dL is a spelling of 10⁹/L, too, and would be read so"):
        Vocabulary.model_validate(told)


def test_a_misspelt_vocabulary_is_refused(refusal: Callable[[MedaiError], str]) -> None:
    """With the near match."""
    assert "benchmark17" in vocabularies()
    with pytest.raises(ConfigurationError) as caught:
        load_vocabulary("benchmark71")
    assert "did you mean 'benchmark17'?" in refusal(caught.value)
