"""The nets: what they take and give, that builds repeat byte for byte, and that the exported net scores alike."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from medai.errors import ConfigurationError, MedaiError
from medai.models import Augmentation, Head, Net
from medai.models.exchange import onnx_bytes
from medai.preprocessing.statistics import fit_statistics

BINARY = Head(kind="binary", columns=1)
HOURS, VARIABLES, STATIC, SUMMARIES = 12, 5, 3, 30
NETS: dict[str, dict[str, Any]] = {
    "residual_cnn": {"kind": "residual_cnn", "filters": [8, 16], "dropout": 0.2},
    "small_cnn": {"kind": "small_cnn", "filters": [4, 8], "dense": 16, "dropout": 0.2},
    "cnn3d": {"kind": "cnn3d", "filters": [4, 8], "dropout": 0.2},
    "gru": {"kind": "gru", "units": 6, "wide": 8, "projection": 4},
    "lstm": {"kind": "lstm", "units": 6, "wide": None},
}
PICTURES = ("residual_cnn", "small_cnn", "cnn3d")


def net(name_or_values: str | dict[str, Any]) -> Any:
    """A net from its configuration, as a Problem reads it."""
    values = NETS[name_or_values] if isinstance(name_or_values, str) else name_or_values
    return TypeAdapter(Net).validate_python(values)


def pictures(samples: int = 8, side: int = 20, channels: int = 1) -> dict[str, np.ndarray]:
    """Random raw pixels."""
    random = np.random.default_rng(1)
    return {"pixels": random.integers(0, 256, (samples, side, side, channels), dtype=np.uint8)}


def volumes(samples: int = 8) -> dict[str, np.ndarray]:
    """Random raw voxels."""
    return {"volume": np.random.default_rng(1).integers(0, 256, (samples, 7, 12, 10, 1), dtype=np.uint8)}


def series(samples: int = 8) -> dict[str, np.ndarray]:
    """Random series in the shape that preprocessing writes, one variable never measured, NaN where missing."""
    random = np.random.default_rng(2)
    mask = (random.random((samples, HOURS, VARIABLES)) < 0.3).astype(np.uint8)
    mask[:, :, -1] = 0
    last = np.full(mask.shape, np.nan, dtype=np.float32)
    elapsed = np.full(mask.shape, HOURS, dtype=np.uint8)
    for hour in range(HOURS):
        measured = mask[:, hour] == 1
        before = last[:, hour - 1] if hour else np.float32(np.nan)
        since = np.minimum(elapsed[:, hour - 1] + 1, HOURS) if hour else HOURS
        last[:, hour] = np.where(measured, 80 + 20 * random.standard_normal(measured.shape), before)
        elapsed[:, hour] = np.where(measured, 0, since)
    static = random.standard_normal((samples, STATIC)).astype(np.float32)
    static[::2, 0] = np.nan
    summaries = random.standard_normal((samples, SUMMARIES)).astype(np.float32)
    summaries[:, -6:] = np.nan
    return {"last": last, "mask": mask, "elapsed": elapsed, "static": static, "summaries": summaries}


def statistics(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means and deviations a column, None where nothing was measured, as they stand in a Candidate."""
    made = {}
    for name in ("pixels", "volume", "last", "static", "summaries"):
        if name not in arrays:
            continue
        columns = arrays[name].reshape(-1, arrays[name].shape[-1]).astype(np.float64)
        known = [column[~np.isnan(column)] for column in columns.T]
        made[name] = {
            "mean": [float(values.mean()) if len(values) else None for values in known],
            "deviation": [float(values.std()) if len(values) else None for values in known],
        }
    return made


def built(name: str, arrays: dict[str, np.ndarray], head: Head = BINARY, seed: int = 3, augment: bool = True) -> Any:
    """The net of this name for these arrays; pictures are augmented."""
    augmentation = (
        Augmentation(shift=0.1, rotation=15, zoom=0.1, flip="horizontal", contrast=0.2, brightness=0.3, noise=0.1)
        if augment and name in PICTURES
        else None
    )
    shapes = {array: values.shape[1:] for array, values in arrays.items()}
    return net(name).build(shapes, statistics(arrays), head, augmentation, seed)


