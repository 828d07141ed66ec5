"""``decide``: each way to be promoted, refused, or to lack the evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from medai.errors import DataRefused
from medai.evaluation import Evaluation
from medai.measurement import evaluate_output
from medai.measurement.evidence import evidence_of
from medai.outputs import Output
from medai.promotion import Gate, Rules, best, decide, trained_subjects
from medai.records import Candidate, Decision, Environment, Origin, Scorecard, sha256_of
from medai.scores import SCORES, write_scores
from medai.workspace import Workspace

EVALUATION = Evaluation(resamples=200)
ROWS = 160


class Judged(NamedTuple):
    """A candidate and its scorecard on the gate's rows."""

    candidate: Candidate
    scorecard: Scorecard


Judge = Callable[..., Judged]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "home")


@pytest.fixture(scope="session")
def death(output_of: Callable[..., Output]) -> Output:
    """A binary output."""
    return output_of(kind="binary", classes={0: "survived", 1: "died"}, positive="died")


def scored(truth: np.ndarray, skill: float, seed: int = 0) -> np.ndarray:
    """(N, columns) scores that know the truth the better the greater the skill."""
    noise = np.random.default_rng(seed).normal(size=truth.shape)
    return np.asarray(1 / (1 + np.exp(-(skill * (truth - 0.5) + noise))), np.float32).reshape(len(truth), -1)


@pytest.fixture
def judge(workspace: Workspace, death: Output) -> Judge:
    """A candidate of a given skill, scored on subjects 0 to 159, a quarter of them positive."""

    def make(
        name: str,
        skill: float,
        trained_on: range = range(1000, 1100),
        rows: int = ROWS,
        output: Output = death,
        truth: np.ndarray | None = None,
        metrics: bool = True,
        hours: int = 1,
    ) -> Judged:
        known = (np.arange(rows) % 4 == 0).astype(np.int64) if truth is None else truth
        columns = known.reshape(rows, -1)
        scores = scored(known, skill)
        subjects = np.arange(rows) // hours
        thresholds = (0.5,) * columns.shape[1]
        key = sha256_of(name)[:32]
        candidate = Candidate(
            key=key,
            name=name,
            members=(),
            thresholds={"death": thresholds},
            calibration={},
            preprocessing={},
            outputs={"death": output.model_dump(mode="json")},
            statistics={},
            trained_on={},
            seed=0,
            epochs=0,
            environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
        )
        measures, confusion = evaluate_output(
            output, known, scores, thresholds, subjects, confidence=0.95, resamples=200, seed=0
        )
        counts = [int(columns[:, place].sum()) for place in range(columns.shape[1])]
        classes = (
            dict(zip(output.names, counts, strict=True))
            if output.kind == "multilabel"
            else {"survived": rows - counts[0], "died": counts[0]}
        )
        scorecard = Scorecard(
            key=key,
            candidate=key,
            role="gate",
            unit="patient",
            samples=rows,
            subjects=len(set(subjects)),
            confidence=0.95,
            resamples=200,
            classes={"death": classes},
            evidence={"death": evidence_of(output, known, subjects)},
            metrics={"death": measures if metrics else {}},
            confusion={"death": confusion},
            rows_sha256=sha256_of(list(range(rows))),
            opens_test=False,
        )
        folder = workspace.folder("evaluate", key)
        folder.mkdir(parents=True)
        names = ["death"] if output.kind != "multilabel" else [f"death.{at}" for at in range(columns.shape[1])]
        table = pl.DataFrame({"sample_id": range(rows), "subject_id": subjects}).with_columns(
            pl.Series(column, columns[:, place]) for place, column in enumerate(names)
        )
        write_scores(folder / SCORES, table, "death", output, scores)
        folder = workspace.folder("fit", key)
        folder.mkdir(parents=True)
        seen = list(trained_on)
        pl.DataFrame({"subject_id": seen, "role": ["train"] * len(seen)}).write_parquet(folder / "subjects.parquet")
        return Judged(candidate, scorecard)

    return make


@pytest.fixture
def decided(workspace: Workspace, death: Output) -> Callable[..., Decision]:
    """The decision on a candidate, by a gate given by its keys (None: no gate)."""

    def make(
        ours: Judged,
        theirs: Judged | None = None,
        gate: dict[str, Any] | None = None,
        withdrawn: bool = False,
        output: Output = death,
        answers: bool = True,
    ) -> Decision:
        rules = Rules(
            gate=None if gate is None else Gate.model_validate({"role": "gate"} | gate), evaluation=EVALUATION
        )
        return decide(
            workspace,
            rules,
            {"death": output},
            ours.candidate,
            ours.scorecard,
            theirs.candidate if theirs else None,
            theirs.scorecard if theirs and answers else None,
            withdrawn=withdrawn,
        ).record

    return make


def failed(decision: Decision) -> list[str]:
    """Names of the conditions that were not met."""
    return [condition.name for condition in decision.conditions if not condition.passed]


