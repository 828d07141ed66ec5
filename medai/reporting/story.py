"""What a run says in sentences: the summary, the verdict, the threshold in plain numbers.

Every sentence is worked out from the records; none is there because it sounds well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medai.outputs import Binary, Mask, Output
from medai.records import Condition, Decision, Measure, Scorecard
from medai.reporting import words
from medai.reporting.content import Content
from medai.reporting.numbers import between, count, out_of_hundred, percent, samples_of, several, three


def headline(output: Output) -> str:
    """The metric that sums an output up."""
    if output.kind == "mask":
        return "mean Dice"
    return "macro AUROC" if output.kind != "binary" else "AUROC"


def key_metric(content: Content, name: str) -> str:
    """The name of that metric."""
    return "dice" if content.problem["outputs"][name]["kind"] == "mask" else "auroc"


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
    if isinstance(output, Binary | Mask) and name in card.classes:
        positives = card.classes[name][output.positive]
        asked += f" ({count(positives)} {output.positive}, {percent(positives / max(card.samples, 1))})"
    key = card.metrics[name].get(key_metric(content, name))
    if key is None:
        return f"{asked}; its {headline(output)} is undefined on them."
    told = f"{asked}: {headline(output)} {three(key.value)} ({confidence(card)} interval {between(key)})"
    other = best_other(content, name)
    if other is None:
        return f"{told}; there is no baseline beside it."
    label, measure = other
    other_told = (
        f"{_beside(content, name, label)} {_standing(content, label)}, at {three(measure.value)} ({between(measure)})"
    )
    return f"{told}, {other_told}."


def _beside(content: Content, name: str, label: str) -> str:
    difference = content.comparison.differences.get(label, {}).get(key_metric(content, name))
    if difference is None:
        return "beside the"
    if difference.low > 0:
        return "higher than the"
    if difference.high < 0:
        return "lower than the"
    return "no clear difference from the"


def _standing(content: Content, label: str) -> str:
    standing = "best baseline" if content.chosen.name == words.NET else "best other model"
    return f"{standing}, {content.called(label)}"


def best_other(content: Content, name: str) -> tuple[str, Measure] | None:
    """The model beside the chosen one whose key metric is highest on the same rows."""
    key = key_metric(content, name)
    others = {
        label: card.metrics[name][key]
        for label, card in content.scorecards.items()
        if label != content.chosen.name and key in card.metrics.get(name, {})
    }
    if not others:
        return None
    label = max(others, key=lambda label: others[label].value)
    return label, others[label]


def decided(decision: Decision) -> str:
    """The verdict and what decided it: every condition that is not met, or of a promotion the last floor.

    What there was nothing to judge by, as a comparison with no champion, is not counted.
    """
    asked = [condition for condition in decision.conditions if condition.judged or not condition.passed]
    met, of = sum(condition.passed for condition in asked), len(asked)
    unmet = "; and because of ".join(_condition(condition) for condition in asked if not condition.passed)
    if decision.verdict == "promoted":
        last = next((condition for condition in asked if "lower bound" in condition.required), None)
        deciding = f"; the deciding one was {_condition(last)}" if last else ""
        every = "the one condition" if of == 1 else f"all {of} conditions"
        return f"It was promoted, because {every} of the gate {'is' if of == 1 else 'are'} met{deciding}."
    if decision.verdict == "no_gate" or not unmet:
        why = "; ".join(decision.reasons) or "the Problem states no condition"
        return f"Nothing was promoted: {why}."
    counted = f"{met} of {of} conditions are met."
    if decision.verdict == "insufficient_evidence":
        return f"There is not enough evidence to promote or refuse it, because of {unmet}; {counted}"
    if decision.verdict == "awaiting_approval":
        return f"It awaits a person's approval, because of {unmet}; {counted}"
    return f"It was refused, because of {unmet}; {counted}"


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


def confidence(card: Scorecard) -> str:
    """A scorecard's confidence, as per cent."""
    return f"{100 * card.confidence:g}\u00a0%"


def trained(content: Content) -> str:
    """What the training curves show, and which weights were kept."""
    momentum = content.problem["training"].get("weight_averaging")
    masks = any(output["kind"] == "mask" for output in content.problem["outputs"].values())
    what = "Loss and soft Dice" if masks else "Loss and accuracy"
    if momentum is None:
        return f"{what} after each epoch; the weights of the marked epoch were kept."
    return (
        f"{what} after each epoch, of the weights before averaging. What was kept, at the marked epoch, is a "
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
