"""A run at the level of its records: real cohort, splits and arrays, made-up scores, no training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.measurement import evaluate_output
from medai.measurement.evidence import evidence_of
from medai.measurement.recalibration import recalibrate
from medai.outputs import Output
from medai.records import (
    Arrays,
    Candidate,
    Cohort,
    Comparison,
    Condition,
    Decision,
    Environment,
    Examples,
    Figures,
    Measure,
    Member,
    QualityReport,
    Scorecard,
    Snapshot,
    Splits,
    Subgroup,
)
from medai.reporting import Content, draw, illustrate
from medai.scores import write_scores
from medai.tables import write_table
from medai.workspace import Workspace

CONDITIONS = (
    Condition(name="positives in gate", passed=True, figure="40 stays", required="at least 30"),
    Condition(
        name="death auroc in gate",
        passed=False,
        figure="0.6000 [0.5000, 0.7000]",
        required="lower bound at least 0.7",
    ),
)


@dataclass(frozen=True)
class Scored:
    """A workspace with scores of two models on its test rows, and what the report's stages take."""

    workspace: Workspace
    problem: dict[str, Any]
    outputs: dict[str, Output]
    candidates: dict[str, Candidate]
    scorecards: dict[str, Scorecard]
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    arrays: Arrays

    def figures(self) -> Figures:
        """Its figures."""
        return draw(self.workspace, self.outputs, "net", self.candidates, self.scorecards).record

    def examples(self, number: int = 2) -> Examples:
        """Its examples."""
        chosen = self.candidates["net"], self.scorecards["net"]
        return illustrate(self.workspace, self.outputs, *chosen, self.arrays, number).record

    def content(self, **changes: Any) -> Content:
        """The records of the run."""
        difference = {"auroc": Measure(value=0.0123, low=-0.01, high=0.03)}
        keys: dict[str, Any] = {
            "problem": self.problem,
            "seed": 3,
            "snapshot": self.snapshot,
            "quality": self.quality,
            "cohort": self.cohort,
            "splits": self.splits,
            "chosen": self.candidates["net"],
            "scorecards": self.scorecards,
            "comparison": Comparison(key="d", scorecard="s", differences={"logistic_regression": difference}),
            "figures": Figures(key="none", files={}),
            "decision": Decision(key="e", verdict="refused", candidate="c", conditions=CONDITIONS),
            "run_id": "run-1",
            "version": 7,
            "openings": 2,
        }
        return Content(**(keys | changes))


def candidate_of(name: str, output: Output, preprocessing: dict[str, Any]) -> Candidate:
    """A candidate as a fit leaves it."""
    environment = Environment(threads=2, onednn=True, instruction_set="x86_64 AVX2", libraries={"keras": "3.15.1"})
    return Candidate(
        key=f"candidate-{name}",
        name=name,
        members=(Member(kind="gru", weights_sha256="5" * 64, onnx_sha256="6" * 64, parameters=1234),),
        thresholds={"answer": () if output.kind == "multiclass" else (0.5,) * output.columns},
        calibration={},
        preprocessing=preprocessing,
        outputs={},
        statistics={},
        trained_on={},
        seed=3,
        epochs=2,
        environment=environment,
    )


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    """Put scores of two models for the test rows of a road into its own workspace.

    Args of the fixture's function: the road, the output's definition, a generator of the truth for outputs of other
    kinds than the road's, and the name under which the scores are kept.
    """

    def make(
        road: Any,
        output: Output,
        mark: str,
        groups: tuple[Subgroup, ...] = (),
        strength: float = 1.0,
        **problem: Any,
    ) -> Scored:
        workspace: Workspace = road.workspace
        generator = np.random.default_rng(5)
        table = road.table("select").join(road.table("split").select("sample_id", "role"), on="sample_id")
        own = next(iter(road.outputs))
        if output.kind == "multilabel":
            truth = generator.integers(0, 2, (table.height, output.columns))
            table = table.with_columns(pl.Series(f"answer.{k}", truth[:, k]) for k in range(output.columns))
        elif output.kind == "multiclass":
            table = table.with_columns(pl.Series("answer", generator.integers(0, output.columns, table.height)))
        else:
            table = table.with_columns(pl.col(own).alias("answer"))
        columns = [name for name in table.columns if name.partition(".")[0] == "answer"]
        cohort = road.cohort.model_copy(update={"key": f"cohort-{mark}"})
        folder = workspace.folder("select", cohort.key)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "cohort.parquet", table.drop("role").to_arrow())
        test = table.filter(pl.col("role") == "test").sort("sample_id")
        answer = test.select(columns).to_numpy()
        truth = answer if output.kind == "multilabel" else answer[:, 0]
        preprocessing = road.preprocessing.model_dump(mode="json")
        candidates, scorecards = {}, {}
        for name in ("net", "logistic_regression"):
            candidate = candidate_of(name, output, preprocessing).model_copy(update={"key": f"{mark}-{name}"})
            wanted = np.eye(output.columns)[truth] if output.kind == "multiclass" else answer
            logit = strength * (wanted * 2 - 1) + generator.normal(0, 1, wanted.shape)
            scores = 1 / (1 + np.exp(-logit))
            if output.kind == "multiclass":
                scores = scores / scores.sum(axis=1, keepdims=True)
            card_key = f"scorecard-{mark}-{name}"
            kept = workspace.folder("evaluate", card_key)
            kept.mkdir(parents=True, exist_ok=True)
            write_scores(kept / "scores.parquet", test, "answer", output, scores.astype(np.float32))
            fitted = workspace.folder("fit", candidate.key)
            fitted.mkdir(parents=True, exist_ok=True)
            if name == "net":
                (fitted / "history.json").write_text(json.dumps({"loss": [0.7, 0.5], "val_loss": [0.7, 0.6]}))
            subjects = test["subject_id"].to_numpy()
            metrics, confusion = evaluate_output(
                output, truth, scores, candidate.thresholds["answer"], subjects, resamples=100, seed=0
            )
            calibration = {}
            if output.kind == "binary":
                options: dict[str, Any] = {"confidence": 0.95, "resamples": 100, "seed": 0}
                calibration["answer"] = recalibrate(truth, scores[:, 0], subjects, **options)
            counts = truth.sum(axis=0) if truth.ndim == 2 else np.bincount(truth, minlength=len(output.names))
            candidates[name] = candidate
            scorecards[name] = Scorecard(
                key=card_key,
                candidate=candidate.key,
                role="test",
                unit=road.cohort.unit,
                samples=test.height,
                subjects=test["subject_id"].n_unique(),
                confidence=0.95,
                resamples=100,
                classes={"answer": dict(zip(output.names, map(int, counts), strict=True))},
                evidence={"answer": evidence_of(output, truth, subjects)},
                metrics={"answer": metrics},
                confusion={"answer": confusion},
                subgroups={"answer": groups} if groups and name == "net" else {},
                calibration=calibration,
                rows_sha256="0",
                opens_test=True,
            )
        return Scored(
            workspace=workspace,
            problem=problem_of(road, output) | problem,
            outputs={"answer": output},
            candidates=candidates,
            scorecards=scorecards,
            snapshot=road.snapshot,
            quality=road.quality,
            cohort=cohort,
            splits=road.splits,
            arrays=road.arrays,
        )

    return make


