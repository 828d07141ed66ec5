"""What a run says in sentences: the summary, the threshold in plain numbers, and the limitations.

Every sentence is worked out from the records; none is there because it sounds well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medai.outputs import Output
from medai.records import Condition, Decision, Measure, Scorecard
from medai.reporting import words
from medai.reporting.cautions import Limitation, gate_differs, missed_target, small_validation, too_few
from medai.reporting.content import Content
from medai.reporting.numbers import (
    between,
    count,
    listed,
    out_of_hundred,
    percent,
    samples_of,
    several,
    three,
    upper_first,
)
from medai.reporting.population import RoleCount

FEW = 100
"""Positives, and negatives, below which a validation is small (Vergouwe et al. 2005; Collins et al. 2016)."""
WIDE = 0.1
"""Width of an AUROC's interval from which on it is called wide."""
MOVED = 0.05
"""Difference of prevalence between train and test that is named."""
LOST = 0.05
"""Share of the samples whose exclusion is named."""
TELLING = 0.9
"""AUROC of a single column, alone and on train, from which it is named."""


def headline(output: Output) -> str:
    """The metric that sums an output up."""
    return "macro AUROC" if output.kind != "binary" else "AUROC"


def summary(content: Content, name: str, output: Output) -> tuple[str, str]:
    """What was asked and found, and what was decided: one sentence each."""
    return _found(content, name, output), decided(content.decision)


def _found(content: Content, name: str, output: Output) -> str:
    card = content.scorecards[content.chosen.name]
    model = content.called(content.chosen.name)
    who = several(card.samples, card.unit)
    if card.subjects != card.samples:
        who = samples_of(card.samples, card.subjects, card.unit)
    asked = f"Asked “{content.problem['question']}”, the {model} answered for {who} that it had not learnt from"
    if output.kind == "binary" and name in card.classes:
        positives = card.classes[name][output.positive]
        asked += f" ({count(positives)} {output.positive}, {percent(positives / max(card.samples, 1))})"
    auroc = card.metrics[name].get("auroc")
    if auroc is None:
        return f"{asked}; its {headline(output)} is undefined on them."
    told = f"{asked}: {headline(output)} {three(auroc.value)} ({_confidence(card)} interval {between(auroc)})"
    other = best_other(content, name)
    if other is None:
        return f"{told}; there is no baseline beside it."
    label, measure = other
    other_told = (
        f"{_beside(content, label)} {_standing(content, label)}, at {three(measure.value)} ({between(measure)})"
    )
    return f"{told}, {other_told}."


def _beside(content: Content, label: str) -> str:
    difference = content.comparison.differences.get(label, {}).get("auroc")
    if difference is None:
        return "beside the"
    if difference.low > 0:
        return "higher than the"
    if difference.high < 0:
        return "lower than the"
    return "no clear difference from the"


def _standing(content: Content, label: str) -> str:
    standing = "best baseline" if content.chosen.name == words.NET else "next best model"
    return f"{standing}, {content.called(label)}"


def best_other(content: Content, name: str) -> tuple[str, Measure] | None:
    """The model beside the chosen one whose AUROC is highest on the same rows."""
    others = {
        label: card.metrics[name]["auroc"]
        for label, card in content.scorecards.items()
        if label != content.chosen.name and "auroc" in card.metrics.get(name, {})
    }
    if not others:
        return None
    label = max(others, key=lambda label: others[label].value)
    return label, others[label]


def decided(decision: Decision) -> str:
    """The verdict and what decided it: every condition that is not met, or of a promotion the last floor."""
    met = sum(condition.passed for condition in decision.conditions)
    of = len(decision.conditions)
    unmet = "; and because of ".join(_condition(condition) for condition in decision.conditions if not condition.passed)
    if decision.verdict == "promoted":
        last = next((condition for condition in decision.conditions if "lower bound" in condition.required), None)
        deciding = f"; the deciding one was {_condition(last)}" if last else ""
        every = "the one condition" if of == 1 else f"all {of} conditions"
        return f"It was promoted, because {every} of the gate {'is' if of == 1 else 'are'} met{deciding}."
    if decision.verdict == "no_gate" or not unmet:
        why = "; ".join(decision.reasons) or "the Problem states no condition"
        return f"Nothing was promoted: {why}."
    if decision.verdict == "insufficient_evidence":
        return (
            f"There is not enough evidence to promote or refuse it, because of {unmet}; "
            f"{met} of {of} conditions are met."
        )
    return f"It was refused, because of {unmet}; {met} of {of} conditions are met."


