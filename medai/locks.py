"""Who may change what now: the locks of the ledger, on one machine or among several.

    FileLocks(workspace)          a file lock: processes of one machine
    DatabaseLocks(address)        PostgreSQL's advisory locks: machines that share one state folder

Whoever holds a lock is handed a question, ``still_held``, to be asked right before what must not happen twice: a
database lets a lock go when the connection is lost, and its holder hears of that only when it asks.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from medai.errors import ConfigurationError, ServiceFailed
from medai.workspace import LOCK_POLL_SECONDS, Workspace

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
SILENT_SECONDS = 20
"""How long a connection may be without an answer before it counts as lost."""

StillHeld = Callable[[], None]
"""Raises ServiceFailed where the lock was lost."""

_HELD = """
select pg_backend_pid(), exists (
  select 1 from pg_locks
  where locktype = 'advisory' and granted and pid = pg_backend_pid() and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = %s)
"""
"""A lock of one 64-bit key stands in pg_locks with its halves in classid and objid (PostgreSQL 15, 54.12)."""


class Locks(Protocol):
    """Where locks are held."""

    def hold(self, name: str, seconds: float | None = None) -> AbstractContextManager[StillHeld]:
        """Hold the lock of a name; whoever comes second waits so many seconds.

        Raises:
            ServiceFailed: another still holds it then.
        """


class FileLocks:
    """Locks of one machine, in its state folder."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @contextmanager
    def hold(self, name: str, seconds: float | None = None) -> Iterator[StillHeld]:
        """See ``Locks``."""
        with self.workspace.lock(name, seconds):
            yield lambda: None


class DatabaseLocks:
    """Advisory locks of a PostgreSQL database, each held by a connection of its own.

    A pooler that lends one connection to several sessions (PgBouncer's transaction mode) cannot hold such locks: that
    is noticed when a holder asks.

    Args:
        address: ``postgresql://…``; it may hold a password and is never shown.
        patience: seconds to wait where the caller says none.
    """

    def __init__(self, address: str, patience: float = 4 * 3600) -> None:
        self._address = address
        self.patience = patience

    def __repr__(self) -> str:
        return "DatabaseLocks()"

    @contextmanager
    def hold(self, name: str, seconds: float | None = None) -> Iterator[StillHeld]:
        """See ``Locks``.

        Raises:
            ConfigurationError: the driver is not installed, or the address cannot be read.
            ServiceFailed: the database does not answer.
        """
        connection = self._connect()
        import psycopg

        key = int.from_bytes(hashlib.sha256(f"medai {name}".encode()).digest()[:8], "big", signed=True)
        try:
            try:
                self._wait(connection, key, name, self.patience if seconds is None else seconds)
                session = connection.info.backend_pid
            except psycopg.Error as failure:
                raise _silent(failure) from None

            def still_held() -> None:
                try:
                    held = connection.execute(_HELD, (key,)).fetchone() == (session, True)
                except psycopg.Error:
                    held = False
                if not held:
                    raise ServiceFailed(
                        f"the lock of {name} was lost",
                        expected="the connection to PostgreSQL to last as long as the work",
                        received="a connection that was cut, or a pooler that gave it to somebody else",
                        action="nothing was written; run the same command again",
                    )

            yield still_held
        finally:
            with suppress(psycopg.Error):  # the server lets go of it with the connection
                connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            import psycopg
        except ImportError:
            raise ConfigurationError(
                "MEDAI_LOCK_DATABASE needs a package that is not installed: psycopg",
                expected="the extra postgres",
                received="none",
                action="pip install '.[postgres]' in the folder that medai was cloned to",
            ) from None
        try:
            return psycopg.connect(
                self._address,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="medai",
                keepalives_idle=SILENT_SECONDS // 2,
                keepalives_interval=SILENT_SECONDS // 4,
                keepalives_count=2,
                tcp_user_timeout=SILENT_SECONDS * 1000,
            )
        except psycopg.ProgrammingError:
            raise ConfigurationError(
                "the setting MEDAI_LOCK_DATABASE cannot be used",
                expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                received="a value that is not shown, as it may be a secret",
                action="correct MEDAI_LOCK_DATABASE in the environment or in .env",
            ) from None
        except psycopg.Error as failure:
            raise _silent(failure) from None

    def _wait(self, connection: psycopg.Connection[Any], key: int, name: str, patience: float) -> None:
        end = None
        while connection.execute("select pg_try_advisory_lock(%s)", (key,)).fetchone() != (True,):
            now = time.monotonic()
            if end is None:
                log.warning("another run holds %s; waiting for it", name)
                end = now + patience
            if now >= end:
                raise ServiceFailed(
                    f"another run still holds {name}",
                    expected=f"it to finish within {patience:.0f} seconds",
                    received="a lock in PostgreSQL that is still held",
                    action="wait for that run or end it, then run the same command again",
                )
            time.sleep(LOCK_POLL_SECONDS)


def _silent(failure: Exception) -> ServiceFailed:
    state = getattr(failure, "sqlstate", None)
    return ServiceFailed(
        "the database of the ledger's lock does not do its part",
        expected="PostgreSQL to answer where MEDAI_LOCK_DATABASE says",
        received=type(failure).__name__ + (f", SQLSTATE {state}" if state else ""),
        action="start it, or correct MEDAI_LOCK_DATABASE; nothing was changed",
    )
