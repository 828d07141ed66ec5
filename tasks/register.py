"""``register``: the run, the model and its aliases in MLflow."""

from __future__ import annotations

from prefect import task

from medai.tracking import Package, Registered, Tracking
from tasks.stage import UNCACHED


@task(name="register", timeout_seconds=1800, **UNCACHED)
def register(tracking: Tracking, package: Package) -> Registered:
    """Log and register; the same run and version however often it is called."""
    return tracking.register(package)


@task(name="set alias", timeout_seconds=600, **UNCACHED)
def set_alias(tracking: Tracking, problem: str, alias: str, version: int) -> None:
    """Point an alias of the registered model at a version."""
    tracking.set_alias(problem, alias, version)
