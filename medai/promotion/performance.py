"""What the gate asks of the candidate alone: evidence, floors, calibration, subgroups, quality, parity."""

from __future__ import annotations

from collections.abc import Iterator

from medai.measurement.evidence import rarest
from medai.measurement.evidence import told as amount
from medai.outputs import Output
from medai.promotion.gate import CalibrationBounds, Gate, ParityBound, QualityBound, SubgroupFloors
from medai.records import Condition, Measure, Parity, QualityReport, Scorecard, Snapshot, Subgroup

UNDEFINED = "undefined"
SHOWN = 5
"""Subgroups named in one figure."""


def evidence(gate: Gate, name: str, output: Output, scorecard: Scorecard) -> Iterator[Condition]:
    """Enough subjects of every class to say anything."""
    each = scorecard.evidence[name]
    fewest = rarest(one for one in each if one.positive)
    alone = output.kind in ("binary", "mask")
    asked = [("positives" if alone else f"the rarest class, {fewest.label},", fewest)]
    least = [gate.minimum_positives, gate.minimum_negatives]
    if output.kind in ("binary", "multilabel"):
        absent = rarest(one for one in each if not one.positive)
        asked.append(("negatives" if output.kind == "binary" else f"the rarest absence, {absent.label},", absent))
    for (what, one), minimum in zip(asked, least, strict=False):
        yield Condition(
            name=f"{what} in {scorecard.role}",
            passed=one.subjects >= minimum,
            figure=amount(one, scorecard.unit),
            required=f"at least {minimum}",
        )


def floors(gate: Gate, name: str, scorecard: Scorecard) -> Iterator[Condition]:
    """The interval's lower bound of each metric reaches its floor; what is undefined does not."""
    for metric, floor in sorted(gate.floors.items()):
        measure = scorecard.metrics[name].get(metric)
        yield Condition(
            name=f"{name} {metric} in {scorecard.role}",
            passed=measure is not None and measure.low >= floor,
            figure=told(measure),
            required=f"lower bound at least {floor:g}",
        )


def calibration(bounds: CalibrationBounds | None, name: str, scorecard: Scorecard) -> Iterator[Condition]:
    """The whole interval of each figure lies within its bounds; what is undefined does not."""
    if bounds is None:
        return
    for metric, most in (("ece", bounds.ece), ("brier", bounds.brier)):
        if most is not None:
            measure = scorecard.metrics[name].get(metric)
            yield Condition(
                name=f"{name} {metric} in {scorecard.role}",
                passed=measure is not None and measure.high <= most,
                figure=told(measure),
                required=f"upper bound at most {most:g}",
            )
    for what, between in (("slope", bounds.slope), ("intercept", bounds.intercept)):
        if between is not None:
            measure = scorecard.calibration.get(name, {}).get(what)
            yield Condition(
                name=f"{name} calibration {what} in {scorecard.role}",
                passed=measure is not None and between[0] <= measure.low and measure.high <= between[1],
                figure=told(measure),
                required=f"interval within {between[0]:g} … {between[1]:g}",
            )


def subgroups(rule: SubgroupFloors | None, name: str, scorecard: Scorecard) -> Iterator[Condition]:
    """The floor holds in the worst of the subgroups that are large enough; the others are named.

    Of a small subgroup no count is told: it would be one of few patients.
    """
    if rule is None:
        return
    each = scorecard.subgroups.get(name, ())
    large = [
        one for one in each if one.subjects >= rule.minimum_subjects and one.positive_subjects >= rule.minimum_positives
    ]
    for metric, floor in sorted(rule.floors.items()):
        measured = {(one.group, one.level): one.metrics[metric] for one in large if metric in one.metrics}
        apart = [one for one in each if (one.group, one.level) not in measured]
        worst = min(measured, key=lambda place: measured[place].low, default=None)
        figure = "no subgroup is large enough" if worst is None else f"{' '.join(worst)}: {told(measured[worst])}"
        yield Condition(
            name=f"{name} {metric} in the worst subgroup of {scorecard.role}",
            passed=worst is not None and measured[worst].low >= floor,
            judged=worst is not None,
            figure=figure + _not_judged(apart),
            required=f"lower bound at least {floor:g} wherever there are {rule.minimum_subjects} {scorecard.unit}s,"
            f" {rule.minimum_positives} of them positive",
        )


def _not_judged(apart: list[Subgroup]) -> str:
    if not apart:
        return ""
    names = [f"{one.group} {one.level}" for one in apart[:SHOWN]]
    more = f" and {len(apart) - SHOWN} more" if len(apart) > SHOWN else ""
    return f"; not judged: {', '.join(names)}{more}"


def quality(
    bound: QualityBound | None, snapshot: Snapshot | None, report: QualityReport | None, name: str = "rows set aside"
) -> Iterator[Condition]:
    """The share of the rows handed over that validation, or the reader before it, left out."""
    if bound is None:
        return
    required = f"at most {bound.set_aside:.2%} of all rows"
    if snapshot is None or report is None:
        yield Condition(name=name, passed=False, judged=False, figure="no report of the data", required=required)
        return
    dropped = sum(snapshot.dropped.values())
    aside, rows = sum(report.set_aside.values()) + dropped, sum(report.tables.values()) + dropped
    share = aside / rows if rows else 1.0
    yield Condition(
        name=name, passed=share <= bound.set_aside, figure=f"{aside} of {rows} ({share:.2%})", required=required
    )


def parity(bound: ParityBound | None, found: Parity | None, role: str) -> Iterator[Condition]:
    """The served path gives the scores that were judged."""
    if bound is None:
        return
    name = f"scores of the served path on a sample of {role}"
    required = f"equal within {bound.tolerance:g}"
    if found is None:
        yield Condition(name=name, passed=False, judged=False, figure="no sample was scored again", required=required)
        return
    equal = "equal" if not found.unequal else f"{found.unequal} unequal"
    yield Condition(
        name=name,
        passed=found.difference <= bound.tolerance,
        figure=f"largest difference {found.difference:.3g} in {found.samples} samples ({equal})",
        required=required,
    )


def told(measure: Measure | None) -> str:
    """A figure with its interval, to the gate's four decimals."""
    return UNDEFINED if measure is None else f"{measure.value:.4f} [{measure.low:.4f}, {measure.high:.4f}]"
