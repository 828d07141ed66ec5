"""Where a problem's data lie, and how they are read: the road's beginning, which other flows share."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from flows.outcome import Steps
from flows.settings import Settings
from medai.errors import ConfigurationError, DataRefused
from medai.paths import expanded
from medai.problem import Problem, suite_path
from medai.records import Cohort, Origin, QualityReport, Snapshot
from medai.sources import Source, reading
from medai.workspace import Workspace
from tasks.generate import generate
from tasks.ingest import ingest
from tasks.validate import validate

log = logging.getLogger("medai.run")


def read(
    workspace: Workspace,
    question: Problem,
    data: str | None,
    settings: Settings,
    steps: Steps,
    command: str = "the same command with",
    source: Source | None = None,
) -> tuple[Snapshot, QualityReport]:
    """Ingest and validate: what ``medai check`` does, too; ``command`` is named in messages.

    Args:
        source: in place of the Problem's own.
    """
    if data is None and question.data is not None:
        generated = steps.take("generate", generate(workspace, question.data))
        path = workspace.folder("generate", generated.key) / generated.path
        if question.input.location is not None:  # the part of a hospital that this question reads
            path = path / question.input.location
    else:
        path = data_path(question, data, settings, command)
    sums = manifest_path(question, path)
    snapshot = steps.take("ingest", ingest(workspace, source or question.input.source, path, sums))
    quality = steps.take("validate", validate(workspace, snapshot, suite_path(question), question.validation.tolerance))
    return snapshot, quality


def manifest_path(question: Problem, path: Path) -> Path | None:
    """The list of sums that the Problem names, in the data's folder."""
    manifest = question.input.manifest
    return None if manifest is None else (path if path.is_dir() else path.parent) / manifest


def data_path(question: Problem, data: str | None, settings: Settings, command: str) -> Path:
    """Where the data lie: ``--data``, or the Problem's location below the folder of data sets.

    That folder is MEDAI_DATA, or ``--data`` itself where the location exists below it.

    Raises:
        ConfigurationError: neither was given.
        DataRefused: a link leads the location out of the folder of data sets.
    """
    location = question.input.location
    if data is not None:
        path = expanded(data).absolute()
        if location is None or not os.path.lexists(path / location):
            return path
        return _below(path, location)
    if settings.data is not None and location is not None:
        return _below(settings.data, location)
    raise ConfigurationError(
        f"nobody said where the data of {question.name} lie",
        expected="--data PATH, or the folder of data sets in MEDAI_DATA",
        received="neither" if location is None or settings.data is not None else "neither; MEDAI_DATA is not set",
        action=f"{command} --data PATH",
    )


def _below(folder: Path, location: str) -> Path:
    """A location that stays in the folder of data sets, whatever its links say."""
    path = folder / location
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links: the reader says what is there
        inside = True
    if not inside:
        raise DataRefused(
            "the data's location leads out of the folder of data sets",
            expected="a file or folder below it",
            received="a link to another place",
            action="give that place itself with --data",
        )
    return path


def origin_of(question: Problem, snapshot: Snapshot | None = None) -> Origin:
    """How a Problem reads its data, and when it predicts; who is asked about is the criteria's and no part of it."""
    return Origin(
        snapshot=snapshot.key if snapshot else "",
        unit=snapshot.unit if snapshot else "",
        source=reading(question.input.source),
        cohort=question.cohort.model_dump(mode="json", exclude={"criteria", "groups"}),
    )


def class_folders(question: Problem, cohort: Cohort) -> dict[str, list[dict[str, Any]]]:
    """Output → class folder, the class that it means and its samples in the cohort, which a person is to look at."""
    told = {
        name: [{"folder": folder, "class": label, "samples": cohort.classes[name][label]} for folder, label in pairs]
        for name, pairs in question.class_folders.items()
    }
    for name, pairs in told.items():
        for pair in pairs:
            log.info("%s: folder %s → %s: %d", name, pair["folder"], pair["class"], pair["samples"])
    return told
