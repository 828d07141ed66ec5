"""``fit``: the same weights twice, also after a kill; what cannot be learnt from is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.inference import Scorer
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.thresholds import Threshold
from medai.models import ResidualCNN
from medai.models.baselines import LogisticRegression
from medai.outputs import Output
from medai.preprocessing.statistics import fit_statistics
from medai.records import Candidate, sha256_of_file
from medai.training import Execution, Training, fit
from medai.training.rows import Rows
from medai.workspace import Workspace

pytestmark = pytest.mark.usefixtures("pinned")

ENCODER = ResidualCNN.model_validate({"kind": "residual_cnn", "filters": [4], "dropout": 0.2})
TRAINING = Training.model_validate(
    {
        "epochs": 4,
        "batch_size": 32,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "schedule": "cosine",
        "weight_decay": 0.01,
        "class_weights": "balanced",
        "weight_averaging": 0.9,
        "augmentation": {"shift": 0.1, "zoom": 0.1, "flip": "horizontal", "contrast": 0.1, "noise": 0.2},
    }
)


@dataclass
class Killed(Exception):
    """Stands for a kill after an epoch."""

    share: float


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fits of this module lie, by name."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def fit_net(runs: Path, picture_road: Any, pinned: None) -> Callable[..., str]:
    """Fit the small net on the synthetic pictures; returns the weights' hash."""
    rows = Rows.load(
        picture_road.workspace, picture_road.arrays, picture_road.cohort, picture_road.splits, picture_road.outputs
    )
    train, validation = rows.of("train"), rows.of("validation")

    def run(name: str, progress: Any = None, training: Training = TRAINING, seed: int = 3) -> str:
        from medai.training import nets

        for kind in ("folder", "scratch"):
            (runs / name / kind).mkdir(parents=True, exist_ok=True)
        return nets.fit_net(
            ENCODER,
            training,
            rows.arrays,
            rows.truth["opacity"],
            train,
            validation,
            picture_road.outputs["opacity"],
            fit_statistics(rows.arrays, train),
            Execution(threads=2),
            seed,
            runs / name / "folder",
            runs / name / "scratch",
            progress,
        )[0]

    return run


@pytest.fixture(scope="module")
def undisturbed(fit_net: Callable[..., str]) -> str:
    """The weights' hash of a fit that nobody killed."""
    return fit_net("undisturbed")


def stop_after(epoch: int) -> Callable[[float], None]:
    """A progress callback that kills the fit once this many of four epochs are kept."""

    def progress(share: float) -> None:
        if share >= epoch / TRAINING.epochs:
            raise Killed(share)

    return progress


def test_two_fits_give_the_same_bytes(fit_net: Callable[..., str], undisturbed: str, runs: Path) -> None:
    """Weights and the exported file are equal, whatever was fitted between; another seed gives others."""
    other = fit_net("other", seed=4)
    second = fit_net("two")
    assert undisturbed == second != other
    for name in ("model.onnx", "history.json", "architecture.json"):
        one, two = (runs / run / "folder" / name for run in ("undisturbed", "two"))
        assert one.read_bytes() == two.read_bytes(), name


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_killed_fit_resumes_to_the_same_weights(
    fit_net: Callable[..., str], undisturbed: str, runs: Path, epoch: int
) -> None:
    """After any finished epoch, the last one too: weights, file and curves are those of an undisturbed fit."""
    killed = f"killed after {epoch}"
    with pytest.raises(Killed):
        fit_net(killed, stop_after(epoch))
    assert not (runs / killed / "folder" / "model.onnx").exists()
    told: list[float] = []
    assert fit_net(killed, told.append) == undisturbed
    assert told == [share / 4 for share in range(epoch + 1, 5)]
    for name in ("model.onnx", "history.json"):
        one, two = (runs / run / "folder" / name for run in ("undisturbed", killed))
        assert one.read_bytes() == two.read_bytes(), name
    curves = json.loads((runs / killed / "folder" / "history.json").read_bytes())
    assert {len(curve) for curve in curves.values()} == {4}


