"""Data that arrive are seen once, at rest, and by nothing that could be a patient's."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import arrivals
from flows.arrivals import look, watch_once
from flows.settings import Settings
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.workspace import Workspace

NAME = "doe_john_1950.csv"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a server at MEDAI_PREFECT_API_URL was told."""
    heard: list[dict[str, Any]] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MEDAI_PREFECT_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")
        yield heard
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them named as a patient."""
    below = tmp_path / "raw" / "2026"
    below.mkdir(parents=True)
    (tmp_path / "raw" / "index.csv").write_text("a,b\n")
    (below / NAME).write_text("1,2\n")
    return tmp_path / "raw"


@pytest.fixture
def once(told: list[dict[str, Any]], folder: Path, problems: Any, tmp_path: Path) -> Any:
    """Look at the folder once."""
    settings = Settings.load(home=tmp_path / "home")
    problem = problems.pictures("watched", data=None)
    return lambda rest=0.0: watch_once(settings, problem, str(folder), rest=rest)


def test_a_look_sees_names_sizes_and_times_and_no_content(folder: Path) -> None:
    """Equal looks for equal names, sizes and times; what is in a file is never read."""
    first = look(folder)
    assert (first.files, first.bytes) == (2, 8)
    file = folder / "index.csv"
    status = file.stat()
    file.write_text("c,d\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    file.chmod(0o000)
    assert look(folder) == first
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert look(folder) != first
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    file.rename(folder / "other.csv")
    assert look(folder) != first
    assert look(folder / "2026" / NAME).files == 1


def test_a_look_follows_links_and_leaves_the_state_folder_out(folder: Path) -> None:
    """A loop of links ends, a link to nothing is no file, and what medai writes among the data is no arrival."""
    (folder / "again").symlink_to(folder)
    (folder / "nothing").symlink_to(folder / "gone")
    (folder / ".medai").mkdir()
    (folder / ".medai" / "audit.jsonl").write_text("x")
    assert look(folder, folder / ".medai").files == 2
    (folder.parent / "mounted").symlink_to(folder)
    assert look(folder.parent / "mounted", folder / ".medai").files == 2


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_data_that_are_gone_are_refused(tmp_path: Path, left: str, refusal: Any) -> None:
    """The place is not named: a folder may bear a name."""
    place = tmp_path / "doe_john"
    if left == "an empty folder":
        place.mkdir()
    with pytest.raises(DataRefused) as error:
        look(place)
    assert error.value.received == left
    assert "doe_john" not in refusal(error.value)


def test_a_change_is_announced_once(once: Any, folder: Path, told: list[dict[str, Any]]) -> None:
    """The first look announces what lies there, a second one nothing, and a new file is announced with both counts."""
    assert once()["seen"] == "arrived"
    assert once()["seen"] == "unchanged"
    (folder / "more.csv").write_text("three\n")
    answer = once()
    assert answer == {
        "problem": "watched",
        "seen": "arrived",
        "files": 3,
        "bytes": 14,
        "files_before": 2,
        "bytes_before": 8,
    }
    assert once()["seen"] == "unchanged"
    assert [event["event"] for event in told] == ["medai.data.arrived"] * 2
    assert told[0]["resource"]["prefect.resource.id"] == "medai.problem.watched"
    assert told[1]["payload"] == {"files": 3, "bytes": 14, "files_before": 2, "bytes_before": 8}


def test_a_change_that_is_not_at_rest_waits(
    once: Any, folder: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that grows between the two looks is announced by a later look, whole."""
    once()

    def copying(_seconds: float) -> None:
        with (folder / "copy.csv").open("a") as file:
            file.write("row\n")

    copying(0)
    with monkeypatch.context() as patch:
        patch.setattr(arrivals.time, "sleep", copying)
        assert once(rest=0.001)["seen"] == "arriving"
        assert once(rest=0.001)["seen"] == "arriving"
    assert len(told) == 1
    assert once(rest=0.001)["seen"] == "arrived"
    assert told[1]["payload"]["bytes"] == 8 + 12


