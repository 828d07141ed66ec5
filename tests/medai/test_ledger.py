"""The ledger: a chain of lines, compare-and-set, rollback, and what a decision still means later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medai.errors import ChampionMoved, ConfigurationError, MedaiError, ServiceFailed
from medai.ledger import AUDIT, Ledger, moment
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
    whole = ledger.path.read_bytes()
    ledger.append("opened", SEPSIS, {"n": 1})
    second = ledger.path.read_bytes()[len(whole) :]
    for length in (1, len(second) // 2, len(second) - 1):
        ledger.path.write_bytes(whole + second[:length])
        assert [entry.facts["n"] for entry in ledger.entries()] == [0]
        ledger.append("opened", SEPSIS, {"n": 2})
        assert [entry.facts["n"] for entry in ledger.entries()] == [0, 2]


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
    assert back.since == ledger.entries(SEPSIS, "champion")[-1].at
    assert back == ledger.champion(SEPSIS)
    assert ledger.withdrawn(SEPSIS, "b")
    assert not ledger.withdrawn(SEPSIS, "a")
    assert ledger.rollback(SEPSIS, "a too") is None
    with pytest.raises(ConfigurationError, match="sepsis has no champion to roll back"):
        ledger.rollback(SEPSIS, "again")


def test_only_a_person_brings_a_withdrawn_candidate_back(ledger: Ledger) -> None:
    """The gate's promotion does not lift a withdrawal; a person's does, until it is withdrawn again."""
    promote(ledger, "a", None)
    ledger.rollback(SEPSIS, "harm")
    promote(ledger, "a", None, how="person")
    assert not ledger.withdrawn(SEPSIS, "a")
    ledger.rollback(SEPSIS, "harm again")
    assert ledger.withdrawn(SEPSIS, "a")
    promote(ledger, "a", None, how="gate")
    assert ledger.withdrawn(SEPSIS, "a")


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
    """Nothing to project at first; each change of champion, a rollback too, asks for it again."""
    assert ledger.projected(SEPSIS)
    promote(ledger, "a", None)
    assert not ledger.projected(SEPSIS)
    ledger.append("projected", SEPSIS, {})
    ledger.append("opened", SEPSIS, {"test_sha256": "t", "candidate": "a"})
    assert ledger.projected(SEPSIS)
    ledger.rollback(SEPSIS, "harm")
    assert not ledger.projected(SEPSIS)


def test_openings_count_candidates_and_not_runs(ledger: Ledger) -> None:
    """A candidate scored twice on a test set opened it once; another problem's candidate on it counts."""
    assert [ledger.opened(SEPSIS, "t", name) for name in ("a", "a", "b")] == [1, 1, 2]
    assert ledger.opened("other", "t", "c") == 3
    assert ledger.opened(SEPSIS, "u", "a") == 1
    assert (ledger.openings("t"), ledger.openings("u"), ledger.openings("v")) == (3, 1, 0)
    assert len(ledger.entries(kind="opened")) == 4


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
