"""What was champion when, why, by whom and on which data; read from the ledger alone."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime
from typing import Any

from flows.lineage import report_of
from medai.audit import Entry
from medai.errors import ConfigurationError
from medai.ledger import Champion, Ledger, moment

log = logging.getLogger("medai.run")

VERSION_FACTS = ("version", "run_id", "model_sha256", "data_sha256", "seed", "overrides", "figure")
TOLD = ("settled", "champion", "evaluated", "moved", "wanted", "lapsed", "detected", "labelled")
"""Kinds of lines that a history tells."""


def history(ledger: Ledger, problem: str, at: str | None = None) -> dict[str, Any]:
    """A problem's champion, its versions and what was decided.

    Args:
        at: an ISO 8601 date or time; of later lines only the time of the first champion is told.

    Returns:
        What ``medai history --json`` prints.

    Raises:
        ConfigurationError: the date cannot be read, or is yet to come.
    """
    until = None if at is None else moment(at)
    today = datetime.now(UTC).date().isoformat()
    if until is not None and until > moment(today):
        raise ConfigurationError(
            "nobody knows who will be champion",
            expected=f"today, {today} in UTC, or an earlier date or time",
            received=f"{at!r}",
            action="correct the date; without --at, history tells who is champion now",
        )
    champion = ledger.champion(problem, until)
    known = ledger.entries(problem)
    back = [later.number for earlier, later in itertools.pairwise(known) if later.at < earlier.at]
    if until is not None and back:
        log.warning(
            "the clock was set back before line %s of the audit; by their own times lines stand out of order, and who"
            " was champion about then is uncertain",
            ", ".join(map(str, back)),
        )
    entries = [entry for entry in known if until is None or entry.at <= until]
    return {
        "problem": problem,
        "at": at,
        "home": str(ledger.workspace.root),
        "emptied": ledger.audit.key_is_there() and not ledger.entries(),
        "first_champion": next((entry.at for entry in known if entry.kind == "champion"), None),
        "champion": None if champion is None else _standing(ledger, champion, entries),
        "versions": [
            {"registered": entry.at, **{part: entry.facts.get(part) for part in VERSION_FACTS}}
            for entry in entries
            if entry.kind == "registered"
        ],
        "entries": [
            {"at": entry.at, "by": entry.by, "kind": entry.kind, **entry.facts}
            for entry in entries
            if entry.kind in TOLD
        ],
    }


def _standing(ledger: Ledger, champion: Champion, entries: list[Entry]) -> dict[str, Any]:
    """Who stands: since when, by whom and why; its model, its data and the report of its last decision."""
    facts = {name: value for name, value in vars(champion).items() if name != "facts"}
    version = next(
        (entry.facts for entry in entries if entry.kind == "registered" and entry.facts["version"] == champion.version),
        {},
    )
    decided = [
        entry.facts["decision"]
        for entry in entries
        if entry.kind == "settled" and entry.facts.get("version") == champion.version and "decision" in entry.facts
    ]
    report = report_of(ledger.workspace, champion.candidate, decided[-1]) if decided else None
    return {
        **{name: champion.facts[name] for name in ("line", "approval") if name in champion.facts},
        **facts,
        **{name: champion.facts.get(name, version.get(name)) for name in ("model_sha256", "data_sha256")},
        "report": None if report is None else str(report),
    }