def test_a_damaged_checkpoint_starts_over(fit_net: Callable[..., str], undisturbed: str, runs: Path) -> None:
    """It is not believed: the fit begins again and ends with the same weights."""
    with pytest.raises(Killed):
        fit_net("damaged", stop_after(1))
    checkpoint = runs / "damaged" / "scratch" / "epoch.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-400])
    told: list[float] = []
    assert fit_net("damaged", told.append) == undisturbed
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_a_long_fit_says_how_far_it_is(
    fit_net: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line an epoch at most, and none sooner than ten seconds after the last."""
    from medai.training import nets

    now = [0.0]
    monkeypatch.setattr(nets, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caplog.set_level("INFO", logger="medai")

    def told(name: str, seconds: float) -> list[str]:
        """The lines of a fit whose epochs take so many seconds each, but the first, which takes none."""
        caplog.clear()
        fit_net(name, lambda _share: now.__setitem__(0, now[0] + seconds))
        return [line for line in caplog.messages if line.startswith("epoch")]

    assert told("fast", 3.3) == []
    for seconds, epochs in ((6.0, (3,)), (10.0, (2, 3, 4))):
        lines = told(f"epochs of {seconds}", seconds)
        assert [line.partition(":")[0] for line in lines] == [f"epoch {number} of 4" for number in epochs]
    assert "val_loss 0." in lines[0]


def test_a_fit_that_diverges_is_told(fit_net: Callable[..., str], runs: Path) -> None:
    """Weights that are no numbers are never exported."""
    wild = TRAINING.model_copy(update={"learning_rate": 1e38, "optimizer": "sgd", "weight_averaging": None})
    with pytest.raises(ConfigurationError, match="the fit diverged") as raised:
        fit_net("wild", training=wild)
    assert "learning_rate" in raised.value.action
    assert not (runs / "wild" / "folder" / "model.onnx").exists()


def test_balanced_passes_repeat_and_resume(fit_net: Callable[..., str]) -> None:
    """Over-sampling with a focal loss: a fit that was killed ends as an undisturbed one."""
    training = TRAINING.model_copy(update={"class_weights": None, "sampling": "over", "focal": 2.0})
    first = fit_net("balanced", training=training)
    with pytest.raises(Killed):
        fit_net("balanced, killed", stop_after(2), training=training)
    assert fit_net("balanced, killed", training=training) == first


def test_batches_follow_seed_and_epoch() -> None:
    """Each epoch sees every train row once, in an order of its own that a resumed fit finds again."""
    from medai.training.nets import EpochBatches

    rows = np.arange(10, 33)
    arrays = {"x": np.arange(40, dtype=np.float32)[:, None]}

    def epoch(number: int, seed: int) -> list[float]:
        batches = EpochBatches(arrays, np.zeros((40, 1)), rows, None, 5, seed)
        batches.arrange(number)
        assert len(batches) == 5
        return [value for index in range(5) for value in batches[index][0]["x"].ravel().tolist()]

    assert sorted(epoch(0, 1)) == rows.tolist()
    assert epoch(0, 1) == epoch(0, 1)
    assert len({tuple(epoch(number, seed)) for number in (0, 1) for seed in (1, 2)}) == 4


@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(23, 5, 3), (23, 5, 12), (7, 4, 1), (3, 8, 2), (20, 5, 4)])
def test_steps_of_an_epoch_go_on_where_the_last_one_ended(rows: int, batch_size: int, steps: int) -> None:
    """Full batches throughout, each row equally often to within one; any epoch is found again without the ones before.

    A new pass is another order.
    """
    from medai.training.nets import EpochBatches

    positions = np.arange(10, 10 + rows)
    arrays = {"x": np.arange(60, dtype=np.float32)[:, None]}

    def batches() -> EpochBatches:
        return EpochBatches(arrays, np.zeros((60, 1)), positions, None, batch_size, 4, steps)

    def drawn(made: EpochBatches, epoch: int) -> list[float]:
        made.arrange(epoch)
        assert len(made) == steps
        each = [made[index][0]["x"].ravel().tolist() for index in range(steps)]
        assert {len(one) for one in each} == {batch_size}
        return [value for one in each for value in one]

    going_on = batches()
    epochs = [drawn(going_on, epoch) for epoch in range(6)]
    assert drawn(batches(), 4) == epochs[4]
    stream = [value for epoch in epochs for value in epoch]
    for start in range(0, len(stream) - rows + 1, rows):
        assert sorted(stream[start : start + rows]) == positions.tolist()
    counts = np.unique(stream, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    if rows > 5 and len(stream) >= 2 * rows:
        assert stream[:rows] != stream[rows : 2 * rows]


def test_an_epoch_of_steps_resumes_to_the_same_weights(fit_net: Callable[..., str], runs: Path) -> None:
    """Killed after an epoch that ended in the middle of a pass; accuracy and loss are kept for train and validation."""
    steps = TRAINING.model_copy(update={"steps_per_epoch": 2, "batch_size": 30})
    with pytest.raises(Killed):
        fit_net("steps killed", stop_after(2), training=steps)
    assert fit_net("steps killed", training=steps) == fit_net("steps", training=steps)
    curves = json.loads((runs / "steps" / "folder" / "history.json").read_bytes())
    assert set(curves) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert {len(curve) for curve in curves.values()} == {4}


def test_a_dropped_sample_is_in_no_role(
    put: Callable[..., Any], output_of: Callable[..., Output], tmp_path: Path
) -> None:
    """It keeps its row, so that rows and arrays agree, and nobody learns from it nor is judged by it."""
    from medai.cohort import Pictures, select
    from medai.preprocessing import Pixels, prepare
    from medai.splitting import Publisher, split

    roles = ["train", "train", "train", "validation", "test", "test"]
    images = pl.DataFrame(
        {"row_id": range(6), "subject_id": [1, 2, 3, 4, 2, 5], "time": [None] * 6, "publisher_role": roles},
        schema_overrides={"time": pl.Datetime("us")},
    )
    labels = pl.DataFrame({"row_id": range(6), "label": [0, 1] * 3})
    cache = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    home, snapshot, quality = put({"images": images, "labels": labels}, "images", pixels=cache)
    outputs = {"ill": output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")}
    cohort = select(home, snapshot, quality, Pictures(kind="pictures"), outputs).record
    splits = split(home, snapshot, cohort, Publisher(kind="publisher", straddling="drop_from_train")).record
    arrays = prepare(home, snapshot, quality, cohort, Pixels(kind="pixels", size=(2, 2))).record
    rows = Rows.load(home, arrays, cohort, splits, outputs)
    assert {role: rows.of(role).tolist() for role in ("train", "validation", "test")} == {
        "train": [0, 2],
        "validation": [3],
        "test": [4, 5],
    }
    assert rows.arrays["pixels"][rows.of("train"), 0, 0, 0].tolist() == [0, 2]
    rows.write_subjects(tmp_path / "seen.parquet", ("train", "validation"))
    assert pl.read_parquet(tmp_path / "seen.parquet")["subject_id"].to_list() == [1, 3, 4]


def test_targets_are_what_the_loss_takes(output_of: Callable[..., Output]) -> None:
    """Columns of 0 and 1; one-hot for a multiclass output."""
    from medai.training.nets import targets

    several = output_of(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    assert targets(np.array([2, 0]), several).tolist() == [[0, 0, 1], [1, 0, 0]]
    one = output_of(kind="binary", classes={0: "a", 1: "b"}, positive="b")
    assert targets(np.array([1, 0]), one).tolist() == [[1], [0]]


def test_other_threads_in_a_running_process_are_refused() -> None:
    """Another thread count would give other weights under the same key: a fresh process is asked for."""
    import tensorflow as tf

    from medai.training.nets import pin_execution

    tf.constant(1.0) + 1.0  # TensorFlow's threads are fixed from here on
    pin_execution(Execution(threads=2))
    with pytest.raises(ServiceFailed, match="another thread count") as raised:
        pin_execution(Execution(threads=3))
    assert raised.value.expected.startswith("3 threads")
    assert "fresh process" in raised.value.action
    pin_execution(Execution(threads=2))


def candidate(road: Any, workspace: Workspace, model: Any, **changes: Any) -> Any:
    """Fit on a road's records, as the flow does."""
    keys: dict[str, Any] = {
        "name": "model",
        "model": model,
        "training": TRAINING if model is ENCODER else None,
        "arrays": road.arrays,
        "cohort": road.cohort,
        "splits": road.splits,
        "outputs": road.outputs,
        "preprocessing": road.preprocessing,
        "threshold": Threshold(),
        "calibration": CalibrationChoice(method="platt"),
        "execution": Execution(threads=2),
        "seed": 3,
    }
    return fit(workspace, **(keys | changes))


@pytest.fixture
def workspace(tmp_path: Path, picture_road: Any) -> Workspace:
    """A workspace that shares the pictures' stages and fits anew."""
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    for stage in ("ingest", "validate", "select", "split", "prepare"):
        (store / stage).symlink_to(picture_road.workspace.root / "store" / stage)
    return Workspace(tmp_path / "home")


def test_a_candidate_says_all_that_scoring_needs(picture_road: Any, workspace: Workspace) -> None:
    """Hashes of the files that are there, statistics, who was learnt from; found again the second time."""
    made = candidate(picture_road, workspace, ENCODER)
    record: Candidate = made.record
    folder = workspace.folder("fit", record.key)
    assert record.members[0].onnx_sha256 == sha256_of_file(folder / "model.onnx")
    assert record.model_sha256 == record.members[0].weights_sha256 != record.members[0].onnx_sha256
    assert record.members[0].parameters > 0
    assert (record.epochs, record.seed, record.trained_on) == (4, 3, {"train": 84, "validation": 12})
    assert (record.environment.threads, record.environment.onednn) == (2, True)
    assert set(record.environment.libraries) == {"tensorflow", "keras", "tf2onnx", "numpy"}
    assert 0 <= record.thresholds["opacity"][0] <= 1
    assert json.loads((folder / "statistics.json").read_text()) == record.statistics
    seen = pl.read_parquet(folder / "subjects.parquet")
    roles = picture_road.table("split").filter(pl.col("role") != "test")
    assert sorted(seen["subject_id"]) == sorted(roles["subject_id"])
    assert (folder / "subjects.parquet").stat().st_mode & 0o777 == 0o600
    scores = Scorer(folder / "model.onnx", record.members[0].onnx_sha256).score({"pixels": picture_road.load("pixels")})
    assert scores.shape == (120, 1)
    again = candidate(picture_road, workspace, ENCODER)
    assert (again.reused, again.record) == (True, record)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"execution": Execution(threads=1)},
        {"execution": Execution(threads=2, onednn=False)},
        {"threshold": Threshold(method="f1")},
        {"calibration": CalibrationChoice()},
    ],
)
def test_whatever_moves_the_bytes_moves_the_key(
    picture_road: Any, workspace: Workspace, change: dict[str, Any]
) -> None:
    """Seed, threads, oneDNN, threshold and calibration each make another candidate, of a baseline too."""
    base = candidate(picture_road, workspace, LogisticRegression()).record
    other = candidate(picture_road, workspace, LogisticRegression(), **change).record
    assert other.key != base.key
    assert other.environment.threads == 1


