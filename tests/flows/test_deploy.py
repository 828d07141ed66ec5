"""Deployments: one a problem, on a server that keeps them, and nothing lost without a word."""

from __future__ import annotations

import http.server
import inspect
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Pending, Running

import flows
from flows import deploy, deployments
from flows.announcing import EVENTS
from flows.arrivals import watch
from flows.automations import CAUSES
from flows.deployments import falls_due
from flows.retrain import retrain
from flows.settings import Settings
from medai.errors import ServiceFailed
from medai.problem import load_problem

SHIPPED = yaml.safe_load((Path(flows.__file__).parents[1] / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", SHIPPED, ids=lambda deployment: str(deployment["name"]))
def test_what_is_shipped_can_be_deployed(deployment: dict[str, Any]) -> None:
    """Its problem is in the catalogue, its name is the problem's, its flow is there and takes its parameters."""
    problem = load_problem(deployment["parameters"]["problem"])
    module, flow = {"retrain": ("retrain", retrain), "watch": ("arrivals", watch)}[deployment["name"].split("-")[0]]
    assert deployment["name"] == f"{flow.name}-{problem.name}"
    assert problem.name in deployment["description"]
    assert deployment["entrypoint"] == f"flows.{module}.{flow.name}"
    assert set(deployment["parameters"]) <= set(inspect.signature(flow.fn).parameters)
    assert all(len(each["cron"].split()) == 5 for each in deployment["schedules"])
    for trigger in deployment.get("triggers", ()):
        assert set(trigger["expect"]) == set(CAUSES.values()) <= set(EVENTS)
        assert trigger["match"] == {"prefect.resource.id": f"medai.problem.{problem.name}"}


@pytest.mark.parametrize(
    ("arguments", "changes", "told"),
    [
        (("--cron", "99 99 * * *"), {}, "the schedule of unplanned cannot be used"),
        (("--cron", ""), {}, "the schedule of unplanned cannot be used"),
        (("--cron", "@daily"), {}, "the schedule of unplanned cannot be used"),
        (("--cron", "0 3 31 2 *"), {}, "the schedule of unplanned cannot be used"),
        ((), {"data": None}, "nobody said where the data of unplanned lie"),
        (("--set", "training.epochz=1"), {}, "cannot be followed"),
        (("--timezone", "Europe/Berlim"), {}, "the schedule of unplanned cannot be used"),
        (("--on", "drift,date"), {}, "a retraining cannot be started by that"),
        (("--watch", "every minute"), {}, "the schedule of unplanned cannot be used"),
        (("--watch", "*/10 * * * *"), {}, "the data of unplanned cannot arrive"),
        (("--watch", "*/10 * * * *"), {"data": None}, "nobody said where the data of unplanned lie"),
    ],
)
def test_what_cannot_run_is_not_scheduled(
    arguments: tuple[str, ...], changes: dict[str, Any], told: str, medai: Any, home: Path, problems: Any
) -> None:
    """Status 2 before any server is asked, whether or not one answers."""
    down = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    problem = problems.pictures("unplanned", **changes)
    answer = medai("deploy", problem, *arguments, "--json", home=home, environment=down)
    assert answer.status == 2, answer.err
    assert told in answer.error["wrong"]


def test_each_problem_has_its_own_schedule_and_a_replaced_one_is_told(
    medai: Any, home: Path, problems: Any, tmp_path: Path
) -> None:
    """Two files of one stem are two problems; the same problem again says what it replaces, its data above all."""
    data = tmp_path / "raw.npz"
    data.touch()
    first = problems.pictures("planned")
    other = tmp_path / "planned.yaml"
    other.write_text(Path(first).read_text().replace("name: planned", "name: planned_too"))
    one = medai("deploy", first, "--data", str(data), "--json", home=home).json
    two = medai("deploy", str(other), "--json", home=home).json
    assert (one["name"], two["name"]) == ("retrain-planned", "retrain-planned_too")
    assert one["deployment"] != two["deployment"]
    assert one["replaced"] is two["replaced"] is None
    assert datetime.fromisoformat(one["next"]).isocalendar().weekday == 1

    again = medai("deploy", first, "--cron", "30 4 * * *", home=home)
    assert again.status == 0, again.err
    assert re.match(r"planned is retrained at 30 4 \* \* \* UTC, next \d{4}-\d\d-\d\dT04:30 UTC\n", again.out)
    assert "it replaces the schedule at 0 3 * * 1" in again.out
    assert f"the earlier one read --data {data}" in again.out


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        # 29 March 2026: 02:00 CET becomes 03:00 CEST, and there is no 02:30: it is due an hour before 03:30.
        ("30 2 * * *", "2026-03-28T03:00", "2026-03-29T01:30:00+01:00"),
        ("30 2 * * *", "2026-03-29T04:00", "2026-03-30T02:30:00+02:00"),
        # 25 October 2026: 02:30 comes twice, in CEST and in CET; the first counts.
        ("30 2 * * *", "2026-10-24T03:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-25T02:31", "2026-10-26T02:30:00+01:00"),
        ("0 3 * * *", "2026-03-28T04:00", "2026-03-29T03:00:00+02:00"),
        ("0 3 * * *", "2026-10-24T04:00", "2026-10-25T03:00:00+01:00"),
    ],
)
def test_a_schedule_keeps_its_hour_when_the_clocks_change(cron: str, after: str, due: str) -> None:
    """Once a night in the ward's own time, also in the two nights that are an hour shorter or longer."""
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert falls_due("nightly", cron, "Europe/Berlin", start).isoformat() == due


