"""The rows that a rule speaks of: a small language, read once and given to both engines.

    condition  = comparison { "and" comparison }
    comparison = column operator value | column ["not"] "in" list | column "is" ["not"] "null"
    operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
    value      = "text" | 'text' | number | true | false
    list       = "[" value { "," value } "]"

A missing value satisfies ``!=``, ``not in`` and ``is null`` and nothing else, as in pandas, where Great Expectations
evaluates the condition; an ordering (``<`` …) takes numbers.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

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
             | (?P<number>[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)(?![\w.])
             | (?P<word>[A-Za-z_]\w*)
             | (?P<sign>==|!=|<=|>=|<|>|\[|\]|,) )""",
    re.VERBOSE,
)
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
        return int(token) if re.fullmatch(r"[-+]?\d+", token) else float(token)
    if token in ("true", "True", "false", "False"):
        return token in ("true", "True")
    raise ValueError('"text" in quotes, a number, true or false')
