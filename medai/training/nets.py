"""The Keras adapter: one ``fit`` call, fed from memory-mapped arrays, resumable after each epoch.

Batches follow a permutation keyed by (seed, epoch), so that a resumed fit sees what an undisturbed one would have.
A checkpoint holds every variable of the model (weights, normalisation statistics, random seeds' states) and of the
optimiser (moments, step, averaged weights); nothing else changes from epoch to epoch.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medai.errors import ConfigurationError, ServiceFailed
from medai.models import Head
from medai.models.exchange import onnx_bytes
from medai.outputs import Mask, Output
from medai.training import PARITY, Execution, Progress, Training
from medai.training.losses import loss_of, sample_weights
from medai.training.masks import MaskBatch, in_graph
from medai.training.sampling import BalancedPass
from medai.workspace import write_durably

log = logging.getLogger(__name__)

CHECKPOINT = "epoch.npz"
SECONDS_BETWEEN_LINES = 10.0
"""At most one line of progress in so many seconds."""
_PARITY_ROWS = 64
_MOVES = 1
"""Tells the draws of a batch from those of an epoch's order."""
_HELD_OUT_VALUES = 1 << 22
_HELD_OUT_ROWS = 1 << 16
"""Validation rows behind the curves of an epoch: evenly spaced ones where there are more."""


