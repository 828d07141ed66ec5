"""The processes of a stack: where each service lies, how it is started, started again and ended."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence

from pydantic import SecretStr

from flows.lost import settle_killed, watch_heartbeats
from flows.postgres import Cluster
from flows.recipe import (
    POSTGRES_PORT,
    PREFECT_AUTH,
    SCHEDULER_PORT,
    SERVER_AUTH,
    WORKER_PORT,
    Place,
    Service,
    clients,
    recipe,
    secrets_read,
)
from flows.services.network import LOOPBACK, MLFLOW_PORT, PAGES_PORT, PREFECT_PORT, free_ports, wait_until_healthy
from flows.services.prefect_server import place_of, settle_lost_runs
from flows.services.process import Child
from flows.settings import Settings
from medai.errors import ServiceFailed
from medai.workspace import make_folder

log = logging.getLogger("medai.stack")

POSTGRES = "postgres"
"""PostgreSQL's data in a stack's folder."""
PAUSES = (0.5, 1, 2, 4, 8, 16)
"""Seconds before a service that ended by itself is started again, each time it ends; then the stack gives up."""
STEADY_SECONDS = 60
"""A service that ran for so long is trusted again."""


def place(settings: Settings) -> Place:
    """Where the stack of a home is: on the usual ports where they are free."""
    wanted = (PREFECT_PORT, MLFLOW_PORT, PAGES_PORT, POSTGRES_PORT, WORKER_PORT, SCHEDULER_PORT)
    prefect, mlflow, pages, postgres, worker, scheduler = (f"{LOOPBACK}:{port}" for port in free_ports(wanted))
    return Place(
        listen=LOOPBACK,
        postgres=postgres,
        prefect=f"http://{prefect}",
        mlflow=f"http://{mlflow}",
        overview=f"http://{pages}",
        prefect_page=f"http://{prefect}",
        mlflow_page=f"http://{mlflow}",
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


def cluster_of(settings: Settings, here: Place) -> Cluster:
    """The stack's PostgreSQL."""
    port = int(here.postgres.rpartition(":")[2])
    return Cluster(settings.stack_folder / POSTGRES, settings.secrets_folder, port, recipe(here)["postgres"])


class Keeper:
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
        self.cluster = cluster_of(settings, here)

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
            log.info("%s: ready", ", ".join(wave))
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

    def _settle(self) -> None:
        """What a worker or a command that is gone left running ended with it; whose heart stops later is noticed."""
        api_url = f"{self.here.prefect}/api"
        try:
            settle_killed(self.settings, api_url, place_of(api_url), self._auth())
            settle_lost_runs(api_url, self._auth())
            watch_heartbeats(api_url, self._auth())
        except ServiceFailed as failure:
            log.warning("runs that a killed worker left may still count as running: %s", failure.wrong)

    def _launch(self, name: str) -> None:
        words = self.logs / f"{name}.log"
        service = self.services[name]
        if name == "postgres":
            child = self.cluster.start(words)
        else:
            program, *arguments = service.command
            module = {"medai": "flows.cli"}.get(program, program)
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
            child = self.children[name]
            wait_until_healthy(f"the service {name}", page, patience, child, stopped=self.stopped, own=True)

    def _environment(self, service: Service) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PREFECT_SERVER_"))}
        told = self.settings.merged(given)
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            told.pop(name, None)  # of another server than this stack's
        if clients(self.here).items() <= service.environment.items():
            told |= self.client().environment()
        return told | secrets_read(service.environment, (SERVER_AUTH,))

    def client(self) -> Settings:
        """The settings of who uses the stack."""
        used = {"prefect_api_url": f"{self.here.prefect}/api", "tracking_uri": self.here.mlflow}
        return self.settings.model_copy(update={**used, "prefect_auth": SecretStr(self._auth())})

    def _auth(self) -> str:
        return (self.settings.secrets_folder / PREFECT_AUTH).read_text().strip()
