"""The stack as plain processes on loopback: PostgreSQL, Prefect's server and worker, MLflow's server.

The services are those of ``docker/compose.yaml``, from the same table (``flows.recipe``). They are children of one
process, which starts one that ended by itself again, as a container engine would; they end with it, however it ends.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from flows.child import end
from flows.databases import driver
from flows.governance import ledger_of
from flows.keeper import POSTGRES, Keeper, cluster_of, place
from flows.recipe import CORE, POSTGRES_PASSWORD, PREFECT_AUTH, SECRETS, clients
from flows.services.process import stop_signals
from flows.settings import Settings
from flows.sync import Courier
from medai.chain import AUDIT
from medai.errors import ConfigurationError, ServiceFailed
from medai.paths import read_plain
from medai.records import Frozen
from medai.workspace import make_folder, write_durably

log = logging.getLogger("medai.stack")

RECORD, LOCK = "stack.json", "stack.lock"
PREFECT_USER = "medai"


class Stack(Frozen):
    """A stack that runs.

    Attributes:
        prefect_url, mlflow_url, pages_url: Prefect's and MLflow's pages, and the overview.
        postgres: ``host:port``.
        told: what a command must find in its environment to use the stack; no secret, but the path of one.
        pids: service → process id; ``stack`` is the process that holds them.
        logs: the folder of the services' output.
    """

    prefect_url: str
    mlflow_url: str
    pages_url: str
    postgres: str
    told: dict[str, str]
    pids: dict[str, int]
    logs: str


def make_secrets(folder: Path) -> list[str]:
    """Make what is missing of a stack's secrets, random, readable by their owner alone.

    Args:
        folder: where they lie, one file each; see ``flows.recipe.SECRETS``.

    Returns:
        The names of those that were made.

    Raises:
        ConfigurationError: one that is there is empty, or others than its owner can read it.
    """
    make_folder(folder, 0o700)
    made = []
    for name in SECRETS:
        path = folder / name
        if path.exists():
            _refuse_open(path)
            continue
        word = secrets.token_urlsafe(24)
        database = name.removesuffix("_database")
        text = {POSTGRES_PASSWORD: word, PREFECT_AUTH: f"{PREFECT_USER}:{word}"}.get(name)
        write_durably(path, f"{text or f'*:*:*:{database}:{word}'}\n".encode(), 0o600)
        made.append(name)
    return made


def _refuse_open(path: Path) -> None:
    status = path.stat()
    others = stat.S_IMODE(status.st_mode) & 0o077
    if others or not status.st_size:
        raise ConfigurationError(
            f"the secret {path.name} of the stack cannot be used",
            expected="a file with a word in it, which its owner alone can read",
            received=f"a file of mode 0{stat.S_IMODE(status.st_mode):o}" if others else "an empty file",
            action="chmod 600 it; an empty prefect_auth may be removed, the others come from your copy",
        )


def up(settings: Settings, *, ready: Callable[[Stack], None] | None = None) -> None:
    """Run the stack of this home until SIGINT or SIGTERM; its data stay for the next time.

    Args:
        settings: of this home.
        ready: told once all services answer.

    Raises:
        ConfigurationError: PostgreSQL or what MLflow needs for it is not installed, or the folder cannot serve; or the
            home has versions, and a stack that begins now would have an MLflow without them.
        ServiceFailed: another stack runs on this home, or a service does not start, or ends again and again.
    """
    driver()
    stopped = threading.Event()
    with ExitStack() as stack:
        _hold(settings, stack)
        (settings.home / RECORD).unlink(missing_ok=True)  # left by a kill
        stack.enter_context(stop_signals(stopped))
        _refuse_versions_elsewhere(settings)
        make_secrets(settings.secrets_folder)
        here = place(settings)
        keeper = Keeper(settings, here, stopped)
        stack.callback(keeper.stop)
        if not keeper.start(CORE):
            return
        found = _record(settings, keeper)
        stack.callback((settings.home / RECORD).unlink, missing_ok=True)
        if ready is not None:
            ready(found)
        courier = Courier(keeper.client())
        stack.callback(courier.stop)
        while not stopped.wait(0.5):
            if keeper.mend():
                _record(settings, keeper)
            courier.look()


def _refuse_versions_elsewhere(settings: Settings) -> None:
    if (settings.stack_folder / POSTGRES).exists() or not (settings.home / AUDIT).exists():
        return
    if versions := ledger_of(settings).entries(kind="registered"):
        raise ConfigurationError(
            "a stack that begins in this home would have an MLflow without its versions",
            expected="a home in which nothing was registered yet, or one in which the stack ran before",
            received=f"{len(versions)} registered versions in {AUDIT}",
            action="let MEDAI_HOME name a new folder for the stack; `medai up` serves this home as it is",
        )


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
    log.info("the stack starts, which may take a minute; what it says stands in %s", words)
    while process.poll() is None:
        found = running(settings)
        if found is not None and found.pids.get("stack") == process.pid:
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
        ServiceFailed: it does not end in time; or its record names a process that does not hold this home's stack,
            which is then left alone.
    """
    found = running(settings)
    if found is None:
        return None
    holder = _holder(settings, found)
    if holder is None:
        with suppress(Timeout), _lock(settings):
            return found  # it ended meanwhile
        raise ServiceFailed(
            "the process of the stack is not known",
            expected=f"{RECORD} in MEDAI_HOME to name the process that holds the stack",
            received="one that does not, or none",
            action="nothing was ended; look who may write to MEDAI_HOME, then end that `medai stack up` itself",
        )
    end([holder], patience)
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


def _holder(settings: Settings, found: Stack) -> psutil.Process | None:
    """The process that a record names, if it has the stack's lock open: numbers are used again, and records written."""
    lock = (settings.home / "locks" / LOCK).resolve()
    try:
        process = psutil.Process(found.pids["stack"])
        return process if any(Path(file.path) == lock for file in process.open_files()) else None
    except (KeyError, ValueError, OverflowError, psutil.Error):
        return None


def _record(settings: Settings, keeper: Keeper) -> Stack:
    """Write down what runs, for other commands."""
    found = Stack(
        prefect_url=keeper.here.prefect_page,
        mlflow_url=keeper.here.mlflow,
        pages_url=keeper.here.overview,
        postgres=keeper.here.postgres,
        told=clients(keeper.here),
        pids={"stack": os.getpid()} | {name: child.pid for name, child in keeper.children.items()},
        logs=str(keeper.logs),
    )
    write_durably(settings.home / RECORD, json.dumps(found.model_dump(), indent=1).encode() + b"\n")
    return found


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
        cluster = cluster_of(settings, here)
        cluster.make()
        server = cluster.start(logs / "postgres.log")
        stack.callback(server.stop)
        cluster.wait(server)
        yield here.postgres


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