OVERLAP = "no patient in gate that the champion was fitted on"
SAME = "the champion answers the same question on the same rows"


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
    assert [(one.name, one.figure, one.required) for one in decision.conditions] == [
        ("positives in gate", "40 patients", "at least 30"),
        ("negatives in gate", "120 patients", "at least 30"),
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
    assert len(decision.reasons) == 4


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
    assert (decision.verdict, failed(decision)) == ("insufficient_evidence", [OVERLAP])
    assert next(one.figure for one in decision.conditions if one.name == OVERLAP) == "1 of 160 subjects"
    assert not any("candidate − champion" in one.name for one in decision.conditions)


def test_a_champion_that_reads_its_data_otherwise_voids_the_comparison(
    judge: Judge, decided: Callable[..., Decision]
) -> None:
    """The keys are named; a record that does not say how it read is judged by its rows alone."""
    day = Origin(snapshot="1", unit="patient", source={"kind": "mimic3"}, cohort={"observation_hours": 24})
    hour = day.model_copy(update={"snapshot": "2", "cohort": {"observation_hours": 1}})
    ours, theirs = judge("new", 3), judge("old", 3)

    def reading(judged: Judged, origin: Origin | None) -> Judged:
        return Judged(judged.candidate.model_copy(update={"origin": origin}), judged.scorecard)

    void = decided(reading(ours, day), reading(theirs, hour), gate={})
    name = "the champion reads the data as the candidate does"
    assert (void.verdict, failed(void)) == ("insufficient_evidence", [name])
    assert f"{name}: different cohort.observation_hours" in void.reasons[0]


@pytest.mark.parametrize(("theirs", "figure"), [("3", "equal"), (None, "not recorded")])
def test_another_set_that_is_read_alike_may_be_compared(
    theirs: str | None, figure: str, judge: Judge, decided: Callable[..., Decision]
) -> None:
    """Grown data are another snapshot and no other reading."""
    origin = Origin(snapshot="1", unit="patient", source={"kind": "mimic3"}, cohort={"observation_hours": 24})
    ours, champion = judge("new", 3), judge("old", 3)
    ours = Judged(ours.candidate.model_copy(update={"origin": origin}), ours.scorecard)
    other = None if theirs is None else origin.model_copy(update={"snapshot": theirs})
    champion = Judged(champion.candidate.model_copy(update={"origin": other}), champion.scorecard)
    decision = decided(ours, champion, gate={})
    assert decision.verdict == "promoted"
    assert any(one.name.startswith("the champion reads") and one.figure == figure for one in decision.conditions)


def test_the_best_on_validation_is_one_that_has_a_figure() -> None:
    """The first of equals; where validation holds one class, nobody has a figure, and nobody is picked in silence."""
    assert best({"net": 0.7, "forest": 0.7, "line": None}, "auroc") == "net"
    assert best({"net": None, "forest": 0.1}, "auroc") == "forest"
    with pytest.raises(DataRefused, match="choose_metric is undefined on validation") as raised:
        best({"net": None, "forest": None}, "auroc")
    assert raised.value.exit_status == 3
    assert "choose: net" in raised.value.action


def test_a_candidate_fitted_on_a_gate_patient_voids_it_too(judge: Judge, decided: Callable[..., Decision]) -> None:
    """Its own figures on such rows say nothing."""
    decision = decided(judge("new", 3, trained_on=range(0, 3)), judge("old", 1), gate={})
    assert decision.verdict == "insufficient_evidence"
    assert failed(decision) == ["no patient in gate that the candidate was fitted on"]


def test_a_champion_that_cannot_answer_voids_the_comparison(judge: Judge, decided: Callable[..., Decision]) -> None:
    """It predicts something else, or was scored on other rows."""
    ours = judge("new", 3)
    silent = decided(ours, judge("of other outputs", 3), gate={}, answers=False)
    assert (silent.verdict, failed(silent)) == ("insufficient_evidence", [SAME])
    elsewhere = decided(ours, judge("on other rows", 3, rows=120), gate={})
    assert (elsewhere.verdict, failed(elsewhere)) == ("insufficient_evidence", [SAME])


def test_the_champion_itself_is_not_compared_with_itself(judge: Judge, decided: Callable[..., Decision]) -> None:
    """The same candidate again: only evidence and floors are asked."""
    ours = judge("champion", 3)
    decision = decided(ours, ours, gate={"floors": {"auroc": 0.8}})
    assert decision.verdict == "promoted"
    assert [one.name for one in decision.conditions][-2:] == ["death auroc in gate", "not rolled back by a person"]


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


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"role": "train"}, "'gate' or 'test'"),
        ({"non_inferiority": {"margin": -0.1}}, "greater than or equal to 0"),
        ({"floors": {"auroc": float("nan")}}, "finite"),
        ({"minimum_positives": 0}, "greater than or equal to 1"),
        ({"floor": {"auroc": 0.8}}, "did you mean 'floors'"),
    ],
)
def test_a_gate_that_guards_nothing_is_refused(keys: dict[str, Any], message: str) -> None:
    """Rows that were learnt from, negative margins, floors that are no number."""
    with pytest.raises(ValidationError, match=message):
        Gate.model_validate({"role": "gate"} | keys)
