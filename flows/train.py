"""The whole road: raw data to a promoted champion.

    ingest → validate → select → split → prepare → fit → evaluate → decide │ register → promote → report

What stands left of the bar is pure: found and reused, or made. What stands right changes the world, and is idempotent.
"""

from __future__ import annotations

import logging
from typing import Any

from flows.acting import act, recall
from flows.drift import remember, since_last_run
from flows.fitting import choose, fit_all
from flows.governance import MLFLOW, ledger_of, note_data, tracking_of
from flows.lineage import remember_lineage
from flows.outcome import Given, Run, Steps
from flows.places import flow
from flows.reading import class_folders, origin_of, read
from flows.settings import Settings
from flows.spreading import spread
from flows.sync import behind, catch_up, something_waits
from flows.watching import watch_run
from medai.measurement.metrics import available
from medai.problem import load_problem
from medai.screening import refuse_if_leaking
from medai.training import Execution
from medai.validation import refuse_if_failed
from medai.workspace import Workspace
from tasks.evaluate import compare, evaluate, open_test
from tasks.prepare import prepare
from tasks.report import draw, illustrate, report
from tasks.screen import screen
from tasks.select import select
from tasks.split import split

log = logging.getLogger("medai.run")

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
