"""The rows that a rule or a criterion speaks of: a small language, for suites and cohorts alike.

    condition  = comparison { "and" comparison }
    comparison = column operator value | column ["not"] "in" list | column "is" ["not"] "null"
    operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
    value      = "text" | 'text' | number | true | false
    list       = "[" value { "," value } "]"

A missing value satisfies ``!=``, ``not in`` and ``is null`` and nothing else, as in pandas, where Great Expectations
evaluates the condition; an ordering (``<`` …) takes numbers.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

Scalar = str | int | float | bool


class Comparison(NamedTuple):
    """One test of one column.

    Attributes:
        column: its name.
        operator: as Great Expectations spells it: ``==`` … ``>=``, ``IN``, ``NOT_IN``, or ``null``, ``not_null``.
        value: the number, word or list compared with; None for the two tests of null.
    """

    column: str
    operator: str
    value: Scalar | list[Scalar] | None


_TOKEN = re.compile(
    r"""\s*(?: (?P<text>"[^"\\]*"|'[^'\\]*')
             | (?P<number>[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.])
             | (?P<word>[A-Za-z_]\w*)
             | (?P<sign>==|!=|<=|>=|<|>|\[|\]|,) )""",
    re.VERBOSE,
)
_LONGEST_WHOLE = 18
_ORDERINGS = ("<", "<=", ">", ">=")


def parse_condition(text: str) -> tuple[Comparison, ...]:
    """Read a row condition; all comparisons must hold.

    >>> parse_condition('code == "pH" and numeric_value is not null')[1]
    Comparison(column='numeric_value', operator='not_null', value=None)

    Raises:
        ValueError: the text is not of the language; the message says what was expected.
    """
    tokens = _Tokens(text)
    comparisons = [_comparison(tokens)]
    while tokens.take("and"):
        comparisons.append(_comparison(tokens))
    if tokens.left:
        raise ValueError("'and' or the end of the condition")
    return tuple(comparisons)


def as_great_expectations(comparisons: tuple[Comparison, ...]) -> dict[str, Any]:
    """The condition in the form that Great Expectations' own engines read."""
    parts: list[dict[str, Any]] = []
    for column, operator, value in comparisons:
        named = {"column": {"name": column}}
        if operator in ("null", "not_null"):
            parts.append({"type": "nullity", **named, "is_null": operator == "null"})
        else:
            parts.append({"type": "comparison", **named, "operator": operator, "parameter": value})
    return parts[0] if len(parts) == 1 else {"type": "and", "conditions": parts}


class Unanswerable(Exception):
    """The table cannot answer.

    Args:
        reason: ``missing_column`` or ``wrong_type``.
        column: the column that is to blame.
    """

    def __init__(self, reason: str, column: str) -> None:
        super().__init__(reason, column)
        self.reason = reason
        self.column = column


