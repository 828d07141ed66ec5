"""A copy of a state folder: whole, hashed, taken while others write, and its way back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.databases import Sqlite
from medai.backup import ARTIFACTS, MANIFEST, RESTORING, Backup, Copied, back_up, read_backup, refuse_broken, restore
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.integrity import files_sha256
from medai.ledger import Ledger
from medai.records import Candidate, Environment
from medai.signing import SiteKey
from medai.workspace import Workspace


def home_at(folder: Path, lines: int = 3) -> Ledger:
    """A state folder with an audit, a stored result, a key, and what belongs to its machine or moment."""
    ledger = Ledger(Workspace(folder), "tester")
    SiteKey.of(folder / "keys")
    for name, mode in (("store/fit/k/model.onnx", 0o644), ("receipts/fit/k.json", 0o644)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
        path.chmod(mode)
    for name in (
        "scratch/fit/k/epoch",
        "logs/worker.log",
        "services.json",
        "store/fit/.k2.partial/half",
        "hashes.sqlite",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for number in range(lines):
        ledger.append("opened", "ward", {"candidate": str(number), "test_sha256": "0"})
    return ledger


def database_at(path: Path, rows: int) -> None:
    """A database with so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table runs (number integer)")
        database.executemany("insert into runs values (?)", [(number,) for number in range(rows)])


def rows_in(path: Path) -> int:
    """How many."""
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("select count(*) from runs").fetchone()[0])


def test_what_is_copied_comes_back(tmp_path: Path) -> None:
    """Audit, results, keys with their modes, database and artifacts; nothing that belongs to a moment."""
    home, out, new = tmp_path / "home", tmp_path / "out", tmp_path / "new"
    ledger = home_at(home)
    database_at(home / "mlflow" / "mlflow.db", 5)
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    (tmp_path / "artifacts" / "1" / "MLmodel").write_text("flavours")
    copied = back_up(ledger, out, [Sqlite("mlflow", home / "mlflow" / "mlflow.db")], tmp_path / "artifacts")
    assert set(copied.files) == {
        "artifacts/1/MLmodel",
        "databases/mlflow.sqlite",
        "home/audit.head",
        "home/audit.jsonl",
        "home/keys/site.key",
        "home/keys/site.pub",
        "home/receipts/fit/k.json",
        "home/store/fit/k/model.onnx",
    }
    assert (copied.lines, copied.head) == (3, ledger.entries()[-1].hash)
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    assert read_backup(out) == copied

    target = Workspace(new)
    back = restore(target, out, [Sqlite("mlflow", new / "mlflow" / "mlflow.db")], tmp_path / "artifacts2")
    assert back == copied
    restored = Ledger(target, "tester")
    assert restored.entries() == ledger.entries()
    refuse_broken(restored, back)
    assert (new / "keys" / "site.key").stat().st_mode & 0o777 == 0o600
    assert rows_in(new / "mlflow" / "mlflow.db") == 5
    assert (tmp_path / "artifacts2" / "1" / "MLmodel").read_text() == "flavours"
    assert not (new / RESTORING).exists()
    assert restored.append("opened", "ward", {"candidate": "x", "test_sha256": "0"}).number == 4


def test_a_copy_taken_while_others_write_holds_together(tmp_path: Path) -> None:
    """Whatever moment it is, the database has as many rows as the audit has lines, or one that the audit will name."""
    home = tmp_path / "home"
    ledger = home_at(home, lines=1)
    path = home / "mlflow" / "mlflow.db"
    database_at(path, 1)
    other, stopped = Ledger(Workspace(home), "other"), threading.Event()

    def write() -> None:
        while not stopped.is_set():  # as a run does: stored, registered, then written in the audit
            number = rows_in(path)
            (home / "store" / "fit" / str(number)).mkdir()
            (home / "store" / "fit" / str(number) / "record.json").write_text(str(number))
            with closing(sqlite3.connect(path, timeout=300)) as database, database:
                database.execute("insert into runs values (?)", (number,))
            ledger.append("opened", "ward", {"candidate": str(number), "test_sha256": "0"})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies: list[Backup] = []
        while len(copies) < 4:
            assert writer.is_alive()
            if not copies or len(other.entries()) > copies[-1].lines:
                copies.append(back_up(other, tmp_path / str(len(copies)), [Sqlite("mlflow", path)]))
    finally:
        stopped.set()
        writer.join()
    for number, copied in enumerate(copies):
        out = tmp_path / str(number)
        assert rows_in(out / "databases" / "mlflow.sqlite") - copied.lines in (0, 1)
        assert all(f"home/store/fit/{n}/record.json" in copied.files for n in range(1, copied.lines))
        assert len(Ledger(Workspace(out / "home"), "reader").entries()) == copied.lines
    assert len({copied.lines for copied in copies}) == len(copies)