def arrays_for(name: str) -> dict[str, np.ndarray]:
    """Raw arrays that the net of this name reads."""
    if name == "cnn3d":
        return volumes()
    return pictures() if name in PICTURES else series()


def weights_sha256(model: Any) -> str:
    """One hash over all weights in build order."""
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights)).hexdigest()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    "head", [BINARY, Head(kind="multiclass", columns=4), Head(kind="multilabel", columns=3)], ids=lambda head: head.kind
)
def test_scores_have_a_column_for_each_class(name: str, head: Head) -> None:
    """Every net scores raw arrays as float32 probabilities: one column for binary, a softmax, or one a finding."""
    arrays = arrays_for(name)
    model = built(name, arrays, head)
    scores = model(arrays, training=False).numpy()
    assert scores.shape == (8, head.columns)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    if head.kind == "multiclass":
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert model.layers[-1].name == "scores"


@pytest.mark.parametrize("name", NETS)
def test_onnx_scores_raw_arrays_as_keras_does(name: str) -> None:
    """The exported net takes the raw arrays by name and type, any number of samples, and scores within 1e-5."""
    import onnxruntime

    arrays = arrays_for(name)
    model = built(name, arrays)
    session = onnxruntime.InferenceSession(onnx_bytes(model), providers=["CPUExecutionProvider"])
    types = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
    assert {entry.name: entry.type for entry in session.get_inputs()} == {
        array: types[str(values.dtype)] for array, values in arrays.items()
    }
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [("scores", ["samples", 1])]
    expected = model(arrays, training=False).numpy()
    (scores,) = session.run(None, arrays)
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    (first,) = session.run(None, {array: values[:1] for array, values in arrays.items()})
    np.testing.assert_allclose(first, expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PICTURES)
def test_augmentation_is_absent_from_the_exported_net(name: str) -> None:
    """The file that is served is, byte for byte, that of the same net without augmentation."""
    arrays = arrays_for(name)
    assert onnx_bytes(built(name, arrays)) == onnx_bytes(built(name, arrays, augment=False))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("scaling", ["standardise", "unit", "percentiles"])
def test_levels_are_scaled_inside_the_net(name: str, scaling: str) -> None:
    """By train statistics or to 0–1, in Keras and in the exported file alike, and read back without code; a level's
    brightness is changed in units of the training pixels, whatever the scale."""
    import keras
    import onnxruntime

    arrays = volumes() if name == "cnn3d" else pictures(channels=3)
    (array,) = arrays
    known = fit_statistics(arrays, np.arange(6), ranges=True)
    values = dict(NETS[name], scaling=scaling)
    shapes = {array: arrays[array].shape[1:]}
    model = net(values).build(shapes, known, BINARY, Augmentation(brightness=1.0), 3)
    layer = {"standardise": "standardise", "unit": "scale", "percentiles": "window"}[scaling]
    levels = np.asarray(keras.Model(model.inputs, model.get_layer(layer).output)(arrays))
    raw = arrays[array].astype(np.float64)
    low, high = (np.array(known[f"{array}_range"][end]) for end in ("low", "high"))
    mean, deviation = (np.array(known[array][figure]) for figure in ("mean", "deviation"))
    wanted = {
        "standardise": (raw - mean) / deviation,
        "unit": raw / 255,
        "percentiles": np.clip((raw - low) / (high - low), 0, 1),
    }[scaling]
    np.testing.assert_allclose(levels, wanted, atol=1e-5)
    one = {"standardise": 1.0, "unit": deviation.mean() / 255, "percentiles": deviation.mean() / (high - low).mean()}
    assert model.get_layer("augment").brightness == pytest.approx(one[scaling])
    session = onnxruntime.InferenceSession(onnx_bytes(model), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, arrays)[0], np.asarray(model(arrays, training=False)), atol=1e-5)
    rebuilt = keras.models.model_from_json(model.to_json())
    rebuilt.set_weights(model.get_weights())
    np.testing.assert_array_equal(np.asarray(rebuilt(arrays)), np.asarray(model(arrays)))


