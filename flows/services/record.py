"""What ``medai up`` noted of itself on a home, and whether it still runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from flows.services.network import status_of
from flows.settings import Settings
from medai.paths import read_plain
from medai.records import Frozen
from medai.workspace import blocked, make_folder

PATIENCE = 5.0
"""Seconds in which a server that holds the lock answers, also on a machine that is busy."""


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


def running(settings: Settings) -> Services | None:
    """The services of the ``medai up`` that runs on this home and answers in time; None when there is none."""
    services = recorded(settings)
    if services is None:
        return None
    try:
        with up_lock(settings, patience=0):
            return None  # nobody holds it: the record was left behind by a kill
    except Timeout:
        return services if status_of(f"{services.prefect_api_url}/health", PATIENCE) == 200 else None


def recorded(settings: Settings) -> Services | None:
    """What a ``medai up`` noted last; None where none did, or in words that cannot be read."""
    try:
        return Services.model_validate_json(read_plain(settings.home / "services.json"))
    except (OSError, ValueError):
        return None


@contextmanager
def up_lock(settings: Settings, patience: float) -> Iterator[None]:
    """The lock that a ``medai up`` holds while it runs.

    Raises:
        Timeout: another holds it for longer than ``patience`` seconds.
    """
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
