"""The whole road on tiny problems: what is made again when something changes, and what is not."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

PURE_BEFORE_FIT = ("generate", "ingest", "validate", "select", "split", "prepare")


def made(found: dict[str, Any]) -> set[str]:
    """Stages that were not reused."""
    return {stage for stage, facts in found["stages"].items() if not facts["reused"]}


EFFECTS = {"register", "promote"}


def test_another_gate_decides_anew_and_fits_nothing(medai: Any, home: Path, problems: Any) -> None:
    """Only the decision and what follows from it; the same run key keeps the version of the same model."""
    problem = problems.pictures("gate")
    first = medai.run(problem, home=home)
    strict = medai.run(problem, "--set", "gate.floors.auroc=0.9999", home=home)
    assert made(strict) == {"decide", *EFFECTS, "report"}
    assert strict["model_sha256"] == first["model_sha256"]
    assert strict["version"] == first["version"] == 1
    assert strict["decision"] == "refused"
    assert strict["reasons"][0].startswith("opacity auroc in test: ")
    assert "(required: lower bound at least 0.9999)" in strict["reasons"][0]
    assert strict["champion"] == 1
    assert strict["test_openings"] == first["test_openings"]


@pytest.mark.slow
def test_another_model_is_fitted_on_the_same_arrays(medai: Any, home: Path, problems: Any) -> None:
    """From fit on; the baseline, which did not change, is reused."""
    problem = problems.pictures("model")
    first = medai.run(problem, home=home)
    other = medai.run(problem, "--set", "inputs.picture.encoder.dense=8", home=home)
    assert made(other) >= {"fit", "evaluate", "compare", "draw", "decide", *EFFECTS, "report"}
    assert made(other) & {*PURE_BEFORE_FIT, "fit:logistic_regression", "evaluate:logistic_regression"} == set()
    assert other["model_sha256"] != first["model_sha256"]
    assert other["data_sha256"] == first["data_sha256"]
    assert other["version"] == 2
    assert other["test_openings"] > first["test_openings"]
    again = medai("run", problem, home=home).out
    opened, then = other["test_openings"], first["test_openings"]
    assert f"test, opened for {opened} candidates by now, for {then} when this was decided" in again
    history = medai("history", problem, home=home).out
    assert "inputs.picture.encoder.dense=8" in history


def test_another_seed_moves_no_patient_and_no_array(medai: Any, home: Path, problems: Any) -> None:
    """The seed is the fit's alone."""
    problem = problems.pictures("seed")
    first = medai.run(problem, home=home)
    other = medai.run(problem, "--seed", "1", home=home)
    assert made(other) & set(PURE_BEFORE_FIT) == set()
    assert other["splits"] == first["splits"]
    assert other["model_sha256"] != first["model_sha256"]


def test_without_a_signal_nothing_is_promoted(medai: Any, home: Path, problems: Any) -> None:
    """Signal 0: the interval of the AUROC holds one half, and the gate refuses."""
    found = medai.run(problems.pictures("noise"), "--set", "data.signal=0", home=home)
    auroc = found["metrics"]["opacity"]["auroc"]
    assert auroc["low"] < 0.5 < auroc["high"]
    assert found["decision"] == "refused"
    assert found["champion"] is None


def test_without_a_gate_nothing_is_promoted(medai: Any, home: Path, problems: Any) -> None:
    """The decision says so."""
    found = medai.run(problems.pictures("no_gate"), "--set", "gate=null", home=home)
    assert (found["decision"], found["champion"]) == ("no_gate", None)
    assert found["reasons"] == ["the Problem has no gate, so nothing is promoted"]


def test_too_few_positives_are_insufficient_evidence(medai: Any, home: Path, problems: Any) -> None:
    """However good the figures look."""
    found = medai.run(problems.pictures("few"), "--set", "gate.minimum_positives=1000", home=home)
    assert (found["decision"], found["champion"]) == ("insufficient_evidence", None)
    assert found["reasons"][0].endswith("(required: at least 1000)")


def sides(home: Path, subjects: int) -> dict[str, str]:
    """Site id → role, in the split of this many subjects."""
    for splits in (home / "store" / "split").glob("*/splits.parquet"):
        roles = pl.read_parquet(splits)
        if roles.height == subjects:
            for identifiers in (home / "store" / "ingest").glob("*/identifiers.parquet"):
                people = pl.read_parquet(identifiers)
                if people.height == subjects and people["site_id"].str.len_chars().max() < 12:
                    joined = roles.join(people, on="subject_id")
                    return dict(zip(joined["site_id"], joined["role"], strict=True))
    raise AssertionError("no such split")


