"""What is delivered is what a line of the audit decided, and nothing that merely lies in the spool."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from flows.acting import recall
from flows.delivery import bound_by, refuse_renumbered
from flows.governance import promote_by_hand, refuse_unattested
from flows.outcome import Steps
from flows.sync import catch_up
from medai.errors import ServiceFailed
from medai.ledger import Ledger
from medai.records import Decision, Figures
from medai.spool import Delivery, Spool
from medai.workspace import Workspace

RULES = "9" * 32


def waiting(ledger: Ledger, verdict: Any, key: str, **other: Any) -> Delivery:
    """A decision on the third version in the store, and what would follow from it."""
    facts: dict[str, Any] = {
        "candidate": "3" * 32,
        "champion": "2" * 32,
        "conditions": (),
        "reasons": ("good",),
    } | other
    ledger.workspace.materialise("decide", key, Decision, lambda _: Decision(key=key, verdict=verdict, **facts))
    names = ("snapshot", "quality", "cohort", "splits", "figures")
    return Delivery.of(
        problem="p",
        resolved={},
        run_key="r" * 32,
        candidate="3" * 32,
        decision=key,
        scorecards=(),
        rules=RULES,
        baselines={},
        seed=0,
        openings=1,
        **dict.fromkeys(names, "5" * 32),
    )


@pytest.mark.parametrize(
    ("key", "decided", "other"),
    [
        ("a1" * 16, {"decision": "0" * 32}, {}),
        ("a2" * 16, {"verdict": "refused"}, {}),
        ("a3" * 16, {"candidate": "1" * 32}, {}),
        ("a4" * 16, {"champion": "1" * 32}, {}),
        ("a5" * 16, {"rules": "8" * 32}, {}),
        ("a6" * 16, {}, {"candidate": "1" * 32}),
        ("a7" * 16, None, {}),
    ],
)
def test_what_no_line_decided_is_not_carried_out(
    registry: tuple[Workspace, Any], ledger: Ledger, key: str, decided: dict[str, Any] | None, other: dict[str, Any]
) -> None:
    """A file of the spool, and a record of the store, that somebody without the site's key wrote promote nobody."""
    _, tracking = registry
    delivery = waiting(ledger, "promoted", key, **other)
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    kind = "settled" if decided is None else "decided"
    number = ledger.append(kind, "p", said | {"line": "", "models": ""} | (decided or {"decision": "0" * 32})).number
    spool = Spool(ledger.workspace)
    spool.put(number, delivery)
    told = catch_up(ledger, tracking)
    spool.drop(number)
    (failure,) = told["failed"]
    assert failure["wrong"] == f"spool/{number:09d}.json is not what line {number} of the audit decided"
    assert failure["status"] == 4
    champion = ledger.champion("p")
    assert champion is not None
    assert champion.version == 2
    assert ledger.entries()[-1].number == number


@pytest.mark.parametrize("forged", ["figure", "reasons", "data"])
def test_what_later_lines_tell_is_bound_by_the_line_that_decided(
    registry: tuple[Workspace, Any], ledger: Ledger, forged: str
) -> None:
    """Figures, reasons and data that somebody wrote anew, with hashes to match, are not told under the site's key."""
    _, tracking = registry
    workspace, key = ledger.workspace, {"figure": "d1", "reasons": "d2", "data": "d3"}[forged] * 16
    delivery = waiting(ledger, "promoted", key)
    workspace.materialise("ingest", delivery.snapshot, Figures, lambda _: Figures(key=delivery.snapshot, files={}))
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    number = ledger.append("decided", "p", said | bound_by(workspace, delivery)).number
    if forged == "figure":
        delivery = Delivery.of(**delivery.model_dump(exclude={"key", "openings"}), openings=77)
    else:
        stage, name = ("decide", key) if forged == "reasons" else ("ingest", delivery.snapshot)
        shutil.rmtree(workspace.folder(stage, name))
        if forged == "reasons":
            waiting(ledger, "promoted", key, reasons=("the board approved",))
        else:
            other = Figures(key=name, files={"other": "data"})
            workspace.materialise(stage, name, Figures, lambda _: other)
    Spool(workspace).put(number, delivery)
    (failure,) = catch_up(ledger, tracking)["failed"]
    Spool(workspace).drop(number)
    shutil.rmtree(workspace.folder("ingest", delivery.snapshot))
    assert failure["wrong"] == f"spool/{number:09d}.json is not what line {number} of the audit decided"
    assert ledger.entries()[-1].number == number


