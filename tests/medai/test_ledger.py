"""The ledger: a chain of lines, compare-and-set, rollback, and what a decision still means later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from medai.audit import AUDIT, HEAD
from medai.errors import ChampionMoved, ConfigurationError, MedaiError, NotChampion, ServiceFailed
from medai.ledger import Ledger, moment
from medai.workspace import Workspace

SEPSIS = "sepsis"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    (tmp_path / "home").mkdir()
    return Ledger(Workspace(tmp_path / "home"), by="tester")


def promote(ledger: Ledger, candidate: str, expected: str | None, version: int = 1, how: str = "gate") -> None:
    """Promote a candidate; the run's id follows from its name."""
    ledger.promote(
        SEPSIS,
        version=version,
        candidate=candidate,
        run_id=f"run-{candidate}",
        how=how,
        reason=f"{candidate} is good",
        expected=expected,
    )


def head_of(ledger: Ledger) -> Path:
    """The file that knows the last line."""
    return ledger.path.with_name(HEAD)


def lines(ledger: Ledger) -> list[bytes]:
    """The audit's lines."""
    return ledger.path.read_bytes().splitlines(keepends=True)


def test_each_line_carries_the_hash_of_the_one_before(ledger: Ledger) -> None:
    """Numbered from 1, chained, by whom; readable as plain JSON lines by anybody."""
    for number in range(3):
        ledger.append("opened", SEPSIS, {"n": number})
    entries = [json.loads(line) for line in lines(ledger)]
    assert [entry["number"] for entry in entries] == [1, 2, 3]
    assert [entry["previous"] for entry in entries] == ["0" * 64, entries[0]["hash"], entries[1]["hash"]]
    assert {entry["by"] for entry in entries} == {"tester"}
    assert [entry.facts["n"] for entry in ledger.entries(SEPSIS, "opened")] == [0, 1, 2]
    assert ledger.entries("other") == ledger.entries(SEPSIS, "champion") == []


def edited(found: list[bytes]) -> list[bytes]:
    """The second line says something else."""
    return [found[0], found[1].replace(b'"n":1', b'"n":7'), *found[2:]]


def rehashed(found: list[bytes]) -> list[bytes]:
    """The second line says something else and carries the right hash of it: the third gives it away."""
    from medai.records import canonical_json, sha256_of

    entry = json.loads(edited(found)[1])
    del entry["hash"]
    return [found[0], canonical_json({**entry, "hash": sha256_of(entry)}) + b"\n", *found[2:]]


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (edited, 2),
        (rehashed, 3),
        (lambda found: [found[0], *found[2:]], 2),
        (lambda found: found[1:], 1),
        (lambda found: [found[0], found[2], found[1], found[3]], 2),
        (lambda found: [*found, found[3]], 5),
        (lambda found: [*found[:2], b"\n", *found[2:]], 3),
        (lambda found: [found[0], b"[1, 2]\n", *found[2:]], 2),
        (lambda found: [found[0], b"\xff\xfe\n", *found[2:]], 2),
    ],
)
def test_a_line_that_was_touched_is_named_and_nothing_goes_on(
    ledger: Ledger, refusal: Callable[[MedaiError], str], tamper: Callable[[list[bytes]], list[bytes]], named: int
) -> None:
    """Edited, rehashed, deleted, swapped, doubled, blank or foreign: the line is named and nobody is promoted."""
    for number in range(4):
        ledger.append("opened", SEPSIS, {"n": number})
    altered = b"".join(tamper(lines(ledger)))
    ledger.path.write_bytes(altered)
    with pytest.raises(ServiceFailed) as raised:
        ledger.entries()
    assert f"line {named} of {AUDIT} was altered, removed or moved" in refusal(raised.value)
    with pytest.raises(ServiceFailed):
        promote(ledger, "a", None)
    assert ledger.path.read_bytes() == altered


