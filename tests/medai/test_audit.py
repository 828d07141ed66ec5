"""The audit under attack: every edit is found at its line, and what cannot be audited does not happen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medai.attestation import contradiction, text, unattested
from medai.audit import AUDIT, HEAD, KEYS, Audit, Entry, Head
from medai.chain import SIGNED, unsigned
from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.ledger import Ledger
from medai.records import canonical_json, sha256_of
from medai.signing import SiteKey
from medai.workspace import Workspace

LINES = 4


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with an audit of four lines; nobody changes it."""
    folder = tmp_path_factory.mktemp("written")
    audit = Audit(folder, by="tester")
    for number in range(LINES):
        audit.append("noted", "sepsis", {"n": number})
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(written, tmp_path / "home"))


def refused(folder: Path) -> str:
    """What a reader is told; a promotion is refused, too, and writes nothing."""
    held = {name: (folder / name).read_bytes() for name in (AUDIT, HEAD) if (folder / name).is_file()}
    with pytest.raises(ServiceFailed) as raised:
        Audit(folder, by="x").read()
    with pytest.raises(MedaiError):
        Ledger(Workspace(folder), by="x").promote(
            "sepsis", version=1, candidate="c", run_id="r", how="gate", reason="good", expected=None
        )
    assert held == {name: (folder / name).read_bytes() for name in held}
    return raised.value.wrong


def named(wrong: str) -> int:
    """The line that a message names."""
    found = re.search(r"line (\d+)", wrong)
    assert found is not None, wrong
    return int(found[1])


def read_fails(folder: Path) -> str:
    """What a reader is told."""
    with pytest.raises(ServiceFailed) as raised:
        Audit(folder, by="x").read()
    return raised.value.wrong


def test_every_flipped_byte_is_found_at_its_line(folder: Path) -> None:
    """Each byte of the file with its lowest bit flipped, newlines as well."""
    path = folder / AUDIT
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert named(read_fails(folder)) == data.count(b"\n", 0, place) + 1, f"byte {place}"


def test_every_line_deleted_doubled_or_swapped_is_found_at_its_line(folder: Path) -> None:
    """Each line, and each pair of lines."""
    path = folder / AUDIT
    lines = path.read_bytes().splitlines(keepends=True)
    for one in range(LINES):
        path.write_bytes(b"".join(lines[:one] + lines[one + 1 :]))
        assert named(refused(folder)) == one + 1
        path.write_bytes(b"".join(lines[: one + 1] + lines[one:]))
        assert named(refused(folder)) == one + 2
        for other in range(one + 1, LINES):
            swapped = list(lines)
            swapped[one], swapped[other] = lines[other], lines[one]
            path.write_bytes(b"".join(swapped))
            assert named(refused(folder)) == one + 1


def test_a_cut_at_every_byte_of_the_last_lines_is_found_at_its_line(folder: Path) -> None:
    """But for the last newline alone, without which the last line is still whole."""
    path = folder / AUDIT
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    begin = len(data) - len(lines[-1]) - len(lines[-2])
    for length in range(begin, len(data) - 1):
        path.write_bytes(data[:length])
        missing = LINES if length >= len(data) - len(lines[-1]) - 1 else LINES - 1
        assert named(read_fails(folder)) == missing, f"{length} of {len(data)} bytes"
    path.write_bytes(data[:-1])
    assert len(Audit(folder, by="x").read()) == LINES


def test_every_flipped_byte_of_the_head_is_found(folder: Path) -> None:
    """Count, hash, fingerprint and signature: none can be changed."""
    path = folder / HEAD
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert HEAD in read_fails(folder), f"byte {place}"


def forged(entries: list[Entry], facts: dict[str, Any], key: SiteKey) -> Entry:
    """A line that goes on from others, rightly chained, by whoever has that key."""
    said = {
        "number": len(entries) + 1,
        "kind": "champion",
        "problem": "sepsis",
        "facts": facts,
        "at": "2026-01-01T00:00:00.000000+00:00",
        "by": "tester",
        "previous": entries[-1].hash if entries else "0" * 64,
    }
    body = said | {"signature": key.sign(canonical_json(said))}
    return Entry(**body, hash=sha256_of(body))


def write(folder: Path, entries: list[Entry], key: SiteKey) -> None:
    """Both files as somebody with that key writes them."""
    (folder / AUDIT).write_bytes(b"".join(canonical_json(vars(entry)) + b"\n" for entry in entries))
    head = Head(len(entries), entries[-1].hash, key.fingerprint)
    (folder / HEAD).write_bytes(replace(head, signature=key.sign(head.said())).line())


