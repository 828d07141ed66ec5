"""A suite is checked whole before any data is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medai.errors import ConfigurationError
from medai.validation import catalogue_suite, load_suite
from medai.validation.judging import load_expectations

GOOD = """
name: small
tables:
  images:
    - type: expect_column_values_to_be_between
      kwargs: {column: std, min_value: 0}
      meta: {reason: constant, action: set_aside, why: "Shows nothing."}
"""


def test_a_suite_is_read(write_suite: Callable[[str], Path]) -> None:
    """Defaults are filled in: the tolerance, and the severity that an action implies."""
    suite = load_suite(write_suite(GOOD))
    assert (suite.name, suite.tolerance, suite.tables) == ("small", 0.2, ("images",))
    rule = suite.rules[0]
    assert (rule.table, rule.column, rule.reason, rule.action, rule.severity) == (
        "images",
        "std",
        "constant",
        "set_aside",
        "warning",
    )


def test_layout_and_comments_do_not_enter_the_hash(write_suite: Callable[[str], Path]) -> None:
    """A reworded comment judges nothing again; a changed bound does."""
    plain = load_suite(write_suite(GOOD)).sha256
    assert (
        load_suite(write_suite("# a comment\n" + GOOD.replace("{column: std, ", "{column:   std,  "))).sha256 == plain
    )
    assert load_suite(write_suite(GOOD.replace("min_value: 0", "min_value: 1"))).sha256 != plain


@pytest.mark.parametrize(
    ("old", "new", "wrong", "action"),
    [
        ("name: small", "nam: small", "key 'nam'", "did you mean 'name'?"),
        ("name: small", "name: ''", "name", "mend the suite"),
        ("name: small", "name: small\ntolerance: 1.5", "tolerance", "mend the suite"),
        ("_to_be_between", "_to_be_betwen", "type", "did you mean 'expect_column_values_to_be_between'?"),
        ("_values_to_be_between", "_quantile_values_to_be_between", "type", "did you mean"),
        ("kwargs", "kwarg", "key 'kwarg'", "did you mean 'kwargs'?"),
        ("min_value", "min_valu", "key 'min_valu'", "did you mean 'min_value'?"),
        ("column: std, ", "", "key 'column'", "mend the suite"),
        ("min_value: 0", "min_value: low", "kwargs.min_value", "mend the suite"),
        ("min_value: 0", "min_value: 3, max_value: 2", "kwargs", "mend the suite"),
        (", min_value: 0", "", "kwargs", "mend the suite"),
        ("reason: constant, ", "", "key 'reason'", "mend the suite"),
        (', why: "Shows nothing."', "", "key 'why'", "mend the suite"),
        ("Shows nothing.", " ", "meta.why", "mend the suite"),
        ("reason: constant", "reason: Not a code", "meta.reason", "mend the suite"),
        ("set_aside", "set_asid", "meta.action", "did you mean 'set_aside'?"),
        ("min_value: 0", "min_value: 0, mostly: 0.9", "meta.action", "mend the suite"),
        ("_values_to_be_between", "_mean_to_be_between", "meta.action", "mend the suite"),
        ("      meta", "      severity: high\n      meta", "severity", "mend the suite"),
        ("min_value: 0", "min_value: 0, row_condition: 'a = 1'", "kwargs.row_condition", "mend the suite"),
        ("      meta", "      columns_matching: '('\n      meta", "columns_matching", "mend the suite"),
        ("min_value: 0", f"min_value: 0, row_condition: 'a > {'9' * 19}'", "kwargs.row_condition", "mend the suite"),
        ("min_value: 0", f"min_value: 0, row_condition: 'a > {'9' * 5000}'", "kwargs.row_condition", "mend the suite"),
        ("min_value: 0", "min_value: 0, row_condition: 'a < 1e999'", "kwargs.row_condition", "mend the suite"),
        ("  images:", "  Images:", "tables", "mend the suite"),
        ("  images:", "  codes:", "meta.action", "mend the suite"),
    ],
)
def test_what_the_format_does_not_allow(
    old: str, new: str, wrong: str, action: str, write_suite: Callable[[str], Path]
) -> None:
    """Each slip is refused with status 2, with its place and the near match."""
    with pytest.raises(ConfigurationError) as refused:
        load_suite(write_suite(GOOD.replace(old, new)))
    assert wrong + " cannot be followed" in refused.value.wrong
    assert refused.value.action.startswith(action)


def test_one_reason_has_one_action(write_suite: Callable[[str], Path]) -> None:
    """Rows are counted by reason, so a reason cannot both block and set aside."""
    again = GOOD[GOOD.index("    - type") :].replace("set_aside", "block")
    with pytest.raises(ConfigurationError, match="reason 'constant' cannot be followed"):
        load_suite(write_suite(GOOD + again))


@pytest.mark.parametrize("pattern", [
    "a(?=b)", r"(a)\1", "(?i)a", "[[:alpha:]]", "(", r"a\Z",
    "^a{,3}", "a{", r"\0", "((a{1,200}){1,200}){1,200}", "(" * 300 + "a" + ")" * 300, "(" * 5000 + "a" + ")" * 5000,
])  # fmt: skip
def test_patterns_that_two_engines_read_differently(pattern: str, write_suite: Callable[[str], Path]) -> None:
    """A pattern that Python and Polars would read differently is refused, not translated by half."""
    text = GOOD.replace("to_be_between", "to_match_regex").replace("min_value: 0", f"regex: '{pattern}'")
    with pytest.raises(ConfigurationError, match=r"kwargs\.regex cannot be followed"):
        load_suite(write_suite(text))


@pytest.mark.parametrize(
    ("kind", "kwargs", "wrong"),
    [
        ("expect_compound_columns_to_be_unique", "{column_list: [row_id, row_id]}", "kwargs.column_list"),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            "{column_A: row_id, column_B: row_id}",
            "kwargs",
        ),
    ],
)
def test_one_column_is_no_two(kind: str, kwargs: str, wrong: str, write_suite: Callable[[str], Path]) -> None:
    """A rule on several columns that names one of them twice is a slip."""
    text = GOOD.replace("expect_column_values_to_be_between", kind).replace("{column: std, min_value: 0}", kwargs)
    with pytest.raises(ConfigurationError, match=f"{wrong} cannot be followed"):
        load_suite(write_suite(text))


def test_an_unknown_catalogue_suite() -> None:
    """A suite that is not packaged is refused with the near match."""
    with pytest.raises(ConfigurationError) as refused:
        catalogue_suite("medmnst")
    assert refused.value.action == "did you mean 'medmnist'?"


def test_an_expectation_that_did_not_load() -> None:
    """A type that Great Expectations would drop in silence fails the run, with the near match."""
    declared = [
        {"type": "expect_column_to_exist", "kwargs": {"column": "a"}},
        {"type": "expect_column_values_to_be_betwen", "kwargs": {"column": "a", "min_value": 0}},
    ]
    with pytest.raises(ConfigurationError) as refused:
        load_expectations("small", declared)
    assert refused.value.wrong == "suite small: the expectation expect_column_values_to_be_betwen did not load"
    assert refused.value.action == "did you mean 'expect_column_values_to_be_between'?"


def test_arguments_that_great_expectations_refuses() -> None:
    """Great Expectations' own check of arguments becomes a ConfigurationError."""
    with pytest.raises(ConfigurationError, match="does not accept a rule's arguments"):
        load_expectations("small", [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "a"}}])