def fitted(key: str, seed: int) -> Candidate:
    """A candidate whose files are its record alone."""
    environment = Environment(threads=1, onednn=True, instruction_set="x", libraries={})
    maps: tuple[str, ...] = ("thresholds", "calibration", "preprocessing", "outputs", "statistics", "trained_on")
    nothing: dict[str, Any] = {name: {} for name in maps}
    return Candidate(key=key, name="net", members=(), seed=seed, epochs=1, environment=environment, **nothing)


class _Delivering(Sqlite):
    """A database beside which a decision is made and delivered, and another one waits, while it is copied."""

    home: Path

    def dump(self, path: Path) -> None:
        """See ``medai.backup.Database``."""
        (self.home / "spool" / "000000003.json").rename(self.home / "spool" / "000000004.json")
        super().dump(path)


def test_what_waits_in_the_copy_is_of_lines_that_it_has(tmp_path: Path) -> None:
    """What was delivered since the databases were fixed waits in it, and nothing of a line that came later."""
    ledger = home_at(tmp_path / "home")
    database_at(tmp_path / "mlflow.db", 1)
    (tmp_path / "home" / "spool").mkdir()
    (tmp_path / "home" / "spool" / "000000003.json").write_text("{}")
    database = _Delivering("mlflow", tmp_path / "mlflow.db")
    database.home = tmp_path / "home"
    copied = back_up(ledger, tmp_path / "out", [database])
    assert copied.lines == 3
    assert [name for name in copied.files if "spool" in name] == ["home/spool/000000003.json"]


@pytest.mark.parametrize("damage", ["flip", "remove", "manifest", "away", "nameless"])
def test_a_copy_that_was_altered_is_refused(damage: str, tmp_path: Path) -> None:
    """Before anything is written, and without the name of a file that could come from a patient."""
    out = tmp_path / "out"
    back_up(home_at(tmp_path / "home"), out, [])
    path = out / "home" / "store" / "fit" / "k" / "model.onnx"
    if damage == "flip":
        path.write_bytes(path.read_bytes().replace(b"c", b"C"))
    elif damage == "remove":
        path.unlink()
    elif damage == "away":
        text = (out / MANIFEST).read_text()
        (out / MANIFEST).write_text(text.replace("home/keys/site.key", "home/../../site.key"))
    elif damage == "nameless":
        text = (out / MANIFEST).read_text()
        (out / MANIFEST).write_text(text.replace('"home/keys/site.key"', '""'))
    else:
        (out / MANIFEST).write_text("{}")
    with pytest.raises(DataRefused) as caught:
        restore(Workspace(tmp_path / "new"), out, [])
    assert "model.onnx" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("home/{outside}", {}),
        ("./home/more", {}),
        ("home/more/", {}),
        ("home", {}),
        ("home/more\0", {}),
        ("home/stack.json", {}),
        ("home/more", {"mode": 0o4755}),
        ("home/more", {"mode": -1}),
        ("home/more", {"mode": 10**30}),
        ("home/pipe", {}),
        ("home/link", {}),
    ],
)
def test_a_copy_whose_record_was_forged_is_refused(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    """Names that lead out of the home or are spelt as none is, a privilege, a pipe (without waiting), a link."""
    out, new, outside = tmp_path / "out", tmp_path / "new", tmp_path / "outside"
    back_up(home_at(tmp_path / "home"), out, [])
    name = name.format(outside=outside)
    inside = out / "home" / str(outside).removeprefix("/")
    inside.parent.mkdir(parents=True)
    for path in (inside, out / "home" / "more", out / "home" / "stack.json"):
        path.touch()
    os.mkfifo(out / "home" / "pipe")
    (out / "home" / "link").symlink_to(inside)
    told = json.loads((out / MANIFEST).read_text())
    told["files"][name] = {"size": 0, "sha256": hashlib.sha256().hexdigest(), "mode": 0o644} | more
    (out / MANIFEST).write_text(json.dumps(told))
    with pytest.raises(DataRefused):
        restore(Workspace(new), out, [])
    assert not new.exists()
    assert not outside.exists()


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A folder with a pipe of the record's name is no copy."""
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(DataRefused, match="is no copy that medai made"):
        read_backup(tmp_path)


def test_a_place_in_which_no_copy_can_be_made_is_refused(tmp_path: Path) -> None:
    """Below a file, or under a name that is too long: told with the place; a dead link is something, too."""
    ledger = home_at(tmp_path / "home")
    (tmp_path / "file").touch()
    (tmp_path / "dead").symlink_to(tmp_path / "nothing")
    for place in (tmp_path / "file" / "out", tmp_path / ("x" * 300), tmp_path / "dead"):
        with pytest.raises(ConfigurationError, match="the copy cannot be written there"):
            back_up(ledger, place, [])


def test_a_database_that_cannot_be_copied_leaves_no_copy(tmp_path: Path) -> None:
    """What SQLite says of it is told, and nothing stands at the copy's name."""
    ledger = home_at(tmp_path / "home")
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ServiceFailed, match="the database mlflow cannot be copied") as caught:
        back_up(ledger, tmp_path / "out", [Sqlite("mlflow", tmp_path / "mlflow.db")])
    assert caught.value.received == "SQLITE_NOTADB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "mlflow.db"]