class EpochBatches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is not typed
    """Shuffled batches of named arrays.

    Args:
        arrays: name → array, first axis samples.
        truth: (samples,) or (samples, columns).
        rows: positions that may be drawn.
        sample_weights: (samples,) or None.
        batch_size: rows a batch; the last one may be smaller.
        seed: keys the permutations; None keeps the order (validation).
        steps: full batches an epoch, drawn on from one permutation to the next; None: one permutation an epoch.
        balanced: draws a pass in which the classes come equally often, in place of every row once.
        mask: how the truth, where it is a mask, is made ready.
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        truth: np.ndarray,
        rows: np.ndarray,
        sample_weights: np.ndarray | None,
        batch_size: int,
        seed: int | None,
        steps: int | None = None,
        balanced: BalancedPass | None = None,
        mask: MaskBatch | None = None,
    ) -> None:
        super().__init__()
        self.arrays, self.truth, self.rows = arrays, truth, rows
        self.sample_weights, self.batch_size, self.seed, self.steps = sample_weights, batch_size, seed, steps
        self.order, self.balanced, self.epoch, self.mask = rows, balanced, 0, mask
        self.length = len(rows) if balanced is None else len(balanced)

    def arrange(self, epoch: int) -> None:
        """Arrange an epoch's order. Keras' own ``on_epoch_end`` cannot count: it is also called before the first."""
        if self.seed is None:
            return
        self.epoch = epoch
        if self.steps is None:
            self.order = self._permuted(epoch)
            return
        drawn = self.steps * self.batch_size
        first, skipped = divmod(epoch * drawn, self.length)
        last = (skipped + drawn - 1) // self.length
        passes = [self._permuted(first + number) for number in range(last + 1)]
        self.order = np.concatenate(passes)[skipped : skipped + drawn]

    def _permuted(self, number: int) -> np.ndarray:
        """One pass over the rows, in its own order."""
        assert self.seed is not None  # noqa: S101 - without a seed nothing is arranged
        random = np.random.default_rng((self.seed, number))
        return self.rows[random.permutation(len(self.rows))] if self.balanced is None else self.balanced.drawn(random)

    def __len__(self) -> int:
        return self.steps or -(-self.length // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = {name: values[rows] for name, values in self.arrays.items()}
        if self.mask is not None:
            draws = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, index, _MOVES))
            return self.mask.made(inputs, np.asarray(self.truth[rows]), draws)
        if self.sample_weights is None:
            return inputs, self.truth[rows]
        return inputs, self.truth[rows], self.sample_weights[rows]


class Epochs(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed
    """Arranges each epoch's batches, and after it writes all variables and the curves, beside and renamed."""

    def __init__(
        self,
        batches: EpochBatches,
        path: Path,
        curves: dict[str, list[float]],
        progress: Progress | None,
        epochs: int,
    ) -> None:
        super().__init__()
        self.batches, self.path, self.curves = batches, path, curves
        self.progress, self.epochs = progress, epochs
        self.told = time.monotonic()

    def on_epoch_begin(self, epoch: int, _logs: dict[str, float] | None = None) -> None:
        """Arrange the epoch."""
        self.batches.arrange(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the epoch."""
        for name, value in sorted((logs or {}).items()):
            self.curves.setdefault(name, []).append(float(value))
        kept = {f"{number:05d}": np.asarray(value) for number, value in enumerate(_state(self.model))}
        kept["epoch"] = np.array(epoch + 1)
        kept["curves"] = np.frombuffer(json.dumps(self.curves).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **kept)
        write_durably(self.path, buffer.getvalue())
        if time.monotonic() - self.told >= SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            figures = ", ".join(f"{name} {values[-1]:.4g}" for name, values in sorted(self.curves.items()))
            log.info("epoch %d of %d: %s", epoch + 1, self.epochs, figures)
        if self.progress is not None:
            self.progress((epoch + 1) / self.epochs)


def _state(model: keras.Model) -> list[Any]:
    """Every variable that changes while fitting, in build order."""
    return [*model.variables, *model.optimizer.variables]


def _restore(model: keras.Model, path: Path, curves: dict[str, list[float]]) -> int:
    """Put a kept epoch back; return how many epochs are finished (0 without a usable checkpoint)."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            variables = _state(model)
            values = [kept[f"{number:05d}"] for number in range(len(variables))]
            epoch = int(kept["epoch"])
            curves.update(json.loads(kept["curves"].tobytes()))
    except FileNotFoundError:
        return 0
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("the checkpoint cannot be read (%s); the fit starts over", type(error).__name__)
        curves.clear()
        return 0
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return epoch


def pin_execution(execution: Execution) -> None:
    """Pin TensorFlow's threads before its first operation.

    Raises:
        ServiceFailed: TensorFlow already runs in this process with other threads.
    """
    threads = tf.config.threading
    try:
        threads.set_intra_op_parallelism_threads(execution.threads)
        threads.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        now = (threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads())
        if now != (execution.threads, 1):
            raise ServiceFailed(
                "TensorFlow already runs in this process with another thread count",
                expected=f"{execution.threads} threads within and 1 between operations",
                received=f"{now[0]} and {now[1]}",
                action="fit in a fresh process",
            ) from error


def compile_net(
    model: keras.Model, training: Training, output: Output, steps: int, truth: Any, train: np.ndarray
) -> None:
    """Give a net its loss and optimiser.

    Args:
        steps: batches of an epoch, for the schedule.
        truth: of all rows, of which ``train`` are learnt from.
    """
    rate: Any = training.learning_rate
    if training.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, steps * training.epochs)
    average = training.weight_averaging
    options: dict[str, Any] = {"use_ema": average is not None}
    if average is not None:
        options["ema_momentum"] = average
    if training.optimizer == "adamw":
        options["weight_decay"] = training.weight_decay
    optimizers = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }
    loss: Any
    metric: Any
    if isinstance(output, Mask):
        from medai.models.losses import DiceCrossEntropy, dice

        loss, metric = DiceCrossEntropy(output.columns, training.label_smoothing), dice
    else:
        accuracy = keras.metrics.CategoricalAccuracy if output.kind == "multiclass" else keras.metrics.BinaryAccuracy
        loss, metric = loss_of(training, output, truth[train]), accuracy(name="accuracy")
    # Forced XLA makes a CNN 2 to 5 times slower on a CPU.
    model.compile(optimizers[training.optimizer](rate, **options), loss, metrics=[metric], jit_compile=False)


def targets(truth: np.ndarray, output: Output) -> np.ndarray:
    """Truth as the loss takes it: float32 (samples, columns), one-hot for multiclass; a mask is made so by batches."""
    if output.kind == "mask":
        return truth
    if output.kind == "multiclass":
        return np.asarray(np.eye(output.columns, dtype=np.float32)[truth])
    return truth.reshape(len(truth), -1).astype(np.float32)


