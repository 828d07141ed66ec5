"""What may be deleted: nothing that a champion, a version, a decision or a snapshot in use needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medai.errors import ServiceFailed
from medai.ledger import Ledger
from medai.pruning import LINEAGE, MONITORED, SEEN, UNKNOWN, plan, prune
from medai.records import Page
from medai.workspace import Workspace

CHAMPION, UNFINISHED = "champion, or the one a rollback brings back", "of a decision that is not carried out yet"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two champions, a version that never was one, one whose decision waits, and what a trial left behind.

    ``a`` and ``b`` were promoted, ``c`` was refused, ``e`` is the newest version, ``d`` is decided and not settled.
    """
    ledger = Ledger(Workspace(tmp_path), by="ward")
    for version, name in enumerate("abce", start=1):
        ledger.append("registered", "p", {"version": version, "run_id": "r", "candidate": name})
    ledger.promote("p", version=1, candidate="a", run_id="r", how="gate", reason="good", expected=None)
    ledger.promote("p", version=2, candidate="b", run_id="r", how="gate", reason="good", expected="a")
    for name in "abc":
        ledger.append("settled", "p", {"candidate": name, "rules": "r", "version": 1, "verdict": "refused"})
    for name in "abcd":
        ledger.append(
            "decided", "p", {"candidate": name, "rules": "r", "champion": None, "decision": f"decision-{name}"}
        )
    ledger.append("evaluated", "p", {"candidate": "b", "scorecard": "elsewhere"})
    for name in "abcde":
        keep(ledger.workspace, "fit", name)
        for stage in ("ingest", "prepare", "report"):
            keep(ledger.workspace, stage, f"{stage}-{name}")
        ledger.workspace.keep_receipt(
            LINEAGE, name, {"keys": [f"{stage}-{name}" for stage in ("ingest", "prepare", "report")]}
        )
    for stage, key in (("evaluate", "elsewhere"), ("ingest", "last"), ("ingest", "trial"), ("fit", "trial")):
        keep(ledger.workspace, stage, key)
    keep(ledger.workspace, "monitor", "window")
    ledger.workspace.keep_receipt(SEEN, "q", {"snapshot": "last"})
    return ledger


def keep(workspace: Workspace, stage: str, key: str) -> None:
    """A finished folder with a file of 1000 bytes."""

    def build(folder: Path) -> Page:
        (folder / "file").write_bytes(b"x" * 1000)
        return Page(key=key, file="file")

    workspace.materialise(stage, key, Page, build)
    workspace.release()


def names(ledger: Ledger) -> set[str]:
    """What lies in the store."""
    return {f"{path.parent.name}/{path.name}" for path in (ledger.workspace.root / "store").glob("*/*")}


GONE = {"ingest/ingest-c", "prepare/prepare-c", "ingest/trial", "fit/trial"}


def test_what_is_needed_stays_and_why(ledger: Ledger) -> None:
    """Of champions and pending decisions everything; of other versions all but data; of others' stages everything."""
    found = plan(ledger)
    assert {f"{item.stage}/{item.key}" for item in found.unneeded} == GONE
    why = {f"{item.stage}/{item.key}": item.why for item in found.kept}
    assert {name: why[name] for name in ("fit/a", "prepare/prepare-a", "ingest/ingest-b")} == {
        "fit/a": CHAMPION, "prepare/prepare-a": CHAMPION, "ingest/ingest-b": CHAMPION
    }  # fmt: skip
    assert (why["prepare/prepare-d"], why["fit/d"]) == (UNFINISHED, UNFINISHED)
    assert (why["fit/c"], why["report/report-c"]) == ("registered version", "registered version")
    assert (why["prepare/prepare-e"], why["ingest/last"]) == ("of the newest version", "snapshot in use")
    assert (why["evaluate/elsewhere"], why["monitor/window"]) == (
        "measurement on other data",
        "of a stage that is not pruned",
    )
    counts = found.counts()["unneeded"]
    assert {stage: one["folders"] for stage, one in counts.items()} == {"fit": 1, "ingest": 2, "prepare": 1}
    assert counts["fit"]["bytes"] > 1000


