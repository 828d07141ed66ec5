"""Models that a net must beat: logistic regression and gradient boosting, from the same raw arrays, as one ONNX file.

A baseline takes the arrays by the names the nets use and does the rest inside the file that is served:

- ``pixels`` (N, H, W, C) uint8: pictures larger than ``side`` are area-averaged to ``side`` (each output pixel is the
  mean of the part of the picture it covers), divided by 255 and flattened. The sums are whole numbers in float64, so
  NumPy and ONNX Runtime agree to the bit.
- ``volume`` (N, D, H, W, C) uint8: the same in three dimensions.
- ``static`` (N, S) and ``summaries`` (N, F) float32, NaN where nothing was measured, side by side; other series arrays
  are not read.

Logistic regression standardises each feature by its mean and standard deviation over the observed training values and
puts the mean where a value is missing; boosting learns at each split where missing values go. A multilabel output has
one model a finding. The file's output ``scores`` (N, columns) follows ``medai.outputs``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medai.errors import DataRefused, MedaiError
from medai.models.global_threshold import GlobalThreshold
from medai.outputs import Binary, Multiclass, Multilabel
from medai.records import Frozen

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "scikit-learn", "skl2onnx", "onnx")
"""Distributions whose version may change a baseline's bytes."""
LEVELS = ("pixels", "volume")
"""Arrays of grey levels."""
SERIES = ("static", "summaries")
"""Series arrays that baselines read, in the order of their features."""
OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 8
_BLOCK = 1 << 24
"""Bytes of pictures widened to float64 at a time, before widening."""
_ROWS = 1 << 14
"""Rows of features that are gathered, or widened to float64, at a time."""


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

    Attributes:
        output: what it predicts.
        shapes: array read → its shape without the first axis.
        side: largest side of a picture as it is learnt from.
        centre, spread: (features,) float32, subtracted and divided by; None: features are used as they are.
        estimators: one fitted scikit-learn classifier, or one a finding for a multilabel output.
        threads: threads it was fitted with, and scores with.
    """

    output: Binary | Multiclass | Multilabel
    shapes: dict[str, tuple[int, ...]]
    side: int
    centre: NDArray[np.float32] | None
    spread: NDArray[np.float32] | None
    estimators: tuple[Any, ...]
    threads: int

    @property
    def parameters(self) -> int:
        """Learnt numbers: coefficients and intercepts, or nodes of all trees."""
        return sum(_parameters(estimator) for estimator in self.estimators)

    def scores(self, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(N, columns) probabilities by scikit-learn, from the raw arrays."""
        features = _standardised(_features(arrays, self.shapes, self.side), self.centre, self.spread)
        with _threads(self.threads):
            each = [estimator.predict_proba(features) for estimator in self.estimators]
        columns = each[0] if self.output.kind == "multiclass" else np.stack([one[:, 1] for one in each], axis=1)
        return np.asarray(columns, np.float32)

    def onnx_bytes(self) -> bytes:
        """The ONNX file: the same raw arrays by name in, ``scores`` out. Equal fits give equal bytes."""
        return _to_onnx(self)

    def export(self, path: Path) -> None:
        """Write the ONNX file."""
        path.write_bytes(self.onnx_bytes())


class LogisticRegression(Frozen):
    """Logistic regression with an L2 penalty on standardised features, by L-BFGS; multinomial for multiclass.

    Attributes:
        inverse_penalty: scikit-learn's C: the smaller, the stronger the penalty.
        max_iterations: of L-BFGS; a fit that stops there is logged.
        class_weight: ``balanced`` weighs classes by the inverse of their frequency; null weighs rows alike.
        largest_rows: training rows that are held in memory and learnt from at most; where there are more, so many are
            chosen by a hash of their ids.
        side: larger pictures are area-averaged to this many pixels a side.
    """

    kind: Literal["logistic_regression"] = "logistic_regression"
    inverse_penalty: float = Field(default=0.01, gt=0)
    max_iterations: int = Field(default=300, ge=1)
    class_weight: Literal["balanced"] | None = None
    largest_rows: int = Field(default=500_000, ge=1)
    side: int = Field(default=28, ge=1)

    def fit(
        self,
        arrays: dict[str, NDArray[Any]],
        truth: NDArray[Any],
        output: Binary | Multiclass | Multilabel,
        seed: int,
        threads: int,
    ) -> Fitted:
        """Fit on training rows; see ``GradientBoosting.fit``. The seed is not used: L-BFGS draws nothing."""
        from sklearn.linear_model import LogisticRegression as Estimator

        del seed
        shapes = _shapes(arrays)
        features = _features(arrays, shapes, self.side)
        centre, spread = _moments(features)
        features = _standardised(features, centre, spread)
        estimators = tuple(
            Estimator(C=self.inverse_penalty, max_iter=self.max_iterations, class_weight=self.class_weight)
            for _ in _columns(truth, output)
        )
        fitted = Fitted(output, shapes, self.side, centre, spread, estimators, threads)
        _fit_each(fitted, features, truth)
        if any(int(np.max(estimator.n_iter_)) >= self.max_iterations for estimator in estimators):
            log.warning("logistic regression stopped at %d iterations without converging", self.max_iterations)
        return fitted


