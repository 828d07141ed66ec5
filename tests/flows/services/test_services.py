"""The servers: started early, shared, ended whatever happens."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

import flows
from flows.child import PROGRAM, descendants
from flows.lost import settle_killed
from flows.services import prefect_server, process
from flows.services.network import status_of, wait_until_healthy
from flows.services.prefect_server import early_prefect_server
from flows.services.process import Child
from flows.services.record import Services, running
from flows.services.up import up
from flows.settings import Settings
from medai.errors import ServiceFailed

pytestmark = pytest.mark.usefixtures("bare")

ROOT = str(Path(flows.__file__).parents[1])
PATIENCE = 300.0

RUN = """
import os, sys
from pathlib import Path
from flows.services.prefect_server import early_prefect_server
from flows.settings import Settings
settings = Settings.load(home=Path(sys.argv[1])); settings.apply()
server = early_prefect_server(settings)
os.environ["PREFECT_API_URL"] = server.api_url
from prefect import flow, task
@task
def one(): return 1
@flow
def ward(): return one() + one()
server.wait()
print("flow", ward(), flush=True)
if sys.argv[2] == "hang":
    print("child", server._service.pid, flush=True)
    import time; time.sleep(600)
server.stop()
"""

UP = """
import sys
from pathlib import Path
from flows.services.up import up
from flows.settings import Settings
from medai.errors import MedaiError
settings = Settings.load(home=Path(sys.argv[1])); settings.apply()
try:
    up(settings, worker=sys.argv[2] == "worker", ready=lambda found: print(found.model_dump_json(), flush=True))
except MedaiError as error:
    print(error, flush=True); raise SystemExit(error.exit_status)
"""


def start(script: str, *arguments: str, path: str = ROOT) -> subprocess.Popen[str]:
    """A medai process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])},
    )


def within(seconds: float, met: Callable[[], bool]) -> bool:
    """Whether a condition is met in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(0.1)
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def state_names(home: Path) -> list[str]:
    """The states of the flow runs that Prefect's database holds."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return [row[0] for row in database.execute("select state_name from flow_run")]


@pytest.fixture
def page() -> Iterator[tuple[str, list[str], dict[str, int]]]:
    """A server that answers every page with one status; its address, what it was asked, and the status to give."""
    asked: list[str] = []
    answer = {"status": 401}

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path + " " + str(self.headers.get("Authorization")))
            self.send_response(answer["status"])
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api", asked, answer
        server.shutdown()


@pytest.mark.slow
def test_two_first_runs_at_once_and_a_kill(tmp_path: Path) -> None:
    """Two runs on a new home each start a server on one database; the one of a killed run ends by itself."""
    killed, undisturbed = start(RUN, str(tmp_path), "hang"), start(RUN, str(tmp_path), "end")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "flow 2\n"
    child = int(killed.stdout.readline().split()[1])
    assert alive(child)
    killed.kill()
    killed.communicate()
    assert within(60, lambda: not alive(child))
    out, err = undisturbed.communicate(timeout=PATIENCE)
    assert (undisturbed.returncode, out) == (0, "flow 2\n"), err
    assert state_names(tmp_path) == ["Completed", "Completed"]
    assert (tmp_path / "prefect").stat().st_mode & 0o077 == 0


def test_an_own_server_does_not_block_and_ends_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is known at once, before anybody waits; stop may come before it answers, and twice."""
    waited: list[str] = []
    monkeypatch.setattr(prefect_server, "wait_until_healthy", lambda name, *_given, **_more: waited.append(name))
    server = early_prefect_server(Settings.load(home=tmp_path))
    assert waited == []
    assert server.own
    assert server.api_url.startswith("http://127.0.0.1:")
    assert server._service is not None
    pid = server._service.pid
    server.stop()
    server.stop()
    assert not alive(pid)


def test_a_server_that_is_too_slow_or_dies_is_told_with_its_last_lines(tmp_path: Path) -> None:
    """Both are failures of a service, status 4, within the patience that the settings give."""
    with (
        early_prefect_server(Settings.load(home=tmp_path, service_seconds=0.3)) as server,
        pytest.raises(ServiceFailed) as slow,
    ):
        server.wait()
    assert slow.value.wrong == "Prefect's server does not answer"
    assert "within 0 seconds" in slow.value.expected
    broken = Child("mlflow", "no_such_module", [], dict(os.environ))
    assert within(20, lambda: broken.ended is not None)
    assert broken.failed().wrong == "mlflow ended by itself"
    assert "No module named no_such_module" in broken.failed().received
    broken.stop()


def test_a_prefect_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the database cannot be made, the run is told why instead of waiting for long."""
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").mkdir()
    with (
        early_prefect_server(Settings.load(home=tmp_path)) as server,
        pytest.raises(ServiceFailed, match="unable to open database file") as raised,
    ):
        server.wait()
    assert not any(frame in str(raised.value) for frame in ("Traceback", 'File "', "During handling"))


