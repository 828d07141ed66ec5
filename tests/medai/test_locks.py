"""Whose turn it is: file locks on one machine, PostgreSQL's advisory locks among several, and races to promote."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.ledger import Ledger
from medai.locks import DatabaseLocks, FileLocks, StillHeld
from medai.workspace import Workspace

PASSWORD = "Secret-of-the-ward"  # noqa: S105 - of a database that lives for a minute


# -- races ---------------------------------------------------------------------------------------------------------

RACER = """
import os, sys
from pathlib import Path
from medai.errors import ChampionMoved
from medai.ledger import Ledger
from medai.locks import DatabaseLocks
from medai.workspace import Workspace
home, name, database = Path(sys.argv[1]), sys.argv[2], os.environ.get("RACE_DATABASE")
ledger = Ledger(Workspace(home), by=name, locks=DatabaseLocks(database) if database else None)
for line in sys.stdin:
    number, act = line.split()
    champion = ledger.champion("p")
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        if act == "rollback":
            ledger.rollback("p", "it harms", champion.version)
        else:
            ledger.promote("p", version=int(number) * 10 + int(name), candidate=f"{name}-{number}", run_id="r",
                           how="person", reason="good", expected=champion.candidate if champion else None)
        print("won", flush=True)
    except Exception as error:
        print(type(error).__name__, "|", error.received, flush=True)
"""


def race(home: Path, rounds: int, database: str | None = None, acts: tuple[str, str] = ("promote", "promote")) -> None:
    """Two processes that stay alive look at the champion, and then both act on it at once, so many times."""
    environment = {**os.environ, **({"RACE_DATABASE": database} if database else {})}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(home), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in ("1", "2")
    ]

    def tell(lines: tuple[str, str]) -> list[str]:
        for racer, line in zip(racers, lines, strict=True):
            assert racer.stdin is not None
            racer.stdin.write(line + "\n")
            racer.stdin.flush()
        return [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]

    winners = []
    try:
        for number in range(1, rounds + 1):
            assert tell((f"{number} {acts[0]}", f"{number} {acts[1]}")) == ["ready", "ready"]
            told = tell(("go", "go"))
            assert sum(each == "won" for each in told) == 1, told
            winner = told.index("won")
            winners.append(str(winner + 1))
            kind, _, received = told[1 - winner].partition(" | ")
            assert kind in ("ChampionMoved", "NotChampion")
            assert f" by {winner + 1} (" in received or received == "no champion", "the other is told who won"
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    entries = Ledger(Workspace(home), by="reader").entries("p", "champion")
    assert [entry.by for entry in entries][-rounds:] == winners


def test_of_two_promotions_at_once_one_wins(tmp_path: Path) -> None:
    """Ten times: one champion each, the other is told who won, and no line is lost."""
    race(tmp_path, 10)


def test_of_a_promotion_and_a_rollback_at_once_one_wins(tmp_path: Path) -> None:
    """Whoever is second acted on a champion that no longer stands."""
    ledger = Ledger(Workspace(tmp_path), by="ward")
    for version in range(1, 13):
        before = ledger.champion("p")
        ledger.promote(
            "p",
            version=version,
            candidate=f"c{version}",
            run_id="r",
            how="gate",
            reason="good",
            expected=before.candidate if before else None,
        )
    race(tmp_path, 6, acts=("promote", "rollback"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_races_have_one_winner_each(tmp_path: Path) -> None:
    """No lost line, no line too many, an unbroken chain."""
    race(tmp_path, 200)


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_file_lock_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    """Its holder may always go on; whoever comes second is told after his patience."""
    locks = FileLocks(Workspace(tmp_path))
    with locks.hold("ledger") as still_held:
        still_held()
        with (
            pytest.raises(ServiceFailed, match="another run still holds ledger"),
            FileLocks(Workspace(tmp_path)).hold("ledger", 0.1),
        ):
            pass
    with locks.hold("ledger", 0.1):
        pass


def test_a_shell_without_the_machines_locks_takes_its_turn_all_the_same(tmp_path: Path) -> None:
    """On one machine the file lock is held beside those of the machines; nothing is left behind."""

    class Machines:
        """Locks that another shell does not know of."""

        @contextmanager
        def hold(self, name: str, seconds: float | None = None) -> Iterator[StillHeld]:
            yield lambda: None

    told, other = Ledger(Workspace(tmp_path), "one", locks=Machines()), Ledger(Workspace(tmp_path, 0.1), "two")
    for first, second in ((told, other), (other, Ledger(Workspace(tmp_path, 0.1), "three", locks=Machines()))):
        with (
            first.acting("p"),
            pytest.raises(ServiceFailed, match="another run still holds act-p"),
            second.acting("p"),
        ):
            pass
    with told.acting("p"):
        told.append("noted", "p", {})


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_an_address_that_is_none_is_not_shown(refusal: Callable[[MedaiError], str]) -> None:
    """Neither is it where nobody answers: it may hold a password."""
    with (
        pytest.raises(ConfigurationError) as raised,
        DatabaseLocks(f"postgresql://u:{PASSWORD}@h/d?nonsense=1").hold("x"),
    ):
        pass
    assert PASSWORD not in refusal(raised.value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"postgresql://u:{PASSWORD}@127.0.0.1:{free.getsockname()[1]}/d"
        with pytest.raises(ServiceFailed) as failed, DatabaseLocks(address).hold("x"):
            pass
    assert failed.value.wrong == "the database of the ledger's lock does not do its part"
    assert PASSWORD not in refusal(failed.value) + repr(DatabaseLocks(address))


WITHOUT = """
import sys
sys.modules["psycopg"] = None
from medai.errors import ConfigurationError
from medai.locks import DatabaseLocks
try:
    with DatabaseLocks("postgresql://h/d").hold("x"):
        pass
