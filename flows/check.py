"""Ingest and validate only: is this data fit for this question?"""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from flows.outcome import Steps
from flows.settings import Settings
from flows.train import read
from medai.problem import load_problem
from medai.workspace import Workspace

log = logging.getLogger("medai.run")


@flow(name="check", flow_run_name="{problem}", persist_result=False)
def check(problem: str, data: str | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Judge the data of a Problem by its suite.

    Returns:
        What ``medai check --json`` prints; a failed check returns, too.
    """
    settings = Settings.load()
    settings.apply()
    workspace = Workspace(settings.home, settings.lock_seconds)
    question = load_problem(problem, overrides or ())
    steps = Steps()
    snapshot, quality = read(workspace, question, data, settings, steps)
    return {
        "problem": question.name,
        "passed": quality.passed,
        "rows": quality.rows,
        "rules": quality.rules,
        "set_aside": quality.set_aside,
        "warned": quality.warned,
        "settled_by_reader": snapshot.counts,
        "failures": [failure.model_dump() for failure in quality.failures],
        "data_sha256": snapshot.data_sha256,
        "stages": steps.taken,
    }