def test_a_line_that_a_kill_cut_short_never_happened(ledger: Ledger) -> None:
    """It is ignored by readers, and cleared away by the next writer, at whatever byte it was cut."""
    ledger.append("opened", SEPSIS, {"n": 0})
    whole, head = ledger.path.read_bytes(), head_of(ledger).read_bytes()
    ledger.append("opened", SEPSIS, {"n": 1})
    second = ledger.path.read_bytes()[len(whole) :]
    for length in (1, len(second) // 2, len(second) - 2):
        ledger.path.write_bytes(whole + second[:length])
        head_of(ledger).write_bytes(head)
        assert [entry.facts["n"] for entry in ledger.entries()] == [0]
        ledger.append("opened", SEPSIS, {"n": 2})
        assert [entry.facts["n"] for entry in ledger.entries()] == [0, 2]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_kill_between_a_line_and_the_head_is_healed(ledger: Ledger, before: int, end: bytes) -> None:
    """The line is whole and counts, with or without its newline; the next writer brings both up to date."""
    for number in range(before):
        ledger.append("opened", SEPSIS, {"n": number})
    head = head_of(ledger).read_bytes() if before else None
    ledger.append("opened", SEPSIS, {"n": before})
    ledger.path.write_bytes(ledger.path.read_bytes().removesuffix(b"\n") + end)
    if head is None:
        head_of(ledger).unlink()
    else:
        head_of(ledger).write_bytes(head)
    assert [entry.facts["n"] for entry in ledger.entries()] == list(range(before + 1))
    ledger.append("opened", SEPSIS, {"n": before + 1})
    assert [entry.facts["n"] for entry in ledger.entries()] == list(range(before + 2))
    assert json.loads(head_of(ledger).read_bytes())["count"] == before + 2
    assert ledger.path.read_bytes().count(b"\n") == before + 2


def forged(ledger: Ledger) -> None:
    """Two more lines, rightly chained, by somebody who does not know the head."""
    head = head_of(ledger).read_bytes()
    for number in range(2):
        ledger.append("opened", SEPSIS, {"n": 10 + number})
    head_of(ledger).write_bytes(head)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda it: it.path.write_bytes(b"".join(lines(it)[:-1])), f"line 4 of {AUDIT} was removed"),
        (lambda it: it.path.write_bytes(b""), f"line 1 of {AUDIT} was removed"),
        (lambda it: it.path.unlink(), f"line 1 of {AUDIT} was removed"),
        (lambda it: it.path.write_bytes(it.path.read_bytes()[:-20]), f"line 4 of {AUDIT} was altered"),
        (lambda it: it.path.write_bytes(b"\xef\xbb\xbf" + it.path.read_bytes()), f"line 1 of {AUDIT}"),
        (lambda it: it.path.write_bytes(it.path.read_bytes().replace(b"\n", b"\r\n")), f"line 1 of {AUDIT}"),
        (lambda it: it.path.write_bytes(it.path.read_bytes().replace(b'"n":2', b'"n": 2')), f"line 3 of {AUDIT}"),
        (
            lambda it: it.path.write_bytes(it.path.read_bytes().replace(b'{"at"', b'{"by":"x","at"')),
            f"line 1 of {AUDIT}",
        ),
        (lambda it: it.path.write_bytes(it.path.read_bytes() + b"[" * 200_000 + b"\n"), f"line 5 of {AUDIT}"),
        (lambda it: it.path.write_bytes(it.path.read_bytes() + b'{"a":NaN}\n'), f"line 5 of {AUDIT}"),
        (forged, f"line 6 of {AUDIT} is unknown to {HEAD}"),
        (lambda it: head_of(it).unlink(), f"{HEAD} is missing"),
        (lambda it: head_of(it).write_bytes(b"{}"), f"{HEAD} was altered"),
    ],
)
def test_a_tail_that_was_cut_or_bytes_that_moved_are_named(
    ledger: Ledger, refusal: Callable[[MedaiError], str], harm: Callable[[Ledger], object], named: str
) -> None:
    """Lines gone from the end, another form of the same line, forged lines, a head that is gone: nobody is promoted."""
    for number in range(4):
        ledger.append("opened", SEPSIS, {"n": number})
    harm(ledger)
    for act in (ledger.entries, lambda: promote(ledger, "a", None)):
        with pytest.raises(ServiceFailed) as raised:
            act()
        assert named in refusal(raised.value)
        assert AUDIT in raised.value.action


