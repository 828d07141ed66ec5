"""Augmentation as a layer of the net: random changes of training pictures, none at inference, none in the export.

Imported only when a net is built or read back; see ``layers``.
"""

from __future__ import annotations

import math
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="medai")
class Augment(keras.layers.Layer):  # type: ignore[misc]  # keras is not typed
    """Shift, turn, zoom and mirror, then contrast, brightness and noise, drawn anew for each picture.

    Shift, turn, zoom and mirror are one bilinear resampling. A volume's slices are moved alike, within their plane.
    ``together`` moves a mask along with its picture.

    Args:
        shift: largest shift along each axis, as a fraction of the side.
        rotation: largest turn to either side, in degrees.
        zoom: largest relative change of size, to either side.
        flip: ``horizontal``: half of the pictures are mirrored left to right.
        contrast: largest relative change of the distance to the picture's own mean.
        brightness: largest change of level, in standard deviations of the training pixels.
        noise: largest standard deviation of normal noise, in those of the training pixels; each picture draws its own.
        fill: what comes in from outside: ``edge`` repeats the edge; ``constant`` is 0 of what the layer takes, which
            is the training mean of standardised pixels and black of pixels from 0 to 1.
        spread: standard deviation of the training pixels in the units that the layer takes.
        seed: of this layer's own random generator, whose state is among the net's variables.
    """

    def __init__(
        self,
        *,
        shift: float = 0.0,
        rotation: float = 0.0,
        zoom: float = 0.0,
        flip: str | None = None,
        contrast: float = 0.0,
        brightness: float = 0.0,
        noise: float = 0.0,
        fill: str = "edge",
        spread: float = 1.0,
        seed: int,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        self.options = {
            "shift": shift,
            "rotation": rotation,
            "zoom": zoom,
            "flip": flip,
            "contrast": contrast,
            "brightness": brightness,
            "noise": noise,
            "fill": fill,
            "spread": spread,
            "seed": seed,
        }
        self.shift, self.rotation, self.zoom, self.flip, self.fill = shift, rotation, zoom, flip, fill
        self.contrast, self.brightness, self.noise = contrast, brightness * spread, noise * spread
        self.supports_jit = False  # XLA has no image resampling; Keras would otherwise compile it by default
        self.generator = keras.random.SeedGenerator(seed, name="generator")

    @property
    def moves(self) -> bool:
        """Whether pictures are moved at all."""
        return bool(self.shift or self.rotation or self.zoom or self.flip)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """(pictures, [depth,] height, width, channels) float32 → the same shape."""
        if not training:
            return inputs
        outputs = self._moved(inputs, self._drawn(inputs), "bilinear") if self.moves else inputs
        return self._relit(outputs)

    def together(self, pictures: Any, masks: Any, training: bool = True) -> tuple[Any, Any]:
        """Pictures changed as by ``call``, and their masks moved by the same draw.

        Args:
            pictures: (pictures, [depth,] height, width, channels) float32.
            masks: (pictures, [depth,] height, width, channels) of any number type, each value of which stays one that
                was there: the nearest is taken.
        """
        if not training:
            return pictures, masks
        if self.moves:
            matrix = self._drawn(pictures)
            pictures, masks = self._moved(pictures, matrix, "bilinear"), self._moved(masks, matrix, "nearest")
        return self._relit(pictures), masks

    def _between(self, limit: float, pictures: Any) -> Any:
        return keras.random.uniform((pictures, 1), -limit, limit, seed=self.generator)

    def _drawn(self, pictures: Any) -> Any:
        """(pictures, 8): for each output point (column, row) the input point that it shows, as Keras takes it."""
        count = keras.ops.shape(pictures)[0]
        height, width = pictures.shape[-3:-1]
        angle = self._between(math.radians(self.rotation), count)
        down = self._between(self.shift * height, count)
        right = self._between(self.shift * width, count)
        mirror = keras.ops.ones_like(angle)
        if self.flip:
            mirror = keras.ops.where(self._between(1.0, count) < 0, -mirror, mirror)
        size = 1 / (1 + self._between(self.zoom, count)) if self.zoom else 1.0
        cosine, sine = size * keras.ops.cos(angle), size * keras.ops.sin(angle)
        # The turned, mirrored, zoomed point about the picture's centre.
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        across, skew = mirror * cosine, -mirror * sine
        offset_x = middle_x - across * middle_x - skew * middle_y + right
        offset_y = middle_y - sine * middle_x - cosine * middle_y + down
        none = keras.ops.zeros_like(angle)
        return keras.ops.concatenate([across, skew, offset_x, sine, cosine, offset_y, none, none], axis=1)

    def _moved(self, pictures: Any, matrix: Any, interpolation: str) -> Any:
        if len(pictures.shape) == 5:  # slices become channels, so that one resampling moves them all
            depth, height, width, channels = pictures.shape[1:]
            flat = keras.ops.reshape(
                keras.ops.transpose(pictures, (0, 2, 3, 1, 4)), (-1, height, width, depth * channels)
            )
            moved = self._moved(flat, matrix, interpolation)
            moved = keras.ops.reshape(moved, (-1, height, width, depth, channels))
            return keras.ops.transpose(moved, (0, 3, 1, 2, 4))
        return keras.ops.image.affine_transform(
            pictures,
            matrix,
            interpolation=interpolation,
            fill_mode="nearest" if self.fill == "edge" else "constant",
            fill_value=0,
            data_format="channels_last",
        )

    def _relit(self, pictures: Any) -> Any:
        """Other contrast and brightness, and noise."""
        count, axes = keras.ops.shape(pictures)[0], tuple(range(1, len(pictures.shape)))
        each = (-1, *[1] * len(axes))
        if self.contrast:
            mean = keras.ops.mean(pictures, axis=axes, keepdims=True)
            gain = keras.ops.reshape(1 + self._between(self.contrast, count), each)
            pictures = mean + (pictures - mean) * gain
        if self.brightness:
            pictures = pictures + keras.ops.reshape(self._between(self.brightness, count), each)
        if self.noise:
            strength = keras.ops.reshape(keras.ops.abs(self._between(self.noise, count)), each)
            drawn = keras.random.normal(keras.ops.shape(pictures), dtype=pictures.dtype, seed=self.generator)
            pictures = pictures + strength * drawn
        return pictures

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return dict(super().get_config(), **self.options)
