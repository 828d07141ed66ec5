"""Verdicts and rows are those of Great Expectations' own pandas engine, on clean and on damaged tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.validation import Rule, catalogue_suite, load_suite
from medai.validation.judging import configurations, judge, load_expectations
from medai.validation.measuring import IDENTITY, breaking_rows, measure
from medai.validation.suites import KINDS
from medai.validation.translation import translate

DECLARED: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_to_exist", {"column": "number"}),
    ("expect_column_to_exist", {"column": "absent"}),
    ("expect_table_columns_to_match_set", {"column_set": ["row_id", "number"], "exact_match": False}),
    ("expect_table_columns_to_match_set", {"column_set": ["row_id", "number"]}),
    ("expect_table_row_count_to_be_between", {"min_value": 5}),
    ("expect_table_row_count_to_be_between", {"min_value": 5, "max_value": 20, "strict_max": True}),
    ("expect_table_row_count_to_be_between", {"max_value": 3, "row_condition": 'text == "a"'}),
    ("expect_column_values_to_be_null", {"column": "number"}),
    ("expect_column_values_to_be_null", {"column": "text", "row_condition": "whole > 3", "mostly": 0.3}),
    ("expect_column_values_to_not_be_null", {"column": "number"}),
    ("expect_column_values_to_not_be_null", {"column": "start", "mostly": 0.8}),
    ("expect_column_values_to_not_be_null", {"column": "flag", "row_condition": "text is not null"}),
    ("expect_column_values_to_be_between", {"column": "number", "min_value": 1.1, "max_value": 6}),
    ("expect_column_values_to_be_between", {"column": "number", "max_value": 1.1}),
    ("expect_column_values_to_be_between", {"column": "number", "min_value": 2, "strict_min": True, "mostly": 0.5}),
    ("expect_column_values_to_be_between", {"column": "whole", "min_value": 0, "max_value": 4, "strict_max": True}),
    ("expect_column_values_to_be_between", {"column": "whole", "min_value": 2, "row_condition": 'text != "a"'}),
    ("expect_column_values_to_be_between", {"column": "whole", "min_value": 2, "row_condition": 'text in ["a", "b"]'}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "number < 2.2"}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "number >= 1.1"}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "flag == true"}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "flag != true"}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "number != 1.1"}),
    ("expect_column_values_to_be_between", {"column": "whole", "max_value": 5, "row_condition": "whole not in [7, 8]"}),
    (
        "expect_column_values_to_be_between",
        {"column": "number", "min_value": 2, "row_condition": 'text == "a" and whole <= 5 and flag is not null'},
    ),
    ("expect_column_values_to_be_in_set", {"column": "text", "value_set": ["a", "b"]}),
    ("expect_column_values_to_be_in_set", {"column": "number", "value_set": [1.1, 2, 3]}),
    ("expect_column_values_to_be_in_set", {"column": "whole", "value_set": [1, 2, 3, 4], "mostly": 0.6}),
    ("expect_column_values_to_be_in_set", {"column": "flag", "value_set": [True]}),
    ("expect_column_values_to_not_be_in_set", {"column": "text", "value_set": ["a"]}),
    ("expect_column_values_to_not_be_in_set", {"column": "number", "value_set": [2, 5], "row_condition": "whole > 2"}),
    ("expect_column_values_to_be_unique", {"column": "row_id"}),
    ("expect_column_values_to_be_unique", {"column": "number"}),
    ("expect_column_values_to_be_unique", {"column": "text", "row_condition": "whole <= 4"}),
    ("expect_column_values_to_match_regex", {"column": "text", "regex": "^[ab]$"}),
    ("expect_column_values_to_match_regex", {"column": "text", "regex": r"^\w+$"}),
    ("expect_column_values_to_match_regex", {"column": "text", "regex": r"^\d|[$]|(?:b$|c)"}),
    ("expect_column_values_to_not_match_regex", {"column": "text", "regex": "^a"}),
    ("expect_column_value_lengths_to_equal", {"column": "text", "value": 1}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "end", "column_B": "start"}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "end", "column_B": "start", "or_equal": True}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "number", "column_B": "whole", "ignore_row_if": "either_value_is_missing", "mostly": 0.4},
    ),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "number", "column_B": "whole", "ignore_row_if": "neither", "row_condition": 'text == "a"'},
    ),
    ("expect_compound_columns_to_be_unique", {"column_list": ["text", "flag"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["number", "text"], "ignore_row_if": "never"}),
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["number", "text"], "ignore_row_if": "any_value_is_missing", "row_condition": "whole > 1"},
    ),
    ("expect_column_distinct_values_to_be_in_set", {"column": "text", "value_set": ["a", "b", "c"]}),
    (
        "expect_column_distinct_values_to_be_in_set",
        {"column": "whole", "value_set": [1, 2], "row_condition": "whole < 3"},
    ),
    ("expect_column_mean_to_be_between", {"column": "number", "min_value": 2, "max_value": 4}),
    ("expect_column_mean_to_be_between", {"column": "whole", "max_value": 3, "row_condition": 'text == "a"'}),
    ("expect_column_min_to_be_between", {"column": "number", "min_value": 1}),
    ("expect_column_max_to_be_between", {"column": "whole", "max_value": 8, "strict_max": True}),
    ("expect_column_unique_value_count_to_be_between", {"column": "text", "min_value": 2, "max_value": 3}),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "number", "min_value": 0.9}),
    (
        "expect_column_proportion_of_non_null_values_to_be_between",
        {"column": "start", "min_value": 0.5, "row_condition": "whole >= 3"},
    ),
]


def _table(seed: int, height: int, damage: float) -> pl.DataFrame:
    """A table of every kind of column in which a share of the cells is missing, NaN, infinite, repeated or odd."""
    rng = np.random.default_rng(seed)
    start = datetime(2020, 1, 1)

    def broken(values: list[Any], *odd: Any) -> list[Any]:
        return [odd[rng.integers(len(odd))] if rng.random() < damage else value for value in values]

    starts = [start + timedelta(hours=int(hour)) for hour in rng.integers(0, 9, height)]
    ends = [one + timedelta(hours=int(hours)) for one, hours in zip(starts, rng.integers(1, 5, height), strict=True)]
    return pl.DataFrame(
        {
            "row_id": broken(list(range(height)), 0, 1),
            "number": broken(
                [float(one) for one in rng.choice([1.1, 2.0, 2.2, 3.5, 5.0], height)],
                None,
                float("nan"),
                float("inf"),
                -1.0,
                6.0,
            ),
            "whole": broken([int(one) for one in rng.integers(1, 6, height)], None, 9, -3),
            "text": broken([str(one) for one in rng.choice(["a", "b", "c"], height)], None, "", "a\n", "é", "١", "xyz"),
            "flag": broken([bool(one) for one in rng.integers(0, 2, height)], None),
            "start": broken(starts, None, start + timedelta(days=30)),
            "end": broken(ends, None, start),
        },
        schema={
            "row_id": pl.Int64,
            "number": pl.Float32,
            "whole": pl.Int64,
            "text": pl.String,
            "flag": pl.Boolean,
            "start": pl.Datetime("us"),
            "end": pl.Datetime("us"),
        },
    )


def _compare(table: pl.DataFrame, rules: list[Rule], theirs: list[Any], path: Path) -> None:
    table.write_parquet(path, row_group_size=5)
    measured = measure(path, rules)
    by_parts = measure(path, rules, rows_at_once=7)
    assert by_parts.measured == measured.measured
    assert by_parts.set_aside.equals(measured.set_aside)
    assert by_parts.rows == measured.rows == table.height
    expectations = load_expectations("suite", configurations(rules))
    lazy = table.with_row_index("position").lazy()
    for rule, expectation, ours, verdict in zip(rules, expectations, measured.measured, theirs, strict=True):
        what = f"{rule.type} {rule.kwargs}"
        success = not ours.unanswerable and judge(expectation, ours.metrics)
        assert success == verdict.success, what
        if KINDS[rule.type].names_rows and not ours.unanswerable:
            found = breaking_rows(lazy, translate(rule, table.schema), "position").collect()["position"]
            assert sorted(found) == sorted(verdict.rows or []), what
            assert ours.unexpected == len(verdict.rows or []), what
    first: dict[int, int] = {}
    for index, (rule, verdict) in enumerate(zip(rules, theirs, strict=True)):
        if rule.action == "set_aside":
            for position in verdict.rows or []:
                first.setdefault(table[IDENTITY][position], index)
    assert dict(measured.set_aside.iter_rows()) == first


@pytest.mark.parametrize(
    ("seed", "height", "damage"),
    [(0, 12, 0.0), (1, 12, 0.15), (2, 40, 0.3), (3, 40, 0.05), (4, 9, 0.9), (5, 1, 0.0), (6, 0, 0.0), (7, 30, 0.5)],
)
def test_each_kind_agrees_with_pandas(
    seed: int,
    height: int,
    damage: float,
    tmp_path: Path,
    judged_by_pandas: Callable[..., Any],
    rule_of: Callable[..., Rule],
) -> None:
    """Every supported rule gives the success and the rows that full pandas validation gives."""
    rules = [rule_of(kind, **kwargs) for kind, kwargs in DECLARED]
    table = _table(seed, height, damage)
    theirs = judged_by_pandas(table, rules)
    if damage >= 0.3:  # the comparison must not agree on nothing but success
        assert sum(not verdict.success for verdict in theirs) > len(rules) / 2
    _compare(table, rules, theirs, tmp_path / "table.parquet")


def test_every_supported_kind_is_compared() -> None:
    """No supported type is left out of the comparison."""
    assert {kind for kind, _ in DECLARED} == set(KINDS)


def _mutated(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Cells emptied, values moved between rows and scaled, rows repeated."""
    rng = np.random.default_rng(seed)
    height = table.height
    for name, dtype in table.schema.items():
        if name == IDENTITY and seed % 2:
            continue
        hit = pl.Series(rng.random(height) < 0.1)
        moved = table[name].gather(rng.permutation(height))
        table = table.with_columns(pl.when(hit).then(moved).otherwise(pl.col(name)).alias(name))
        if dtype.is_numeric() and name != IDENTITY:
            hit, by = pl.Series(rng.random(height) < 0.05), int(rng.choice([0, -1, 10]))
            table = table.with_columns(pl.when(hit).then(pl.col(name) * by).otherwise(pl.col(name)).cast(dtype))
        if name != IDENTITY:
            hit = pl.Series(rng.random(height) < 0.03)
            table = table.with_columns(pl.when(hit).then(None).otherwise(pl.col(name)).alias(name))
    return table


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("name", ["medmnist", "physionet2012"])
def test_packaged_suites_agree_with_pandas(
    name: str,
    seed: int | None,
    tmp_path: Path,
    judged_by_pandas: Callable[..., Any],
    images: dict[str, pl.DataFrame],
    events: dict[str, pl.DataFrame],
) -> None:
    """Both packaged suites give what pandas validation gives, on a clean snapshot and on damaged ones."""
    suite = load_suite(catalogue_suite(name))
    for table, frame in (images if name == "medmnist" else events).items():
        rules = [
            rule.model_copy(update={"kwargs": {**rule.kwargs, "column": "label"}, "columns_matching": ""})
            if rule.columns_matching
            else rule
            for rule in suite.rules
            if rule.table == table
        ]
        frame = frame if seed is None else _mutated(frame, seed)
        theirs = judged_by_pandas(frame, rules)
        if seed is None:
            assert all(verdict.success for verdict in theirs)
        _compare(frame, rules, theirs, tmp_path / "table.parquet")