def test_an_audit_that_is_no_file_is_refused_without_waiting(ledger: Ledger) -> None:
    """A folder, a pipe, a loop of links: status 4, named by its path."""
    ledger.append("opened", SEPSIS, {"n": 0})
    for make, told in (
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a pipe"),
        (lambda path: path.symlink_to(path), "in a circle"),
    ):
        ledger.path.unlink()
        make(ledger.path)
        with pytest.raises(ServiceFailed) as raised:
            ledger.champion(SEPSIS)
        assert raised.value.wrong == f"{ledger.path} cannot be used"
        assert told in raised.value.received
        assert "MEDAI_HOME" in raised.value.action
        if ledger.path.is_dir():
            ledger.path.rmdir()
            ledger.path.touch()


def test_the_champion_is_the_last_promoted(ledger: Ledger) -> None:
    """A problem's own, with since when and why; another problem has none."""
    assert ledger.champion(SEPSIS) is None
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    champion = ledger.champion(SEPSIS)
    assert champion is not None
    assert (champion.candidate, champion.version, champion.run_id) == ("b", 2, "run-b")
    assert (champion.reason, champion.how) == ("b is good", "gate")
    assert ledger.champion("other") is None


@pytest.mark.parametrize(
    ("expected", "told"), [(None, "version 1, champion since"), ("c", "version 1, champion since")]
)
def test_a_decision_against_another_champion_is_refused(
    ledger: Ledger, refusal: Callable[[MedaiError], str], expected: str | None, told: str
) -> None:
    """Compare-and-set: the ledger stays as it was, and the message says who stands there now."""
    promote(ledger, "a", None)
    before = ledger.path.read_bytes()
    with pytest.raises(ChampionMoved) as raised:
        promote(ledger, "b", expected, version=2)
    assert told in refusal(raised.value)
    assert raised.value.exit_status == 4
    assert ledger.path.read_bytes() == before


def test_a_champion_that_was_expected_and_is_gone_is_told(ledger: Ledger) -> None:
    """A rollback during a retrain: the retrained model was compared with nobody who stands there."""
    promote(ledger, "a", None)
    ledger.rollback(SEPSIS, "it harms")
    with pytest.raises(ChampionMoved, match="changed while this decision was made") as raised:
        promote(ledger, "b", "a", version=2)
    assert raised.value.received == "no champion"


def test_promoting_the_champion_again_writes_nothing(ledger: Ledger) -> None:
    """A run that was killed after the promotion is run again: nothing moves."""
    promote(ledger, "a", None)
    before = ledger.path.read_bytes()
    promote(ledger, "a", None)
    assert ledger.path.read_bytes() == before


def test_a_rollback_brings_the_one_before_back(ledger: Ledger) -> None:
    """It stands since then and for that reason; a second rollback leaves nobody, a third is refused."""
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    back = ledger.rollback(SEPSIS, "b missed sepsis")
    assert back is not None
    assert (back.candidate, back.version, back.how, back.reason) == ("a", 1, "rollback", "b missed sepsis")
    assert back.after == 2
    assert back.told().endswith(" (version 2 withdrawn: b missed sepsis)")
    assert back.since == ledger.entries(SEPSIS, "champion")[-1].at
    assert back == ledger.champion(SEPSIS)
    assert ledger.withdrawn(SEPSIS, "b")
    assert not ledger.withdrawn(SEPSIS, "a")
    assert ledger.rollback(SEPSIS, "a too") is None
    with pytest.raises(ConfigurationError, match="sepsis has no champion to roll back"):
        ledger.rollback(SEPSIS, "again")


