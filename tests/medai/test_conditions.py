"""The language of row conditions."""

from __future__ import annotations

import pytest

from medai.conditions import Comparison, as_great_expectations, parse_condition


def test_conditions_are_read() -> None:
    """Comparisons, lists and null tests joined by 'and'."""
    text = """code == "pH" and value <= -1.5e1 and role not in ['a', "b"] and time is not null and flag != true"""
    assert parse_condition(text) == (
        Comparison("code", "==", "pH"),
        Comparison("value", "<=", -15.0),
        Comparison("role", "NOT_IN", ["a", "b"]),
        Comparison("time", "not_null", None),
        Comparison("flag", "!=", True),
    )


def test_great_expectations_form() -> None:
    """One comparison stands alone; several stand under one 'and'."""
    one = {"type": "comparison", "column": {"name": "code"}, "operator": "==", "parameter": "pH"}
    null = {"type": "nullity", "column": {"name": "time"}, "is_null": True}
    assert as_great_expectations(parse_condition('code == "pH"')) == one
    assert as_great_expectations(parse_condition('code == "pH" and time is null')) == {
        "type": "and",
        "conditions": [one, null],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a column"),
        ("code", "an operator"),
        ('"code" == 1', "a column's name first"),
        ("code = 1", "a column, an operator"),
        ("code == pH", '"text" in quotes'),
        ('code < "pH"', "a number after <"),
        ('code == "a" or code == "b"', "'and' or the end"),
        ("code in []", '"text" in quotes'),
        ('code in ["a", 1]', "a list of texts or a list of numbers"),
        ('code in ["a"', "']' at the list's end"),
        ("code is missing", "'null' after 'is'"),
        ('@pd.eval("1") == 1', "a column, an operator"),
        ("code == __import__('os')", "a column, an operator"),
    ],
)
def test_what_is_not_of_the_language(text: str, expected: str) -> None:
    """Anything else is refused with what was expected; nothing is ever evaluated."""
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse_condition(text)
    assert str(refused.value).startswith(expected)
