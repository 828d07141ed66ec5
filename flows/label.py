"""``medai label``: outcomes that came later, joined to the predictions that they are about.

    read → join → label │ note in the audit → announce → measure → note the windows → detect → report

Labels of one file that were not known before make one window of performance for each champion that predicted them. If
they are of too few subjects they wait for those of the next files, in the order of the audit, and make one with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flows.announcing import announce_line
from flows.champion import ask
from flows.outcome import Steps
from flows.places import flow
from flows.watching import concluded, known_snapshots, own_output, window_facts
from medai.disclosure import Guard, with_file_name
from medai.errors import DataRefused, ServiceFailed
from medai.external import same_question
from medai.ledger import Ledger
from medai.locks import StillHeld
from medai.monitoring.batches import Kept, batches
from medai.monitoring.labels import (
    MODEL_MISSING,
    OTHER_OUTPUTS,
    LabelFile,
    join,
    read_labels,
    without_named_patients,
)
from medai.monitoring.performance import (
    Told,
    known_outcomes,
    outcomes_of,
    pools_of,
    predictions_of,
    told_outcomes,
    waiting_outcomes,
)
from medai.monitoring.records import Outcomes
from medai.monitoring.windows import keep_window, windows
from medai.outputs import Output
from medai.paths import expanded
from medai.problem import Problem
from medai.records import Candidate, Snapshot
from medai.workspace import Workspace
from tasks.monitor import keep_outcomes, measure

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("medai.run")

LABELLED = "labelled"


@flow(name="label", flow_run_name="{problem}")
def label(problem: str, file: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Join outcomes to earlier predictions and measure the champion on them.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        file: CSV or Parquet of outcomes; see ``medai.monitoring.labels``.
        overrides: ``section.key=value``.

    Returns:
        What ``medai label --json`` prints.

    Raises:
        ConfigurationError: nothing was predicted yet, or the problem has no champion.
        DataRefused: the file cannot be read, or none of its rows can be used.
        ServiceFailed: a model that predicted, or its answers, are gone; whatever else could be measured is.
    """
    _, workspace, ledger, question, stands, champion = ask(problem, overrides)
    same_question(champion, question.outputs)
    name, output = own_output(champion)
    steps = Steps()
    with steps.timed("read"):
        given = read_labels(expanded(file).absolute(), name, output)
    # Of two files at once the second sees what the first told, on whichever of the machines that share the ledger.
    with ledger.acting(f"label-{question.name}") as still_held:
        with steps.timed("join"):
            kept = batches(workspace, question.name)
            snapshots = _snapshots(workspace, kept)
            predicted = _some(predictions_of(workspace, kept), problem)
            people = known_snapshots(workspace, champion, snapshots)
            given, naming = without_named_patients(given, _guards(workspace, people, predicted))
            if naming:
                log.warning("site: %d rows name a patient there and are told under no site", naming)
            known = known_outcomes(workspace, question.name)
            aside = _aside(workspace, {*predicted["candidate"], *known["candidate"]}, (name, output))
            joined = join(given, predicted, known, aside=aside)
            _refuse_useless(given, joined.rows.height, joined.set_aside)
            new = joined.rows.join(known.select("candidate", "id").unique(), on=("candidate", "id"), how="anti")
        still_held()
        _keep(workspace, ledger, question, given, new, kept, joined.set_aside, steps)
    if noted := ledger.entries(question.name, LABELLED):
        announce_line(workspace, "medai.labels.arrived", noted[-1], noted[-1].facts)
    told: list[dict[str, Any]] = []
    gone = None
    # Of two at once none makes a window of what the other pools.
    with ledger.acting(f"label-{question.name}") as still_held:
        kept = batches(workspace, question.name)
        for candidate, outcomes in sorted(_waiting(workspace, ledger, question).items()):
            try:  # those of an earlier file too, after which this was killed
                told += _measured(workspace, ledger, question, candidate, outcomes, kept, steps, still_held)
            except ServiceFailed as failure:  # the others are measured, and stand on the page, before it is told
                gone = failure
    answer = {
        "problem": question.name,
        "version": stands.version,
        "file_sha256": given.sha256,
        **_counts(given, joined.rows, new, joined.set_aside),
        "predicted": predicted["id"].n_unique(),
        "windows": told,
        **concluded(workspace, ledger, question, champion, snapshots, steps),
        "stages": steps.taken,
    }
    if gone is not None:
        raise gone
    return answer


def _guards(workspace: Workspace, snapshots: Iterable[Snapshot], predictions: pl.DataFrame) -> Iterator[Guard]:
    """Who know the patients: of each of these data, and of the answers, whose data `medai prune` may have taken."""
    for one in snapshots:
        yield Guard.of(workspace, one)
    yield Guard(_names(predictions))


def _names(predictions: pl.DataFrame) -> Iterator[str]:
    """What the site calls the patients, stays and pictures that were predicted."""
    yield from predictions["subject"].drop_nulls().unique()
    for name in predictions["id"].unique():
        yield from with_file_name(name)


def _snapshots(workspace: Workspace, kept: list[Kept]) -> list[Snapshot]:
    """The data that were predicted, as far as the store still has them."""
    return [
        one
        for key in sorted({one.batch.snapshot for one in kept})
        if (one := workspace.find("ingest", key, Snapshot)) is not None
    ]


def _aside(workspace: Workspace, candidates: Iterable[str], own: tuple[str, Output]) -> dict[str, str]:
    """Champion → why nothing is joined to what it answered.

    Args:
        own: the output of the champion that stands, by whose classes the file was read.
    """
    aside = {}
    for key in candidates:
        candidate = workspace.find("fit", key, Candidate)
        if candidate is None:
            log.warning("fit/%s, which predicted, is missing or was altered: nothing new is joined to its answers", key)
            aside[key] = MODEL_MISSING
        elif own_output(candidate) != own:
            aside[key] = OTHER_OUTPUTS
    return aside


