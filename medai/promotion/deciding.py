"""``decide``: promoted, refused, insufficient evidence or awaiting approval; every condition with its figure.

Pure: it reads scores on the gate's rows and writes a Decision; what follows from it is done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medai.lines import Protocol
from medai.outputs import Output
from medai.promotion import changes, comparison, performance
from medai.promotion.gate import Gate, Rules
from medai.records import (
    Candidate,
    Condition,
    Decision,
    Frozen,
    Parity,
    QualityReport,
    Scorecard,
    Snapshot,
    Verdict,
    stage_key,
)
from medai.workspace import Made, Workspace

VERSION = 5


@dataclass(frozen=True)
class Standing:
    """The champion that a candidate is held against.

    Attributes:
        candidate: its record.
        scorecard: on the gate's rows; None where it cannot answer the question on them, or is not asked.
        protocol: under which it was promoted, as the ledger says; None where the ledger does not.
    """

    candidate: Candidate
    scorecard: Scorecard | None
    protocol: Protocol | None


@dataclass(frozen=True)
class Case:
    """A candidate before the gate, and what speaks for it.

    Attributes:
        candidate: its record.
        scorecard: on the gate's role.
        protocol: of its Problem.
        snapshot, quality: the data that it learnt from, and what validation found in them.
        parity: what the served path said of a sample; None where no rule asks for it.
        withdrawn: a person rolled this candidate back; only a person may bring it back.
    """

    candidate: Candidate
    scorecard: Scorecard
    protocol: Protocol
    snapshot: Snapshot | None = None
    quality: QualityReport | None = None
    parity: Parity | None = None
    withdrawn: bool = False


class _Deciding(Frozen):
    rules: Rules
    protocol: Protocol
    standing: Protocol | None
    withdrawn: bool


def decide(
    workspace: Workspace, rules: Rules, outputs: dict[str, Output], case: Case, standing: Standing | None
) -> Made[Decision]:
    """Judge a candidate on the gate's rows.

    Args:
        rules: without a gate the answer is ``no_gate``: nothing is promoted.
        standing: the champion; None where there is none.
    """
    candidate, champion = case.candidate, None if standing is None else standing.candidate
    records = {
        "candidate": candidate,
        "scorecard": case.scorecard,
        "snapshot": case.snapshot,
        "quality": case.quality,
        "parity": case.parity,
        "champion": champion,
        "champion_scorecard": None if standing is None else standing.scorecard,
    }
    config = _Deciding(
        rules=rules,
        protocol=case.protocol,
        standing=None if standing is None else standing.protocol,
        withdrawn=case.withdrawn,
    )
    inputs = {name: record.key for name, record in records.items() if record is not None}
    key = stage_key("decide", VERSION, inputs, config, ("numpy",))

    def build(_folder: Path) -> Decision:
        begins = _begins(case, standing)
        verdict: Verdict = "no_gate"
        conditions: tuple[Condition, ...] = ()
        reasons: tuple[str, ...] = ("the Problem has no gate, so nothing is promoted",)
        if rules.gate is not None:
            name = rules.gate.output or next(iter(outputs))
            decisive, others = _conditions(workspace, rules, rules.gate, name, outputs[name], case, standing, begins)
            conditions = (*decisive, *others)
            verdict = _verdict(decisive, others)
            reasons = _reasons(verdict, conditions)
        return Decision(
            key=key,
            verdict=verdict,
            candidate=candidate.key,
            champion=champion.key if champion else None,
            line=case.protocol.line,
            models=case.protocol.models,
            begins=begins,
            conditions=conditions,
            reasons=reasons,
        )

    return workspace.materialise("decide", key, Decision, build)


def _begins(case: Case, standing: Standing | None) -> tuple[str, ...] | None:
    """In what a new line differs from the champion's; None where there is no new line."""
    if standing is None or standing.candidate.key == case.candidate.key:
        return None
    differing = case.protocol.differences(standing.protocol)
    return () if differing is None else differing or None


def _conditions(
    workspace: Workspace,
    rules: Rules,
    gate: Gate,
    name: str,
    output: Output,
    case: Case,
    standing: Standing | None,
    begins: tuple[str, ...] | None,
) -> tuple[list[Condition], list[Condition]]:
    """Those without which there is no evidence, and all others."""
    candidate, scorecard = case.candidate, case.scorecard
    champion, protocol = (None, None) if standing is None else (standing.candidate, standing.protocol)
    decisive = list(performance.evidence(gate, name, output, scorecard))
    decisive.append(comparison.unseen(workspace, gate, "the candidate", candidate, scorecard))
    rule = gate.non_inferiority
    if standing is None:
        compared = list(comparison.not_compared(rule, name, "there is no champion", passed=True))
    elif standing.candidate.key == candidate.key:
        compared = list(comparison.not_compared(rule, name, "it is the champion", passed=True))
    elif begins is not None:
        compared = list(comparison.not_compared(rule, name, "a new line of champions begins", passed=True))
    else:
        decisive.append(comparison.unseen(workspace, gate, "the champion", standing.candidate, scorecard))
        decisive.append(comparison.same_rows(scorecard, standing.scorecard))
        if standing.scorecard is None or not all(condition.passed for condition in decisive[-3:]):
            compared = list(comparison.not_compared(rule, name, "the comparison is void", passed=False))
        else:
            theirs = (standing.candidate, standing.scorecard)
            compared = list(
                comparison.non_inferior(workspace, rule, rules.evaluation, output, name, (candidate, scorecard), theirs)
            )
    line = changes.lined(gate, candidate, champion, begins)
    return decisive, [
        *performance.floors(gate, name, scorecard),
        *performance.calibration(gate.calibration, name, scorecard),
        *performance.subgroups(gate.subgroups, name, scorecard),
        *compared,
        *performance.quality(gate.quality, case.snapshot, case.quality),
        *performance.parity(gate.parity, case.parity, scorecard.role),
        changes.permitted(gate, candidate, champion, case.protocol, protocol, awaits=not line.passed),
        line,
        Condition(
            name="not rolled back by a person",
            passed=not case.withdrawn,
            figure="rolled back" if case.withdrawn else "not rolled back",
            required="only `medai promote` brings a withdrawn version back",
        ),
        *changes.approved(gate, candidate, champion),
    ]


def _verdict(decisive: list[Condition], others: list[Condition]) -> Verdict:
    """What lacks evidence is not judged, what was judged and failed is refused, and a person is asked last."""
    unmet = [condition for condition in others if not condition.passed]
    unjudged = [condition for condition in unmet if not condition.judged and not condition.awaits]
    if unjudged or not all(condition.passed for condition in decisive):
        return "insufficient_evidence"
    if any(not condition.awaits for condition in unmet):
        return "refused"
    return "awaiting_approval" if unmet else "promoted"


def _reasons(verdict: Verdict, conditions: tuple[Condition, ...]) -> tuple[str, ...]:
    """Of a promotion all that was judged; else what is not met."""
    promoted = verdict == "promoted"
    told = [one for one in conditions if one.passed == promoted and (one.judged or not promoted)]
    return tuple(f"{condition.name}: {condition.figure} (required: {condition.required})" for condition in told)
