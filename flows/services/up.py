"""``medai up``: Prefect's and MLflow's servers, the pages and a worker, until stopped."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from filelock import Timeout

from flows.services.network import LOOPBACK, MLFLOW_PORT, PAGES_PORT, PREFECT_PORT, listen, wait_until_healthy
from flows.services.prefect_server import WORK_POOL, settle_lost_runs, start_prefect, start_worker
from flows.services.process import Child, stop_signals
from flows.services.record import Services, recorded, up_lock
from flows.settings import Settings
from medai.errors import ServiceFailed
from medai.workspace import Workspace, make_folder, write_durably

log = logging.getLogger("medai.up")

MLFLOW_LOCK = "mlflow"
"""The workspace's lock under which MLflow's database is made, as in ``medai.tracking``: two at once would crash."""


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
            stack.enter_context(up_lock(settings, patience=2))
        except Timeout:
            other = recorded(settings)
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
    log.info("the services start, which may take a minute; what they say stands in %s", logs)
    patience = settings.service_seconds
    prefect, api_url = start_prefect(settings, PREFECT_PORT, whole=True, log=logs / "prefect.log")
    children.append(prefect)
    with Workspace(settings.home).lock(MLFLOW_LOCK, patience):
        mlflow, mlflow_url = _start_mlflow(settings, logs / "mlflow.log")
        children.append(mlflow)
        wait_until_healthy("Prefect's server", f"{api_url}/health", patience, prefect, stopped=stopped)
        settle_killed(settings, api_url, "home")
        if worker:
            settle_lost_runs(api_url)
            watch_heartbeats(api_url)
            started = start_worker(settings, api_url, logs / "worker.log")
            children.append(started)
        wait_until_healthy("MLflow's server", f"{mlflow_url}/health", patience, mlflow, stopped=stopped, own=True)
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


def _start_mlflow(settings: Settings, log: Path) -> tuple[Child, str]:
    with listen(MLFLOW_PORT) as listener:  # MLflow takes a number, not a socket
        port = listener.getsockname()[1]
    make_folder(settings.home / "mlflow")
    environment = settings.merged(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    arguments = ["server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", settings.tracking_database]
    arguments += ["--default-artifact-root", settings.artifact_root, "--no-serve-artifacts"]
    return Child("mlflow", "mlflow", arguments, environment, log), f"http://{LOOPBACK}:{port}"


def _start_pages(settings: Settings, log: Path) -> tuple[Child, str]:
    with listen(PAGES_PORT) as listener:
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        arguments = [str(listener.fileno())]
        environment = settings.merged(os.environ)
        return Child("pages", "flows.pages", arguments, environment, log, (listener.fileno(),)), address
