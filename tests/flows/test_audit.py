"""``medai audit``, ``medai history --at`` and ``medai prune``: what an auditor asks, and what a site may delete."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from flows.audit import sign, verify
from flows.governance import ledger_of, promote_by_hand, roll_back
from flows.history import history
from flows.settings import Settings
from flows.shown import governance as shown
from medai.attestation import TAG
from medai.errors import ConfigurationError, ServiceFailed
from medai.ledger import Ledger
from medai.locks import DatabaseLocks
from medai.workspace import Workspace


def wrongs(outcome: dict[str, Any]) -> list[str]:
    """What was found."""
    return [finding["wrong"] for finding in outcome["findings"]]


def test_a_whole_audit_is_told_by_its_counts(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Lines by kind, the key, what MLflow knows, how many versions' files were looked at; nothing is written."""
    _, tracking = registry
    held = ledger.path.read_bytes()
    assert verify(ledger, tracking) == {
        "intact": True,
        "lines": 7,
        "kinds": {"registered": 3, "champion": 2, "projected": 2},
        "key": ledger.audit.key().fingerprint,
        "second_place": {"p": 6},
        "champions": 2,
        "findings": [],
    }
    assert ledger.path.read_bytes() == held


def cut(ledger: Ledger, _tracking: Any) -> None:
    """The last two lines are gone."""
    ledger.path.write_bytes(b"".join(ledger.path.read_bytes().splitlines(keepends=True)[:-2]))


def older(ledger: Ledger, tracking: Any) -> None:
    """Both files as they were before the last promotion."""
    held = {path: path.read_bytes() for path in (ledger.path, ledger.path.with_name("audit.head"))}
    promote_by_hand(ledger, tracking, "p", 3, "newer")
    tracking.set_alias("p", "champion", 2)
    for path, data in held.items():
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda it, _: it.path.write_bytes(it.path.read_bytes().replace(b'"by":"ward"', b'"by":"word"', 1)), "line 1 "),
        (cut, "line 6 of audit.jsonl was removed"),
        (older, "the audit ends before line 8, which MLflow's tags know"),
        (lambda _, tracking: tracking.tag("p", TAG, "{}"), "MLflow's copy of audit.head on the model p is not signed"),
        (lambda _, tracking: tracking.set_alias("p", "champion", 3), "MLflow's alias champion of p was moved by hand"),
        (lambda it, _: it.path.unlink(), "line 1 of audit.jsonl was removed"),
        (lambda it, _: [it.path.unlink(), it.path.with_name("audit.head").unlink()], "the audit ends before line 1,"),
    ],
)
def test_what_is_not_whole_is_named(
    registry: tuple[Workspace, Any], ledger: Ledger, harm: Callable[[Ledger, Any], object], told: str
) -> None:
    """An edit, a cut tail, an older pair, a tag that was overwritten, a moved alias, no audit at all."""
    _, tracking = registry
    harm(ledger, tracking)
    outcome = verify(ledger, tracking)
    assert not outcome["intact"]
    assert wrongs(outcome)[0].startswith(told)
    assert outcome["findings"][0]["status"] == 4


