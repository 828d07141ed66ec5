"""The stack as plain processes: PostgreSQL, Prefect's server and worker, MLflow's server."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

import flows
from flows.keeper import Keeper, place
from flows.postgres import Account, Cluster, program
from flows.recipe import CORE, SECRETS, Service, recipe
from flows.settings import Settings
from flows.stack import _lock, down, make_secrets, up
from medai.errors import ConfigurationError, ServiceFailed
from medai.ledger import Ledger
from medai.workspace import Workspace

ROOT = Path(flows.__file__).parents[1]
PATIENCE = 240.0
ACROSS = "MEDAI_", "PREFECT_", "MLFLOW_", "PG"


def test_the_services_come_after_what_they_need(bare: None, tmp_path: Path) -> None:
    """No address is another machine's, no port is two services', no command names a password."""
    here = place(Settings.load(home=tmp_path))
    services = recipe(here)
    for number, name in enumerate(CORE):
        assert set(services[name].needs) <= set(CORE[:number])
    ports = re.findall(r"127\.0\.0\.1:(\d+)", " ".join(map(str, vars(here).values())))
    assert len(set(ports)) == 6
    make_secrets(tmp_path / "secrets")
    words = {(tmp_path / "secrets" / name).read_text().strip().rpartition(":")[2] for name in SECRETS}
    said = json.dumps([[service.command, dict(service.environment)] for service in services.values()])
    assert len(words) == len(SECRETS)
    assert not any(word in said for word in words)


@pytest.mark.parametrize("left", ["", "medai:word\n"])
def test_a_secret_that_is_none_is_refused(left: str, tmp_path: Path) -> None:
    """An empty one would open Prefect's server to everybody; one that others can read is none."""
    make_secrets(tmp_path)
    path = tmp_path / "prefect_auth"
    path.write_text(left)
    path.chmod(0o640 if left else 0o600)
    with pytest.raises(ConfigurationError, match="the secret prefect_auth of the stack cannot be used") as caught:
        make_secrets(tmp_path)
    assert caught.value.received == ("a file of mode 0640" if left else "an empty file")


def test_a_home_with_versions_begins_no_stack(bare: None, tmp_path: Path) -> None:
    """Its MLflow would be empty, and give the next candidate the number of one that the audit knows."""
    settings = Settings.load(home=tmp_path)
    ledger = Ledger(Workspace(tmp_path), by="anna")
    ledger.append("ingested", "sepsis", {})
    ledger.append("registered", "sepsis", {"version": 1})
    with pytest.raises(ConfigurationError, match="a stack that begins in this home would have an MLflow without") as no:
        up(settings)
    assert no.value.received == "1 registered versions in audit.jsonl"
    assert "medai up" in no.value.action
    assert not (tmp_path / "stack").exists()


