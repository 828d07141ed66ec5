"""The candidate before the gate: the champion scored on the same rows, a sample scored as if served, the decision."""

from __future__ import annotations

from pydantic import TypeAdapter

from flows.outcome import Run, Steps
from medai.errors import ServiceFailed
from medai.integrity import damage
from medai.ledger import Ledger
from medai.preprocessing import Preprocessing
from medai.promotion import Case, Standing
from medai.promotion.recorded import protocol_of
from medai.records import Arrays, Candidate, Decision, Parity, Scorecard
from medai.shards import Spread
from medai.workspace import Workspace
from tasks.decide import decide, rescore, sample
from tasks.evaluate import evaluate
from tasks.prepare import prepare


def judge(
    workspace: Workspace, ledger: Ledger, run: Run, arrays: Arrays, steps: Steps, helpers: Spread | None = None
) -> Decision:
    """Put the chosen candidate and the champion before the gate, on the same rows."""
    question, chosen = run.problem, run.candidates[run.chosen]
    role = question.gate.role if question.gate else "test"
    scorecard = run.scorecards[run.chosen]
    if role == "gate":
        scorecard = steps.take(
            "evaluate:gate",
            evaluate(workspace, chosen, arrays, run.cohort, run.splits, question.outputs, "gate", question.evaluation),
        )
    gate, stands, champion = (
        question.gate,
        ledger.champion(question.name),
        champion_of(workspace, ledger, question.name),
    )
    standing = None
    if stands is not None and champion is not None:
        theirs: Scorecard | None = None
        if champion.key == chosen.key:
            theirs = scorecard
        elif question.protocol.differences(protocol_of(stands)) == ():
            # The champion is scored through its own preprocessing, as it would be when it serves.
            own = TypeAdapter(Preprocessing).validate_python(champion.preprocessing)
            made = prepare(workspace, run.snapshot, run.quality, run.cohort, own, helpers)
            its_arrays = steps.take("prepare:champion", made)
            theirs = steps.take(
                "evaluate:champion",
                evaluate(
                    workspace, champion, its_arrays, run.cohort, run.splits, question.outputs, role, question.evaluation
                ),
            )
        standing = Standing(champion, theirs, protocol_of(stands))
    parity = None
    if gate is not None and gate.parity is not None:
        parity = served_alike(workspace, run, gate.parity.samples, scorecard, arrays, steps, helpers)
    case = Case(
        candidate=chosen,
        scorecard=scorecard,
        protocol=question.protocol,
        snapshot=run.snapshot,
        quality=run.quality,
        parity=parity,
        withdrawn=ledger.withdrawn(question.name, chosen.key),
    )
    return steps.take("decide", decide(workspace, question.rules, question.outputs, case, standing))


def served_alike(
    workspace: Workspace,
    run: Run,
    samples: int,
    scorecard: Scorecard,
    arrays: Arrays,
    steps: Steps,
    helpers: Spread | None,
) -> Parity:
    """Prepare and score a sample of the gate's rows as a prediction would."""
    chosen, output = run.candidates[run.chosen], next(iter(run.problem.outputs.values()))
    few = steps.take("sample", sample(workspace, run.cohort, run.splits, scorecard.role, samples))
    own = TypeAdapter(Preprocessing).validate_python(chosen.preprocessing)
    served = steps.take("prepare:served", prepare(workspace, run.snapshot, run.quality, few, own, helpers))
    return steps.take("rescore", rescore(workspace, chosen, scorecard, arrays, served, output))


def champion_of(workspace: Workspace, ledger: Ledger, name: str) -> Candidate | None:
    """The champion's package, intact.

    Raises:
        ServiceFailed: it is missing or was altered; nothing can be compared with it.
    """
    champion = ledger.champion(name)
    if champion is None:
        return None
    candidate = workspace.find("fit", champion.candidate, Candidate)
    if candidate is None or damage(workspace.folder("fit", champion.candidate), champion.facts.get("files_sha256")):
        raise ServiceFailed(
            f"the champion of {name}, version {champion.version}, is missing or was altered",
            expected="the files that were promoted, byte for byte",
            received="a folder that is gone or has other bytes",
            action=f"restore it from a copy, or `medai rollback {name} --reason …`",
        )
    return candidate
