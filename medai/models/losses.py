"""Keras losses and metrics of our own, for masks; imported only when a net is fitted."""

from __future__ import annotations

from typing import Any

import keras

_SMOOTH = 1.0
"""Pixels added above and below, so that a batch without any finding has a Dice of 1 where nothing is marked."""


def soft_dice(truth: Any, scores: Any) -> Any:
    """Dice of probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79), over the whole batch; mean over findings.

    Args:
        truth, scores: (samples, …, columns) float32; of several columns the first is the background, and not counted.
    """
    if scores.shape[-1] > 1:
        truth, scores = truth[..., 1:], scores[..., 1:]
    axes = tuple(range(len(scores.shape) - 1))
    both = keras.ops.sum(truth * scores, axes)
    whole = keras.ops.sum(truth, axes) + keras.ops.sum(scores, axes)
    return keras.ops.mean((2 * both + _SMOOTH) / (whole + _SMOOTH))


class DiceCrossEntropy(keras.losses.Loss):  # type: ignore[misc]  # keras is not typed
    """1 − soft Dice, plus the mean cross-entropy of the pixels (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    The cross-entropy judges each pixel alike and the few of a finding hardly weigh in it; Dice sees nothing else.

    Args:
        columns: score columns: one, or one a class.
        label_smoothing: of the cross-entropy.
    """

    def __init__(self, columns: int, label_smoothing: float = 0.0) -> None:
        super().__init__(reduction="sum", name="dice_cross_entropy")  # of one figure a batch
        self.columns, self.label_smoothing = columns, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(samples, …, columns) twice → one figure."""
        entropy = (
            keras.losses.binary_crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing)
            if self.columns == 1
            else keras.losses.categorical_crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing)
        )
        return 1 - soft_dice(y_true, y_pred) + keras.ops.mean(entropy)


def dice(y_true: Any, y_pred: Any) -> Any:
    """Soft Dice as a curve of training."""
    return soft_dice(y_true, y_pred)
