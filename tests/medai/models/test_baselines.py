"""Baselines: one ONNX file from the raw arrays, with scikit-learn's scores."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from pydantic import TypeAdapter, ValidationError

from medai.errors import DataRefused, MedaiError
from medai.measurement import metrics
from medai.models import baselines
from medai.models.baselines import Baseline, Fitted, GradientBoosting, LogisticRegression
from medai.outputs import Binary, Multiclass, Multilabel

BINARY = Binary(kind="binary", classes={0: "normal", 1: "pneumonia"}, positive="pneumonia")
MULTICLASS = Multiclass(kind="multiclass", classes={3: "a", 5: "b", 9: "c"})
MULTILABEL = Multilabel(kind="multilabel", classes={"x": "effusion", "y": "oedema"})
BOOSTING = GradientBoosting(iterations=12)
CONFIGS = [LogisticRegression(), LogisticRegression(class_weight="balanced"), BOOSTING]
CONFIGS.append(GradientBoosting(iterations=12, class_weight="balanced"))


def pictures(rows: int = 160, shape: tuple[int, int, int] = (20, 33, 1)) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pictures whose brightness in one corner follows a hidden value, and that value."""
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=rows)
    pixels = generator.integers(0, 200, (rows, *shape))
    pixels[:, :8, :8] += (20 * np.clip(hidden, -2, 2) + 20).astype(int)[:, None, None, None]
    return {"pixels": np.clip(pixels, 0, 255).astype(np.uint8)}, hidden


def volumes(rows: int = 160) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Volumes whose brightness in one corner follows a hidden value, and that value."""
    arrays, hidden = pictures(rows, (12, 13, 1))
    cubes = np.repeat(arrays["pixels"][:, None], 9, axis=1)
    cubes[:, 4:] = 90
    return {"volume": cubes}, hidden


def series(rows: int = 160) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Static and summary features with missing values, a constant column, an empty one, and series not read."""
    generator = np.random.default_rng(1)
    hidden = generator.normal(size=rows)
    summaries = generator.normal(100, 30, (rows, 9)).astype(np.float32)
    summaries[:, 2] += 60 * hidden
    summaries[generator.random(summaries.shape) < 0.3] = np.nan
    summaries[:, 5], summaries[:, 6] = 7.3, np.nan
    static = np.stack([hidden + generator.normal(size=rows), generator.integers(0, 2, rows)], 1).astype(np.float32)
    return {"last": np.zeros((rows, 4, 3), np.float32), "static": static, "summaries": summaries}, hidden


def truth_of(output: Any, hidden: np.ndarray) -> np.ndarray:
    """Labels that follow the hidden value."""
    if output.kind == "binary":
        return (hidden > 0.4).astype(np.int8)
    if output.kind == "multiclass":
        return np.digitize(hidden, [-0.5, 0.5]).astype(np.int16)
    return np.stack([hidden > 0, hidden < -0.8], axis=1).astype(np.int8)


def run(model: bytes, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime answers to the raw arrays."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    named = {node.name: arrays[node.name] for node in session.get_inputs()}
    [scores] = session.run(["scores"], named)
    return np.asarray(scores)


@pytest.mark.parametrize("output", [BINARY, MULTICLASS, MULTILABEL], ids=lambda output: output.kind)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.class_weight}")
@pytest.mark.parametrize("data", [pictures, series, volumes])
def test_onnx_runtime_scores_as_scikit_learn(data: Any, config: Any, output: Any) -> None:
    """Raw arrays in, probabilities of the right shape out, within 1e-5 of scikit-learn's, and better than chance."""
    arrays, hidden = data()
    truth = truth_of(output, hidden)
    fitted = config.fit(arrays, truth, output, seed=0, threads=1)
    expected, found = fitted.scores(arrays), run(fitted.onnx_bytes(), arrays)
    assert found.shape == expected.shape == (160, output.columns)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if output.kind == "multiclass":
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert metrics.compute(output, truth, np.clip(found, 0, 1), (0.5,) * output.columns)["auroc"][0] > 0.8
    assert fitted.parameters > 0


