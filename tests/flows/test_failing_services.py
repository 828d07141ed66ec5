"""When servers fail: the run's work is done, nothing is lost or decided twice, and the reader is told what waits."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import flows
from flows.child import descendants
from flows.lost import watch_heartbeats
from flows.services.network import post, status_of
from flows.services.prefect_server import PrefectServer, early_prefect_server, start_prefect, start_worker
from flows.services.process import Child
from flows.settings import Settings, user
from flows.sync import Courier
from medai.ledger import Ledger
from medai.spool import Spool
from medai.workspace import Workspace

ROOT = Path(flows.__file__).parents[1]
DOWN = {"MEDAI_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Nobody listens there."""


def ledger_of(home: Path) -> Ledger:
    """The ledger of a home."""
    return Ledger(Workspace(home), by=user())


def kinds(home: Path, problem: str) -> list[str]:
    """What the audit says of a problem, in its order."""
    return [entry.kind for entry in ledger_of(home).entries(problem)]


def aliases(home: Path, problem: str) -> dict[str, int]:
    """The aliases in MLflow's database, as it holds them."""
    with contextlib.closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        asked = database.execute("select alias, version from registered_model_aliases where name = ?", (problem,))
        return {alias: int(version) for alias, version in asked.fetchall()}


@pytest.fixture(scope="module")
def ready(medai: Any, tmp_path_factory: pytest.TempPathFactory, problems: Any) -> Path:
    """A home in which every pure stage of the tiny pictures is made, and MLflow's database."""
    home = tmp_path_factory.mktemp("ready") / "home"
    medai.run(problems.pictures("first"), home=home)
    return home


@pytest.fixture
def mine(ready: Path, tmp_path: Path) -> Path:
    """A copy without its past: of the ledger and of MLflow nothing is left."""
    home = tmp_path / "home"
    shutil.copytree(ready, home, ignore=shutil.ignore_patterns("audit.*", "mlflow", "hashes.sqlite", "locks"))
    return home


