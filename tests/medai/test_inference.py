"""Scoring with one ONNX file of known hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medai.errors import DataRefused, ServiceFailed
from medai.inference import Scorer

WEIGHTS = np.array([[1.0, -1.0], [0.5, 0.25], [-2.0, 0.0]], np.float32)


def write_model(path: Path, *, division: bool = False) -> str:
    """scores = sigmoid((values × mask) · WEIGHTS), or 1 / values; returns the file's SHA-256."""
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["rows", 3])
    mask = helper.make_tensor_value_info("mask", TensorProto.UINT8, ["rows", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 3 if division else 2])
    if division:
        nodes, inputs = [helper.make_node("Reciprocal", ["values"], ["scores"])], [values]
    else:
        inputs = [values, mask]
        nodes = [
            helper.make_node("Cast", ["mask"], ["shown"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["values", "shown"], ["seen"]),
            helper.make_node("MatMul", ["seen", "weights"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
        ]
    graph = helper.make_graph(nodes, "score", inputs, [scores], [numpy_helper.from_array(WEIGHTS, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    """A scorer of two inputs, float32 values and a uint8 mask."""
    return Scorer(tmp_path / "model.onnx", write_model(tmp_path / "model.onnx"))


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Five rows, and an array the model does not read."""
    draw = np.random.default_rng(7)
    return {
        "values": draw.normal(size=(5, 3)).astype(np.float32),
        "mask": draw.integers(0, 2, size=(5, 3)).astype(np.uint8),
        "unread": np.zeros((5, 9)),
    }


def test_scores_are_the_models_function(scorer: Scorer, arrays: dict[str, np.ndarray]) -> None:
    """Scores are float32, one row a sample, and equal the same formula in numpy; unread arrays are ignored."""
    scores = scorer.score(arrays, batch_size=2)
    logits = (arrays["values"] * arrays["mask"]) @ WEIGHTS
    assert scores.dtype == np.float32
    assert scores.shape == (5, 2)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert scorer.columns == 2
    assert [str(each) for each in scorer.inputs] == ["values float32 (rows, 3)", "mask uint8 (rows, 3)"]


def test_memory_mapped_arrays_give_the_same_bytes(
    scorer: Scorer, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Arrays mapped from disk, in batches of one, of two or all at once, give identical scores."""
    for name in ("values", "mask"):
        np.save(tmp_path / f"{name}.npy", arrays[name])
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("values", "mask")}
    expected = scorer.score(arrays).tobytes()
    assert [scorer.score(mapped, batch_size=size).tobytes() for size in (1, 2, 256)] == [expected] * 3


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    """One flipped bit in the weights, which ONNX Runtime would load silently, is refused before loading."""
    path = tmp_path / "model.onnx"
    sha256 = write_model(path)
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ServiceFailed, match="the model's file was altered") as refusal:
        Scorer(path, sha256)
    assert sha256[:12] in refusal.value.expected
    assert "roll back" in refusal.value.action


def test_a_missing_file_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    """A file that is gone, or that has the right hash but is no ONNX model, ends in a message, not a traceback."""
    with pytest.raises(ServiceFailed, match="cannot be read"):
        Scorer(tmp_path / "gone.onnx", "0" * 64)
    (tmp_path / "text.onnx").write_bytes(b"<html>not found</html>")
    sha256 = hashlib.sha256(b"<html>not found</html>").hexdigest()
    with pytest.raises(ServiceFailed, match="not one that medai can score with"):
        Scorer(tmp_path / "text.onnx", sha256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "arrays that are not there: mask"),
        ({"values": np.zeros((5, 3), np.float64)}, "array values is not what the model reads"),
        ({"values": np.zeros((5, 4), np.float32)}, "array values is not what the model reads"),
        ({"values": np.zeros(5, np.float32)}, "array values is not what the model reads"),
        ({"mask": np.zeros((4, 3), np.uint8)}, "different numbers of rows"),
        ({"mask": np.zeros((0, 3), np.uint8), "values": np.zeros((0, 3), np.float32)}, "nothing to score"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    scorer: Scorer, arrays: dict[str, np.ndarray], change: dict[str, np.ndarray | None], message: str
) -> None:
    """A missing array, another dtype, shape or length, or no rows at all: refused, nothing converted silently."""
    given = {name: array for name, array in (arrays | change).items() if array is not None}
    with pytest.raises(DataRefused, match=message):
        scorer.score(given)


def test_a_score_that_is_not_finite_fails_with_its_row(tmp_path: Path) -> None:
    """An infinite score names the row and gives no score at all."""
    path = tmp_path / "model.onnx"
    scorer = Scorer(path, write_model(path, division=True))
    values = np.ones((5, 3), np.float32)
    values[3, 1] = 0
    with pytest.raises(ServiceFailed, match="not a finite number") as failure:
        scorer.score({"values": values}, batch_size=2)
    assert failure.value.received == "1 such rows in one batch, the first is row 3"
