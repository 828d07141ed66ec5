"""What is delivered is what a line of the audit decided, and nothing that merely lies in the spool."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from flows.acting import act, delivery_of, recall
from flows.delivery import bound_by, refuse_renumbered
from flows.governance import promote_by_hand, refuse_unattested
from flows.outcome import Steps
from flows.sync import catch_up
from medai.errors import ServiceDown, ServiceFailed
from medai.ledger import Ledger
from medai.records import Candidate, Decision, Figures
from medai.spool import Delivery, Spool
from medai.tracking import Registered
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
        ("a6" * 16, {"candidate": "1" * 32}, {"candidate": "1" * 32}),
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
    kind, other_line = ("settled", {"decision": "0" * 32}) if decided is None else ("decided", decided)
    number = ledger.append(kind, "p", said | {"line": "", "models": ""} | other_line).number
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


def test_data_that_are_gone_are_told_as_that(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Nobody forged the file in the spool, and removing it would mend nothing: the data are read again."""
    _, tracking = registry
    workspace, key = ledger.workspace, "d4" * 16
    delivery = waiting(ledger, "promoted", key)
    workspace.materialise("ingest", delivery.snapshot, Figures, lambda _: Figures(key=delivery.snapshot, files={}))
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    number = ledger.append("decided", "p", said | bound_by(workspace, delivery)).number
    Spool(workspace).put(number, delivery)
    shutil.rmtree(workspace.folder("ingest", delivery.snapshot))
    (failure,) = catch_up(ledger, tracking)["failed"]
    Spool(workspace).drop(number)
    assert failure["wrong"] == "a decision on p cannot be delivered: a record of it is gone or was altered"
    assert failure["expected"] == "the record of the stage ingest as it was when it was decided"
    assert failure["action"].endswith("or run the command again that made it")


def test_data_that_were_altered_since_are_named_by_the_run(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """The run that would deliver its earlier decision names the snapshot, and puts nothing into the spool again."""
    workspace, key, rules = ledger.workspace, "d5" * 16, SimpleNamespace(key=RULES)
    waiting(ledger, "promoted", key)
    names = ("snapshot", "quality", "cohort", "splits", "figures")
    run: Any = SimpleNamespace(
        problem=SimpleNamespace(name="p", sha256="p", rules=rules, model_dump=lambda **_: {}),
        candidates={"net": SimpleNamespace(key="3" * 32)},
        chosen="net",
        scorecards={"net": SimpleNamespace(key="5" * 32)},
        decision=SimpleNamespace(key=key),
        baseline_figures=dict,
        main_figure=lambda: None,
        seed=0,
        given=SimpleNamespace(overrides=()),
        openings=1,
        **{name: SimpleNamespace(key="5" * 32) for name in names},
    )
    kept = Figures(key="5" * 32, files={})
    workspace.materialise("ingest", kept.key, Figures, lambda _: kept)
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": "promoted", "champion": "2" * 32}
    number = ledger.append("decided", "p", said | bound_by(workspace, delivery_of(run))).number
    shutil.rmtree(workspace.folder("ingest", kept.key))
    workspace.materialise("ingest", kept.key, Figures, lambda _: Figures(key=kept.key, files={"other": "data"}))
    nothing: Any = None
    try:
        with pytest.raises(ServiceFailed, match="the snapshot that an earlier decision on this candidate") as refused:
            act(workspace, ledger, nothing, run, nothing, Steps(), answers=False)
    finally:
        shutil.rmtree(workspace.folder("ingest", kept.key))
    assert refused.value.expected == f"store/ingest/{kept.key} as line {number} of the audit binds it"
    assert Spool(workspace).numbers() == []
    assert ledger.entries()[-1].number == number


@pytest.fixture
def sent(registry: tuple[Workspace, Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The third version's records are whole and registered; events that were sent."""
    workspace, _ = registry
    package = SimpleNamespace(
        candidate=workspace.find("fit", "3" * 32, Candidate), snapshot=SimpleNamespace(data_sha256="d")
    )
    known = SimpleNamespace(fn=lambda *_: Registered(run_id="r", version=3))
    events: list[dict[str, Any]] = []
    monkeypatch.setattr("flows.delivery._package", lambda *_: package)
    monkeypatch.setattr("tasks.register.register", known)
    monkeypatch.setattr("flows.announcing._send", lambda body: events.extend(json.loads(body)))
    return events


def decide(ledger: Ledger, key: str, verdict: str = "promoted") -> tuple[int, Delivery]:
    """A line that decides on the third version against the second, and its delivery in the spool."""
    delivery = waiting(ledger, verdict, key)
    said = {"decision": key, "candidate": "3" * 32, "rules": RULES, "verdict": verdict, "champion": "2" * 32}
    number = ledger.append("decided", "p", said | {"line": "", "models": ""}).number
    Spool(ledger.workspace).put(number, delivery)
    return number, delivery


def test_a_decision_that_lapsed_promotes_nobody_later(
    registry: tuple[Workspace, Any], ledger: Ledger, sent: list[dict[str, Any]]
) -> None:
    """Killed before its file left the spool: it lapsed for good, though its champion stands again since a rollback."""
    _, tracking = registry
    number, delivery = decide(ledger, "f1" * 16)
    promote_by_hand(ledger, tracking, "p", 1, "better")
    sent.clear()
    assert [one["held"] for one in catch_up(ledger, tracking)["delivered"]] == [False]
    Spool(ledger.workspace).put(number, delivery)
    ledger.rollback("p", "harm")
    assert [one["held"] for one in catch_up(ledger, tracking)["delivered"]] == [False]
    champion = ledger.champion("p")
    assert champion is not None
    assert champion.version == 2
    assert [entry.facts["decided"] for entry in ledger.entries("p", "lapsed")] == [number]
    assert Spool(ledger.workspace).numbers() == []
    assert [one["event"] for one in sent] == ["medai.champion.withdrawn"]  # by hand, which nobody had told before


@pytest.mark.parametrize(
    ("key", "verdict", "event"),
    [
        ("f2" * 16, "promoted", "medai.champion.promoted"),
        ("f3" * 16, "refused", "medai.candidate.refused"),
        ("f4" * 16, "awaiting_approval", "medai.approval.wanted"),
        ("f5" * 16, "no_gate", None),
    ],
)
def test_a_decision_is_announced_once_wherever_a_kill_comes(
    registry: tuple[Workspace, Any],
    ledger: Ledger,
    sent: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    verdict: str,
    event: str | None,
) -> None:
    """Between the line that settles it and the event, or between the event and the file in the spool."""
    _, tracking = registry
    number, delivery = decide(ledger, key, verdict)

    def down(*_: Any) -> None:
        if ledger.entries()[-1].kind == "settled":
            raise ServiceDown("MLflow does not answer", expected="an answer", received="none", action="again")

    with monkeypatch.context() as patch:
        patch.setattr("flows.delivery.attest", down)
        assert catch_up(ledger, tracking)["waiting"] == ["mlflow"]
    assert sent == []
    for _ in range(2):
        told = catch_up(ledger, tracking)
        assert [(one["line"], one["version"]) for one in told["delivered"]] == [(number, 3)]
        Spool(ledger.workspace).put(number, delivery)
    Spool(ledger.workspace).drop(number)
    payload = {"version": 3, "decision": key, "verdict": verdict, "reasons": ["good"]}
    assert [(one["event"], one["payload"]) for one in sent] == ([] if event is None else [(event, payload)])
    assert len(ledger.entries("p", "settled")) == 1


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