def test_what_is_deployed_is_told_replaced_and_removed(
    medai: Any, home: Path, problems: Any, tmp_path: Path, environment: dict[str, str]
) -> None:
    """One retraining, one automation and one look a problem, however often it is deployed; --remove leaves nothing."""
    data = tmp_path / "raw.npz"
    data.touch()
    problem = problems.pictures("looked_after", data=None)
    both = ("--data", str(data), "--on", "drift,data", "--watch", "*/5 * * * *", "--timezone", "Europe/Berlin")
    for _ in range(2):
        made = medai("deploy", problem, *both, home=home)
        assert made.status == 0, made.err
    assert "looked_after is retrained at 0 3 * * 1 Europe/Berlin, next " in made.out
    assert ", and on drift, data\n" in made.out
    assert "its data are looked at by watch-looked_after at */5 * * * * Europe/Berlin" in made.out

    standing = medai("deploy", problem, "--list", "--json", home=home).json["deployments"]
    assert [(one["name"], one["cron"], one["timezone"], one["on"]) for one in standing] == [
        ("retrain-looked_after", "0 3 * * 1", "Europe/Berlin", ["drift", "data"]),
        ("watch-looked_after", "*/5 * * * *", "Europe/Berlin", []),
    ]
    with SyncPrefectClient(environment["PREFECT_API_URL"]) as client:
        (automation,) = client.read_automations_by_name("retrain-looked_after")
        kept = client.read_deployment_by_name("retrain/retrain-looked_after")
        looks = client.read_deployment_by_name("watch/watch-looked_after")
    assert automation.trigger.match.root == {"prefect.resource.id": "medai.problem.looked_after"}
    assert automation.trigger.expect == {"medai.drift.detected", "medai.data.arrived"}
    assert automation.actions[0].deployment_id == kept.id
    assert automation.actions[0].parameters == {"cause": "{{ event.event }}"}
    assert kept.concurrency_options.collision_strategy == "ENQUEUE"
    assert looks.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert kept.global_concurrency_limit.limit == looks.global_concurrency_limit.limit == 1

    fewer = medai("deploy", problem, "--data", str(data), "--on", "labels", "--json", home=home).json
    assert (fewer["on"], fewer["watch"], fewer["replaced"]["data"]) == (["labels"], None, str(data))
    assert fewer["replaced"]["on"] == ["drift", "data"]
    assert (fewer["unwatched"]["name"], fewer["absent"]) == ("watch-looked_after", None)
    standing = medai("deploy", problem, "--list", "--json", home=home).json["deployments"]
    assert [(one["name"], one["on"]) for one in standing] == [("retrain-looked_after", ["labels"])]

    elsewhere = medai("deploy", problem, "--data", str(tmp_path / "rwa.npz"), "--on", "labels", home=home)
    assert f"  nothing is found at {tmp_path / 'rwa.npz'} from here; a run that finds" in elsewhere.out
    longer = medai("deploy", problem, "--data", str(tmp_path / f"{'x' * 300}.npz"), "--on", "labels", home=home)
    assert longer.status == 0, longer.err
    assert f"{'x' * 300}.npz from here; a run that finds nothing there is refused\n" in longer.out

    gone = medai("deploy", problem, "--remove", home=home)
    assert gone.out == "looked_after: removed\n  retrain-looked_after at 0 3 * * 1 UTC and on labels\n", gone.err
    assert medai("deploy", problem, "--list", home=home).out == "looked_after: nothing is deployed\n"
    with SyncPrefectClient(environment["PREFECT_API_URL"]) as client:
        assert client.read_automations_by_name("retrain-looked_after") == []


