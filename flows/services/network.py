"""How services are listened for and asked: loopback's ports, pages that must answer, Prefect's API."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from flows.services.process import Child
from medai.errors import ServiceDown, ServiceFailed

LOOPBACK = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT, PAGES_PORT = 4200, 5000, 4300

_BUSY = 503
"""What Prefect's server answers while its database is locked or restarts: to be asked again."""
_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before it is."""


def wait_until_healthy(
    name: str,
    url: str,
    patience: float,
    service: Child | None,
    auth: str | None = None,
    stopped: threading.Event | None = None,
    *,
    own: bool = False,
) -> None:
    """Wait until a page answers 200, or a signal stopped us.

    Args:
        name: of the service, for messages.
        url: the page.
        patience: seconds.
        service: the process that will serve it, when it is ours.
        auth: ``user:password`` to show.
        stopped: set when a signal asks us to end.
        own: the process was given the page's port as a number, so that another program may have taken it first: its
            answers are not taken for the service's.

    Raises:
        ServiceFailed: it ended, it does not answer in time, or it refuses our credentials (which is not retried).
    """
    deadline = time.monotonic() + patience
    port = urlsplit(url).port if own else None
    status: int | None = None
    while time.monotonic() < deadline and not (stopped is not None and stopped.is_set()):
        status = status_of(url, min(2.0, patience), auth)
        if status == 200 and (service is None or port is None or service.listens(port)):
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
    received = f"status {status}" if status else answer.decode()
    if status in (200, 201):
        try:
            return json.loads(answer)
        except ValueError:
            received = "an answer that is no JSON"
    raise ServiceFailed(
        "Prefect's server does not tell its runs",
        expected=f"an answer from {url}",
        received=received,
        action="see logs/prefect.log in MEDAI_HOME",
    )


def status_of(url: str, seconds: float, auth: str | None = None) -> int | None:
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


def listen(port: int) -> socket.socket:
    """A listening socket on loopback, on this port when it is free, else on any."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError:
        return socket.create_server((LOOPBACK, 0))


def free_ports(wanted: Iterable[int]) -> list[int]:
    """These ports of loopback, and another for each that is taken."""
    with ExitStack() as stack:
        return [stack.enter_context(listen(port)).getsockname()[1] for port in wanted]
