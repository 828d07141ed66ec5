"""What of the store nobody needs any more: found by what champions, versions, decisions and snapshots in use need.

    a champion, whoever a rollback would bring back    all that they were made of: they are compared and scored again
    a decision that is not carried out yet             all that it was made of
    a version that waits for a person's approval       all that it was made of: it may be champion next
    the last run's snapshot of each problem            all that was made of it
    whoever was champion, every registered version     model, figures and reports; not the data they were made of
    a measurement on other labelled data               figures and reports
    the windows of monitoring                          the newest page of each problem

What a candidate was made of stands in its lineage, a receipt (``flows.lineage``). Where one that matters has none, as
before medai kept it, nothing but leftovers is deleted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.ledger import Ledger
from medai.records import canonical_json, sha256_of
from medai.workspace import Workspace, sync_directory, write_durably

LINEAGE, SEEN, MONITORED, DELETED = "lineage", "seen", "monitored", "deleted"
"""Kinds of receipts: what a candidate was made of; which snapshot a problem's last run read; its newest page of
windows; what was deleted."""

DATA = ("generate", "ingest", "select", "split", "prepare")
"""Stages that hold data and can be made again from the raw files; all others hold models, figures and pages."""
STAGES = (
    *DATA,
    *("validate", "screen", "fit", "evaluate", "compare", "draw", "illustrate", "decide", "report", "score", "gap"),
)
"""Stages whose folders are judged here; what else lies in the store belongs to others and stays."""

UNKNOWN = "its lineage is not known: run the problem once more"


@dataclass(frozen=True)
class Item:
    """One folder of the store.

    Attributes:
        key: its name; that of a leftover begins with a dot.
        size: bytes of its files.
        why: it stays; empty where nobody needs it.
    """

    stage: str
    key: str
    size: int
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What would be deleted and what stays."""

    unneeded: tuple[Item, ...]
    kept: tuple[Item, ...]

    @property
    def list_sha256(self) -> str:
        """Hash of what would be deleted."""
        return sha256_of([[item.stage, item.key, item.size] for item in self.unneeded])

    def counts(self) -> dict[str, Any]:
        """Numbers and bytes: what goes, by stage, and what stays, by reason."""
        return {
            "unneeded": _summed((item.stage, item.size) for item in self.unneeded),
            "kept": _summed((item.why, item.size) for item in self.kept),
        }


def plan(ledger: Ledger) -> Plan:
    """Look at every folder of the store; nothing is changed."""
    workspace = ledger.workspace
    whole, records, known = _needed(ledger)
    unneeded: list[Item] = []
    kept: list[Item] = []
    for item in _folders(workspace):
        leftover = item.key.startswith(".")
        if item.stage not in STAGES:
            why = "of a stage that is not pruned"
        elif leftover:
            why = ""
        elif item.key in whole:
            why = whole[item.key]
        elif item.key in records and item.stage not in DATA:
            why = records[item.key]
        else:
            why = "" if known else UNKNOWN
        (kept if why else unneeded).append(Item(item.stage, item.key, item.size, why))
    return Plan(tuple(unneeded), tuple(kept))


def prune(ledger: Ledger, reason: str) -> Plan:
    """Delete what nobody needs: first the list, then the audit's line, then the folders, each put aside by one rename.

    A kill in between leaves folders whole, or put aside for the next time.

    Raises:
        ServiceFailed: somebody works in the store, or the audit cannot be written; nothing is deleted then.
    """
    workspace = ledger.workspace
    with workspace.unused():
        found = plan(ledger)
        if not found.unneeded:
            return found
        listed = [[item.stage, item.key, item.size] for item in found.unneeded]
        write_durably(
            workspace.root / "receipts" / DELETED / f"{found.list_sha256}.json", canonical_json(listed) + b"\n"
        )
        counts = {stage: one["folders"] for stage, one in found.counts()["unneeded"].items()}
        size = sum(item.size for item in found.unneeded)
        ledger.append(
            "deleted", "", {"reason": reason, "list_sha256": found.list_sha256, "folders": counts, "bytes": size}
        )
        for item in found.unneeded:
            _remove(workspace.folder(item.stage, item.key))
    return found


