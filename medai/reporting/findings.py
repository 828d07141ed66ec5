"""What was wrong with the data: the validation's verdicts by reason, in the words of the suite."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from medai.records import QualityReport, Snapshot
from medai.reporting.words import spaced
from medai.workspace import Workspace

VERDICTS = "verdicts.json"


@dataclass(frozen=True)
class Finding:
    """One reason that was met: what was done, where, in how many rows, and why it matters."""

    done: str
    reason: str
    where: str
    rows: int
    judged: int
    why: str


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
    """Set aside first, then warned, then what the reader settled by a stated rule; each by falling number of rows."""
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
                judged=max((int(one["evaluated"]) for one in broken.get(reason, [])), default=0),
                why=why.get(reason, ""),
            )
            for reason, rows in counts.items()
        ]
        found += sorted(part, key=lambda finding: -finding.rows)
    settled = [
        Finding("settled by the reader", spaced(reason), "", rows, 0, why.get(reason, ""))
        for reason, rows in snapshot.counts.items()
        if reason not in quality.set_aside and reason not in quality.warned  # the suite has told of it
    ]
    return found + sorted(settled, key=lambda finding: -finding.rows)


def _where(verdicts: list[dict[str, Any]]) -> str:
    """The tables and columns that a reason was found in."""
    places = list(dict.fromkeys(f"{one['table']}.{one['column']}".rstrip(".") for one in verdicts))
    return ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
