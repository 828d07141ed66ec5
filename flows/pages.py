"""The pages' server: the overview, a page a problem, reports, and ``/metrics`` for Prometheus.

    /                             all problems
    /problems/NAME                one
    /problems/NAME/report         the champion's report
    /problems/NAME/monitoring     the page of its windows
    /metrics                      for Prometheus
    /health                       200 while it runs

It reads and never writes. It listens on loopback; on any other address it asks for a user and password. Pages that show
pictures or curves of patients are files of their owner's and are not handed out. It answers only to names it knows as
its own, so that a page of elsewhere cannot ask through a browser (DNS rebinding), and its pages run no script.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flows.governance import ledger_of
from flows.lineage import monitoring_file
from flows.overview import is_private, look, report_file
from flows.settings import Settings
from medai.errors import ConfigurationError, MedaiError
from medai.overview import Overview
from medai.overview.metrics import CONTENT_TYPE, exposition
from medai.overview.page import problem, site
from medai.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

FRESH_SECONDS = 2.0
"""For so long one look answers everybody: a page asks Prefect's server and reads the whole audit."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}


class Latest:
    """The newest look, shared by all who ask within two seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._at = 0.0
        self._seen: Overview | None = None

    def get(self) -> Overview:
        """The site as it stands, or stood two seconds ago."""
        with self._lock:
            if self._seen is None or time.monotonic() - self._at > FRESH_SECONDS:
                self._seen = look(self._settings, served=True)
                self._at = time.monotonic()
            return self._seen


def app(settings: Settings, hosts: tuple[str, ...] = (), auth: str | None = None) -> Starlette:
    """The server's application.

    Args:
        hosts: names and addresses, besides those of loopback, by which it may be asked.
        auth: ``user:password`` that it asks for; None for nobody.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route

    latest = Latest(settings)

    def missing(what: str) -> Response:
        return PlainTextResponse(f"{what}\n", status_code=404)

    def overview(_request: Request) -> Response:
        return HTMLResponse(site(latest.get(), links=False))

    def one(request: Request) -> Response:
        seen, name = latest.get(), request.path_params["name"]
        view = next((view for view in seen.problems if view.problem == name), None)
        return HTMLResponse(problem(seen, view, links=False)) if view else missing("no problem of this name was run")

    def report(request: Request) -> Response:
        ledger, name = ledger_of(settings), request.path_params["name"]
        try:
            champion = ledger.champion(name)
        except MedaiError:
            return missing("the audit is not whole: see the overview")
        path = report_file(ledger, name, champion.version) if champion else None
        if path is None:
            return missing("no champion of this name has a report")
        if is_private(path):
            return PlainTextResponse(
                "this report shows patients' pictures or curves and is its owner's alone:"
                " `medai history` names its file\n",
                status_code=403,
            )
        return HTMLResponse(path.read_bytes())

    def monitoring(request: Request) -> Response:
        path = monitoring_file(Workspace(settings.home), request.path_params["name"])
        return HTMLResponse(path.read_bytes()) if path else missing("nothing was monitored under this name")

    def metrics(_request: Request) -> Response:
        return Response(exposition(latest.get()), headers={"Content-Type": CONTENT_TYPE})

    def health(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def elsewhere(request: Request) -> Response:
        return RedirectResponse(f"/problems/{quote(request.path_params['name'])}")

    routes = [
        Route("/", overview),
        Route("/problems/{name}", one),
        Route("/problems/{name}/", elsewhere),
        Route("/problems/{name}/report", report),
        Route("/problems/{name}/monitoring", monitoring),
        Route("/metrics", metrics),
        Route("/health", health),
    ]
    allowed = ["127.0.0.1", "localhost", "[::1]", *hosts]

    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if auth is not None and request.url.path != "/health" and not _knows(request, auth):
            return PlainTextResponse(
                "a user and password, please\n",
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="medai"'},
            )
        answer = await go_on(request)
        answer.headers.update(HEADERS)
        return answer

    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=allowed, www_redirect=False),
        Middleware(BaseHTTPMiddleware, dispatch=guard),
    ]
    return Starlette(routes=routes, middleware=middleware)


def _knows(request: Request, auth: str) -> bool:
    given = request.headers.get("authorization", "")
    wanted = "Basic " + base64.b64encode(auth.encode()).decode()
    return hmac.compare_digest(given.encode(), wanted.encode())


def refuse_open(host: str, auth: str | None) -> None:
    """Refuse to listen outside loopback without a password.

    Raises:
        ConfigurationError: anybody on the network could read what stands in production.
    """
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside and auth is None:
        raise ConfigurationError(
            "the pages would be open to the network",
            expected="a loopback address, or user:password in MEDAI_PAGES_AUTH",
            received=f"{host}, and no password",
            action="set MEDAI_PAGES_AUTH, or listen on 127.0.0.1",
        )


def serve(settings: Settings, listener: socket.socket | None, host: str, port: int) -> None:
    """Serve until the process is ended.

    Args:
        listener: an open socket; one is opened at ``host`` and ``port`` when left out.

    Raises:
        ConfigurationError: it would be open to the network; or nothing can listen at ``host`` and ``port``.
    """
    import uvicorn

    auth = None if settings.pages_auth is None else settings.pages_auth.get_secret_value()
    refuse_open(host, auth)
    opened = listener or _listening(host, port)
    config = uvicorn.Config(
        app(settings, tuple(filter(None, settings.pages_hosts.split(","))), auth),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[opened])


def _listening(host: str, port: int) -> socket.socket:
    """A socket of our own: where it gets none, uvicorn ends with a status that means refused data."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except BaseException:
            found.close()
            raise
    except (OSError, UnicodeError) as failure:
        number = (isinstance(failure, OSError) and failure.errno) or 0
        raise ConfigurationError(
            "the pages cannot be served there",
            expected="an address of this machine, and a port that nobody else has",
            received=f"{host}, port {port}: {os.strerror(number).lower() if number > 0 else 'no such address'}",
            action="end what listens there, or name another --host and --port",
        ) from None
    return found


def main(arguments: list[str]) -> None:
    """``python -m flows.pages DESCRIPTOR``: serve on a socket of loopback that the parent opened."""
    listener: Any = socket.socket(fileno=int(arguments[0]))
    serve(Settings.load(), listener, *listener.getsockname()[:2])


if __name__ == "__main__":
    main(sys.argv[1:])
