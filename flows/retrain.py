"""Retraining that happens by itself: new data → check → train → gate → promote or keep, and tell.

A run that finds the data which the last one settled trains nothing. One whose data are refused ends as Failed: nobody
should take a problem that no longer learns for one that has nothing to learn. Whatever becomes of it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.utilities.urls import url_for
from pydantic import Field

from flows.arrivals import BEGUN
from flows.governance import ledger_of
from flows.notify import blocks_of, notify
from flows.outcome import Steps
from flows.places import flow
from flows.reading import read
from flows.services.record import running
from flows.settings import Settings
from flows.train import train
from flows.turns import SCHEDULE, turn
from medai import __version__
from medai.errors import DataRefused, MedaiError, from_machine_failure
from medai.ledger import Ledger
from medai.problem import Problem, load_problem
from medai.records import Frozen, QualityReport, Snapshot, sha256_of
from medai.validation import refuse_if_failed
from medai.workspace import Workspace

log = logging.getLogger("medai.retrain")

DRIFT = "medai.drift.detected"
SETTLED = "retrained"
"""Receipt: what the last retraining that came to its end was made of."""

STATES = {
    "promoted": "Promoted",
    "refused": "Kept",
    "insufficient_evidence": "Kept",
    "no_gate": "Kept",
    "awaiting_approval": "AwaitingApproval",
    "waiting": "Waiting",
    "nothing_new": "NothingNew",
}
"""Outcome → name of the Completed state; the champion is kept in all but the first."""


class Retraining(Frozen):
    """What became of one retraining.

    Attributes:
        problem: its name.
        causes: why it ran: ``schedule``, or the events; more than one where it did the work of runs that waited.
        outcome: the gate's verdict; ``waiting`` where MLflow could not be told of it; ``nothing_new``, ``data_refused``
            or ``failed`` where it was not asked.
        reasons: of that, as sentences.
        steps: ``data``, ``check``, ``train``, ``gate``, ``champion`` → how each ended, as far as it came.
        champion, champion_before: versions; None where nobody stands.
        version, run_id: of the candidate in MLflow.
        report: path of its page.
        links: ``prefect`` and ``mlflow`` → address of the run's and the version's page, where those are known.
    """

    problem: str
    causes: tuple[str, ...]
    outcome: str
    reasons: tuple[str, ...] = ()
    steps: dict[str, str] = Field(default_factory=dict)
    champion: int | None = None
    champion_before: int | None = None
    version: int | None = None
    run_id: str | None = None
    report: str | None = None
    links: dict[str, str] = Field(default_factory=dict)


@flow(name="retrain", flow_run_name="{problem}")
def retrain(
    problem: str,
    data: str | None = None,
    seed: int = 0,
    overrides: list[str] | None = None,
    cause: str = SCHEDULE,
    notify: str | None = None,
) -> State[dict[str, Any]]:
    """Train anew if there is something new, let the gate decide, and tell.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        data: folder or file of the data; the Problem's generator or location when left out.
        seed: of the fit; it moves no patient and no array.
        overrides: ``section.key=value``.
        cause: why it runs: ``schedule``, or the event that started it.
        notify: notification blocks TYPE/NAME with commas between them; MEDAI_NOTIFY when left out.

    Returns:
        A Completed state named by the outcome, whose data are a ``Retraining`` as JSON, with ``notified``: block →
        whether it was told.

    Raises:
        MedaiError: as ``train``; people were told first.
    """
    settings = Settings.load()
    settings.apply()
    names = blocks_of(settings.notify if notify is None else notify)
    causes: tuple[str, ...] = (cause,)
    try:
        with turn() as others:
            causes = tuple(dict.fromkeys([cause, *others]))
            became = retrained(settings, problem, data, seed, overrides or [], causes)
    except Exception as failure:
        became = _failed(problem, causes, failure)
        tell(became, names, failure if isinstance(failure, MedaiError) else None)
        raise
    told = tell(became, names) if _is_news(became) else {}
    log.info("%s: %s", became.problem, subject_of(became))
    return Completed(
        name=STATES.get(became.outcome, "Completed"),
        message="; ".join(became.reasons)[:500] or None,
        data=became.model_dump(mode="json") | {"notified": told},
    )


def retrained(
    settings: Settings, problem: str, data: str | None, seed: int, overrides: Sequence[str], causes: tuple[str, ...]
) -> Retraining:
    """Check, and train if the data or the question changed since the last retraining that came to its end.

    One retraining of a problem at a time, whichever deployment it is of: the second waits, and finds nothing new.

    Raises:
        MedaiError: as ``train``.
    """
    workspace = Workspace(settings.home, settings.lock_seconds)
    question = load_problem(problem, overrides)
    ledger = ledger_of(settings, workspace)
    with workspace.lock(f"retrain-{question.name}"):
        workspace.keep_receipt(BEGUN, question.name, {"began": datetime.now(UTC).isoformat()})
        before = _version(ledger, question.name)
        snapshot, quality = read(workspace, question, data, settings, Steps(), f"medai run {problem}")
        refuse_if_failed(quality)
        made_of = _made_of(settings, question, snapshot, quality, seed)
        last = workspace.receipt(SETTLED, question.name)
        if last.get("made_of") == made_of and last.get("version") in ledger.registered(question.name):
            return Retraining(
                problem=question.name,
                causes=causes,
                outcome="nothing_new",
                reasons=(f"version {last['version']} was made of these data and this question, and was judged",),
                steps={"data": "settled", "check": "passed"},
                champion=before,
                champion_before=before,
                version=last["version"],
                links=_links(settings, question.name, last["version"]),
            )
        outcome = train(problem, data, seed, list(overrides))
        workspace.keep_receipt(SETTLED, question.name, {"made_of": made_of, "version": outcome["version"]})
        now = _version(ledger, question.name)
    version, verdict = outcome["version"], outcome["decision"]
    if version is None:  # what was decided waits in the spool
        verdict = "waiting"
    elif outcome["stages"]["register"]["reused"] and now == before:  # judged before, by a run of a person, say
        waited = last.get("made_of") == made_of and last["version"] is None
        verdict = "promoted" if waited and now == version else "nothing_new"
    return Retraining(
        problem=question.name,
        causes=causes,
        outcome=verdict,
        reasons=tuple(outcome["reasons"]),
        steps={
            "data": "new",
            "check": "passed",
            "train": "reused" if outcome["stages"].get("fit", {}).get("reused") else "trained",
            "gate": outcome["decision"],
            "champion": "none" if now is None else "kept" if now == before else "promoted",
        },
        champion=now,
        champion_before=before,
        version=version,
        run_id=outcome["run_id"],
        report=outcome["report"],
        links=_links(settings, question.name, version),
    )


def tell(became: Retraining, names: Sequence[str], error: MedaiError | None = None) -> dict[str, bool]:
    """Notify people; block → whether it was told.

    Args:
        error: in place of reasons, with its next step.
    """
    return notify(names, f"medai: {subject_of(became)}", body_of(became, error)) if names else {}


def subject_of(became: Retraining) -> str:
    """The outcome in one line.

    >>> subject_of(Retraining(problem="sepsis", causes=("schedule",), outcome="promoted", version=3, champion=3))
    'sepsis: version 3 is champion'
    """
    sentences = {
        "promoted": f"version {became.version} is champion",
        "refused": f"version {became.version} was refused",
        "insufficient_evidence": f"too few patients to judge version {became.version}",
        "no_gate": f"version {became.version} was made; there is no gate",
        "awaiting_approval": f"version {became.version} waits for a person's approval",
        "waiting": "a decision waits for MLflow; who serves stays meanwhile",
        "nothing_new": "nothing new to learn from",
        "data_refused": "the data were refused",
        "failed": "the retraining failed",
    }
    return f"{became.problem}: {sentences.get(became.outcome, became.outcome)}"


def body_of(became: Retraining, error: MedaiError | None = None) -> str:
    """What people are told: counts, figures and addresses, nothing of a patient."""
    champion = "nobody" if became.champion is None else f"version {became.champion}"
    if became.champion_before not in (None, became.champion):
        champion += f" (before: version {became.champion_before})"
    lines = [subject_of(became), f"champion: {champion}", f"cause: {', '.join(became.causes)}"]
    lines += [str(error)] if error is not None else [f"- {reason}" for reason in became.reasons]
    lines += [f"report: {became.report}"] if became.report else []
    lines += [f"{place}: {address}" for place, address in became.links.items()]
    return "\n".join(lines)


def _failed(problem: str, causes: tuple[str, ...], failure: BaseException) -> Retraining:
    """What became of a run that ended in an error; the message of one that is not ours is not repeated."""
    known = failure if isinstance(failure, MedaiError) else from_machine_failure(failure)
    settings = Settings.load()
    name, champion = problem, None
    try:
        name = load_problem(problem).name
        champion = _version(ledger_of(settings), name)
    except (MedaiError, OSError):
        log.warning("what is champion of %s could not be read", name)
    return Retraining(
        problem=name,
        causes=causes,
        outcome="data_refused" if isinstance(known, DataRefused) else "failed",
        reasons=(known.wrong if known else f"{type(failure).__name__}; its traceback is in the run's log",),
        steps={"check": "refused"} if isinstance(known, DataRefused) else {},
        champion=champion,
        champion_before=champion,
        links=_links(settings, name, None),
    )


def _is_news(became: Retraining) -> bool:
    """A schedule that found nothing new is silent; drift that no new data answer is not."""
    return became.outcome != "nothing_new" or DRIFT in became.causes


def _made_of(settings: Settings, question: Problem, snapshot: Snapshot, quality: QualityReport, seed: int) -> str:
    """Everything that a retraining's candidate and its judgement follow from, as one hash."""
    parts = [question.sha256, snapshot.key, quality.key, seed, settings.threads, settings.onednn, __version__]
    return sha256_of(parts)


def _version(ledger: Ledger, name: str) -> int | None:
    champion = ledger.champion(name)
    return champion.version if champion else None


def _links(settings: Settings, name: str, version: int | None) -> dict[str, str]:
    links = {}
    number = flow_run.get_id()
    if number is not None and (page := url_for("flow-run", obj_id=number)) is not None:
        links["prefect"] = page
    if version is not None:
        uri = settings.tracking_uri
        if uri is None and (services := running(settings)) is not None:
            uri = services.mlflow_url
        if uri is not None and uri.startswith("http"):
            links["mlflow"] = f"{uri}/#/models/{name}/versions/{version}"
    return links
