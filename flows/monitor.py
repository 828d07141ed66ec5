"""``medai monitor``: data beside what the champion learnt from.

ingest → validate → select → prepare → score → monitor │ note the windows → detect → announce → report
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.champion import ask
from flows.outcome import Steps
from flows.places import flow
from flows.predict import road
from flows.reading import data_path, origin_of
from flows.settings import Settings
from flows.watching import compare
from medai.external import same_question, same_reading
from medai.problem import Problem
from medai.workspace import Workspace
from tasks.generate import generate


@flow(name="monitor", flow_run_name="{problem}")
def monitor(problem: str, data: str | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Compare data with what the champion learnt from, and its answers to them with those it gave.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        data: data in the layout of the Problem's source; labels are not needed and not read. The Problem's generator
            or location when left out.
        overrides: ``section.key=value``.

    Returns:
        What ``medai monitor --json`` prints.
    """
    settings, workspace, ledger, question, stands, champion = ask(problem, overrides)
    same_question(champion, question.outputs)
    same_reading(champion, origin_of(question))
    steps = Steps()
    path = _path(workspace, question, data, settings, steps, f"medai monitor {problem}")
    part = road(workspace, question, path, champion, steps)
    found = compare(workspace, ledger, question, stands, champion, part, steps, how="monitor")
    return {
        "problem": question.name,
        "version": stands.version,
        "model_sha256": champion.model_sha256,
        "data_sha256": part.snapshot.data_sha256,
        "rows": part.cohort.attrition[0].samples,
        "scored": part.cohort.samples,
        **found,
        "stages": steps.taken,
    }


def _path(
    workspace: Workspace, question: Problem, data: str | None, settings: Settings, steps: Steps, command: str
) -> Path:
    """Where the data lie, those of the Problem's generator among them."""
    if data is not None or question.data is None:
        return data_path(question, data, settings, command)
    generated = steps.take("generate", generate(workspace, question.data))
    path = workspace.folder("generate", generated.key) / generated.path
    return path if question.input.location is None else path / question.input.location
