"""Retraining by itself on a real Prefect server with a real worker: turns, events, notifications."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Scheduled

import flows
from flows.announcing import announce
from flows.services.network import wait_until_healthy
from flows.services.prefect_server import start_prefect, start_worker
from flows.services.process import Child
from flows.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(flows.__file__).parents[1]
PATIENCE = 400.0
ROUNDS = """
import json, os, time
from pathlib import Path
from prefect import flow
from flows.turns import turn

@flow
def rounds(mark: str, seed: int = 0, cause: str = "schedule") -> None:
    with turn() as others:
        with open(mark, "a") as file:
            file.write(json.dumps([seed, sorted([cause, *others]), os.getpid()]) + "\\n")
        while not Path(mark + ".go").exists():
            time.sleep(0.1)
"""
DEPLOY = """
import sys
import rounds
from flows.deploy import schedule
from flows.settings import Settings
mark = {"mark": sys.argv[1]}
name = sys.argv[1].rpartition("/")[2]
made = schedule(rounds.rounds, Settings.load(), name, cron="0 0 1 1 *", parameters=mark, waits=True)
print(made.id)
"""
KEEP = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from flows.notify import Mail
url = sys.argv[1]
block = CustomWebhookNotificationBlock(
    name="ward",
    url=url + "/{{token}}",
    secrets={"token": "s3cret"},
    json_data={"subject": "{{subject}}", "body": "{{body}}"},
)
block.save("ward", overwrite=True)
"""


@dataclass
class Stack:
    """A server, the environment of its clients, and a way to start a worker."""

    url: str
    environment: dict[str, str]
    start_worker: Callable[[], Child]
    folder: Path
    client: SyncPrefectClient
    heard: list[dict[str, Any]] = field(default_factory=list)
    webhook: str = ""

    def python(self, script: str, *arguments: str) -> str:
        """What a script of its own prints."""
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def runs(self, deployment: str) -> list[FlowRun]:
        """Of a deployment, but for those that its schedule keeps for next year."""
        asked = FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": [deployment]},
                "expected_start_time": {"before_": datetime.now(UTC) + timedelta(minutes=1)},
            }
        )
        return self.client.read_flow_runs(flow_run_filter=asked)

    def states(self, deployment: str) -> list[str]:
        """The names of their states, in order."""
        return sorted(run.state_name or "" for run in self.runs(deployment))

    def due(self, deployment: str, *, minutes_ago: float = 0, **parameters: Any) -> None:
        """A run that is due, as Prefect's scheduler would have made it."""
        self.client.create_flow_run_from_deployment(
            UUID(deployment),
            parameters=parameters,
            state=Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=minutes_ago)),
        )


