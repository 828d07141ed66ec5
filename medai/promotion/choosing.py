"""Which of a run's models goes to the gate."""

from __future__ import annotations

from collections.abc import Mapping

from medai.errors import DataRefused


def best(figures: Mapping[str, float | None], metric: str) -> str:
    """The name with the largest figure on validation; the first of equals, and so the net before its baselines.

    Raises:
        DataRefused: the metric is defined for nobody, as where validation holds one class alone.

    >>> best({"net": 0.8, "forest": 0.9, "line": None}, "auroc")
    'forest'
    """
    defined = {name: figure for name, figure in figures.items() if figure is not None}
    if not defined:
        raise DataRefused(
            f"choose_metric is undefined on validation: no candidate has a figure for {metric}",
            expected="validation samples of every class, by which the best candidate is chosen",
            received=f"{len(figures)} candidates without a figure",
            action="give more data, another split or choose_metric, or set choose: net",
        )
    return max(defined, key=lambda name: defined[name])