def test_a_baseline_is_a_candidate_like_any_other(picture_road: Any, workspace: Workspace) -> None:
    """Its model hash is its file's; it has no epochs."""
    record = candidate(picture_road, workspace, LogisticRegression()).record
    assert record.epochs == 0
    assert record.model_sha256 == record.members[0].onnx_sha256
    assert record.members[0].kind == "logistic_regression"


def test_a_baseline_says_on_how_many_it_learnt(picture_road: Any, workspace: Workspace) -> None:
    """All train samples, or as many as it may hold; another bound is another candidate."""
    whole = candidate(picture_road, workspace, LogisticRegression()).record
    part = candidate(picture_road, workspace, LogisticRegression(largest_rows=40)).record
    assert (whole.fitted_samples, part.fitted_samples) == (84, 40)
    assert whole.trained_on == part.trained_on
    assert part.model_sha256 != whole.model_sha256


def test_a_train_set_of_one_class_is_refused(
    put: Callable[..., Any], output_of: Callable[..., Output], picture_road: Any
) -> None:
    """Before any fitting, and nothing is left of it."""
    from medai.cohort import Pictures, select
    from medai.preprocessing import Pixels, prepare
    from medai.splitting import Publisher, split

    roles = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    images = pl.DataFrame(
        {"row_id": range(8), "subject_id": range(8), "time": [None] * 8, "publisher_role": roles},
        schema_overrides={"time": pl.Datetime("us")},
    )
    labels = pl.DataFrame({"row_id": range(8), "label": [0, 0, 0, 0, 0, 1, 0, 1]})
    home, snapshot, quality = put(
        {"images": images, "labels": labels}, "images", pixels=np.zeros((8, 16, 16, 1), np.uint8)
    )
    outputs = {"ill": output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")}
    cohort = select(home, snapshot, quality, Pictures(kind="pictures"), outputs).record
    splits = split(home, snapshot, cohort, Publisher(kind="publisher")).record
    config = Pixels(kind="pixels", size=(16, 16))
    arrays = prepare(home, snapshot, quality, cohort, config).record
    with pytest.raises(DataRefused, match="output ill: a class is missing in train") as raised:
        candidate(
            picture_road, home, LogisticRegression(), arrays=arrays, cohort=cohort, splits=splits, outputs=outputs
        )
    assert (raised.value.expected, raised.value.received) == ("samples of all 2 classes", "1 of them")
    assert not list((home.root / "store" / "fit").iterdir())