def test_a_tag_that_was_taken_away_is_missed_and_written_again(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """As is an alias that somebody moved: noted, put back, and that it was is noted, too."""
    _, tracking = registry
    from mlflow import MlflowClient

    MlflowClient(tracking.uri, tracking.uri).delete_registered_model_tag("p", TAG)
    assert wrongs(verify(ledger, tracking)) == ["MLflow does not know the audit of p"]
    tracking.set_alias("p", "champion", 3)
    answer = sign(ledger, tracking)
    assert (answer["problems"], answer["moved"], answer["lines"]) == (["p"], {"p": 3}, 9)
    outcome = verify(ledger, tracking)
    assert outcome["intact"]
    assert (outcome["second_place"], outcome["kinds"]["moved"]) == ({"p": 9}, 1)


def test_a_champions_files_that_are_altered_or_gone_are_named(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Of whoever was ever promoted; looking sets nothing apart."""
    workspace, tracking = registry
    record = workspace.folder("fit", "1" * 32) / "record.json"
    held = record.read_bytes()
    for data, told in ((held[:-2] + b" \n", "record.json has other bytes"), (b"", "record.json has other bytes")):
        record.write_bytes(data)
        (finding,) = verify(ledger, tracking)["findings"]
        assert finding["wrong"] == "version 1 of p, promoted in line 4, is not as it was registered"
        assert finding["received"] == told
    record.unlink()
    assert verify(ledger, tracking)["findings"][0]["received"] == "record.json is gone"
    record.write_bytes(held)
    assert verify(ledger, tracking)["intact"]


def test_a_version_that_mlflow_has_otherwise_is_named(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Another candidate's, nobody's, or none at all; of those that were promoted alone."""
    from mlflow import MlflowClient

    _, tracking = registry
    client = MlflowClient(tracking.uri, tracking.uri)
    wrong = "version 1 of p, promoted in line 4, is not in MLflow as it was"
    try:
        for version in ("1", "3"):  # 3 was never promoted
            client.set_model_version_tag("p", version, "medai.candidate", "9" * 32)
        (finding,) = verify(ledger, tracking)["findings"]
        assert (finding["wrong"], finding["received"]) == (wrong, "one of 999999999999…")
        assert finding["expected"] == "a version of the candidate 111111111111…"
        client.delete_model_version_tag("p", "1", "medai.candidate")
        (finding,) = verify(ledger, tracking)["findings"]
        assert (finding["wrong"], finding["received"]) == (wrong, "one of none")
    finally:
        for version in ("1", "3"):
            client.set_model_version_tag("p", version, "medai.candidate", version * 32)
    assert verify(ledger, tracking)["intact"]


def test_an_approval_of_other_facts_is_named(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """A promotion by hand is signed; one that bears the signature of another is found, at its line."""
    _, tracking = registry
    assert verify(ledger, tracking)["intact"]
    own = [entry for entry in ledger.entries("p", "champion") if "signature" in entry.facts][-1]
    facts = {**own.facts, "reason": "nobody said so"}
    line = ledger.append("champion", "p", facts)
    (finding,) = verify(ledger, tracking)["findings"]
    assert finding["wrong"] == f"the approval in line {line.number} of audit.jsonl is not signed by this site"
    assert finding["received"] == "a signature of other facts"


def test_an_audit_that_was_removed_is_not_begun_anew_in_silence(
    registry: tuple[Workspace, Any], ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is signed in its place, and the history says where to look; a home in which nothing was is told so."""
    _, tracking = registry
    for path in (ledger.path, ledger.path.with_name("audit.head")):
        path.unlink()
    with pytest.raises(ServiceFailed, match="the audit ends before line 1, which MLflow's tags know"):
        sign(ledger, tracking)
    shown.history(history(ledger, "p"))
    assert "this home has a site key and no audit: was it removed?" in capsys.readouterr().out
    fresh = Ledger(Workspace(tmp_path / "fresh"), by="x")
    shown.signed(sign(fresh, tracking))
    shown.history(history(fresh, "p"))
    told = capsys.readouterr().out
    assert told.startswith("nothing was audited here yet\n")
    assert "site key" not in told


def test_a_lost_key_is_replaced_and_the_second_place_follows(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """With a reason; without one the audit stays refused, and a cut audit is not signed with one either."""
    workspace, tracking = registry
    held = shutil.copytree(workspace.root / "keys", workspace.root / "kept")
    shutil.rmtree(workspace.root / "keys")
    with pytest.raises(ServiceFailed, match="signature cannot be checked"):
        sign(ledger, tracking)
    files = {path: path.read_bytes() for path in (ledger.path, ledger.path.with_name("audit.head"))}
    for path in files:
        path.unlink()
    with pytest.raises(ConfigurationError, match="there is no audit to sign"):
        sign(ledger, tracking, "we begin again")
    cut_short = ledger.path.with_name("cut")
    audit = Ledger(Workspace(cut_short), by="x")
    audit.append("registered", "p", {"version": 1, "run_id": "r", "candidate": "1" * 32})
    shutil.rmtree(cut_short / "keys")
    with pytest.raises(ServiceFailed, match="the audit ends before line 2"):
        sign(audit, tracking, "we begin again")
    shutil.rmtree(cut_short)
    for path, data in files.items():
        path.write_bytes(data)
    answer = sign(ledger, tracking, "the disk with the key is broken")
    assert answer["key"] != json.loads(files[ledger.path.with_name("audit.head")])["key"]
    outcome = verify(ledger, tracking)
    assert outcome["intact"], outcome
    assert outcome["kinds"]["signed"] == 1
    with pytest.raises(ConfigurationError, match="needs no new signature"):
        sign(ledger, tracking, "once more")
    shutil.rmtree(held)


def test_a_kill_after_a_lost_key_was_replaced_is_made_good(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """MLflow's copy is still signed by the earlier key, or nobody knows it any more: the same command goes on."""
    workspace, tracking = registry
    for public in (True, False):
        (workspace.root / "keys" / "site.key").unlink()
        if not public:
            (workspace.root / "keys" / "site.pub").unlink()
        ledger.sign_anew("the disk with the key is broken")  # and then killed, before MLflow was told
        outcome = verify(ledger, tracking)
        assert outcome["intact"], outcome
        held = tracking.model("p").tags[TAG]
        forged = json.loads(held) | {"count": outcome["lines"]}
        tracking.tag("p", TAG, json.dumps(forged, sort_keys=True, separators=(",", ":")))
        assert wrongs(verify(ledger, tracking)) == [
            "MLflow's copy of audit.head on the model p is not signed by this site"
        ]
        tracking.tag("p", TAG, held)
        ledger.append(
            "champion",
            "p",
            {"how": "rollback", "reason": "x", "withdrawn": "2" * 32, "withdrawn_version": 2, "version": 1},
        )
        assert sign(ledger, tracking)["problems"] == ["p"]
        assert verify(ledger, tracking)["intact"]
        promote_by_hand(ledger, tracking, "p", 2, "again")


def test_history_says_where_the_clock_was_set_back(
    registry: tuple[Workspace, Any],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Asked for a moment, it names the first line that is older than the one before it; else it says nothing."""

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Behind:
            return cls(1999, 1, 1, tzinfo=tz)

    with caplog.at_level(logging.WARNING, logger="medai.run"):
        history(ledger, "p", "2020-01-01")
        assert not caplog.messages
        with monkeypatch.context() as clock:
            clock.setattr("medai.audit.datetime", Behind)
            line = ledger.append("evaluated", "p", {})
        history(ledger, "p", "2020-01-01")
    (said,) = caplog.messages
    assert f"the clock was set back before line {line.number} of the audit" in said


def test_history_answers_for_any_moment(registry: tuple[Workspace, Any], ledger: Ledger) -> None:
    """Who stood, since when, by whom and why, with model and data; through rollbacks and zones, for each problem."""
    _, tracking = registry
    ledger.append("registered", "other", {"version": 1, "run_id": "r", "candidate": "x"})
    ledger.append(
        "registered",
        "p",
        {"version": 4, "run_id": "r4", "candidate": "2" * 32, "model_sha256": "m4", "data_sha256": "d4"},
    )
    roll_back(ledger, tracking, "p", "2 harms")
    ledger.promote("p", version=4, candidate="4" * 32, run_id="r4", how="gate", reason="good", expected="1" * 32)
    at = [entry.at for entry in ledger.entries("p", "champion")]
    stood = [history(ledger, "p", moment)["champion"] for moment in at]
    assert [one["version"] for one in stood] == [1, 2, 1, 4]
    assert [one["how"] for one in stood] == ["person", "person", "rollback", "gate"]
    assert (stood[2]["reason"], stood[2]["by"], stood[2]["since"]) == ("2 harms", "ward", at[2])
    assert (stood[3]["model_sha256"], stood[3]["data_sha256"], stood[3]["report"]) == ("m4", "d4", None)
    assert history(ledger, "p", "2020-01-01")["champion"] is None
    assert history(ledger, "p", "2020-01-01")["entries"] == []
    assert history(ledger, "other")["champion"] is None
    hour = f"{at[1][:-6]}+00:00"
    from datetime import datetime, timedelta, timezone

    there = datetime.fromisoformat(hour).astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert history(ledger, "p", there)["champion"]["version"] == 2
    assert history(ledger, "p", at[1][:10])["champion"]["version"] == 4


def test_history_does_not_answer_for_days_to_come(ledger: Ledger) -> None:
    """Today still does, to its end; later ones would be told what stands now as if it were known."""
    today = datetime.now(UTC).date()
    assert history(ledger, "p", today.isoformat())["champion"] is not None
    for later in (today + timedelta(days=2), datetime.now(UTC) + timedelta(days=2)):
        with pytest.raises(ConfigurationError, match="nobody knows who will be champion") as caught:
            history(ledger, "p", later.isoformat())
        assert caught.value.received == repr(later.isoformat())


def test_the_settings_say_whose_key_signs_and_where_writers_wait(tmp_path: Path) -> None:
    """MEDAI_SITE_KEY and MEDAI_LOCK_DATABASE; the database's password is shown nowhere."""
    settings = Settings(home=tmp_path, site_key=tmp_path / "a.pem", lock_database="postgresql://u:geheim@h/d")
    ledger = ledger_of(settings)
    assert isinstance(ledger._locks, DatabaseLocks)
    assert "geheim" not in repr(settings)
    assert settings.environment()["MEDAI_LOCK_DATABASE"] == "postgresql://u:geheim@h/d"
    with pytest.raises(ConfigurationError, match=r"a\.pem is gone"):
        Ledger(Workspace(tmp_path), by="x", site_key=tmp_path / "a.pem").append("noted", "p", {})


@pytest.mark.slow
def test_a_site_is_audited_and_cleared_out(
    medai: Any, environment: dict[str, str], tmp_path: Path, problems: Any, request: pytest.FixtureRequest
) -> None:
    """A run's data and their judgement are audited once; the command verifies; what an abandoned version was made of
    goes, what the champion and the one before need stays, and the same runs are answered as before.
    """
    home = tmp_path / "home"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    medai = type(medai)(tmp_path / "first", environment)
    problem = problems.pictures("kept", baselines={})
    runs = [medai.run(problem, "--seed", str(seed), home=home) for seed in (0, 1)]
    assert runs[1]["champion"] is not None
    answer = medai("audit", "verify", "--json", home=home)
    assert answer.status == 0, answer.err
    kinds = answer.json["kinds"]
    assert (kinds["ingested"], kinds["judged"], kinds["registered"]) == (1, 1, 2)
    assert medai("check", problem, home=home).status == 0
    assert medai("audit", "verify", "--json", home=home).json["kinds"] == kinds
    shown = medai("audit", "verify", home=home).out
    assert "intact: " in shown
    assert "MLflow knows" in shown
    stands = medai("history", problem, "--json", home=home).json["champion"]
    assert stands["report"] == runs[stands["version"] - 1]["report"]
    assert stands["data_sha256"] == runs[0]["data_sha256"]
    assert f"data {stands['data_sha256']}" in medai("history", problem, home=home).out

    other = problems.pictures("tried", baselines={}, data={"kind": "synthetic", "layout": "medmnist", "subjects": 250})
    assert medai("check", other, home=home).status == 0
    would = medai("prune", "--dry-run", "--json", home=home).json
    assert would["unneeded"]["ingest"]["folders"] == 1
    assert "fit" not in would["unneeded"]
    assert {"champion, or the one a rollback brings back"} <= would["kept"].keys()
    assert medai("prune", "--json", home=home).error["wrong"] == "what the audit keeps needs a reason"
    medai.end()  # what a process has taken from the store is in use until it ends
    medai = type(medai)(tmp_path / "second", environment)
    request.addfinalizer(medai.end)
    done = medai("prune", "--reason", "the trial is over", "--json", home=home)
    assert done.status == 0, done.err
    assert done.json == would | {"dry_run": False}
    assert sorted((home / "store").glob("*/.*")) == []
    entry = json.loads((home / "audit.jsonl").read_bytes().splitlines()[-1])
    assert (entry["kind"], entry["facts"]["reason"]) == ("deleted", "the trial is over")
    assert (home / "receipts" / "deleted" / f"{entry['facts']['list_sha256']}.json").is_file()
    assert medai("prune", "--dry-run", "--json", home=home).json["unneeded"] == {}
    again = medai.run(problem, "--seed", "1", home=home)
    assert all(stage["reused"] for stage in again["stages"].values())
    assert medai("audit", "verify", home=home).status == 0

    with (home / "audit.jsonl").open("ab") as file:
        file.write(b"{}\n")
    broken = medai("audit", "verify", "--json", home=home)
    assert (broken.status, broken.json["intact"]) == (4, False)
    assert "NOT INTACT" in medai("audit", "verify", home=home).out
    assert medai("run", problem, "--seed", "2", "--json", home=home).status == 4
