"""Drift that counts, written into the audit once for each champion and measure."""

from __future__ import annotations

from typing import Any

from medai.ledger import Ledger
from medai.monitoring.windows import Standing, facts_of

DETECTED = "detected"


def detect(ledger: Ledger, problem: str, stands: Standing) -> dict[str, Any] | None:
    """Append one line for the violations that count and stand in no line of this champion yet.

    Returns:
        The line's facts; None where there is nothing new.
    """
    if not stands.counting:
        return None
    with ledger.acting(f"detect-{problem}"):  # where machines share the ledger, in the locks that they share, too
        told = {
            (one["kind"], one["measure"], one["statistic"])
            for entry in ledger.entries(problem, DETECTED)
            if entry.facts["candidate"] == stands.candidate
            for one in entry.facts["measures"]
        }
        new = [trend for trend in stands.counting if trend.name not in told]
        if not new:
            return None
        facts: dict[str, Any] = {
            "candidate": stands.candidate,
            "version": stands.version,
            "measures": [facts_of(trend) for trend in new],
            "windows": sorted({one.window for trend in new for one in trend.seen if one.verdict == "outside"}),
        }
        ledger.append(DETECTED, problem, facts)
        return facts