@pytest.mark.parametrize("config", [LogisticRegression(), BOOSTING], ids=lambda config: config.kind)
def test_two_fits_give_equal_bytes(config: Any, tmp_path: Path) -> None:
    """The same rows, seed and threads give the same file, to the byte; the file passes ONNX's checker."""
    arrays, hidden = series()
    truth = truth_of(BINARY, hidden)
    paths = tmp_path / "one.onnx", tmp_path / "two.onnx"
    for path in paths:
        config.fit(arrays, truth, BINARY, seed=3, threads=1).export(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    model = onnx.load(paths[0])
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["static", "summaries"]
    assert [value.name for value in model.graph.output] == ["scores"]
    assert model.graph.doc_string == ""


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 9, 3), (30, 50, 3)])
def test_pictures_are_area_averaged(shape: tuple[int, int, int]) -> None:
    """Features are area means over 255: checked against a picture enlarged until its cells are whole pixels."""
    pixels = np.random.default_rng(2).integers(0, 256, (3, *shape), dtype=np.uint8)
    side = 14
    found = baselines._features({"pixels": pixels}, {"pixels": shape}, side)
    down, across = min(shape[0], side), min(shape[1], side)
    large = pixels.repeat(down, axis=1).repeat(across, axis=2).astype(float)
    cells = large.reshape(3, down, shape[0], across, shape[1], shape[2]).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(found, cells.transpose(0, 3, 1, 2).reshape(3, -1), atol=1e-7)


def test_missing_values_become_the_training_mean() -> None:
    """A missing value scores as the mean of the observed training values does; new rows change no constant."""
    arrays, hidden = series()
    fitted = LogisticRegression().fit(arrays, truth_of(BINARY, hidden), BINARY, seed=0, threads=1)
    means = np.concatenate([arrays["static"], arrays["summaries"]], axis=1)
    means = np.array([np.mean(column[~np.isnan(column)]) if not np.isnan(column).all() else 0 for column in means.T])
    mean_row = {"static": means[None, :2].astype(np.float32), "summaries": means[None, 2:].astype(np.float32)}
    empty_row = {name: np.full_like(array, np.nan) for name, array in mean_row.items()}
    model = fitted.onnx_bytes()
    np.testing.assert_allclose(run(model, empty_row), run(model, mean_row), atol=1e-6)


def test_neighbouring_values_go_the_same_way_in_onnx() -> None:
    """Features one float32 step apart are split between, and both engines take the same branch."""
    values = [np.float32(1)]
    for _ in range(40):
        values.append(np.nextafter(values[-1], np.float32(2)))
    arrays = {"summaries": np.repeat(np.array(values), 30)[:, None]}
    truth = np.repeat(np.arange(41) % 2, 30).astype(np.int8)
    fitted = BOOSTING.fit(arrays, truth, BINARY, seed=0, threads=1)
    expected = fitted.scores(arrays)
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(run(fitted.onnx_bytes(), arrays), expected, atol=1e-6)


def test_one_row_scores_as_it_does_among_many() -> None:
    """A served single row has the score it has in a batch."""
    arrays, hidden = pictures()
    fitted = BOOSTING.fit(arrays, truth_of(BINARY, hidden), BINARY, seed=0, threads=1)
    model = fitted.onnx_bytes()
    np.testing.assert_allclose(run(model, {"pixels": arrays["pixels"][:1]}), run(model, arrays)[:1], atol=1e-7)


def test_balanced_weights_raise_the_scores_of_a_rare_class() -> None:
    """With one positive in ten, balanced classes bring the mean score towards one half."""
    arrays, hidden = series(400)
    truth = (hidden > 1.28).astype(np.int8)
    plain, balanced = (
        LogisticRegression(class_weight=weight).fit(arrays, truth, BINARY, 0, 1).scores(arrays).mean()
        for weight in (None, "balanced")
    )
    assert plain == pytest.approx(truth.mean(), abs=0.02)
    assert balanced > plain + 0.1


