"""The servers that medai starts, finds and ends: Prefect's, MLflow's and a worker, on loopback only.

A run needs a Prefect server. One that ``medai up`` keeps, or one named in the settings, is used; otherwise, and where
that one does not answer, the run starts its own as a child process, early, so that its imports overlap with the run's.
All own ones share one database in ``MEDAI_HOME``, so that the page of ``medai up`` shows every run.
"""

from __future__ import annotations

import atexit
import base64
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

import psutil
from filelock import FileLock, Timeout

from flows import child
from flows.child import descendants, end
from flows.settings import Settings
from medai.errors import ServiceDown, ServiceFailed, redacted
from medai.paths import read_plain
from medai.records import Frozen, sha256_of
from medai.workspace import Workspace, blocked, make_folder, write_durably

log = logging.getLogger("medai.services")

LOOPBACK = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT, PAGES_PORT = 4200, 5000, 4300
WORK_POOL = "medai"
MLFLOW_LOCK = "mlflow"
"""The workspace's lock under which MLflow's database is made, as in ``medai.tracking``: two at once would crash."""

LOG_LINES = 12
_BETWEEN_TRACEBACKS = ("During handling of", "The above exception was", "│", "╭", "╰")
PATIENCE_WITH_A_RUNNING_SERVER = 10.0
GRACE_SECONDS = 8.0
DELIVERY_SECONDS = 5.0
_BUSY = 503
"""What Prefect's server answers while its database is locked or restarts: to be asked again."""
_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before it is."""

_API_ONLY = {
    # A server for one run schedules nothing and shows no page.
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}


class Services(Frozen):
    """What ``medai up`` runs.

    Attributes:
        prefect_url, mlflow_url: their pages.
        prefect_api_url: for PREFECT_API_URL.
        pages_url: the overview; empty in a record of an earlier medai.
        pids: service → process id; ``up`` is ``medai up`` itself.
    """

    prefect_url: str
    prefect_api_url: str
    mlflow_url: str
    pages_url: str = ""
    pids: dict[str, int]


class Child:
    """A service as a child process that ends with this one, however this one ends.

    Args:
        name: what to call it in messages.
        module: what to run (see ``flows.child``).
        arguments: of the module.
        environment: all of it.
        log: file of its output; None keeps it only for an error message.
        descriptors: open files that it inherits.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: list[str],
        environment: dict[str, str],
        log: Path | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self._owner = os.getpid()
        self._started: set[psutil.Process] = set()
        self._log: IO[bytes] = tempfile.TemporaryFile() if log is None else log.open("wb+")  # noqa: SIM115 closed by stop
        # -P and its variable: a folder named flows or mlflow in the working directory must not pass for the package.
        self._process = subprocess.Popen(
            [sys.executable, "-P", child.__file__, str(self._owner), module, *arguments],
            env=environment | {"PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for us; we end our children in order
        )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit status once it has ended."""
        return self._process.poll()

    def last_lines(self) -> str:
        """The end of what it wrote, without tracebacks: of each only the line that says what happened."""
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), 1 << 16, max(0, size - (1 << 16))).decode(errors="replace").splitlines()
        return "\n".join(_without_tracebacks(lines)[-LOG_LINES:]) or "it wrote nothing"

    def watch(self) -> bool:
        """Whether it still runs. What it started is remembered, to be ended even when it is killed itself."""
        self._started.update(descendants(self.pid))
        return self.ended is None

    def stop(self) -> None:
        """End what it started and then itself: first politely, after a grace for good. May be called twice.

        A flow that the worker runs is asked first, while there is still a server to which it can say that it crashed.
        """
        if self._log.closed or os.getpid() != self._owner:
            return
        self.watch()
        end(self._started, GRACE_SECONDS)
        if self.ended is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.watch()
                self._process.kill()
                self._process.wait()
        end(self._started, 0)
        self._log.close()
        atexit.unregister(self.stop)

    def failed(self) -> ServiceFailed:
        """The error that says that it ended by itself."""
        return ServiceFailed(
            f"{self.name} ended by itself",
            expected="a server that runs until medai ends it",
            received=f"exit status {self.ended}; its last lines:\n{self.last_lines()}",
            action="mend what its last lines name, then run the same command again: finished stages are kept",
        )


def _without_tracebacks(lines: list[str]) -> list[str]:
    """The lines that a person can use: neither Python's frames nor the boxes that rich draws around them, nor blanks.

    >>> _without_tracebacks(["ready", "Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no"])
    ['ready', 'ValueError: no']
    """
    kept, inside = [], False
    for line in lines:
        if "Traceback (most recent call last)" in line:
            inside = True
        elif inside and line.startswith((" ", "\t")):
            continue
        elif line.strip() and not line.startswith(_BETWEEN_TRACEBACKS):
            inside = False
            kept.append(line)
    return kept


def place_of(api_url: str) -> str:
    """Under which name a server that the settings name keeps its runs here."""
    return sha256_of(api_url)[:8]


class PrefectServer:
    """The Prefect server that a run speaks to: one that is there already, or a child of this process.

    Attributes:
        api_url: to set as PREFECT_API_URL before Prefect is imported; it holds at once, before the server answers.
        own: whether it was started for this run, and ends with it.
        place: where it keeps its runs: ``home``, or a digest of the address that the settings name.
    """

    def __init__(self, api_url: str, settings: Settings, service: Child | None = None) -> None:
        self.api_url = api_url
        self.own = service is not None
        named = not self.own and api_url == settings.prefect_api_url
        self.place = place_of(api_url) if named else "home"
        self._service = service
        self._settings = settings

    def wait(self) -> str:
        """Wait until it answers, ``service_seconds`` for an own server and 10 s for another.

        Another that does not answer is replaced by an own one: no work waits for a server.

        Returns:
            ``api_url``; of the own server where it took another's place.

        Raises:
            ServiceFailed: the own one ended or does not answer in time; another refuses our credentials (which is not
                retried) or has no such page.
        """
        patience = self._settings.service_seconds if self.own else PATIENCE_WITH_A_RUNNING_SERVER
        # The health page of a server with a password answers anybody; the version page does not.
        page = "health" if self.own else "admin/version"
        try:
            wait_until_healthy("Prefect's server", f"{self.api_url}/{page}", patience, self._service, self.auth)
        except ServiceDown as down:
            if self.own:
                raise
            log.warning(
                "Prefect's server at %s does not answer (%s): this run keeps a server of its own",
                redacted(self.api_url),
                down.received,
            )
            self._service, self.api_url = _start_prefect(self._settings, port=0, whole=False, log=None)
            self.own, self.place = True, "home"
            self.wait()
        return self.api_url

    @property
    def auth(self) -> str | None:
        """``user:password`` where it asks for them."""
        secret = self._settings.prefect_auth
        return None if self.own or secret is None else secret.get_secret_value()

    def answers(self) -> bool:
        """Whether it does at this moment, its database included."""
        try:
            post(f"{self.api_url}/flow_runs/count", {}, self.auth)
        except ServiceFailed:
            return False
        return True

    def stop(self) -> None:
        """End it if it is our own, once it was told everything; may be called twice."""
        if self._service is not None:
            if self._service.ended is None:
                _deliver()
            self._service.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _deliver() -> None:
    """Send Prefect's pending events and log lines: what became of the last task runs is among them."""
    if "prefect.main" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=DELIVERY_SECONDS)


