"""What every packaged suite keeps, read without any data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from medai.validation import Suite, catalogue_suite, load_suite

NAMES = sorted(path.stem for path in (Path(str(files("expectations"))) / "suites").glob("*.yaml"))


@pytest.fixture(params=NAMES)
def suite(request: pytest.FixtureRequest) -> Suite:
    """Each packaged suite."""
    return load_suite(catalogue_suite(request.param))


def test_names(suite: Suite) -> None:
    """The catalogue holds the two sources, each under its own name."""
    assert {"medmnist", "physionet2012"} <= set(NAMES)
    assert suite.name in NAMES


def test_reasons_are_sentences(suite: Suite) -> None:
    """Each rule says why in a sentence."""
    for rule in suite.rules:
        assert rule.why[0].isupper() or rule.why[0].isdigit(), rule.reason
        assert rule.why.endswith("."), rule.reason


def test_limits_let_their_own_digits_pass(suite: Suite) -> None:
    """A 32-bit reading of a limit's own digits meets the rule: 0.21 stored as float32 is below 0.21."""
    for rule in suite.rules:
        low, high = rule.kwargs.get("min_value"), rule.kwargs.get("max_value")
        if rule.type == "expect_column_values_to_be_between" and rule.column == "numeric_value":
            assert rule.kwargs.get("strict_min") or float(np.float32(low)) >= low, rule.reason
            assert rule.kwargs.get("strict_max") or float(np.float32(high)) <= high, rule.reason


def test_physionet_covers_each_variable() -> None:
    """Each of the 37 series and the 4 other descriptors has a plausible range or set, with its origin."""
    suite = load_suite(catalogue_suite("physionet2012"))
    known = next(rule for rule in suite.rules if rule.reason == "unknown_variable").kwargs["value_set"]
    assert len(known) == len(set(known)) == 41
    ranges = {rule.kwargs.get("row_condition"): rule for rule in suite.rules if rule.reason.startswith("implausible_")}
    assert set(ranges) == {f'code == "{code}"' for code in known}
    for code in known:
        rule = ranges[f'code == "{code}"']
        assert rule.reason == f"implausible_{code.lower()}"
        assert rule.action == "set_aside"
        assert rule.source