except ConfigurationError as error:
    print(error.action)
"""


def test_a_missing_driver_is_named_with_how_to_install_it() -> None:
    """The exact command."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "pip install '.[postgres]' in the folder that medai was cloned to\n", done.stderr


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of this test.

    Attributes:
        address: of its database, with a password.
    """

    address: str
    control: Callable[..., None]

    def ask(self, question: str) -> list[Any]:
        """An administrator's question."""
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as connection:
            return connection.execute(question.encode()).fetchall()


def found(program: str) -> str | None:
    """Where PostgreSQL's programs lie: on the path, or where Debian keeps them."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server on loopback in a folder of its own; root may not run one, so another user does."""
    initdb, control = found("initdb"), found("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed")
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if other and shutil.which("runuser") is None:
        pytest.skip("root may not run PostgreSQL, and there is no runuser")
    with tempfile.TemporaryDirectory() as place, socket.socket() as free:
        folder = Path(place)
        if other:
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def run(*arguments: str) -> None:
            # pg_ctl leaves the server behind, which would hold a pipe open
            with (folder / "server.log").open("ab") as told:
                subprocess.run([*other, *arguments], stdout=told, stderr=told, timeout=120, check=True, cwd="/")

        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c shared_buffers=8MB"
        run(initdb, "-D", f"{folder}/data", "-U", "medai", "-A", "scram-sha-256", f"--pwfile={folder}/password")
        run(control, "-D", f"{folder}/data", "-w", "-o", options, "start")
        try:
            yield Server(
                f"postgresql://medai:{PASSWORD}@127.0.0.1:{port}/postgres",
                lambda *asked: run(control, "-D", f"{folder}/data", "-w", "-o", options, *asked),
            )
        finally:
            run(control, "-D", f"{folder}/data", "-m", "immediate", "stop")


@pytest.mark.slow
class TestDatabase:
    """Machines that share a state folder take their turn in PostgreSQL."""

    def test_one_holds_it_at_a_time(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        """Others wait, and are told; locks of other names are free, and nothing is left behind."""
        one, other = DatabaseLocks(server.address), DatabaseLocks(server.address)
        with one.hold("ledger") as still_held:
            still_held()
            with other.hold("act-sepsis", 0):
                pass
            with pytest.raises(ServiceFailed, match="another run still holds ledger"), other.hold("ledger", 0.3):
                pass
            assert "another run holds ledger; waiting for it" in caplog.text
            order: list[str] = []
            waiting = threading.Thread(target=lambda: self._hold(other, order))
            waiting.start()
            order.append("one lets go")
        waiting.join(30)
        assert order == ["one lets go", "the other holds it"]
        deadline = time.monotonic() + 60  # the server lets go a moment after the connection is closed
        while server.ask(left := "select count(*) from pg_locks where locktype = 'advisory'") != [(0,)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    @staticmethod
    def _hold(locks: DatabaseLocks, order: list[str]) -> None:
        with locks.hold("ledger", 30):
            order.append("the other holds it")

    @pytest.mark.parametrize("harm", ["cut", "let go", "restarted"])
    def test_a_lost_lock_writes_nothing(self, server: Server, tmp_path: Path, harm: str) -> None:
        """The connection is cut, the lock let go behind our back, the server restarted: asked right before the line,
        it says so; the ledger is as before, and the same command works again.
        """

        class Struck(DatabaseLocks):
            """Loses its lock as soon as it holds it."""

            def _wait(self, connection: Any, key: int, name: str, patience: float) -> None:
                super()._wait(connection, key, name, patience)
                if harm == "cut":
                    server.ask(f"select pg_terminate_backend({connection.info.backend_pid})")
                elif harm == "let go":
                    connection.execute("select pg_advisory_unlock_all()")
                else:
                    server.control("-m", "fast", "restart")

        good = Ledger(Workspace(tmp_path), by="one", locks=DatabaseLocks(server.address))
        struck = Ledger(Workspace(tmp_path), by="two", locks=Struck(server.address))
        good.append("noted", "p", {})
        held = good.path.read_bytes()
        with pytest.raises(ServiceFailed) as raised:
            struck.promote("p", version=1, candidate="c", run_id="r", how="gate", reason="good", expected=None)
        assert raised.value.wrong == "the lock of ledger was lost"
        assert PASSWORD not in str(raised.value)
        assert good.path.read_bytes() == held
        assert good.promote("p", version=1, candidate="c", run_id="r", how="gate", reason="good", expected=None)

    def test_of_two_promotions_at_once_one_wins(self, server: Server, tmp_path: Path) -> None:
        """As with a file lock, which is held besides."""
        race(tmp_path, 20, server.address)
        assert (tmp_path / "locks" / "ledger.lock").exists()

    def test_a_wrong_password_is_told_and_not_shown(self, server: Server, refusal: Callable[[MedaiError], str]) -> None:
        """Nor is the right one."""
        address = server.address.replace(PASSWORD, "Wrong-one")
        with pytest.raises(ServiceFailed) as raised, DatabaseLocks(address).hold("ledger"):
            pass
        told = refusal(raised.value)
        assert "does not do its part" in told
        assert "Wrong-one" not in told
        assert PASSWORD not in told
