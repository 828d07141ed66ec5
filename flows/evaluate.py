"""The champion on other labelled data; promotes nothing.

ingest → validate → select → hold out → prepare → evaluate → gap → report │ note in the audit
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from flows.champion import ask
from flows.governance import note_data
from flows.lineage import remember_lineage
from flows.outcome import Steps
from flows.places import flow
from flows.reading import origin_of, read
from medai.errors import ConfigurationError
from medai.external import (
    MINIMUM,
    Elsewhere,
    OwnTest,
    Site,
    known_again,
    label_columns,
    lacking,
    match_labels,
    own_scorecard,
    read_site,
    refuse_unlabelled,
    rows_of_both,
    same_question,
    same_reading,
    seen,
    suite_of,
    words_of,
)
from medai.external import origin_of as site_origin
from medai.measurement.metrics import in_order
from medai.paths import expanded
from medai.prediction import fit_for_scoring
from medai.preprocessing import Preprocessing
from medai.problem import Problem
from medai.records import QualityReport, Scorecard, Snapshot
from medai.sources import elsewhere
from medai.validation import refuse_if_failed
from medai.workspace import Workspace
from tasks.evaluate import evaluate as score
from tasks.external import gap, hold_out, note
from tasks.external import page as write_page
from tasks.ingest import ingest
from tasks.prepare import prepare
from tasks.select import select
from tasks.validate import validate

log = logging.getLogger("medai.run")

AUDITED = ("auroc", "auprc", "sensitivity", "specificity", "dice", "dice_lesions", "hd95")
"""Metrics that the audit's line carries."""


