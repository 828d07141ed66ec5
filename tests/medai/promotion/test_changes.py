"""What may change without a person, and where a new line of champions begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medai.lines import Protocol
from medai.promotion.changes import changes
from medai.records import Calibration, Candidate, Decision, Environment, Member, Origin

Judge = Callable[..., Any]
CHANGES, LINE, COMPARED = "changes against the champion", "the line of champions", "death auroc, candidate − champion"
LISTED = "no more than data, seed, weights, thresholds, calibration, environment"
OTHER_MODELS = Protocol(line="5-c-0-6", models="others")


def figures(decision: Decision) -> dict[str, str]:
    """Condition → figure."""
    return {one.name: one.figure for one in decision.conditions}


def unmet(decision: Decision) -> list[str]:
    """Conditions that are not met."""
    return [one.name for one in decision.conditions if not one.passed]


def altered(judged: Any, **facts: Any) -> Any:
    """The candidate with other facts in its record."""
    return judged._replace(candidate=judged.candidate.model_copy(update=facts))


def recipe(candidate: Candidate, **parts: Any) -> Any:
    """The candidate's recipe with other parts."""
    assert candidate.recipe is not None
    return candidate.recipe.model_copy(update=parts)


def test_retraining_changes_data_seed_and_weights_by_itself(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Newer data, another seed and what follows from them are what retraining is for; each is named."""
    champion = judge("old", 3)
    ours = altered(
        judge("new", 3),
        origin=Origin(snapshot="2", unit="patient", source={}, cohort={}),
        seed=1,
        members=(Member(kind="gru", weights_sha256="w", onnx_sha256="o"),),
        thresholds={"death": (0.4,)},
        calibration={"death": Calibration(method="platt", slope=(1.0,), intercept=(0.1,))},
        environment=Environment(threads=2, onednn=True, instruction_set="y", libraries={}),
    )
    decision = decided(ours, champion, gate={})
    assert decision.verdict == "promoted"
    assert figures(decision)[CHANGES] == "data, seed, weights, thresholds, calibration, environment"
    assert figures(decided(judge("same", 3), champion, gate={}))[CHANGES] == "nothing"


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"changes": ["data", "weights"]}, "not foreseen: seed"),
        ({"changes": ["seed", "weights"]}, "not foreseen: data"),
        ({"changes": []}, "not foreseen: data; seed"),
    ],
)
def test_what_is_not_listed_is_refused(
    gate: dict[str, Any], told: str, judge: Judge, decided: Callable[..., Decision]
) -> None:
    """However good the figures: a person may still promote by hand."""
    ours = altered(judge("new", 3), seed=1, origin=Origin(snapshot="2", unit="patient", source={}, cohort={}))
    decision = decided(ours, judge("old", 3), gate=gate)
    assert (decision.verdict, unmet(decision)) == ("refused", [CHANGES])
    assert figures(decision)[CHANGES] == told


def test_another_net_is_refused_unless_it_is_listed(judge: Judge, decided: Callable[..., Decision]) -> None:
    """The keys that differ are named with both values; the same holds of preprocessing and training."""
    champion, ours = judge("old", 3), judge("new", 3)
    wide = altered(ours, recipe=recipe(ours.candidate, model={"kind": "gru", "units": 32}, training={"epochs": 9}))
    refused = decided(wide, champion, gate={}, protocol=OTHER_MODELS)
    assert (refused.verdict, unmet(refused)) == ("refused", [CHANGES])
    assert refused.reasons == (
        f"{CHANGES}: not foreseen: architecture (units 16 → 32); training (epochs 6 → 9) (required: {LISTED})",
    )
    listed = {"changes": ["architecture", "training", "preprocessing"]}
    assert decided(wide, champion, gate=listed, protocol=OTHER_MODELS).verdict == "promoted"
    finer = altered(judge("finer", 3), preprocessing={"step_minutes": 30, "variables": ["a" * 50]})
    refused = decided(finer, champion, gate={}, protocol=OTHER_MODELS)
    assert figures(refused)[CHANGES] == "not foreseen: preprocessing (step_minutes null → 30, variables)"


def test_another_kind_of_model_is_named_by_its_kind(judge: Judge) -> None:
    """The other keys of two kinds have nothing to do with each other."""
    champion, ours = judge("old", 3).candidate, judge("new", 3).candidate
    forest = ours.model_copy(update={"recipe": recipe(ours, model={"kind": "forest", "leaves": 3}, training=None)})
    found = changes(forest, champion, Protocol(line="1-2-3-4", models="m"), OTHER_MODELS)
    assert found == {"architecture": 'kind "gru" → "forest"', "training": "epochs 6 → null"}


def test_a_model_that_the_problem_named_as_a_choice_was_foreseen(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """With the same models and the same choice among them, the baseline may take the net's place."""
    ours = judge("new", 3)
    forest = altered(ours, recipe=recipe(ours.candidate, model={"kind": "forest"}, training=None))
    decision = decided(forest, judge("old", 3), gate={})
    assert decision.verdict == "promoted"
    assert figures(decision)[CHANGES] == "nothing"


def test_a_champion_that_says_not_how_it_was_made_is_compared_by_a_person(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """Of a ledger of before: neither its line nor its architecture is recorded."""
    champion = altered(judge("old", 3), recipe=None)
    decision = decided(judge("new", 3), champion, gate={}, protocol=None)
    assert decision.verdict == "awaiting_approval"
    assert unmet(decision) == [CHANGES, LINE]
    assert figures(decision)[CHANGES] == (
        "not foreseen: architecture (not recorded of the champion); training (not recorded of the champion)"
    )
    assert figures(decision)[LINE] == "a new line begins: not recorded of the champion"
    assert decision.begins == ()


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("x-c-0-6", "source"),
        ("5-x-0-6", "cohort"),
        ("5-c-x-6", "outputs"),
        ("5-c-0-x", "gate"),
        ("x-x-0-6", "source, cohort"),
    ],
)
def test_another_question_begins_a_new_line_that_a_person_approves(
    line: str, parts: str, judge: Judge, decided: Callable[..., Decision]
) -> None:
    """Non-inferiority is not asked for, the floors are; the champion stays until a person says so."""
    ours, champion = judge("new", 2), judge("old", 9, trained_on=range(0, 50))
    decision = decided(ours, champion, gate={"floors": {"auroc": 0.6}}, protocol=Protocol(line=line, models="m"))
    assert decision.verdict == "awaiting_approval"
    assert unmet(decision) == [LINE]
    assert figures(decision)[LINE] == f"a new line begins: other {parts}"
    assert figures(decision)[COMPARED] == "not judged: a new line of champions begins"
    assert decision.begins == tuple(parts.split(", "))
    low = decided(ours, champion, gate={"floors": {"auroc": 0.999}}, protocol=Protocol(line=line, models="m"))
    assert (low.verdict, unmet(low)) == ("refused", ["death auroc in gate", LINE])