class GradientBoosting(Frozen):
    """Histogram gradient boosting of trees (scikit-learn's HistGradientBoostingClassifier), without early stopping.

    Attributes:
        iterations: trees a class.
        learning_rate: weight of each tree.
        leaves: largest number of leaves of a tree.
        rows_a_leaf: smallest number of training rows in a leaf.
        class_weight: ``balanced`` weighs classes by the inverse of their frequency; null weighs rows alike.
        largest_rows: training rows that are held in memory and learnt from at most; where there are more, so many are
            chosen by a hash of their ids.
        side: larger pictures are area-averaged to this many pixels a side.
    """

    kind: Literal["gradient_boosting"] = "gradient_boosting"
    iterations: int = Field(default=150, ge=1)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    leaves: int = Field(default=31, ge=2)
    rows_a_leaf: int = Field(default=20, ge=1)
    class_weight: Literal["balanced"] | None = None
    largest_rows: int = Field(default=500_000, ge=1)
    side: int = Field(default=14, ge=1)

    def fit(
        self,
        arrays: dict[str, NDArray[Any]],
        truth: NDArray[Any],
        output: Binary | Multiclass | Multilabel,
        seed: int,
        threads: int,
    ) -> Fitted:
        """Fit on training rows.

        Args:
            arrays: raw training arrays by name, ``pixels`` or ``static`` and ``summaries``, first axis N.
            truth: (N,) for binary and multiclass, (N, K) for multilabel.
            output: what is predicted.
            seed: of the estimator's random state.
            threads: of the fit, and of scoring.

        Raises:
            DataRefused: a class without training rows.
            MedaiError: none of the arrays that a baseline reads.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier as Estimator

        shapes = _shapes(arrays)
        features = _features(arrays, shapes, self.side)
        estimators = tuple(
            Estimator(
                max_iter=self.iterations,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.leaves,
                min_samples_leaf=self.rows_a_leaf,
                class_weight=self.class_weight,
                early_stopping=False,
                random_state=seed,
            )
            for _ in _columns(truth, output)
        )
        # scikit-learn cannot bin a feature that nobody has; as a constant it is never split on.
        features[:, [bool(np.isnan(column).all()) for column in features.T]] = 0
        fitted = Fitted(output, shapes, self.side, None, None, estimators, threads)
        _fit_each(fitted, features, truth)
        for estimator in estimators:
            _lower_thresholds(estimator)
        return fitted


Baseline = Annotated[LogisticRegression | GradientBoosting | GlobalThreshold, Field(discriminator="kind")]
"""One of the baselines, told apart by its ``kind``."""
CLASSICAL = (LogisticRegression, GradientBoosting, GlobalThreshold)
"""Their classes: what is no net."""


# --- fitting --------------------------------------------------------------------------------------------------------


def _columns(truth: NDArray[Any], output: Binary | Multiclass | Multilabel) -> list[NDArray[Any]]:
    """One (N,) truth a classifier to fit; refused where a class has no row to learn from."""
    columns = list(truth.T) if output.kind == "multilabel" else [truth]
    for position, column in enumerate(columns):
        classes = output.columns if output.kind == "multiclass" else 2
        present = np.unique(column)
        if len(present) < classes:
            where = f"finding {position}" if output.kind == "multilabel" else "the output"
            raise DataRefused(
                f"a class of {where} has no training rows",
                expected=f"training rows of all {classes} classes",
                received=f"rows of {len(present)}",
                action="change the cohort or the split, or take the class out of the Problem",
            )
    return columns


def _fit_each(fitted: Fitted, features: NDArray[np.float32], truth: NDArray[Any]) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with _threads(fitted.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logged by the caller, with its figure
        for estimator, column in zip(fitted.estimators, _columns(truth, fitted.output), strict=True):
            estimator.fit(features, column)


def _threads(count: int) -> Any:
    """A context in which BLAS and OpenMP use this many threads."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=count)