@pytest.mark.parametrize("name", NETS)
def test_two_builds_give_the_same_bytes(name: str) -> None:
    """Two builds in one process, other layers and other random draws between them, give equal weights and ONNX files;
    another seed gives other weights."""
    import keras

    arrays = arrays_for(name)
    first = built(name, arrays)
    before = weights_sha256(first), onnx_bytes(first)
    keras.utils.set_random_seed(99)
    keras.layers.Dense(3)(keras.random.normal((2, 2)))
    second = built(name, arrays)
    assert weights_sha256(second) == before[0]
    assert onnx_bytes(second) == before[1]
    assert weights_sha256(built(name, arrays, seed=4)) != before[0]
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("cnn3d", "gru") else ()) for name in NETS]
)
def test_a_fit_repeats_and_learns(name: str) -> None:
    """Two fits of equal seed end with equal weights, augmentation and dropout included, and the loss falls."""
    import keras

    arrays = arrays_for(name)
    truth = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (4, 1))
    ends = []
    for _ in range(2):
        model = built(name, arrays)
        model.compile(keras.optimizers.Adam(0.01, use_ema=True), loss="binary_crossentropy", jit_compile=False)
        history = model.fit(arrays, truth, batch_size=8, epochs=12, shuffle=False, verbose=0).history["loss"]
        ends.append(weights_sha256(model))
        assert history[-1] < history[0]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_saved_and_read_back_without_code(name: str, tmp_path: Path) -> None:
    """A net saved in Keras' own format is read back in safe mode and scores alike, to the bit."""
    import keras

    arrays = arrays_for(name)
    model = built(name, arrays)
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    np.testing.assert_array_equal(again(arrays, training=False).numpy(), model(arrays, training=False).numpy())


@pytest.mark.parametrize(
    ("values", "shape", "head", "parameters"),
    [
        ({"filters": [32, 64], "dense": 128}, (28, 28, 1), Head(kind="multiclass", columns=10), 225_034),
        ({"filters": [32, 64], "dense": None}, (28, 28, 1), Head(kind="multiclass", columns=10), 34_826),
        ({"filters": [32, 64, 64], "pools": 2, "dense": 64}, (32, 32, 3), Head(kind="multiclass", columns=10), 122_570),
        ({"filters": [32, 64, 128], "dense": 512}, (150, 150, 3), BINARY, 19_034_177),
        (
            {"filters": [32, 64, 64], "pools": 2, "dense": 64, "binary_head": "softmax"},
            (224, 224, 1),
            BINARY,
            11_131_522,
        ),
    ],
    ids=["dense-128", "no-dense", "colour", "folders", "radiographs"],
)
def test_small_cnn_is_the_net_of_the_textbooks(
    values: dict[str, Any], shape: tuple[int, ...], head: Head, parameters: int
) -> None:
    """Options of small_cnn give the known nets: layer by layer the same number of parameters."""
    channels = {"mean": [0.0] * shape[-1], "deviation": [1.0] * shape[-1]}
    model = net({"kind": "small_cnn", "scaling": "unit", **values}).build(
        {"pixels": shape}, {"pixels": channels}, head, None, 0
    )
    assert model.count_params() == parameters
    assert "augment" not in [layer.name for layer in model.layers]


def test_softmax_over_two_units_scores_the_positive_class() -> None:
    """The probability of the second unit, negative and positive summing to one; the exported file says the same."""
    arrays = pictures()
    shapes = {"pixels": arrays["pixels"].shape[1:]}
    values = {"kind": "small_cnn", "filters": [4], "dense": 8, "binary_head": "softmax"}
    model = net(values).build(shapes, {"pixels": {"mean": [120.0], "deviation": [70.0]}}, BINARY, None, 3)
    both = model.get_layer("both_classes")
    assert both.activation.__name__ == "softmax"
    scores = np.asarray(model(arrays, training=False))
    assert scores.shape == (8, 1)
    import keras
    import onnxruntime

    pair = np.asarray(keras.Model(model.inputs, both.output)(arrays))
    np.testing.assert_allclose(pair.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(scores[:, 0], pair[:, 1])
    session = onnxruntime.InferenceSession(onnx_bytes(model), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, arrays)[0], scores, atol=1e-6)
    rebuilt = keras.models.model_from_json(model.to_json())
    rebuilt.set_weights(model.get_weights())
    np.testing.assert_array_equal(np.asarray(rebuilt(arrays, training=False)), scores)
    several = net(values).build(
        shapes, {"pixels": {"mean": [120.0], "deviation": [70.0]}}, Head(kind="multiclass", columns=4), None, 3
    )
    assert several.output_shape == (None, 4)


