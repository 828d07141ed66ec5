"""What the ledger holds of the gate: a version's protocol, where a line begins, approvals that are outstanding."""

from __future__ import annotations

from typing import Any

from medai.audit import Entry
from medai.ledger import Champion, Ledger
from medai.lines import Protocol
from medai.records import Decision

WANTED = "wanted"


def protocol_of(champion: Champion | None) -> Protocol | None:
    """Under which a champion was promoted; without names in a ledger of before there were lines."""
    if champion is None:
        return None
    return Protocol(line=champion.facts.get("line", ""), models=champion.facts.get("models", ""))


def last_protocol(ledger: Ledger, problem: str, candidate: str) -> Protocol:
    """Under which a candidate was last decided on; without names where it never was, or the ledger is older."""
    for entry in reversed(ledger.entries(problem, "decided")):
        if entry.facts["candidate"] == candidate:
            return Protocol(line=entry.facts.get("line", ""), models=entry.facts.get("models", ""))
    return Protocol()


def line_facts(ledger: Ledger, problem: str, protocol: Protocol) -> dict[str, Any]:
    """What a promotion notes of its line: ``line``, ``models``, and where a line begins with it ``begins``.

    ``begins`` lists the parts in which it differs from the champion's line; none where nobody stands, or the champion's
    line is not recorded.
    """
    if not protocol.line:
        return {}
    now = protocol_of(ledger.champion(problem))
    earlier = {entry.facts.get("line") for entry in ledger.entries(problem, "champion")}
    facts: dict[str, Any] = protocol.model_dump()
    if protocol.line not in (earlier if now is None else {now.line}):
        facts["begins"] = list(protocol.differences(now) or ())
    return facts


def want(ledger: Ledger, problem: str, decision: Decision, version: int) -> None:
    """Note once that a decision waits for a person's approval, and for what."""
    facts = {
        "decision": decision.key,
        "candidate": decision.candidate,
        "champion": decision.champion,
        "version": version,
        "line": decision.line,
        "for": [condition.name for condition in decision.conditions if not condition.passed],
    }
    ledger.note(WANTED, problem, facts, by=("decision",))


def awaiting(ledger: Ledger, problem: str) -> list[Entry]:
    """Approvals that are outstanding, oldest first: ``facts`` name the version, its decision and what is asked for.

    One is no longer when the champion is another than the candidate was compared with, when it was decided on anew, or
    a person withdrew it.
    """
    champion = ledger.champion(problem)
    now = champion.candidate if champion else None
    last = {entry.facts["candidate"]: entry.facts.get("decision") for entry in ledger.entries(problem, "decided")}
    return [
        entry
        for entry in ledger.entries(problem, WANTED)
        if entry.facts["champion"] == now
        and last.get(entry.facts["candidate"], entry.facts["decision"]) == entry.facts["decision"]
        and not ledger.withdrawn(problem, entry.facts["candidate"])
    ]
