"""Volumes: lung tissue with vessels and noise, as in a cube cut from a chest CT; a finding is a nodule among them.

A vessel is a tube through the whole cube, a nodule a ball. In a single slice across a vessel the two look alike, and
where there is no nodule one more vessel adds the same brightness to the cube: only what a bright spot is in the third
dimension tells.

Only sums, products and roots are taken of the drawn numbers, so the volumes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import Synthetic

VESSELS = 3
_BRIGHT = 110
"""Grey levels that a vessel adds in its middle, and a nodule at signal 1; the noise has a standard deviation of 16."""
_RADIUS = 0.36
"""Of a nodule, in half sides of the cube, give or take a sixth; vessels are from a third to two thirds as wide."""


def volume_block(config: Synthetic, subjects: range) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (subjects, size, size, size) and labels uint8 (subjects, 1)."""
    import numpy as np

    images = np.empty((len(subjects), *[config.size] * 3), np.uint8)
    labels = np.empty((len(subjects), 1), np.uint8)
    axes = np.meshgrid(*[np.linspace(-1, 1, config.size)] * 3, indexing="ij")
    for row, subject in enumerate(subjects):
        stream = stream_of(config.seed, subject)
        draws = stream.random(2 + 7 * VESSELS + 7)
        noise = stream.random((2, *images.shape[1:]), dtype=np.float32)
        labels[row] = draws[0] < config.positives
        spread = draws[1:] * 2 - 1
        tissue = 50 + 10 * spread[0] + 8 * axes[0]
        for vessel in range(VESSELS):
            its = spread[1 + 7 * vessel : 8 + 7 * vessel]
            tissue = tissue + _BRIGHT * _tube(axes, 0.8 * its[:3], its[3:6], _RADIUS * (0.5 + its[6] / 6))
        own = spread[1 + 7 * VESSELS :]
        centre, radius = 0.5 * own[:3], _RADIUS * (1 + own[3] / 6)
        if labels[row, 0]:
            tissue = tissue + config.signal * _BRIGHT * _ball(axes, centre, radius)
        else:
            # As much in sum as the ball: the integrals are 32π/105 r³ and, of a tube as long as the cube, 2π/3 s².
            width = np.sqrt(16 / 35 * radius * radius * radius)
            tissue = tissue + config.signal * _BRIGHT * _tube(axes, centre, own[4:7], width)
        grey = tissue + 40 * (noise[0] + noise[1] - 1)
        images[row] = np.clip(np.rint(grey), 0, 255)
    return images, labels


def _ball(axes: Sequence[np.ndarray], centre: np.ndarray, radius: float) -> np.ndarray:
    """1 in the middle, falling smoothly to 0 at the radius."""
    import numpy as np

    away = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True))
    ball: np.ndarray = np.maximum(0, 1 - away / radius**2) ** 2
    return ball


def _tube(axes: Sequence[np.ndarray], through: np.ndarray, towards: np.ndarray, radius: float) -> np.ndarray:
    """1 on the line through a point, falling smoothly to 0 at the radius from it."""
    import numpy as np

    length = np.sqrt(towards[0] * towards[0] + towards[1] * towards[1] + towards[2] * towards[2])
    x, y, z = (axis - point for axis, point in zip(axes, through, strict=True))
    along = (x * towards[0] + y * towards[1] + z * towards[2]) / length
    tube: np.ndarray = np.maximum(0, 1 - (x * x + y * y + z * z - along * along) / (radius * radius)) ** 2
    return tube
