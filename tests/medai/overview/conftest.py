"""A ledger in which much has happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medai.ledger import Ledger
from medai.workspace import Workspace

SEPSIS = "hospital_mortality"


def settle(ledger: Ledger, version: int, verdict: str, value: float, expected: str | None = None) -> None:
    """Register a version and settle what the gate said of it; promote it if that is ``promoted``."""
    candidate = f"c{version}"
    figure: dict[str, Any] = {"metric": "auroc", "value": value, "low": value - 0.05, "high": value + 0.04}
    ledger.append("registered", SEPSIS, {"version": version, "candidate": candidate, "run_id": "r", "figure": figure})
    facts = {"decision": f"d{version}", "candidate": candidate, "rules": "g", "version": version}
    if verdict == "promoted":
        ledger.promote(
            SEPSIS, version=version, candidate=candidate, run_id="r", how="gate", reason="enough", expected=expected
        )
    if verdict == "awaiting_approval":
        asked = {"champion": expected, "for": ["approved by a person"]}
        ledger.append("wanted", SEPSIS, facts | asked)
    ledger.append("settled", SEPSIS, facts | {"verdict": verdict, "reasons": [f"because {verdict}"], "openings": 1})


def judged(ledger: Ledger, number: int, aside: int, *, passed: bool = True) -> None:
    """A verdict on data."""
    facts = {"report": f"q{number}", "snapshot": f"s{number}", "passed": passed, "rows": 400}
    facts |= {"tables": {"readings": 400, "stays": 600}, "dropped": 0}
    ledger.append("judged", SEPSIS, facts | {"set_aside": {"age_over_89": aside}, "rules": 9, "blocking": []})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two versions promoted, one refused, one that waits for a person; data that got worse; an alias moved by hand."""
    (tmp_path / "home").mkdir()
    ledger = Ledger(Workspace(tmp_path / "home"), by="anna")
    judged(ledger, 1, 10)
    settle(ledger, 1, "promoted", 0.8)
    settle(ledger, 2, "refused", 0.7)
    judged(ledger, 2, 40)
    settle(ledger, 3, "promoted", 0.85, expected="c1")
    ledger.append("moved", SEPSIS, {"alias": "champion", "found": 2, "version": 3})
    settle(ledger, 4, "awaiting_approval", 0.9, expected="c3")
    return ledger
