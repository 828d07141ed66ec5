"""A stack of slices as a volume of a given spacing and size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a normal distribution, in standard deviations."""


class Stack(NamedTuple):
    """Slices of one series in the order of their positions.

    Attributes:
        levels: (slices, height, width) uint8.
        positions: (slices,) millimetres along the normal, rising, evenly spaced but for what rounding makes.
        down, across: millimetres between the middles of two rows, and of two columns.
    """

    levels: np.ndarray
    positions: np.ndarray
    down: float
    across: float


def resampled(stack: Stack, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[np.ndarray, bool]:
    """The volume of this size and spacing about the stack's middle, by linear interpolation; outside it is black.

    Along an axis that becomes coarser the stack is smoothed first by a normal kernel, so that what lies between two
    voxels is not lost: the full width at half maximum of what was seen grows from the old spacing to the new one
    (Cardoso et al., MICCAI 2015, scale factor point spread function matching).

    Args:
        size: depth, height, width in voxels.
        spacing: the same in millimetres.

    Returns:
        (\\*size) uint8, and whether the stack reaches beyond it by more than half a voxel.
    """
    import numpy as np
    import SimpleITK as sitk

    slices = len(stack.positions)
    gap = float(stack.positions[-1] - stack.positions[0]) / (slices - 1)
    before = (gap, stack.down, stack.across)
    image = sitk.GetImageFromArray(stack.levels.astype(np.float32))
    image.SetSpacing([float(one) for one in before[::-1]])
    for axis, (fine, coarse) in enumerate(zip(before, spacing, strict=True)):
        if coarse > fine and image.GetSize()[2 - axis] >= 4:  # the filter needs four values along its axis
            smoothing = sitk.RecursiveGaussianImageFilter()
            smoothing.SetDirection(2 - axis)
            smoothing.SetSigma(math.sqrt(coarse * coarse - fine * fine) / _FWHM)
            smoothing.SetNumberOfThreads(1)
            image = smoothing.Execute(image)
    extents = [(count - 1) * step for count, step in zip(stack.levels.shape, before, strict=True)]
    wanted = [(count - 1) * step for count, step in zip(size, spacing, strict=True)]
    resampling = sitk.ResampleImageFilter()
    resampling.SetSize(size[::-1])
    resampling.SetOutputSpacing(spacing[::-1])
    resampling.SetOutputOrigin([(have - want) / 2 for have, want in zip(extents[::-1], wanted[::-1], strict=True)])
    resampling.SetInterpolator(sitk.sitkLinear)
    resampling.SetDefaultPixelValue(0)
    resampling.SetNumberOfThreads(1)
    levels = sitk.GetArrayFromImage(resampling.Execute(image))
    cut = any(have > want + step for have, want, step in zip(extents, wanted, spacing, strict=True))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8), cut
