"""The Prefect server that a run speaks to, and what works for it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Self

from flows.services.network import LOOPBACK, listen, post, wait_until_healthy
from flows.services.process import Child
from flows.services.record import running
from flows.settings import Settings
from medai.errors import ServiceDown, ServiceFailed, redacted
from medai.records import sha256_of
from medai.workspace import make_folder

log = logging.getLogger("medai.services")

WORK_POOL = "medai"
PATIENCE_WITH_A_RUNNING_SERVER = 10.0
DELIVERY_SECONDS = 5.0

_API_ONLY = {
    # A server for one run schedules nothing and shows no page.
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}


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
            self._service, self.api_url = start_prefect(self._settings, port=0, whole=False, log=None)
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
    service, api_url = start_prefect(settings, port=0, whole=False, log=None)
    return PrefectServer(api_url, settings, service)


def start_prefect(settings: Settings, port: int, whole: bool, log: Path | None) -> tuple[Child, str]:
    """Start one on this port if it is free: with its page and scheduler when whole; and its API's address."""
    # The socket is opened here and inherited, so nobody can take the port, and a client that comes early waits in line.
    with listen(port) as listener:
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


def start_worker(settings: Settings, api_url: str, log: Path) -> Child:
    """Start a worker of the work pool, which carries out what is scheduled."""
    environment = settings.merged(os.environ) | {"PREFECT_API_URL": api_url}
    arguments = ["worker", "start", "--pool", WORK_POOL, "--type", "process", "--install-policy", "never"]
    # Several problems may fall due at once: no more runs than fits with MEDAI_THREADS threads have cores for.
    arguments += ["--limit", str(max(1, (os.cpu_count() or 1) // settings.threads))]
    return Child("worker", "prefect", arguments, environment, log)


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