def _condition(condition: Condition) -> str:
    name = words.in_text(condition.name).rstrip(",")
    return f"{name}, at {condition.figure} where the gate requires: {words.in_text(condition.required)}"


@dataclass(frozen=True)
class OfHundred:
    """A hundred such patients at the threshold."""

    found: int
    missed: int
    alarms: int
    cleared: int

    @property
    def flagged(self) -> int:
        """All that the model calls positive."""
        return self.found + self.alarms

    @property
    def positives(self) -> int:
        """All that are."""
        return self.found + self.missed


def of_hundred(confusion: tuple[tuple[int, ...], ...]) -> OfHundred:
    """A binary confusion matrix as a hundred patients of the same mix."""
    (cleared, alarms), (missed, found) = confusion
    parts = out_of_hundred([found, missed, alarms, cleared])
    return OfHundred(*parts)


def limitations(content: Content, name: str, output: Output, roles: list[RoleCount]) -> list[Limitation]:
    """What speaks for care, by the run's own facts: first what a reader of the figures must know."""
    card = content.scorecards[content.chosen.name]
    found = [
        *missed_target(content, name, output),
        *too_few(card, name, output),
        *gate_differs(content, name),
        *small_validation(content, output, roles),
    ]
    found += [*_of_data(content, card), *_of_test(content), *_of_size(card, name, output)]
    found += _of_probabilities(card, name)
    found += _of_roles(output, roles)
    found += _of_comparison(content, name)
    found += _of_subgroups(card, name)
    found.append(
        Limitation(
            "No external validation",
            f"Every figure comes from one source, {content.snapshot.source}: how the model does in another place, "
            "or at a later time, is not known.",
        )
    )
    return found


def _of_data(content: Content, card: Scorecard) -> list[Limitation]:
    found = []
    if content.generated:
        found.append(
            Limitation(
                "Generated data",
                "The data were made by a program. The page shows that the pipeline works; it says nothing of patients.",
            )
        )
    if card.unit != "patient":
        found.append(
            Limitation(
                "The unit is not a patient",
                f"The source does not say which {card.unit}s belong to one patient. A patient may stand on both sides "
                f"of the split, and the intervals resample {card.unit}s, so they may be too narrow.",
            )
        )
    if content.screening and content.screening.strongest and content.screening.strongest[0].strength > TELLING:
        one = content.screening.strongest[0]
        column = words.column(one.column, words.labels(next(iter(content.problem["inputs"].values()))))
        found.append(
            Limitation(
                "One column tells much",
                f"{upper_first(column)} alone separates {one.label} on train with an AUROC of "
                f"{three(one.strength)}. Make sure that it is medicine, and not how or when the data were recorded.",
            )
        )
    first = content.cohort.attrition[0].samples if content.cohort.attrition else content.cohort.samples
    lost = 1 - content.cohort.samples / max(first, 1)
    if lost > LOST:
        found.append(
            Limitation(
                "Many exclusions",
                f"{percent(lost)} of the samples read did not enter the cohort: whoever is left may be another "
                "population than the one asked about.",
            )
        )
    return found


def _of_test(content: Content) -> list[Limitation]:
    gate = content.problem.get("gate") or {}
    found = []
    if gate.get("role") == "test":
        found.append(
            Limitation(
                "The gate reads test",
                "There are no rows of the gate's own: the rows that give the figures of this page also decided on "
                "promotion, so the figures of a promoted model are a little too good.",
            )
        )
    if content.openings > 1:
        found.append(
            Limitation(
                "Test was opened before",
                f"{count(content.openings)} candidates were scored on this test set, this one included. Each look "
                "makes it easier to choose what fits these rows by chance.",
            )
        )
    return found


def _of_size(card: Scorecard, name: str, output: Output) -> list[Limitation]:
    found = []
    classes = card.classes.get(name, {})
    few = {label: number for label, number in classes.items() if number < FEW}
    if few:
        told = listed([f"{count(number)} {label}" for label, number in list(few.items())[:4]])
        more = f" and {len(few) - 4} more classes" if len(few) > 4 else ""
        found.append(
            Limitation(
                "Few samples of a class",
                f"{card.role.capitalize()} holds {told}{more}; below {FEW} of a class a validation is small "
                "(Vergouwe et al. 2005; Collins et al. 2016).",
            )
        )
    auroc = card.metrics[name].get("auroc")
    if auroc is not None and auroc.high - auroc.low > WIDE:
        found.append(
            Limitation(
                "A wide interval",
                f"The {headline(output)} lies anywhere from {between(auroc)} ({_confidence(card)} interval).",
            )
        )
    return found