def within(seconds: float, met: Callable[[], bool]) -> bool:
    """Whether a condition is met in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(0.3)
    return False


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Prefect's whole server on a home of its own, with short waits; whoever needs a worker starts it."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "rounds.py").write_text(ROUNDS)
    heard: list[dict[str, Any]] = []

    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append({"path": self.path, **body})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_", "MLFLOW_"))}
    kept |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "MEDAI_HOME": str(folder / "home"),
        "MEDAI_THREADS": "1",  # so that the worker takes two runs at once where there are two cores
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    }
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(kept)
    started: list[Child] = []
    try:
        settings = Settings.load()
        server, url = start_prefect(settings, 0, whole=True, log=folder / "prefect.log")
        started.append(server)
        wait_until_healthy("Prefect's server", f"{url}/health", PATIENCE, server)
        os.environ["MEDAI_PREFECT_API_URL"] = url
        environment = settings.merged(os.environ) | {"PREFECT_API_URL": url}

        def worker() -> Child:
            started.append(start_worker(Settings.load(), url, folder / f"worker-{len(started)}.log"))
            return started[-1]

        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as page,
            SyncPrefectClient(url) as client,
        ):
            threading.Thread(target=page.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{page.server_address[1]}"
            yield Stack(url, environment, worker, folder, client, heard, address)
            page.shutdown()
    finally:
        for child in reversed(started):
            child.stop()
        os.environ.clear()
        os.environ.update(before)


def test_an_outage_ends_in_one_run_and_events_during_a_run_in_one_more(stack: Stack) -> None:
    """Five due times without a worker: one run, four superseded. Three events meanwhile: one more, not none, not three.

    A run with another seed has its own turn.
    """
    mark = stack.folder / "mark"
    deployment = stack.python(DEPLOY, str(mark))
    for minutes in range(5):
        stack.due(deployment, minutes_ago=minutes)
    assert within(PATIENCE, lambda: stack.states(deployment) == ["Late"] * 5), stack.states(deployment)
    worker = stack.start_worker()
    try:
        assert within(PATIENCE, lambda: stack.states(deployment).count("Running") == 1 and mark.exists())
        for cause in ("medai.data.arrived", "medai.drift.detected", "medai.data.arrived"):
            stack.due(deployment, cause=cause)
        stack.due(deployment, seed=7)
        waiting = {"AwaitingConcurrencySlot", "Late"}
        assert within(PATIENCE, lambda: len([name for name in stack.states(deployment) if name in waiting]) == 8)
        Path(f"{mark}.go").touch()
        ended = ["Completed"] * 3 + ["Superseded"] * 6
        assert within(PATIENCE, lambda: stack.states(deployment) == ended), stack.states(deployment)
    finally:
        worker.stop()
    told = [json.loads(line)[:2] for line in mark.read_text().splitlines()]
    assert told[0] == [0, ["schedule"] * 5]
    assert sorted(told[1:]) == [
        [0, ["medai.data.arrived", "medai.data.arrived", "medai.drift.detected"]],
        [7, ["schedule"]],
    ]


def test_what_a_killed_run_was_to_do_is_done_by_the_next_that_waits(stack: Stack) -> None:
    """What started the others is not lost with the run that does their work."""
    mark = stack.folder / "killed"
    deployment = stack.python(DEPLOY, str(mark))
    for cause in ("schedule", "medai.drift.detected", "medai.data.arrived"):
        stack.due(deployment, cause=cause)
    worker = stack.start_worker()

    def told() -> list[Any]:
        return [json.loads(line) for line in mark.read_text().splitlines()] if mark.exists() else []

    try:
        assert within(PATIENCE, lambda: len(told()) == 1)
        os.kill(told()[0][2], signal.SIGKILL)
        Path(f"{mark}.go").touch()
        ended = ["Completed", "Crashed", "Superseded"]
        assert within(PATIENCE, lambda: stack.states(deployment) == ended), stack.states(deployment)
    finally:
        worker.stop()
    assert [len(one[1]) for one in told()] == [3, 2]


def test_data_that_arrive_retrain_by_themselves(stack: Stack, problems: Any) -> None:
    """An event of a problem, and of no other, trains, promotes and tells; the next finds nothing new; gone data fail.

    A run that is killed is told by the server. The webhook's secret is in its address alone, and nowhere in a log.
    """
    stack.python(KEEP, stack.webhook)
    synth = "import sys; from flows.cli import app; app(sys.argv[1:])"
    data = stack.folder / "raw"
    stack.python(synth, "synth", "medmnist", str(data), "--patients", "300", "--signal", "2", "--seed", "3", "--json")
    (file,) = data.glob("*.npz")
    problem = problems.pictures("by_itself", data=None)
    deploy = ("deploy", problem, "--data", str(file), "--on", "data,drift", "--notify", "custom-webhook/ward", "--json")
    made = json.loads(stack.python(synth, *deploy))["deployment"]
    stack.due(made)
    (killed,) = stack.runs(made)
    stack.client.set_flow_run_state(killed.id, Crashed(), force=True)
    assert within(PATIENCE, lambda: len(stack.heard) == 1)
    assert stack.heard.pop()["subject"] == "medai: retrain-by_itself crashed"
    stack.client.delete_flow_run(killed.id)
    worker = stack.start_worker()
    try:
        announce("medai.data.arrived", "another_problem", {})
        assert announce("medai.data.arrived", "by_itself", {"files": 1})
        assert within(PATIENCE, lambda: stack.states(made) == ["Promoted"]), stack.states(made)
        assert announce("medai.data.arrived", "by_itself", {"files": 1})
        assert within(PATIENCE, lambda: stack.states(made) == ["NothingNew", "Promoted"]), stack.states(made)
        file.rename(file.with_suffix(".away"))
        assert announce("medai.drift.detected", "by_itself", {})
        assert within(PATIENCE, lambda: stack.states(made) == ["Failed", "NothingNew", "Promoted"]), stack.states(made)
    finally:
        worker.stop()
    promoted, refused = stack.heard
    assert promoted["path"] == "/s3cret"
    assert promoted["subject"] == "medai: by_itself: version 1 is champion"
    assert "champion: version 1\ncause: medai.data.arrived\n- positives in test: " in promoted["body"]
    assert f"\nprefect: {stack.url.removesuffix('/api')}/runs/flow-run/" in promoted["body"]
    assert refused["subject"] == "medai: by_itself: the data were refused"
    assert "cause: medai.drift.detected\n" in refused["body"]
    assert "next step: " in refused["body"]
    logs = "".join(path.read_text(errors="replace") for path in stack.folder.glob("*.log"))
    assert "s3cret" not in logs
