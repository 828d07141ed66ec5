"""Distance of pictures from what a champion learnt, in its own features.

The features are what the net's last dense layer reads. They are cut out of the champion's ONNX file: no second model is
kept, and what is compared is what answers. A Gaussian is fitted to those of train; a picture's distance is Mahalanobis'
under it, in deviations (Lee et al. 2018, A simple unified framework for detecting out-of-distribution samples; one
Gaussian here, not one a class, since it is asked how the data changed and not what they show).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.errors import ServiceFailed

GRAPH, GAUSSIAN = "features.onnx", "gaussian.npz"
FEATURES = "feature distance"
_DENSE = ("MatMul", "Gemm")
_AFTER = ("Add", "Sigmoid", "Softmax", "Identity", "Cast", "Squeeze", "Reshape")
"""What may stand between the last dense layer and the scores."""
_LEAST = 1e-6
"""Of the mean variance: what is added to each, so that a feature that never varied has no infinite distance."""


def cut(model: bytes) -> bytes | None:
    """The graph that ends where the last dense layer begins; None where a model has no such layer.

    Args:
        model: an ONNX file with one output ``scores``.
    """
    import onnx

    made = onnx.load_from_string(model)
    makers = {name: node for node in made.graph.node for name in node.output}
    constants = {entry.name for entry in made.graph.initializer}
    name = made.graph.output[0].name
    while (node := makers.get(name)) is not None and node.op_type not in _DENSE:
        read = [one for one in node.input if one and one not in constants]
        if node.op_type not in _AFTER or len(read) != 1:
            return None
        name = read[0]
    if node is None or node.input[1] not in constants or node.input[0] not in makers:
        return None  # without a layer before it, its features would be the data themselves
    width = next(entry.dims[0] for entry in made.graph.initializer if entry.name == node.input[1])
    if any(one.name == "transB" and one.i for one in node.attribute):
        width = next(entry.dims[1] for entry in made.graph.initializer if entry.name == node.input[1])
    del made.graph.output[:]
    made.graph.output.append(
        onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, ["samples", int(width)])
    )
    _drop_unneeded(made.graph, node.input[0])
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def _drop_unneeded(graph: Any, output: str) -> None:
    """Keep what the output needs, in its order."""
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    nodes = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
    constants = [one for one in graph.initializer if one.name in needed]
    constants = [type(one).FromString(one.SerializeToString()) for one in constants]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def features_of(path: Path, sha256: str, arrays: dict[str, Any]) -> NDArray[np.float32]:
    """(samples, features) of prepared arrays.

    Raises:
        ServiceFailed: the graph was altered, or a feature is not finite.
    """
    from medai.inference import Scorer

    return Scorer(path, sha256).score(arrays)


def fit(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (features,) and inverse covariance (features, features) of a Gaussian.

    Args:
        features: (samples, features), at least two samples.
    """
    rows = np.asarray(features, np.float64)
    mean = np.asarray(rows.mean(axis=0), np.float64)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    covariance += max(_LEAST * float(np.trace(covariance)) / len(covariance), np.finfo(np.float64).tiny) * np.eye(
        len(covariance)
    )
    return mean, np.asarray(np.linalg.pinv(covariance, hermitian=True), np.float64)


def distances(
    features: NDArray[np.float32], mean: NDArray[np.float64], inverse: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(samples,) Mahalanobis distances, in deviations."""
    apart = np.asarray(features, np.float64) - mean
    return np.asarray(np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", apart, inverse, apart), 0.0)))


def read_graph(model: Path, sha256: str) -> bytes:
    """The champion's file, if it is the one that was promoted.

    Raises:
        ServiceFailed: it is gone or was altered.
    """
    try:
        data = model.read_bytes()
    except OSError as failure:
        data, received = b"", type(failure).__name__
    else:
        received = "other bytes"
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ServiceFailed(
            "the champion's file cannot be looked into",
            expected=f"{model.name} with SHA-256 {sha256[:12]}…",
            received=received,
            action="restore the file or roll back to an earlier version",
        )
    return data
