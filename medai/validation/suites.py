"""A suite: the rules of a source's tables, as data that a data steward may edit.

A suite is checked whole before any data is read. ``expectations/README.md`` describes the format for its editors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from medai.conditions import parse_condition
from medai.errors import ConfigurationError, near_match
from medai.records import Frozen, sha256_of
from medai.validation.patterns import both_read, is_portable
from medai.yaml_files import read_yaml

DEFAULT_TOLERANCE = 0.2
"""Largest share of a table's rows that may be set aside where a suite states none."""

SELECTED_FROM = ("events", "images", "labels", "notes", "stays")
"""Tables whose rows can be set aside: what is selected and prepared leaves such rows out, of these tables alone."""

Action = Literal["block", "set_aside", "warn"]
ACTIONS: tuple[Action, ...] = ("block", "set_aside", "warn")
_SEVERITIES = {"block": "critical", "set_aside": "warning", "warn": "info"}
"""Great Expectations' severity of each action, where a rule states none."""


class Rule(Frozen):
    """One declared expectation with its clinical reason.

    Attributes:
        type: the Great Expectations type.
        table: the table judged.
        kwargs: the expectation's own arguments, ``row_condition`` as written.
        severity: for Great Expectations: critical, warning or info.
        reason: a code; rows are counted under it.
        action: what follows when the rule is broken.
        why: the clinical or technical reason, a sentence.
        unit: unit of the bounds, where they have one.
        source: where the bounds come from.
        columns_matching: a pattern in place of ``kwargs.column``: the rule holds for each column that matches.
    """

    type: str
    table: str
    kwargs: dict[str, Any]
    severity: Literal["critical", "warning", "info"]
    reason: str
    action: Action
    why: str
    unit: str = ""
    source: str = ""
    columns_matching: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns judged, in the order the expectation names them; empty for a rule on the table."""
        if self.columns_matching:
            return (self.columns_matching,)
        named = [self.kwargs[name] for name in ("column", "column_A", "column_B") if name in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()))

    @property
    def column(self) -> str:
        """The columns judged as one text."""
        return ", ".join(self.columns)


class Suite(Frozen):
    """The rules of one source, in the order in which they name rows.

    Attributes:
        name: of the suite.
        tolerance: largest share of a table's rows that may be set aside.
        rules: table by table, as declared.
    """

    name: str
    tolerance: float
    rules: tuple[Rule, ...]

    @property
    def sha256(self) -> str:
        """Hash of what the suite says; comments and layout do not enter."""
        return sha256_of(self.model_dump(mode="json"))

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables with rules, in their order."""
        return tuple(dict.fromkeys(rule.table for rule in self.rules))


