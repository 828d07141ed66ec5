"""From the gate's decision to the champion: decide, register, promote; or an earlier decision, recalled."""

from __future__ import annotations

import logging

from flows.delivery import SNAPSHOT, WAITS, bound_by, deliver
from flows.judging import judge
from flows.outcome import Run, Steps
from medai.audit import Entry
from medai.errors import ServiceDown, ServiceFailed
from medai.integrity import files_sha256
from medai.ledger import Ledger
from medai.promotion import VERSION as PROMOTION_VERSION
from medai.records import Arrays, Decision, sha256_of
from medai.shards import Spread
from medai.spool import Delivery, Spool
from medai.tracking import Registered, Tracking
from medai.workspace import Workspace

log = logging.getLogger("medai.run")


def recall(workspace: Workspace, run: Run, settled: Entry, steps: Steps) -> None:
    """Answer with the earlier run: nothing is decided anew, and nothing written."""
    decision = workspace.find("decide", settled.facts["decision"], Decision)
    if decision is None or any(
        settled.facts.get(name, own) != own
        for name, own in (("verdict", decision.verdict), ("reasons", list(decision.reasons)))
    ):
        raise _altered(settled)
    run.decision = decision
    run.registered = Registered(run_id=settled.facts["run_id"], version=settled.facts["version"])
    for stage in ("decide", "register", "promote"):
        steps.note(stage, reused=True, seconds=0.0)


def _altered(line: Entry) -> ServiceFailed:
    return ServiceFailed(
        "the earlier decision on this candidate is missing or was altered",
        expected=f"the decision that line {line.number} of the audit names",
        received="no intact record of that name",
        action="restore the workspace's store from a copy; the ledger's entry stands",
    )


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
        pending, decision = None, judge(workspace, ledger, run, arrays, steps, helpers)
    else:
        steps.note("decide", reused=True, seconds=0.0)
    run.decision = decision

    delivery = delivery_of(run)
    bound = bound_by(workspace, delivery)
    said = bound if pending is None else bound | pending.facts  # an older line binds nothing
    if pending is not None and said["decision_sha256"] != bound["decision_sha256"]:
        raise _altered(pending)
    if pending is not None and said[SNAPSHOT] != bound[SNAPSHOT]:
        raise ServiceFailed(
            "the snapshot that an earlier decision on this candidate rests on was altered",
            expected=f"store/ingest/{delivery.snapshot} as line {pending.number} of the audit binds it",
            received="other files of that name",
            action="look who may write to MEDAI_HOME; restore that folder from a copy, or remove it: the same command"
            " then reads the data again",
        )
    # Decided, but to be told otherwise now, as where another candidate was scored on the same test since.
    if pending is None or said["delivery"] != delivery.key:
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
                "files_sha256": files_sha256(workspace.folder("fit", chosen.key)),
                **bound,
            },
        )
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