def _of_probabilities(card: Scorecard, name: str) -> list[Limitation]:
    found = []
    measures = card.calibration.get(name, {})
    slope, intercept = measures.get("slope"), measures.get("intercept")
    if slope is not None and not slope.low <= 1 <= slope.high:
        how = "too extreme: high risks are overstated and low ones understated"
        if slope.low > 1:
            how = "too timid: high risks are understated and low ones overstated"
        found.append(
            Limitation(
                "Probabilities are off in spread",
                f"The calibration slope is {three(slope.value)} ({between(slope)}), its interval excludes 1: the "
                f"probabilities are {how}.",
            )
        )
    if intercept is not None and not intercept.low <= 0 <= intercept.high:
        how = "too low" if intercept.low > 0 else "too high"
        found.append(
            Limitation(
                "Probabilities are off on average",
                f"The calibration intercept is {three(intercept.value)} ({between(intercept)}), its interval excludes "
                f"0: the probabilities are {how} on average.",
            )
        )
    return found


def _of_roles(output: Output, roles: list[RoleCount]) -> list[Limitation]:
    sides = {one.role: one for one in roles if one.samples}
    if output.kind != "binary" or not {"train", "test"} <= set(sides):
        return []
    train, test = (sides[role].classes[output.positive] / sides[role].samples for role in ("train", "test"))
    if abs(train - test) <= MOVED:
        return []
    return [
        Limitation(
            "Train and test differ",
            f"{output.positive.capitalize()} is {percent(train)} of train and {percent(test)} of test: PPV, NPV and "
            "calibration hold at the prevalence of test only.",
        )
    ]


def _of_comparison(content: Content, name: str) -> list[Limitation]:
    other = best_other(content, name)
    difference = content.comparison.differences.get(other[0], {}).get("auroc") if other else None
    if other is None or difference is None or difference.low > 0:
        return []
    against = content.called(other[0])
    if difference.high < 0:
        fact = f"On the same rows {against} has a higher AUROC, and the interval of the difference excludes 0."
    else:
        fact = f"On the same rows the AUROC cannot be told from that of {against}: a simpler choice may do as well."
    return [Limitation("No clear gain over another model", fact)]


def _of_subgroups(card: Scorecard, name: str) -> list[Limitation]:
    groups = card.subgroups.get(name, ())
    if not groups:
        return [
            Limitation(
                "No subgroup was looked at",
                "The Problem names none, so whether the model serves some people worse than others is not known.",
            )
        ]
    small = sum(not one.metrics for one in groups)
    if not small:
        return []
    return [
        Limitation(
            "Small subgroups",
            f"{small} of {several(len(groups), 'subgroup')} are too small to be judged.",
        )
    ]


def _confidence(card: Scorecard) -> str:
    return f"{100 * card.confidence:g}\u00a0%"


def trained(content: Content) -> str:
    """What the training curves show, and which weights were kept."""
    momentum = content.problem["training"].get("weight_averaging")
    if momentum is None:
        return "Loss and accuracy after each epoch; the weights of the marked epoch were kept."
    return (
        "Loss and accuracy after each epoch, of the weights before averaging. What was kept, at the marked epoch, is a "
        f"moving average of the weights over the steps (momentum {momentum:g}), which no curve shows."
    )


def curves_of(content: Content) -> str:
    """That the curves are of another model than the one before the gate; empty where they are its own."""
    if content.chosen.name == words.NET:
        return ""
    chosen, net = content.called(content.chosen.name), content.called(words.NET)
    return f"The curves are those of the {net}; the model put before the gate is another, {chosen}."


def chosen_how(problem: dict[str, Any]) -> str:
    """How the model that goes to the gate was chosen among those fitted."""
    if problem["choose"] == "net":
        return "The Problem puts the network before the gate; the others are its baselines."
    metric = words.metric(problem["choose_metric"])
    return f"Of the models fitted, the one with the highest {metric} on validation was put before the gate."


def rules_of(problem: dict[str, Any]) -> str:
    """Which rows the gate reads, as a sentence."""
    gate = problem.get("gate")
    if not gate:
        return "The Problem has no gate."
    if gate["role"] == "test":
        return "The gate reads the test rows, because there are no others that nobody learnt from."
    return "The gate reads rows of its own, which neither learn nor give the figures further down."
