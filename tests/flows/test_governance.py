"""What a person decides stands: rollback, promotion by hand, and MLflow's alias that follows each time."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import governance
from flows.governance import project, promote_by_hand, roll_back
from flows.history import history
from flows.settings import Settings
from flows.sync import Courier, catch_up
from medai.errors import ChampionMoved, ConfigurationError, NotChampion, ServiceDown, ServiceFailed
from medai.ledger import Ledger
from medai.records import Candidate
from medai.workspace import Workspace


@pytest.fixture
def alias(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The version that an alias of a registered model points at, as MLflow's own client reads it."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    store = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"

    def read(problem: str, name: str = "champion") -> int | None:
        aliases = MlflowClient(store, store).get_registered_model(problem).aliases
        return int(aliases[name]) if name in aliases else None

    return read


def test_what_a_person_decides_stays(medai: Any, home: Path, problems: Any, alias: Any) -> None:
    """Rolled back, the only champion is nobody's; the same command does not claim it back, a new seed may, and a
    person may bring the withdrawn one back by hand. The alias follows each time.
    """
    problem = problems.pictures("ruled")
    first = medai.run(problem, home=home)
    assert (first["champion"], alias("ruled"), alias("ruled", "challenger")) == (1, 1, 1)

    answer = medai("rollback", problem, "--reason", "the ward saw false alarms", "--json", home=home)
    assert answer.status == 0, answer.err
    assert answer.json == {
        "problem": "ruled", "champion": None, "withdrawn": 1, "reason": "the ward saw false alarms", "waiting": []
    }  # fmt: skip
    assert alias("ruled") is None
    nobody = datetime.now(UTC).isoformat()

    same = medai.run(problem, home=home)
    assert (same["decision"], same["version"], same["champion"]) == ("promoted", 1, None)
    assert same["withdrawn"]["reason"] == "the ward saw false alarms"
    assert same["withdrawn"]["by"]
    assert first["withdrawn"] is None
    assert alias("ruled") is None
    shown = medai("run", problem, home=home).out
    assert f"decided at {same['withdrawn']['decided'][:19]} UTC: promoted (version 1" in shown
    assert "withdrawn since by a person" in shown
    assert "`medai promote ruled 1 --reason …` brings it back" in shown
    again = medai("rollback", problem, "--expect", "1", "--reason", "twice", "--json", home=home)
    assert (again.status, again.error["wrong"]) == (2, "version 1 of ruled is already withdrawn")
    stricter = medai.run(problem, "--set", "gate.floors.auroc=0.61", home=home)
    shown = medai("run", problem, "--set", "gate.floors.auroc=0.61", home=home).out
    assert "decision: refused (version 1" in shown
    assert "withdrawn by a person, " in shown
    assert " UTC: the ward saw false alarms\n" in shown
    assert "conditions as they were" not in shown
    assert (stricter["decision"], stricter["champion"]) == ("refused", None)
    assert stricter["reasons"] == [
        "not rolled back by a person: rolled back (required: only `medai promote` brings a withdrawn version back)"
    ]

    other = medai.run(problem, "--seed", "1", home=home)
    assert (other["decision"], other["version"], other["champion"]) == ("promoted", 2, 2)
    assert alias("ruled") == 2

    by_hand = medai("promote", problem, "1", "--reason", "the alarms were the monitor's", home=home)
    assert by_hand.status == 0, by_hand.err
    assert by_hand.out.startswith(
        "ruled: version 1 is champion\nthe gate had refused it:\n  not rolled back by a person"
    )
    once_more = medai("promote", problem, "1", "--reason", "again", home=home)
    assert once_more.out == "ruled: version 1 was already champion; nothing recorded\n"
    assert alias("ruled") == 1
    assert medai.run(problem, "--set", "gate.floors.auroc=0.61", home=home)["withdrawn"] is None
    back = medai("rollback", problem, "--reason", "no, they were not", "--json", home=home)
    assert back.json["champion"] == 2
    assert alias("ruled") == 2

    shown = medai("run", problem, "--set", "gate.floors.auroc=0.61", home=home).out
    assert "decided at " in shown  # refused by the gate, promoted by hand, withdrawn since
    assert "UTC: refused (version 1" in shown
    assert "withdrawn since by a person, " in shown
    assert " UTC: no, they were not\n" in shown

    history = medai("history", problem, "--json", home=home).json
    assert (history["champion"]["version"], history["champion"]["how"]) == (2, "rollback")
    assert [entry["how"] for entry in history["entries"] if entry["kind"] == "champion"] == [
        "gate", "rollback", "gate", "person", "rollback"
    ]  # fmt: skip
    assert [version["version"] for version in history["versions"]] == [1, 2]
    assert medai("history", problem, "--at", nobody, "--json", home=home).json["champion"] is None
    assert medai("history", problem, "--at", "2020-01-01", home=home).out == (
        f"ruled: no champion at 2020-01-01\n  the first one stood from {history['first_champion'][:19]} UTC on\n"
    )
    today = datetime.now(UTC).date().isoformat()
    assert medai("history", problem, "--at", today, "--json", home=home).json["champion"]["version"] == 2
    shown = medai("history", problem, home=home).out
    for part in (
        "  stands again since version 1 was withdrawn: no, they were not\n",
        "version 1 withdrawn: the ward saw false alarms; nobody stands",
        "version 1 made champion by a person: the alarms were the monitor's",
        "version 1 withdrawn: no, they were not; version 2 stands again",
        "version 2 judged by the gate: promoted\n    positives in test",
        "version 1 judged by the gate: refused\n    not rolled back by a person: rolled back",
        first["data_sha256"][:12],
    ):
        assert part in shown
    assert shown.index("version 2 judged by the gate: promoted") < shown.index("version 2 made champion by the gate")
    assert [(version["seed"], version["figure"]["metric"]) for version in history["versions"]] == [
        (0, "auroc"), (1, "auroc")
    ]  # fmt: skip
    past = medai("history", problem, "--at", nobody, "--json", home=home).json
    assert [entry["kind"] for entry in past["entries"]] == ["champion", "settled", "champion"]
    assert [version["version"] for version in past["versions"]] == [1]


def test_an_empty_date_is_not_today(tmp_path: Path) -> None:
    """A script whose variable is empty must not be told who is champion now."""
    with pytest.raises(ConfigurationError, match="a date cannot be read"):
        history(Ledger(Workspace(tmp_path), "anna"), "ward", at="")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("promote", "7", "--reason", "x"), "has no version 7"),
        (("promote", "1", "--reason", "  "), "what the audit keeps needs a reason"),
        (("promote", "1", "--reason", "\u00a0\u200b"), "what the audit keeps needs a reason"),
        (("promote", "1", "--reason", "a\nb\x1b[2J"), "the reason cannot be written in the audit"),
        (("rollback", "--reason", "x" * 3000), "the reason cannot be written in the audit"),
        (("rollback", "--reason", os.fsdecode(b"\xff")), "an argument is no text"),
        (("rollback", "--reason", "x"), "has no champion"),
        (("history", "--at", "yesterday"), "a date cannot be read"),
        (("history", "--at", "2099-01-01"), "nobody knows who will be champion"),
    ],
)
def test_what_cannot_be_done_is_told(
    command: tuple[str, ...], told: str, medai: Any, home: Path, problems: Any
) -> None:
    """Status 2, in three parts; the ledger is as before."""
    problem = problems.pictures("unruled")
    answer = medai(command[0], problem, *command[1:], "--json", home=home)
    assert answer.status == 2
    assert told in answer.error["wrong"]


def test_an_altered_champion_is_not_promoted_by_hand(medai: Any, problems: Any, tmp_path: Path) -> None:
    """A flipped byte in the model's file: the version cannot serve, and a new candidate cannot be compared with it."""
    home = tmp_path / "home"
    problem = problems.pictures("altered", baselines={})
    first = medai.run(problem, home=home)
    assert first["champion"] == 1
    model = next((home / "store" / "fit").glob("*/model.onnx"))
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    answer = medai("promote", problem, "1", "--reason", "once more", "--json", home=home)
    assert (answer.status, answer.error["wrong"]) == (2, "version 1 of altered cannot serve")
    answer = medai("run", problem, "--seed", "1", "--json", home=home)
    assert answer.status == 4
    assert answer.error["wrong"] == "the champion of altered, version 1, is missing or was altered"
    healed = medai.run(problem, home=home)
    assert healed["model_sha256"] == first["model_sha256"]
    assert not healed["stages"]["fit"]["reused"]
    assert healed["champion"] == 1