def test_residual_cnn_has_about_300_000_parameters() -> None:
    """The default residual net is small enough for a CPU."""
    shape = (28, 28, 1)
    model = net({"kind": "residual_cnn"}).build(
        {"pixels": shape}, {"pixels": {"mean": [0.0], "deviation": [1.0]}}, BINARY, None, 0
    )
    assert 280_000 < model.count_params() < 320_000


def test_statistics_are_constants_of_the_net() -> None:
    """Standardising happens inside: NaN and a column without statistics count as the mean, slips are drawn in."""
    from medai.models.layers import Standardise

    layer = Standardise(mean=[10.0, 5.0, None], deviation=[2.0, 0.0, None], limit=3.0, name="standardise")
    values = np.array([[14.0, 5.0, 1.0], [np.nan, 6.0, np.nan], [1e6, -1e6, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(layer(values), [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [3.0, -3.0, 0.0]])
    assert layer.weights == []
    pixels = np.array([[[[0], [255]]]], dtype=np.uint8)
    np.testing.assert_allclose(Standardise([51.0], [102.0], name="pixels")(pixels), [[[[-0.5], [2.0]]]])


def test_series_net_reads_series_alone() -> None:
    """Static values and summaries may be absent or empty: the recurrent layer alone then feeds the head."""
    arrays = {name: values for name, values in series().items() if name in ("last", "mask", "elapsed")}
    known = statistics(arrays) | {"static": {"mean": [], "deviation": []}}
    shapes = {name: values.shape[1:] for name, values in arrays.items()} | {"static": (0,)}
    model = net("gru").build(shapes, known, BINARY, None, 0)
    assert sorted(model.input) == ["elapsed", "last", "mask"]
    assert model(arrays).shape == (8, 1)


def test_future_hours_of_a_never_measured_variable_say_nothing() -> None:
    """A variable that train never measured cannot move a score, whatever its later values."""
    arrays = series()
    model = built("gru", arrays)
    expected = model(arrays, training=False).numpy()
    later = dict(arrays, last=arrays["last"].copy())
    later["last"][:, :, -1] = 1e30
    np.testing.assert_array_equal(model(later, training=False).numpy(), expected)


def test_wrong_configurations_are_refused() -> None:
    """Unknown kinds, misspelt or impossible options and pixel augmentation of series are refused, in words."""
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        net({"kind": "transformer"})
    with pytest.raises(ValidationError, match="unit"):
        net({"kind": "gru", "unit": 3})
    with pytest.raises(ValidationError, match="at least 1 item"):
        net({"kind": "small_cnn", "filters": []})
    with pytest.raises(ValidationError, match="pools must be at most the 2 convolutions, not 3"):
        net({"kind": "small_cnn", "filters": [4, 8], "pools": 3})
    with pytest.raises(ValidationError):
        net({"kind": "gru", "dropout": float("nan")})
    arrays = series(2)
    shapes = {name: values.shape[1:] for name, values in arrays.items()}
    with pytest.raises(ConfigurationError, match="a series has no pixels to augment"):
        net("gru").build(shapes, statistics(arrays), BINARY, Augmentation(flip="horizontal"), 0)
    with pytest.raises(MedaiError, match="the net small_cnn cannot read these arrays"):
        net("small_cnn").build(shapes, statistics(arrays), BINARY, None, 0)


def test_configurations_import_neither_keras_nor_tensorflow() -> None:
    """Reading a Problem's nets stays cheap."""
    code = "import sys, medai.models; print(sorted({'keras', 'tensorflow', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