@pytest.mark.parametrize("config", [LogisticRegression(), BOOSTING], ids=lambda config: config.kind)
@pytest.mark.parametrize(
    ("output", "truth", "place", "present"),
    [
        (BINARY, np.zeros(160, np.int8), "the output", 1),
        (MULTICLASS, np.arange(160) % 2, "the output", 2),
        (MULTILABEL, np.stack([np.arange(160) % 2, np.zeros(160)], 1), "finding 1", 1),
    ],
    ids=["binary", "multiclass", "multilabel"],
)
def test_a_class_without_training_rows_is_refused(
    config: Any, output: Any, truth: np.ndarray, place: str, present: int
) -> None:
    """A class that nothing can be learnt of stops the fit, and the message says where."""
    arrays, _ = series()
    with pytest.raises(DataRefused, match=f"a class of {place} has no training rows") as refused:
        config.fit(arrays, truth, output, seed=0, threads=1)
    assert refused.value.received == f"rows of {present}"


def test_arrays_that_no_baseline_reads_are_refused() -> None:
    """Without pixels, static or summaries there is nothing to learn from."""
    with pytest.raises(MedaiError, match="no array that it can read") as refused:
        LogisticRegression().fit({"last": np.zeros((4, 2, 2), np.float32)}, np.array([0, 1, 0, 1]), BINARY, 0, 1)
    assert refused.value.received == "last"


def test_a_fit_that_does_not_converge_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Too few iterations are logged, not hidden."""
    arrays, hidden = series()
    with caplog.at_level(logging.WARNING):
        LogisticRegression(max_iterations=1).fit(arrays, truth_of(BINARY, hidden), BINARY, 0, 1)
    assert caplog.messages == ["logistic regression stopped at 1 iterations without converging"]


def test_configurations_are_told_apart_by_their_kind() -> None:
    """A Problem names a baseline by its kind; what it does not know is refused."""
    read = TypeAdapter(Baseline).validate_python
    assert read({"kind": "gradient_boosting", "leaves": 8}) == GradientBoosting(leaves=8)
    assert read({"kind": "logistic_regression"}) == LogisticRegression()
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        read({"kind": "forest"})
    with pytest.raises(ValidationError, match="unknown key 'trees'"):
        read({"kind": "gradient_boosting", "trees": 8})


def test_the_module_imports_no_heavy_library() -> None:
    """Problems read these configurations: importing them loads neither scikit-learn nor ONNX."""
    code = (
        "import medai.models.baselines, sys; print(sorted({'sklearn', 'onnx', 'skl2onnx', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.data
def test_pneumonia_baselines_are_good_and_fast() -> None:
    """On PneumoniaMNIST's training rows each baseline fits in seconds and reaches a validation AUROC over 0.98."""
    folder = os.environ.get("MEDAI_TEST_DATA")
    if not folder:
        pytest.skip("MEDAI_TEST_DATA does not name the folder of real data")
    with np.load(Path(folder) / "medmnist" / "pneumoniamnist.npz") as file:
        train, validation = ({"pixels": file[f"{role}_images"][..., None]} for role in ("train", "val"))
        labels = [file[f"{role}_labels"][:, 0] for role in ("train", "val")]
    for config in (LogisticRegression(), GradientBoosting()):
        start = time.process_time()
        fitted: Fitted = config.fit(train, labels[0], BINARY, seed=0, threads=1)
        assert time.process_time() - start < 20
        scores = run(fitted.onnx_bytes(), validation)
        np.testing.assert_allclose(scores, fitted.scores(validation), atol=1e-5)
        assert metrics.auroc(labels[1], scores[:, 0])[0] > 0.98


def test_volumes_are_averaged_cell_by_cell() -> None:
    """Each feature is the mean of its part of the volume, in NumPy and in the file alike."""
    arrays, hidden = volumes(40)
    fitted = LogisticRegression(side=3).fit(arrays, truth_of(BINARY, hidden), BINARY, seed=0, threads=1)
    cube = arrays["volume"][:, :9, :12, :12]
    means = cube.reshape(40, 3, 3, 3, 4, 3, 4).mean(axis=(2, 4, 6), dtype=np.float64) / 255
    square = {"volume": cube}
    again = LogisticRegression(side=3).fit(square, truth_of(BINARY, hidden), BINARY, seed=0, threads=1)
    assert fitted.parameters == again.parameters == 28
    scaled = (means.reshape(40, -1) - again.centre) / again.spread
    np.testing.assert_allclose(again.scores(square)[:, 0], again.estimators[0].predict_proba(scaled)[:, 1], atol=1e-6)
    np.testing.assert_allclose(run(again.onnx_bytes(), square), again.scores(square), atol=1e-6)
