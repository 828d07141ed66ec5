"""Great Expectations judges: each rule as one of its own expectation objects, which is handed the measured metrics.

The rows never reach it. An expectation asks for the metrics that it needs (``get_validation_dependencies``) and decides
from their values (``metrics_validate``); both are Great Expectations' own code, so ``mostly``, missing values and
bounds mean here what they mean there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any

from medai.conditions import as_great_expectations, parse_condition
from medai.errors import ConfigurationError, near_match
from medai.validation.suites import Rule

_FORMAT = "BOOLEAN_ONLY"
"""The verdict alone: the counts are ours already, and the longer formats ask for patients' values."""


def configurations(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """The rules as Great Expectations stores them in a suite, in the same order."""
    declared = []
    for rule in rules:
        kwargs = dict(rule.kwargs)
        if "row_condition" in kwargs:
            kwargs["row_condition"] = as_great_expectations(parse_condition(kwargs["row_condition"]))
        declared.append(
            {
                "type": rule.type,
                "kwargs": kwargs,
                "severity": rule.severity,
                "meta": {"reason": rule.reason, "action": rule.action, "why": rule.why},
            }
        )
    return declared


def load_engine() -> None:
    """Import Great Expectations, which takes seconds: for whoever knows that data will be judged, and has to wait."""
    import great_expectations.expectations  # noqa: F401


def load_expectations(name: str, declared: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The expectation objects of a suite, one for each declared configuration, in their order.

    Great Expectations drops a type that it does not know (a misspelt name, a class that was not imported) with a line
    in its log. A rule that is silently gone is a rule that silently holds, so declared and loaded are compared.

    Raises:
        ConfigurationError: a type is unknown, a configuration is not valid, or an expectation did not load.
    """
    import great_expectations.expectations  # noqa: F401  - fills the registry
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    for configuration in declared:
        if configuration["type"] not in known:
            raise _not_loaded(name, configuration["type"], known)
    try:
        loaded = list(ExpectationSuite(name=name, expectations=list(declared)).expectations)
    except ValueError as error:  # pydantic's, in the version that Great Expectations carries
        raise ConfigurationError(
            f"suite {name}: Great Expectations does not accept a rule's arguments",
            expected="arguments that the expectation takes",
            received=" ".join(str(error).split()),
            action="mend the suite; expectations/README.md describes its format",
        ) from error
    for index, configuration in enumerate(declared):
        kind = loaded[index].configuration.type if index < len(loaded) else None
        if kind != configuration["type"]:
            raise _not_loaded(name, configuration["type"], known)
    return loaded


def judge(expectation: Any, metrics: Mapping[str, Any]) -> bool:
    """Great Expectations' verdict.

    Args:
        expectation: from ``load_expectations``.
        metrics: metric name → value over all rows of the expectation's domain.
    """
    result = type(expectation).metrics_validate(
        _ConfiguredOnce(expectation),
        metrics=_ById(metrics),
        runtime_configuration={"result_format": _FORMAT},
        execution_engine=None,
    )
    return bool(result.success)


class _ConfiguredOnce:
    """An expectation that makes its configuration once.

    Great Expectations makes it anew from the expectation's fields whenever one of its own methods reads an argument,
    some fifty times a verdict, and whole expectations anew from it: six sevenths of what judging costs. Every method
    is the expectation's, and works on this.
    """

    def __init__(self, expectation: Any) -> None:
        self._expectation = expectation
        self.configuration = expectation.configuration
        self.configuration.to_domain_obj = lambda: self

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._expectation)  # for super()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._expectation, name)
        return MethodType(found.__func__, self) if isinstance(found, MethodType) else found


class _ById(dict[str, Any]):
    """Metrics by name, for Great Expectations, which asks by an id that begins with the name.

    To ask it for the ids first would double what judging costs.
    """

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_name_of(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_name_of(key))


def _name_of(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _not_loaded(name: str, kind: str, known: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"suite {name}: the expectation {kind} did not load",
        expected="every declared expectation to be loaded by Great Expectations",
        received=kind,
        action=near_match(kind, known),
    )