def test_a_new_line_that_was_listed_needs_nobody(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Every part that differs must be listed, and another gate never is: rules do not permit their own replacement."""
    ours, champion = judge("new", 3), judge("old", 3)
    gate = {"changes": ["data", "cohort"]}
    decision = decided(ours, champion, gate=gate, protocol=Protocol(line="5-x-0-6", models="m"))
    assert decision.verdict == "promoted"
    assert figures(decision)[LINE] == "a new line begins: other cohort"
    assert any(reason.startswith("the line of champions: a new line begins") for reason in decision.reasons)
    for line in ("5-x-x-6", "5-c-0-x"):
        asked = decided(ours, champion, gate=gate, protocol=Protocol(line=line, models="m"))
        assert asked.verdict == "awaiting_approval"


def test_what_a_listed_line_changes_besides_is_refused(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Nobody looks at it, so an architecture that was not listed does not slip through."""
    ours = judge("new", 3)
    wide = altered(ours, recipe=recipe(ours.candidate, model={"kind": "gru", "units": 32}))
    gate = {"changes": ["cohort"]}
    decision = decided(wide, judge("old", 3), gate=gate, protocol=Protocol(line="5-x-0-6", models="others"))
    assert (decision.verdict, unmet(decision)) == ("refused", [CHANGES])
    asked = decided(wide, judge("older", 3), gate={}, protocol=Protocol(line="5-x-0-6", models="others"))
    assert (asked.verdict, unmet(asked)) == ("awaiting_approval", [CHANGES, LINE])


def test_where_approval_is_required_what_passes_waits_for_it(judge: Judge, decided: Callable[..., Decision]) -> None:
    """What fails is refused all the same, and what lacks evidence is not asked about."""
    ours, gate = judge("new", 3), {"approval": "required", "floors": {"auroc": 0.6}}
    decision = decided(ours, gate=gate)
    assert decision.verdict == "awaiting_approval"
    assert decision.reasons == ("approved by a person: not yet (required: `medai promote` with a reason)",)
    assert decided(ours, gate=gate | {"floors": {"auroc": 0.999}}).verdict == "refused"
    assert decided(ours, gate=gate | {"minimum_positives": 41}).verdict == "insufficient_evidence"