def early_prefect_server(settings: Settings) -> PrefectServer:
    """Find a Prefect server or start one, without waiting for it: call ``wait`` when it is needed.

    The one that the settings name is used; else that of ``medai up`` on this home; else, or where the settings say so,
    an own one is started.
    """
    if not settings.prefect_own:
        if settings.prefect_api_url is not None:
            return PrefectServer(settings.prefect_api_url, settings)
        found = running(settings)
        if found is not None:
            return PrefectServer(found.prefect_api_url, settings)
    service, api_url = _start_prefect(settings, port=0, whole=False, log=None)
    return PrefectServer(api_url, settings, service)


def running(settings: Settings) -> Services | None:
    """The services of the ``medai up`` that runs on this home and answers within a second; None when there is none."""
    services = _recorded(settings)
    if services is None:
        return None
    try:
        with _up_lock(settings, patience=0):
            return None  # nobody holds it: the record was left behind by a kill
    except Timeout:
        return services if _status(f"{services.prefect_api_url}/health", 1.0) == 200 else None


def up(settings: Settings, *, worker: bool = True, ready: Callable[[Services], None] | None = None) -> None:
    """Run Prefect's and MLflow's servers and a worker for scheduled runs until SIGINT or SIGTERM.

    Args:
        settings: of this home; the services keep their state there.
        worker: also run the worker of the work pool ``medai``, which starts what deployments schedule.
        ready: told once all of them answer.

    Raises:
        ServiceFailed: another ``medai up`` runs on this home, a service does not start, or one ends by itself.
    """
    stopped = threading.Event()
    with ExitStack() as stack:
        try:
            stack.enter_context(_up_lock(settings, patience=2))
        except Timeout:
            other = _recorded(settings)
            raise ServiceFailed(
                "medai up runs on this home already",
                expected="one medai up a home",
                received="its pages are " + (f"{other.prefect_url} and {other.mlflow_url}" if other else "starting"),
                action="use those pages, or end that medai up first",
            ) from None
        stack.enter_context(stop_signals(stopped))
        children: list[Child] = []
        stack.callback(_stop_all, children)
        services = _start_all(settings, worker, children, stopped)
        if services is None:
            return
        record = settings.home / "services.json"
        write_durably(record, json.dumps(services.model_dump(), indent=1).encode() + b"\n")
        stack.callback(record.unlink, missing_ok=True)
        if ready is not None:
            ready(services)
        from flows.sync import Courier

        courier = Courier(settings)
        stack.callback(courier.stop)
        while not stopped.wait(0.5):
            for service in children:
                if not service.watch():
                    raise service.failed()
            courier.look()


