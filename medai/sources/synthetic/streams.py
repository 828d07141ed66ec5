"""A random stream for each subject, so that what a subject is like depends on nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream_of(seed: int, subject: int, part: int = 0) -> np.random.Generator:
    """The stream of a subject; ``part`` is one of its parts, which do not overlap (2**192 draws lie between them)."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=[seed, subject], counter=[0, 0, 0, part]))
