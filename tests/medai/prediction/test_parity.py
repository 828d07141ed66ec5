"""Train/serve parity: a sample prepared and scored alone has the scores that the gate is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from medai.errors import ServiceFailed
from medai.evaluation import Evaluation, evaluate
from medai.prediction import rescore, sample
from medai.preprocessing import Preprocessing, prepare
from medai.records import Arrays, Candidate, Scorecard
from medai.scores import read_scores
from medai.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, stay_road: Any) -> Workspace:
    """A workspace that shares the stays' stages; what is made here stays here."""
    store = tmp_path / "home" / "store"
    for stage in ("ingest", "validate", "select", "split", "prepare"):
        (store / stage).mkdir(parents=True)
        for made in (stay_road.workspace.root / "store" / stage).glob("[0-9a-f]*"):
            (store / stage / made.name).symlink_to(made)
    return Workspace(store.parent)


@pytest.fixture
def judged(workspace: Workspace, stay_road: Any, calibrated_regression: Any) -> tuple[Candidate, Scorecard]:
    """A calibrated regression with its scores of the gate's rows."""
    road, candidate = stay_road, calibrated_regression(workspace, 0.01)
    card = evaluate(
        workspace, candidate, road.arrays, road.cohort, road.splits, road.outputs, "gate", Evaluation(resamples=100)
    ).record
    return candidate, card


def served(workspace: Workspace, road: Any, candidate: Candidate, samples: int, **changes: Any) -> Arrays:
    """The arrays of a sample of the gate's rows, by the candidate's own preprocessing or with some keys changed."""
    few = sample(workspace, road.cohort, road.splits, "gate", samples).record
    own: Any = TypeAdapter(Preprocessing).validate_python(candidate.preprocessing | changes)
    return prepare(workspace, road.snapshot, road.quality, few, own).record


def test_a_sample_is_spread_over_its_role(workspace: Workspace, stay_road: Any) -> None:
    """Rows of that role alone, the first and the last among them; all where fewer are there than asked for."""
    rows = stay_road.table("select").join(stay_road.table("split"), on="sample_id").filter(pl.col("role") == "gate")
    few = sample(workspace, stay_road.cohort, stay_road.splits, "gate", 5).record
    chosen = pl.read_parquet(workspace.folder("select", few.key) / "cohort.parquet")
    assert (few.samples, few.subjects, few.unit) == (5, 5, "stay")
    assert set(chosen["sample_id"]) <= set(rows["sample_id"])
    assert chosen["sample_id"][0] == rows["sample_id"].min()
    assert chosen["sample_id"][-1] == rows["sample_id"].max()
    everyone = sample(workspace, stay_road.cohort, stay_road.splits, "gate", 10_000).record
    assert everyone.samples == rows.height


@pytest.mark.parametrize("samples", [1, 7, 10_000])
def test_the_served_path_says_what_was_judged(
    samples: int, workspace: Workspace, stay_road: Any, judged: tuple[Candidate, Scorecard]
) -> None:
    """Alone, in a few or with all: within the last digit of float32. A second time the record is found."""
    candidate, card = judged
    arrays, output = served(workspace, stay_road, candidate, samples), next(iter(stay_road.outputs.values()))
    made = rescore(workspace, candidate, card, stay_road.arrays, arrays, output)
    assert made.record.samples == min(samples, card.samples)
    assert made.record.difference <= 1e-7
    assert made.record.scorecard == card.key
    assert rescore(workspace, candidate, card, stay_road.arrays, arrays, output).reused


def test_another_preprocessing_in_production_shows(
    workspace: Workspace, stay_road: Any, judged: tuple[Candidate, Scorecard]
) -> None:
    """Series of half the length, as a server with an old setting would make them: the largest difference is told."""
    candidate, card = judged
    arrays = served(workspace, stay_road, candidate, 20, variables=["GCS", "Lactate", "HR"])
    output = next(iter(stay_road.outputs.values()))
    found = rescore(workspace, candidate, card, stay_road.arrays, arrays, output).record
    assert found.unequal > 10
    assert found.difference > 0.01


def test_scores_that_were_judged_are_those_on_disk(
    workspace: Workspace, stay_road: Any, judged: tuple[Candidate, Scorecard]
) -> None:
    """One score moved by a hundredth is the one that differs."""
    candidate, card = judged
    table = read_scores(workspace, card)
    row = table["sample_id"].arg_max()
    moved = table["death.score.0"].to_numpy().copy()
    moved[row] += np.float32(0.01)
    table.with_columns(pl.Series("death.score.0", moved)).write_parquet(
        workspace.folder("evaluate", card.key) / "scores.parquet"
    )
    arrays, output = served(workspace, stay_road, candidate, 9), next(iter(stay_road.outputs.values()))
    found = rescore(workspace, candidate, card, stay_road.arrays, arrays, output).record
    assert found.difference == pytest.approx(0.01, rel=1e-4)


def test_an_altered_model_is_not_scored(
    workspace: Workspace, stay_road: Any, judged: tuple[Candidate, Scorecard]
) -> None:
    """The served path reads its files anew: a flipped byte is refused, and nothing is compared."""
    candidate, card = judged
    arrays, output = served(workspace, stay_road, candidate, 9), next(iter(stay_road.outputs.values()))
    path = workspace.folder("fit", candidate.key) / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ServiceFailed, match="the candidate's files are not as they were written"):
        rescore(workspace, candidate, card, stay_road.arrays, arrays, output)