def test_a_rollback_skips_whom_a_person_withdrew(ledger: Ledger) -> None:
    """A version that was champion twice and then withdrawn does not stand again when the one between them goes, too."""
    promote(ledger, "first", None)
    promote(ledger, "a", "first", version=2)
    promote(ledger, "b", "a", version=3)
    promote(ledger, "a", "b", version=2, how="person")
    assert ledger.before(SEPSIS) == ledger.champions(SEPSIS)[-2]
    back = ledger.rollback(SEPSIS, "a harms")
    assert back is not None
    assert back.candidate == "b"
    before = ledger.before(SEPSIS)
    assert before is not None
    assert before.candidate == "first"
    back = ledger.rollback(SEPSIS, "b harms, too")
    assert back == ledger.champion(SEPSIS)
    assert back is not None
    assert (back.candidate, back.version, ledger.withdrawn(SEPSIS, "first")) == ("first", 1, False)
    assert ledger.entries(SEPSIS, "champion")[-1].facts["version"] == 1


def test_who_stood_on_both_sides_of_another_is_withdrawn_from_both(ledger: Ledger) -> None:
    """What stands before it, and stands again, is the same in every answer."""
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    promote(ledger, "a", "b", how="person")
    assert ledger.rollback(SEPSIS, "a harms") == ledger.champion(SEPSIS)
    assert ledger.before(SEPSIS) is None
    assert ledger.entries(SEPSIS, "champion")[-1].facts["version"] == 2
    assert ledger.rollback(SEPSIS, "b, too") is None


def test_only_a_person_brings_a_withdrawn_candidate_back(ledger: Ledger) -> None:
    """The gate may not promote it, though the champion is again the one that it was compared with; a person may, until
    it is withdrawn again.
    """
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    ledger.rollback(SEPSIS, "harm")
    promote(ledger, "b", "a", version=2, how="person")
    assert not ledger.withdrawn(SEPSIS, "b")
    ledger.rollback(SEPSIS, "harm again")
    last = ledger.entries()[-1]
    with pytest.raises(ChampionMoved, match=f"a candidate of {SEPSIS} was withdrawn while the decision") as refused:
        promote(ledger, "b", "a", version=2, how="gate")
    assert refused.value.received == f"version 2, withdrawn at {last.at[:19]} UTC by {last.by}: harm again"
    assert ledger.withdrawn(SEPSIS, "b")
    assert ledger.entries()[-1] == last


def test_a_champion_of_the_past_is_found_by_its_time(ledger: Ledger) -> None:
    """At each entry's time that entry already holds; a moment earlier it does not."""
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    ledger.rollback(SEPSIS, "harm")
    first, second, third = (entry.at for entry in ledger.entries(SEPSIS, "champion"))

    def then(at: str) -> str | None:
        champion = ledger.champion(SEPSIS, at)
        return champion.candidate if champion else None

    assert [then(at) for at in (first, second, third)] == ["a", "b", "a"]
    assert then(moment("2020-01-01")) is None
    assert then(moment("2999-01-01")) == "a"


def test_a_clock_that_ran_ahead_hides_nobody_who_was_promoted_after_it_was_set_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line from the future does not end the search for who stood at a time."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Ahead:
            return cls(2999, 1, 1, tzinfo=tz)

    with monkeypatch.context() as clock:
        clock.setattr("medai.audit.datetime", Ahead)
        promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    standing = ledger.champion(SEPSIS, moment(datetime.now(UTC).isoformat()))
    assert standing is not None
    assert (standing.candidate, ledger.entries(SEPSIS, "champion")[0].at[:4]) == ("b", "2999")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-05-01", "2026-05-01T23:59:59.999999+00:00"),
        ("20260501", "2026-05-01T23:59:59.999999+00:00"),
        ("2026-05-01T00:00", "2026-05-01T00:00:00.000000+00:00"),
        ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00.000000+00:00"),
        ("2026-05-01T01:00:00+02:00", "2026-04-30T23:00:00.000000+00:00"),
    ],
)
def test_a_date_means_its_last_moment_and_a_time_itself(text: str, written: str) -> None:
    """All in UTC, in the form that the ledger's own times have, so that they compare as text."""
    assert moment(text) == written


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "1.5.2026", "0001-01-01T00:00+05:00"])
def test_a_date_that_cannot_be_read_is_refused(text: str) -> None:
    """With an example of one that can."""
    with pytest.raises(ConfigurationError, match="a date cannot be read") as raised:
        moment(text)
    assert "2026-05-01" in raised.value.expected


