"""``promote``: the ledger's entry, by compare-and-set."""

from __future__ import annotations

from prefect import task

from medai.ledger import Ledger
from medai.lines import Protocol
from medai.promotion.recorded import line_facts
from medai.records import Candidate, Decision
from medai.tracking import Registered
from tasks.stage import UNCACHED


@task(name="promote", **UNCACHED)
def promote(ledger: Ledger, problem: str, candidate: Candidate, registered: Registered, decision: Decision) -> None:
    """Make a version champion if the champion is still the one it was compared with."""
    ledger.promote(
        problem,
        version=registered.version,
        candidate=candidate.key,
        run_id=registered.run_id,
        how="gate",
        reason="; ".join(decision.reasons),
        expected=decision.champion,
        facts=line_facts(ledger, problem, Protocol(line=decision.line, models=decision.models)),
    )
