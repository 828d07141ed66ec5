"""Drift that counts, written into the audit once for each champion and measure."""

from __future__ import annotations

from typing import Any

from medai.audit import Entry
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

    def new(lines: list[Entry]) -> dict[str, Any] | None:
        told = {
            (one["kind"], one["measure"], one["statistic"])
            for entry in lines
            if entry.facts["candidate"] == stands.candidate
            for one in entry.facts["measures"]
        }
        untold = [trend for trend in stands.counting if trend.name not in told]
        if not untold:
            return None
        return {
            "candidate": stands.candidate,
            "version": stands.version,
            "measures": [facts_of(trend) for trend in untold],
            "windows": sorted({one.window for trend in untold for one in trend.seen if one.verdict == "outside"}),
        }

    line = ledger.note_new(DETECTED, problem, new)
    return None if line is None else line.facts