class Kind(NamedTuple):
    """What an expectation type takes, and whether it can name the rows that break it."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    names_rows: bool = False


_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")


def _row(*required: str, optional: tuple[str, ...] = ()) -> Kind:
    return Kind(required, (*optional, "mostly", "row_condition"), names_rows=True)


def _aggregate(*required: str, optional: tuple[str, ...] = ()) -> Kind:
    return Kind(("column", *required), (*optional, "row_condition"))


KINDS: dict[str, Kind] = {
    "expect_column_to_exist": Kind(("column",)),
    "expect_table_columns_to_match_set": Kind(("column_set",), ("exact_match",)),
    "expect_table_row_count_to_be_between": Kind((), (*_BOUNDS, "row_condition")),
    "expect_column_values_to_be_null": _row("column"),
    "expect_column_values_to_not_be_null": _row("column"),
    "expect_column_values_to_be_between": _row("column", optional=_BOUNDS),
    "expect_column_values_to_be_in_set": _row("column", "value_set"),
    "expect_column_values_to_not_be_in_set": _row("column", "value_set"),
    "expect_column_values_to_be_unique": _row("column"),
    "expect_column_values_to_match_regex": _row("column", "regex"),
    "expect_column_values_to_not_match_regex": _row("column", "regex"),
    "expect_column_value_lengths_to_equal": _row("column", "value"),
    "expect_column_pair_values_a_to_be_greater_than_b": _row(
        "column_A", "column_B", optional=("or_equal", "ignore_row_if")
    ),
    "expect_compound_columns_to_be_unique": _row("column_list", optional=("ignore_row_if",)),
    "expect_column_distinct_values_to_be_in_set": _aggregate("value_set"),
    "expect_column_mean_to_be_between": _aggregate(optional=_BOUNDS),
    "expect_column_min_to_be_between": _aggregate(optional=_BOUNDS),
    "expect_column_max_to_be_between": _aggregate(optional=_BOUNDS),
    "expect_column_unique_value_count_to_be_between": _aggregate(optional=_BOUNDS),
    "expect_column_proportion_of_non_null_values_to_be_between": _aggregate(optional=_BOUNDS),
}
"""Every expectation type that medai translates; each is judged by Great Expectations itself."""


def catalogue_suite(name: str) -> Path:
    """The packaged suite of this name.

    Raises:
        ConfigurationError: there is none; the message names the near match.
    """
    folder = Path(str(files("expectations"))) / "suites"
    known = {suite.stem: suite for suite in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise ConfigurationError(
            f"there is no suite named {name!r}",
            expected="a packaged suite or a path to a YAML file",
            received=name,
            action=near_match(name, known),
        )
    return known[name]


def load_suite(path: Path) -> Suite:
    """Read and check a suite.

    Raises:
        ConfigurationError: the file breaks the format; the message names the rule by table and position.
    """
    data = read_yaml(path)
    where = path.name
    _keys(data, where, required=("name", "tables"), optional=("tolerance",))
    tolerance = data.get("tolerance", DEFAULT_TOLERANCE)
    if not _is_share(tolerance):
        raise refused(where, "tolerance", "a share between 0 and 1", tolerance)
    if not _is_text(data["name"]):
        raise refused(where, "name", "a name", data["name"])
    if not isinstance(data["tables"], dict) or not data["tables"]:
        raise refused(where, "tables", "a table → list of rules mapping", data["tables"])
    rules: list[Rule] = []
    for table, declared in data["tables"].items():
        if not isinstance(table, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", table):
            raise refused(where, "tables", "tables named in lower case", table)
        if not isinstance(declared, list) or not declared:
            raise refused(f"{where}: {table}", "the table", "a list of rules", declared)
        rules += [_rule(table, rule, f"{where}: {table}, rule {at}") for at, rule in enumerate(declared, start=1)]
    actions: dict[str, Action] = {}
    for rule in rules:
        if actions.setdefault(rule.reason, rule.action) != rule.action:
            raise refused(where, f"reason {rule.reason!r}", "one action for a reason", rule.action)
    return Suite(name=data["name"], tolerance=float(tolerance), rules=tuple(rules))


def check_tolerance(tolerance: float) -> float:
    """A tolerance given by a Problem, checked as the suite's own is."""
    if not _is_share(tolerance):
        raise refused("the Problem", "the tolerance of its validation", "a share between 0 and 1", tolerance)
    return float(tolerance)


def refused(where: str, what: str, expected: str, received: object, hint: str = "") -> ConfigurationError:
    """A ConfigurationError that points into a suite."""
    return ConfigurationError(
        f"{where}: {what} cannot be followed",
        expected=expected,
        received=repr(received),
        action=hint or "mend the suite; expectations/README.md describes its format",
    )


def _rule(table: str, data: Any, where: str) -> Rule:
    if not isinstance(data, dict):
        raise refused(where, "the rule", "a mapping with type, kwargs and meta", data)
    _keys(data, where, required=("type", "meta"), optional=("kwargs", "severity", "columns_matching"))
    kind = KINDS.get(data["type"]) if isinstance(data["type"], str) else None
    if kind is None:
        raise refused(
            where, "type", "an expectation that medai translates", data["type"], near_match(str(data["type"]), KINDS)
        )
    meta, kwargs = data["meta"], data.get("kwargs") or {}
    if not isinstance(meta, dict) or not isinstance(kwargs, dict):
        raise refused(where, "kwargs and meta", "two mappings", [type(kwargs).__name__, type(meta).__name__])
    _keys(meta, f"{where}, meta", required=("reason", "action", "why"), optional=("unit", "source"))
    for name, value in meta.items():
        if not _is_text(value):
            raise refused(where, f"meta.{name}", "a text", value)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", meta["reason"]):
        raise refused(where, "meta.reason", "a code of lower-case letters, digits and _", meta["reason"])
    if meta["action"] not in ACTIONS:
        raise refused(
            where, "meta.action", "one of " + ", ".join(ACTIONS), meta["action"], near_match(meta["action"], ACTIONS)
        )
    if meta["action"] == "set_aside" and (not kind.names_rows or "mostly" in kwargs):
        raise refused(
            where,
            "meta.action",
            "set_aside only for a rule on rows, without mostly (the suite's tolerance bounds what is set aside)",
            data["type"],
        )
    if meta["action"] == "set_aside" and table not in SELECTED_FROM:
        raise refused(where, "meta.action", "set_aside only in the tables " + ", ".join(SELECTED_FROM), table)
    severity = data.get("severity", _SEVERITIES[meta["action"]])
    if severity not in _SEVERITIES.values():
        raise refused(where, "severity", "one of " + ", ".join(_SEVERITIES.values()), severity)
    return Rule(
        type=data["type"],
        table=table,
        kwargs=_arguments(kind, kwargs, data, where),
        severity=severity,
        columns_matching=data.get("columns_matching", ""),
        **meta,
    )


