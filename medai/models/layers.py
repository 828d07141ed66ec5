"""Keras layers of our own; imported only when a net is built or read back.

Each is registered, so that a net is saved by name and configuration, never as code, and each becomes plain operations
of the saved graph: the exported net takes the raw arrays.
"""

from __future__ import annotations

import hashlib
import math
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
class Augment(keras.layers.Layer):  # type: ignore[misc]  # keras is not typed
    """Shift, turn, mirror, and change of contrast and brightness, drawn anew for each picture; nothing at inference.

    Takes standardised pixels. Shift, turn and mirror are one bilinear resampling; pixels from outside repeat the edge.

    Args:
        shift: largest shift along each axis, as a fraction of the side.
        rotation: largest turn to either side, in degrees.
        flip: whether half of the pictures are mirrored left to right.
        contrast: largest relative change of the distance to the picture's own mean.
        brightness: largest change of level, in standard deviations of the training pixels.
        seed: of this layer's own random generator, whose state is among the net's variables.
    """

    def __init__(
        self,
        shift: float,
        rotation: float,
        flip: bool,
        contrast: float,
        brightness: float,
        seed: int,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        self.shift, self.rotation, self.flip = shift, rotation, flip
        self.contrast, self.brightness = contrast, brightness
        self.seed = seed
        self.supports_jit = False  # XLA has no image resampling; Keras would otherwise compile it by default
        self.generator = keras.random.SeedGenerator(seed, name="generator")

    def _between(self, limit: float, pictures: Any) -> Any:
        return keras.random.uniform((pictures, 1), -limit, limit, seed=self.generator)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """(pictures, height, width, channels) float32 → the same shape."""
        if not training:
            return inputs
        outputs = inputs
        if self.shift or self.rotation or self.flip:
            outputs = self._moved(outputs)
        count = keras.ops.shape(outputs)[0]
        if self.contrast:
            mean = keras.ops.mean(outputs, axis=(1, 2, 3), keepdims=True)
            gain = keras.ops.reshape(1 + self._between(self.contrast, count), (-1, 1, 1, 1))
            outputs = mean + (outputs - mean) * gain
        if self.brightness:
            outputs = outputs + keras.ops.reshape(self._between(self.brightness, count), (-1, 1, 1, 1))
        return outputs

    def _moved(self, pictures: Any) -> Any:
        count = keras.ops.shape(pictures)[0]
        height, width = pictures.shape[1:3]
        angle = self._between(math.radians(self.rotation), count)
        down = self._between(self.shift * height, count)
        right = self._between(self.shift * width, count)
        mirror = keras.ops.ones_like(angle)
        if self.flip:
            mirror = keras.ops.where(self._between(1.0, count) < 0, -mirror, mirror)
        cosine, sine = keras.ops.cos(angle), keras.ops.sin(angle)
        # Each output point (column, row) reads the input at the turned, mirrored point about the picture's centre.
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        across, skew = mirror * cosine, -mirror * sine
        offset_x = middle_x - across * middle_x - skew * middle_y + right
        offset_y = middle_y - sine * middle_x - cosine * middle_y + down
        none = keras.ops.zeros_like(angle)
        matrix = keras.ops.concatenate([across, skew, offset_x, sine, cosine, offset_y, none, none], axis=1)
        return keras.ops.image.affine_transform(
            pictures, matrix, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
        )

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return dict(
            super().get_config(),
            shift=self.shift,
            rotation=self.rotation,
            flip=self.flip,
            contrast=self.contrast,
            brightness=self.brightness,
            seed=self.seed,
        )
