"""``medai backup`` and ``medai restore`` on a home whose databases are files, as ``medai up`` keeps them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flows.backup import back_up, restore
from flows.databases import Postgres
from flows.settings import Settings
from flows.shown.operation import copied
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.ledger import Ledger
from medai.workspace import Workspace

pytestmark = pytest.mark.usefixtures("bare")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An audit of two lines, and both databases."""
    home = tmp_path / "home"
    ledger = Ledger(Workspace(home), "tester")
    for number in range(2):
        ledger.append("opened", "ward", {"candidate": str(number), "test_sha256": "0"})
    for name in ("prefect/prefect.db", "mlflow/mlflow.db"):
        (home / name).parent.mkdir()
        with closing(sqlite3.connect(home / name)) as database, database:
            database.execute("create table made (name text)")
            database.execute("insert into made values (?)", (name,))
    (home / "mlflow" / "artifacts").mkdir()
    (home / "mlflow" / "artifacts" / "MLmodel").write_text("flavours")
    return home


def test_a_home_with_its_databases_comes_back(home: Path, tmp_path: Path) -> None:
    """Both are databases in the copy, not files that were caught in mid-write; what is told is what is there."""
    told = back_up(Settings.load(home=home), str(tmp_path / "copy"))
    assert told["databases"] == ["prefect.sqlite", "mlflow.sqlite"]
    assert told["audit"]["lines"] == 2
    listed = json.loads((tmp_path / "copy" / "backup.json").read_text())["files"]
    assert set(listed) == {
        "databases/mlflow.sqlite",
        "databases/prefect.sqlite",
        "home/audit.head",
        "home/audit.jsonl",
        "home/keys/site.key",
        "home/keys/site.pub",
        "home/mlflow/artifacts/MLmodel",
    }
    assert (told["files"], told["bytes"]) == (7, sum(file["size"] for file in listed.values()))
    new = tmp_path / "new"
    back = restore(Settings.load(home=new), str(tmp_path / "copy"))
    assert (back["sha256"], back["home"]) == (told["sha256"], str(new))
    for name in ("prefect/prefect.db", "mlflow/mlflow.db"):
        with closing(sqlite3.connect(new / name)) as database:
            assert database.execute("select name from made").fetchall() == [(name,)]
    assert (new / "mlflow" / "artifacts" / "MLmodel").read_text() == "flavours"
    assert Ledger(Workspace(new), "x").entries() == Ledger(Workspace(home), "x").entries()


def test_a_copy_of_nothing_and_from_nothing(home: Path, tmp_path: Path) -> None:
    """Status 2 and 3, with what to do; nothing is made."""
    with pytest.raises(ConfigurationError, match="there is nothing to copy"):
        back_up(Settings.load(home=tmp_path / "none"), str(tmp_path / "copy"))
    with pytest.raises(DataRefused, match="is no copy that medai made"):
        restore(Settings.load(home=tmp_path / "none"), str(home))
    with pytest.raises(ConfigurationError, match="the copy cannot be written there"):
        back_up(Settings.load(home=home), str(home / "copy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_a_postgres_that_does_not_answer(home: Path, tmp_path: Path) -> None:
    """Status 4, by its address, and no half copy."""
    settings = Settings.load(home=home, postgres="127.0.0.1:9", secrets=tmp_path)
    with pytest.raises(ServiceFailed) as caught:
        back_up(settings, str(tmp_path / "copy"))
    assert caught.value.wrong == "the database prefect does not answer"
    assert "127.0.0.1:9" in caught.value.expected
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert Postgres("mlflow", "127.0.0.1:9", tmp_path).name == "mlflow.dump"


def test_what_a_person_reads(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the copy is, how large, as of when, and the hash to keep elsewhere."""
    told = back_up(Settings.load(home=home), str(tmp_path / "copy"))
    copied(told)
    said = capsys.readouterr().out
    assert f"7 files, 0.0 MB copied to {tmp_path / 'copy'}\n" in said
    assert "databases: prefect.sqlite, mlflow.sqlite\n" in said
    assert f"audit: 2 lines, the last {told['audit']['head'][:16]}…, as of {told['at'][:19]} UTC\n" in said
    assert f"SHA-256 of backup.json: {told['sha256']}\n" in said
    assert "next:" not in said
    copied(restore(Settings.load(home=tmp_path / "new"), str(tmp_path / "copy")))
    said = capsys.readouterr().out
    assert f"7 files, 0.0 MB restored into {tmp_path / 'new'}\n" in said
    assert "next: compare that SHA-256 with the one that `medai backup` printed, then `medai audit verify`\n" in said


def test_nothing_of_prefect_is_needed() -> None:
    """Its import would make its folder in a home that is still to be filled, or warn that it cannot."""
    look = "import sys, flows.backup; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
