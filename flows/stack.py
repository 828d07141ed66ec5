"""The stack as plain processes on loopback: PostgreSQL, Prefect's server and worker, MLflow's server.

The services are those of ``docker/compose.yaml``, from the same table (``flows.recipe``). They are children of one
process, which starts one that ended by itself again, as a container engine would; they end with it, however it ends.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import SecretStr

from flows.child import end
from flows.databases import driver
from flows.postgres import Cluster
from flows.recipe import (
    CORE,
    POSTGRES_PASSWORD,
    POSTGRES_PORT,
    PREFECT_AUTH,
    SCHEDULER_PORT,
    SECRETS,
    SERVER_AUTH,
    WORKER_PORT,
    Place,
    Service,
    clients,
    recipe,
    secrets_read,
)
from flows.services import (
    LOOPBACK,
    MLFLOW_PORT,
    PREFECT_PORT,
    Child,
    free_ports,
    settle_lost_runs,
    stop_signals,
    wait_until_healthy,
)
from flows.settings import Settings
from medai.errors import ServiceFailed
from medai.paths import read_plain
from medai.records import Frozen
from medai.workspace import make_folder, write_durably

log = logging.getLogger("medai.stack")

RECORD, LOCK = "stack.json", "stack.lock"
PREFECT_USER = "medai"
PAUSES = (0.5, 1, 2, 4, 8, 16)
"""Seconds before a service that ended by itself is started again, each time it ends; then the stack gives up."""
STEADY_SECONDS = 60
"""A service that ran for so long is trusted again."""


class Stack(Frozen):
    """A stack that runs.

    Attributes:
        prefect_url, mlflow_url: the pages.
        postgres: ``host:port``.
        told: what a command must find in its environment to use the stack; no secret, but the path of one.
        pids: service → process id; ``stack`` is the process that holds them.
        logs: the folder of the services' output.
    """

    prefect_url: str
    mlflow_url: str
    postgres: str
    told: dict[str, str]
    pids: dict[str, int]
    logs: str


def make_secrets(folder: Path, owner: tuple[int, int] | None = None) -> list[str]:
    """Make what is missing of a stack's secrets, random, readable by their owner alone.

    Args:
        folder: where they lie, one file each; see ``flows.recipe.SECRETS``.
        owner: user and group ids that the files get; our own when left out.

    Returns:
        The names of those that were made.
    """
    make_folder(folder, 0o700)
    made = []
    for name in SECRETS:
        path = folder / name
        if path.exists():
            continue
        word = secrets.token_urlsafe(24)
        database = name.removesuffix("_database")
        text = {POSTGRES_PASSWORD: word, PREFECT_AUTH: f"{PREFECT_USER}:{word}"}.get(name)
        write_durably(path, f"{text or f'*:*:*:{database}:{word}'}\n".encode(), 0o600)
        made.append(name)
    if owner is not None:
        for path in (folder, *(folder / name for name in SECRETS)):
            os.chown(path, *owner)
    return made


def place(settings: Settings) -> Place:
    """Where the stack of a home is: on the usual ports where they are free."""
    wanted = (PREFECT_PORT, MLFLOW_PORT, POSTGRES_PORT, WORKER_PORT, SCHEDULER_PORT)
    prefect, mlflow, postgres, worker, scheduler = (f"{LOOPBACK}:{port}" for port in free_ports(wanted))
    return Place(
        listen=LOOPBACK,
        postgres=postgres,
        prefect=f"http://{prefect}",
        mlflow=f"http://{mlflow}",
        prefect_page=f"http://{prefect}",
        worker=worker,
        scheduler=scheduler,
        hosts=(),
        secrets=str(settings.secrets_folder),
        artifacts=str(settings.stack_folder / "artifacts"),
        home=str(settings.home),
        data=None if settings.data is None else str(settings.data),
        pages=str(settings.prefect_home / "pages"),
        runs=max(1, (os.cpu_count() or 1) // settings.threads),
    )


def up(settings: Settings, *, ready: Callable[[Stack], None] | None = None) -> None:
    """Run the stack of this home until SIGINT or SIGTERM; its data stay for the next time.

    Args:
        settings: of this home.
        ready: told once all services answer.

    Raises:
        ConfigurationError: PostgreSQL or what MLflow needs for it is not installed, or the folder cannot serve.
        ServiceFailed: another stack runs on this home, or a service does not start, or ends again and again.
    """
    driver()
    stopped = threading.Event()
    with ExitStack() as stack:
        _hold(settings, stack)
        (settings.home / RECORD).unlink(missing_ok=True)  # left by a kill
        stack.enter_context(stop_signals(stopped))
        make_secrets(settings.secrets_folder)
        here = place(settings)
        keeper = _Keeper(settings, here, stopped)
        stack.callback(keeper.stop)
        if not keeper.start(CORE):
            return
        _keep_record(settings, keeper)
        stack.callback((settings.home / RECORD).unlink, missing_ok=True)
        if ready is not None:
            ready(keeper.record())
        while not stopped.wait(0.5):
            if keeper.mend():
                _keep_record(settings, keeper)


def up_in_background(settings: Settings) -> Stack:
    """Start the stack in a process of its own, which outlives this one; return when it answers.

    Raises:
        ServiceFailed: it did not start; with its own words.
    """
    make_folder(settings.home)
    words = settings.home / "stack.log"
    with words.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from flows.cli import main; main()", "stack", "up"],
            env=settings.merged(os.environ) | {"PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None:
        found = running(settings)
        if found is not None and found.pids["stack"] == process.pid:
            return found
        time.sleep(0.2)
    raise ServiceFailed(
        "the stack did not start",
        expected="every service to answer",
        received=f"exit status {process.returncode}; its words:\n" + words.read_text(errors="replace").strip(),
        action="mend what they name, then run the same command again",
    )


def running(settings: Settings) -> Stack | None:
    """The stack that runs on this home; None when there is none."""
    try:
        with _lock(settings, patience=0):
            return None
    except Timeout:
        pass
    try:
        return Stack.model_validate_json(read_plain(settings.home / RECORD))
    except (OSError, ValueError):
        return None  # it is starting


def down(settings: Settings, patience: float = 60) -> Stack | None:
    """End the stack of this home, and wait until nothing of it runs; what ran, None when nothing did.

    Raises:
        ServiceFailed: it does not end in time.
    """
    found = running(settings)
    if found is None:
        return None
    end([psutil.Process(found.pids["stack"])] if psutil.pid_exists(found.pids["stack"]) else [], patience)
    try:
        with _lock(settings, patience):
            return found
    except Timeout:
        raise ServiceFailed(
            "the stack does not end",
            expected=f"its process {found.pids['stack']} to end within {patience:.0f} seconds",
            received="one that still runs",
            action="see the logs of its services, then end that process",
        ) from None


class _Keeper:
    """Holds the services of one stack: starts them, starts one that ended again, ends all."""

    def __init__(self, settings: Settings, here: Place, stopped: threading.Event) -> None:
        self.settings, self.here, self.stopped = settings, here, stopped
        self.logs = settings.stack_folder / "logs"
        self.services = recipe(here)
        self.children: dict[str, Child] = {}
        self._ended: dict[str, int] = {}
        self._since: dict[str, float] = {}
        make_folder(self.logs, 0o700)
        for folder in (settings.stack_folder / "artifacts", settings.prefect_home):
            make_folder(folder, 0o700)
        self.cluster = _cluster(settings, here)

    def start(self, names: Sequence[str]) -> bool:
        """Start services, those at once that need no other of them, each when what it needs answers.

        Returns:
            Whether all answer; not when a signal came meanwhile.
        """
        self.cluster.make()
        answering: set[str] = set()
        while answering < set(names):
            wave = [name for name in names if name not in answering and answering.issuperset(self.services[name].needs)]
            for name in wave:
                if name == "worker":
                    self._settle()
                self._launch(name)
            for name in wave:
                self._wait(name)
            if self.stopped.is_set():
                return False
            answering.update(wave)
        return True

    def mend(self) -> bool:
        """Start again what ended by itself; whether anything did.

        Raises:
            ServiceFailed: it ended too often.
        """
        lost = [name for name, child in self.children.items() if not child.watch()]
        for name in lost:
            if time.monotonic() - self._since[name] > STEADY_SECONDS:
                self._ended[name] = 0
            tried = self._ended.get(name, 0)
            if tried == len(PAUSES):
                raise self.children[name].failed()
            self._ended[name] = tried + 1
            log.warning("%s ended by itself (exit status %s); it is started again", name, self.children[name].ended)
            self.children[name].stop()
            if self.stopped.wait(PAUSES[tried]):
                break
            shutil.move(self.logs / f"{name}.log", self.logs / f"{name}.log.1")
            if name == "worker":
                self._settle()
            self._launch(name)
        return bool(lost)

    def stop(self) -> None:
        """End all, the worker first, so that it can still say what became of its runs, and PostgreSQL last."""
        for child in reversed(self.children.values()):
            child.stop()

    def record(self) -> Stack:
        """What runs."""
        return Stack(
            prefect_url=self.here.prefect_page,
            mlflow_url=self.here.mlflow,
            postgres=self.here.postgres,
            told=clients(self.here),
            pids={"stack": os.getpid()} | {name: child.pid for name, child in self.children.items()},
            logs=str(self.logs),
        )

    def _settle(self) -> None:
        """What a worker that is gone left running ended with it."""
        try:
            settle_lost_runs(f"{self.here.prefect}/api", self._auth())
        except ServiceFailed as failure:
            log.warning("runs that a killed worker left may still count as running: %s", failure.wrong)

    def _launch(self, name: str) -> None:
        words = self.logs / f"{name}.log"
        service = self.services[name]
        if name == "postgres":
            child = self.cluster.start(words)
        else:
            module, *arguments = service.command
            child = Child(name, module, arguments, self._environment(service), words)
        self.children[name] = child
        self._since[name] = time.monotonic()

    def _wait(self, name: str) -> None:
        if name == "postgres":
            self.cluster.wait(self.children[name])
            return
        page = self.services[name].health
        if page is not None:
            patience = self.settings.service_seconds
            wait_until_healthy(f"the service {name}", page, patience, self.children[name], stopped=self.stopped)

    def _environment(self, service: Service) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PREFECT_SERVER_"))}
        told = self.settings.merged(given)
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            told.pop(name, None)  # of another server than this stack's
        if clients(self.here).items() <= service.environment.items():
            told |= self._client().environment()
        return told | secrets_read(service.environment, (SERVER_AUTH,))

    def _client(self) -> Settings:
        """The settings of who uses the stack."""
        used = {"prefect_api_url": f"{self.here.prefect}/api", "tracking_uri": self.here.mlflow}
        return self.settings.model_copy(update={**used, "prefect_auth": SecretStr(self._auth())})

    def _auth(self) -> str:
        return (self.settings.secrets_folder / PREFECT_AUTH).read_text().strip()


def _keep_record(settings: Settings, keeper: _Keeper) -> None:
    write_durably(settings.home / RECORD, json.dumps(keeper.record().model_dump(), indent=1).encode() + b"\n")


@contextmanager
def postgres_alone(settings: Settings) -> Iterator[str]:
    """The stack's PostgreSQL without its other services, made when it is not there; its ``host:port``.

    Raises:
        ConfigurationError, ServiceFailed: as ``up``.
    """
    driver()
    with ExitStack() as stack:
        _hold(settings, stack)
        make_secrets(settings.secrets_folder)
        logs = settings.stack_folder / "logs"
        make_folder(logs, 0o700)
        here = place(settings)
        cluster = _cluster(settings, here)
        cluster.make()
        server = cluster.start(logs / "postgres.log")
        stack.callback(server.stop)
        cluster.wait(server)
        yield here.postgres


def _cluster(settings: Settings, here: Place) -> Cluster:
    port = int(here.postgres.rpartition(":")[2])
    return Cluster(settings.stack_folder / "postgres", settings.secrets_folder, port, recipe(here)["postgres"])


def _hold(settings: Settings, stack: ExitStack) -> None:
    """Be the one stack of this home."""
    try:
        stack.enter_context(_lock(settings))
    except Timeout:
        raise ServiceFailed(
            "a stack runs on this home already",
            expected="one stack a home",
            received="another process that holds it",
            action="use it (medai stack status), or end it first (medai stack down)",
        ) from None


@contextmanager
def _lock(settings: Settings, patience: float = 2) -> Iterator[None]:
    path = settings.home / "locks" / LOCK
    make_folder(path.parent)
    lock = FileLock(path)
    lock.acquire(timeout=patience)
    try:
        yield
    finally:
        lock.release()
