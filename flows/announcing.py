"""What happened to a problem, told to Prefect as an event that automations listen for.

    medai.data.arrived        data that the problem had not seen
    medai.drift.detected      a violation of the monitoring bounds that repeated
    medai.labels.arrived      outcomes of earlier predictions
    medai.champion.promoted   medai.champion.withdrawn   medai.candidate.refused   medai.approval.wanted

Each is of the resource ``medai.problem.NAME``; the payload holds counts, verdicts and keys, never a patient's data. An
event is sent at once and its receipt waited for: what a run announced has arrived when the run ends. A server that
does not take it costs a line in the log and some seconds, never the run.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from medai.audit import Entry
    from medai.workspace import Workspace

log = logging.getLogger("medai.events")

Event = Literal[
    "medai.data.arrived",
    "medai.drift.detected",
    "medai.labels.arrived",
    "medai.champion.promoted",
    "medai.champion.withdrawn",
    "medai.candidate.refused",
    "medai.approval.wanted",
]
NOBODY = "no Prefect server runs"
EVENTS: tuple[str, ...] = get_args(Event)
PATIENCE_SECONDS = 5.0
ANNOUNCED = "announced"
"""Receipt: a line of the audit of which the server took this event."""
_TAKEN = range(200, 300)
_unheard: set[str] = set()


@contextmanager
def unheard(api_url: str) -> Iterator[None]:
    """While a command keeps a server of its own, which runs no automation: an event that it took would be lost."""
    _unheard.add(api_url)
    try:
        yield
    finally:
        _unheard.discard(api_url)


def announce_line(workspace: Workspace, event: str, line: Entry, payload: dict[str, Any]) -> None:
    """Announce what a line of the audit says, unless a server took it: called again, it makes up for what was lost.

    A kill between the line and its event, or a server that was down, then costs a delay. Of two at once one sends it,
    and where a server took it and its answer was lost, the server soon after knows it again by its id.
    """
    key = f"{line.problem}-{event}-{line.hash}"
    if _taken(workspace, key):  # looked at without the lock: most often nothing is to be sent
        return
    with workspace.lock(f"announce-{line.problem}"):
        if _taken(workspace, key) or _before_receipts(workspace, event, line):
            return
        if announce(event, line.problem, payload, str(uuid.uuid5(uuid.NAMESPACE_URL, f"medai:{event}:{line.hash}"))):
            workspace.keep_receipt(ANNOUNCED, key, {"line": line.hash})


def _taken(workspace: Workspace, key: str) -> bool:
    return bool(workspace.receipt(ANNOUNCED, key))


def _before_receipts(workspace: Workspace, event: str, line: Entry) -> bool:
    """Whether a line is no newer than the last that was told before each line had its receipt: one for all had it."""
    newest = workspace.receipt(ANNOUNCED, f"{line.problem}-{event}").get("line")
    if newest is None:
        return False
    from medai.audit import Audit

    return any(one.hash == newest and one.number >= line.number for one in Audit(workspace.root, by="").lines()[0])


def announce(event: str, problem: str, payload: dict[str, Any], known_as: str | None = None) -> bool:
    """Send an event of a problem to the Prefect server that the settings name, or to the one of ``medai up``.

    Args:
        event: one of ``EVENTS``.
        problem: the problem's name.
        payload: JSON of counts, verdicts and keys.
        known_as: the event's id, by which a server takes it once; one of its own when left out.

    Returns:
        Whether the server took it.

    Raises:
        ValueError: there is no such event, or the payload is no JSON: a defect of the caller.
    """
    if event not in EVENTS:
        raise ValueError(f"there is no event {event!r}")
    body = json.dumps([_message(event, problem, payload, known_as or str(uuid.uuid4()))], allow_nan=False).encode()
    why = _send(body)
    if why is not None:  # where no server runs nobody waits for events either
        log.log(
            logging.INFO if why == NOBODY else logging.WARNING, "%s of %s was not announced: %s", event, problem, why
        )
    return why is None


def _message(event: str, problem: str, payload: dict[str, Any], known_as: str) -> dict[str, Any]:
    """The event as Prefect's API reads it; of a flow's run, related to that run."""
    return {
        "id": known_as,
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"medai.problem.{problem}", "prefect.resource.name": problem},
        "related": _related(),
        "payload": payload,
    }


def _related() -> list[dict[str, str]]:
    import sys

    if "prefect" not in sys.modules:  # nobody runs a flow then, and importing Prefect takes seconds
        return []
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return []
    run = context.flow_run
    return [
        {
            "prefect.resource.id": f"prefect.flow-run.{run.id}",
            "prefect.resource.name": run.name,
            "prefect.resource.role": "flow-run",
        }
    ]


def _send(body: bytes) -> str | None:
    """Post the events; why the server did not take them, or None."""
    from flows.services.network import exchange
    from flows.services.record import running
    from flows.settings import Settings

    settings = Settings.load()
    url, auth = settings.prefect_api_url, None
    if url is not None:
        auth = settings.prefect_auth.get_secret_value() if settings.prefect_auth else None
    if url is None or url in _unheard:
        services = running(settings)
        url, auth = (None, None) if services is None else (services.prefect_api_url, None)
    if url is None:
        return NOBODY
    try:
        status, _ = exchange("POST", f"{url}/events", PATIENCE_SECONDS, body=body, auth=auth)
    except (OSError, http.client.HTTPException) as failure:
        reason = os.strerror(failure.errno) if isinstance(failure, OSError) and failure.errno else ""
        return f"Prefect's server does not answer ({reason or type(failure).__name__})"
    return None if status in _TAKEN else f"Prefect's server answered with status {status}"