def test_mlflow_down_at_start(medai: Any, home: Path, problems: Any, outcome_of: Any) -> None:
    """The run ends with its figures, decision and report, and says what waits; sync registers and promotes as decided,
    once; the same command then answers with that version and makes nothing anew.
    """
    outcome_of("MLflow", "down at start", "run ends, decision waits; sync registers and promotes it")
    problem = problems.pictures("waits")
    answer = medai("run", problem, "--json", home=home, environment=DOWN)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["version"], found["run_id"], found["waiting"]) == (None, None, ["mlflow"])
    assert (found["decision"], found["champion"]) == ("promoted", None)
    assert "not yet registered" in Path(found["report"]).read_text()
    assert "`medai sync`, the next run or `medai up` delivers it" in answer.err
    assert kinds(home, "waits")[-1] == "decided"
    assert len(Spool(Workspace(home)).numbers()) == 1

    still = medai("sync", "--json", home=home, environment=DOWN)
    assert (still.status, still.json["waiting"], still.json["left"]) == (4, ["mlflow"], 1)
    assert "MLflow does not answer; 1 still wait" in medai("sync", home=home, environment=DOWN).out

    told = medai("sync", "--json", home=home)
    assert told.status == 0, told.err
    assert [(one["version"], one["verdict"], one["held"]) for one in told.json["delivered"]] == [(1, "promoted", True)]
    done = ["decided", "registered", "champion", "projected", "settled"]
    assert kinds(home, "waits")[-5:] == done
    assert aliases(home, "waits") == {"challenger": 1, "champion": 1}
    assert medai("sync", home=home).out == "nothing waits\n"

    again = medai.run(problem, home=home)
    assert (again["version"], again["champion"], again["waiting"]) == (1, 1, [])
    assert {stage for stage, facts in again["stages"].items() if not facts["reused"]} == {"report"}
    assert kinds(home, "waits").count("decided") == kinds(home, "waits").count("settled") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_next_run_delivers_what_waits_and_is_compared_with_it(
    medai: Any, mine: Path, problems: Any, outcome_of: Any
) -> None:
    """Of two decisions that wait the second was made without the first one's champion: it no longer holds, is told so,
    and is made anew by its command.
    """
    outcome_of("MLflow", "down for two runs", "in order; the second was compared with nobody and lapses")
    problem = problems.pictures("queue")
    for seed in ("0", "1"):
        answer = medai("run", problem, "--seed", seed, "--json", home=mine, environment=DOWN)
        assert (answer.status, answer.json["decision"], answer.json["champion"]) == (0, "promoted", None)
    told = medai("sync", "--json", home=mine)
    assert told.status == 0, told.err
    assert [(one["version"], one["held"]) for one in told.json["delivered"]] == [(1, True), (None, False)]
    assert "no longer holds: version 1, champion since" in told.err
    assert kinds(mine, "queue")[-3:] == ["settled", "registered", "lapsed"]
    lapsed = ledger_of(mine).entries("queue", "lapsed")[0].facts
    assert (lapsed["version"], lapsed["champion"]) == (2, 1)
    assert aliases(mine, "queue") == {"challenger": 2, "champion": 1}
    again = medai.run(problem, "--seed", "1", home=mine)
    assert again["version"] == 2
    assert any("champion" in condition["name"] or "inferior" in condition["name"] for condition in again["conditions"])
    assert not Spool(Workspace(mine)).numbers()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_delivers_what_waits_first(medai: Any, mine: Path, problems: Any, outcome_of: Any) -> None:
    """No sync is needed: the next run of any problem does it before it decides."""
    outcome_of("MLflow", "back before the next run", "that run delivers what waits, then decides")
    first, other = problems.pictures("early"), problems.pictures("late")
    assert medai("run", first, "--json", home=mine, environment=DOWN).json["waiting"] == ["mlflow"]
    found = medai.run(other, home=mine)
    assert (found["version"], found["waiting"]) == (1, [])
    assert kinds(mine, "early")[-1] == kinds(mine, "late")[-1] == "settled"
    numbers = [entry.number for entry in ledger_of(mine).entries() if entry.kind in ("settled", "decided")]
    order = [(entry.problem, entry.kind) for entry in ledger_of(mine).entries() if entry.number in numbers]
    assert order == [("early", "decided"), ("early", "settled"), ("late", "decided"), ("late", "settled")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_by_hand_while_mlflow_is_down(medai: Any, mine: Path, problems: Any, outcome_of: Any) -> None:
    """The ledger's entry stands at once; the alias follows with the next sync."""
    outcome_of("MLflow", "down for promote and rollback", "the ledger stands; sync moves the alias")
    problem = problems.pictures("byhand")
    assert medai.run(problem, home=mine)["champion"] == 1
    answer = medai("rollback", problem, "--reason", "it harms", "--json", home=mine, environment=DOWN)
    assert answer.status == 0, answer.err
    assert (answer.json["champion"], answer.json["waiting"]) == (None, ["mlflow"])
    assert ledger_of(mine).champion("byhand") is None
    assert aliases(mine, "byhand")["champion"] == 1
    told = medai("sync", "--json", home=mine).json
    assert [(one["problem"], one["champion"]) for one in told["followed"]] == [("byhand", None)]
    assert aliases(mine, "byhand") == {}
    answer = medai("promote", problem, "1", "--reason", "it heals", home=mine, environment=DOWN)
    assert (answer.status, "waiting: MLflow does not answer" in answer.out) == (0, True)
    found = medai.run(problem, home=mine)
    assert (found["champion"], found["waiting"]) == (1, [])
    assert aliases(mine, "byhand")["champion"] == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_locked_database(medai: Any, mine: Path, problems: Any, outcome_of: Any) -> None:
    """MLflow's own sqlite that somebody holds is a server that does not answer."""
    outcome_of("MLflow", "its sqlite locked", "run ends, decision waits; sync registers it")
    medai.run(problems.pictures("before"), home=mine)
    with contextlib.closing(sqlite3.connect(mine / "mlflow" / "mlflow.db")) as holder:
        holder.execute("begin exclusive")
        answer = medai("run", problems.pictures("locked"), "--json", home=mine)
        assert (answer.status, answer.json["waiting"]) == (0, ["mlflow"]), answer.err
        assert "sqlite: database is locked" in answer.err
    assert medai("sync", "--json", home=mine).json["delivered"][0]["verdict"] == "promoted"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_altered_or_incomplete_delivery_is_named(medai: Any, mine: Path, problems: Any, outcome_of: Any) -> None:
    """What was altered is not registered, and does not keep others from it; the same command makes it whole."""
    outcome_of("spool", "a file of it altered", "named, never registered; others go on; the same command mends it")
    problem, other = problems.pictures("altered"), problems.pictures("sound")
    for each in (problem, other):
        medai("run", each, "--json", home=mine, environment=DOWN)
    number = Spool(Workspace(mine)).numbers()[0]
    path = mine / "spool" / f"{number:09d}.json"
    delivery = json.loads(path.read_bytes())
    path.write_text(json.dumps(delivery | {"seed": 7}))
    told = medai("sync", "--json", home=mine)
    assert (told.status, told.json["left"]) == (4, 1)
    assert [error["wrong"] for error in told.json["failed"]] == [f"spool/{path.name} was altered"]
    assert [one["problem"] for one in told.json["delivered"]] == ["sound"]
    assert medai.run(problem, home=mine)["version"] == 1
    assert not Spool(Workspace(mine)).numbers()


# -- Prefect -------------------------------------------------------------------------------------------------------

NOBODY = "http://127.0.0.1:9/api"


def flow_states(home: Path) -> list[str]:
    """The states of the flow runs in the Prefect database of a home, oldest first."""
    with contextlib.closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return [row[0] for row in database.execute("select state_name from flow_run order by created")]


def begin(environment: dict[str, str], home: Path, err: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own; its standard error goes to a file."""
    with err.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
            env=environment | {"MEDAI_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=home.parent,
        )


def answer_of(process: subprocess.Popen[str], err: Path, seconds: float = 300) -> Any:
    """What a command answers that is carried out."""
    out, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, err.read_text()
    return json.loads(out)


def until(met: Callable[[], Any], seconds: float = 400) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrefectServer]:
    """A Prefect server of its own, to be killed."""
    with early_prefect_server(Settings.load(home=tmp_path / "server", prefect_api_url=None)) as server:
        server.wait()
        yield server


def kill(server: PrefectServer) -> None:
    """End a server without a word, and wait until its port is silent."""
    assert server._service is not None
    os.kill(server._service.pid, signal.SIGKILL)
    until(lambda: server._service is None or server._service.ended is not None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prefect_down_at_start(
    bare_environment: dict[str, str], mine: Path, problems: Any, tmp_path: Path, outcome_of: Any
) -> None:
    """One line says so, and the run keeps a server of its own."""
    outcome_of("Prefect", "named server down at start", "one line; the run keeps a server of its own")
    err = tmp_path / "err"
    down = bare_environment | {"PREFECT_API_URL": NOBODY}
    found = answer_of(begin(down, mine, err, "run", problems.pictures("alone"), "--json"), err)
    assert found["decision"] == "promoted"
    line = f"Prefect's server at {NOBODY} does not answer (no answer): this run keeps a server of its own"
    assert err.read_text().count(line) == 1
    assert flow_states(mine) == ["Completed"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prefect_killed_in_mid_run(
    bare_environment: dict[str, str],
    mine: Path,
    problems: Any,
    tmp_path: Path,
    server: PrefectServer,
    outcome_of: Any,
) -> None:
    """The command goes on under its own server, once, with finished stages reused; the answer is one object."""
    outcome_of("Prefect", "named server killed in mid-run", "taken up again under an own server; stages reused")
    err = tmp_path / "err"
    for folder in mine.glob("store/fit/*"):
        shutil.rmtree(folder)
    named = bare_environment | {"PREFECT_API_URL": server.api_url, "PREFECT_CLIENT_MAX_RETRIES": "1"}
    process = begin(named, mine, err, "run", problems.pictures("orphan"), "--json")
    until(lambda: "fit net" in err.read_text() or process.poll() is not None)
    kill(server)
    found = answer_of(process, err, 400)
    told = err.read_text()
    assert (found["decision"], found["version"], found["stages"]["fit"]["reused"]) == ("promoted", 1, True)
    before, after = told.split("Prefect's server was lost; the command goes on with one of its own")
    assert "Prefect's server does not take what its page would show" in before
    assert re.search(r"^fit +\d", before, re.MULTILINE), "a stage at work was not brought to its end"
    assert re.search(r"^fit +reused", after, re.MULTILINE)
    assert "Traceback" not in told
    assert flow_states(tmp_path / "server") == ["Running"]
    assert flow_states(mine) == ["Completed"]
    assert kinds(mine, "orphan").count("champion") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_command_is_crashed_by_the_next_and_resumed(
    bare_environment: dict[str, str], mine: Path, problems: Any, tmp_path: Path, outcome_of: Any
) -> None:
    """SIGKILL leaves its flow run Running in the home's database; the next command calls it crashed and goes on."""
    outcome_of("command", "SIGKILL in mid-run", "the next one marks its run Crashed and reuses its stages")
    err, problem = tmp_path / "err", problems.pictures("killed")
    process = begin(bare_environment, mine, err, "run", problem, "--json")
    until(lambda: "prepare " in err.read_text() or process.poll() is not None)
    process.kill()
    process.communicate()
    assert flow_states(mine) == ["Running"]
    assert answer_of(begin(bare_environment, mine, err, "run", problem, "--json"), err)["version"] == 1
    assert "the run killed-seed-0 was cut short when its command was killed" in err.read_text()
    assert flow_states(mine) == ["Crashed", "Completed"]
    assert not list(mine.glob("locks/command-*"))


# -- servers in mid-run --------------------------------------------------------------------------------------------


class Wire(threading.Thread):
    """A wire to a server that is cut at a request: from then on nobody answers, until it is mended.

    Args:
        port: of the server.
        cut: the first request line that contains this cuts the wire, after or before the server has read it.
        after: let the server read and act on the request; its answer gets lost.
    """

    def __init__(self, port: int, cut: str, after: bool) -> None:
        super().__init__(daemon=True)
        self.server, self.cut, self.after = port, cut.encode(), after
        self.broken, self.was_cut = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        """Take connections."""
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.broken.is_set():
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.server))
            threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                fatal = asking and not self.was_cut.is_set() and self.cut in data.partition(b"\r\n")[0]
                if fatal:
                    self.was_cut.set()
                    self.broken.set()
                    if self.after:
                        target.sendall(data)
                        time.sleep(1)
                if self.broken.is_set():
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.close()