def test_credentials_that_are_refused_are_not_tried_again(
    tmp_path: Path, page: tuple[str, list[str], dict[str, int]]
) -> None:
    """401 ends the wait at the first answer, and names the setting."""
    url, asked, _ = page
    server = early_prefect_server(Settings.load(home=tmp_path, prefect_api_url=url, prefect_auth="ward:round"))
    assert not server.own
    with pytest.raises(ServiceFailed) as caught:
        server.wait()
    assert "MEDAI_PREFECT_AUTH" in caught.value.action
    assert "round" not in str(caught.value)
    assert asked == ["/api/admin/version Basic d2FyZDpyb3VuZA=="]


def test_the_answer_of_another_program_is_not_taken_for_the_service_s(
    page: tuple[str, list[str], dict[str, int]],
) -> None:
    """It took the port first: ours ends without it, and that is what is told; one that listens itself is waited for."""
    url, _, answer = page
    answer["status"] = 200
    port = str(urlsplit(url).port)
    late = Child("mlflow", "http.server", [port, "--bind", "127.0.0.1"], dict(os.environ))
    with pytest.raises(ServiceFailed, match="mlflow ended by itself") as caught:
        wait_until_healthy("MLflow's server", url, 120, late, own=True)
    assert "Address already in use" in caught.value.received
    late.stop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    first = Child("mlflow", "http.server", [str(number), "--bind", "127.0.0.1"], dict(os.environ))
    try:
        wait_until_healthy("MLflow's server", f"http://127.0.0.1:{number}/", 120, first, own=True)
        assert first.listens(number)
        assert not first.listens(int(port))
    finally:
        first.stop()


