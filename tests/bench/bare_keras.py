"""The peer of the fit stage: the same training as a plain Keras script, without medai's stages, records or checkpoints.

``python bare_keras.py PLAN``: PLAN is JSON (see ``tests/bench/fit.py``) that names arrays and labels on disk, the net
and the training. Everything is inside the time that it prints: importing TensorFlow, memory-mapping the arrays, their
mean and deviation, building the net (by medai's own configuration: it must be the same net), fitting, saving, ONNX.
"""

import sys
import time

STARTED = time.perf_counter()

import json  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from medai.models import Augmentation, Head, ResidualCNN  # noqa: E402
from medai.preprocessing.statistics import fit_statistics  # noqa: E402
from medai.training.nets import weights_sha256  # noqa: E402


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches in a given order."""

    def __init__(self, pixels, truth, weights, order, size):  # type: ignore[no-untyped-def]
        super().__init__()
        self.pixels, self.truth, self.weights, self.order, self.size = pixels, truth, weights, order, size

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        rows = self.order[index * self.size : (index + 1) * self.size]
        if self.weights is None:
            return {"pixels": self.pixels[rows]}, self.truth[rows]
        return {"pixels": self.pixels[rows]}, self.truth[rows], self.weights[rows]


def main() -> None:
    """Fit, save, export; print hash and seconds as JSON."""
    with open(sys.argv[1]) as file:  # noqa: PTH123 - a plain script
        plan = json.load(file)
    training, seed = plan["training"], plan["seed"]
    tf.config.threading.set_intra_op_parallelism_threads(plan["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)

    pixels = np.load(plan["pixels"], mmap_mode="r")
    labels, roles = np.load(plan["labels"]), np.load(plan["roles"])
    train, validation = np.flatnonzero(roles == "train"), np.flatnonzero(roles == "validation")
    truth = labels[:, None].astype(np.float32)
    weights = None
    if training["class_weights"] == "balanced":
        weights = (len(train) / (2 * np.bincount(labels[train])))[labels].astype(np.float32)

    steps = -(-len(train) // training["batch_size"])
    augmentation = training["augmentation"] and Augmentation(**training["augmentation"])
    net = ResidualCNN(**plan["encoder"])
    statistics = fit_statistics({"pixels": pixels}, train)
    model = net.build({"pixels": pixels.shape[1:]}, statistics, Head(kind="binary", columns=1), augmentation, seed)
    rate = keras.optimizers.schedules.CosineDecay(training["learning_rate"], steps * training["epochs"])
    average = training["weight_averaging"]
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=training["weight_decay"], use_ema=average is not None, ema_momentum=average or 0.99
    )
    model.compile(
        optimizer,
        keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
        jit_compile=False,
    )
    batches = Batches(pixels, truth, weights, train, training["batch_size"])

    def shuffle(epoch, _logs):  # type: ignore[no-untyped-def]
        batches.order = train[np.random.default_rng((seed, epoch)).permutation(len(train))]

    model.fit(
        batches,
        validation_data=Batches(pixels, truth, None, validation, max(training["batch_size"], 256)),
        epochs=training["epochs"],
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=shuffle)],
    )
    digest = weights_sha256(model)
    fitted = time.perf_counter()
    model.save(plan["folder"] + "/net.keras")
    model.export(plan["folder"] + "/net.onnx", format="onnx", verbose=False)
    ended = time.perf_counter()
    figures = {"sha256": digest, "without_export": fitted - STARTED, "seconds": ended - STARTED}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