def test_postgres_that_is_not_there_or_cannot_serve(
    bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before anything is started, with what to do."""
    monkeypatch.setattr("flows.postgres.DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="PostgreSQL is not installed") as caught:
        program("postgres")
    assert "apt-get install postgresql" in caught.value.action
    (tmp_path / "9" / "bin").mkdir(parents=True)
    (tmp_path / "15" / "bin").mkdir(parents=True)
    for version in ("9", "15"):
        (tmp_path / version / "bin" / "postgres").touch()
    assert program("postgres") == tmp_path / "15" / "bin" / "postgres"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_folder_that_postgres_may_not_enter(bare: None, tmp_path: Path) -> None:
    """As root's own home: told by its account and what to do, instead of by initdb."""
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    cluster = Cluster(closed / "postgres", tmp_path, 1, recipe(place(Settings.load(home=tmp_path)))["postgres"])
    account = Account.of()
    assert account is not None
    with pytest.raises(ConfigurationError) as caught:
        cluster.make()
    assert caught.value.wrong == f"PostgreSQL's account {account.name} cannot reach {closed / 'postgres'}"
    assert "MEDAI_STACK" in caught.value.action


def test_a_process_that_does_not_hold_the_stack_is_left_alone(bare: None, tmp_path: Path) -> None:
    """A record that names another process, or none, ends nothing: numbers are used again, and files are written."""
    settings = Settings.load(home=tmp_path)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with _lock(settings):
            for pids in ({"stack": bystander.pid}, {"stack": -1}, {"stack": 10**30}, {}):
                told = {"prefect_url": "", "mlflow_url": "", "pages_url": "", "postgres": "", "told": {}, "logs": ""}
                (tmp_path / "stack.json").write_text(json.dumps(told | {"pids": pids}))
                with pytest.raises(ServiceFailed, match="the process of the stack is not known"):
                    down(settings, patience=0.1)
        assert bystander.poll() is None
        assert down(settings) is None  # nobody holds it: nothing runs
    finally:
        bystander.kill()
        bystander.wait()


def test_the_process_that_holds_the_stack_is_ended(bare: None, tmp_path: Path) -> None:
    """It is known by the lock that it has open, also where the home is reached through a link."""
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    code = "import sys, filelock; held = filelock.FileLock(sys.argv[1]); held.acquire(); print(flush=True); input()"
    lock = tmp_path / "link" / "locks" / "stack.lock"
    lock.parent.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        told = {"prefect_url": "", "mlflow_url": "", "pages_url": "", "postgres": "", "told": {}, "logs": ""}
        (tmp_path / "home" / "stack.json").write_text(json.dumps(told | {"pids": {"stack": holder.pid}}))
        found = down(Settings.load(home=tmp_path / "link"), patience=5)
        assert found is not None
        assert not psutil.pid_exists(holder.pid)
    finally:
        holder.kill()


def test_a_service_that_ends_again_and_again_ends_the_stack(
    bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started again so many times, its words are kept, and then they are told."""
    monkeypatch.setattr("flows.keeper.PAUSES", (0.0, 0.0))
    settings = Settings.load(home=tmp_path)
    keeper = Keeper(settings, place(settings), threading.Event())
    keeper.services = {"broken": Service(("no_such_module",), {})}
    keeper._launch("broken")
    started = set()

    def watch() -> bool:
        started.add(keeper.children["broken"].pid)
        keeper.mend()
        return False

    try:
        with pytest.raises(ServiceFailed) as caught:
            within(60, watch)
    finally:
        keeper.stop()
    assert len(started) == 3
    assert caught.value.wrong == "broken ended by itself"
    assert "No module named no_such_module" in caught.value.received
    assert "No module named no_such_module" in (tmp_path / "stack" / "logs" / "broken.log.1").read_text()


# -- the real one ------------------------------------------------------------------------------------------------------


class Site:
    """A home with its stack, and the command that works in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ACROSS)}
        self.environment = kept | {
            "MEDAI_HOME": str(self.home),
            "MEDAI_SERVICE_SECONDS": str(PATIENCE),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs by itself; its words are in ``words``."""
        return subprocess.Popen(
            [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "words").open("w"),
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    @property
    def words(self) -> str:
        """What the last command said on its standard error."""
        return (self.folder / "words").read_text()

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """A command that must succeed; its object."""
        process = self.start(*arguments, "--json")
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, self.words + out
        answer: dict[str, Any] = json.loads(out)
        return answer

    def up(self) -> dict[str, Any]:
        """Start the stack; later commands use it."""
        found = self("stack", "up", "--detach")
        assert "the stack starts, which may take a minute" in self.words
        said = (self.home / "stack.log").read_text()
        assert said.startswith("postgres: ready\nprefect, mlflow: ready\nworker, pages: ready\n")
        self.environment |= found["told"]
        return found

    def ask(self, url: str, body: dict[str, Any] | None = None, auth: bool = True) -> tuple[int, Any]:
        """Status and answer of a page."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        if auth:
            secret = Path(self.environment["MEDAI_PREFECT_AUTH_FILE"]).read_bytes().strip()
            headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()
        told = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", f"{parts.path}?{parts.query}", told, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text

    def champion(self, problem: str) -> str | None:
        """The version that MLflow's server shows as champion, if it shows any."""
        _, found = self.ask(
            f"{self.environment['MEDAI_TRACKING_URI']}{MODELS}?name={problem}&alias=champion", auth=False
        )
        return str(found["model_version"]["version"]) if "model_version" in found else None


MODELS = "/api/2.0/mlflow/registered-models/alias"


def within(seconds: float, met: Callable[[], bool]) -> bool:
    """Whether a condition is met in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that any account may enter, as PostgreSQL's must when the tests are root's."""
    folder = Path(tempfile.mkdtemp(prefix="medai-stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _installed() -> bool:
    try:
        return program("postgres").is_file()
    except ConfigurationError:
        return False


needs_postgres = pytest.mark.skipif(not _installed(), reason="PostgreSQL is not installed")


@needs_postgres
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_governed_loop_on_real_services(open_folder: Path, problems: Any, bare: None) -> None:
    """A run outlives PostgreSQL's restart; a schedule trains and promotes; a copy taken meanwhile serves elsewhere.

    One test, as the services are slow to start. Ended or killed, a stack leaves no process.
    """
    site = Site(open_folder)
    found = site.up()
    try:
        assert set(found["pids"]) == {"stack", *CORE}
        assert (site.home / "stack" / "secrets").stat().st_mode & 0o077 == 0
        # Prefect's server asks who it is; PostgreSQL takes no connection without a password.
        assert site.ask(f"{found['prefect_url']}/api/admin/version", auth=False)[0] == 401
        assert site.ask(f"{found['prefect_url']}/api/admin/version")[0] == 200
        port = found["postgres"].rpartition(":")[2]
        asked = [program("psql"), "-w", "-h", "127.0.0.1", "-p", port, "-U", "mlflow", "-c", "select 1", "mlflow"]
        refused = subprocess.run(asked, check=False, capture_output=True, text=True, env={})
        assert "no password supplied" in refused.stderr

        site("deploy", problems.stays("planned"), "--cron", "* * * * *")
        run = site.start("run", problems.stays("stays"), "--json")
        assert within(PATIENCE, lambda: "fit net" in site.words or run.poll() is not None)
        postmaster = site.home / "stack" / "postgres" / "data" / "postmaster.pid"
        os.kill(int(postmaster.read_text().split()[0]), signal.SIGINT)
        out, _ = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, site.words
        assert json.loads(out)["decision"] == "promoted"
        assert within(PATIENCE, lambda: site.champion("stays") == "1")  # by the courier, where MLflow was not back yet
        now = site("stack", "status")
        assert now["pids"]["postgres"] != found["pids"]["postgres"]
        assert {**now["pids"], "postgres": 0} == {**found["pids"], "postgres": 0}
        assert "postgres ended by itself" in (site.home / "stack.log").read_text()

        ledger = Ledger(Workspace(site.home), "test")
        assert within(PATIENCE, lambda: ledger.champion("planned") is not None and ledger.projected("planned"))
        assert site.champion("planned") == "1"
        for paused in site.ask(f"{found['prefect_url']}/api/deployments/filter", {})[1]:
            site.ask(f"{found['prefect_url']}/api/deployments/{paused['id']}/pause_deployment", {})

        run = site.start("run", problems.stays("stays"), "--seed", "1", "--json")
        assert within(PATIENCE, lambda: "fit net" in site.words or run.poll() is not None)
        words = site.words
        copied = site("backup", str(open_folder / "copy"))
        assert run.poll() is None, words
        out, _ = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0
        assert json.loads(out)["version"] == 2
        assert copied["audit"]["lines"] < len(ledger.entries())
        assert copied["databases"] == ["prefect.dump", "mlflow.dump"]
        started = of(now)
    finally:
        site("stack", "down")
    assert not any(map(alive, started))
    assert not (site.home / "stack.json").exists()

    new = Site(open_folder / "new")
    new.folder.mkdir()
    back = new("restore", str(open_folder / "copy"))
    assert {**back, "home": ""} == {**copied, "home": "", "databases": back["databases"]} or back["audit"] == copied[
        "audit"
    ]
    found = new.up()
    try:
        assert new.champion("stays") == "1"
        assert new.champion("planned") == "1"
        assert [entry.number for entry in Ledger(Workspace(new.home), "test").entries()][-1] == copied["audit"]["lines"]
        runs = new.ask(f"{found['prefect_url']}/api/flow_runs/filter", {})[1]
        assert "COMPLETED" in {each["state"]["type"] for each in runs}
        again = new("run", problems.stays("stays"))
        assert again["version"] == 1
        assert again["stages"]["fit"]["reused"]
        with pytest.raises(ServiceFailed, match="a stack runs on this home already"):
            up(Settings.load(home=new.home))
        started = of(found)
        os.kill(found["pids"]["stack"], signal.SIGKILL)
        assert within(60, lambda: not any(map(alive, started)))
        assert new("stack", "status") == {"running": False}
    finally:
        new("stack", "down")


def of(found: dict[str, Any]) -> list[psutil.Process]:
    """All processes of a stack."""
    named = [psutil.Process(pid) for pid in found["pids"].values()]
    return named + [each for one in named for each in one.children(recursive=True)]


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and was not collected does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
