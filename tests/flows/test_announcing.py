"""Events of a problem, as Prefect's server keeps them."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flows import announcing
from flows.announcing import ANNOUNCED, announce, announce_line, unheard
from medai.audit import Entry
from medai.ledger import Ledger
from medai.workspace import Workspace


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of its own, and no server but the one that a test names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDAI_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MEDAI_PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)


def events_of(api_url: str, problem: str) -> list[dict[str, Any]]:
    """What the server has of a problem; it writes events every few seconds, and later where its database is busy."""
    parts = urlsplit(api_url)
    asked = json.dumps({"filter": {"resource": {"id": [f"medai.problem.{problem}"]}}})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("POST", f"{parts.path}/events/filter", asked, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200 and (found := json.loads(answer.read())["events"]):
                return list(found)
        time.sleep(0.2)
    return []


def test_an_event_reaches_the_server(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name, the problem as its resource, and the payload, as an automation reads them."""
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"])
    monkeypatch.setattr(announcing, "PATIENCE_SECONDS", 60.0)
    announce("medai.drift.detected", "announced", {"version": 3, "measures": ["score"], "share": 0.25})
    assert caplog.messages == []
    (event,) = events_of(environment["PREFECT_API_URL"], "announced")
    assert event["event"] == "medai.drift.detected"
    assert event["resource"] == {
        "prefect.resource.id": "medai.problem.announced",
        "prefect.resource.name": "announced",
    }
    assert event["payload"] == {"version": 3, "measures": ["score"], "share": 0.25}
    assert event["related"] == []


def test_no_server_costs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Where none is named and none runs, the log says so, and nothing fails."""
    with caplog.at_level(logging.INFO, "medai"):
        assert announce("medai.labels.arrived", "alone", {}) is False
    assert [record.message for record in caplog.records if record.name.startswith("medai")] == [
        "medai.labels.arrived of alone was not announced: no Prefect server runs"
    ]


def test_a_server_that_is_down_costs_a_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port on which nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    announce("medai.data.arrived", "alone", {"samples": 10})
    (line,) = caplog.messages
    assert (
        line == "medai.data.arrived of alone was not announced: Prefect's server does not answer (Connection refused)"
    )


def test_what_a_server_refuses_costs_a_line(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is no API."""
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"] + "/nowhere")
    announce("medai.data.arrived", "alone", {"samples": 10})
    assert caplog.messages == [
        "medai.data.arrived of alone was not announced: Prefect's server answered with status 404"
    ]


def test_an_event_of_another_name_is_a_defect() -> None:
    """Automations listen for the names that are agreed."""
    with pytest.raises(ValueError, match=r"there is no event 'medai\.drift'"):
        announce("medai.drift", "alone", {})


def test_a_line_of_the_audit_is_announced_until_a_server_took_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After an outage, or a kill between the line and its event, whoever looks next sends it; then nobody does."""
    workspace = Workspace(tmp_path / "home")
    line = Ledger(workspace, by="nurse").append("detected", "told_later", {"measures": []})
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    announce_line(workspace, "medai.drift.detected", line, {"measures": []})
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"])
    for _ in range(2):
        announce_line(workspace, "medai.drift.detected", line, {"measures": []})
    assert [event["event"] for event in events_of(environment["PREFECT_API_URL"], "told_later")] == [
        "medai.drift.detected"
    ]


class Server:
    """Stands for Prefect's.

    Attributes:
        events: what reached it.
        lost: answers that are lost on their way; the event was taken.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.lost = 0

    def send(self, body: bytes) -> str | None:
        """Take some time, as a server does."""
        time.sleep(0.2)
        self.events += json.loads(body)
        self.lost -= 1
        return "Prefect's server does not answer" if self.lost >= 0 else None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Instead of the network."""
    found = Server()
    monkeypatch.setattr("flows.announcing._send", found.send)
    return found


def lines(home: Path, count: int) -> list[Entry]:
    """Of drift, in an audit of their own."""
    ledger = Ledger(Workspace(home), by="nurse")
    return [ledger.append("detected", "ward", {"n": number}) for number in range(count)]


def tell(home: Path, line: Entry) -> None:
    """As a command of its own."""
    announce_line(Workspace(home), "medai.drift.detected", line, line.facts)


def test_of_two_commands_at_once_one_announces(server: Server, tmp_path: Path) -> None:
    """The other waits, and finds it taken."""
    (line,) = lines(tmp_path, 1)
    both = [threading.Thread(target=tell, args=(tmp_path, line)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [event["payload"] for event in server.events] == [{"n": 0}]


def test_a_line_is_announced_once_whatever_was_announced_since(server: Server, tmp_path: Path) -> None:
    """A rollback makes an older champion's drift the newest again; it starts no second retraining."""
    found = lines(tmp_path, 2)
    for line in [*found, *found]:
        tell(tmp_path, line)
    assert [event["payload"]["n"] for event in server.events] == [0, 1]


def test_an_event_whose_answer_was_lost_keeps_its_id(server: Server, tmp_path: Path) -> None:
    """By which a server that took it knows it again; another line's differs."""
    one, other = lines(tmp_path, 2)
    server.lost = 1
    for line in (one, one, one, other):
        tell(tmp_path, line)
    first, again, another = (event["id"] for event in server.events)
    assert first == again == str(uuid.UUID(first))
    assert another != first


def test_what_an_older_medai_announced_is_not_announced_anew(server: Server, tmp_path: Path) -> None:
    """It kept one receipt for all lines, of the newest; what came after that is announced."""
    found = lines(tmp_path, 3)
    Workspace(tmp_path).keep_receipt(ANNOUNCED, "ward-medai.drift.detected", {"line": found[1].hash})
    for line in found:
        tell(tmp_path, line)
    assert [event["payload"]["n"] for event in server.events] == [2]


def test_a_server_of_a_command_s_own_is_nobody(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes events and runs no automation: what it took would be lost."""
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"])
    with unheard(environment["PREFECT_API_URL"]), caplog.at_level(logging.INFO, "medai"):
        assert announce("medai.data.arrived", "alone", {}) is False
    assert caplog.messages == ["medai.data.arrived of alone was not announced: no Prefect server runs"]
    assert announce("medai.data.arrived", "heard", {}) is True
