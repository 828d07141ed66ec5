"""``decide``: each way to be promoted, refused, or to lack the evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medai.measurement import bootstrap
from medai.outputs import Output
from medai.promotion import trained_subjects
from medai.records import Decision
from medai.scores import read_scores, truth_and_scores
from medai.workspace import Workspace

Judge = Callable[..., Any]
"""``judge`` of conftest: name and skill to a candidate and its scorecard."""
ROWS = 160


def failed(decision: Decision) -> list[str]:
    """Names of the conditions that were not met."""
    return [condition.name for condition in decision.conditions if not condition.passed]


OVERLAP = "no patient in gate that the champion was fitted on"
SAME = "the champion answers the same question on the same rows"
COMPARED = "death auroc, candidate − champion"


def figure_of(decision: Decision, name: str) -> str:
    """The figure of a condition."""
    return next(one.figure for one in decision.conditions if one.name == name)


def test_without_a_gate_nothing_is_promoted(judge: Judge, decided: Callable[..., Decision]) -> None:
    """However good it is."""
    decision = decided(judge("perfect", 9))
    assert (decision.verdict, decision.conditions) == ("no_gate", ())
    assert decision.reasons == ("the Problem has no gate, so nothing is promoted",)


def test_the_first_good_candidate_is_promoted(judge: Judge, decided: Callable[..., Decision]) -> None:
    """There is nobody to compare with: evidence and floors decide, and every condition shows its figure."""
    ours = judge("good", 3)
    decision = decided(ours, gate={"floors": {"auroc": 0.8}})
    assert (decision.verdict, decision.champion, decision.candidate) == ("promoted", None, ours.candidate.key)
    measure = ours.scorecard.metrics["death"]["auroc"]
    assert [(one.name, one.figure, one.required) for one in decision.conditions if one.judged] == [
        ("positives in gate", "40 patients", "at least 30"),
        ("negatives in gate", "120 patients", "at least 30"),
        ("no patient in gate that the candidate was fitted on", "0 of 160 subjects", "0, or the comparison is void"),
        (
            "death auroc in gate",
            f"{measure.value:.4f} [{measure.low:.4f}, {measure.high:.4f}]",
            "lower bound at least 0.8",
        ),
        (
            "not rolled back by a person",
            "not rolled back",
            "only `medai promote` brings a withdrawn version back",
        ),
    ]
    assert len(decision.reasons) == 5
    assert [(one.name, one.figure, one.passed) for one in decision.conditions if not one.judged] == [
        ("death auroc, candidate − champion", "not judged: there is no champion", True),
        ("changes against the champion", "no champion to differ from", True),
        ("the line of champions", "the first of its line", True),
    ]
    assert (decision.line, decision.models, decision.begins) == ("5-c-0-6", "m", None)


@pytest.mark.parametrize(
    ("gate", "named"),
    [
        ({"minimum_positives": 41}, "positives in gate"),
        ({"minimum_negatives": 121}, "negatives in gate"),
    ],
)
def test_too_few_of_a_class_is_insufficient_evidence(
    judge: Judge, decided: Callable[..., Decision], gate: dict[str, Any], named: str
) -> None:
    """One fewer than asked for, and even a perfect score decides nothing; at the minimum it does."""
    decision = decided(judge("perfect", 9), gate=gate)
    assert decision.verdict == "insufficient_evidence"
    assert failed(decision) == [named]
    assert decision.reasons == (
        f"{named}: {'40' if 'pos' in named else '120'} patients (required: at least {next(iter(gate.values()))})",
    )
    exact = {name: value - 1 for name, value in gate.items()}
    assert decided(judge("again", 9), gate=exact).verdict == "promoted"


def test_a_floor_is_reached_by_the_lower_bound(judge: Judge, decided: Callable[..., Decision]) -> None:
    """A figure above the floor with an interval below it is refused; the bound itself is enough."""
    ours = judge("fair", 1.5)
    measure = ours.scorecard.metrics["death"]["auroc"]
    between = (measure.low + measure.value) / 2
    decision = decided(ours, gate={"floors": {"auroc": between}})
    assert measure.value > between
    assert (decision.verdict, failed(decision)) == ("refused", ["death auroc in gate"])
    assert decided(ours, gate={"floors": {"auroc": measure.low}}).verdict == "promoted"


def test_a_floor_on_an_undefined_metric_is_not_reached(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Undefined is not good enough."""
    decision = decided(judge("undefined", 3, metrics=False), gate={"floors": {"auroc": 0.1}})
    assert decision.verdict == "refused"
    assert next(one.figure for one in decision.conditions if not one.passed) == "undefined"


