"""Over- and under-sampling: passes over the train rows in which every class comes equally often.

Validation and test keep their own frequencies; what the model then says of them is corrected by calibration.
"""

from __future__ import annotations

import numpy as np

from medai.training import Sampling


class BalancedPass:
    """One pass over the rows, drawn anew each time.

    ``over`` brings each class to the largest one's number: every row comes equally often, but for a remainder that is
    drawn. ``under`` brings each class to the smallest one's: rows are drawn without repeats.

    Args:
        rows: positions that may be drawn.
        classes: (samples,) class number of every position.
        sampling: which of the two.
    """

    def __init__(self, rows: np.ndarray, classes: np.ndarray, sampling: Sampling) -> None:
        self._groups = [rows[classes[rows] == label] for label in np.unique(classes[rows])]
        sizes = [len(group) for group in self._groups]
        self._each = max(sizes) if sampling == "over" else min(sizes)

    def __len__(self) -> int:
        return self._each * len(self._groups)

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        """(rows of a pass,) positions, shuffled."""
        parts = []
        for group in self._groups:
            whole, remainder = divmod(self._each, len(group))
            parts += [group] * whole + [random.permutation(group)[:remainder]]
        return np.asarray(random.permutation(np.concatenate(parts)))