def _lower_thresholds(estimator: Any) -> None:
    """Lower each split's float64 threshold to the nearest float32 at or below it.

    Features are float32, so no decision changes; and ONNX, whose thresholds are float32, decides alike. Rounded to the
    nearest instead, a threshold between two neighbouring values could become the upper one and send it the other way.
    """
    for iteration in estimator._predictors:
        for tree in iteration:
            exact = tree.nodes["num_threshold"]
            near = exact.astype(np.float32)
            tree.nodes["num_threshold"] = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


def _parameters(estimator: Any) -> int:
    if hasattr(estimator, "coef_"):
        return int(estimator.coef_.size + estimator.intercept_.size)
    return sum(len(tree.nodes) for iteration in estimator._predictors for tree in iteration)


def _moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each feature's observed values; 0 and 1 where there are none, 1 where constant."""
    count, total, squares = np.zeros((3, features.shape[1]))
    for block in _blocks(features):
        seen = np.isfinite(block)
        count += seen.sum(axis=0)
        total += np.where(seen, block, 0).sum(axis=0, dtype=np.float64)
    count = np.maximum(count, 1)
    mean = total / count
    for block in _blocks(features):
        squares += (np.where(np.isfinite(block), block - mean, 0) ** 2).sum(axis=0)
    spread = np.sqrt(squares / count)
    centre = mean.astype(np.float32)
    # Below float32's resolution a spread is rounding, not variation.
    constant = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return centre, np.where(constant, 1, spread).astype(np.float32)


# --- features, in NumPy ---------------------------------------------------------------------------------------------


def _shapes(arrays: dict[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """The arrays a baseline reads, with their shape behind the first axis."""
    names = next(((name,) for name in LEVELS if name in arrays), SERIES)
    shapes = {name: tuple(arrays[name].shape[1:]) for name in names if name in arrays and arrays[name].shape[1]}
    if not shapes:
        raise MedaiError(
            "a baseline got no array that it can read",
            expected="pixels or volume, or static or summaries",
            received=", ".join(sorted(arrays)) or "no arrays",
            action="report this as a defect of medai",
        )
    return shapes


def _features(arrays: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]], side: int) -> NDArray[np.float32]:
    """(N, features) float32."""
    if "pixels" in shapes:
        return np.concatenate(list(_pictures(arrays["pixels"], side)))
    if "volume" in shapes:
        return np.concatenate(list(_volumes(arrays["volume"], side)))
    rows, widths = len(arrays[next(iter(shapes))]), [shape[0] for shape in shapes.values()]
    features = np.empty((rows, sum(widths)), np.float32)
    for name, columns in zip(shapes, np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1]), strict=True):
        for start in range(0, rows, _ROWS):
            features[start : start + _ROWS, columns[0] : columns[-1] + 1] = arrays[name][start : start + _ROWS]
    return features


