"""Numbers and words: the examples in the docstrings are the tests; no prose of the page is left without a case."""

from __future__ import annotations

import doctest

import pytest

from medai.measurement import evidence, net_benefit
from medai.measurement.metrics import ORDER
from medai.problem import catalogue, load_problem
from medai.reporting import numbers, settled, words


@pytest.mark.parametrize("module", [numbers, words, settled, evidence, net_benefit])
def test_the_examples_of_the_docstrings_hold(module: object) -> None:
    """Each docstring's example."""
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


def test_every_metric_has_a_name_and_says_what_it_is() -> None:
    """The words know all metrics, in running text as well."""
    assert tuple(words.METRICS) == ORDER
    assert words.metric("auroc/nodule") == "AUROC, nodule"
    assert words.in_text("death balanced_accuracy in test, brier") == "death balanced accuracy in test, Brier score"


@pytest.mark.parametrize("name", catalogue())
def test_every_problem_of_the_catalogue_can_be_told(name: str) -> None:
    """Its source has a description, its threshold a sentence, its recipe lines."""
    problem = load_problem(name).model_dump(mode="json")
    assert words.source(next(iter(problem["inputs"].values()))["source"])
    assert words.threshold(problem["threshold"]).startswith("It was ")
    assert ("Epochs", str(problem["training"]["epochs"])) in words.recipe(problem["training"])


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"method": "fixed", "value": 0.3, "target": None}, "fixed in the Problem file"),
        ({"method": "sensitivity_at_least", "value": None, "target": 0.95}, "a sensitivity of at least 0.95"),
        ({"method": "f1", "value": None, "target": None}, "where F1 is highest"),
    ],
)
def test_how_a_threshold_was_chosen(choice: dict[str, object], told: str) -> None:
    """Each method has its sentence."""
    assert told in words.threshold(choice)
