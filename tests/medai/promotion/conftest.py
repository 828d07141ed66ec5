"""Candidates of a given skill with their scorecards, and the decision on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from medai.evaluation import Evaluation
from medai.lines import Protocol
from medai.measurement import evaluate_output
from medai.measurement.evidence import evidence_of
from medai.outputs import Output
from medai.promotion import Case, Gate, Rules, Standing, decide
from medai.records import Candidate, Decision, Environment, Origin, Recipe, Scorecard, sha256_of
from medai.scores import SCORES, write_scores
from medai.workspace import Workspace

EVALUATION = Evaluation(resamples=200)
ROWS = 160
PROTOCOL = Protocol(line="5-c-0-6", models="m")


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
            origin=Origin(snapshot="1", unit="patient", source={}, cohort={}),
            recipe=Recipe(model={"kind": "gru", "units": 16}, training={"epochs": 6}, threshold={}, calibration={}),
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
    """The decision on a candidate, by a gate given by its keys (None: no gate).

    The champion answers under the protocol of the candidate's Problem; ``case`` gives other facts of the candidate.
    """

    def make(
        ours: Judged,
        theirs: Judged | None = None,
        gate: dict[str, Any] | None = None,
        output: Output = death,
        answers: bool = True,
        protocol: Protocol | None = PROTOCOL,
        **case: Any,
    ) -> Decision:
        rules = Rules(
            gate=None if gate is None else Gate.model_validate({"role": "gate"} | gate), evaluation=EVALUATION
        )
        standing = None
        if theirs is not None:
            standing = Standing(theirs.candidate, theirs.scorecard if answers else None, protocol)
        facts = Case(ours.candidate, ours.scorecard, **{"protocol": PROTOCOL} | case)
        return decide(workspace, rules, {"death": output}, facts, standing).record

    return make