@pytest.fixture(scope="module")
def notebook(bare_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real MLflow server; its port."""
    folder = tmp_path_factory.mktemp("notebook")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with mlflow_server(bare_environment, folder, port, f"sqlite:///{folder}/mlflow.db"):
        yield port


@contextlib.contextmanager
def mlflow_server(environment: dict[str, str], folder: Path, port: int, store: str) -> Iterator[None]:
    """An MLflow server that answers."""
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = Child("mlflow", "mlflow", arguments, environment | quiet, folder / "mlflow.log")
    try:
        until(lambda: status_of(f"http://127.0.0.1:{port}/health", 2) == 200 or not server.watch())
        assert server.watch(), server.last_lines()
        yield
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("asked", "after"),
    [("runs/create", True), ("runs/log-batch", False), ("model-versions/create", True), ("alias", False)],
)
def test_mlflow_lost_in_mid_registration(
    medai: Any, mine: Path, problems: Any, notebook: int, asked: str, after: bool, outcome_of: Any
) -> None:
    """Whatever it was told last, and whether it had understood it: sync goes on there and leaves one of each."""
    outcome_of("MLflow", f"lost {'after' if after else 'before'} {asked}", "run ends; sync goes on, one of each")
    name = f"lost_{asked.translate(str.maketrans('/-', '__'))}"
    wire = Wire(notebook, asked, after)
    there = {"MEDAI_TRACKING_URI": f"http://127.0.0.1:{wire.port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    answer = medai("run", problems.pictures(name), "--json", home=mine, environment=there)
    assert wire.was_cut.is_set()
    assert (answer.status, answer.json["waiting"]) == (0, ["mlflow"]), answer.err
    assert "Traceback" not in answer.err
    wire.broken.clear()
    told = medai("sync", "--json", home=mine, environment=there)
    assert told.status == 0, told.err
    assert kinds(mine, name)[-1] == "settled"
    assert kinds(mine, name).count("registered") == kinds(mine, name).count("champion") == 1
    ours = [Registry(notebook).ask(f"registered-models/get?name={name}")["registered_model"]]
    assert {one["alias"]: one["version"] for one in ours[0]["aliases"]} == {"champion": "1", "challenger": "1"}
    experiment = Registry(notebook).ask(f"experiments/get-by-name?experiment_name={name}")["experiment"]
    runs = Registry(notebook).ask("runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert [run["info"]["status"] for run in runs] == ["FINISHED"]


class Registry:
    """MLflow's REST interface, as anybody sees it."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}/api/2.0/mlflow/"

    def ask(self, question: str, body: dict[str, Any] | None = None) -> Any:
        """Its answer; with a body, a POST."""
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.root + question, data, kind)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            return json.load(answer)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_courier_delivers_beside_medai_up(
    bare_environment: dict[str, str],
    medai: Any,
    mine: Path,
    problems: Any,
    monkeypatch: pytest.MonkeyPatch,
    outcome_of: Any,
) -> None:
    """What waits when MLflow is back is delivered without anybody's command; where nothing waits, nothing is begun."""
    outcome_of("MLflow", "back while medai up runs", "medai up delivers what waits, in a process of its own")
    for name in set(os.environ) - set(bare_environment):
        monkeypatch.delenv(name)
    courier = Courier(Settings.load(home=mine))
    courier.look()
    assert courier._child is None
    medai("run", problems.pictures("carried"), "--json", home=mine, environment=DOWN)
    courier = Courier(Settings.load(home=mine))
    courier.look()
    assert courier._child is not None
    until(lambda: courier._child is not None and courier._child.ended is not None)
    courier.look()
    assert courier._child is None
    assert kinds(mine, "carried")[-1] == "settled"
    (decided,) = [entry.number for entry in ledger_of(mine).entries("carried", "decided")]
    told = (mine / "logs" / "sync.log").read_text()
    assert f"the decision of line {decided} is registered as version 1: promoted" in told