def test_a_candidate_as_good_as_the_champion_is_promoted(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Equal scores: the paired interval is [0, 0], which excludes every loss."""
    ours, champion = judge("new", 2), judge("old", 2)
    decision = decided(ours, champion, gate={"non_inferiority": {"metric": "auroc", "margin": 0.0}})
    assert decision.verdict == "promoted"
    compared = next(one for one in decision.conditions if "candidate − champion" in one.name)
    assert compared.figure == "+0.0000 [+0.0000, +0.0000]"


@pytest.mark.parametrize("metric", ["auroc", "brier"])
def test_a_worse_candidate_is_refused_and_a_better_one_promoted(
    judge: Judge, decided: Callable[..., Decision], metric: str
) -> None:
    """Also where lower is better: a greater Brier score is a loss."""
    weak, strong = judge("weak", 0.5), judge("strong", 4)
    gate = {"non_inferiority": {"metric": metric, "margin": 0.01}}
    assert decided(strong, weak, gate=gate).verdict == "promoted"
    refused = decided(weak, strong, gate=gate)
    assert (refused.verdict, failed(refused)) == ("refused", [f"death {metric}, candidate − champion"])
    assert "loss of more than 0.01" in refused.reasons[0]
    assert refused.champion == strong.candidate.key


def test_the_margin_is_what_may_be_lost(judge: Judge, decided: Callable[..., Decision]) -> None:
    """The interval's far end, not the difference itself, must lie within the margin."""
    ours, champion = judge("slightly worse", 1.9), judge("champion", 2.0)
    decision = decided(ours, champion, gate={"non_inferiority": {"metric": "auroc", "margin": 0.0}})
    figure = next(one.figure for one in decision.conditions if "candidate − champion" in one.name)
    low = float(figure.split("[")[1].split(",")[0])
    assert low < 0
    assert decision.verdict == "refused"
    wide = {"non_inferiority": {"metric": "auroc", "margin": -low + 1e-3}}
    assert decided(ours, champion, gate=wide).verdict == "promoted"
    narrow = {"non_inferiority": {"metric": "auroc", "margin": -low - 1e-3}}
    assert decided(ours, champion, gate=narrow).verdict == "refused"


def test_without_a_comparison_the_floors_alone_decide(judge: Judge, decided: Callable[..., Decision]) -> None:
    """non_inferiority: null promotes a worse model that passes the floors, because somebody wrote so."""
    decision = decided(judge("weak", 1.5), judge("strong", 4), gate={"non_inferiority": None, "floors": {"auroc": 0.6}})
    assert decision.verdict == "promoted"
    assert not any("candidate − champion" in one.name for one in decision.conditions)


def test_a_champion_fitted_on_a_gate_patient_voids_the_comparison(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """One patient is enough; the message counts, and names none."""
    ours, champion = judge("new", 3), judge("old", 1, trained_on=range(159, 300))
    decision = decided(ours, champion, gate={})
    assert (decision.verdict, failed(decision)) == ("insufficient_evidence", [OVERLAP, COMPARED])
    assert next(one.figure for one in decision.conditions if one.name == OVERLAP) == "1 of 160 subjects"
    assert figure_of(decision, COMPARED) == "not judged: the comparison is void"


def test_hours_of_one_patient_are_resampled_together(
    workspace: Workspace, death: Output, judge: Judge, decided: Callable[..., Decision]
) -> None:
    """The paired interval's unit is the patient: resampling hours one by one gives another."""
    ours, champion = judge("new", 2, hours=8), judge("old", 1, hours=8)
    decision = decided(ours, champion, gate={"minimum_positives": 1, "minimum_negatives": 1})
    tables = [read_scores(workspace, one.scorecard) for one in (ours, champion)]
    truth, first = truth_and_scores(tables[0], "death", death)
    second = truth_and_scores(tables[1], "death", death)[1]

    def figure(units: np.ndarray) -> str:
        found = bootstrap.paired_difference(
            "auroc", death, truth, first, second, units, thresholds_a=(0.5,), thresholds_b=(0.5,), confidence=0.95,
            resamples=200, seed=0,
        )  # fmt: skip
        assert found is not None
        return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"

    assert tables[0]["subject_id"].n_unique() == 20
    assert figure_of(decision, COMPARED) == figure(tables[0]["subject_id"].to_numpy())
    assert figure_of(decision, COMPARED) != figure(tables[0]["sample_id"].to_numpy())


def test_a_candidate_fitted_on_a_gate_patient_voids_it_too(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Its own figures on such rows say nothing."""
    decision = decided(judge("new", 3, trained_on=range(0, 3)), judge("old", 1), gate={})
    assert decision.verdict == "insufficient_evidence"
    assert failed(decision) == ["no patient in gate that the candidate was fitted on", COMPARED]
    alone = decided(judge("first", 3, trained_on=range(0, 3)), gate={})
    assert (alone.verdict, failed(alone)) == ("insufficient_evidence", failed(decision)[:1])


def test_a_champion_that_cannot_answer_voids_the_comparison(judge: Judge, decided: Callable[..., Decision]) -> None:
    """It predicts something else, or was scored on other rows."""
    ours = judge("new", 3)
    silent = decided(ours, judge("of other outputs", 3), gate={}, answers=False)
    assert (silent.verdict, failed(silent)) == ("insufficient_evidence", [SAME, COMPARED])
    elsewhere = decided(ours, judge("on other rows", 3, rows=120), gate={})
    assert (elsewhere.verdict, failed(elsewhere)) == ("insufficient_evidence", [SAME, COMPARED])


def test_the_champion_itself_is_not_compared_with_itself(judge: Judge, decided: Callable[..., Decision]) -> None:
    """The same candidate again: only evidence and floors are asked."""
    ours = judge("champion", 3)
    decision = decided(ours, ours, gate={"floors": {"auroc": 0.8}})
    assert decision.verdict == "promoted"
    assert [one.name for one in decision.conditions if one.judged][-2:] == [
        "death auroc in gate",
        "not rolled back by a person",
    ]
    assert figure_of(decision, COMPARED) == "not judged: it is the champion"
    asked = decided(ours, ours, gate={"approval": "required"}, protocol=None)
    assert (asked.verdict, figure_of(asked, "approved by a person")) == ("promoted", "it is the champion")


def test_a_withdrawn_candidate_is_refused(judge: Judge, decided: Callable[..., Decision]) -> None:
    """However good its figures: a person took it back."""
    ours = judge("perfect", 9)
    decision = decided(ours, gate={}, withdrawn=True)
    assert (decision.verdict, failed(decision)) == ("refused", ["not rolled back by a person"])
    assert decided(ours, gate={}).key != decision.key


def test_several_findings_need_rows_with_and_without(
    judge: Judge, decided: Callable[..., Decision], output_of: Callable[..., Output]
) -> None:
    """The rarest finding needs its positives, the commonest its negatives."""
    output = output_of(kind="multilabel", classes={"a": "mass", "b": "effusion"})
    row = np.arange(ROWS)
    truth = np.stack([row % 8 == 0, row % 8 != 1], axis=1).astype(np.int64)
    ours = judge("findings", 3, output=output, truth=truth)
    decision = decided(ours, gate={"minimum_positives": 20, "minimum_negatives": 20}, output=output)
    assert decision.verdict == "promoted"
    assert [one.name for one in decision.conditions][:2] == [
        "the rarest class, mass, in gate",
        "the rarest absence, no effusion, in gate",
    ]
    for gate in ({"minimum_positives": 21, "minimum_negatives": 1}, {"minimum_positives": 1, "minimum_negatives": 21}):
        assert decided(ours, gate=gate, output=output).verdict == "insufficient_evidence"


def test_evidence_is_counted_in_patients(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Forty positive hours of twenty patients are twenty; the hours are told beside them."""
    ours = judge("hourly", 3, hours=8)
    decision = decided(ours, gate={"minimum_positives": 21, "minimum_negatives": 20})
    assert decision.verdict == "insufficient_evidence"
    assert decision.reasons == ("positives in gate: 20 patients (40 samples) (required: at least 21)",)
    assert decided(ours, gate={"minimum_positives": 20, "minimum_negatives": 20}).verdict == "promoted"


def test_learnt_subjects_are_read_from_the_candidates_folder(workspace: Workspace, judge: Judge) -> None:
    """Whoever stands there was learnt from, in whatever role."""
    assert trained_subjects(workspace, judge("a", 1, trained_on=range(5, 8)).candidate) == {5, 6, 7}
