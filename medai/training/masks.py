"""Batches of pictures with masks: what moves a picture in training moves its mask by the same draw.

Levels (contrast, brightness, noise) change inside the net's graph, where the truth has no part. Shift, turn, zoom and
mirror move pixels, so they are drawn here, for picture and mask together: the picture is resampled bilinearly, the mask
by its nearest pixel, and what comes in from outside repeats the edge, or is black and background (``fill: constant``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.models import Augmentation

_STILL = {"shift": 0.0, "rotation": 0.0, "zoom": 0.0, "flip": None}


@dataclass(frozen=True)
class MaskBatch:
    """How a batch of masks is made ready for the loss.

    Attributes:
        columns: score columns a pixel: one, or one a class.
        augmentation: None: nothing moves.
    """

    columns: int
    augmentation: Augmentation | None

    def made(
        self, inputs: dict[str, NDArray[Any]], truth: NDArray[Any], generator: np.random.Generator | None
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Inputs and truth as the net and its loss take them.

        Args:
            inputs: ``pixels`` (n, height, width, channels) uint8.
            truth: (n, height, width) class numbers.
            generator: of this batch of this epoch; None where nothing is drawn.
        """
        if generator is not None and self.augmentation is not None and self.augmentation != in_graph(self.augmentation):
            pixels, truth = moved(inputs["pixels"], truth, self.augmentation, generator)
            inputs = inputs | {"pixels": pixels}
        if self.columns == 1:
            return inputs, (truth > 0).astype(np.float32)[..., None]
        return inputs, np.eye(self.columns, dtype=np.float32)[truth]


def in_graph(augmentation: Augmentation) -> Augmentation:
    """What is left to the net's graph: changes of levels."""
    return augmentation.model_copy(update=_STILL)


def moved(
    pixels: NDArray[np.uint8], masks: NDArray[np.uint8], augmentation: Augmentation, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures and masks, each pair shifted, turned, zoomed and mirrored by one draw.

    Args:
        pixels: (n, height, width, channels).
        masks: (n, height, width).
    """
    from scipy import ndimage

    count, height, width = masks.shape
    drawn = generator.uniform(-1, 1, (count, 5))
    pictures, truths = np.empty_like(pixels), np.empty_like(masks)
    mode = "nearest" if augmentation.fill == "edge" else "constant"
    for row, (turn, down, right, side, size) in enumerate(drawn.tolist()):
        angle = math.radians(augmentation.rotation) * turn
        mirror = -1.0 if augmentation.flip and side < 0 else 1.0
        scale = 1 / (1 + augmentation.zoom * size)
        # Each point of the result (down, across) reads the turned, mirrored point about the picture's centre.
        matrix = scale * np.array(
            [[math.cos(angle), math.sin(angle) * mirror], [-math.sin(angle), math.cos(angle) * mirror]], np.float64
        )
        centre = np.array([(height - 1) / 2, (width - 1) / 2])
        shift = augmentation.shift * np.array([down * height, right * width])
        offset = centre - matrix @ centre + shift
        truths[row] = ndimage.affine_transform(masks[row], matrix, offset, order=0, mode=mode)
        for channel in range(pixels.shape[-1]):
            plane = pixels[row, :, :, channel].astype(np.float32)
            levels = ndimage.affine_transform(plane, matrix, offset, order=1, mode=mode)
            pictures[row, :, :, channel] = np.clip(np.rint(levels), 0, 255)
    return pictures, truths
