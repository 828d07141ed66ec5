"""Events of a problem, as Prefect's server keeps them."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flows.announcing import announce, announce_line, unheard
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
    """What the server has of a problem; it is given ten seconds."""
    parts = urlsplit(api_url)
    asked = json.dumps({"filter": {"resource": {"id": [f"medai.problem.{problem}"]}}})
    for _ in range(50):
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        connection.request("POST", f"{parts.path}/events/filter", asked, {"Content-Type": "application/json"})
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read())["events"]
        connection.close()
        if found:
            return found
        time.sleep(0.2)
    return []


def test_an_event_reaches_the_server(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name, the problem as its resource, and the payload, as an automation reads them."""
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"])
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


def test_a_server_of_a_command_s_own_is_nobody(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes events and runs no automation: what it took would be lost."""
    monkeypatch.setenv("PREFECT_API_URL", environment["PREFECT_API_URL"])
    with unheard(environment["PREFECT_API_URL"]), caplog.at_level(logging.INFO, "medai"):
        assert announce("medai.data.arrived", "alone", {}) is False
    assert caplog.messages == ["medai.data.arrived of alone was not announced: no Prefect server runs"]
    assert announce("medai.data.arrived", "heard", {}) is True