def _arguments(kind: Kind, kwargs: dict[str, Any], data: dict[str, Any], where: str) -> dict[str, Any]:
    required = kind.required
    if "columns_matching" in data:
        if "column" not in required or not is_portable(data["columns_matching"]):
            raise refused(where, "columns_matching", "a pattern, for a rule on one column", data["columns_matching"])
        required = tuple(name for name in required if name != "column")
    _keys(kwargs, f"{where}, kwargs", required=required, optional=kind.optional)
    for name, value in kwargs.items():
        expected, fits = _ARGUMENTS[name]
        if not fits(value):
            raise refused(where, f"kwargs.{name}", expected, value)
    if "row_condition" in kwargs:
        try:
            parse_condition(kwargs["row_condition"])
        except ValueError as error:
            raise refused(where, "kwargs.row_condition", str(error), kwargs["row_condition"]) from error
    if "column_A" in kwargs and kwargs["column_A"] == kwargs["column_B"]:
        raise refused(where, "kwargs", "two columns", kwargs["column_A"])
    if "min_value" in kind.optional:
        low, high = kwargs.get("min_value", -math.inf), kwargs.get("max_value", math.inf)
        if (low, high) == (-math.inf, math.inf) or low > high:
            raise refused(where, "kwargs", "min_value, max_value or both, in this order", {"min": low, "max": high})
    return kwargs


def _keys(data: dict[str, Any], where: str, *, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    for key in data:
        if key not in (*required, *optional):
            known = (*required, *optional)
            raise refused(where, f"key {key!r}", "a known key", key, near_match(str(key), known))
    for key in required:
        if key not in data:
            raise refused(where, f"key {key!r}", "the key to be there", sorted(map(str, data)))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _are_columns(value: object) -> bool:
    return _is_texts(value) and 1 < len(value) == len(set(value))


def _is_value_set(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return (
        all(isinstance(one, str) for one in value)
        or all(isinstance(one, bool) for one in value)
        or all(map(_is_number, value))
    )


_ARGUMENTS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "column": ("a column's name", _is_text),
    "column_A": ("a column's name", _is_text),
    "column_B": ("a column's name", _is_text),
    "column_list": ("two columns or more, each once", _are_columns),
    "column_set": ("a list of columns", _is_texts),
    "min_value": ("a finite number", _is_number),
    "max_value": ("a finite number", _is_number),
    "strict_min": ("true or false", lambda value: isinstance(value, bool)),
    "strict_max": ("true or false", lambda value: isinstance(value, bool)),
    "or_equal": ("true or false", lambda value: isinstance(value, bool)),
    "exact_match": ("true or false", lambda value: isinstance(value, bool)),
    "value": (
        "a length, 0 or more",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ),
    "value_set": ("a list of texts, of numbers, or of true and false", _is_value_set),
    "regex": ("a pattern that Python and Rust read alike, without look-around, references or inline flags", both_read),
    "mostly": ("a share between 0 and 1", _is_share),
    "row_condition": ("a condition as text", _is_text),
    "ignore_row_if": (
        "one of neither, both_values_are_missing, either_value_is_missing (pair); "
        "never, all_values_are_missing, any_value_is_missing (compound)",
        lambda value: (
            value
            in (
                "neither",
                "both_values_are_missing",
                "either_value_is_missing",
                "never",
                "all_values_are_missing",
                "any_value_is_missing",
            )
        ),
    ),
}