def test_a_configured_server_that_is_down(
    tmp_path: Path,
    page: tuple[str, list[str], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The wait is bounded, then an own server takes its place; an unready one is asked again. An address that answers
    and is not Prefect's is a mistake of a person's, status 4, and never replaced.
    """
    monkeypatch.setattr(prefect_server, "PATIENCE_WITH_A_RUNNING_SERVER", 2.0)
    url, asked, answer = page
    answer["status"] = 404
    with pytest.raises(ServiceFailed) as caught:
        early_prefect_server(Settings.load(home=tmp_path, prefect_api_url=url)).wait()
    assert (caught.value.received, caught.value.exit_status) == ("status 404", 4)
    assert len(asked) > 1
    answer["status"] = 200
    assert early_prefect_server(Settings.load(home=tmp_path, prefect_api_url=url)).wait() == url
    assert early_prefect_server(Settings.load(home=tmp_path, prefect_api_url=url, prefect_own=False)).place != "home"
    answer["status"] = 503
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    for address, why in ((url, "status 503"), (nobody, "no answer")):
        settings = Settings.load(home=tmp_path, prefect_api_url=address, service_seconds=0.3)
        with caplog.at_level("WARNING"), early_prefect_server(settings) as server:
            assert not server.own
            with pytest.raises(ServiceFailed, match="Prefect's server does not answer"):  # 0.3 s are too few for it
                server.wait()
            assert server.own
            assert (server.place, server.auth) == ("home", None)
            assert server.api_url != address
        assert f"Prefect's server at {address} does not answer ({why}): this run keeps" in caplog.text


TALKER = """
import os, time
for number in range(1, 1_000_000):
    os.write(1, b"%d %s\\n" % (number, b"." * 100))
    time.sleep(0.002)
"""


def test_what_a_service_writes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs for years fills no disk: what is older than the file before is dropped; the end is kept.

    Its last lines are known at every moment, also where the file has just begun anew and is empty.
    """
    monkeypatch.setattr(process, "LOG_BYTES", 5_000)
    words, before = tmp_path / "talker.log", tmp_path / "talker.log.1"
    before.write_text("of a service that ended long ago\n")
    child = Child("talker", PROGRAM, ["", sys.executable, "-c", TALKER], dict(os.environ), words)
    try:
        assert "long ago" not in child.last_lines()
        assert within(30, lambda: child.watch() and before.stat().st_size > 1_000 and words.stat().st_size > 0)
        first = before.read_bytes()
        assert within(30, lambda: child.watch() and before.read_bytes() != first)
        monkeypatch.setattr(process, "LOG_BYTES", 1 << 30)
        assert within(30, lambda: words.stat().st_size > 2_000)
        (talker,) = descendants(child.pid)
        talker.suspend()  # its lines are whole, and nothing moves while they are looked at
        assert within(30, lambda: talker.status() == psutil.STATUS_STOPPED)
        assert b"\0" not in words.read_bytes()
        lines = child.last_lines()
        numbers = [int(line.removesuffix(" " + "." * 100)) for line in lines.splitlines()]
        assert len(numbers) == process.LOG_LINES
        assert numbers == sorted(set(numbers))
        monkeypatch.setattr(process, "LOG_BYTES", 0)
        assert child.watch()
        assert words.stat().st_size == 0
        assert before.read_text().endswith(f"{lines}\n")
        assert child.last_lines() == lines
        talker.resume()
    finally:
        child.stop()


def test_an_answer_that_is_none_of_prefect_s_never_fails_a_run(
    tmp_path: Path, page: tuple[str, list[str], dict[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's page with status 200, say: what a killed command left is then not settled, and the log says so."""
    url, _, answer = page
    answer["status"] = 200
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "command-0123abcd-home.lock").touch()
    settings = Settings.load(home=tmp_path, prefect_api_url=url)
    assert not early_prefect_server(settings).answers()
    settle_killed(settings, url, "home")
    assert "what a killed command left could not be settled: Prefect's server does not tell its runs" in caplog.text


def test_an_own_server_for_each_run(tmp_path: Path, page: tuple[str, list[str], dict[str, int]]) -> None:
    """Where the settings say so, whatever server they name."""
    url, asked, _ = page
    with early_prefect_server(Settings.load(home=tmp_path, prefect_api_url=url, prefect_own=True)) as server:
        assert server.own
    assert asked == []


@pytest.mark.parametrize("left", ["whole", "torn"])
def test_a_record_left_by_a_killed_up_is_ignored(
    left: str, tmp_path: Path, page: tuple[str, list[str], dict[str, int]]
) -> None:
    """Even if another program answers at that address now: nobody holds the lock."""
    url, asked, answer = page
    answer["status"] = 200
    record = Services(prefect_url=url, prefect_api_url=url, mlflow_url=url, pids={"up": 1}).model_dump_json()
    (tmp_path / "services.json").write_text(record if left == "whole" else record[:20])
    settings = Settings.load(home=tmp_path)
    assert running(settings) is None
    assert asked == []
    with early_prefect_server(settings) as server:
        assert server.own


@pytest.mark.parametrize("place", ["locks", "locks/up.lock", "logs", "prefect"])
def test_up_names_what_is_in_its_way(place: str, tmp_path: Path) -> None:
    """A file where a folder of ours belongs, or a folder where a lock does: status 4, by its path."""
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    if place.endswith(".lock"):
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(ServiceFailed) as caught:
        up(Settings.load(home=tmp_path))
    assert caught.value.wrong == f"{path} cannot be used"


@pytest.mark.slow
def test_up(tmp_path: Path) -> None:
    """It records its services once they answer; runs use them; a second one is told; one that dies ends all."""
    settings = Settings.load(home=tmp_path)
    process = start(UP, str(tmp_path), "alone")
    assert process.stdout is not None
    try:
        found = Services.model_validate(json.loads(process.stdout.readline()))
        assert running(settings) == found
        assert set(found.pids) == {"up", "prefect", "mlflow", "pages"}
        server = early_prefect_server(settings)
        assert not server.own
        assert server.wait() == found.prefect_api_url
        assert status_of(found.mlflow_url, 5) == 200
        assert status_of(found.prefect_url, 5) == 200
        with pytest.raises(ServiceFailed) as caught:
            up(settings)
        assert caught.value.wrong == "medai up runs on this home already"
        assert found.prefect_url in caught.value.received
        started = descendants(process.pid)
        os.kill(found.pids["mlflow"], signal.SIGKILL)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 4
    assert out.startswith("mlflow ended by itself")
    assert within(60, lambda: not any(alive(one.pid) for one in started))
    assert running(settings) is None
    assert not (tmp_path / "services.json").exists()


@pytest.mark.slow
def test_a_schedule_fires_and_a_killed_up_leaves_nobody(tmp_path: Path) -> None:
    """A cron deployment reaches the flow through the worker, with our settings; kill -9 of medai up ends all of it."""
    mark = tmp_path / "mark"
    (tmp_path / "rounds.py").write_text(
        "import os, time\nfrom pathlib import Path\nfrom prefect import flow\n"
        "@flow\ndef rounds(mark: str) -> None:\n"
        "    Path(mark).write_text(f\"{os.getpid()} {os.environ['MEDAI_HOME']} {os.environ['OMP_NUM_THREADS']}\")\n"
        "    time.sleep(300)\n"
    )
    home, path = tmp_path / "home", os.pathsep.join([ROOT, str(tmp_path)])
    process = start(UP, str(home), "worker", path=path)
    assert process.stdout is not None
    try:
        found = Services.model_validate(json.loads(process.stdout.readline()))
        assert set(found.pids) == {"up", "prefect", "mlflow", "worker", "pages"}
        script = (
            "import sys; from pathlib import Path; from flows.deploy import schedule; import rounds\n"
            "from flows.settings import Settings\n"
            "settings = Settings.load(home=Path(sys.argv[1]))\n"
            "schedule(rounds.rounds, settings, 'minutely', cron='* * * * *', parameters={'mark': sys.argv[2]})\n"
        )
        deployed = start(script, str(home), str(mark), path=path)
        _, err = deployed.communicate(timeout=PATIENCE)
        assert deployed.returncode == 0, err
        assert within(PATIENCE, mark.exists)
        assert within(30, lambda: len(mark.read_text().split()) == 3)
        pid, where, threads = mark.read_text().split()
        assert (Path(where), threads) == (home, str(Settings.load().threads))
        started = descendants(process.pid)
        assert int(pid) in [one.pid for one in started]
    finally:
        process.kill()
        process.communicate()
    assert within(60, lambda: not any(alive(one.pid) for one in started))
