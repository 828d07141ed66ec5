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
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.services import Child, PrefectServer, _exchange, _status, early_prefect_server
from flows.settings import Settings, user
from medai.ledger import Ledger
from medai.spool import Spool
from medai.workspace import Workspace

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


def test_mlflow_down_at_start(medai: Any, mine: Path, problems: Any, outcome_of: Any) -> None:
    """The run ends with its figures, decision and report, and says what waits; sync registers and promotes as decided,
    once; the same command then answers with that version and makes nothing anew.
    """
    outcome_of("MLflow", "down at start", "run ends, decision waits; sync registers and promotes it")
    problem = problems.pictures("waits")
    answer = medai("run", problem, "--json", home=mine, environment=DOWN)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["version"], found["run_id"], found["waiting"]) == (None, None, ["mlflow"])
    assert (found["decision"], found["champion"]) == ("promoted", None)
    assert "not yet registered" in Path(found["report"]).read_text()
    assert "`medai sync`, the next run or `medai up` delivers it" in answer.err
    assert kinds(mine, "waits") == ["opened", "decided"]
    assert len(Spool(Workspace(mine)).numbers()) == 1

    still = medai("sync", "--json", home=mine, environment=DOWN)
    assert (still.status, still.json["waiting"], still.json["left"]) == (4, ["mlflow"], 1)
    assert "MLflow does not answer; 1 still wait" in medai("sync", home=mine, environment=DOWN).out

    told = medai("sync", "--json", home=mine)
    assert told.status == 0, told.err
    assert [(one["version"], one["verdict"], one["held"]) for one in told.json["delivered"]] == [(1, "promoted", True)]
    done = ["opened", "decided", "registered", "champion", "projected", "settled"]
    assert kinds(mine, "waits") == done
    assert aliases(mine, "waits") == {"challenger": 1, "champion": 1}
    assert medai("sync", home=mine).out == "nothing waits\n"

    again = medai.run(problem, home=mine)
    assert (again["version"], again["champion"], again["waiting"]) == (1, 1, [])
    assert {stage for stage, facts in again["stages"].items() if not facts["reused"]} == {"report"}
    assert kinds(mine, "waits") == done


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
    assert aliases(mine, "byhand") == {"challenger": 1}
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


def until(met: Callable[[], Any], seconds: float = 240) -> None:
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
    process = begin(down, mine, err, "run", problems.pictures("alone"), "--json")
    out, _ = process.communicate(timeout=300)
    told = err.read_text()
    assert process.returncode == 0, told
    assert json.loads(out)["decision"] == "promoted"
    line = f"Prefect's server at {NOBODY} does not answer (no answer): this run keeps a server of its own"
    assert told.count("does not answer") == told.count(line) == 1
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
    out, _ = process.communicate(timeout=400)
    told = err.read_text()
    assert process.returncode == 0, told
    found = json.loads(out)
    assert (found["decision"], found["version"], found["stages"]["fit"]["reused"]) == ("promoted", 1, True)
    before, after = told.split("Prefect's server was lost; the command goes on with one of its own")
    assert "Prefect's server does not take what its page would show" in before
    assert re.search(r"^report +\d", before, re.MULTILINE), "the work was not done to its end"
    assert re.search(r"^register +reused", after, re.MULTILINE)
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
    again = begin(bare_environment, mine, err, "run", problem, "--json")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, err.read_text()
    assert json.loads(out)["version"] == 1
    assert f"the run {problem}-seed-0 was cut short when its command was killed" in err.read_text()
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
        until(lambda: _status(f"http://127.0.0.1:{port}/health", 2) == 200 or not server.watch())
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
    ours = [Registry(notebook).get(f"registered-models/get?name={name}")["registered_model"]]
    assert {one["alias"]: one["version"] for one in ours[0]["aliases"]} == {"champion": "1", "challenger": "1"}
    experiment = Registry(notebook).get(f"experiments/get-by-name?experiment_name={name}")["experiment"]
    runs = Registry(notebook).post("runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert [run["info"]["status"] for run in runs] == ["FINISHED"]


class Registry:
    """MLflow's REST interface, as anybody sees it."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}/api/2.0/mlflow/"

    def get(self, question: str) -> Any:
        """Ask."""
        return json.loads(_exchange("GET", self.root + question, 30.0)[1])

    def post(self, question: str, body: dict[str, Any]) -> Any:
        """Ask with a body."""
        return json.loads(_exchange("POST", self.root + question, 30.0, body=json.dumps(body).encode())[1])
