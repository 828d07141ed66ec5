"""What the ledger holds of the gate: lines of champions, and approvals that are outstanding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medai.ledger import Ledger
from medai.lines import Protocol
from medai.promotion.recorded import awaiting, last_protocol, line_facts, protocol_of, want
from medai.records import Condition, Decision
from medai.workspace import Workspace

SEPSIS = "sepsis"
FIRST, OTHER = Protocol(line="1-2-3-4", models="m"), Protocol(line="1-x-3-x", models="m")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    (tmp_path / "home").mkdir()
    return Ledger(Workspace(tmp_path / "home"), by="tester")


def in_line(ledger: Ledger, candidate: str, expected: str | None, protocol: Protocol, **more: Any) -> dict[str, Any]:
    """Promote a candidate in a line; the facts of the promotion."""
    facts = line_facts(ledger, SEPSIS, protocol) | more
    ledger.promote(
        SEPSIS, version=1, candidate=candidate, run_id="r", how="gate", reason="x", expected=expected, facts=facts
    )
    return ledger.entries(SEPSIS, "champion")[-1].facts


def test_a_promotion_says_where_a_line_begins(ledger: Ledger) -> None:
    """The first of all begins one, too; a line that goes on, or comes back to nobody, does not begin."""
    assert in_line(ledger, "a", None, FIRST)["begins"] == []
    assert "begins" not in in_line(ledger, "b", "a", FIRST)
    other = in_line(ledger, "c", "b", OTHER)
    assert (other["line"], other["models"], other["begins"]) == ("1-x-3-x", "m", ["cohort", "gate"])
    for _ in "cba":
        ledger.rollback(SEPSIS, "why")
    assert "begins" not in in_line(ledger, "d", None, FIRST)
    assert protocol_of(ledger.champion(SEPSIS)) == FIRST


def test_a_ledger_of_before_names_no_line(ledger: Ledger) -> None:
    """Its champion's protocol is empty, and the next promotion begins a line that differs in nothing known."""
    assert "line" not in in_line(ledger, "a", None, Protocol())
    assert protocol_of(ledger.champion(SEPSIS)) == last_protocol(ledger, SEPSIS, "a") == Protocol()
    assert protocol_of(None) is None
    assert in_line(ledger, "b", "a", FIRST)["begins"] == []


def test_an_approval_is_open_while_its_champion_stands(ledger: Ledger) -> None:
    """Noted once; closed by the promotion it waited for, by any other, by a withdrawal of its candidate, and when it is
    decided on anew.
    """

    def wanted(candidate: str, champion: str | None) -> None:
        condition = Condition(name="approved by a person", passed=False, figure="", required="", awaits=True)
        decision = Decision(
            key=f"of {candidate}", verdict="awaiting_approval", candidate=candidate, champion=champion, line="l",
            conditions=(condition,),
        )  # fmt: skip
        want(ledger, SEPSIS, decision, 7)

    def waiting() -> list[str]:
        return [entry.facts["candidate"] for entry in awaiting(ledger, SEPSIS)]

    wanted("a", None)
    wanted("a", None)
    wanted("b", None)
    (first, _) = ledger.entries(SEPSIS, "wanted")
    assert first.facts == {
        "decision": "of a", "candidate": "a", "champion": None, "version": 7, "line": "l",
        "for": ["approved by a person"],
    }  # fmt: skip
    assert waiting() == ["a", "b"]
    assert in_line(ledger, "a", None, FIRST, approves="of a")["approves"] == "of a"
    assert waiting() == []
    wanted("c", "a")
    assert waiting() == ["c"]
    ledger.rollback(SEPSIS, "why")
    assert waiting() == ["b"]  # nobody stands again, and "a" was withdrawn
    ledger.append("decided", SEPSIS, {"candidate": "b", "decision": "of b"})
    assert waiting() == ["b"]
    ledger.append("decided", SEPSIS, {"candidate": "b", "decision": "of b by other rules"})
    assert waiting() == []


def test_the_protocol_of_a_candidate_is_its_last_decisions(ledger: Ledger) -> None:
    """Judged by other rules, it belongs to another line."""
    for line in ("old", "new"):
        ledger.append("decided", SEPSIS, {"candidate": "a", "line": line, "models": "m"})
    ledger.append("decided", SEPSIS, {"candidate": "b"})
    assert last_protocol(ledger, SEPSIS, "a") == Protocol(line="new", models="m")
    assert last_protocol(ledger, SEPSIS, "b") == last_protocol(ledger, SEPSIS, "never") == Protocol()
