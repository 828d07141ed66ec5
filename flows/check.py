"""Ingest, validate, select and split: are these data fit for this question?"""

from __future__ import annotations

import logging
from typing import Any

from flows.drift import facts, since_last_run
from flows.governance import ledger_of, note_data
from flows.outcome import Steps
from flows.places import flow
from flows.reading import class_folders, read
from flows.settings import Settings
from medai.errors import near_match
from medai.preprocessing import refuse_unfit
from medai.problem import load_problem
from medai.readiness import empty_classes, empty_in_train
from medai.records import Failure, Snapshot
from medai.validation.measuring import columns_of
from medai.workspace import Workspace
from tasks.select import select
from tasks.split import split

log = logging.getLogger("medai.run")


@flow(name="check", flow_run_name="{problem}")
def check(problem: str, data: str | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Judge the data of a Problem by its suite, then its labels, its cohort and its split, as a run would.

    A class of which nothing is left after validation, or nothing in train, is a failure with the reason
    ``class_empty``.

    Returns:
        What ``medai check --json`` prints; a failed check returns, too.

    Raises:
        DataRefused: the data have another size than the Problem expects, the labels are not of its classes, nobody is
            in the cohort, or it cannot be split.
    """
    settings = Settings.load()
    settings.apply()
    workspace = Workspace(settings.home, settings.lock_seconds)
    question = load_problem(problem, overrides or ())
    steps = Steps()
    empty: tuple[Failure, ...] = ()
    folders: dict[str, list[dict[str, Any]]] = {}
    snapshot, quality = read(workspace, question, data, settings, steps, f"medai check {problem}")
    note_data(ledger_of(settings, workspace), question.name, snapshot, quality)
    if quality.passed:
        refuse_unfit(workspace, snapshot, question.input.preprocessing)
        cohort = steps.take("select", select(workspace, snapshot, quality, question.cohort, question.outputs))
        folders = class_folders(question, cohort)
        empty = empty_classes(cohort, question.outputs)
        if not empty:
            splits = steps.take("split", split(workspace, snapshot, cohort, question.split))
            empty = empty_in_train(workspace, cohort, splits, question.outputs)
    told = quality.set_aside.keys() | quality.warned.keys()
    return {
        "problem": question.name,
        "passed": quality.passed and not empty,
        "rows": quality.rows,
        "tables": quality.tables,
        "rules": quality.rules,
        "set_aside": quality.set_aside,
        "warned": quality.warned,
        "settled_by_reader": {reason: count for reason, count in snapshot.counts.items() if reason not in told},
        "idle": list(quality.idle),
        "drift": facts(since_last_run(workspace, question.name, snapshot)) if quality.passed else None,
        "failures": [
            *(failure.model_dump() for failure in empty),
            *(_told(workspace, snapshot, failure) for failure in quality.failures),
        ],
        "folders": folders,
        "data_sha256": snapshot.data_sha256,
        "stages": steps.taken,
    }


def _told(workspace: Workspace, snapshot: Snapshot, failure: Failure) -> dict[str, Any]:
    """A failure; one that asks for a column which is not there also has a ``hint``: the nearest that is."""
    facts = failure.model_dump()
    if failure.reason == "missing_column":
        path = workspace.folder("ingest", snapshot.key) / f"{failure.table}.parquet"
        facts["hint"] = near_match(failure.column, columns_of(path)) if path.exists() else "nor is the table there"
    return facts
