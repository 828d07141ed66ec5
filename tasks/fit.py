"""``fit``: one model, with a progress bar on Prefect's page."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from medai import training
from tasks.stage import stage
from tasks.watch import dispensable

_STEPS = 10
"""Updates that a fit sends at most: the server keeps digesting events for long after many."""


class FitProgress:
    """A progress artifact, made with the first finished epoch and moved in tenths.

    Args:
        name: the model's name in the run.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.artifact: Any = None
        self.shown = -1

    def __call__(self, share: float) -> None:
        """Show the finished share of epochs."""
        if int(share * _STEPS) <= self.shown:
            return
        self.shown = int(share * _STEPS)
        with dispensable():
            if self.artifact is None:
                self.artifact = create_progress_artifact(0.0, key=f"fit-{self.name.replace('_', '-')}")
            if self.shown:
                update_progress_artifact(self.artifact, progress=100.0 * share)


fit = stage(training.fit, timeout_hours=24, run_name="fit-{name}")