@pytest.mark.parametrize("forged", [{"verdict": "promoted"}, {"reasons": ("the board approved",)}])
def test_an_earlier_decision_is_recalled_as_it_was_settled(ledger: Ledger, forged: dict[str, Any]) -> None:
    """A run that is reused repeats no verdict and no reason that the audit does not know."""
    key = ("e1" if "verdict" in forged else "e2") * 16
    waiting(ledger, **{"verdict": "refused", "key": key} | forged)
    facts = {"decision": key, "verdict": "refused", "reasons": ["good"], "run_id": "r", "version": 3}
    settled = ledger.append("settled", "p", facts | {"candidate": "3" * 32, "rules": RULES})
    run: Any = SimpleNamespace()
    with pytest.raises(ServiceFailed, match="missing or was altered"):
        recall(ledger.workspace, run, settled, Steps())
    assert not vars(run)


def test_what_a_line_decided_is_carried_out(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """As far as the store has its records; a line of before there were lines of champions is one, too."""
    _, tracking = registry
    key = "b1" * 16
    delivery = waiting(ledger, "promoted", key)
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    number = ledger.append("decided", "p", said).number
    Spool(ledger.workspace).put(number, delivery)
    (failure,) = catch_up(ledger, tracking)["failed"]
    Spool(ledger.workspace).drop(number)
    assert failure["wrong"] == "a decision on p cannot be delivered: a record of it is gone or was altered"
    assert failure["expected"] == "the record of the stage draw as it was when it was decided"


@pytest.mark.parametrize(
    ("forged", "files", "told"),
    [
        ("weights.npz", None, "a file that was not there lies among them"),
        (None, "0" * 64, "manifest.json is not the one that the audit knows"),
    ],
)
def test_only_the_files_that_were_decided_on_are_signed(
    registry: tuple[Workspace, Any], ledger: Ledger, forged: str | None, files: str | None, told: str
) -> None:
    """A stranger among a model's files, or another model with a manifest of its own, stops the delivery before it."""
    _, tracking = registry
    key = ("c1" if forged else "c2") * 16
    delivery = waiting(ledger, "promoted", key)
    ledger.workspace.materialise("draw", "5" * 32, Figures, lambda _: Figures(key="5" * 32, files={}))
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    number = ledger.append("decided", "p", said | ({"files_sha256": files} if files else {})).number
    Spool(ledger.workspace).put(number, delivery)
    stranger = ledger.workspace.folder("fit", "3" * 32) / "weights.npz"
    if forged:
        stranger.write_bytes(b"x")
    (failure,) = catch_up(ledger, tracking)["failed"]
    stranger.unlink(missing_ok=True)
    Spool(ledger.workspace).drop(number)
    shutil.rmtree(ledger.workspace.folder("draw", "5" * 32))
    assert failure["wrong"] == "the model of a decision on p cannot be registered"
    assert failure["received"] == told


def test_an_mlflow_that_never_had_the_versions_is_told_of_none(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """It would number another model from 1 anew, and the alias of the champion would point at that one."""
    _, tracking = registry
    ledger.append("registered", "elsewhere", {"version": 4, "run_id": "r", "candidate": "3" * 32})
    with pytest.raises(ServiceFailed, match="MLflow knows no version of elsewhere") as refused:
        refuse_unattested(ledger, tracking, "elsewhere")
    assert refused.value.expected == "the MLflow in which version 4 was registered, or a copy of it"
    with pytest.raises(ServiceFailed, match="MLflow knows no version of elsewhere"):
        promote_by_hand(ledger, tracking, "elsewhere", 4, "good")
    assert tracking.model("elsewhere") is None
    assert ledger.entries()[-1].kind == "registered"


def test_a_number_that_is_another_candidates_is_refused(ledger: Ledger) -> None:
    """The audit's version stays the model that it names."""
    refuse_renumbered(ledger, "p", 3, "3" * 32)
    refuse_renumbered(ledger, "p", 4, "4" * 32)
    with pytest.raises(ServiceFailed, match="the number 2, which is another's") as refused:
        refuse_renumbered(ledger, "p", 2, "4" * 32)
    assert refused.value.expected == "a number after 3, the last that the audit knows"
