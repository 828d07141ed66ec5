"""The pages' server, asked as a browser, Prometheus and a stranger would."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.overview import write
from flows.pages import app, refuse_open, serve
from flows.plans import of_problem
from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.ledger import Ledger
from medai.workspace import Workspace

PROBLEM = "hospital_mortality"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home in which one version was promoted, with two reports in the store: one open, one private."""
    settings = Settings.load(home=tmp_path / "home")
    workspace = Workspace(settings.home)
    ledger = Ledger(workspace, by="anna")
    for key, mode, version in (("p1", 0o600, 1), ("p2", 0o644, 2)):
        page = workspace.folder("report", key) / "report.html"
        page.parent.mkdir(parents=True)
        page.write_text(f"<p>report {version}</p>")
        page.chmod(mode)
        candidate, decision = f"c{version}", f"d{version}"
        workspace.keep_receipt("lineage", candidate, {"keys": [], "pages": {decision: key}})
        ledger.append("registered", PROBLEM, {"version": version, "candidate": candidate, "run_id": "r"})
        ledger.promote(
            PROBLEM,
            version=version,
            candidate=candidate,
            run_id="r",
            how="gate",
            reason="enough",
            expected="c1" if version > 1 else None,
        )
        facts = {"decision": decision, "candidate": candidate, "version": version, "verdict": "promoted"}
        ledger.append("settled", PROBLEM, facts | {"rules": "g", "reasons": [], "openings": 1})
    return settings


def test_each_page_is_served_and_names_its_neighbours(settings: Settings) -> None:
    """The overview leads to the problem, that to its report; figures are Prometheus' text; all forbid scripts."""
    client = TestClient(app(settings), base_url="http://127.0.0.1")
    front = client.get("/")
    assert front.status_code == 200
    assert f'href="/problems/{PROBLEM}"' in front.text
    assert front.headers["cache-control"] == "no-store"
    page = client.get(f"/problems/{PROBLEM}/")
    assert "Version 2 has been champion" in page.text
    assert f'href="/problems/{PROBLEM}/report"' in page.text
    assert client.get(f"/problems/{PROBLEM}/report").text == "<p>report 2</p>"
    figures = client.get("/metrics")
    assert figures.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'medai_champion_version{{problem="{PROBLEM}"}} 2.0' in figures.text
    assert client.get("/health").text == "ok\n"


@pytest.mark.parametrize("path", ["/problems/nobody", "/problems/nobody/report", f"/problems/{PROBLEM}/monitoring"])
def test_what_is_not_there_is_said_to_be_missing(settings: Settings, path: str) -> None:
    """404 in a line of text."""
    answer = TestClient(app(settings), base_url="http://localhost").get(path)
    assert (answer.status_code, answer.text.count("\n")) == (404, 1)


@pytest.mark.parametrize("page", ["../../elsewhere", "{root}/elsewhere", "x" * 300, "a\0b", 5, ["p1"]])
def test_a_forged_receipt_hands_out_no_other_page(settings: Settings, page: object) -> None:
    """What is no key of a report leads nowhere, and above all not out of the store."""
    (settings.home / "elsewhere").mkdir()
    (settings.home / "elsewhere" / "private.html").write_text("of its owner")
    told = page.format(root=settings.home) if isinstance(page, str) else page
    Workspace(settings.home).keep_receipt("monitored", PROBLEM, {"page": told})
    answer = TestClient(app(settings), base_url="http://127.0.0.1").get(f"/problems/{PROBLEM}/monitoring")
    assert (answer.status_code, answer.text) == (404, "nothing was monitored under this name\n")


def test_a_page_with_pictures_of_patients_is_not_handed_out(settings: Settings) -> None:
    """Where the champion's report is its owner's alone: 403, and what to do; the link is the file's."""
    Ledger(Workspace(settings.home), by="anna").rollback(PROBLEM, "worse")
    client = TestClient(app(settings), base_url="http://127.0.0.1")
    answer = client.get(f"/problems/{PROBLEM}/report")
    assert answer.status_code == 403
    assert "medai history" in answer.text
    assert 'href="file://' in client.get(f"/problems/{PROBLEM}").text


def test_a_stranger_is_not_answered(settings: Settings) -> None:
    """Another host name, as after DNS rebinding, or no password where one is asked for."""
    open_ = app(settings, hosts=("medai.ward",))
    assert TestClient(open_, base_url="http://evil.example").get("/").status_code == 400
    assert TestClient(open_, base_url="http://medai.ward").get("/health").status_code == 200
    closed = TestClient(app(settings, auth="anna:secret"), base_url="http://127.0.0.1")
    for auth in (None, ("anna", "wrong"), ("", "")):
        refused = closed.get("/metrics", auth=auth)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="medai"')
    assert closed.get("/metrics", auth=("anna", "secret")).status_code == 200
    assert closed.get("/health").status_code == 200


