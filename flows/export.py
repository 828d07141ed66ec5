"""``medai export meds``: a Problem's data, or a snapshot, as a data set in the field's standard."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from flows.governance import ledger_of, tracking_of
from flows.settings import Settings
from medai.errors import ConfigurationError, near_match
from medai.meds_export import Asked, export_meds
from medai.problem import load_problem
from medai.records import KEY_LENGTH, Snapshot
from medai.workspace import Workspace

FORMS = ("meds", "model")


def is_snapshot(what: str) -> bool:
    """Whether it is written like a snapshot's key."""
    return re.fullmatch(rf"[0-9a-f]{{{KEY_LENGTH}}}", what) is not None


def refuse_before(form: str, out: Path) -> None:
    """Refuse before any work what cannot be written, or cannot be written there.

    Raises:
        ConfigurationError: no such form, or a place that holds something.
    """
    if form not in FORMS:
        raise ConfigurationError(
            f"nothing is exported as {form!r}",
            expected=" or ".join(FORMS),
            received=f"{form!r}; {near_match(form, FORMS)}",
            action="for example medai export meds PROBLEM --out DIR",
        )
    _refuse_taken(out.expanduser().absolute())


def export_model(settings: Settings, problem: str, out: Path, version: int | None) -> dict[str, Any]:
    """Bring a registered model out of MLflow as it was signed: the champion, or a version.

    Raises:
        ConfigurationError: there is no champion, or no such version.
        ServiceFailed: MLflow does not answer, or the model is not as this site signed it.
    """
    ledger = ledger_of(settings)
    champion = ledger.champion(problem)
    chosen = version if version is not None or champion is None else champion.version
    if chosen is None:
        raise ConfigurationError(
            f"{problem} has no champion",
            expected="a promoted version, or one named with --version",
            received="neither",
            action=f"`medai history {problem}` lists the versions",
        )
    registered = ledger.registered(problem)
    if chosen not in registered:
        raise ConfigurationError(
            f"{problem} has no version {chosen}",
            expected=f"one of {', '.join(map(str, sorted(registered)))}" if registered else "a registered version",
            received=str(chosen),
            action=f"`medai history {problem}` lists the versions",
        )
    folder = out.expanduser().absolute()
    if folder.exists():
        folder.rmdir()  # empty: ``refuse_before`` looked
    tracking = tracking_of(ledger, settings)
    tracking.fetch(problem, chosen, folder, registered[chosen]["candidate"])
    return {
        "problem": problem,
        "version": chosen,
        "champion": champion is not None and champion.version == chosen,
        "key": tracking.key().fingerprint,
        "files": sorted(path.name for path in folder.iterdir()),
        "path": str(folder),
    }


def export_snapshot(settings: Settings, key: str, out: Path) -> dict[str, Any]:
    """Write a snapshot of the workspace whole.

    Raises:
        ConfigurationError: there is no such snapshot, or it holds no events.
    """
    workspace = Workspace(settings.home, settings.lock_seconds)
    snapshot = workspace.find("ingest", key, Snapshot)
    if snapshot is None:
        raise ConfigurationError(
            "there is no snapshot of this key",
            expected="the key of a snapshot in the workspace, or a problem",
            received=key,
            action="`medai check PROBLEM --json` makes one; or name the problem itself",
        )
    return _write(workspace, snapshot, None, out)


def export_problem(problem: str, out: str, data: str | None, overrides: list[str] | None) -> dict[str, Any]:
    """Read, judge, select and split the data of a Problem as a run does, and write what was kept.

    Raises:
        ConfigurationError: the Problem's data are no events.
        DataRefused: as a run would refuse them.
    """
    from prefect import flow

    @flow(name="export", flow_run_name=problem, persist_result=False)
    def export() -> dict[str, Any]:
        from flows.outcome import Steps
        from flows.reading import read
        from medai.validation import refuse_if_failed
        from tasks.select import select
        from tasks.split import split

        settings = Settings.load()
        settings.apply()
        workspace = Workspace(settings.home, settings.lock_seconds)
        question = load_problem(problem, overrides or ())
        steps = Steps()
        snapshot, quality = read(workspace, question, data, settings, steps, f"medai export meds {problem}")
        refuse_if_failed(quality)
        _refuse_pictures(snapshot)
        cohort = steps.take("select", select(workspace, snapshot, quality, question.cohort, question.outputs))
        splits = steps.take("split", split(workspace, snapshot, cohort, question.split))
        asked = Asked(
            workspace.folder("validate", quality.key),
            workspace.folder("select", cohort.key),
            workspace.folder("split", splits.key),
            question.outputs,
        )
        return {"problem": question.name, **_write(workspace, snapshot, asked, Path(out)), "stages": steps.taken}

    return export()


def _write(workspace: Workspace, snapshot: Snapshot, asked: Asked | None, out: Path) -> dict[str, Any]:
    """Write beside the folder's name, and rename last: nothing half-written is ever seen under it."""
    _refuse_pictures(snapshot)
    out = out.expanduser().absolute()
    _refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed process of the same number
    beside.mkdir(mode=0o700)
    try:
        counts = export_meds(snapshot, workspace.folder("ingest", snapshot.key), beside, asked)
        os.sync()
        _refuse_taken(out)
        beside.replace(out)  # takes the place of an empty folder
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return {"path": str(out), "snapshot": snapshot.key, "counts": counts}


def _refuse_pictures(snapshot: Snapshot) -> None:
    if snapshot.shape != "events":
        raise ConfigurationError(
            "pictures cannot be written as MEDS",
            expected="a source of events",
            received=f"the source {snapshot.source}, which gives {snapshot.shape}",
            action="name a problem on stays",
        )


def _refuse_taken(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(
            "the place to write to is taken",
            expected="a folder that is absent or empty",
            received="a folder that holds something" if out.is_dir() else "something else",
            action="name another folder, or empty that one",
        )
