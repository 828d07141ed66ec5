"""A rule in Polars: which rows it speaks of, which of them break it, and the metrics Great Expectations judges by.

The meaning of every rule is that of Great Expectations' own pandas engine (1.24), which the tests compare with on
mutated tables: a NaN is a missing value; most rules skip missing values; a 32-bit float is compared with its bound in
double precision. Two things are stricter here: a column that is not there, or is of a type that the rule cannot
judge (text where numbers belong), makes the rule unanswerable, and an unanswerable rule blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.conditions import Columns, Unanswerable, parse_condition
from medai.validation.patterns import rust_pattern
from medai.validation.suites import Rule

if TYPE_CHECKING:
    import polars as pl

ROW_COUNT, COLUMNS = "table.row_count", "table.columns"
NULLS = "column_values.nonnull.unexpected_count"


class Translation(NamedTuple):
    """One rule as expressions over its table.

    Attributes:
        evaluated: number of rows judged (an aggregation).
        metrics: Great Expectations' metric name → its value (aggregations). A rule on uniqueness leaves out the count
            of rows that break it: that comes from ``duplicates``.
        breaks: true for each row that breaks the rule, never null; None where rows cannot be named by an expression.
        duplicates: for a rule on uniqueness, the rows it speaks of (a mask) and the columns that must be unique.
        unexpected: the metric that counts breaking rows; empty for a rule on the table.
    """

    evaluated: pl.Expr
    metrics: dict[str, pl.Expr]
    breaks: pl.Expr | None = None
    duplicates: tuple[pl.Expr, tuple[str, ...]] | None = None
    unexpected: str = ""


_JOINS = {"column.min": "min", "column.max": "max"}


def joined_by(metric: str) -> str:
    """How a metric of several parts of a table becomes that of the table: ``sum``, ``min``, ``max``; empty: not at all.

    >>> joined_by("column_values.between.unexpected_count"), joined_by("column.mean")
    ('sum', '')
    """
    counts = metric.endswith((".unexpected_count", ".filtered_row_count")) or metric == ROW_COUNT
    return "sum" if counts else _JOINS.get(metric, "")


def named_words(rules: Sequence[Rule], column: str) -> set[str] | None:
    """The words that rules compare a text column with; None where a rule looks at the text itself.

    What no rule names is, to all of them, the same: any other word.
    """
    named: set[str] = set()
    for rule in rules:
        for comparison in parse_condition(rule.kwargs["row_condition"]) if "row_condition" in rule.kwargs else ():
            if comparison.column == column and comparison.value is not None:
                values = comparison.value if isinstance(comparison.value, list) else [comparison.value]
                if not all(isinstance(value, str) for value in values):
                    return None
                named |= {str(value) for value in values}
        if column not in rule.columns or rule.type in _BY_PRESENCE:
            continue
        if rule.type not in _BY_WORDS or not all(isinstance(value, str) for value in rule.kwargs["value_set"]):
            return None
        named |= set(rule.kwargs["value_set"])
    return named


_BY_PRESENCE = (
    "expect_column_to_exist",
    "expect_column_values_to_be_null",
    "expect_column_values_to_not_be_null",
)
_BY_WORDS = ("expect_column_values_to_be_in_set", "expect_column_values_to_not_be_in_set")


class NamedWords(Columns):
    """Columns of which some are enumerations that hold every word that rules name: they are compared as numbers."""

    def value(self, column: str) -> pl.Expr:
        """The column, an enumeration as it is."""
        import polars as pl

        return pl.col(column) if isinstance(self.schema[column], pl.Enum) else super().value(column)

    def is_in(self, column: str, values: list[Any]) -> pl.Expr:
        """Whether a value is one of the list; false where it is missing."""
        import polars as pl

        dtype = self.schema[column]
        if not isinstance(dtype, pl.Enum):
            return super().is_in(column, values)
        known = [value for value in values if value in dtype.categories]
        return pl.col(column).is_in(pl.lit(pl.Series(known, dtype=dtype)).implode()).fill_null(False)


def translate(rule: Rule, schema: pl.Schema, columns: type[Columns] = Columns) -> Translation:
    """The rule over a table of this schema.

    Args:
        columns: how the table's columns are read; ``NamedWords`` where enumerations hold all words that rules name.

    Raises:
        Unanswerable: a column is missing or of a type that the rule cannot judge.
    """
    return _Translator(rule, columns(schema)).translate()


class _Translator:
    def __init__(self, rule: Rule, columns: Columns) -> None:
        self.rule = rule
        self.kwargs = rule.kwargs
        self.columns = columns

    def translate(self) -> Translation:
        import polars as pl

        for column in self.rule.columns:
            if column not in self.columns.schema and self.rule.type != "expect_column_to_exist":
                raise Unanswerable("missing_column", column)
        domain = self._domain()
        rows = {ROW_COUNT: domain.sum()}
        kind = self.rule.type
        if kind in ("expect_column_to_exist", "expect_table_columns_to_match_set"):
            return Translation(pl.len(), {})  # the columns are no aggregate; the measuring pass adds them
        if kind == "expect_table_row_count_to_be_between":
            return Translation(domain.sum(), rows)
        if kind == "expect_compound_columns_to_be_unique":
            return self._compound(domain, rows)
        if kind == "expect_column_pair_values_a_to_be_greater_than_b":
            return self._pair(domain, rows)
        column = self.kwargs["column"]
        null = self.columns.value(column).is_null()
        if kind in ("expect_column_values_to_be_null", "expect_column_values_to_not_be_null"):
            name, breaks = ("nonnull", null) if "not" in kind else ("null", ~null)
            return self._map(f"column_values.{name}", domain & breaks, domain.sum(), rows)
        judged = domain & ~null
        rows[NULLS] = (domain & null).sum()
        if kind == "expect_column_values_to_be_unique":
            unexpected = "column_values.unique.unexpected_count"
            return Translation(judged.sum(), rows, None, (judged, (column,)), unexpected)
        if kind in _METRIC_OF_MAP:
            fits = self._fits(kind, column).fill_null(False)
            return self._map(_METRIC_OF_MAP[kind], judged & ~fits, judged.sum(), rows)
        return self._aggregate(kind, column, judged, domain)

    def _map(self, metric: str, breaks: pl.Expr, evaluated: pl.Expr, metrics: dict[str, pl.Expr]) -> Translation:
        unexpected = f"{metric}.unexpected_count"
        return Translation(evaluated, {**metrics, unexpected: breaks.sum()}, breaks, None, unexpected)

    def _fits(self, kind: str, column: str) -> pl.Expr:
        """Whether a value that is there meets the rule."""
        if kind == "expect_column_values_to_be_between":
            return _within(self.columns.number(column), self.kwargs)
        if kind == "expect_column_value_lengths_to_equal":
            return self.columns.text(column).str.len_chars() == int(self.kwargs["value"])
        if kind.endswith("in_set"):
            is_in = self.columns.is_in(column, self.kwargs["value_set"])
            return ~is_in if kind == "expect_column_values_to_not_be_in_set" else is_in
        matches = self.columns.text(column).str.contains(rust_pattern(self.kwargs["regex"]))
        return ~matches if "not" in kind else matches

    def _aggregate(self, kind: str, column: str, judged: pl.Expr, domain: pl.Expr) -> Translation:
        import polars as pl

        if kind == "expect_column_distinct_values_to_be_in_set":
            outside = judged & ~self.columns.is_in(column, self.kwargs["value_set"])
            name = "column.distinct_values.not_in_set"
            # The values themselves are the patient's: Great Expectations is told how many, never which.
            metrics = {
                f"{name}.count": self.columns.value(column).filter(outside).n_unique(),
                name: pl.lit([], dtype=pl.List(pl.String)),
            }
        elif kind == "expect_column_unique_value_count_to_be_between":
            metrics = {"column.distinct_values.count": self.columns.value(column).filter(judged).n_unique()}
        elif kind == "expect_column_proportion_of_non_null_values_to_be_between":
            share = pl.when(domain.sum() > 0).then(judged.sum() / domain.sum()).otherwise(0.0)
            metrics = {"column.non_null_proportion": share}
        else:
            statistic = kind.removeprefix("expect_column_").removesuffix("_to_be_between")
            values = self.columns.number(column).filter(judged)
            metrics = {f"column.{statistic}": getattr(values, statistic)()}
        return Translation(judged.sum(), metrics)

    def _pair(self, domain: pl.Expr, metrics: dict[str, pl.Expr]) -> Translation:
        a, b = (self.columns.comparable(self.kwargs[name]) for name in ("column_A", "column_B"))
        if a[0] != b[0]:
            raise Unanswerable("wrong_type", self.rule.column)
        missing = a[1].is_null(), b[1].is_null()
        ignored = {
            "neither": None,
            "both_values_are_missing": missing[0] & missing[1],
            "either_value_is_missing": missing[0] | missing[1],
        }[self.kwargs.get("ignore_row_if", "both_values_are_missing")]
        judged = domain if ignored is None else domain & ~ignored
        greater = a[1] >= b[1] if self.kwargs.get("or_equal", False) else a[1] > b[1]
        metric = "column_pair_values.a_greater_than_b"
        metrics[f"{metric}.filtered_row_count"] = judged.sum()
        return self._map(metric, judged & ~greater.fill_null(False), judged.sum(), metrics)

    def _compound(self, domain: pl.Expr, metrics: dict[str, pl.Expr]) -> Translation:
        import polars as pl

        columns = tuple(self.kwargs["column_list"])
        missing = [self.columns.value(column).is_null() for column in columns]
        ignored = {
            "never": None,
            "all_values_are_missing": pl.all_horizontal(missing),
            "any_value_is_missing": pl.any_horizontal(missing),
        }[self.kwargs.get("ignore_row_if", "all_values_are_missing")]
        judged = domain if ignored is None else domain & ~ignored
        metrics["compound_columns.unique.filtered_row_count"] = judged.sum()
        unexpected = "compound_columns.unique.unexpected_count"
        return Translation(judged.sum(), metrics, None, (judged, columns), unexpected)

    def _domain(self) -> pl.Expr:
        """True for each row that the rule speaks of; never null."""
        condition = self.kwargs.get("row_condition")
        return self.columns.every_row() if condition is None else self.columns.meet(parse_condition(condition))


_METRIC_OF_MAP = {
    "expect_column_values_to_be_between": "column_values.between",
    "expect_column_values_to_be_in_set": "column_values.in_set",
    "expect_column_values_to_not_be_in_set": "column_values.not_in_set",
    "expect_column_values_to_match_regex": "column_values.match_regex",
    "expect_column_values_to_not_match_regex": "column_values.not_match_regex",
    "expect_column_value_lengths_to_equal": "column_values.value_length.equals",
}


def _within(value: pl.Expr, kwargs: dict[str, Any]) -> pl.Expr:
    import polars as pl

    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    parts = []
    if low is not None:
        parts.append(value > float(low) if kwargs.get("strict_min") else value >= float(low))
    if high is not None:
        parts.append(value < float(high) if kwargs.get("strict_max") else value <= float(high))
    return pl.all_horizontal(parts)