def test_outside_loopback_a_password_is_asked_for() -> None:
    """Before anything listens."""
    for host in ("127.0.0.1", "::1", "localhost"):
        refuse_open(host, None)
    refuse_open("0.0.0.0", "anna:secret")  # noqa: S104 nothing listens
    with pytest.raises(ConfigurationError, match="the pages would be open to the network") as failure:
        refuse_open("0.0.0.0", None)  # noqa: S104 nothing listens
    assert "MEDAI_PAGES_AUTH" in failure.value.action


@pytest.fixture
def prefect() -> Iterator[Any]:
    """A server at the address of Prefect's that gives one answer to all, and keeps what it was asked."""

    class Server(http.server.BaseHTTPRequestHandler):
        answer: bytes = b"[]"
        asked: dict[str, Any] = {}  # noqa: RUF012 of the one test

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.asked[f"{self.path} {body.get('sort', '')}"] = body
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.answer)))
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Server.asked, Server.address = {}, f"http://127.0.0.1:{server.server_address[1]}/api"  # type: ignore[attr-defined]
        yield Server
        server.shutdown()


@pytest.mark.parametrize("answer", [b"<html>", b'{"detail": "no"}', b'[{"name": "x"}]', b"null", b"[null]", b"3"])
def test_a_server_of_another_kind_is_one_that_does_not_answer(settings: Settings, prefect: Any, answer: bytes) -> None:
    """What stands in production is shown whatever Prefect's server, or what sits at its address, says."""
    prefect.answer = answer
    told = settings.model_copy(update={"prefect_api_url": prefect.address})
    client = TestClient(app(told), base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert client.get("/").status_code == 200
    assert 'service="Prefect"} 0.0' in client.get("/metrics").text
    page = client.get(f"/problems/{PROBLEM}").text
    assert "What is scheduled is not known" in page
    assert "Nothing is scheduled" not in page


def test_looks_that_saw_nothing_do_not_hide_the_runs(settings: Settings, prefect: Any) -> None:
    """A look every five minutes would fill what is told of the last runs."""
    TestClient(app(settings.model_copy(update={"prefect_api_url": prefect.address})), base_url="http://127.0.0.1").get(
        "/"
    )
    state = prefect.asked["/api/flow_runs/filter START_TIME_DESC"]["flow_runs"]["state"]
    assert state == {"type": {"not_any_": ["SCHEDULED"]}, "name": {"not_any_": ["Unchanged"]}}


def test_the_next_look_does_not_stand_where_the_next_retraining_is_told(settings: Settings, prefect: Any) -> None:
    """A look every ten minutes would always be the next run; schedules of an earlier medai are of another flow."""
    TestClient(app(settings.model_copy(update={"prefect_api_url": prefect.address})), base_url="http://127.0.0.1").get(
        "/"
    )
    due = prefect.asked["/api/flow_runs/filter EXPECTED_START_TIME_ASC"]
    assert due["flows"] == {"name": {"any_": ["retrain", "train"]}}


@pytest.mark.parametrize(
    ("run", "whose"),
    [
        ({"deployment_id": "d", "tags": ["medai.problem.other"]}, "planned"),
        ({"tags": ["command-7", "medai.problem.mine"], "parameters": {"problem": "./file.yaml"}}, "mine"),
        ({"parameters": {"problem": "sepsis"}}, "sepsis"),
        ({"tags": [], "parameters": {"problem": "wards/sepsis.yaml"}}, "sepsis"),
        ({"tags": None, "parameters": {"problem": "./file.yaml"}}, None),
    ],
)
def test_a_run_belongs_to_the_problem_however_that_was_called(run: dict[str, Any], whose: str | None) -> None:
    """By its deployment, by its tag, or by the word that it was called with."""
    assert of_problem(run, {"d": "planned"}, {"sepsis", "mine"}) == whose


def test_an_address_that_cannot_be_listened_at_is_named(bare: None, tmp_path: Path) -> None:
    """A port that somebody has, and a host that is none: status 2, not the one of refused data."""
    settings = Settings.load(home=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="the pages cannot be served there") as failure:
            serve(settings, None, "127.0.0.1", port)
    assert failure.value.received == f"127.0.0.1, port {port}: address already in use"
    with pytest.raises(ConfigurationError) as failure:
        serve(Settings.load(home=tmp_path, pages_auth="anna:secret"), None, "no host", 4300)
    assert failure.value.received == "no host, port 4300: no such address"


def test_pages_are_written_as_files(settings: Settings, tmp_path: Path) -> None:
    """One for the site and one a problem, with links between them; a file in the way is refused."""
    told = write(settings, str(tmp_path / "out"))
    assert told["problems"] == [PROBLEM]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["overview.html", f"problem-{PROBLEM}.html"]
    assert f'href="problem-{PROBLEM}.html"' in (tmp_path / "out" / "overview.html").read_text()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="the pages cannot be written there"):
        write(settings, str(tmp_path / "file"))