def test_a_copy_is_put_only_where_nothing_is(tmp_path: Path) -> None:
    """Neither a state folder with results nor an existing database is written over."""
    out = tmp_path / "out"
    ledger = home_at(tmp_path / "home")
    database_at(tmp_path / "home" / "mlflow" / "mlflow.db", 1)
    back_up(ledger, out, [Sqlite("mlflow", tmp_path / "home" / "mlflow" / "mlflow.db")])
    with pytest.raises(ConfigurationError, match="the state folder is not empty"):
        restore(ledger.workspace, out, [])
    with pytest.raises(ConfigurationError, match="a part of the copy has no place here"):
        restore(Workspace(tmp_path / "new"), out, [])
    database_at(tmp_path / "elsewhere.db", 9)
    with pytest.raises(ConfigurationError, match="there is a database already"):
        restore(Workspace(tmp_path / "new"), out, [Sqlite("mlflow", tmp_path / "elsewhere.db")])
    assert rows_in(tmp_path / "elsewhere.db") == 9
    for place in (out, tmp_path / "home" / "copy"):
        with pytest.raises(ConfigurationError, match="the copy cannot be written there"):
            back_up(ledger, place, [])


def test_an_interrupted_restore_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit comes last: until then there is none, and the same command completes it."""
    from medai import backup

    out, new = tmp_path / "out", tmp_path / "new"
    ledger = home_at(tmp_path / "home")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    back_up(ledger, out, [], tmp_path / "a")
    put, done = backup._put, []

    def killed(source: Path, target: Path, file: Copied) -> bool:
        done.append(target)
        if len(done) == 3:
            raise KeyboardInterrupt
        return put(source, target, file)

    monkeypatch.setattr(backup, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        restore(Workspace(new), out, [], tmp_path / "b")
    assert not (new / "audit.jsonl").exists()
    assert (new / RESTORING).exists()
    monkeypatch.setattr(backup, "_put", put)
    restore(Workspace(new), out, [], tmp_path / "b")
    assert Ledger(Workspace(new), "tester").entries() == ledger.entries()


def test_a_champion_without_its_files_is_told(tmp_path: Path) -> None:
    """What cannot serve is found at the restore, not at the first prediction."""
    ledger = home_at(tmp_path / "home")
    ledger.promote("ward", version=1, candidate="gone", run_id="r", how="person", reason="why", expected=None)
    copied = back_up(ledger, tmp_path / "out", [])
    with pytest.raises(ServiceFailed) as caught:
        refuse_broken(ledger, copied)
    assert caught.value.wrong == "a champion cannot serve"
    assert "ward" in caught.value.received


def test_a_champion_of_other_files_than_the_audits_is_told(tmp_path: Path) -> None:
    """Also where whoever put them into the copy wrote the manifest, too."""
    ledger = home_at(tmp_path / "home")
    key = "1" * 32
    ledger.workspace.materialise("fit", key, Candidate, lambda _: fitted(key, 0))
    said = files_sha256(ledger.workspace.folder("fit", key))
    ledger.append("registered", "ward", {"version": 1, "run_id": "r", "candidate": key, "files_sha256": said})
    ledger.promote("ward", version=1, candidate=key, run_id="r", how="person", reason="why", expected=None)
    copied = back_up(ledger, tmp_path / "out", [])
    refuse_broken(ledger, copied)
    shutil.rmtree(ledger.workspace.folder("fit", key))
    ledger.workspace.materialise("fit", key, Candidate, lambda _: fitted(key, 7))
    with pytest.raises(ServiceFailed, match="a champion cannot serve"):
        refuse_broken(ledger, copied)


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Also not a half one under another name."""
    ledger = home_at(tmp_path / "home")
    with pytest.raises(ServiceFailed, match="the database mlflow cannot be copied"):
        back_up(ledger, tmp_path / "out", [Sqlite("mlflow", tmp_path / "no" / "folder.db")])
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert f"{ARTIFACTS}/x" not in back_up(ledger, tmp_path / "out", []).files


@pytest.mark.parametrize("linked", ["store", "audit.jsonl", "store/fit", "keys/site.key"])
def test_a_copy_of_a_home_with_a_link_is_refused(linked: str, tmp_path: Path) -> None:
    """A store that was moved to a larger disk would be missing from a copy that calls itself whole."""
    ledger = home_at(tmp_path / "home")
    place = tmp_path / "home" / linked
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="a part of what is to be copied is a link") as refused:
        back_up(ledger, tmp_path / "out", [])
    assert refused.value.received == str(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "home"]
