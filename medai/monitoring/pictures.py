"""What can be measured of a prepared picture without knowing what it shows.

intensity  mean grey level, as a share of white
spread     standard deviation of the grey levels, as a share of white
entropy    Shannon's entropy of the grey levels in 64 steps, in bits: 0 of one level alone, 6 of all alike
sharpness  variance of the Laplacian of the grey levels (Pech-Pacheco et al. 2000): small where edges are blurred
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASURES = ("intensity", "spread", "entropy", "sharpness")
STEPS = 64
_AT_ONCE = 256
"""Pictures that are looked at together."""


def measured(pixels: Any) -> NDArray[np.float64]:
    """(samples, measures) of pictures or volumes.

    Args:
        pixels: uint8 (samples, height, width, channels), or (samples, depth, height, width, channels); may be mapped.
    """
    parts = [_block(np.asarray(pixels[start : start + _AT_ONCE])) for start in range(0, len(pixels), _AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, len(MEASURES)))


def _block(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    from scipy.ndimage import laplace

    grey = pixels.mean(axis=-1, dtype=np.float64) / 255
    rows = grey.reshape(len(grey), -1)
    steps = (rows * (STEPS - 1) + 0.5).astype(np.int64) + STEPS * np.arange(len(rows))[:, None]
    share = np.bincount(steps.ravel(), minlength=STEPS * len(rows)).reshape(-1, STEPS) / rows.shape[1]
    entropy = -np.sum(share * np.log2(share, out=np.zeros_like(share), where=share > 0), axis=1)
    # Slice by slice: the distance between slices is another than that of pixels.
    flat = grey.reshape(-1, *grey.shape[-2:])
    edges = np.stack([laplace(one, mode="nearest") for one in flat]).reshape(len(grey), -1)
    return np.stack([rows.mean(axis=1), rows.std(axis=1), entropy, edges.var(axis=1)], axis=1)
