"""What a layout asks of the readings, and where in the arrays it goes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medai.preprocessing.series.readings import Spans


class Plan(NamedTuple):
    """What the arrays of a layout hold.

    Attributes:
        spans: whose readings.
        begin: of each span, its first row in the arrays.
        shapes: of the arrays that are made of readings, by name.
        of_samples: the arrays that are made of the samples alone.
    """

    spans: Spans
    begin: np.ndarray
    shapes: dict[str, tuple[int, ...]]
    of_samples: dict[str, np.ndarray]

    def rows(self, chosen: slice) -> np.ndarray:
        """The rows of some neighbouring spans in the arrays, span after span."""
        count = self.spans.rows[chosen]
        before = np.cumsum(count) - count
        return np.repeat(self.begin[chosen] - before, count) + np.arange(int(count.sum()))
