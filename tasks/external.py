"""``hold out``: all of a labelled cohort in one role; ``gap`` and ``page``; and the audit's note of the look at it."""

from __future__ import annotations

from typing import Any

from prefect import task

from medai import external
from medai.ledger import Ledger
from medai.records import Candidate, Scorecard
from tasks.stage import UNCACHED, stage

hold_out = stage(external.hold_out)
gap = stage(external.gap)
page = stage(external.write_page)


@task(name="note evaluation", **UNCACHED)
def note(ledger: Ledger, problem: str, champion: Candidate, scorecard: Scorecard, facts: dict[str, Any]) -> int:
    """Write the look into the audit; returns at how many labelled sets this champion was looked at."""
    return ledger.evaluated(problem, champion.key, scorecard.key, facts)
