"""Conditions as groups of diagnosis codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from medai.errors import ConfigurationError, MedaiError
from medai.vocabularies import vocabularies
from medai.vocabularies.phenotypes import load_phenotypes, phenotype_files

CONDITIONS = load_phenotypes("phenotypes25")


def test_the_benchmarks_conditions_are_there() -> None:
    """25, each a category of its own, with codes of both revisions; the columns bear their names."""
    assert len(CONDITIONS.phenotypes) == len(set(CONDITIONS.columns)) == 25
    assert len({one.ccs for one in CONDITIONS.phenotypes.values()}) == 25
    assert sum(len(one.icd9) for one in CONDITIONS.phenotypes.values()) == 767
    assert all(one.icd10 for one in CONDITIONS.phenotypes.values())
    assert CONDITIONS.columns[0] == "phenotype_septicemia"


def test_a_code_stands_for_one_condition() -> None:
    """Categories exclude each other: no code twice, and no beginning of a code is the beginning of another."""
    nine = Counter(code for one in CONDITIONS.phenotypes.values() for code in one.icd9)
    assert set(nine.values()) == {1}
    beginnings = sorted(code for one in CONDITIONS.phenotypes.values() for code in one.icd10)
    assert not [(a, b) for a, b in pairwise(beginnings) if b.startswith(a)]
    assert all("." not in code and code == code.upper() for code in (*nine, *beginnings))


@pytest.mark.parametrize(
    ("version", "code", "named"),
    [
        (9, "0389", "septicemia"),
        (9, "41071", "acute_myocardial_infarction"),
        (9, "5849", "acute_renal_failure"),
        (9, "584", None),
        (9, "E9989", None),
        (10, "A419", "septicemia"),
        (10, "I2109", "acute_myocardial_infarction"),
        (10, "I2510", "coronary_atherosclerosis"),
        (10, "N179", "acute_renal_failure"),
        (10, "I10", "essential_hypertension"),
        (10, "R6521", "shock"),
        (10, "Z0000", None),
        (11, "A419", None),
    ],
)
def test_codes_find_their_condition(version: int, code: str, named: str | None) -> None:
    """ICD-9 codes in full, ICD-10 codes by their beginning; another revision has no groups."""
    assert CONDITIONS.columns_of(version, code) == ((f"phenotype_{named}",) if named else ())


def test_a_list_of_conditions_is_no_vocabulary() -> None:
    """The catalogue of clinical variables holds none."""
    assert "phenotypes25" in phenotype_files()
    assert "phenotypes25" not in vocabularies()


def test_a_misspelt_list_is_refused(refusal: Callable[[MedaiError], str]) -> None:
    """With the near match."""
    with pytest.raises(ConfigurationError) as caught:
        load_phenotypes("phenotypes52")
    assert "did you mean 'phenotypes25'?" in refusal(caught.value)