def test_two_looks_far_enough_apart_need_no_third(
    once: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the look before saw, long enough ago, is at rest: nothing waits."""
    once()
    (folder / "more.csv").write_text("three\n")
    with monkeypatch.context() as patch:
        patch.setattr(arrivals.time, "sleep", lambda _seconds: (folder / "more.csv").write_text("three and four\n"))
        assert once(rest=60.0)["seen"] == "arriving"
    workspace = Workspace(tmp_path / "home")
    noted = workspace.receipt(arrivals.NOTED, "watched")
    seen = look(folder).model_dump() | {"at": "2026-01-01T00:00:00+00:00"}
    workspace.keep_receipt(arrivals.NOTED, "watched", noted | {"seen": seen})
    monkeypatch.setattr(arrivals.time, "sleep", lambda _seconds: pytest.fail("it waited"))
    assert once(rest=60.0)["seen"] == "arrived"


def test_nothing_that_could_be_a_name_leaves(
    once: Any, told: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the event nor the log nor what is noted has a file's name in it."""
    with caplog.at_level(logging.DEBUG):
        once()
    noted = (tmp_path / "home" / "receipts" / "arrivals" / "watched.json").read_text()
    for text in (json.dumps(told), caplog.text, noted):
        assert "doe" not in text
        assert "2026/" not in text
    assert "watched: data arrived, 2 files" in caplog.text


def test_data_that_vanish_and_come_back_are_no_arrival(once: Any, folder: Path, told: list[dict[str, Any]]) -> None:
    """A disk that was not mounted for an hour leads to a refusal and to no retraining."""
    once()
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(DataRefused, match="no data where they should lie"):
        once()
    away.rename(folder)
    assert once()["seen"] == "unchanged"
    assert len(told) == 1


@pytest.mark.parametrize(("began", "seen"), [(None, "arrived"), ("2026-01-01T00:01:00+00:00", "unchanged")])
def test_an_arrival_that_nobody_answered_is_announced_again(
    once: Any, tmp_path: Path, began: str | None, seen: str
) -> None:
    """An event may be lost with the server: where no retraining began for hours, it is sent again."""
    once()
    workspace = Workspace(tmp_path / "home")
    noted = workspace.receipt(arrivals.NOTED, "watched")
    noted["announced"]["at"] = "2026-01-01T00:00:00+00:00"
    workspace.keep_receipt(arrivals.NOTED, "watched", noted)
    if began is not None:
        workspace.keep_receipt(arrivals.BEGUN, "watched", {"began": began})
    assert once()["seen"] == seen


def test_an_arrival_that_the_server_did_not_take_is_not_noted(
    once: Any, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look fails, so that somebody sees it, and the next one announces."""
    with monkeypatch.context() as patch:
        patch.setenv("MEDAI_PREFECT_API_URL", "http://127.0.0.1:9/api")
        with pytest.raises(ServiceFailed, match="Prefect's server was not told that data arrived"):
            once()
    assert once()["seen"] == "arrived"
    assert once()["seen"] == "unchanged"
    assert [event["event"] for event in told] == ["medai.data.arrived"]


def test_generated_data_and_an_absent_server_are_told(
    problems: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    """Generated data never arrive; and where nobody can be told, nothing is noted as announced."""
    settings = Settings.load(home=tmp_path / "home")
    with pytest.raises(ConfigurationError, match="the data of generated cannot arrive"):
        watch_once(settings, problems.pictures("generated"))
    monkeypatch.delenv("MEDAI_PREFECT_API_URL")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ServiceFailed, match="no Prefect server to be told"):
        watch_once(Settings.load(home=tmp_path / "home"), problems.pictures("watched", data=None), str(folder))
    assert not (tmp_path / "home" / "receipts").exists()


def test_the_command_looks_once(
    medai: Any, problems: Any, folder: Path, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    """``medai watch`` says what it saw; gone data are status 3."""
    problem = problems.pictures("watched_by_command", data=None)
    server = {"MEDAI_PREFECT_API_URL": os.environ["MEDAI_PREFECT_API_URL"]}
    ask = ("watch", problem, "--data", str(folder), "--rest", "0")
    answer = medai(*ask, home=tmp_path / "home", environment=server)
    assert answer.out == ("watched_by_command: data arrived, and medai.data.arrived was announced (2 files)\n"), (
        answer.err
    )
    assert medai(*ask, "--json", home=tmp_path / "home", environment=server).json["seen"] == "unchanged"
    assert [event["event"] for event in told] == ["medai.data.arrived"]
    gone = medai("watch", problem, "--data", str(tmp_path / "gone"), "--json", home=tmp_path, environment=server)
    assert gone.status == 3
    assert gone.error["wrong"] == "there are no data where they should lie"