def decided(ledger: Ledger, candidate: str, champion: str | None, rules: str = "r") -> None:
    """Note a decision that is yet to be carried out."""
    ledger.append("decided", SEPSIS, {"candidate": candidate, "rules": rules, "champion": champion})


def test_a_pending_decision_holds_while_its_champion_stands(ledger: Ledger) -> None:
    """Also once the candidate itself was promoted by it; not under other rules or for another candidate."""
    promote(ledger, "a", None)
    decided(ledger, "b", "a")
    assert ledger.decided(SEPSIS, "b", "r") is not None
    assert ledger.decided(SEPSIS, "b", "other rules") is None
    assert ledger.decided(SEPSIS, "c", "r") is None
    promote(ledger, "b", "a", version=2)
    assert ledger.decided(SEPSIS, "b", "r") is not None


def test_a_rollback_makes_a_pending_decision_stale(ledger: Ledger) -> None:
    """The champion it was made against is gone, so it must be made anew."""
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    decided(ledger, "c", "b")
    ledger.rollback(SEPSIS, "harm")
    assert ledger.decided(SEPSIS, "c", "r") is None


def test_a_withdrawn_candidates_decision_is_stale(ledger: Ledger) -> None:
    """Promoted, then rolled back before the run could end: running it again must not bring it back."""
    decided(ledger, "a", None)
    promote(ledger, "a", None)
    ledger.rollback(SEPSIS, "harm")
    assert ledger.champion(SEPSIS) is None
    assert ledger.decided(SEPSIS, "a", "r") is None


def test_a_decision_that_lapsed_stays_so(ledger: Ledger) -> None:
    """Though a rollback brought the champion back that it was made against: the same command decides anew."""
    promote(ledger, "a", None)
    line = ledger.append("decided", SEPSIS, {"candidate": "b", "rules": "r", "champion": "a"})
    assert ledger.decided(SEPSIS, "b", "r") == line
    ledger.append("lapsed", SEPSIS, {"decided": line.number, "candidate": "b"})
    assert ledger.decided(SEPSIS, "b", "r") is None
    decided(ledger, "b", "a")
    assert ledger.decided(SEPSIS, "b", "r") == ledger.entries()[-1]


def test_a_settled_decision_stays_settled(ledger: Ledger) -> None:
    """Whatever a person did since, the same command finds it; the newest of several counts."""
    assert ledger.settled(SEPSIS, "a", "r") is None
    for version in (1, 2):
        ledger.append("settled", SEPSIS, {"candidate": "a", "rules": "r", "version": version})
    promote(ledger, "a", None)
    ledger.rollback(SEPSIS, "harm")
    entry = ledger.settled(SEPSIS, "a", "r")
    assert entry is not None
    assert entry.facts["version"] == 2
    assert ledger.settled(SEPSIS, "a", "other rules") is None


def test_registrations_are_found_by_version(ledger: Ledger) -> None:
    """Version to facts, of this problem alone."""
    ledger.append("registered", SEPSIS, {"version": 1, "candidate": "a"})
    ledger.append("registered", "other", {"version": 2, "candidate": "b"})
    assert ledger.registered(SEPSIS) == {1: {"version": 1, "candidate": "a"}}


def test_the_registry_lags_until_it_is_projected(ledger: Ledger) -> None:
    """Nothing to project at first; each change of champion, a rollback too, asks for it again, and a projection of
    another version than the champion's counts for nothing.
    """
    assert ledger.projected(SEPSIS)
    promote(ledger, "a", None)
    assert not ledger.projected(SEPSIS)
    ledger.append("projected", SEPSIS, {"version": 2})
    assert not ledger.projected(SEPSIS)
    ledger.append("projected", SEPSIS, {"version": 1})
    ledger.append("opened", SEPSIS, {"test_sha256": "t", "candidate": "a"})
    assert ledger.projected(SEPSIS)
    ledger.rollback(SEPSIS, "harm")
    assert not ledger.projected(SEPSIS)


