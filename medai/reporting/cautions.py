"""What a reader must know before believing a figure: a target missed, too few cases, a gate that says otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medai.measurement.evidence import rarest
from medai.measurement.evidence import told as amount
from medai.outputs import Output
from medai.records import Measure, Scorecard
from medai.reporting import words
from medai.reporting.content import Content
from medai.reporting.numbers import between, listed, samples_of, three
from medai.reporting.population import RoleCount

RARE = 10
"""Subjects of a class below which a bootstrap interval cannot show the uncertainty: resamples repeat the few."""
FEW_TO_CHOOSE = 30
"""Subjects of a class of validation below which threshold and calibration hang on single cases."""
_FIGURE = re.compile(r"(\d\.\d+) \[(\d\.\d+), (\d\.\d+)\]")


@dataclass(frozen=True)
class Limitation:
    """One reason for care: its heading, and the fact behind it."""

    what: str
    fact: str


def missed_target(content: Content, name: str, output: Output) -> list[Limitation]:
    """The threshold was chosen for a sensitivity or specificity that test excludes."""
    choice = content.problem["threshold"]
    target = choice.get("target")
    if target is None or output.kind == "multiclass":
        return []
    metric = choice["method"].removesuffix("_at_least")
    measures = content.scorecards[content.chosen.name].metrics[name]
    own = [metric] if output.kind == "binary" else [f"{metric}/{finding}" for finding in output.names]
    missed = [
        f"{words.metric(one).lower()} is {three(measures[one].value)} ({between(measures[one])})"
        for one in own
        if one in measures and measures[one].high < target
    ]
    if not missed:
        return []
    more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
    return [
        Limitation(
            "The operating point misses its target",
            f"The threshold was chosen on validation for a {metric} of at least {target:g}. On test "
            f"{listed(missed[:3])}{more}: the interval excludes the target, so do not count on it.",
        )
    ]


def too_few(card: Scorecard, name: str) -> list[Limitation]:
    """Intervals that cannot show the uncertainty: of width 0, or of a handful of cases."""
    if not card.evidence.get(name):
        return []
    fewest = rarest(card.evidence[name])
    auroc = card.metrics[name].get("auroc")
    told = f" ({words.METRICS['auroc'][0]} {three(auroc.value)}, {between(auroc)})" if auroc else ""
    if fewest.subjects < RARE:
        return [
            Limitation(
                "Too few cases to show the uncertainty",
                f"{card.role.capitalize()} holds {fewest.label} in {amount(fewest, card.unit)}. With fewer than {RARE} "
                f"the resamples repeat the same few, and the interval cannot show the uncertainty{told}.",
            )
        ]
    if auroc is not None and auroc.low == auroc.high:
        return [
            Limitation(
                "An interval of no width",
                f"Every resample gave the same figure{told}: the interval cannot show the uncertainty. Look for a "
                "column that tells the outcome, or for copies on both sides.",
            )
        ]
    return []


def gate_differs(content: Content, name: str) -> list[Limitation]:
    """The gate's rows give another figure than test."""
    if (content.problem.get("gate") or {}).get("role") != "gate":
        return []
    found = []
    measures = content.scorecards[content.chosen.name].metrics[name]
    for metric, gate in _at_the_gate(content, name).items():
        test = measures.get(metric)
        if test is None or (test.low <= gate.value <= test.high and gate.low <= test.high and test.low <= gate.high):
            continue
        apart = gate.high < test.low or test.high < gate.low
        found.append(
            Limitation(
                "Gate and test differ",
                f"{words.metric(metric)} is {three(gate.value)} ({between(gate)}) on the gate's rows and "
                f"{three(test.value)} ({between(test)}) on test: "
                + (
                    "the intervals do not overlap. Either alone misleads."
                    if apart
                    else "the one lies outside the interval of the other. Neither alone is the model's figure."
                ),
            )
        )
    return found


def _at_the_gate(content: Content, name: str) -> dict[str, Measure]:
    """Metric → its figure on the gate's rows, as the decision's conditions state it."""
    found = {}
    for condition in content.decision.conditions:
        figure = _FIGURE.fullmatch(condition.figure)
        named = condition.name.removeprefix(f"{name} ").removesuffix(" in gate")
        if figure and condition.name == f"{name} {named} in gate":
            value, low, high = map(float, figure.groups())
            found[named] = Measure(value=value, low=low, high=high)
    return found


def small_validation(content: Content, output: Output, roles: list[RoleCount]) -> list[Limitation]:
    """Validation is too small for the choices that were made on it."""
    chosen = content.chosen
    made = []
    if output.kind != "multiclass" and content.problem["threshold"]["method"] != "fixed":
        made.append("the threshold")
    if any(one.method != "none" for one in chosen.calibration.values()):
        made.append("the calibration")
    validation = next((one for one in roles if one.role == "validation" and one.samples), None)
    if validation is None or not made:
        return []
    fewest, unit = rarest(validation.evidence), content.cohort.unit
    if fewest.subjects >= FEW_TO_CHOOSE:
        return []
    hang = "hangs" if len(made) == 1 else "hang"
    return [
        Limitation(
            "A small validation set",
            f"Validation holds {samples_of(validation.samples, validation.subjects, unit)}, {fewest.label} in "
            f"{amount(fewest, unit)}; below {FEW_TO_CHOOSE}, {listed(made)} {hang} on single cases.",
        )
    ]
