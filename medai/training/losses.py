"""What a fit makes small: cross-entropy, weighted or focal.

Rows of a binary or multiclass output are weighed by their class outside the loss, as sample weights. Findings of a
multilabel output are weighed inside it: a row may have a rare finding and lack a common one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from medai.outputs import Output
from medai.training import Training


@keras.saving.register_keras_serializable(package="medai")
class FindingsCrossEntropy(keras.losses.Loss):  # type: ignore[misc]  # keras is not typed
    """Mean over findings of binary cross-entropy, each finding's presence and absence with a weight of its own.

    With ``focal`` each term is multiplied by (1 - p)^focal, p being the probability given to what is true (Lin et al.
    2017, doi:10.1109/ICCV.2017.324).

    Args:
        present, absent: one weight a finding.
        focal: the exponent; 0 leaves cross-entropy.
        label_smoothing: share of the truth spread evenly.
    """

    def __init__(
        self,
        present: Sequence[float],
        absent: Sequence[float],
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        self.present, self.absent = [float(one) for one in present], [float(one) for one in absent]
        self.focal, self.label_smoothing = focal, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(samples, findings) of 0 and 1, and of probabilities → (samples,)."""
        tiny = keras.config.epsilon()
        score = keras.ops.clip(y_pred, tiny, 1 - tiny)
        truth = keras.ops.cast(y_true, score.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        missed, alarmed = -keras.ops.log(score), -keras.ops.log(1 - score)
        if self.focal:
            missed, alarmed = missed * (1 - score) ** self.focal, alarmed * score**self.focal
        weighed = (
            truth * np.array(self.present, np.float32) * missed
            + (1 - truth) * np.array(self.absent, np.float32) * alarmed
        )
        return keras.ops.mean(weighed, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this loss."""
        own = {"present": self.present, "absent": self.absent}
        return dict(super().get_config(), **own, focal=self.focal, label_smoothing=self.label_smoothing)


def loss_of(training: Training, output: Output, truth: np.ndarray) -> Any:
    """The loss that a Problem's training asks for.

    Args:
        truth: of the train rows, as ``outputs`` describes it; balanced weights of findings are counted on it.
    """
    smoothing = training.label_smoothing
    if output.kind == "multiclass":
        if training.focal is None:
            return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        # alpha weighs all classes alike here: what they weigh is in the sample weights
        return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=training.focal, label_smoothing=smoothing)
    if output.kind == "multilabel" and training.class_weights is not None:
        return FindingsCrossEntropy(
            *_findings_weights(training, output.names, truth), training.focal or 0.0, smoothing, name="findings"
        )
    if training.focal is None:
        return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
    return keras.losses.BinaryFocalCrossentropy(gamma=training.focal, label_smoothing=smoothing)


def _findings_weights(training: Training, names: Sequence[str], truth: np.ndarray) -> tuple[list[float], list[float]]:
    """One weight a finding, of its presence and of its absence; balanced ones make both weigh the same in sum."""
    if isinstance(training.class_weights, dict):
        return [training.class_weights[name] for name in names], [1.0] * len(names)
    rows, present = len(truth), np.maximum(truth.sum(axis=0, dtype=np.int64), 1)
    absent = np.maximum(rows - present, 1)
    return (rows / (2 * present)).tolist(), (rows / (2 * absent)).tolist()


def sample_weights(training: Training, output: Output, truth: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
    """What each row weighs for its class: (samples,) float32, or None where all weigh alike.

    Args:
        truth: (samples,) class numbers; (samples, findings) of a multilabel output, whose loss weighs instead.
        rows: positions of the train rows, on which ``balanced`` counts samples / (classes × samples of the class).
    """
    if training.class_weights is None or output.kind == "multilabel":
        return None
    if isinstance(training.class_weights, dict):
        table = np.array([training.class_weights[name] for name in output.names])
    else:
        classes, counts = np.unique(truth[rows], return_counts=True)
        table = np.ones(int(classes.max()) + 1, np.float64)
        table[classes] = len(rows) / (len(classes) * counts)
    return np.asarray(table[truth], np.float32)