# -- workers and databases -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_silent_run_is_called_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome_of: Any) -> None:
    """Its process and the worker's are gone at once, as with their machine: the server misses the heartbeat, and the
    deployment's only slot is free again.
    """
    outcome_of("worker", "SIGKILL with its run", "Crashed within the lease; the slot is free, the next run starts")
    home, heart = tmp_path / "home", 35
    (tmp_path / "rounds.py").write_text(
        "import os, time\nfrom pathlib import Path\nfrom prefect import flow\n"
        "@flow\ndef rounds(mark: str) -> None:\n"
        "    first = not Path(mark).exists()\n    Path(mark).write_text(str(os.getpid()))\n"
        "    time.sleep(600 if first else 0)\n"
    )
    settings = Settings.load(home=home, prefect_api_url=None)
    path = os.pathsep.join([str(ROOT), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)  # the worker's runs find the flow there
    server, api_url = start_prefect(settings, 0, whole=True, log=tmp_path / "prefect.log")
    environment = settings.merged(os.environ) | {"PREFECT_API_URL": api_url}
    mark = tmp_path / "mark"
    script = (
        "import sys; from flows.deploy import schedule; import rounds\n"
        "from flows.settings import Settings\n"
        "settings = Settings.load()\n"
        "schedule(rounds.rounds, settings, 'once', cron='0 0 1 1 *', parameters={'mark': sys.argv[1]})\n"
    )

    def start() -> str:
        made = post(f"{api_url}/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        return str(made["id"])

    def state(run: str) -> str:
        found = post(f"{api_url}/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return str(found[0]["state"]["name"])

    try:
        until(lambda: status_of(f"{api_url}/health", 2) == 200)
        watch_heartbeats(api_url, seconds=heart)
        watch_heartbeats(api_url, seconds=heart)
        assert len(post(f"{api_url}/automations/filter", {})) == 1
        done = subprocess.run(
            [sys.executable, "-c", script, str(mark)],
            env=environment | {"MEDAI_HOME": str(home), "MEDAI_PREFECT_API_URL": api_url},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        deployment = post(f"{api_url}/deployments/filter", {})[0]["id"]
        killed = start()
        worker = start_worker(settings, api_url, tmp_path / "worker.log")
        until(lambda: mark.exists() and mark.read_text())
        beats = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        until(lambda: post(f"{api_url}/events/filter", beats)["events"])  # from the first on a silence is noticed
        run = [one for one in descendants(worker.pid) if one.pid != worker.pid]
        for process in (psutil.Process(worker.pid), *run):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert state(killed) == "Running"
        began = time.monotonic()
        until(lambda: state(killed) == "Crashed")
        assert time.monotonic() - began < heart + 60
        following = start()
        worker = start_worker(settings, api_url, tmp_path / "worker.log")
        until(lambda: state(following) == "Completed")
    finally:
        for child in (locals().get("worker"), server):
            if child is not None:
                child.stop()


POSTGRES = Path("/usr/lib/postgresql/15/bin")


class Database:
    """A PostgreSQL cluster of its own.

    Args:
        folder: that its account may enter.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.account:
            shutil.chown(folder, "postgres", "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._do("initdb", "-D", str(self.data), "-U", "medai", "--auth=trust", "--no-sync")
        self.start()
        for name in ("mlflow", "prefect"):
            self._do("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "medai", name)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k ''"
        log = str(self.folder / "log")
        self._do("pg_ctl", "start", "-w", "-D", str(self.data), "-o", options, "-l", log)

    def stop(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._do("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(self.data))

    def address(self, driver: str, name: str) -> str:
        """Of one of its databases."""
        return f"postgresql+{driver}://medai@127.0.0.1:{self.port}/{name}"

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.account, str(POSTGRES / program), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def database() -> Iterator[Database]:
    """A cluster; skipped where there is none."""
    if not (POSTGRES / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="medai-postgres-"))
    found = Database(folder)
    yield found
    with contextlib.suppress(AssertionError):
        found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_postgresql_restarted_in_mid_run(
    bare_environment: dict[str, str],
    mine: Path,
    problems: Any,
    tmp_path: Path,
    database: Database,
    outcome_of: Any,
) -> None:
    """Gone for some seconds under Prefect's and MLflow's servers, in the fit and again in the registration: the run
    ends as if it had been there, and says at most that it tried again.
    """
    outcome_of("PostgreSQL", "restarted in the fit and in register", "run ends; one version, one champion, all settled")
    for folder in mine.glob("store/fit/*"):
        shutil.rmtree(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    connection = {"PREFECT_API_DATABASE_CONNECTION_URL": database.address("asyncpg", "prefect")}
    settings = Settings.load(home=tmp_path / "server", prefect_api_url=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(connection.items())))
        server = early_prefect_server(settings)
    store = database.address("psycopg", "mlflow")
    err, name = tmp_path / "err", "restarted"
    with server, mlflow_server(bare_environment, tmp_path, port, store):
        server.wait()
        there = {"PREFECT_API_URL": server.api_url, "MEDAI_TRACKING_URI": f"http://127.0.0.1:{port}"}
        process = begin(bare_environment | there, mine, err, "run", problems.pictures(name), "--json")
        for moment in ("fit net", "decide "):
            until(lambda moment=moment: moment in err.read_text() or process.poll() is not None)
            database.stop()
            time.sleep(3)
            database.start()
        found = answer_of(process, err, 400)
        told = err.read_text()
        if found["waiting"]:  # it was gone for longer than MLflow is tried: then sync delivers
            waits = begin(bare_environment | there, mine, err, "sync", "--json")
            assert json.loads(waits.communicate(timeout=200)[0])["left"] == 0
        assert "Traceback" not in told
        assert kinds(mine, name).count("settled") == kinds(mine, name).count("champion") == 1
        versions = Registry(port).ask(f"registered-models/get?name={name}")["registered_model"]["latest_versions"]
        assert [one["version"] for one in versions] == ["1"]
        states = [run["state"]["name"] for run in post(f"{server.api_url}/flow_runs/filter", {})]
        assert states == ["Completed"]
