"""The benchmark's four tasks on a small synthetic MIMIC-IV: each learns, is judged and decided on; and again from MEDS.

What is learnt is not looked at: a few steps on some patients show that series stored once a stay, baselines beside the
net, metrics and gate fit together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from medai.cohort import select
from medai.evaluation import evaluate
from medai.ingestion import ingest
from medai.meds_export import Asked, export_meds
from medai.preprocessing import prepare
from medai.problem import Problem, load_problem
from medai.promotion import Case, decide
from medai.records import (
    Arrays,
    Candidate,
    Cohort,
    Decision,
    QualityReport,
    Scorecard,
    Snapshot,
    Splits,
    sha256_of_file,
)
from medai.sources.synthetic import SyntheticDatabase, generate
from medai.splitting import split
from medai.training import Execution, fit
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

pytestmark = pytest.mark.slow  # eight fits: a minute on two processors

TASKS = ("decompensation", "length_of_stay", "mortality", "phenotyping")
SMALL = (
    "inputs.stay.encoder.units=4",
    "inputs.stay.encoder.wide=4",
    "training.epochs=1",
    "training.steps_per_epoch=4",
    "baselines.gradient_boosting.iterations=3",
    "evaluation.resamples=100",
    "evaluation.minimum_subgroup=1000",
)


class Road(NamedTuple):
    """One problem from raw files to arrays."""

    problem: Problem
    workspace: Workspace
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    arrays: Arrays

    def rows(self) -> pl.DataFrame:
        """The cohort's table."""
        return pl.read_parquet(self.workspace.folder("select", self.cohort.key) / "cohort.parquet")

    def fit(self, name: str, workspace: Workspace | None = None) -> Candidate:
        """The net or a baseline."""
        problem = self.problem
        model: Any = problem.input.encoder if name == "net" else problem.baselines[name]
        return fit(
            workspace or self.workspace,
            name=name,
            model=model,
            training=problem.training if name == "net" else None,
            arrays=self.arrays,
            cohort=self.cohort,
            splits=self.splits,
            outputs=problem.outputs,
            preprocessing=problem.input.preprocessing,
            threshold=problem.threshold,
            calibration=problem.calibration,
            execution=Execution(threads=2),
            seed=3,
        ).record

    def scorecard(self, candidate: Candidate, role: Any = "gate") -> Scorecard:
        """A candidate on the gate's rows."""
        return evaluate(
            self.workspace, candidate, self.arrays, self.cohort, self.splits, self.problem.outputs, role,
            self.problem.evaluation,
        ).record  # fmt: skip

    def decision(self, candidate: Candidate) -> Decision:
        """What the gate says to it, without a champion."""
        return decide(
            self.workspace, self.problem.rules, self.problem.outputs,
            Case(candidate, self.scorecard(candidate), self.problem.protocol, self.snapshot, self.quality), None,
        ).record  # fmt: skip


