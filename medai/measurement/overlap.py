"""How well one mask lies over another: area in common, distance of the outlines, findings one by one.

Definitions follow Metrics Reloaded (Maier-Hein, Reinke et al. 2024, doi:10.1038/s41592-023-02151-z):

- Dice similarity coefficient 2·|A ∩ B| / (|A| + |B|) (Dice 1945); 1 where both masks are empty.
- The outline of a mask are its pixels with a neighbour outside it, along an axis; what lies beyond the picture is
  outside. The Hausdorff distance is the largest distance from a pixel of either outline to the nearest of the other;
  HD95 takes the 95th percentile from each side, and of both the larger. Where one mask alone is empty there is no such
  distance: a finding of which nothing was marked counts with the picture's diagonal, the largest there could be, so
  that marking nothing never pays; a mark in a picture without the finding has none, and is counted elsewhere.
- A finding is a connected part of the true mask, corners included; it is found where at least one of its pixels is
  marked. A connected part of the marked pixels that touches none is a false finding.

Everything holds for masks of two axes and of three.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASURES = (
    "true",
    "marked",
    "both",
    "distance",
    "distance95",
    "distance_mm",
    "distance95_mm",
    "findings",
    "found",
    "false_findings",
)
"""What is told of one class in one picture, in the order of ``overlap``: pixels of the truth, the answer and both;
distances in pixels and in millimetres, NaN where there is none; numbers of findings, of those found, of false ones."""


def dice(true: NDArray[Any], marked: NDArray[Any], both: NDArray[Any]) -> NDArray[np.float64]:
    """Dice of so many pixels; 1 where there are none on either side.

    >>> dice(np.array([10, 0, 4]), np.array([10, 0, 0]), np.array([5, 0, 0])).tolist()
    [0.5, 1.0, 0.0]
    """
    whole = np.asarray(true + marked, np.float64)
    return np.divide(2.0 * both, whole, out=np.ones_like(whole), where=whole > 0)


def overlap(truth: NDArray[Any], answer: NDArray[Any], spacing: tuple[float, ...] | None = None) -> NDArray[np.float64]:
    """What ``MEASURES`` names, of one class in one picture.

    Args:
        truth, answer: boolean masks of one shape.
        spacing: millimetres between pixels along each axis; None where they are not known.

    Returns:
        (10,) float64.
    """
    from scipy import ndimage

    corners = np.ones((3,) * truth.ndim, bool)
    truth, answer = truth.astype(bool), answer.astype(bool)
    both = truth & answer
    parts, findings = ndimage.label(truth, corners)
    marks, marked = ndimage.label(answer, corners)
    found = np.count_nonzero(np.unique(parts[both]))
    touching = np.count_nonzero(np.unique(marks[both]))
    pixels = distances(truth, answer, (1.0,) * truth.ndim)
    millimetres = (np.nan, np.nan) if spacing is None else distances(truth, answer, spacing)
    return np.array(
        [
            truth.sum(), answer.sum(), both.sum(), *pixels, *millimetres, findings, found, marked - touching,
        ],
        np.float64,
    )  # fmt: skip


def distances(truth: NDArray[np.bool_], answer: NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[float, float]:
    """Hausdorff distance and HD95 of two masks; NaN where the truth is empty, the diagonal where only the answer is."""
    from scipy import ndimage

    if not truth.any():
        return np.nan, np.nan
    if not answer.any():
        diagonal = float(np.sqrt(sum((step * side) ** 2 for step, side in zip(spacing, truth.shape, strict=True))))
        return diagonal, diagonal
    ours, theirs = outline(truth), outline(answer)
    there = ndimage.distance_transform_edt(~theirs, sampling=spacing)[ours]
    back = ndimage.distance_transform_edt(~ours, sampling=spacing)[theirs]
    most = max(float(there.max()), float(back.max()))
    return most, max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask with a neighbour outside it, along an axis.

    >>> outline(np.ones((3, 4), bool)).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    from scipy import ndimage

    inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)
    edge: NDArray[np.bool_] = mask & ~inner
    return edge
