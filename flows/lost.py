"""Runs whose process was killed: Prefect is told that they crashed, as they can no longer say so themselves.

Three ways see to it. Each command marks its flow runs and holds a lock that the system frees with the process, so that
the next command on this home finds what is left. What a pool's worker started is settled when ``medai up`` starts. And
for both, on any machine, each run shows a heartbeat every 30 seconds, and an automation of the server's misses it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flows.services.network import post
from flows.settings import Settings
from medai.errors import MedaiError
from medai.workspace import make_folder

if TYPE_CHECKING:
    from flows.services.prefect_server import PrefectServer

log = logging.getLogger("medai.services")

LEASE_SECONDS = 90
"""A run that shows no heartbeat for so long, three of them, is called crashed."""
AUTOMATION = "medai: a run without a heartbeat has crashed"
LEFT = ["RUNNING", "PENDING", "CANCELLING"]
_MARK = "command"


@contextmanager
def marked(settings: Settings, server: PrefectServer) -> Iterator[None]:
    """Mark the flow runs of this command, until it ends or is killed; what killed ones left on this server is settled.

    The mark is a tag, ``command-`` and eight hexadecimal digits, and the name of a lock that this process holds. A
    command that fails leaves its lock's file: should Prefect not know of the failure, the next command tells it.
    """
    from prefect import tags

    settle_killed(settings, server.api_url, server.place, server.auth)
    folder = settings.home / "locks"
    make_folder(folder)
    mark = f"{_MARK}-{uuid.uuid4().hex[:8]}"
    lock = FileLock(folder / f"{mark}-{server.place}.lock")
    with lock:
        with tags(mark):
            yield
        Path(lock.lock_file).unlink(missing_ok=True)


def settle_killed(settings: Settings, api_url: str, place: str, auth: str | None = None) -> None:
    """Call crashed what commands on this home left running when they were killed; never fails a run."""
    for path in sorted((settings.home / "locks").glob(f"{_MARK}-*-{place}.lock")):
        lock = FileLock(path)
        try:
            with lock.acquire(timeout=0):
                mark = path.name.removesuffix(f"-{place}.lock")
                _crash({"flow_runs": {"tags": {"all_": [mark]}}}, api_url, auth)
                path.unlink(missing_ok=True)
        except Timeout:
            continue  # it is at work
        except (MedaiError, OSError) as failure:
            log.warning("what a killed command left could not be settled: %s", failure)


def _crash(which: dict[str, Any], api_url: str, auth: str | None) -> None:
    which["flow_runs"]["state"] = {"type": {"any_": LEFT}}
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "its process was killed"}
    for run in post(f"{api_url}/flow_runs/filter", which, auth):
        post(f"{api_url}/flow_runs/{run['id']}/set_state", {"state": crashed, "force": True}, auth)
        log.warning("the run %s was cut short when its command was killed; finished stages are reused", run["name"])


def watch_heartbeats(api_url: str, auth: str | None = None, seconds: int = LEASE_SECONDS) -> None:
    """Let a server call crashed each run that shows no heartbeat any more; its deployment's slot is free again.

    Args:
        api_url: of a server that runs automations: of ``medai up``, the stack's, or a hospital's own.
        auth: ``user:password`` where it asks for them.
        seconds: how long a run may be silent.

    Raises:
        ServiceFailed: the server does not take the automation.
    """
    named = {"automations": {"name": {"any_": [AUTOMATION]}}}
    if post(f"{api_url}/automations/filter", named, auth):
        return
    ends = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Paused")]
    post(
        f"{api_url}/automations/",
        {
            "name": AUTOMATION,
            "description": "Its process was killed, or its machine is gone. The next run reuses its finished stages.",
            "trigger": {
                "type": "event",
                "posture": "Proactive",
                "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
                "for_each": ["prefect.resource.id"],
                "after": ["prefect.flow-run.heartbeat"],
                "expect": ["prefect.flow-run.heartbeat", *ends],
                "threshold": 1,
                "within": seconds,
            },
            "actions": [
                {
                    "type": "change-flow-run-state",
                    "state": "CRASHED",
                    "name": "Crashed",
                    "message": f"no heartbeat for {seconds} seconds",
                }
            ],
        },
        auth,
    )