def test_a_run_at_work_ends_well_after_its_deployment_is_removed(
    medai: Any, home: Path, problems: Any, environment: dict[str, str]
) -> None:
    """Prefect takes its last state, and the limit whose slot it held goes with the next removal."""
    problem = problems.pictures("removed_at_work")
    with SyncPrefectClient(environment["PREFECT_API_URL"]) as client:
        assert medai("deploy", problem, home=home).status == 0
        kept = client.read_deployment_by_name("retrain/retrain-removed_at_work")
        run = client.create_flow_run_from_deployment(kept.id)
        for state in (Pending(), Running()):
            assert client.set_flow_run_state(run.id, state).status == SetStateStatus.ACCEPT
        limit = f"deployment:{kept.id}"
        assert client.read_global_concurrency_limit_by_name(limit).active_slots == 1

        assert medai("deploy", problem, "--remove", home=home).status == 0
        assert client.read_flow_run(run.id).state.is_running()
        assert client.read_global_concurrency_limit_by_name(limit).active_slots == 1
        assert client.set_flow_run_state(run.id, Completed()).status == SetStateStatus.ACCEPT
        assert client.read_global_concurrency_limit_by_name(limit).active_slots == 0

        assert medai("deploy", problem, "--remove", home=home).status == 0
        with pytest.raises(ObjectNotFound):
            client.read_global_concurrency_limit_by_name(limit)


@pytest.mark.slow
def test_a_run_that_begins_still_finds_its_deployment(
    medai: Any, home: Path, problems: Any, environment: dict[str, str]
) -> None:
    """A removal waits until a process that was started for a run has read what it is to do."""
    problem = problems.pictures("removed_at_start")
    with SyncPrefectClient(environment["PREFECT_API_URL"]) as client:
        assert medai("deploy", problem, home=home).status == 0
        kept = client.read_deployment_by_name("retrain/retrain-removed_at_start")
        run = client.create_flow_run_from_deployment(kept.id)
        client.set_flow_run_state(run.id, Pending())
        with ThreadPoolExecutor(1) as pool:
            removal = pool.submit(medai, "deploy", problem, "--remove", home=home)
            while not client.read_deployment(kept.id).paused:
                time.sleep(0.1)
            time.sleep(3)
            assert client.read_deployment(kept.id).name == "retrain-removed_at_start"
            client.set_flow_run_state(run.id, Running())
            assert removal.result().status == 0
            assert "a run of it is about to begin" in removal.result().err
        with pytest.raises(ObjectNotFound):
            client.read_deployment(kept.id)
        assert client.set_flow_run_state(run.id, Completed()).status == SetStateStatus.ACCEPT


def test_an_unknown_recipient_is_refused(medai: Any, home: Path, problems: Any) -> None:
    """Before anything is deployed; what might be an address is not shown."""
    problem = problems.pictures("told_to_nobody")
    answer = medai("deploy", problem, "--notify", "slack-webhook/nobody", "--json", home=home)
    assert (answer.status, answer.error["received"]) == (2, "slack-webhook/nobody")
    answer = medai("deploy", problem, "--json", home=home, environment={"MEDAI_NOTIFY": "slack-webhook/nobody"})
    assert (answer.status, answer.error["received"]) == (2, "slack-webhook/nobody")
    answer = medai("deploy", problem, "--notify", "https://hooks.ward/secret", "--json", home=home)
    assert answer.status == 2
    assert "hooks" not in answer.out + answer.err
    assert medai("deploy", problem, "--list", "--json", home=home).json["deployments"] == []


@pytest.fixture
def kept() -> Iterator[None]:
    """What a call in this process puts into the environment is taken back."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("kept")
def test_a_deployment_that_somebody_else_removes_meanwhile_is_gone(
    medai: Any, home: Path, problems: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people at once: the second is told what stood, as the first is."""
    assert medai("deploy", problems.pictures("removed_twice"), home=home).status == 0
    settings = Settings.load(home=home, prefect_api_url=environment["PREFECT_API_URL"])
    seen = deployments.standing

    def overtaken(client: SyncPrefectClient, path: str) -> dict[str, Any] | None:
        found = seen(client, path)
        if found is not None:
            client.delete_deployment(found["id"])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(deployments, "standing", overtaken)
        (gone,) = deploy.remove(settings, "removed_twice")
    assert gone["name"] == "retrain-removed_twice"
    assert deploy.deployed(settings, "removed_twice") == []


@pytest.mark.usefixtures("kept")
def test_a_server_that_fails_while_it_keeps_the_schedule_is_told(
    home: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's client calls whatever went wrong then by one name; the server is told, and no defect of ours."""
    settings = Settings.load(home=home, prefect_api_url=environment["PREFECT_API_URL"])

    def fails(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("ward")

    monkeypatch.setattr(SyncPrefectClient, "create_deployment", fails)
    with pytest.raises(ServiceFailed, match="Prefect's server did not take the schedule") as failed:
        deploy.deploy(settings, "hospital_mortality", cron="0 3 * * 1")
    assert failed.value.received == "ReadTimeout"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("answer", [b"<html>", b'{"detail": "no"}', b"[]"])
def test_a_server_that_is_none_of_prefect_s_is_told(tmp_path: Path, answer: bytes) -> None:
    """Or one of a version that this medai cannot read: status 4 and what to look at."""

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = Settings.load(home=tmp_path, prefect_api_url=f"http://127.0.0.1:{server.server_address[1]}/api")
        with pytest.raises(ServiceFailed, match="Prefect's server did not take the schedule"):
            deploy.deployed(settings, "anything")
        server.shutdown()