def _start_all(settings: Settings, worker: bool, children: list[Child], stopped: threading.Event) -> Services | None:
    """Start each service, MLflow's beside Prefect's; None when a signal came meanwhile."""
    from flows.lost import settle_killed, watch_heartbeats

    logs = settings.home / "logs"
    make_folder(logs)
    patience = settings.service_seconds
    prefect, api_url = _start_prefect(settings, PREFECT_PORT, whole=True, log=logs / "prefect.log")
    children.append(prefect)
    with Workspace(settings.home).lock(MLFLOW_LOCK, patience):
        mlflow, mlflow_url = _start_mlflow(settings, logs / "mlflow.log")
        children.append(mlflow)
        wait_until_healthy("Prefect's server", f"{api_url}/health", patience, prefect, stopped=stopped)
        settle_killed(settings, api_url, "home")
        if worker:
            settle_lost_runs(api_url)
            watch_heartbeats(api_url)
            started = _start_worker(settings, api_url, logs / "worker.log")
            children.append(started)
        wait_until_healthy("MLflow's server", f"{mlflow_url}/health", patience, mlflow, stopped=stopped)
    pages, pages_url = _start_pages(settings, logs / "pages.log")
    children.append(pages)
    wait_until_healthy("the overview's server", f"{pages_url}/health", patience, pages, stopped=stopped)
    if worker:
        pool = f"{api_url}/work_pools/{WORK_POOL}"
        wait_until_healthy("Prefect's worker", pool, patience, started, stopped=stopped)
    if stopped.is_set():
        return None
    pids = {"up": os.getpid()} | {service.name: service.pid for service in children}
    return Services(
        prefect_url=api_url.removesuffix("/api"),
        prefect_api_url=api_url,
        mlflow_url=mlflow_url,
        pages_url=pages_url,
        pids=pids,
    )