def fit_net(
    encoder: Any,
    training: Training,
    arrays: dict[str, Any],
    truth: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    output: Output,
    statistics: dict[str, Any],
    execution: Execution,
    seed: int,
    folder: Path,
    scratch: Path,
    progress: Progress | None,
) -> tuple[str, int]:
    """Fit a net and write weights.npz, model.onnx, architecture.json and history.json into the folder.

    Returns:
        SHA-256 of the weights in build order, and the number of parameters.
    """
    pin_execution(execution)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    shapes = {name: tuple(values.shape[1:]) for name, values in arrays.items() if name != "masks"}  # which are truth
    head = Head(kind=output.kind, columns=output.columns)
    augmentation, mask = training.augmentation, None
    if isinstance(output, Mask):
        mask = MaskBatch(output.columns, augmentation)
        augmentation = None if augmentation is None else in_graph(augmentation)
    model = encoder.build(shapes, statistics, head, augmentation, seed)
    arrays = {name: arrays[name] for name in (tensor.name for tensor in model.inputs)}
    goal = targets(truth, output)
    weights = None if mask else sample_weights(training, output, truth, train)
    balanced = BalancedPass(train, truth, training.sampling) if training.sampling else None
    steps = training.steps_per_epoch
    batches = EpochBatches(arrays, goal, train, weights, training.batch_size, seed, steps, balanced, mask)
    compile_net(model, training, output, len(batches), truth, train)
    model.optimizer.build(model.trainable_variables)

    curves: dict[str, list[float]] = {}
    finished = _restore(model, scratch / CHECKPOINT, curves)
    if len(validation) > _HELD_OUT_ROWS:
        validation = validation[np.linspace(0, len(validation) - 1, _HELD_OUT_ROWS).astype(np.int64)]
    held_out = EpochBatches(
        arrays, goal, validation, None, max(training.batch_size, _held_out_rows(shapes)), None, mask=mask
    )
    model.fit(
        batches,
        validation_data=held_out,
        epochs=training.epochs,
        initial_epoch=finished,
        shuffle=False,
        verbose=0,
        callbacks=[Epochs(batches, scratch / CHECKPOINT, curves, progress, training.epochs)],
    )
    some = {name: values[validation[:_PARITY_ROWS]] for name, values in arrays.items()}
    learnt: dict[str, list[Any]] = {"loss": list(curves.values())}
    learnt["weight"] = [np.asarray(weight) for weight in model.weights]
    learnt["score"] = [np.asarray(model({name: values.copy() for name, values in some.items()}, training=False))]
    for what, values in learnt.items():
        if not all(np.isfinite(value).all() for value in values):
            raise ConfigurationError(
                f"the fit diverged: a {what} is not a finite number",
                expected=f"finite {what}s" if what != "loss" else "finite losses",
                received="NaN or infinity",
                action="lower training.learning_rate in the Problem",
            )
    _write(model, folder, curves)
    _check_parity(model, folder / "model.onnx", some)
    return weights_sha256(model), int(model.count_params())


def _held_out_rows(shapes: dict[str, tuple[int, ...]]) -> int:
    """Validation rows a batch: 256, fewer where large pictures would fill memory with what lies between layers."""
    return min(256, max(1, _HELD_OUT_VALUES // max(math.prod(shape) for shape in shapes.values())))


def weights_sha256(model: keras.Model) -> str:
    """SHA-256 over the learnt parameters in build order: dtype, shape, bytes."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight)
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _write(model: keras.Model, folder: Path, curves: dict[str, list[float]]) -> None:
    values = {f"{number:05d}": np.asarray(weight) for number, weight in enumerate(model.weights)}
    np.savez(folder / "weights.npz", allow_pickle=False, **values)
    (folder / "architecture.json").write_text(model.to_json())
    (folder / "history.json").write_text(json.dumps(curves, sort_keys=True))
    (folder / "model.onnx").write_bytes(onnx_bytes(model))


def _check_parity(model: keras.Model, path: Path, arrays: dict[str, np.ndarray]) -> None:
    """What is served must score as what was fitted."""
    from medai.inference import Scorer
    from medai.records import sha256_of_file

    ours = np.asarray(model({name: values.copy() for name, values in arrays.items()}, training=False))
    served = Scorer(path, sha256_of_file(path), threads=1).score(arrays)
    difference = float(np.abs(ours - served).max())
    if not difference <= PARITY:
        raise ServiceFailed(
            "the exported model does not score as the fitted one",
            expected=f"a difference of at most {PARITY:g}",
            received=f"{difference:g}",
            action="report this with the Problem file: it is a defect of the export",
        )
