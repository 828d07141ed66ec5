"""``Gate``: rules that cannot be followed, or guard nothing, are refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from medai.errors import ConfigurationError
from medai.outputs import Output
from medai.problem import load_problem
from medai.promotion import Gate, Rules


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"role": "train"}, "'gate' or 'test'"),
        ({"non_inferiority": {"margin": -0.1}}, "greater than or equal to 0"),
        ({"floors": {"auroc": float("nan")}}, "finite"),
        ({"minimum_positives": 0}, "greater than or equal to 1"),
        ({"floor": {"auroc": 0.8}}, "did you mean 'floors'"),
        ({"changes": ["wieghts"]}, "'data', 'seed', 'weights'"),
        ({"changes": ["gate"]}, "'data', 'seed', 'weights'"),
        ({"approval": "maybe"}, "'none' or 'required'"),
        ({"calibration": {"slope": [2, 0.5]}}, r"slope: the least comes before the largest, as in \[0.5, 2\]"),
        ({"subgroups": {"floors": {}}}, "at least 1 item"),
        ({"quality": {"set_aside": 1.5}}, "less than or equal to 1"),
        ({"parity": {"tolerance": 0.5}}, "less than or equal to 0.01"),
    ],
)
def test_a_gate_that_guards_nothing_is_refused(keys: dict[str, Any], message: str) -> None:
    """Rows that were learnt from, negative margins, floors that are no number, permission to change the gate itself."""
    with pytest.raises(ValidationError, match=message):
        Gate.model_validate({"role": "gate"} | keys)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("gate.floors.auroq=0.8", "gate.floors.auroq: there is no metric 'auroq'; did you mean 'auroc'?"),
        ("gate.floors.ece=0.8", "gate.floors.ece: lower is better for ece"),
        ("gate.subgroups={floors: {brier: 0.8}}", "gate.subgroups.floors.brier: lower is better for brier"),
        ("gate.subgroups={floors: {aurco: 0.8}}", "gate.subgroups.floors.aurco: there is no metric 'aurco'"),
        ("gate.non_inferiority.metric=auro", "gate.non_inferiority.metric: there is no metric 'auro'"),
        ("cohort.groups=[]", "gate.subgroups: the cohort has no groups; name some in cohort.groups"),
    ],
)
def test_a_rule_that_the_problem_cannot_follow_is_refused(rule: str, told: str) -> None:
    """A metric that it has not, or that is better when lower; subgroups of a cohort without groups."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("hospital_mortality", [rule])
    assert told in str(raised.value)


def test_calibration_is_asked_of_what_is_calibrated(output_of: Callable[..., Output]) -> None:
    """A mask's pixels are not; slope and intercept are defined for two classes alone."""
    gate = Gate.model_validate({"role": "gate", "non_inferiority": None, "calibration": {"slope": [0.5, 2]}})
    mask = output_of(kind="mask", classes={0: "background", 1: "lesion"})
    three = output_of(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    two = output_of(kind="binary", classes={0: "a", 1: "b"}, positive="b")
    assert list(gate.unfit_for(mask, ())) == ["gate.calibration: the pixels of a mask are not calibrated; remove it"]
    assert list(gate.unfit_for(three, ())) == [
        "gate.calibration: slope and intercept are of binary outputs, this one is multiclass"
    ]
    assert list(gate.unfit_for(two, ())) == []


def test_another_rule_is_another_key() -> None:
    """The ledger remembers decisions by it; the order in which changes are listed counts, too."""
    evaluation = load_problem("synthetic_stays").evaluation
    keys = {
        Rules(gate=Gate(role="gate", **keys), evaluation=evaluation).key
        for keys in ({}, {"approval": "required"}, {"changes": ("data",)}, {"floors": {"auroc": 0.5}})
    }
    assert len(keys) == 4
