"""What was wrong with the data: the validation's verdicts in the words of the suite, and what the reader settled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from medai.records import QualityReport, Snapshot
from medai.reporting.settled import OTHER_FILE, named, sentence
from medai.reporting.words import spaced
from medai.workspace import Workspace

VERDICTS = "verdicts.json"


@dataclass(frozen=True)
class Finding:
    """One reason that was met.

    Attributes:
        done: what was done with the rows.
        reason: as words.
        where: tables and columns.
        rows: that it was met in.
        of: rows of those tables, whatever a rule's condition leaves over; 0 where the reader settled it.
        why: it matters, or what the reader did.
        warning: it puts the data themselves in doubt.
    """

    done: str
    reason: str
    where: str
    rows: int
    of: int
    why: str
    warning: bool = False


def read_verdicts(workspace: Workspace, quality: QualityReport) -> list[dict[str, Any]]:
    """Every rule with its verdict; none where the store does not hold them."""
    path = workspace.folder("validate", quality.key) / VERDICTS
    return list(json.loads(path.read_bytes())) if path.exists() else []


def reasons(verdicts: list[dict[str, Any]]) -> dict[str, str]:
    """Reason → why it matters, as the suite's author put it."""
    told: dict[str, str] = {}
    for verdict in verdicts:
        if verdict["why"]:
            told.setdefault(verdict["reason"], verdict["why"])
    return told


def findings(quality: QualityReport, snapshot: Snapshot, verdicts: list[dict[str, Any]]) -> list[Finding]:
    """Doubts of the data themselves first, then set aside, warned, and settled by the reader; each by falling rows."""
    why = reasons(verdicts)
    broken: dict[str, list[dict[str, Any]]] = {}
    for verdict in verdicts:
        if not verdict["success"]:
            broken.setdefault(verdict["reason"], []).append(verdict)
    found = []
    for done, counts in (("set aside", quality.set_aside), ("kept, with a warning", quality.warned)):
        part = [
            Finding(
                done=done,
                reason=spaced(reason),
                where=_where(broken.get(reason, [])),
                rows=rows,
                of=_rows_of({one["table"]: int(one["spoken_of"]) for one in broken.get(reason, [])}, quality),
                why=why.get(reason, ""),
            )
            for reason, rows in counts.items()
        ]
        found += sorted(part, key=lambda finding: -finding.rows)
    settled = [
        Finding(
            done="read as it is: a warning" if reason == OTHER_FILE else "settled by the reader",
            reason=named(reason),
            where="",
            rows=rows,
            of=0,
            why=why.get(reason) or sentence(reason),
            warning=reason == OTHER_FILE,
        )
        for reason, rows in snapshot.counts.items()
        # the suite has told of some; and that nothing was met is nothing to tell
        if rows and reason not in quality.set_aside and reason not in quality.warned
    ]
    return sorted(found + sorted(settled, key=lambda finding: -finding.rows), key=lambda finding: not finding.warning)


def _rows_of(tables: dict[str, int], quality: QualityReport) -> int:
    """Rows of the tables that broke a rule, each as validation counted it."""
    return sum(quality.tables.get(table, rows) for table, rows in tables.items())


def _where(verdicts: list[dict[str, Any]]) -> str:
    """The tables and columns that a reason was found in."""
    places = list(dict.fromkeys(f"{one['table']}.{one['column']}".rstrip(".") for one in verdicts))
    return ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