def test_a_rollback_withdraws_the_version_that_was_meant(ledger: Ledger, refusal: Callable[[MedaiError], str]) -> None:
    """Another champion since, or a second click: told who stands and who withdrew it, and nothing is written."""
    for version, name in enumerate("ab", start=1):
        ledger.append("registered", SEPSIS, {"version": version, "candidate": name})
    promote(ledger, "a", None)
    promote(ledger, "b", "a", version=2)
    with pytest.raises(NotChampion, match="version 1 of sepsis is not champion"):
        ledger.rollback(SEPSIS, "1 harms", expected=1)
    before = ledger.before(SEPSIS)
    assert before is not None
    assert before.version == 1
    ledger.rollback(SEPSIS, "2 harms", expected=2)
    held = ledger.path.read_bytes()
    with pytest.raises(NotChampion, match="version 2 of sepsis is already withdrawn") as raised:
        ledger.rollback(SEPSIS, "2 harms", expected=2)
    assert "version 1, champion since" in refusal(raised.value)
    assert "tester withdrew it at" in raised.value.received
    assert raised.value.received.endswith(": 2 harms")
    assert ledger.path.read_bytes() == held
    assert ledger.before(SEPSIS) is None


def test_openings_count_candidates_and_not_runs(ledger: Ledger) -> None:
    """A candidate scored twice on a test set opened it once; another problem's candidate on it counts."""
    assert [ledger.opened(SEPSIS, "t", name) for name in ("a", "a", "b")] == [1, 1, 2]
    assert ledger.opened("other", "t", "c") == 3
    assert ledger.opened(SEPSIS, "u", "a") == 1
    assert (ledger.openings("t"), ledger.openings("u"), ledger.openings("v")) == (3, 1, 0)
    assert len(ledger.entries(kind="opened")) == 4


def test_a_look_at_other_data_is_written_once(ledger: Ledger) -> None:
    """With its facts; the same scorecard again adds nothing, and each champion's looks count for itself."""
    assert ledger.evaluated(SEPSIS, "a", "card 1", {"samples": 7}) == 1
    assert ledger.evaluated(SEPSIS, "a", "card 1", {"samples": 7}) == 1
    assert ledger.evaluated(SEPSIS, "a", "card 2", {"samples": 9}) == 2
    assert ledger.evaluated(SEPSIS, "b", "card 1", {"samples": 7}) == 1
    (first, *_) = entries = ledger.entries(SEPSIS, "evaluated")
    assert len(entries) == 3
    assert first.facts == {"samples": 7, "candidate": "a", "scorecard": "card 1"}
    assert ledger.champion(SEPSIS) is None


APPEND = """
import sys
from pathlib import Path
from medai.ledger import Ledger
from medai.workspace import Workspace
ledger = Ledger(Workspace(Path(sys.argv[1])), by=sys.argv[2])
for number in range(15):
    ledger.append("noted", "p", {"n": number})
try:
    ledger.promote("p", version=1, candidate=sys.argv[2], run_id="r", how="gate", reason="x", expected=None)
    print("promoted")
except Exception as error:
    print(type(error).__name__)
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    """Thirty lines in one unbroken chain, and of two promotions against nobody only one is made."""
    (tmp_path / "home").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, str(tmp_path / "home"), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    answers = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert answers == ["ChampionMoved", "promoted"]
    ledger = Ledger(Workspace(tmp_path / "home"), by="reader")
    found: dict[str, list[Any]] = {"one": [], "two": []}
    for entry in ledger.entries("p", "noted"):
        found[entry.by].append(entry.facts["n"])
    assert found == {"one": list(range(15)), "two": list(range(15))}
    assert len(ledger.entries("p", "champion")) == 1