@flow(name="evaluate", flow_run_name="{problem}")
def evaluate(
    problem: str,
    data: str | None = None,
    include_seen: bool = False,
    overrides: list[str] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """Measure the champion on labelled data, every sample of the cohort at once.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        data: folder or file of the data; the Problem's generator or location when left out.
        include_seen: also score patients whom the champion was fitted on, who are left out otherwise.
        overrides: ``section.key=value``.
        source: a site's YAML file, for data of another source than the Problem's; see ``medai.external.sites``.

    Returns:
        What ``medai evaluate --json`` prints. ``evidence`` speaks of counts alone: whether there are enough subjects of
        each class, none of them known to the champion; ``floors`` of how good it is on them; ``own_test_rows`` of how
        many it was tested on before, None where the store no longer knows. ``gap`` holds each figure's difference from
        its own test, where no patient stands in both; ``missing`` the findings that the site has no label for.
    """
    settings, workspace, ledger, question, standing, champion = ask(problem, overrides)
    steps = Steps()
    if source is None:
        same_question(champion, question.outputs)
        same_reading(champion, origin_of(question))
        snapshot, quality = read(
            workspace,
            question,
            data,
            settings,
            steps,
            f"medai evaluate {problem}",
            source=elsewhere(question.input.source),
        )
        outputs, definition, matched = question.outputs, question.cohort, None
    else:
        site = read_site(source)
        asked = site_origin(site, champion)
        if asked is not None:
            same_reading(champion, asked)
        snapshot, quality = read_elsewhere(workspace, site, source, data, steps)
        columns = label_columns(workspace, snapshot)
        matched = match_labels(champion, columns, words_of(site.source), site.labels)
        outputs = {next(iter(champion.outputs)): matched.output}
        definition = question.cohort.model_copy(update={"groups": site.groups})
    note_data(ledger, question.name, snapshot, quality)
    refuse_if_failed(fit_for_scoring(quality, labelled=True))
    refuse_unlabelled(workspace, snapshot, outputs)
    cohort = steps.take("select", select(workspace, snapshot, quality, definition, outputs))
    known = known_again(workspace, snapshot, champion)
    splits = steps.take("hold out", hold_out(workspace, cohort, champion, include_seen=include_seen, known=known))
    own = TypeAdapter(Preprocessing).validate_python(champion.preprocessing)
    arrays = steps.take("prepare", prepare(workspace, snapshot, quality, cohort, own))
    scorecard = steps.take(
        "evaluate",
        score(workspace, champion, arrays, cohort, splits, outputs, "test", question.evaluation),
    )
    # Under whatever problem: an equal candidate of another one opened the same test set, and is noted once.
    opened = [entry for entry in ledger.entries(kind="opened") if entry.facts["candidate"] == champion.key]
    tested = own_scorecard(workspace, champion, [entry.facts["test_sha256"] for entry in opened], scorecard)
    samples_seen, subjects_seen = seen(workspace, cohort, champion, known)
    home = "" if champion.origin is None else champion.origin.snapshot
    own_rows = None if tested is None else rows_of_both(workspace, scorecard, tested, (snapshot.key, home))
    apart = None
    if tested is not None and own_rows == 0:
        apart = steps.take("gap", gap(workspace, champion, tested, scorecard, outputs, question.evaluation))
    reasons = _lacking(question, scorecard)
    if include_seen and samples_seen:
        reasons += (f"{samples_seen} samples of {cohort.unit}s that the champion was fitted on (required: none)",)
    name = next(iter(outputs))
    told = Elsewhere(
        problem=question.name,
        question=question.question,
        version=standing.version,
        model=champion.name,
        model_sha256=champion.model_sha256,
        source=snapshot.source,
        matched={} if matched is None else matched.columns,
        missing=() if matched is None else matched.missing,
        output=outputs[name].model_dump(mode="json"),
        cohort=cohort,
        scorecard=scorecard,
        own=None if tested is None else OwnTest(samples=tested.samples, subjects=tested.subjects),
        own_rows=own_rows,
        gap=apart,
        reasons=reasons,
        set_aside=quality.set_aside,
        seen=samples_seen,
        includes_seen=include_seen,
    )
    page = steps.take("report", write_page(workspace, told))
    facts = {
        "version": standing.version,
        "model_sha256": champion.model_sha256,
        "data_sha256": snapshot.data_sha256,
        "samples": scorecard.samples,
        "subjects": scorecard.subjects,
        "includes_seen": include_seen and samples_seen > 0,
        "evidence": _verdict(reasons),
        "metrics": {
            metric: measure.model_dump() for metric, measure in scorecard.metrics[name].items() if metric in AUDITED
        },
    }
    with steps.timed("note"):
        looks = note(ledger, question.name, champion, scorecard, facts)
    remember_lineage(workspace, scorecard.key, steps.keys)
    workspace.keep_receipt(
        "external", scorecard.key, facts | {"at": datetime.now(UTC).isoformat(), "by": ledger.by, "stages": steps.taken}
    )
    return {
        "problem": question.name,
        "question": question.question,
        "version": standing.version,
        "model": champion.name,
        "model_sha256": champion.model_sha256,
        "data_sha256": snapshot.data_sha256,
        "evidence": _verdict(reasons),
        "reasons": list(reasons),
        "cohort": {
            "unit": cohort.unit,
            "samples": scorecard.samples,
            "subjects": scorecard.subjects,
            "classes": scorecard.classes,
            "attrition": [line.model_dump() for line in cohort.attrition],
        },
        "set_aside": quality.set_aside,
        "seen_in_training": {"samples": samples_seen, "subjects": subjects_seen, "scored": include_seen},
        "metrics": _figures(scorecard),
        "floors": {} if told.missing else _floors(question, scorecard),
        "own_test_rows": own_rows,
        "own_test": None
        if tested is None
        else {"samples": tested.samples, "subjects": tested.subjects, "metrics": _figures(tested)},
        "thresholds": {output: list(values) for output, values in champion.thresholds.items()},
        "confusion": {output: [list(row) for row in matrix] for output, matrix in scorecard.confusion.items()},
        "calibration": {
            output: {part: measure.model_dump() for part, measure in parts.items()}
            for output, parts in scorecard.calibration.items()
        },
        "subgroups": {
            output: [subgroup.model_dump() for subgroup in subgroups]
            for output, subgroups in scorecard.subgroups.items()
        },
        "source": snapshot.source,
        "labels": told.matched,
        "missing": list(told.missing),
        "gap": None if apart is None else {metric: one.model_dump() for metric, one in apart.metrics.items()},
        "report": str(workspace.folder("report", page.key) / page.file),
        "looks": looks,
        "stages": steps.taken,
    }


def read_elsewhere(
    workspace: Workspace, site: Site, file: str, data: str | None, steps: Steps
) -> tuple[Snapshot, QualityReport]:
    """Ingest and validate a site's data.

    Raises:
        ConfigurationError: nobody said where they lie.
    """
    if data is None:
        raise ConfigurationError(
            "nobody said where the site's data lie",
            expected="--data PATH beside --source",
            received="--source alone",
            action="give the folder or file of the data with --data",
        )
    suite = suite_of(site, file)
    snapshot = steps.take("ingest", ingest(workspace, elsewhere(site.source), expanded(data).absolute(), None))
    return snapshot, steps.take("validate", validate(workspace, snapshot, suite, site.tolerance))


def _verdict(reasons: tuple[str, ...]) -> str:
    return "insufficient_evidence" if reasons else "sufficient"


def _lacking(question: Problem, scorecard: Scorecard) -> tuple[str, ...]:
    """Classes with fewer subjects than the gate asks for, or than is usual where there is no gate."""
    evidence = next(iter(scorecard.evidence.values()))
    gate = question.gate
    positives, negatives = (gate.minimum_positives, gate.minimum_negatives) if gate else (MINIMUM, MINIMUM)
    if next(iter(question.outputs.values())).kind == "mask":  # overlap and distance speak of who has a finding alone
        negatives = 0
    return lacking(evidence, scorecard.unit, positives, negatives)


def _floors(question: Problem, scorecard: Scorecard) -> dict[str, dict[str, Any]]:
    """Metric → the gate's floor, the lower bound on these data, and whether it reaches the floor."""
    if question.gate is None:
        return {}
    measures = scorecard.metrics[question.gate.output or next(iter(question.outputs))]
    told = {}
    for metric, floor in sorted(question.gate.floors.items()):
        low = measures[metric].low if metric in measures else None
        told[metric] = {"floor": floor, "low": low, "met": low is not None and low >= floor}
    return told


def _figures(scorecard: Scorecard) -> dict[str, dict[str, Any]]:
    return {
        output: {metric: metrics[metric].model_dump() for metric in in_order(metrics)}
        for output, metrics in scorecard.metrics.items()
    }
