"""Ingest, validate and select: are these data fit for this question?"""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from flows.outcome import Steps
from flows.settings import Settings
from flows.train import read
from medai.problem import load_problem
from medai.workspace import Workspace
from tasks.select import select

log = logging.getLogger("medai.run")


@flow(name="check", flow_run_name="{problem}", persist_result=False)
def check(problem: str, data: str | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Judge the data of a Problem by its suite, then its labels and its cohort, as a run would.

    Returns:
        What ``medai check --json`` prints; a failed check returns, too.

    Raises:
        DataRefused: the labels are not of the Problem's classes, or nobody is in the cohort.
    """
    settings = Settings.load()
    settings.apply()
    workspace = Workspace(settings.home, settings.lock_seconds)
    question = load_problem(problem, overrides or ())
    steps = Steps()
    snapshot, quality = read(workspace, question, data, settings, steps, f"medai check {problem}")
    if quality.passed:
        steps.take("select", select(workspace, snapshot, quality, question.cohort, question.outputs))
    told = quality.set_aside.keys() | quality.warned.keys()
    return {
        "problem": question.name,
        "passed": quality.passed,
        "rows": quality.rows,
        "tables": quality.tables,
        "rules": quality.rules,
        "set_aside": quality.set_aside,
        "warned": quality.warned,
        "settled_by_reader": {reason: count for reason, count in snapshot.counts.items() if reason not in told},
        "idle": list(quality.idle),
        "failures": [failure.model_dump() for failure in quality.failures],
        "data_sha256": snapshot.data_sha256,
        "stages": steps.taken,
    }