def _pictures(pixels: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.float32]]:
    _, height, width, channels = pixels.shape
    down, across, whole = _overlaps(height, side), _overlaps(width, side).T, 255.0 * height * width
    step = max(1, _BLOCK // (height * width * channels))
    for start in range(0, len(pixels), step):
        block = pixels[start : start + step].transpose(0, 3, 1, 2).astype(np.float64)
        yield (down @ block @ across / whole).astype(np.float32).reshape(len(block), -1)


def _volumes(volumes: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.float32]]:
    _, depth, height, width, channels = volumes.shape
    through, down, across = _overlaps(depth, side), _overlaps(height, side), _overlaps(width, side).T
    step = max(1, _BLOCK // (depth * height * width * channels))
    for start in range(0, len(volumes), step):
        block = volumes[start : start + step].transpose(0, 4, 1, 2, 3).astype(np.float64)
        slices = down @ block @ across
        cells = through @ slices.reshape(*slices.shape[:3], -1) / (255.0 * depth * height * width)
        yield cells.astype(np.float32).reshape(len(block), -1)


def _overlaps(length: int, side: int) -> NDArray[np.float64]:
    """(out, length): how much of each pixel each of ``out`` equal cells covers, in units of 1 / out of a pixel.

    >>> _overlaps(3, 2)
    array([[2., 1., 0.],
           [0., 1., 2.]])
    """
    out = min(length, side)
    cell, pixel = length * np.arange(out)[:, None], out * np.arange(length)
    covered = np.minimum(cell + length, pixel + out) - np.maximum(cell, pixel)
    return np.asarray(np.clip(covered, 0, None), np.float64)


def _standardised(
    features: NDArray[np.float32], centre: NDArray[np.float32] | None, spread: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Centred, scaled, and the mean (0) where a value is missing; the features themselves are overwritten."""
    if centre is None or spread is None:
        return features
    for block in _blocks(features):
        np.divide(np.subtract(block, centre, out=block), spread, out=block)
        block[np.isnan(block)] = 0
    return features


def _blocks(features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Views of some rows at a time."""
    for start in range(0, len(features), _ROWS):
        yield features[start : start + _ROWS]


# --- the same, in ONNX ----------------------------------------------------------------------------------------------


def _to_onnx(fitted: Fitted) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    nodes, constants = _feature_nodes(fitted)
    nodes, constants = list(nodes), dict(constants)
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    parts = []
    for position, estimator in enumerate(fitted.estimators):
        graph = _converted(estimator, f"model{position}/")
        nodes += graph.node
        initializers += graph.initializer
        if fitted.output.kind == "multiclass":
            parts.append(f"model{position}/probabilities")
        else:
            parts.append(f"positive{position}")
            nodes.append(helper.make_node("Gather", [f"model{position}/probabilities", "one"], [parts[-1]], axis=1))
    if fitted.output.kind != "multiclass":
        initializers.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
    nodes.append(helper.make_node("Concat", parts, ["scores"], axis=1))
    graph = helper.make_graph(
        nodes,
        "baseline",
        [
            helper.make_tensor_value_info(
                name, TensorProto.UINT8 if name in LEVELS else TensorProto.FLOAT, ["samples", *shape]
            )
            for name, shape in fitted.shapes.items()
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["samples", fitted.output.columns])],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="medai",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in OPSETS.items()],
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _feature_nodes(fitted: Fitted) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Nodes from the raw arrays to ``features`` (N, features) float32, and their constants."""
    from onnx import TensorProto, helper

    node = helper.make_node
    raw = "features" if fitted.centre is None else "raw"
    constants: dict[str, NDArray[Any]] = {}
    if "volume" in fitted.shapes:
        depth, height, width, _ = fitted.shapes["volume"]
        constants |= {
            "through": _overlaps(depth, fitted.side),
            "down": _overlaps(height, fitted.side),
            "across": np.ascontiguousarray(_overlaps(width, fitted.side).T),
            "whole": np.array(255.0 * depth * height * width),
            "slices": np.array([0, 0, 0, -1], np.int64),
            "flat": np.array([0, -1], np.int64),
        }
        nodes = [
            node("Cast", ["volume"], ["wide"], to=TensorProto.DOUBLE),
            node("Transpose", ["wide"], ["planes"], perm=[0, 4, 1, 2, 3]),
            node("MatMul", ["down", "planes"], ["lowered"]),
            node("MatMul", ["lowered", "across"], ["summed"]),
            node("Reshape", ["summed", "slices"], ["stacked"]),
            node("MatMul", ["through", "stacked"], ["piled"]),
            node("Div", ["piled", "whole"], ["averaged"]),
            node("Cast", ["averaged"], ["cells"], to=TensorProto.FLOAT),
            node("Reshape", ["cells", "flat"], [raw]),
        ]
    elif "pixels" in fitted.shapes:
        height, width, _ = fitted.shapes["pixels"]
        constants |= {
            "down": _overlaps(height, fitted.side),
            "across": np.ascontiguousarray(_overlaps(width, fitted.side).T),
            "whole": np.array(255.0 * height * width),
            "flat": np.array([0, -1], np.int64),
        }
        nodes = [
            node("Cast", ["pixels"], ["wide"], to=TensorProto.DOUBLE),
            node("Transpose", ["wide"], ["planes"], perm=[0, 3, 1, 2]),
            node("MatMul", ["down", "planes"], ["lowered"]),
            node("MatMul", ["lowered", "across"], ["summed"]),
            node("Div", ["summed", "whole"], ["averaged"]),
            node("Cast", ["averaged"], ["picture"], to=TensorProto.FLOAT),
            node("Reshape", ["picture", "flat"], [raw]),
        ]
    else:
        nodes = [node("Concat", list(fitted.shapes), [raw], axis=1)]
    if fitted.centre is not None and fitted.spread is not None:
        constants |= {"centre": fitted.centre, "spread": fitted.spread, "zero": np.zeros(1, np.float32)}
        nodes += [
            node("Sub", [raw, "centre"], ["centred"]),
            node("Div", ["centred", "spread"], ["scaled"]),
            node("IsNaN", ["scaled"], ["missing"]),
            node("Where", ["missing", "zero", "scaled"], ["features"]),
        ]
    return nodes, constants


def _converted(estimator: Any, prefix: str) -> Any:
    """The classifier's ONNX graph from ``features`` to ``<prefix>probabilities``."""
    import onnx
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    model = convert_sklearn(
        estimator,
        name="classifier",
        initial_types=[("features", FloatTensorType([None, estimator.n_features_in_]))],
        target_opset=OPSETS,
        options={"zipmap": False},
    )
    return onnx.compose.add_prefix(model, prefix, rename_inputs=False).graph