def walk(problem: Problem, raw: Path, workspace: Workspace) -> Road:
    """From raw files to arrays."""
    source = problem.input.source
    snapshot = ingest(workspace, source, raw).record
    quality = validate(workspace, snapshot, catalogue_suite(source.kind), 0.9).record
    cohort = select(workspace, snapshot, quality, problem.cohort, problem.outputs).record
    splits = split(workspace, snapshot, cohort, problem.split).record
    arrays = prepare(workspace, snapshot, quality, cohort, problem.input.preprocessing).record
    return Road(problem, workspace, snapshot, quality, cohort, splits, arrays)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all of it."""
    return tmp_path_factory.mktemp("learning")


@pytest.fixture(scope="module")
def road(home: Path, pinned: None) -> Callable[[str], Road]:
    """A task of the catalogue on 500 synthetic patients."""
    (home / "raw").mkdir()
    made = SyntheticDatabase(
        kind="synthetic", layout="mimic4", subjects=500, intensive=0.7, chart_rows_per_stay=60, faults=0, seed=5
    )
    raw = generate(made, home / "raw")
    workspace = Workspace(home / "workspace")
    walked: dict[str, Road] = {}

    def find(task: str) -> Road:
        if task not in walked:
            walked[task] = walk(load_problem(f"mimic4_{task}", SMALL), raw, workspace)
        return walked[task]

    return find


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_learnt_and_judged(task: str, road: Callable[[str], Road]) -> None:
    """Net and baselines are judged on the same rows; few patients are no evidence, however many hours they have."""
    found = road(task)
    name, output = next(iter(found.problem.outputs.items()))
    hourly = task in ("decompensation", "length_of_stay")
    assert found.arrays.layout == ("stay" if hourly or task == "phenotyping" else "sample")
    assert (found.cohort.samples > 10 * found.cohort.subjects) == hourly
    cards = [found.scorecard(found.fit(model)) for model in ("net", *found.problem.baselines)]
    assert len({card.rows_sha256 for card in cards}) == 1
    for card in cards:
        assert {"auroc", "auprc"} <= set(card.metrics[name])
        assert (card.metrics[name].keys() >= {"kappa", "mad"}) == (task == "length_of_stay")
        assert ("micro_auroc" in card.metrics[name]) == (output.kind == "multilabel")
        assert all(one.subjects <= card.subjects for one in card.evidence[name])
    decision = found.decision(found.fit("net"))
    assert decision.verdict == "insufficient_evidence"
    first = decision.conditions[0]
    assert "patient" in first.figure
    assert ("samples" in first.figure) == hourly
    gate = found.problem.gate
    assert gate is not None
    assert first.required == f"at least {gate.minimum_positives}"


@pytest.mark.parametrize("model", ["net", "logistic_regression", "gradient_boosting"])
def test_a_second_fit_has_the_same_bytes(model: str, road: Callable[[str], Road], tmp_path: Path) -> None:
    """In another workspace, from the same arrays, with the same threads."""
    found = road("decompensation")
    other = Workspace(tmp_path / "home")
    for stage, key in (("select", found.cohort.key), ("split", found.splits.key), ("prepare", found.arrays.key)):
        target = other.folder(stage, key)
        target.parent.mkdir(parents=True)
        target.symlink_to(found.workspace.folder(stage, key))
    once, again = found.fit(model), found.fit(model, other)
    assert again == once
    files = [workspace.folder("fit", once.key) / "model.onnx" for workspace in (found.workspace, other)]
    assert sha256_of_file(files[0]) == sha256_of_file(files[1])


def test_a_class_stands_for_the_mean_time_of_its_train_rows(road: Callable[[str], Road]) -> None:
    """MAD is the mean distance of the true hours from that of the class with the highest score."""
    found = road("length_of_stay")
    candidate = found.fit("logistic_regression")
    card = found.scorecard(candidate)
    rows = found.rows().join(
        pl.read_parquet(found.workspace.folder("split", found.splits.key) / "splits.parquet"), on="sample_id"
    )
    train = rows.filter(pl.col("role") == "train")
    means = [float(train.filter(pl.col("remaining") == k)["remaining.hours"].mean()) for k in range(10)]  # type: ignore[arg-type]
    assert candidate.levels["remaining"] == pytest.approx(means, rel=1e-5)
    edges = found.problem.outputs["remaining"].bins  # type: ignore[union-attr]
    assert (np.searchsorted(edges, rows["remaining.hours"], side="right") == rows["remaining"].to_numpy()).all()
    scores = pl.read_parquet(found.workspace.folder("evaluate", card.key) / "scores.parquet")
    predicted = scores.select(f"remaining.score.{k}" for k in range(10)).to_numpy().argmax(axis=1)
    hours = rows.filter(pl.col("role") == "gate").sort("sample_id")["remaining.hours"].to_numpy()
    expected = float(np.abs(hours - np.array(means)[predicted]).mean())
    measure = card.metrics["remaining"]["mad"]
    assert measure.value == pytest.approx(expected, rel=1e-5)
    assert measure.low <= measure.value <= measure.high


def test_a_problem_on_a_meds_folder_is_learnt(road: Callable[[str], Road], home: Path) -> None:
    """Exported and read back, with its labels and its split, it has the same samples, and a net learns from it."""
    found = road("mortality")
    out = home / "meds"
    out.mkdir()
    asked = Asked(
        found.workspace.folder("validate", found.quality.key),
        found.workspace.folder("select", found.cohort.key),
        found.workspace.folder("split", found.splits.key),
        found.problem.outputs,
    )
    export_meds(found.snapshot, found.workspace.folder("ingest", found.snapshot.key), out, asked)
    keys = found.problem.model_dump(mode="json")
    stay = keys["inputs"]["stay"]
    stay |= {"source": {"kind": "meds", "labels": "labels/death"}, "location": None}
    death = {"kind": "binary", "label": "boolean_value", "classes": {0: "survived", 1: "died"}, "positive": "died"}
    keys |= {
        "name": "from_meds",
        "outputs": {"death": death},
        "cohort": {"kind": "stays", "observation_hours": 48, "groups": ["gender"]},
        "split": {"kind": "publisher"},
        "gate": None,
    }
    read = walk(Problem.model_validate(keys), out, found.workspace)
    assert (read.cohort.samples, read.cohort.classes) == (found.cohort.samples, found.cohort.classes)
    assert read.splits.samples == found.splits.samples
    for model in ("net", "logistic_regression"):
        candidate = read.fit(model)
        ours, theirs = (one.scorecard(one.fit(model), "test") for one in (found, read))
        assert candidate.trained_on == found.fit(model).trained_on
        assert theirs.classes == ours.classes
        assert "auroc" in theirs.metrics["death"]
