"""What the champion meets beside what it learnt from: the part of monitoring that flows share.

    monitor │ note the windows → detect → announce → report

Every batch of ``medai predict`` and every new snapshot of ``medai run`` goes this way, too; there it is said in the log
if it cannot be monitored, and the command goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from flows.announcing import announce_line
from flows.lineage import remember_monitoring
from flows.outcome import Steps
from medai.cohort import Windows
from medai.errors import MedaiError, ServiceFailed
from medai.external import same_question, same_reading
from medai.ledger import Champion, Ledger
from medai.monitoring.batches import note_batch
from medai.monitoring.detection import DETECTED
from medai.monitoring.records import Compared, Reference
from medai.monitoring.reference import standing_reference
from medai.monitoring.windows import Standing, facts_of, judge, keep_window, standing
from medai.outputs import Mask, Output
from medai.prediction import Part
from medai.preprocessing import Preprocessing
from medai.problem import Problem, suite_path
from medai.records import Candidate, Origin, QualityReport, Snapshot
from medai.reporting.numbers import drifted
from medai.reporting.words import drift
from medai.workspace import Workspace
from tasks.monitor import compare_data, compare_scores, detect, keep_batch, make_reference, page
from tasks.predict import score, select_unlabelled
from tasks.prepare import prepare
from tasks.validate import validate

log = logging.getLogger("medai.run")

WATCHED = "watched"


def own_output(champion: Candidate) -> tuple[str, Output]:
    """The champion's only output, as it was fitted."""
    name, output = next(iter(champion.outputs.items()))
    adapter: TypeAdapter[Output] = TypeAdapter(Output)
    return name, adapter.validate_python(output)


def compare(
    workspace: Workspace,
    ledger: Ledger,
    question: Problem,
    stands: Champion,
    champion: Candidate,
    part: Part,
    steps: Steps,
    how: str,
    mark: str = "",
) -> dict[str, Any]:
    """Two windows of a batch, data and predictions; what repeats goes into the audit and is announced.

    Returns:
        ``windows`` as they were compared, and what ``concluded`` tells.
    """
    told = []
    if part.arrays is not None and part.scores is not None:
        reference = reference_of(workspace, question, champion, steps)
        name, output = own_output(champion)
        bounds = question.bounds
        data = compare_data(workspace, reference, champion, part.snapshot, part.cohort, part.arrays, bounds)
        answers = compare_scores(
            workspace,
            reference,
            champion,
            part.snapshot,
            part.cohort,
            part.arrays,
            part.scores.key,
            name,
            output,
            bounds,
        )
        for stage, made in (("data", data), ("predictions", answers)):
            content = steps.take(f"monitor:{stage}{mark}", made)
            new = keep_window(
                workspace, question.name, content, version=stands.version, how=how, by=ledger.by, bounds=bounds
            )
            told.append(window_facts(content, question, new=new))
    else:
        log.info("nobody of this batch could be scored, so there is nothing to compare")
    return {"windows": told} | concluded(workspace, ledger, question, champion, [part.snapshot], steps)


def concluded(
    workspace: Workspace,
    ledger: Ledger,
    question: Problem,
    champion: Candidate,
    snapshots: Iterable[Snapshot],
    steps: Steps,
) -> dict[str, Any]:
    """How the champion stands by all its windows.

    Args:
        snapshots: whose patients the page must not name, beside those of the champion's own data.

    Returns:
        ``standing``: windows of each kind, measures that are outside now and those that count; ``detected``: what is
        new among these, None where nothing is; ``page``: where the page lies.
    """
    now = standing(workspace, question.name, champion.key, question.bounds)
    found = detect(ledger, question.name, now)
    if found is not None:
        for one in found["measures"]:
            what, value = drift(one["measure"], one["statistic"]), drifted(one["value"], one["statistic"])
            log.warning("drift that counts, of %s: %s is %s, bound %s", one["kind"], what, value, one["bound"])
    lines = [one for one in ledger.entries(question.name, DETECTED) if one.facts["candidate"] == now.candidate]
    if now.counting and lines:
        announce_line(workspace, "medai.drift.detected", lines[-1], lines[-1].facts)
    known = known_snapshots(workspace, champion, snapshots)
    drawn = steps.take("report", page(workspace, question.name, question.question, known, now))
    remember_monitoring(workspace, question.name, drawn.key)
    return {
        "standing": summary(now),
        "detected": found,
        "page": str(workspace.folder("report", drawn.key) / drawn.file),
    }


def summary(now: Standing) -> dict[str, Any]:
    """A standing as plain JSON: what counts, and what is outside now."""
    return {
        "version": now.version,
        "windows": dict(now.windows),
        "measures": len(now.trends),
        "waiting": now.waiting
        and {"subjects": now.waiting.subjects, "unit": now.waiting.unit, "files": len(now.waiting.parts)},
        "undecided": sum(trend.newest.verdict == "too_few" for trend in now.trends),
        "counting": [facts_of(trend) for trend in now.counting],
        "outside": [facts_of(trend) for trend in now.trends if trend.newest.verdict == "outside"],
    }


def window_facts(content: Compared, question: Problem, *, new: bool) -> dict[str, Any]:
    """A window as plain JSON."""
    verdicts = [judge(figure, question.bounds) for figure in content.figures]
    return {
        "kind": content.kind,
        "key": content.key,
        "new": new,
        "unit": content.unit,
        "samples": content.samples,
        "subjects": content.subjects,
        "known": content.known,
        "measures": len(verdicts),
        "outside": verdicts.count("outside"),
        "too_few": verdicts.count("too_few"),
    }