def test_grown_data_move_nobody_and_are_judged_on_new_eyes_only(medai: Any, tmp_path: Path, problems: Any) -> None:
    """5 % more stays: each earlier stay keeps its side, and candidate and champion are compared on gate patients that
    neither has learnt from.
    """
    problem, home = problems.stays("grown"), tmp_path / "home"
    first = medai.run(problem, home=home)
    assert first["champion"] == 1
    found = medai.run(problem, "--set", "data.subjects=210", home=home)
    before, after = sides(home, 200), sides(home, 210)
    assert len(before) == 200
    assert {stay: after[stay] for stay in before} == before
    assert found["data_sha256"] != first["data_sha256"]
    assert found["version"] == 2
    gate = found["splits"]["gate"]
    told = "\n".join(found["reasons"])
    for who in ("the candidate", "the champion"):
        assert f"no stay in gate that {who} was fitted on: 0 of {gate} subjects" in told
    assert "the champion answers the same question on the same rows: equal" in told
    assert "death auroc, candidate − champion: " in told
    assert "(required: the interval excludes a loss of more than 1)" in told
    assert {"prepare:champion", "evaluate:champion", "evaluate:gate"} <= set(found["stages"])


@pytest.mark.slow
def test_a_champion_of_another_reading_is_not_compared(medai: Any, home: Path, problems: Any) -> None:
    """A Problem that predicts earlier than its champion did begins a new line, which is left to a person."""
    problem = problems.stays("reread")
    assert medai.run(problem, home=home)["champion"] == 1
    earlier = "inputs.stay.preprocessing.hours=24", "cohort.observation_hours=24"
    found = medai.run(problem, "--set", earlier[0], "--set", earlier[1], home=home)
    assert (found["decision"], found["version"], found["champion"]) == ("awaiting_approval", 2, 1)
    changed, line = found["reasons"]
    assert changed.startswith("changes against the champion: not foreseen: preprocessing (hours 48 → 24)")
    assert line.startswith("the line of champions: a new line begins: other cohort")
    assert "evaluate:champion" not in found["stages"]


def test_a_baseline_may_become_champion(medai: Any, home: Path, problems: Any) -> None:
    """Validation chooses; the net stands among the others then."""
    problem = problems.pictures("baseline", choose="best_on_validation")
    found = medai.run(problem, "--set", "training.learning_rate=1.0e-9", home=home)
    assert found["model"] == "logistic_regression"
    assert set(found["baselines"]) == {"net"}
    assert (found["decision"], found["champion"]) == ("promoted", 1)
    assert {"choose:net", "choose:logistic_regression"} <= set(found["stages"])
    assert found["differences"]["net"]["auroc"]["value"] > 0


TEN = {"kind": "multiclass", "classes": {number: f"class {number}" for number in range(10)}}
SYSTEMS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # (generator, encoder, output) of the three textbook nets, and of several findings at once
    "s1": ({"classes": 10}, {"filters": [4, 8], "dense": 16, "scaling": "unit"}, TEN),
    "s2": ({"classes": 10}, {"filters": [4, 8], "dense": None, "scaling": "unit"}, TEN),
    "s3": ({"classes": 10, "size": 32, "channels": 3}, {"filters": [4, 8, 8], "pools": 2, "dense": 8}, TEN),
    "findings": (
        {"classes": 3, "multilabel": True},
        {"filters": [4, 8], "dense": 8},
        {"kind": "multilabel", "classes": {"label_0": "one", "label_1": "two", "label_2": "three"}},
    ),
}


@pytest.mark.parametrize(
    "system", [pytest.param(name, marks=pytest.mark.slow if name != "s1" else ()) for name in SYSTEMS]
)
def test_pictures_of_other_shapes_and_outputs(system: str, medai: Any, home: Path, problems: Any) -> None:
    """Ten classes grey and RGB, and several findings: one YAML each, the same road to the end."""
    generator, encoder, output = SYSTEMS[system]
    size, channels = generator.get("size", 28), generator.get("channels", 1)
    problem = problems.pictures(
        system,
        data={"kind": "synthetic", "layout": "medmnist", "subjects": 300, "signal": 2, **generator},
        inputs={
            "picture": {
                "source": {"kind": "medmnist"},
                "preprocessing": {"kind": "pixels", "size": [size, size], "channels": channels},
                "encoder": {"kind": "small_cnn", **encoder},
            }
        },
        outputs={"finding": output},
        training={"epochs": 1, "batch_size": 32},
        baselines={},
        gate={"role": "test", "floors": {}, "minimum_positives": 1, "minimum_negatives": 1},
    )
    found = medai.run(problem, home=home)
    metrics = found["metrics"]["finding"]
    assert {"auroc", "accuracy"} <= set(metrics)
    assert set(found["cohort"]["classes"]["finding"]) == set(output["classes"].values())
    assert found["decision"] == "promoted"
    shown = medai("run", problem, home=home)
    assert shown.status == 0
    assert "decision: promoted" in shown.out


@pytest.mark.slow
def test_an_lstm_in_place_of_the_gru(medai: Any, home: Path, problems: Any) -> None:
    """SYSTEMS S6: another kind of encoder is one override."""
    problem = problems.stays("lstm")
    found = medai.run(problem, "--set", "inputs.stay.encoder.kind=lstm", home=home)
    assert found["cohort"]["unit"] == "stay"
    assert found["splits"].keys() == {"train", "validation", "gate", "test"}
    assert found["decision"] == "promoted"