def test_nobody_else_can_write_a_line_or_a_chain(folder: Path, tmp_path: Path) -> None:
    """A further line, which a kill might have left, must be signed by the site; and so must a head."""
    entries, foreign = Audit(folder, by="x").read(), SiteKey.of(tmp_path / "foreign")
    more = forged(entries, {"version": 7}, foreign)
    with (folder / AUDIT).open("ab") as file:
        file.write(canonical_json(vars(more)) + b"\n")
    assert refused(folder) == f"line {LINES + 1} of {AUDIT} is not signed by this site"
    write(folder, [*entries, more], foreign)
    assert refused(folder) == f"{HEAD} is not signed by this site"
    with pytest.raises(ServiceFailed) as raised:
        Audit(folder, by="x").read()
    assert raised.value.received == f"that of the key {foreign.fingerprint[:12]}"


def test_a_head_that_counts_less_than_nothing_is_told(folder: Path) -> None:
    """Also by whoever looks at lines that cannot be verified."""
    for count in (0, -LINES - 1):
        (folder / HEAD).write_bytes(Head(count, "0" * 64, "k", "s").line())
        assert refused(folder) == f"{HEAD} was altered"
        with pytest.raises(ServiceFailed, match=f"{HEAD} was altered"):
            Audit(folder, by="x").lines()


def test_a_chain_and_a_public_half_of_somebody_else_are_not_believed(folder: Path, tmp_path: Path) -> None:
    """Where the site's private key lies elsewhere, out of reach of whoever writes the state folder."""
    mounted = Path(shutil.move(folder / KEYS / "site.key", tmp_path / "secret.pem"))
    audit, foreign = Audit(folder, by="x", site_key=mounted), SiteKey.of(tmp_path / "foreign")
    assert len(audit.read()) == LINES
    write(folder, [forged([], {"version": 7}, foreign)], foreign)
    shutil.copy(foreign.public_path, folder / KEYS / "site.pub")
    with pytest.raises(ServiceFailed, match="the two halves of the site key do not belong together"):
        audit.read()


def test_a_key_that_was_replaced_or_is_gone_is_told(folder: Path, tmp_path: Path) -> None:
    """Both halves, one of them, or none: nothing is promoted, and the message says how to begin with a new one."""
    foreign = SiteKey.of(tmp_path / "foreign")
    ours = SiteKey.of(folder / KEYS)
    shutil.copy(foreign.public_path, ours.public_path)
    halves = "the two halves of the site key do not belong together"
    assert refused(folder) == f"the audit's signature cannot be checked: {halves}"
    shutil.copy(foreign.private_path, ours.private_path)
    assert refused(folder) == f"{HEAD} is not signed by this site"
    ours.public_path.unlink()
    ours.private_path.unlink()
    assert refused(folder) == "the audit's signature cannot be checked: the site key site.key is gone"
    with pytest.raises(ServiceFailed, match="signature cannot be checked") as raised:
        Audit(folder, by="x").read()
    assert "medai audit sign --reason" in raised.value.action


def test_an_older_pair_of_both_files_is_told_by_the_second_place(folder: Path) -> None:
    """By itself it is a whole chain with a good signature; the registry remembers a longer one."""
    audit = Audit(folder, by="tester")
    older = {name: (folder / name).read_bytes() for name in (AUDIT, HEAD)}
    early = text(audit.state()[1])
    for number in range(3):
        audit.append("noted", "sepsis", {"n": number})
    late = text(audit.state()[1])
    key = audit.key()
    assert contradiction(audit.read(), {"sepsis": late, "shock": early}, key) is None
    for name, data in older.items():
        (folder / name).write_bytes(data)
    wrong = contradiction(audit.read(), {"sepsis": late, "shock": early}, key)
    assert wrong is not None
    assert wrong.wrong == f"the audit ends before line {LINES + 1}, which MLflow's tags know"
    assert (wrong.expected, wrong.received) == (f"{LINES + 3} lines or more", f"{LINES} lines")
    for number in range(9):  # and goes on as if nothing had been
        audit.append("noted", "sepsis", {"n": -number})
    wrong = contradiction(audit.read(), {"sepsis": late, "shock": early}, key)
    assert wrong is not None
    assert wrong.wrong == f"one of the lines {LINES + 1} to {LINES + 3} of {AUDIT} was written anew"