class Columns:
    """The columns of a table as expressions with pandas' meaning: NaN is a missing value.

    Args:
        schema: of the table; a column that is missing or of an unfit type raises ``Unanswerable``.
    """

    def __init__(self, schema: pl.Schema) -> None:
        self.schema = schema

    def every_row(self) -> pl.Expr:
        """True on each row. A bare literal would have one row, whatever the table's length."""
        import polars as pl

        first = pl.col(next(iter(self.schema)))
        return first.is_null() | first.is_not_null()

    def meet(self, comparisons: tuple[Comparison, ...]) -> pl.Expr:
        """True for each row that meets all comparisons; never null."""
        import polars as pl

        return pl.all_horizontal([self._holds(comparison) for comparison in comparisons])

    def _holds(self, comparison: Comparison) -> pl.Expr:
        import polars as pl

        column, operator, operand = comparison
        if column not in self.schema:
            raise Unanswerable("missing_column", column)
        value = self.value(column)
        if operator in ("null", "not_null"):
            return value.is_null() if operator == "null" else value.is_not_null()
        if isinstance(operand, list):
            is_in = self.is_in(column, operand)
            return ~is_in if operator == "NOT_IN" else is_in
        self._require_kind(column, operand)
        # As NumPy compares an array with a number: in the column's own precision.
        one = pl.lit(operand, dtype=self.schema[column]) if self.schema[column].is_float() else pl.lit(operand)
        if operator in ("==", "!="):
            return value.eq_missing(one) if operator == "==" else value.ne_missing(one)
        ordered = {"<": value < one, "<=": value <= one, ">": value > one, ">=": value >= one}[operator]
        return ordered.fill_null(False)

    def value(self, column: str) -> pl.Expr:
        """The column with NaN as a missing value."""
        import polars as pl

        dtype = self.schema[column]
        value = pl.col(column)
        if dtype.is_float():
            return value.fill_nan(None)
        return value.cast(pl.String) if isinstance(dtype, (pl.Categorical, pl.Enum)) else value

    def number(self, column: str) -> pl.Expr:
        """The column in double precision."""
        import polars as pl

        dtype = self.schema[column]
        if not dtype.is_numeric() and dtype not in (pl.Boolean, pl.Null):
            raise Unanswerable("wrong_type", column)
        return self.value(column).cast(pl.Float64)

    def text(self, column: str) -> pl.Expr:
        """The column as text, which it must be."""
        import polars as pl

        if not isinstance(self.schema[column], (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise Unanswerable("wrong_type", column)
        return self.value(column).cast(pl.String)

    def comparable(self, column: str) -> tuple[str, pl.Expr]:
        """The column with the name of the order it lives in: numbers or times."""
        import polars as pl

        if isinstance(self.schema[column], (pl.Datetime, pl.Date)):
            return "time", self.value(column).cast(pl.Datetime("us"))
        return "number", self.number(column)

    def is_in(self, column: str, values: list[Any]) -> pl.Expr:
        """Whether a value is one of the list; false where it is missing."""
        import polars as pl

        self._require_kind(column, values[0])
        value = self.value(column)
        if not isinstance(values[0], (str, bool)):
            value, values = value.cast(pl.Float64), [float(one) for one in values]
        return value.is_in(pl.lit(pl.Series(values)).implode()).fill_null(False)

    def _require_kind(self, column: str, operand: object) -> None:
        import polars as pl

        dtype = self.schema[column]
        if isinstance(operand, str):
            self.text(column)
        elif not (dtype == pl.Boolean if isinstance(operand, bool) else dtype.is_numeric() or dtype == pl.Null):
            raise Unanswerable("wrong_type", column)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.left: list[tuple[str, str]] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError('a column, an operator, "text", a number or a list')
            self.left.append((str(match.lastgroup), str(match.group(str(match.lastgroup)))))
            at = match.end()

    def take(self, token: str) -> bool:
        """Take this word or sign if it comes next."""
        if self.left and self.left[0][0] in ("word", "sign") and self.left[0][1] == token:
            del self.left[0]
            return True
        return False

    def next(self, expected: str) -> tuple[str, str]:
        if not self.left:
            raise ValueError(expected)
        return self.left.pop(0)


def _comparison(tokens: _Tokens) -> Comparison:
    kind, column = tokens.next("a column")
    if kind != "word":
        raise ValueError("a column's name first")
    if tokens.take("is"):
        operator = "not_null" if tokens.take("not") else "null"
        if not tokens.take("null"):
            raise ValueError("'null' after 'is'")
        return Comparison(column, operator, None)
    if tokens.take("not"):
        if not tokens.take("in"):
            raise ValueError("'in' after 'not'")
        return Comparison(column, "NOT_IN", _list(tokens))
    if tokens.take("in"):
        return Comparison(column, "IN", _list(tokens))
    kind, operator = tokens.next("an operator")
    if kind != "sign" or operator not in ("==", "!=", *_ORDERINGS):
        raise ValueError("one of == != < <= > >= in, not in, is null, is not null")
    value = _value(tokens)
    if operator in _ORDERINGS and isinstance(value, (str, bool)):
        raise ValueError(f"a number after {operator}")
    return Comparison(column, operator, value)


def _list(tokens: _Tokens) -> list[Scalar]:
    if not tokens.take("["):
        raise ValueError("'[' after 'in'")
    values = [_value(tokens)]
    while tokens.take(","):
        values.append(_value(tokens))
    if not tokens.take("]"):
        raise ValueError("']' at the list's end")
    if not all(isinstance(value, str) for value in values) and not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    ):
        raise ValueError("a list of texts or a list of numbers")
    return values


def _value(tokens: _Tokens) -> Scalar:
    kind, token = tokens.next("a value")
    if kind == "text":
        return token[1:-1]
    if kind == "number":
        return _number(token)
    if token in ("true", "True", "false", "False"):
        return token in ("true", "True")
    raise ValueError('"text" in quotes, a number, true or false')


def _number(token: str) -> int | float:
    if re.fullmatch(r"[-+]?[0-9]+", token):
        if len(token) > _LONGEST_WHOLE:
            raise ValueError(f"a whole number of at most {_LONGEST_WHOLE} characters: it must fit in 64 bits")
        return int(token)
    number = float(token)
    if not math.isfinite(number):
        raise ValueError("a number that 64 bits can hold")
    return number
