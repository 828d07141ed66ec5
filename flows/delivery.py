"""What follows from a decision: registered in MLflow, carried out in the ledger, shown by MLflow's aliases, settled.

Each step looks at the world first, so that it may be begun again after a kill or a failure at any point. A run delivers
its own decision; what could not be delivered waits in the spool, for the next run, ``medai sync`` or ``medai up``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from flows.announcing import announce_line
from flows.governance import attest, project, refuse_unattested
from medai.audit import Entry
from medai.errors import ChampionMoved, ServiceFailed
from medai.integrity import damage, files_sha256
from medai.ledger import Ledger
from medai.promotion.recorded import want
from medai.records import Candidate, Cohort, Decision, Figures, QualityReport, Record, Scorecard, Snapshot, Splits
from medai.spool import SPOOL, Delivery, Spool
from medai.tracking import Package, Registered, Tracking
from medai.workspace import Workspace

R = TypeVar("R", bound=Record)

WAITS = "it waits in the spool: `medai sync`, the next run or `medai up` delivers it once MLflow answers"
SNAPSHOT = "snapshot_sha256"
"""The fact by which a line binds the data."""
EVENT_OF = {
    "promoted": "medai.champion.promoted",
    "refused": "medai.candidate.refused",
    "awaiting_approval": "medai.approval.wanted",
}
"""Verdict → what is announced of it; where the evidence is insufficient, or there is no gate, nothing happened."""


def deliver(
    ledger: Ledger,
    tracking: Tracking,
    number: int,
    delivery: Delivery,
    *,
    in_flow: bool = False,
    timed: Callable[[str], AbstractContextManager[None]] = lambda _stage: nullcontext(),
) -> Registered:
    """Carry out the decision of a line of the audit; whoever calls this holds the problem's lock.

    Args:
        number: of the audit's line.
        in_flow: let Prefect see the steps as tasks.
        timed: told when registering and promoting begin and end.

    Raises:
        ServiceDown: MLflow does not answer; the delivery stays in the spool.
        ChampionMoved: it would promote, but no longer holds; it is registered, noted as lapsed and off the spool.
        ServiceFailed: the line decided something else, a record that it names is gone or was altered, access was
            refused, or the audit is not the one whose head MLflow remembers.
    """
    # Whoever only asks about what waits, or restores a home, needs no Prefect.
    from tasks.promote import promote
    from tasks.register import register, set_alias

    name, workspace = delivery.problem, ledger.workspace
    settled = ledger.settled(name, delivery.candidate, delivery.rules)
    if settled is not None and settled.facts["decision"] == delivery.decision:
        return _conclude(ledger, tracking, number, settled)
    tell, point, carry_out = (register, set_alias, promote) if in_flow else (register.fn, set_alias.fn, promote.fn)
    decision = _found(workspace, delivery, "decide", delivery.decision, Decision)
    line = _decided(ledger, number, delivery, decision)
    package = _package(workspace, delivery, decision, line.facts.get("files_sha256"))
    candidate = package.candidate
    with timed("register"):
        refuse_unattested(ledger, tracking, name)
        registered = tell(tracking, package)
        refuse_renumbered(ledger, name, registered.version, candidate.key)
        ledger.note(
            "registered",
            name,
            {
                "version": registered.version,
                "run_id": registered.run_id,
                "candidate": candidate.key,
                "model_sha256": candidate.model_sha256,
                "files_sha256": files_sha256(workspace.folder("fit", candidate.key)),
                "data_sha256": package.snapshot.data_sha256,
                "seed": delivery.seed,
                "overrides": list(delivery.overrides),
                "figure": delivery.figure,
            },
            by=("version",),
        )
        point(tracking, name, "challenger", registered.version)
    with timed("promote"):
        if decision.verdict == "promoted":
            try:
                _refuse_lapsed(ledger, number, delivery)
                carry_out(ledger, name, candidate, registered, decision)
            except ChampionMoved as moved:
                _lapse(ledger, number, delivery, registered, moved)
                project(ledger, tracking, name)
                Spool(workspace).drop(number)
                raise
        elif decision.verdict == "awaiting_approval":
            want(ledger, name, decision, registered.version)
        project(ledger, tracking, name)
    facts = {
        "decision": decision.key,
        "candidate": candidate.key,
        "rules": delivery.rules,
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "run_id": registered.run_id,
        "version": registered.version,
        "openings": delivery.openings,
    }
    return _conclude(ledger, tracking, number, ledger.settle(name, facts))


def _conclude(ledger: Ledger, tracking: Tracking, number: int, settled: Entry) -> Registered:
    """What is left to do once a decision is settled, which a kill may have kept from being done."""
    facts = settled.facts
    attest(ledger, tracking, settled.problem)
    event = EVENT_OF.get(facts["verdict"])
    if event is not None:
        payload = {name: facts[name] for name in ("version", "decision", "verdict")}
        announce_line(ledger.workspace, event, settled, payload | {"reasons": facts.get("reasons", [])})
    Spool(ledger.workspace).drop(number)
    return Registered(run_id=facts["run_id"], version=facts["version"])


def refuse_renumbered(ledger: Ledger, problem: str, version: int, candidate: str) -> None:
    """Refuse a number that the audit knows of another candidate: the aliases would point at the wrong model.

    Raises:
        ServiceFailed: MLflow counts anew, as one does that never had the earlier versions.
    """
    known = ledger.registered(problem)
    if version in known and known[version]["candidate"] != candidate:
        raise ServiceFailed(
            f"MLflow gave a candidate of {problem} the number {version}, which is another's",
            expected=f"a number after {max(known)}, the last that the audit knows",
            received=f"version {version}",
            action="let MEDAI_TRACKING_URI name the MLflow in which the earlier versions were registered, or restore"
            " its copy; then `medai sync`",
        )


def _decided(ledger: Ledger, number: int, delivery: Delivery, decision: Decision) -> Entry:
    """The signed line of the audit that says so: whoever can write files has no key to promote with.

    It says which decision on which candidate, by which rules and against which champion, and binds what stands beside:
    the delivery as a whole, the decision's record with its reasons and figures, and the data.

    Raises:
        ServiceFailed: the line is of something else, or what it binds is no longer what it was; or the data are gone.
    """
    claimed = decision.model_dump(mode="json", include={"candidate", "verdict", "champion", "line", "models"})
    claimed |= {"decision": delivery.decision, "rules": delivery.rules}
    lines = [entry for entry in ledger.entries(delivery.problem, "decided") if entry.number == number]
    bound = bound_by(ledger.workspace, delivery)
    gone = not bound[SNAPSHOT]
    if gone:  # there is nothing to compare
        del bound[SNAPSHOT]
    # Lines of before there were lines of champions name none, and older ones bind nothing.
    said = [
        {name: entry.facts.get(name, "") for name in claimed}
        | {name: entry.facts.get(name, own) for name, own in bound.items()}
        for entry in lines
    ]
    claimed |= bound
    if said != [claimed] or decision.candidate != delivery.candidate:
        raise ServiceFailed(
            f"{SPOOL}/{number:09d}.json is not what line {number} of the audit decided",
            expected="the decision of that line, as the line has it",
            received="no such decision in that line" if not lines else "another decision, or one that was altered",
            action="nothing was carried out; look who may write to MEDAI_HOME, remove the file, run the problem again",
        )
    if gone and SNAPSHOT in lines[0].facts:
        raise _gone(delivery, "ingest")
    return lines[0]


def bound_by(workspace: Workspace, delivery: Delivery) -> dict[str, str]:
    """By what a line binds that which later lines tell and it does not repeat: figures, reasons and data."""
    return {
        "delivery": delivery.key,
        "decision_sha256": _manifest_of(workspace.folder("decide", delivery.decision)),
        SNAPSHOT: _manifest_of(workspace.folder("ingest", delivery.snapshot)),
    }


def _manifest_of(folder: Path) -> str:
    """``files_sha256``; empty where it cannot be read."""
    try:
        return files_sha256(folder)
    except OSError:
        return ""


def _refuse_lapsed(ledger: Ledger, number: int, delivery: Delivery) -> None:
    """Whether the candidate was decided anew since, or this was told to have lapsed, where a kill left it in the spool.

    A champion that moved and a candidate that a person withdrew are the ledger's to see.

    Raises:
        ChampionMoved: one of both.
    """
    name = delivery.problem
    since: Entry | None = next(
        (
            entry
            for entry in ledger.entries(name, "decided")
            if entry.number > number
            and entry.facts["decision"] != delivery.decision
            and (entry.facts["candidate"], entry.facts["rules"]) == (delivery.candidate, delivery.rules)
        ),
        ledger.lapsed(name, number),
    )
    if since is not None:
        raise ChampionMoved(
            f"a decision on a candidate of {name} was overtaken while it waited",
            expected=f"the decision of line {number} of the audit to be the last word on its candidate",
            received=f"line {since.number}: {since.kind}",
            action="nothing is needed: what was decided later stands",
        )


def _lapse(ledger: Ledger, number: int, delivery: Delivery, registered: Registered, why: ChampionMoved) -> None:
    """Note that a promotion no longer holds, once."""
    now = ledger.champion(delivery.problem)
    facts = {"decided": number, "decision": delivery.decision, "candidate": delivery.candidate}
    facts |= {"version": registered.version, "champion": now.version if now else None, "reason": why.wrong}
    ledger.note("lapsed", delivery.problem, facts, by=("decided",))


def _found(workspace: Workspace, delivery: Delivery, stage: str, key: str, kind: type[R]) -> R:
    found = workspace.find(stage, key, kind)
    if found is None:
        raise _gone(delivery, stage)
    return found


def _gone(delivery: Delivery, stage: str) -> ServiceFailed:
    return ServiceFailed(
        f"a decision on {delivery.problem} cannot be delivered: a record of it is gone or was altered",
        expected=f"the record of the stage {stage} as it was when it was decided",
        received="no intact record of that name",
        action="restore the workspace's store from a copy, or run the command again that made it",
    )


def _package(workspace: Workspace, delivery: Delivery, decision: Decision, files: str | None) -> Package:
    """What MLflow is told, from the records that the delivery names.

    Args:
        files: hash of the model's files when it was decided; lines of before it was written have none.
    """

    def find(stage: str, key: str, kind: type[R]) -> R:
        return _found(workspace, delivery, stage, key, kind)

    figures = find("draw", delivery.figures, Figures)
    candidate, folder = find("fit", delivery.candidate, Candidate), workspace.folder("fit", delivery.candidate)
    if wrong := damage(folder, files):  # one file more would be signed and registered with the others
        raise ServiceFailed(
            f"the model of a decision on {delivery.problem} cannot be registered",
            expected="its files as they were stored, and no others",
            received=wrong,
            action="look who may write to MEDAI_HOME, restore its store from a copy, then run the same command again",
        )
    return Package(
        problem=delivery.problem,
        resolved=delivery.resolved,
        run_key=delivery.run_key,
        candidate=candidate,
        folder=folder,
        snapshot=find("ingest", delivery.snapshot, Snapshot),
        quality=find("validate", delivery.quality, QualityReport),
        cohort=find("select", delivery.cohort, Cohort),
        splits=find("split", delivery.splits, Splits),
        scorecards=tuple(find("evaluate", key, Scorecard) for key in delivery.scorecards),
        baselines=delivery.baselines,
        seed=delivery.seed,
        overrides=delivery.overrides,
        figures=tuple(workspace.folder("draw", figures.key) / file for file in figures.files.values()),
        decision=decision,
    )
