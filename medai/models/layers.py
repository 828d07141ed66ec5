"""Keras layers of our own; imported only when a net is built or read back.

Each is registered, so that a net is saved by name and configuration, never as code, and each becomes plain operations
of the saved graph: the exported net takes the raw arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def seed_of(seed: int, name: str) -> int:
    """A seed for one layer: the same in every build, untouched by layers that come or go elsewhere.

    >>> seed_of(7, "stem") == seed_of(7, "stem"), seed_of(7, "stem") == seed_of(7, "head")
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4]) >> 1


@keras.saving.register_keras_serializable(package="medai")
class Standardise(keras.layers.Layer):  # type: ignore[misc]  # keras is not typed
    """(x - mean) / deviation along the last axis, as float32; a missing value becomes 0, the mean.

    A deviation of 0 counts as 1: a constant column stays 0. A column without a mean (never measured in train) is 0.

    Args:
        mean: one value a column, None where it is unknown.
        deviation: one value a column, None where it is unknown.
        limit: values further from the mean than this many deviations are drawn in to it; None leaves them.
    """

    def __init__(
        self,
        mean: Sequence[float | None],
        deviation: Sequence[float | None],
        limit: float | None = None,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        self.mean = [None if value is None else float(value) for value in mean]
        self.deviation = [None if value is None else float(value) for value in deviation]
        self.limit = limit
        self._mean = np.array(self.mean, dtype=np.float32)
        spread = np.array(self.deviation, dtype=np.float32)
        self._scale = np.float32(1) / np.where(spread == 0, np.float32(1), spread)

    def call(self, inputs: Any) -> Any:
        """(…, columns) of any number type → the same shape, float32."""
        scores = (keras.ops.cast(inputs, "float32") - self._mean) * self._scale
        scores = keras.ops.where(keras.ops.isnan(scores), keras.ops.zeros_like(scores), scores)
        return scores if self.limit is None else keras.ops.clip(scores, -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return dict(super().get_config(), mean=self.mean, deviation=self.deviation, limit=self.limit)


@keras.saving.register_keras_serializable(package="medai")
class Missing(keras.layers.Layer):  # type: ignore[misc]  # keras is not typed
    """1 where a value is missing (NaN), else 0, as float32."""

    def call(self, inputs: Any) -> Any:
        """(…) float32 → the same shape."""
        return keras.ops.cast(keras.ops.isnan(inputs), "float32")


@keras.saving.register_keras_serializable(package="medai")
class Window(keras.layers.Layer):  # type: ignore[misc]  # keras is not typed
    """Levels from low to high become 0 to 1, as float32, along the last axis; what lies beyond is drawn in.

    Args:
        low, high: one value a column; where they are equal, a step: 0 at it and below, 1 above.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float], **names: Any) -> None:
        super().__init__(**names)
        self.low, self.high = [float(value) for value in low], [float(value) for value in high]
        self._low = np.array(self.low, dtype=np.float32)
        width = np.array(self.high, dtype=np.float32) - self._low
        self._scale = np.float32(1) / np.where(width == 0, np.float32(1), width)

    def call(self, inputs: Any) -> Any:
        """(…, columns) of any number type → the same shape, float32 from 0 to 1."""
        return keras.ops.clip((keras.ops.cast(inputs, "float32") - self._low) * self._scale, 0, 1)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return dict(super().get_config(), low=self.low, high=self.high)
