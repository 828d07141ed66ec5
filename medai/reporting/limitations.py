"""What speaks for care, each worked out from a fact of the run."""

from __future__ import annotations

from medai.measurement.evidence import told as amount
from medai.outputs import Output
from medai.records import Scorecard
from medai.reporting import words
from medai.reporting.cautions import Limitation, gate_differs, missed_target, small_validation, too_few
from medai.reporting.content import Content
from medai.reporting.numbers import between, count, listed, percent, several, three, upper_first
from medai.reporting.population import RoleCount
from medai.reporting.story import best_other, confidence, headline, key_metric

FEW = 100
"""Subjects of a class below which a validation is small (Vergouwe et al. 2005; Collins et al. 2016)."""
WIDE = 0.1
"""Width of an AUROC's interval from which on it is called wide."""
MOVED = 0.05
"""Difference of prevalence between train and test that is named."""
LOST = 0.05
"""Share of the samples whose exclusion is named."""
TELLING = 0.9
"""AUROC of a single column, alone and on train, from which it is named."""


def limitations(content: Content, name: str, output: Output, roles: list[RoleCount]) -> list[Limitation]:
    """What speaks for care, by the run's own facts: first what a reader of the figures must know."""
    card = content.scorecards[content.chosen.name]
    found = [
        *missed_target(content, name, output),
        *too_few(card, name),
        *gate_differs(content, name),
        *small_validation(content, output, roles),
    ]
    found += [*_of_data(content, card), *_of_test(content), *_of_size(card, name, output)]
    found += _of_probabilities(card, name)
    found += _of_masks(content, card, name, output)
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
    few = [one for one in card.evidence.get(name, ()) if one.subjects < FEW]
    if few:
        told = listed([f"{one.label} in {amount(one, card.unit)}" for one in few[:4]])
        more = f", and little of {len(few) - 4} more classes" if len(few) > 4 else ""
        found.append(
            Limitation(
                "Little of a class",
                f"{card.role.capitalize()} holds {told}{more}; below {FEW} {card.unit}s of a class a validation is "
                "small (Vergouwe et al. 2005; Collins et al. 2016).",
            )
        )
    auroc = card.metrics[name].get("auroc")
    if auroc is not None and auroc.high - auroc.low > WIDE:
        found.append(
            Limitation(
                "A wide interval",
                f"The {headline(output)} lies anywhere from {between(auroc)} ({confidence(card)} interval).",
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


def _of_masks(content: Content, card: Scorecard, name: str, output: Output) -> list[Limitation]:
    if output.kind != "mask":
        return []
    high, wide = next(iter(content.problem["inputs"].values()))["preprocessing"]["size"]
    found = [
        Limitation(
            "Judged at the working size",
            f"Truth and answer are compared at {high} × {wide} pixels: what is finer than that is in neither.",
        )
    ]
    if "hd95_mm" not in card.metrics[name]:
        found.append(
            Limitation(
                "Distances without millimetres",
                "The source does not say how far apart pixels lie, so distances are in pixels of the working size and "
                "cannot be compared with those of other pictures.",
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
    metric = key_metric(content, name)
    difference = content.comparison.differences.get(other[0], {}).get(metric) if other else None
    if other is None or difference is None or difference.low > 0:
        return []
    against = content.called(other[0])
    if difference.high < 0:
        fact = (
            f"On the same rows {against} has a higher {words.metric(metric)}, and the interval of the difference "
            "excludes 0."
        )
    else:
        fact = (
            f"On the same rows the {words.metric(metric)} cannot be told from that of {against}: a simpler choice may "
            "do as well."
        )
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
