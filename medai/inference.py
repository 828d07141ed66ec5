"""Scoring: the only room that speaks to ONNX Runtime.

A champion is scored from one file of known hash, on the CPU, with a pinned number of threads: the same file, arrays,
thread count and instruction set give the same scores, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medai.errors import DataRefused, ServiceFailed

NUMPY_OF_ONNX: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(bool)": np.dtype(np.bool_),
}
"""ONNX Runtime's tensor types (its C API's ONNXTensorElementDataType) that an array on disk may have."""

_RANKS = (2, 4, 5)
"""Axes of scores: of a row one value a column; of a mask one a pixel and column, in two or three dimensions."""
_VALUES = 1 << 22
"""Values of one array in a batch at most: a first layer of large pictures needs a hundred times their memory."""


@dataclass(frozen=True)
class ModelInput:
    """One array that the model reads.

    Attributes:
        name: the array's name.
        dtype: its exact dtype; nothing is converted silently.
        shape: its shape without the first axis (rows); None where the model accepts any length.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape, first axis excluded, fits."""
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{self.name} {self.dtype} (rows, {lengths})" if lengths else f"{self.name} {self.dtype} (rows,)"


class Scorer:
    """Scores arrays with one ONNX file.

    Args:
        path: the model's file.
        sha256: the hash that the file must have.
        threads: intra-operator threads, pinned; part of what the scores' bytes depend on.

    Attributes:
        inputs: the arrays the model reads.
        columns: score columns; None where the file does not declare them.

    Raises:
        ServiceFailed: the file is gone, is not the one that was promoted, or is not a model that scores.
    """

    def __init__(self, path: Path, sha256: str, threads: int = 1) -> None:
        try:
            model = path.read_bytes()
        except OSError as failure:
            raise ServiceFailed(
                "the model's file cannot be read",
                expected=f"{path.name} with SHA-256 {sha256[:12]}…",
                received=type(failure).__name__,
                action="restore the file or roll back to an earlier version; nothing was scored",
            ) from failure
        found = hashlib.sha256(model).hexdigest()
        if found != sha256:
            raise ServiceFailed(
                "the model's file was altered",
                expected=f"{path.name} with SHA-256 {sha256[:12]}…",
                received=f"SHA-256 {found[:12]}…",
                action="restore the file or roll back to an earlier version; nothing was scored",
            )
        self.threads = threads
        # From the bytes that were hashed: the file may be exchanged between the two reads otherwise.
        self._session = _open(model, path.name, threads)
        self.inputs = tuple(_declared(node, path.name) for node in self._session.get_inputs())
        self._output, self.columns = _score_output(self._session.get_outputs(), path.name)

    def score(self, arrays: Mapping[str, Any], batch_size: int = 256) -> np.ndarray:
        """Raw scores, a batch at a time.

        Args:
            arrays: name → array, first axis rows; what is not in memory is read a batch at a time. Arrays that the
                model does not read are ignored.
            batch_size: rows a batch.

        Returns:
            float32, shape (rows, columns), in the order of the rows; (rows, height, width, columns) of a mask.

        Raises:
            DataRefused: an array is missing, or has another dtype, shape or length than the model reads.
            ServiceFailed: the model failed, or a score is not finite; no score is returned.
        """
        scores: np.ndarray | None = None
        for start, batch in self.batches(arrays, batch_size):
            if scores is None:
                scores = np.empty((len(arrays[self.inputs[0].name]), *batch.shape[1:]), np.float32)
            scores[start : start + len(batch)] = batch
        if scores is None:
            raise DataRefused(
                "there is nothing to score",
                expected="at least one row",
                received="arrays without rows",
                action="check the input and the cohort's attrition",
            )
        return scores

    def batches(self, arrays: Mapping[str, Any], batch_size: int = 256) -> Iterator[tuple[int, np.ndarray]]:
        """The same, without holding more than a batch: the maps of many pictures are larger than memory.

        Yields:
            The number of a batch's first row, and its scores.
        """
        rows = self._rows(arrays)
        largest = max(int(np.prod(arrays[each.name].shape[1:])) for each in self.inputs)
        batch_size = max(1, min(batch_size, _VALUES // max(1, largest)))
        for start in range(0, rows, batch_size):
            stop = min(start + batch_size, rows)
            feed = {each.name: np.ascontiguousarray(arrays[each.name][start:stop]) for each in self.inputs}
            batch = np.asarray(self._run(feed, stop - start), np.float32)
            unfit = np.flatnonzero(~np.isfinite(batch.reshape(stop - start, -1)).all(axis=1))
            if unfit.size:
                raise ServiceFailed(
                    "the model gave a score that is not a finite number",
                    expected="a finite score for every row and column",
                    received=f"{unfit.size} such rows in one batch, the first is row {start + int(unfit[0])}",
                    action="look at that row's arrays for missing or infinite values; nothing was scored",
                )
            yield start, batch

    def _rows(self, arrays: Mapping[str, Any]) -> int:
        missing = sorted(each.name for each in self.inputs if each.name not in arrays)
        if missing:
            raise DataRefused(
                f"the model reads arrays that are not there: {', '.join(missing)}",
                expected="; ".join(str(each) for each in self.inputs),
                received=", ".join(sorted(arrays)) or "no arrays",
                action="prepare the arrays with the candidate's own preprocessing",
            )
        for each in self.inputs:
            array = arrays[each.name]
            if array.ndim == 0 or array.dtype != each.dtype or not each.accepts(array.shape[1:]):
                raise DataRefused(
                    f"array {each.name} is not what the model reads",
                    expected=str(each),
                    received=f"{array.dtype} {array.shape}",
                    action="prepare the arrays with the candidate's own preprocessing",
                )
        lengths = {each.name: len(arrays[each.name]) for each in self.inputs}
        if len(set(lengths.values())) > 1:
            raise DataRefused(
                "the arrays have different numbers of rows",
                expected="one row a sample in every array",
                received=", ".join(f"{name}: {length}" for name, length in lengths.items()),
                action="prepare the arrays again; one of them was cut short",
            )
        return next(iter(lengths.values()))

    def _run(self, feed: dict[str, np.ndarray], rows: int) -> np.ndarray:
        try:
            (batch,) = self._session.run([self._output], feed)
        except Exception as failure:  # ONNX Runtime's errors share no base class; none shows a value
            raise ServiceFailed(
                "the model could not score a batch",
                expected=f"scores for {rows} rows",
                received=type(failure).__name__,
                action="run the same command again; if it fails again, roll back to an earlier version",
            ) from failure
        scores = np.asarray(batch)
        if scores.ndim not in _RANKS or len(scores) != rows:
            raise ServiceFailed(
                "the model gave scores of an unexpected shape",
                expected=f"({rows}, columns), or ({rows}, height, width, columns)",
                received=str(scores.shape),
                action="roll back to an earlier version; this file does not score one row a sample",
            )
        return scores


def _open(model: bytes, name: str, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only: warnings would land among the command line's progress
    try:
        return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as failure:  # ONNX Runtime's errors share no base class
        raise _not_a_model(name, type(failure).__name__) from failure


def _declared(node: Any, name: str) -> ModelInput:
    if node.type not in NUMPY_OF_ONNX or not node.shape:
        raise _not_a_model(name, f"input {node.name} of type {node.type}, shape {node.shape}")
    shape = tuple(length if isinstance(length, int) else None for length in node.shape[1:])
    return ModelInput(node.name, NUMPY_OF_ONNX[node.type], shape)


def _score_output(nodes: list[Any], name: str) -> tuple[str, int | None]:
    """The one floating output of scores (a scikit-learn export may carry predicted labels beside it)."""
    scores = [node for node in nodes if node.type in ("tensor(float)", "tensor(double)") and len(node.shape) in _RANKS]
    if len(scores) != 1:
        raise _not_a_model(name, f"{len(scores)} outputs of shape (rows, columns) among {len(nodes)}")
    columns = scores[0].shape[-1]
    return scores[0].name, columns if isinstance(columns, int) else None


def _not_a_model(name: str, received: str) -> ServiceFailed:
    return ServiceFailed(
        "the model's file is not one that medai can score with",
        expected=f"{name}: ONNX, named inputs with rows first, one output of scores (rows, columns)",
        received=received,
        action="restore the file or roll back to an earlier version",
    )