def reference_of(workspace: Workspace, question: Problem, champion: Candidate, steps: Steps) -> Reference:
    """The champion's reference: the one that was made, or one made now of the data it was fitted on.

    Raises:
        ServiceFailed: the store no longer has these data.
    """
    found = standing_reference(workspace, champion)
    if found is not None:
        steps.note("reference", reused=True, seconds=0.0)
        return found
    snapshot = _own_snapshot(workspace, champion)
    if snapshot is None:
        raise ServiceFailed(
            "the champion's reference cannot be made",
            expected="the snapshot that it was fitted on, in the store",
            received="none that is intact",
            action="restore the workspace's store from a copy, or run the problem anew for a champion of its own",
        )
    quality = steps.take(
        "validate:reference", validate(workspace, snapshot, suite_path(question), question.validation.tolerance)
    )
    part = scored_part(workspace, question, champion, snapshot, quality, steps, ":reference", answer=False)
    if part is None or part.arrays is None:
        raise ServiceFailed(
            "the champion's reference cannot be made",
            expected="samples of the data that it was fitted on",
            received="none that the problem selects",
            action="give the problem as it was when the champion was made, or run it anew",
        )
    name, output = own_output(champion)
    return steps.take(
        "reference", make_reference(workspace, champion, snapshot, part.cohort, part.arrays, name, output)
    )


def scored_part(
    workspace: Workspace,
    question: Problem,
    champion: Candidate,
    snapshot: Snapshot,
    quality: QualityReport,
    steps: Steps,
    mark: str,
    *,
    answer: bool = True,
) -> Part:
    """A snapshot that was read and judged, on the road of prediction; ``answer``: up to its scores."""
    cohort = steps.take(f"select{mark}", select_unlabelled(workspace, snapshot, quality, question.cohort))
    if cohort.samples == 0:
        return Part(snapshot, cohort, None)
    own = TypeAdapter(Preprocessing).validate_python(champion.preprocessing)
    arrays = steps.take(f"prepare{mark}", prepare(workspace, snapshot, quality, cohort, own))
    if not answer:
        return Part(snapshot, cohort, None, arrays)
    name, output = own_output(champion)
    scores = steps.take(f"score{mark}", score(workspace, champion, arrays, name, output))
    return Part(snapshot, cohort, scores, arrays)


def watch_batch(
    workspace: Workspace,
    ledger: Ledger,
    question: Problem,
    stands: Champion,
    champion: Candidate,
    parts: list[Part],
) -> dict[str, Any] | None:
    """Compare a batch of ``medai predict`` with the reference.

    Returns:
        What is told of it; None where it could not be monitored: the answers are written, and that is what was asked.
    """
    steps = Steps()
    found: dict[str, Any] | None = None
    windows: list[dict[str, Any]] = []
    try:
        for place, part in enumerate(parts, start=1):
            mark = f":{place}" if len(parts) > 1 else ""
            found = compare(workspace, ledger, question, stands, champion, part, steps, "predict", mark)
            windows += found["windows"]
    except (MedaiError, OSError) as failure:
        log.warning("the answers were written; the batch was not monitored: %s", failure)
        return None
    return None if found is None else found | {"windows": windows}


def remember_batch(
    workspace: Workspace, question: Problem, stands: Champion, champion: Candidate, parts: list[Part]
) -> None:
    """Keep what is answered, so that outcomes can be joined to it later; of masks there are none to join.

    It is kept before the user gets the answers: after a kill in between nobody acts on what no outcome can reach.
    """
    name, output = own_output(champion)
    if isinstance(output, Mask):
        return
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    try:
        for part in parts:
            if part.scores is not None and part.quality is not None:
                kept = keep_batch(workspace, champion, part, part.quality, question.cohort.groups, name, output)
                note_batch(workspace, question.name, kept.record, stands.version, now)
    except (MedaiError, OSError) as failure:
        log.warning("no outcomes can be joined to these answers, which could not be kept: %s", failure)


def watch_run(
    workspace: Workspace, ledger: Ledger, question: Problem, snapshot: Snapshot, quality: QualityReport, origin: Origin
) -> None:
    """Compare the new snapshot of a run with the reference of the champion that stands, once.

    It is no part of the run: who could not be compared is told in the log. The champion's own data are its reference,
    and a cohort of windows has no road of prediction.
    """
    stands = ledger.champion(question.name)
    champion = None if stands is None else workspace.find("fit", stands.candidate, Candidate)
    if stands is None or champion is None or isinstance(question.cohort, Windows):
        return
    if champion.origin is None or champion.origin.snapshot == snapshot.key:
        return
    key = f"{question.name}-{champion.key}-{snapshot.key}"
    if workspace.receipt(WATCHED, key):
        return
    try:
        same_question(champion, question.outputs)
        same_reading(champion, origin)
        steps = Steps()
        part = scored_part(workspace, question, champion, snapshot, quality, steps, ":monitor")
        found = compare(workspace, ledger, question, stands, champion, part, steps, how="run")
        workspace.keep_receipt(WATCHED, key, {"windows": [window["key"] for window in found["windows"]]})
    except (MedaiError, OSError) as failure:
        log.warning("these data were not compared with the champion's: %s", failure)


def known_snapshots(workspace: Workspace, champion: Candidate, snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Whose patients nothing that is told may name: those of these data and those of the champion's own."""
    own = _own_snapshot(workspace, champion)
    return [*snapshots, *([] if own is None else [own])]


def _own_snapshot(workspace: Workspace, champion: Candidate) -> Snapshot | None:
    return None if champion.origin is None else workspace.find("ingest", champion.origin.snapshot, Snapshot)