def _some(predictions: pl.DataFrame | None, problem: str) -> pl.DataFrame:
    if predictions is None:
        from shlex import quote

        raise DataRefused(
            "there is nothing that outcomes could be joined to",
            expected="answers of `medai predict` on this problem, in this state folder",
            received="none",
            action=f"predict with `medai predict {quote(problem)}` first; MEDAI_HOME may name another folder",
        )
    return predictions


def _refuse_useless(given: LabelFile, joined: int, set_aside: dict[str, int]) -> None:
    """Refuse a file of which nothing is joined; where a model is missing the file may be sound."""
    if not joined:
        if MODEL_MISSING in set_aside:
            raise _gone("its folder as it was registered", "then give the file again")
        raise DataRefused(
            "no row of the file of outcomes can be used",
            expected=f"rows whose {given.key} is in the answers of `medai predict`, by a champion of today's outputs,"
            " with an outcome of the problem",
            received="; ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in set_aside.items()),
            action="correct the file; `medai label --help` tells its columns",
        )


def _gone(expected: str, then: str = "the outcomes are kept") -> ServiceFailed:
    return ServiceFailed(
        "a model that predicted some of these patients, or what it answered, is missing or was altered",
        expected=expected,
        received="none that is intact",
        action=f"restore the workspace's store from a copy; {then}",
    )


def _counts(given: LabelFile, joined: pl.DataFrame, new: pl.DataFrame, set_aside: dict[str, int]) -> dict[str, Any]:
    """Rows of the file, ids that were joined, and those whose outcome was not known."""
    fresh = new["id"].n_unique()
    return {
        "rows": given.table.height,
        "joined": joined["id"].n_unique(),
        "new": fresh,
        "known_already": joined["id"].n_unique() - fresh,
        "set_aside": set_aside,
    }


def _keep(
    workspace: Workspace,
    ledger: Ledger,
    question: Problem,
    given: LabelFile,
    new: pl.DataFrame,
    kept: list[Kept],
    set_aside: dict[str, int],
    steps: Steps,
) -> None:
    """Keep what is new, a record for each champion that predicted it, and a line of all in the audit.

    After a kill between the two, outcomes of an earlier file get a line of that file first.
    """
    own = Told(file_sha256=given.sha256, rows=given.table.height, set_aside=set_aside)
    for number, candidate in enumerate(new["candidate"].unique().sort().to_list(), start=1):
        made = keep_outcomes(workspace, question.name, candidate, new, own)
        steps.take("label" if number == 1 else f"label:{number}", made)
    versions = {one.batch.candidate: one.version for one in kept}
    noted = {one["key"] for entry in ledger.entries(question.name, LABELLED) for one in entry.facts["outcomes"]}
    lines: dict[str, dict[str, Any]] = {}
    for one, told in told_outcomes(workspace, question.name):
        if one.key not in noted:
            file = told or own
            line = lines.setdefault(file.file_sha256, file.model_dump() | {"outcomes": []})
            line["outcomes"].append(
                {
                    "key": one.key,
                    "version": versions.get(one.candidate),
                    "samples": one.samples,
                    "subjects": one.subjects,
                }
            )
    for sha256 in sorted(lines, key=lambda one: (one == own.file_sha256, one)):
        ledger.append(LABELLED, question.name, lines[sha256])


def _waiting(workspace: Workspace, ledger: Ledger, question: Problem) -> dict[str, list[Outcomes]]:
    """Outcomes that are not judged yet."""
    noted = (one["key"] for entry in ledger.entries(question.name, LABELLED) for one in entry.facts["outcomes"])
    measured = (window.content for window in windows(workspace, question.name) if window.kind == "performance")
    return waiting_outcomes(outcomes_of(workspace, question.name), noted, measured)


def _measured(
    workspace: Workspace,
    ledger: Ledger,
    question: Problem,
    key: str,
    outcomes: list[Outcomes],
    kept: list[Kept],
    steps: Steps,
    still_held: StillHeld,
) -> list[dict[str, Any]]:
    """The new windows of performance of one champion: each as soon as it has enough subjects, and what is left over.

    Args:
        outcomes: of each file, in their order.

    Raises:
        ServiceFailed: its record, or its answers, are gone or were altered.
    """
    candidate = workspace.find("fit", key, Candidate)
    mine = [one for one in kept if one.batch.candidate == key]
    if candidate is None or not mine:
        raise _gone("its folder as it was registered" if candidate is None else "its answers as they were kept")
    version = mine[-1].version
    figure = ledger.registered(question.name).get(version, {}).get("figure")
    own = {} if not figure else {str(figure["metric"]): float(figure["value"])}
    unit = candidate.origin.unit if candidate.origin else "patient"
    name, output = own_output(candidate)
    told = []
    for pool in pools_of(workspace, candidate, outcomes, output, question.bounds):
        content = steps.take(
            f"monitor:performance:{version}",
            measure(
                workspace,
                candidate,
                pool,
                [one.batch for one in mine],
                unit,
                name,
                output,
                own,
                question.evaluation,
                question.bounds,
            ),
        )
        still_held()
        new = keep_window(
            workspace, question.name, content, version=version, how="label", by=ledger.by, bounds=question.bounds
        )
        if not new:
            continue
        told.append(
            window_facts(content, question, new=True)
            | {
                "version": version,
                "files": len(pool),
                "judged": content.judged,
                "figures": [figure.model_dump(exclude_none=True) for figure in content.figures],
                "groups": [group.model_dump() for group in content.groups],
            }
        )
    return told