def test_a_chain_written_anew_with_a_new_key_is_told_by_the_second_place(folder: Path) -> None:
    """Somebody who replaces lines, head and key has still not signed what the registry holds."""
    audit = Audit(folder, by="tester")
    tag = text(audit.state()[1])
    shutil.rmtree(folder / KEYS)
    foreign = SiteKey.of(folder / KEYS)
    entries: list[Entry] = []
    for number in range(LINES):
        entries.append(forged(entries, {"n": number}, foreign))
    write(folder, entries, foreign)
    assert len(audit.read()) == LINES
    for told in (tag, "no head", "{}"):
        wrong = contradiction(audit.read(), {"sepsis": told}, audit.key())
        assert wrong is not None
        assert wrong.wrong == f"MLflow's copy of {HEAD} on the model sepsis is not signed by this site"


def test_a_projected_problem_must_be_known_to_the_second_place(tmp_path: Path) -> None:
    """Its tag is written before the line; a tag that somebody took away is missed."""
    audit = Audit(tmp_path, by="tester")
    audit.append("projected", "sepsis", {"version": 1})
    audit.append("noted", "shock", {})
    assert unattested(audit.read(), {}) == ["sepsis"]
    assert unattested(audit.read(), {"sepsis": "…"}) == []


def test_a_lost_key_is_replaced_by_a_person_with_a_reason(folder: Path) -> None:
    """The line says so, under the new key; what the old one signed is verified with its public half, if that was kept.
    Where nothing was lost nothing is signed anew.
    """
    audit = Audit(folder, by="tester")
    with pytest.raises(ConfigurationError, match="needs no new signature"):
        audit.sign_anew("why not")
    before = audit.key().fingerprint
    (folder / KEYS / "site.key").unlink()
    with pytest.raises(ConfigurationError, match=r"site\.key is gone"):
        audit.append("noted", "sepsis", {})
    entry = audit.sign_anew("the disk with the key is broken")
    now = audit.key()
    assert (entry.kind, entry.number) == (SIGNED, LINES + 1)
    assert entry.facts == {"reason": "the disk with the key is broken", "before": before, "key": now.fingerprint}
    assert now.fingerprint != before
    audit.append("noted", "sepsis", {})
    assert unsigned(audit.read(), now, folder / KEYS) is None
    retired = folder / KEYS / f"{before}.pub"
    shutil.copy(now.public_path, retired)
    assert unsigned(audit.read(), now, folder / KEYS) == 1
    retired.unlink()
    assert unsigned(audit.read(), now, folder / KEYS) is None


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_kill_between_a_new_keys_line_and_its_head_is_made_good(folder: Path, end: bytes) -> None:
    """The same command again: no second line, which would hold the first against the key that was lost."""
    audit = Audit(folder, by="tester")
    held = (folder / HEAD).read_bytes()
    (folder / KEYS / "site.key").unlink()
    entry = audit.sign_anew("the disk with the key is broken")
    (folder / HEAD).write_bytes(held)
    (folder / AUDIT).write_bytes((folder / AUDIT).read_bytes().rstrip() + end)
    assert refused(folder) == f"{HEAD} is not signed by this site"
    assert audit.sign_anew("once more") == entry
    assert audit.read()[-1] == entry
    audit.append("noted", "sepsis", {})
    assert unsigned(audit.read(), audit.key(), folder / KEYS) is None


def test_an_audit_of_before_the_site_had_a_key_is_signed_by_a_person(tmp_path: Path) -> None:
    """It is refused until then, so that nobody can take the signatures away unnoticed."""
    previous, lines = "0" * 64, b""
    for number in (1, 2):
        body = {
            "number": number, "kind": "noted", "problem": "sepsis", "facts": {"n": number}, "at": "2026-01-01",
            "by": "tester", "previous": previous,
        }  # fmt: skip
        previous = sha256_of(body)
        lines += canonical_json({**body, "hash": previous}) + b"\n"
    (tmp_path / AUDIT).write_bytes(lines)
    (tmp_path / HEAD).write_bytes(canonical_json({"count": 2, "hash": previous}) + b"\n")
    assert refused(tmp_path) == f"{HEAD} is not signed"
    audit = Audit(tmp_path, by="tester")
    audit.sign_anew("we have a key now")
    assert [entry.kind for entry in audit.read()] == ["noted", "noted", SIGNED]
    assert unsigned(audit.read(), audit.key(), tmp_path / KEYS) is None
    assert (tmp_path / AUDIT).read_bytes().startswith(lines)