def test_what_nobody_needs_goes_once_the_audit_says_so(ledger: Ledger) -> None:
    """The line carries the list's hash, the list lies beside the receipts; a second time there is nothing to do."""
    before = names(ledger)
    found = prune(ledger, "the trial is over")
    assert before - names(ledger) == GONE
    (entry,) = ledger.entries(kind="deleted")
    assert entry.facts["list_sha256"] == found.list_sha256
    assert entry.facts["folders"] == {"fit": 1, "ingest": 2, "prepare": 1}
    listed = json.loads((ledger.workspace.root / "receipts" / "deleted" / f"{found.list_sha256}.json").read_bytes())
    assert {f"{stage}/{key}" for stage, key, _ in listed} == GONE
    assert prune(ledger, "again").unneeded == ()
    assert len(ledger.entries(kind="deleted")) == 1


def test_a_settled_decision_stays_though_no_lineage_names_it(ledger: Ledger) -> None:
    """A kill may come before the lineage is told of it; the same command again asks for it."""
    facts = {"candidate": "c", "rules": "s", "version": 3, "verdict": "refused", "decision": "decision-late"}
    ledger.append("settled", "p", facts)
    keep(ledger.workspace, "decide", "decision-late")
    keep(ledger.workspace, "decide", "decision-lost")
    assert {f"{item.stage}/{item.key}" for item in plan(ledger).unneeded} == GONE | {"decide/decision-lost"}
    (kept,) = [item.why for item in plan(ledger).kept if item.key == "decision-late"]
    assert kept == "decision of the audit"


def test_what_waits_for_a_person_stays_whole(ledger: Ledger) -> None:
    """Once approved it is champion, and what it learnt from is its reference; of another champion's time it is not."""
    for champion, stays in (("a", False), ("b", True)):
        ledger.append("wanted", "p", {"candidate": "c", "champion": champion, "decision": "decision-c", "version": 3})
        assert ("ingest/ingest-c" not in {f"{item.stage}/{item.key}" for item in plan(ledger).unneeded}) == stays
    why = {f"{item.stage}/{item.key}": item.why for item in plan(ledger).kept}
    assert why["prepare/prepare-c"] == why["fit/c"] == "waits for a person's approval"


def test_the_newest_page_of_windows_stays(ledger: Ledger) -> None:
    """The overview leads to it; an earlier one is told by it, too."""
    for page in ("earlier", "newest"):
        keep(ledger.workspace, "report", page)
        ledger.workspace.keep_receipt(MONITORED, "p", {"page": page})
    assert {f"{item.stage}/{item.key}" for item in plan(ledger).unneeded} == GONE | {"report/earlier"}


def test_a_champion_that_was_withdrawn_is_a_version_like_any_other(ledger: Ledger) -> None:
    """Its model stays, the data it was made of go."""
    ledger.rollback("p", "it harms")
    gone = {f"{item.stage}/{item.key}" for item in plan(ledger).unneeded}
    assert gone == GONE | {"ingest/ingest-b", "prepare/prepare-b"}


def test_without_an_audit_nothing_is_deleted(ledger: Ledger) -> None:
    """An altered line stops it before the first folder."""
    before = names(ledger)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"by":"ward"', b'"by":"word"', 1))
    with pytest.raises(ServiceFailed, match="line 1 of"):
        prune(ledger, "the trial is over")
    assert names(ledger) == before


def test_nothing_is_deleted_while_somebody_works(ledger: Ledger) -> None:
    """Whoever found or made a record has the store in use as long as it lives."""
    before = names(ledger)
    at_work = Workspace(ledger.workspace.root)
    assert at_work.find("fit", "a", Page) is not None
    with pytest.raises(ServiceFailed, match="the state folder is in use"):
        prune(ledger, "the trial is over")
    assert names(ledger) == before
    del at_work
    assert prune(ledger, "the trial is over").unneeded


def test_where_a_lineage_is_not_known_only_leftovers_go(ledger: Ledger) -> None:
    """What a champion of before was made of cannot be told; what a kill or a repair left can."""
    (ledger.workspace.root / "receipts" / LINEAGE / "a.json").unlink()
    for name in (".x.altered-17", ".x.partial", ".x.deleted"):
        (ledger.workspace.root / "store" / "fit" / name).mkdir()
    found = prune(ledger, "the trial is over")
    assert {item.key for item in found.unneeded} == {".x.altered-17", ".x.partial", ".x.deleted"}
    assert {item.why for item in found.kept if item.key == "trial"} == {UNKNOWN}
    assert not list((ledger.workspace.root / "store" / "fit").glob(".*"))
