"""A net's features, cut out of its ONNX file, and the distance in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medai.errors import ServiceFailed
from medai.monitoring.features import cut, distances, features_of, fit, read_graph

WIDE, FEATURES = 6, 3


def net(last: str = "Sigmoid", dense: str = "MatMul", hidden: bool = True) -> bytes:
    """A net of one hidden layer as it is exported: rows, weights, bias, scores."""
    stream = np.random.default_rng(0)
    weights = {
        "first": stream.normal(size=(WIDE, FEATURES)).astype(np.float32),
        "second": stream.normal(size=(1, FEATURES) if dense == "Gemm" else (FEATURES, 1)).astype(np.float32),
        "bias": np.float32([0.1]),
    }
    nodes = [helper.make_node("MatMul", ["rows", "first"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    read = "b" if hidden else "rows"
    if dense == "Gemm":
        nodes.append(helper.make_node("Gemm", [read, "second", "bias"], ["d"], transB=1))
    else:
        nodes += [helper.make_node(dense, [read, "second"], ["c"]), helper.make_node("Add", ["c", "bias"], ["d"])]
    nodes.append(helper.make_node(last, ["d"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["samples", WIDE if hidden else FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["samples", 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("dense", ["MatMul", "Gemm"])
def test_the_cut_graph_gives_what_the_last_layer_reads(dense: str, tmp_path: Path) -> None:
    """Three features a row, as NumPy works them out; what only the scores need is gone."""
    graph = cut(net(dense=dense))
    assert graph is not None
    assert cut(net(dense=dense)) == graph
    made = onnx.load_from_string(graph)
    assert [node.op_type for node in made.graph.node] == ["MatMul", "Relu"]
    assert [one.name for one in made.graph.initializer] == ["first"]
    path = tmp_path / "features.onnx"
    path.write_bytes(graph)
    rows = np.random.default_rng(1).normal(size=(5, WIDE)).astype(np.float32)
    found = features_of(path, hashlib.sha256(graph).hexdigest(), {"rows": rows})
    first = numpy_helper.to_array(made.graph.initializer[0])
    np.testing.assert_allclose(found, np.maximum(rows @ first, 0), rtol=1e-5, atol=1e-6)


def test_a_model_without_a_layer_before_its_last_has_no_features() -> None:
    """A regression reads the data themselves; a head of another kind is not understood, and not guessed at."""
    assert cut(net(hidden=False)) is None
    assert cut(net(last="Exp")) is None


def test_distances_are_mahalanobis() -> None:
    """Beside SciPy's, of one point; a shift of three deviations is farther than nearly all rows."""
    from scipy.spatial.distance import mahalanobis

    stream = np.random.default_rng(2)
    rows = (stream.normal(size=(500, 3)) @ np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0.1]])).astype(np.float32)
    mean, inverse = fit(rows)
    point = np.array([[1, 2, 3]], np.float32)
    by_hand = mahalanobis(point[0].astype(float), mean, inverse)
    assert distances(point, mean, inverse)[0] == pytest.approx(by_hand)
    assert np.quantile(distances(rows, mean, inverse), 0.5) == pytest.approx(np.sqrt(2.37), abs=0.1)


def test_a_feature_that_never_varied(tmp_path: Path) -> None:
    """It neither divides by nothing nor hides that it moved; rows all alike have no distance."""
    rows = np.stack([np.arange(50.0), np.zeros(50)], axis=1).astype(np.float32)
    mean, inverse = fit(rows)
    assert np.isfinite(distances(rows, mean, inverse)).all()
    assert distances(np.float32([[24.5, 1]]), mean, inverse)[0] > 10
    assert distances(np.ones((3, 2), np.float32), *fit(np.ones((3, 2), np.float32))).tolist() == [0, 0, 0]


def test_a_file_that_was_altered(tmp_path: Path, refusal: Any) -> None:
    """The cut is made of the file that was promoted, or not at all."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    assert read_graph(path, hashlib.sha256(b"model").hexdigest()) == b"model"
    path.write_bytes(b"moded")
    with pytest.raises(ServiceFailed) as caught:
        read_graph(path, hashlib.sha256(b"model").hexdigest())
    assert "received: other bytes" in refusal(caught.value)
    path.unlink()
    with pytest.raises(ServiceFailed, match="FileNotFoundError"):
        read_graph(path, "0" * 64)