def problem_of(road: Any, output: Output) -> dict[str, Any]:
    """A resolved Problem from the catalogue with another output."""
    from medai.problem import load_problem

    name = "synthetic_stays" if road.snapshot.shape == "events" else "synthetic_pictures"
    resolved = load_problem(name).model_dump(mode="json")
    return resolved | {"outputs": {"answer": output.model_dump(mode="json")}}


@pytest.fixture(scope="session")
def stays(stay_road: Any, scored: Callable[..., Scored], output_of: Callable[..., Output]) -> Scored:
    """Stays that die or survive, with a judged and a small subgroup."""
    auroc = Measure(value=0.8765, low=0.8012, high=0.9345)
    groups = (
        Subgroup(
            group="ICUType",
            level="3",
            samples=33,
            subjects=33,
            positives=11,
            positive_subjects=11,
            metrics={"auroc": auroc},
        ),
        Subgroup(group="ICUType", level="4", samples=12, subjects=12, positives=2, positive_subjects=2, metrics={}),
        Subgroup(
            group="ICUType", level="not recorded", samples=3, subjects=3, positives=1, positive_subjects=1, metrics={}
        ),
    )
    death = output_of(kind="binary", label="died", classes={0: "survived", 1: "died"}, positive="died")
    return scored(stay_road, death, "stays", groups, question="Will <this> stay & that end in death?")


@pytest.fixture(scope="session")
def pictures(picture_road: Any, scored: Callable[..., Scored], output_of: Callable[..., Output]) -> Scored:
    """Pictures with or without an opacity."""
    return scored(picture_road, output_of(kind="binary", classes={0: "absent", 1: "present"}, positive="present"), "p")


@pytest.fixture(scope="session")
def classes(picture_road: Any, scored: Callable[..., Scored], output_of: Callable[..., Output]) -> Scored:
    """Pictures of one of six classes."""
    output = output_of(kind="multiclass", classes={number: f"class {number}" for number in range(6)})
    return scored(picture_road, output, "classes")


@pytest.fixture(scope="session")
def several_findings(picture_road: Any, scored: Callable[..., Scored], output_of: Callable[..., Output]) -> Scored:
    """Pictures with any of three findings."""
    output = output_of(kind="multilabel", classes={"a": "oedema", "b": "effusion", "c": "mass"})
    return scored(picture_road, output, "findings")


@pytest.fixture(scope="session")
def page_of() -> Callable[[Scored, Content], str]:
    """The text of a run's page."""
    from medai.reporting import write_page

    def read(run: Scored, content: Content) -> str:
        page = write_page(run.workspace, content).record
        path: Path = run.workspace.folder("report", page.key) / page.file
        return path.read_text()

    return read