def test_a_lost_lock_or_another_writer_stops_the_line(folder: Path) -> None:
    """Asked right before the line is written: nothing of it is, and the audit is as whole as before."""
    audit, other = Audit(folder, by="one"), Audit(folder, by="two")
    held = (folder / AUDIT).read_bytes()

    def lost() -> None:
        raise ServiceFailed("the lock was lost", expected="it", received="none", action="again")

    with pytest.raises(ServiceFailed, match="the lock was lost"):
        audit.append("noted", "sepsis", {}, lost)
    assert (folder / AUDIT).read_bytes() == held
    with pytest.raises(ServiceFailed, match=r"somebody else wrote audit\.jsonl meanwhile") as raised:
        audit.append("noted", "sepsis", {}, lambda: (other.append("noted", "sepsis", {"n": "faster"}), None)[1])
    assert "MEDAI_LOCK_DATABASE" in raised.value.action
    assert [entry.by for entry in audit.read()] == ["tester"] * LINES + ["two"]


def test_a_line_that_another_has_synced_is_never_cut(folder: Path) -> None:
    """Its head is still to come, and its writer may be told that it stands: who comes second writes nothing."""
    audit, other = Audit(folder, by="one"), Audit(folder, by="two")
    head = (folder / HEAD).read_bytes()

    def overtaken() -> None:
        other.append("noted", "sepsis", {"n": "faster"})
        (folder / HEAD).write_bytes(head)

    with pytest.raises(ServiceFailed, match=r"somebody else wrote audit\.jsonl meanwhile") as raised:
        audit.append("noted", "sepsis", {}, overtaken)
    assert raised.value.received == "a line that was not there a moment ago"
    assert [entry.by for entry in audit.read()] == ["tester"] * LINES + ["two"]
    assert audit.append("noted", "sepsis", {}).number == LINES + 2


# -- no audit, no promotion ----------------------------------------------------------------------------------------

PROMOTE = """
import os, resource, sys
from pathlib import Path
from medai.errors import from_machine_failure
from medai.ledger import Ledger
from medai.workspace import Workspace
home, how = Path(sys.argv[1]), sys.argv[2]
if how == "read-only":
    (home / "audit.jsonl").chmod(0o444)
    if os.getuid() == 0:
        for path in (home, *home.rglob("*")):
            if path.name != "audit.jsonl":
                os.chown(path, 65534, 65534)
        os.setuid(65534)
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, ((home / "audit.jsonl").stat().st_size + 40,) * 2)
try:
    Ledger(Workspace(home), by="x").promote(
        "sepsis", version=1, candidate="c", run_id="r", how="gate", reason="good", expected=None
    )
    print("promoted")
except Exception as failure:
    print(from_machine_failure(failure).wrong)
"""


@pytest.fixture
def public(written: Path) -> Iterator[Path]:
    """A copy of the state folder where every user of the machine reaches it."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(shutil.copytree(written, Path(place) / "home"))


@pytest.mark.parametrize(
    ("how", "told"), [("read-only", "permission was denied"), ("full", "a file grew past the limit on its size")]
)
def test_what_cannot_be_audited_is_not_promoted(public: Path, how: str, told: str) -> None:
    """A file that may not be written, one that takes no more bytes: nobody is champion, and the next writer goes on."""
    done = subprocess.run(
        [sys.executable, "-c", PROMOTE, str(public), how],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )
    assert done.stdout == told + "\n", done.stderr
    (public / AUDIT).chmod(0o644)
    ledger = Ledger(Workspace(public), by="x")
    assert ledger.champion("sepsis") is None
    ledger.append("noted", "sepsis", {"n": LINES})
    assert [entry.facts["n"] for entry in ledger.entries()] == list(range(LINES + 1))


def test_a_line_says_who_what_when_and_why_and_no_more(folder: Path, refusal: Callable[[MedaiError], str]) -> None:
    """Plain JSON lines for any tool; a strange line is told without its content."""
    lines = [json.loads(line) for line in (folder / AUDIT).read_bytes().splitlines()]
    assert [sorted(line) for line in lines] == [
        ["at", "by", "facts", "hash", "kind", "number", "previous", "problem", "signature"]
    ] * LINES
    with (folder / AUDIT).open("ab") as file:
        file.write(b'{"patient": "Jane Doe"}\n')
    with pytest.raises(ServiceFailed) as raised:
        Audit(folder, by="x").read()
    assert "Jane" not in refusal(raised.value)
