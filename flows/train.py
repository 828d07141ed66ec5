"""The whole road: raw data to a promoted champion.

    ingest → validate → select → split → prepare → fit → evaluate → decide │ register → promote → report

What stands left of the bar is pure: found and reused, or made. What stands right changes the world, and is idempotent.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from flows.delivery import WAITS, deliver
from flows.drift import remember, since_last_run
from flows.governance import MLFLOW, ledger_of, note_data, tracking_of
from flows.judging import judge
from flows.lineage import remember_lineage
from flows.outcome import Given, Run, Steps
from flows.places import flow
from flows.settings import Settings
from flows.spreading import spread
from flows.sync import behind, catch_up, something_waits
from flows.watching import watch_run
from medai.audit import Entry
from medai.errors import ConfigurationError, DataRefused, ServiceDown, ServiceFailed
from medai.evaluation import figure
from medai.ledger import Ledger
from medai.measurement.metrics import available
from medai.paths import expanded
from medai.problem import Problem, load_problem, suite_path
from medai.promotion import VERSION as PROMOTION_VERSION
from medai.promotion import best
from medai.records import (
    Arrays,
    Candidate,
    Cohort,
    Decision,
    Origin,
    QualityReport,
    Snapshot,
    Splits,
    sha256_of,
)
from medai.screening import refuse_if_leaking
from medai.shards import Spread
from medai.sources import Source, reading
from medai.spool import Delivery, Spool
from medai.tracking import Registered, Tracking
from medai.training import Execution
from medai.validation import refuse_if_failed
from medai.workspace import Workspace
from tasks.evaluate import compare, evaluate, open_test
from tasks.fit import FitProgress, fit
from tasks.generate import generate
from tasks.ingest import ingest
from tasks.prepare import prepare
from tasks.report import draw, illustrate, report
from tasks.screen import screen
from tasks.select import select
from tasks.split import split
from tasks.validate import validate

log = logging.getLogger("medai.run")

NET = "net"
COMPARED = ("auroc", "micro_auroc", "auprc", "kappa", "dice", "dice_lesions", "hd95")
"""Metrics of the paired comparison with the baselines, where the output has them."""


@flow(name="train", flow_run_name="{problem}-seed-{seed}")
def train(
    problem: str,
    data: str | None = None,
    seed: int = 0,
    overrides: list[str] | None = None,
    dask: str | None = None,
    shards: str | None = None,
) -> dict[str, Any]:
    """Train, evaluate and, if the gate agrees, promote.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        data: folder or file of the data; the Problem's generator or location when left out.
        seed: of the fit; it moves no patient and no array.
        overrides: ``section.key=value``.
        dask: who makes arrays of events: ``local``, or the address of a Dask scheduler; this process when left out.
        shards: address of the store in which Dask's workers find the events; MEDAI_SHARDS when left out.

    Returns:
        What ``medai run --json`` prints.
    """
    settings = Settings.load()
    settings.apply()
    workspace = Workspace(settings.home, settings.lock_seconds)
    ledger = ledger_of(settings, workspace)
    question = load_problem(problem, overrides or ())
    log.info("%s: %s", question.name, question.question)
    steps = Steps()
    helpers = spread(dask, shards, settings)
    run = Run(problem=question, seed=seed, steps=steps, given=Given(problem, data, seed, tuple(overrides or ())))

    run.generated = data is None and question.data is not None
    run.snapshot, run.quality = read(workspace, question, data, settings, steps, f"medai run {problem}")
    note_data(ledger, question.name, run.snapshot, run.quality)
    refuse_if_failed(run.quality)
    run.drift = since_last_run(workspace, question.name, run.snapshot)
    watch_run(workspace, ledger, question, run.snapshot, run.quality, origin_of(question, run.snapshot))
    run.cohort = steps.take("select", select(workspace, run.snapshot, run.quality, question.cohort, question.outputs))
    folders = class_folders(question, run.cohort)
    run.splits = steps.take("split", split(workspace, run.snapshot, run.cohort, question.split))
    arrays = steps.take(
        "prepare", prepare(workspace, run.snapshot, run.quality, run.cohort, question.input.preprocessing, helpers)
    )
    run.screening = steps.take(
        "screen",
        screen(workspace, run.snapshot, arrays, run.cohort, run.splits, question.outputs, question.screening),
    )
    refuse_if_leaking(run.screening)
    execution = Execution(threads=settings.threads, onednn=settings.onednn)
    origin = origin_of(question, run.snapshot)
    candidates = fit_all(workspace, question, arrays, run.cohort, run.splits, execution, seed, steps, origin)
    run.chosen = choose(workspace, question, candidates, arrays, run.cohort, run.splits, steps)
    chosen = candidates[run.chosen]

    settled = ledger.settled(question.name, chosen.key, question.rules.key)
    run.openings = settled.facts["openings"] if settled else open_test(ledger, question.name, run.splits, chosen)
    for name, candidate in candidates.items():
        run.scorecards[name] = steps.take(
            "evaluate" if name == run.chosen else f"evaluate:{name}",
            evaluate(
                workspace, candidate, arrays, run.cohort, run.splits, question.outputs, "test", question.evaluation
            ),
        )
    run.candidates = candidates
    run.comparison = steps.take(
        "compare",
        compare(
            workspace,
            question.outputs,
            (chosen, run.scorecards[run.chosen]),
            {name: (candidates[name], run.scorecards[name]) for name in candidates if name != run.chosen},
            tuple(metric for metric in COMPARED if metric in available(next(iter(question.outputs.values())))),
            question.evaluation,
        ),
    )
    run.figures = steps.take("draw", draw(workspace, question.outputs, run.chosen, candidates, run.scorecards))
    if question.report.examples:
        run.examples = steps.take(
            "illustrate",
            illustrate(
                workspace, question.outputs, chosen, run.scorecards[run.chosen], arrays, question.report.examples
            ),
        )
    remember_lineage(workspace, chosen.key, steps.keys)
    # What waits was decided earlier and goes first: this candidate may have to be compared with what it promotes.
    tracking = tracking_of(ledger, settings)
    answers = not (something_waits(ledger) and catch_up(ledger, tracking)["waiting"])
    with ledger.acting(question.name):  # of two equal runs at once one acts, and the other finds it settled
        settled = ledger.settled(question.name, chosen.key, question.rules.key)
        if settled is not None:
            recall(workspace, run, settled, steps)
        else:
            act(workspace, ledger, tracking, run, arrays, steps, helpers, answers)
    if run.registered is None or question.name in behind(ledger):
        run.waiting = (MLFLOW,)
    run.page = steps.take("report", report(workspace, run.content()))
    remember_lineage(workspace, chosen.key, steps.keys, {run.decision.key: run.page.key})
    remember(workspace, question.name, run.snapshot)
    return run.outcome(workspace, ledger) | {"folders": folders}


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


def fit_all(
    workspace: Workspace,
    question: Problem,
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    execution: Execution,
    seed: int,
    steps: Steps,
    origin: Origin,
) -> dict[str, Candidate]:
    """The net and every baseline, each found or fitted."""
    candidates = {}
    models: dict[str, Any] = {NET: question.input.encoder, **question.baselines}
    for name, model in models.items():
        candidates[name] = steps.take(
            "fit" if name == NET else f"fit:{name}",
            fit(
                workspace,
                name=name,
                model=model,
                training=question.training if name == NET else None,
                arrays=arrays,
                cohort=cohort,
                splits=splits,
                outputs=question.outputs,
                preprocessing=question.input.preprocessing,
                threshold=question.threshold,
                calibration=question.calibration,
                execution=execution,
                seed=seed,
                progress=FitProgress(name),
                origin=origin,
            ),
        )
    return candidates


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


def choose(
    workspace: Workspace,
    question: Problem,
    candidates: dict[str, Candidate],
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    steps: Steps,
) -> str:
    """Which candidate goes to the gate; validation may choose it, test never does. The net wins a tie.

    Raises:
        DataRefused: nobody has a figure to be chosen by.
    """
    if question.choose == NET or len(candidates) == 1:
        return NET
    figures: dict[str, float | None] = {}
    # One figure of all rows is asked for: neither its interval nor subgroups.
    config = question.evaluation.model_copy(update={"resamples": 100, "minimum_subgroup": sys.maxsize})
    for name, candidate in candidates.items():
        scorecard = steps.take(
            f"choose:{name}",
            evaluate(workspace, candidate, arrays, cohort, splits, question.outputs, "validation", config),
        )
        figures[name] = figure(workspace, candidate, scorecard, question.outputs, question.choose_metric)
    return best(figures, question.choose_metric)


def recall(workspace: Workspace, run: Run, settled: Entry, steps: Steps) -> None:
    """Answer with the earlier run: nothing is decided anew, and nothing written."""
    decision = workspace.find("decide", settled.facts["decision"], Decision)
    if decision is None:
        raise ServiceFailed(
            "the earlier decision on this candidate is missing or was altered",
            expected=f"the decision that line {settled.number} of the audit names",
            received="no intact record of that name",
            action="restore the workspace's store from a copy; the ledger's entry stands",
        )
    run.decision = decision
    run.registered = Registered(run_id=settled.facts["run_id"], version=settled.facts["version"])
    for stage in ("decide", "register", "promote"):
        steps.note(stage, reused=True, seconds=0.0)


def act(
    workspace: Workspace,
    ledger: Ledger,
    tracking: Tracking,
    run: Run,
    arrays: Arrays,
    steps: Steps,
    helpers: Spread | None = None,
    answers: bool = True,
) -> None:
    """Decide, register, promote; each step looks at the world first, so that a kill in between loses nothing.

    Args:
        answers: whether MLflow did when it was asked last; where it does not, the decision waits in the spool.
    """
    name, rules = run.problem.name, run.problem.rules.key
    chosen = run.candidates[run.chosen]
    pending = ledger.decided(name, chosen.key, rules)
    decision = workspace.find("decide", pending.facts["decision"], Decision) if pending else None
    if pending is None or decision is None:
        decision = judge(workspace, ledger, run, arrays, steps, helpers)
        pending = ledger.append(
            "decided",
            name,
            {
                "decision": decision.key,
                "candidate": chosen.key,
                "rules": rules,
                "verdict": decision.verdict,
                "champion": decision.champion,
                "line": decision.line,
                "models": decision.models,
            },
        )
    else:
        steps.note("decide", reused=True, seconds=0.0)
    run.decision = decision

    delivery = delivery_of(run)
    Spool(workspace).put(pending.number, delivery)
    if not answers:  # it was asked a moment ago
        return
    try:
        run.registered = deliver(ledger, tracking, pending.number, delivery, in_flow=True, timed=steps.timed)
    except ServiceDown as down:
        log.warning("%s (%s): the registration waits; %s", down.wrong, down.received, WAITS)


def delivery_of(run: Run) -> Delivery:
    """What follows from a run's decision, once MLflow answers."""
    decision = run.decision
    return Delivery.of(
        problem=run.problem.name,
        resolved=run.problem.model_dump(mode="json"),
        run_key=sha256_of([run.problem.sha256, decision.key, PROMOTION_VERSION])[:32],
        candidate=run.candidates[run.chosen].key,
        snapshot=run.snapshot.key,
        quality=run.quality.key,
        cohort=run.cohort.key,
        splits=run.splits.key,
        figures=run.figures.key,
        decision=decision.key,
        scorecards=(run.scorecards[run.chosen].key,),
        rules=run.problem.rules.key,
        baselines=run.baseline_figures(),
        seed=run.seed,
        overrides=run.given.overrides,
        figure=run.main_figure(),
        openings=run.openings,
    )
