"""``--dask`` and ``--shards``: who works on the shards of a snapshot, judged before any work."""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medai.errors import ConfigurationError, ServiceFailed
from medai.paths import why
from medai.store import LOCAL, WITHIN_ONE_PROCESS, Store

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.shards import Spread

HERE = "local"
"""What ``--dask`` calls a cluster of this machine."""
PACKAGES = ("prefect_dask", "distributed")
_SCHEMES = ("tcp", "tls")
_ANSWER_SECONDS = 5.0


def spread(dask: str | None, shards: str | None, settings: Settings) -> Spread | None:
    """Who works on the shards; None for this process.

    Args:
        dask: ``local``, or a scheduler's address.
        shards: address of a store; the setting's when left out.

    Raises:
        ConfigurationError, ServiceFailed: as ``check``.
    """
    store = check(dask, shards, settings)
    if dask is None:
        return None
    from medai.shards import Spread
    from tasks.spread import OnDask

    owner = hashlib.sha256(f"{socket.gethostname()}\0{settings.home}".encode(errors="replace")).hexdigest()[:12]
    scratch = settings.home / "scratch" / "dask"
    return Spread(OnDask(None if dask == HERE else dask, settings.service_seconds, scratch), store, owner)


def check(dask: str | None, shards: str | None, settings: Settings) -> Store | None:
    """The store of shards, or None where the workspace is reached; Dask itself is not imported for it.

    Raises:
        ConfigurationError: an address cannot be used, workers elsewhere could not reach what they need, or a package is
            missing.
        ServiceFailed: nobody answers at the scheduler's address, or the store cannot be written.
    """
    if dask is None:
        if shards is not None:
            raise ConfigurationError(
                "--shards says where Dask's workers find the data, and there are none",
                expected="--dask beside it",
                received="--shards alone",
                action="add --dask local or --dask tcp://HOST:PORT, or leave --shards out",
            )
        return None
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"--dask needs the package {missing[0]}",
            expected="medai with its extra dask",
            received="medai without it",
            action="pip install '.[dask]' in the folder that medai was cloned to, here and on every worker",
        )
    scheduler = None if dask == HERE else _scheduler(dask)
    store = _store(shards if shards is not None else settings.shards)
    if scheduler is not None:
        if not _is_here(scheduler):
            _refuse_unreachable(dask, store, settings)
        _answers(scheduler, dask)
    return store


def _scheduler(address: str) -> tuple[str, int]:
    """Host and port."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    plain = parts.username is None and parts.password is None and not (parts.path or parts.query or parts.fragment)
    if parts.scheme not in _SCHEMES or not host or not port or not plain:
        raise ConfigurationError(
            "--dask names no scheduler",
            expected="local, or an address like tcp://HOST:8786 (tls:// where Dask is configured for it)",
            received=repr(address) if "@" not in address else "an address that is not shown, as it may hold a secret",
            action="correct --dask",
        )
    return host, port


def _store(address: str | None) -> Store | None:
    if address is None:
        return None
    parts = urlsplit(address)
    if "://" not in address or parts.username or parts.password or parts.query or parts.fragment:
        shown = not (parts.username or parts.password or parts.query)
        raise ConfigurationError(
            "the store of shards has no address that can be used",
            expected="an address like file:///shared/medai or s3://bucket/medai, without user, password or query",
            received=repr(address) if shown else "an address that is not shown, as it may hold a secret",
            action="correct --shards, or MEDAI_SHARDS; what a store asks for has its own variables",
        )
    store = Store(address)
    if store.scheme == WITHIN_ONE_PROCESS:
        raise ConfigurationError(
            "workers are other processes and cannot see this one's memory",
            expected="a store that all of them reach",
            received=f"{store.scheme}://",
            action="correct --shards, or MEDAI_SHARDS",
        )
    if store.scheme == LOCAL and not address.startswith(f"{LOCAL}:///"):
        raise ConfigurationError(
            "the store of shards is no folder",
            expected="file:// and the folder's whole path, which begins with /",
            received=repr(address),
            action="correct --shards, or MEDAI_SHARDS",
        )
    store.check()
    return store


def _is_here(scheduler: tuple[str, int]) -> bool:
    host = scheduler[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unreachable(dask: str, store: Store | None, settings: Settings) -> None:
    """Raise unless workers on other machines reach the shards, and the Prefect server that they report to."""
    if store is None:
        raise ConfigurationError(
            "workers on other machines cannot read this workspace",
            expected="--shards with a store that this machine and every worker reach, as s3://bucket/medai",
            received=f"--dask {dask} alone",
            action="add --shards, or set MEDAI_SHARDS",
        )
    prefect = settings.prefect_api_url
    host: Any = None if prefect is None else urlsplit(prefect).hostname
    if host is None or _is_here((host, 0)):
        raise ConfigurationError(
            "workers on other machines cannot reach this machine's own Prefect server",
            expected="MEDAI_PREFECT_API_URL with the address of a Prefect server that every worker reaches",
            received="a server on loopback" if prefect else "none",
            action="start one for all machines, and set MEDAI_PREFECT_API_URL",
        )


def _answers(scheduler: tuple[str, int], dask: str) -> None:
    try:
        socket.create_connection(scheduler, timeout=_ANSWER_SECONDS).close()
    except OSError as failure:
        raise ServiceFailed(
            "no Dask scheduler answers",
            expected=f"an answer from {dask} within {_ANSWER_SECONDS:.0f} seconds",
            received=type(failure).__name__ if failure.errno is None else why(failure),
            action="start it, or correct --dask, then run the same command again",
        ) from failure