# -- two people at once --------------------------------------------------------------------------------------------


def test_a_change_waits_until_the_alias_of_the_one_before_has_followed(
    registry: tuple[Workspace, Any], ledger: Ledger
) -> None:
    """Promoted while another promotion's alias is on its way, or withdrawn: ledger and alias agree in the end."""
    _, tracking = registry
    for act, stands in (
        (lambda: promote_by_hand(ledger, tracking, "p", 3, "later"), 3),
        (lambda: roll_back(ledger, tracking, "p", "it harms", expected=1), 3),
    ):
        tracking.meanwhile = act
        answer = promote_by_hand(ledger, tracking, "p", 1, "sooner")
        assert answer["champion"] == 1
        tracking.other.join(60)
        champion = ledger.champion("p")
        assert champion is not None
        assert champion.version == stands == tracking.alias("p", "champion")
        assert ledger.projected("p")


def test_two_rollbacks_of_one_champion_withdraw_one(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """The second person is told who was faster; so is one who names a champion that nobody sees any more."""
    _, tracking = registry
    told: list[str] = []

    def second() -> None:
        try:
            roll_back(ledger, tracking, "p", "2 harms", expected=2)
        except NotChampion as error:
            told.append(error.wrong)

    tracking.meanwhile = second
    assert roll_back(ledger, tracking, "p", "2 harms") == {
        "problem": "p", "champion": 1, "withdrawn": 2, "waiting": []
    }  # fmt: skip
    tracking.other.join(60)
    assert told == ["version 2 of p is already withdrawn"]
    assert tracking.alias("p", "champion") == 1


@pytest.mark.parametrize("found", [3, None])
def test_an_alias_that_somebody_moved_by_hand_is_told_audited_and_put_right(
    registry: tuple[Workspace, Any], ledger: Ledger, caplog: pytest.LogCaptureFixture, found: int | None
) -> None:
    """By the next command that looks, also when that command changes nothing; it is not obeyed."""
    _, tracking = registry
    if found is None:
        tracking.drop_alias("p", "champion")
    else:
        tracking.set_alias("p", "champion", found)
    with caplog.at_level(logging.WARNING, "medai.run"):
        answer = promote_by_hand(ledger, tracking, "p", 2, "again")
    assert (answer["recorded"], answer["champion"], answer["moved"]) == (False, 2, found)
    assert tracking.alias("p", "champion") == 2
    where = "was gone" if found is None else "pointed at version 3"
    assert f"p: MLflow's alias champion {where}, moved by hand; the ledger says version 2" in caplog.text
    (line,) = ledger.entries("p", "moved")
    assert line.facts == {"alias": "champion", "found": found, "version": 2}
    assert "moved" not in promote_by_hand(ledger, tracking, "p", 2, "again")
    assert len(ledger.entries("p", "moved")) == 1


def test_an_alias_that_was_moved_is_noted_once_though_a_kill_came_before_it_was_put_back(
    registry: tuple[Workspace, Any], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again when it is moved again."""
    _, tracking = registry
    tracking.set_alias("p", "champion", 3)
    with monkeypatch.context() as killed:
        killed.setattr(type(tracking), "set_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            project(ledger, tracking, "p")
    assert project(ledger, tracking, "p")["moved"] == 3
    assert len(ledger.entries("p", "moved")) == 1
    assert tracking.alias("p", "champion") == 2
    lines = len(ledger.entries())
    assert "moved" not in project(ledger, tracking, "p")
    assert len(ledger.entries()) == lines
    tracking.set_alias("p", "champion", 3)
    project(ledger, tracking, "p")
    assert len(ledger.entries("p", "moved")) == 2


def test_a_rollback_of_nobody_withdraws_nobody(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Nobody stands when it is asked for; who is promoted while it waits for its turn was not meant."""
    _, tracking = registry
    ledger.rollback("p", "one harms")
    while ledger.champion("p") is not None:
        ledger.rollback("p", "all of them")

    class Slow(Ledger):
        """A person while whose command waits a run promotes."""

        def acting(self, problem: str) -> Any:
            """Let the run act before the lock is had."""
            ledger.promote(problem, version=3, candidate="3" * 32, run_id="r", how="gate", reason="g", expected=None)
            return super().acting(problem)

    with pytest.raises(ConfigurationError, match="p has no champion to roll back"):
        roll_back(Slow(ledger.workspace, by="late"), tracking, "p", "it harms")
    assert ledger.champion("p") is None


def test_what_a_kill_left_of_an_alias_is_nobodys_hand(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """The alias moved and its line was not written; then somebody rolled back: that was medai's own doing."""
    _, tracking = registry
    ledger.promote("p", version=3, candidate="3" * 32, run_id="r", how="gate", reason="good", expected="2" * 32)
    tracking.set_alias("p", "champion", 3)
    ledger.rollback("p", "it harms")
    assert project(ledger, tracking, "p") == {"problem": "p", "champion": 2}
    assert ledger.entries("p", "moved") == []
    assert tracking.alias("p", "champion") == 2


def test_a_withdrawn_version_challenges_nobody(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Its alias challenger is dropped with the rollback; another version's stays."""
    _, tracking = registry
    tracking.set_alias("p", "challenger", 3)
    roll_back(ledger, tracking, "p", "it harms")
    assert tracking.alias("p", "challenger") == 3
    tracking.set_alias("p", "challenger", 2)
    promote_by_hand(ledger, tracking, "p", 3, "better")
    assert tracking.alias("p", "challenger") is None


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Events that a server took, instead of the network: name and payload."""
    events: list[tuple[str, dict[str, Any]]] = []

    def send(body: bytes) -> None:
        events.extend((event["event"], event["payload"]) for event in json.loads(body))

    monkeypatch.setattr("flows.announcing._send", send)
    return events


PROMOTED = ("medai.champion.promoted", {"version": 3, "how": "person"})
WITHDRAWN = ("medai.champion.withdrawn", {"version": 3, "champion": 2})


def test_what_a_person_does_is_announced_once(
    registry: tuple[Workspace, Any], ledger: Ledger, announced: list[tuple[str, dict[str, Any]]]
) -> None:
    """Neither who repeats a promotion nor `medai sync` sends it again; the same done anew is another event."""
    _, tracking = registry
    for times in (1, 2):
        for _ in range(2):
            promote_by_hand(ledger, tracking, "p", 3, "newer")
        roll_back(ledger, tracking, "p", "it harms")
        catch_up(ledger, tracking)
        project(ledger, tracking, "p")
        assert announced == [PROMOTED, WITHDRAWN] * times


@pytest.mark.parametrize("point", ["the alias", "the event", "its line"])
def test_what_a_person_did_is_announced_though_a_kill_came_before_it(
    registry: tuple[Workspace, Any],
    ledger: Ledger,
    announced: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """`medai sync` makes up for it, and for no more than that."""
    _, tracking = registry

    def killed(*_given: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    whole: Any
    whole, name = {
        "the alias": (type(tracking), "set_alias"),
        "the event": (governance, "announce_line"),
        "its line": (Ledger, "append"),
    }[point]
    with monkeypatch.context() as patch:
        patch.setattr(whole, name, killed)
        with pytest.raises(KeyboardInterrupt):
            promote_by_hand(ledger, tracking, "p", 3, "newer")
    assert announced == ([PROMOTED] if point == "its line" else [])
    assert catch_up(ledger, tracking)["followed"] == [{"problem": "p", "champion": 3}]
    assert announced == [PROMOTED]
    assert catch_up(ledger, tracking)["followed"] == []


def test_a_withdrawal_is_announced_at_once_though_mlflow_is_down(
    registry: tuple[Workspace, Any],
    ledger: Ledger,
    announced: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the alias never followed the promotion before it; once MLflow answers nothing is sent again."""
    _, tracking = registry
    with monkeypatch.context() as patch:
        patch.setattr(
            type(tracking),
            "model",
            lambda *_: (_ for _ in ()).throw(ServiceDown("MLflow is down", expected="it", received="none", action="-")),
        )
        assert promote_by_hand(ledger, tracking, "p", 3, "newer")["waiting"] == ["mlflow"]
        assert announced == [PROMOTED]
        assert roll_back(ledger, tracking, "p", "it harms")["waiting"] == ["mlflow"]
    assert announced == [PROMOTED, WITHDRAWN]
    catch_up(ledger, tracking)
    project(ledger, tracking, "p")
    assert announced == [PROMOTED, WITHDRAWN]


def test_a_promotion_by_hand_loses_to_whoever_was_faster(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Of two people who saw the same champion the second is told who won; so is one who names another champion."""
    _, tracking = registry

    class Slow(Ledger):
        """A person whose colleague is faster."""

        def acting(self, problem: str) -> Any:
            """Let the colleague act before the lock is had."""
            promote_by_hand(ledger, tracking, "p", 1, "the older one is calmer")
            return super().acting(problem)

    with pytest.raises(ChampionMoved) as raised:
        promote_by_hand(Slow(ledger.workspace, by="late"), tracking, "p", 3, "newer")
    assert "version 1, champion since" in raised.value.received
    assert "by ward (person: the older one is calmer)" in raised.value.received
    with pytest.raises(ChampionMoved, match="version 2 is not the champion of p"):
        promote_by_hand(ledger, tracking, "p", 3, "newer", expected=2)
    with pytest.raises(ChampionMoved, match="p has a champion"):
        promote_by_hand(ledger, tracking, "p", 3, "newer", expected=0)
    assert promote_by_hand(ledger, tracking, "p", 3, "newer", expected=1)["champion"] == 3
    assert promote_by_hand(ledger, tracking, "p", 3, "newer", expected=1)["recorded"] is False
    assert ledger.entries("p", "champion")[-1].facts["replaces"] == 1


def test_nobody_is_promoted_on_an_audit_that_was_cut(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Older files of lines and head, put back, are a sound audit by themselves; MLflow knows a longer one."""
    workspace, tracking = registry
    older = {name: (workspace.root / name).read_bytes() for name in ("audit.jsonl", "audit.head")}
    promote_by_hand(ledger, tracking, "p", 3, "newer")
    for name, data in older.items():
        (workspace.root / name).write_bytes(data)
    with pytest.raises(ServiceFailed, match=r"the audit ends before line \d+, which MLflow's tags know"):
        promote_by_hand(ledger, tracking, "p", 1, "good")
    champion = ledger.champion("p")
    assert champion is not None
    assert champion.version == 2


def test_nobody_stands_again_whose_files_are_gone(registry: tuple[Workspace, Any], ledger: Ledger, fitted: Any) -> None:
    """A rollback verifies what it would bring back, as a promotion does; the champion stays."""
    workspace, tracking = registry
    record = workspace.folder("fit", "1" * 32) / "record.json"
    data = record.read_bytes()
    record.write_bytes(data[:-9])
    with pytest.raises(ConfigurationError, match="version 1 of p cannot serve"):
        roll_back(ledger, tracking, "p", "2 harms")
    champion = ledger.champion("p")
    assert champion is not None
    assert champion.version == 2
    workspace.materialise("fit", "1" * 32, Candidate, lambda _folder: fitted("1" * 32))
    assert roll_back(ledger, tracking, "p", "2 harms")["champion"] == 1


def test_an_alias_that_cannot_follow_keeps_no_other_problem_waiting(
    registry: tuple[Workspace, Any], ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Where somebody deleted a registered model, that is told of its problem, and all others follow."""
    _, tracking = registry
    for problem, before in (("deleted", None), ("p", "2" * 32)):
        facts: dict[str, Any] = {"version": 3, "candidate": "3" * 32, "run_id": "r"}
        ledger.append("registered", problem, facts)
        ledger.promote(problem, **facts, how="gate", reason="good", expected=before)
    told = catch_up(ledger, tracking)
    assert [one["problem"] for one in told["followed"]] == ["p"]
    assert tracking.alias("p", "champion") == 3
    assert [one["wrong"] for one in told["failed"]] == ["MLflow no longer has what it takes to move an alias"]
    assert told["left"] == 1
    assert caplog.messages == [f"not delivered: {told['failed'][0]['wrong']}"]


def test_a_courier_bears_a_machine_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`medai up` and the stack go on when a look for what waits cannot write; the next one tries again."""
    settings = Settings.load(home=tmp_path)
    Ledger(Workspace(tmp_path), by="ward").promote(
        "p", version=1, candidate="1" * 32, run_id="r", how="gate", reason="good", expected=None
    )
    (tmp_path / "logs").touch()  # in the way of the folder of its log
    Courier(settings).look()
    assert "what waits cannot be delivered: " in caplog.text