def _remove(folder: Path) -> None:
    """Out of sight first, so that nobody finds half of it."""
    aside = folder
    if not folder.name.startswith("."):
        aside = folder.with_name(f".{folder.name}.deleted")
        folder.rename(aside)
        sync_directory(folder.parent)
    shutil.rmtree(aside)


def _needed(ledger: Ledger) -> tuple[dict[str, str], dict[str, str], bool]:
    """Keys that stay in every stage, and keys that stay unless they hold data; each with why.

    Returns:
        Both, and whether all that matter have a lineage.
    """
    workspace = ledger.workspace
    whole: dict[str, str] = {}
    records: dict[str, str] = {}
    roots: dict[str, str] = {}
    entries = ledger.entries()
    for problem in sorted({entry.problem for entry in entries} - {""}):
        for champion in ledger.champions(problem):
            roots.setdefault(champion.candidate, "champion, or the one a rollback brings back")
        settled = {(one.facts["candidate"], one.facts["rules"]) for one in ledger.entries(problem, "settled")}
        for entry in ledger.entries(problem, "settled"):  # the same command again finds it, and decides nothing anew
            if decision := entry.facts.get("decision"):
                records.setdefault(decision, "decision of the audit")
        for entry in ledger.entries(problem, "decided"):
            if (entry.facts["candidate"], entry.facts["rules"]) not in settled:
                roots.setdefault(entry.facts["candidate"], "of a decision that is not carried out yet")
                whole.setdefault(entry.facts["decision"], "of a decision that is not carried out yet")
        standing = ledger.champion(problem)
        for entry in ledger.entries(problem, "wanted"):
            if entry.facts["champion"] == (standing.candidate if standing else None):
                roots.setdefault(entry.facts["candidate"], "waits for a person's approval")
        registered = list(ledger.registered(problem).values())
        if registered:
            roots.setdefault(registered[-1]["candidate"], "of the newest version")
        for facts in registered:
            records.setdefault(facts["candidate"], "registered version")
        for entry in ledger.entries(problem, "evaluated"):
            records.setdefault(entry.facts["scorecard"], "measurement on other data")
        if seen := workspace.receipt(SEEN, problem).get("snapshot"):
            whole.setdefault(str(seen), "snapshot in use")
        if page := workspace.receipt(MONITORED, problem).get("page"):
            records.setdefault(str(page), "newest page of windows")
    known = True
    for name, why in roots.items():
        keys = workspace.receipt(LINEAGE, name).get("keys")
        known = known and keys is not None
        for key in (name, *(keys or ())):
            whole.setdefault(key, why)
    for name, why in list(records.items()):
        for key in workspace.receipt(LINEAGE, name).get("keys", ()):
            records.setdefault(key, why)
    for receipt in (workspace.root / "receipts" / SEEN).glob("*.json"):  # of problems that were never decided
        whole.setdefault(str(workspace.receipt(SEEN, receipt.stem).get("snapshot")), "snapshot in use")
    return whole, records, known


def _folders(workspace: Workspace) -> Iterator[Item]:
    for folder in sorted((workspace.root / "store").glob("*/*")):
        if folder.is_dir() and not folder.is_symlink():
            yield Item(folder.parent.name, folder.name, _size(folder))


def _size(folder: Path) -> int:
    return sum(
        (Path(place) / name).lstat().st_size for place, _, names in os.walk(folder, followlinks=False) for name in names
    )


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for name, size in pairs:
        one = sums.setdefault(name, {"folders": 0, "bytes": 0})
        one["folders"] += 1
        one["bytes"] += size
    return dict(sorted(sums.items()))
