"""``score``: unlabelled data through the champion's own preprocessing, file and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.errors import DataRefused, ServiceFailed
from medai.ingestion import ingest
from medai.measurement.calibration import apply
from medai.prediction import score, seen_before, select
from medai.preprocessing import Series, prepare
from medai.records import Arrays, Candidate, Cohort, Snapshot
from medai.sources import Physionet2012, unlabelled
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

SOURCE = Physionet2012(kind="physionet2012")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, stay_road: Any) -> Workspace:
    """A workspace that shares the stays' stages; what is made here stays here."""
    store = tmp_path_factory.mktemp("scoring") / "home" / "store"
    for stage in ("ingest", "validate", "select", "split", "prepare"):
        (store / stage).mkdir(parents=True)
        for made in (stay_road.workspace.root / "store" / stage).glob("[0-9a-f]*"):
            (store / stage / made.name).symlink_to(made)
    return Workspace(store.parent)


@pytest.fixture(scope="module")
def champion(workspace: Workspace, calibrated_regression: Any) -> Candidate:
    """A calibrated logistic regression."""
    made: Candidate = calibrated_regression(workspace, 0.01)
    return made


def walked(workspace: Workspace, road: Any, preprocessing: Series) -> tuple[Snapshot, Cohort, Arrays]:
    """The road's raw files once more, their outcomes left unread, to arrays."""
    snapshot = ingest(workspace, unlabelled(SOURCE), road.raw).record
    quality = validate(workspace, snapshot, catalogue_suite("physionet2012")).record
    cohort = select(workspace, snapshot, quality, road_definition()).record
    return snapshot, cohort, prepare(workspace, snapshot, quality, cohort, preprocessing).record


def road_definition() -> Any:
    """The cohort of the road."""
    from medai.cohort import Stays

    return Stays(kind="stays", groups=("ICUType",))


def test_unlabelled_stays_have_the_scores_that_they_have_with_labels(
    workspace: Workspace, stay_road: Any, champion: Candidate
) -> None:
    """Without an outcome the arrays are the same, so are the calibrated scores; a second time they are found."""
    name, output = next(iter(stay_road.outputs.items()))
    snapshot, cohort, arrays = walked(workspace, stay_road, stay_road.preprocessing)
    made = score(workspace, champion, arrays, name, output)
    assert (made.record.samples, made.record.candidate) == (150, champion.key)
    table = pl.read_parquet(workspace.folder("score", made.record.key) / "scores.parquet")
    assert table.columns == ["sample_id", "death.score.0"]
    labelled = score(workspace, champion, stay_road.arrays, name, output).record
    assert pl.read_parquet(workspace.folder("score", labelled.key) / "scores.parquet").equals(table)
    raw = _raw(workspace, champion, stay_road)
    np.testing.assert_array_equal(table["death.score.0"].to_numpy(), apply(champion.calibration[name], raw)[:, 0])
    assert score(workspace, champion, arrays, name, output).reused
    assert seen_before(workspace, [(snapshot, cohort)], champion) == sum(champion.trained_on.values())


def _raw(workspace: Workspace, champion: Candidate, road: Any) -> np.ndarray:
    from medai.inference import Scorer

    scorer = Scorer(workspace.folder("fit", champion.key) / "model.onnx", champion.members[0].onnx_sha256)
    return scorer.score({array: road.load(array) for array in road.arrays.arrays})


def test_arrays_of_another_shape_are_refused(
    workspace: Workspace, stay_road: Any, champion: Candidate, refusal: Any
) -> None:
    """What the champion reads is told beside what there is; no score is kept."""
    name, output = next(iter(stay_road.outputs.items()))
    narrow = Series(kind="series", step_minutes=240, variables=("HR",), static=("Age",))
    _, _, arrays = walked(workspace, stay_road, narrow)
    with pytest.raises(DataRefused) as caught:
        score(workspace, champion, arrays, name, output)
    assert "is not what the model reads" in refusal(caught.value)
    assert list(workspace.root.glob("store/score/.*")) == []


def test_a_file_altered_since_scores_nothing(
    workspace: Workspace, stay_road: Any, champion: Candidate, tmp_path: Path
) -> None:
    """The bytes are compared when they are read, whatever was found a moment ago."""
    name, output = next(iter(stay_road.outputs.items()))
    other = Workspace(tmp_path / "home")
    folder = other.folder("fit", champion.key)
    folder.mkdir(parents=True)
    folder.joinpath("model.onnx").write_bytes(
        (workspace.folder("fit", champion.key) / "model.onnx").read_bytes() + b" "
    )
    other.folder("prepare", stay_road.arrays.key).parent.mkdir()
    other.folder("prepare", stay_road.arrays.key).symlink_to(workspace.folder("prepare", stay_road.arrays.key))
    with pytest.raises(ServiceFailed, match="was altered"):
        score(other, champion, stay_road.arrays, name, output)