def _stop_all(children: list[Child]) -> None:
    """The worker first, so that it can still tell Prefect's server what became of its runs."""
    for service in reversed(children):
        service.stop()


def _start_prefect(settings: Settings, port: int, whole: bool, log: Path | None) -> tuple[Child, str]:
    # The socket is opened here and inherited, so nobody can take the port, and a client that comes early waits in line.
    with _listen(port) as listener:
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        environment = settings.merged(os.environ)
        environment.pop("PREFECT_API_URL", None)
        environment.pop("PREFECT_SERVER_API_AUTH_STRING", None)  # loopback only, and our own clients send none
        environment["PREFECT_HOME"] = str(settings.prefect_home)
        make_folder(settings.prefect_home, 0o700)  # it keeps tracebacks of other libraries
        environment["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"  # the child does, under a lock
        if whole:
            environment["PREFECT_UI_API_URL"] = f"{address}/api"
            environment["PREFECT_UI_STATIC_DIRECTORY"] = str(settings.prefect_home / "pages")
        else:
            environment |= _API_ONLY
        arguments = [str(listener.fileno()), "whole" if whole else "api"]
        service = Child("prefect", "prefect-server", arguments, environment, log, (listener.fileno(),))
    return service, f"{address}/api"


def _start_mlflow(settings: Settings, log: Path) -> tuple[Child, str]:
    with _listen(MLFLOW_PORT) as listener:  # MLflow takes a number, not a socket
        port = listener.getsockname()[1]
    make_folder(settings.home / "mlflow")
    environment = settings.merged(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    arguments = ["server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", settings.tracking_database]
    arguments += ["--default-artifact-root", settings.artifact_root, "--no-serve-artifacts"]
    return Child("mlflow", "mlflow", arguments, environment, log), f"http://{LOOPBACK}:{port}"


def _start_worker(settings: Settings, api_url: str, log: Path) -> Child:
    environment = settings.merged(os.environ) | {"PREFECT_API_URL": api_url}
    arguments = ["worker", "start", "--pool", WORK_POOL, "--type", "process", "--install-policy", "never"]
    # Several problems may fall due at once: no more runs than fits with MEDAI_THREADS threads have cores for.
    arguments += ["--limit", str(max(1, (os.cpu_count() or 1) // settings.threads))]
    return Child("worker", "prefect", arguments, environment, log)


def _start_pages(settings: Settings, log: Path) -> tuple[Child, str]:
    with _listen(PAGES_PORT) as listener:
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        arguments = [str(listener.fileno())]
        environment = settings.merged(os.environ)
        return Child("pages", "flows.pages", arguments, environment, log, (listener.fileno(),)), address


def wait_until_healthy(
    name: str,
    url: str,
    patience: float,
    service: Child | None,
    auth: str | None = None,
    stopped: threading.Event | None = None,
) -> None:
    """Wait until a page answers 200, or a signal stopped us.

    Args:
        name: of the service, for messages.
        url: the page.
        patience: seconds.
        service: the process that will serve it, when it is ours.
        auth: ``user:password`` to show.
        stopped: set when a signal asks us to end.

    Raises:
        ServiceFailed: it ended, it does not answer in time, or it refuses our credentials (which is not retried).
    """
    deadline = time.monotonic() + patience
    status: int | None = None
    while time.monotonic() < deadline and not (stopped is not None and stopped.is_set()):
        status = _status(url, min(2.0, patience), auth)
        if status == 200:
            return
        if status in (401, 403):
            raise ServiceFailed(
                f"{name} refuses our credentials",
                expected=f"an answer from {url}",
                received=f"status {status}",
                action="set MEDAI_PREFECT_AUTH to user:password, or unset the server's address",
            )
        if service is not None and not service.watch():
            raise service.failed()
        time.sleep(0.1)
    if stopped is not None and stopped.is_set():
        return
    lines = "" if service is None else f"; its last lines:\n{service.last_lines()}"
    # Whatever else a page answers, a server is there, and it is none of Prefect's: that is for a person to mend.
    raise (ServiceDown if status is None or status >= 500 else ServiceFailed)(
        f"{name} does not answer",
        expected=f"an answer from {url} within {patience:.0f} seconds",
        received=("no answer" if status is None else f"status {status}") + lines,
        action="start that server or correct its address (medai up starts one), then run the same command again",
    )


def settle_lost_runs(api_url: str, auth: str | None = None) -> None:
    """Call crashed what a killed ``medai up`` or stack left running in our work pool: nobody runs it now.

    It would hold its deployment's only slot, and every later run of the schedule would be cancelled.
    """
    left = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
        "work_pools": {"name": {"any_": [WORK_POOL]}},
    }
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "its worker was killed"}
    for run in post(f"{api_url}/flow_runs/filter", left, auth):
        post(f"{api_url}/flow_runs/{run['id']}/set_state", {"state": crashed, "force": True}, auth)
        log.warning("the scheduled run %s was cut short when its worker was killed", run["name"])


def post(url: str, body: dict[str, Any], auth: str | None = None) -> Any:
    """What Prefect's server answers to a question.

    Raises:
        ServiceFailed: it does not.
    """
    status: int | None = None
    for pause in (*_PAUSES, 0.0):
        try:
            status, answer = exchange("POST", url, 30.0, body=json.dumps(body).encode(), auth=auth)
        except (OSError, http.client.HTTPException) as error:
            status, answer = None, type(error).__name__.encode()
        if status != _BUSY:
            break
        time.sleep(pause)
    if status not in (200, 201):
        raise ServiceFailed(
            "Prefect's server does not tell its runs",
            expected=f"an answer from {url}",
            received=f"status {status}" if status else answer.decode(),
            action="see logs/prefect.log in MEDAI_HOME",
        )
    return json.loads(answer)


def _status(url: str, seconds: float, auth: str | None = None) -> int | None:
    """The HTTP status of a page; None when there is no answer in time."""
    try:
        return exchange("GET", url, seconds, auth=auth)[0]
    except (OSError, http.client.HTTPException):
        return None


def exchange(
    method: str, url: str, seconds: float, *, body: bytes | None = None, auth: str | None = None
) -> tuple[int, bytes]:
    """One HTTP exchange; no proxy is asked."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {} if auth is None else {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection = kind(parts.hostname or LOOPBACK, parts.port, timeout=seconds)
    try:
        connection.request(method, parts.path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _listen(port: int) -> socket.socket:
    """A listening socket on loopback, on this port when it is free, else on any."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError:
        return socket.create_server((LOOPBACK, 0))


def free_ports(wanted: Iterable[int]) -> list[int]:
    """These ports of loopback, and another for each that is taken."""
    with ExitStack() as stack:
        return [stack.enter_context(_listen(port)).getsockname()[1] for port in wanted]


def _recorded(settings: Settings) -> Services | None:
    try:
        return Services.model_validate_json(read_plain(settings.home / "services.json"))
    except (OSError, ValueError):
        return None


@contextmanager
def _up_lock(settings: Settings, patience: float) -> Iterator[None]:
    path = settings.home / "locks" / "up.lock"
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise
    except OSError as failure:
        raise blocked(path, failure) from failure
    try:
        yield
    finally:
        lock.release()


@contextmanager
def stop_signals(stopped: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end ``up`` in order instead of in mid-sentence."""
    kept = {sign: signal.signal(sign, lambda *_: stopped.set()) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in kept.items():
            signal.signal(sign, handler)
