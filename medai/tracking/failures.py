"""When MLflow does not answer: what is worth another try, and what a reader is told."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from medai.errors import ServiceDown, ServiceFailed, from_machine_failure, redacted

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds before each further try. MLflow's own HTTP retries come on top, within each try."""

REFUSALS = (401, 403)
"""HTTP statuses that no further try would change."""
PASSING_FAILURES = (408, 409, 425, 429, 499, 500, 502, 503, 504)


def patiently(work: Callable[[], T], what: str) -> T:
    """Do idempotent work that speaks to MLflow; try again where that may help, within bounds.

    Args:
        work: may be called several times; each call finds what the last one left.
        what: names the work in the message.

    Raises:
        ServiceFailed: the disk is full, access was refused, or what was registered was deleted (at once).
        ServiceDown: MLflow hangs, or still fails after the last try.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import DBAPIError

    for pause in (*PAUSES, None):
        try:
            return work()
        except (MlflowException, RequestException, DBAPIError, OSError, MemoryError) as failure:
            for cause in _chain(failure):
                machine = from_machine_failure(_as_of_the_system(cause))
                if machine is not None:
                    raise machine from failure
            if isinstance(failure, FileNotFoundError):  # a file of the package: another try would not find it either
                raise
            status = http_status(failure)
            if status in REFUSALS:
                raise ServiceFailed(
                    "MLflow refused access",
                    expected=f"permission to {what}",
                    received=f"HTTP {status}",
                    action="check the tracking server's user name, password and permissions; finished stages are kept",
                ) from failure
            if is_missing(failure):
                raise ServiceFailed(
                    f"MLflow no longer has what it takes to {what}",
                    expected="the registered models, versions and runs that medai made there",
                    received=f"HTTP {status}: no such thing",
                    action="ask who deleted it, and restore MLflow's database from a copy; the ledger stands",
                ) from failure
            if status is not None and status not in PASSING_FAILURES and not _lost_a_race(failure):
                raise
            if pause is None or _hangs(failure):
                raise ServiceDown(
                    f"MLflow failed while medai tried to {what}",
                    expected="the tracking store to answer",
                    received=_reason(failure, status),
                    action="start or repair it, then run the same command again: finished stages are kept",
                ) from failure
            log.warning("MLflow: %s; trying again in %.1f s", _reason(failure, status), pause)
            time.sleep(pause)
    raise AssertionError("unreachable: the last try returns or raises")


def _as_of_the_system(cause: BaseException) -> BaseException:
    """A full disk under sqlite as the system tells it; every other failure that is not the system's as none."""
    if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, "")
    return cause if isinstance(cause, (OSError, MemoryError)) else ValueError()


def http_status(failure: BaseException) -> int | None:
    """The HTTP status that a failure stands for; None for a connection or a machine that failed.

    MLflow files a row that two writers insert at once, and a full disk under sqlite, under 400: the database's own
    error is looked at first.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if any(isinstance(cause, (sqlite3.Error, ConnectionError, TimeoutError)) for cause in _chain(failure)):
        return None
    if isinstance(failure, RequestException):
        return None if failure.response is None else int(failure.response.status_code)
    if isinstance(failure, MlflowException):
        return int(failure.get_http_status_code())
    return None


def is_missing(failure: BaseException) -> bool:
    """MLflow answered that it has no such thing. (A wrong address is another 404, and a failure.)"""
    return getattr(failure, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def _hangs(failure: BaseException) -> bool:
    """It took the question and gave no answer: MLflow's own tries have waited long enough for it."""
    from requests import Timeout

    return any(isinstance(cause, (Timeout, TimeoutError)) for cause in _chain(failure))


def _lost_a_race(failure: BaseException) -> bool:
    """Another writer made it first: the next try finds it."""
    return getattr(failure, "error_code", None) in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")


def _chain(failure: BaseException) -> Iterator[BaseException]:
    """The failure and all that led to it. SQLAlchemy keeps the driver's own error in ``orig``."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [failure]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "orig", None)]


def _reason(failure: BaseException, status: int | None) -> str:
    """Why, without parameters, SQL or credentials: the driver's own words, or the kind of failure."""
    for cause in _chain(failure):
        if isinstance(cause, sqlite3.Error):
            return f"sqlite: {cause}"
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, ConnectionError):
            return type(cause).__name__
    if status is not None and status != 500:
        return f"HTTP {status}"
    first = (str(failure).splitlines() or [""])[0]
    return f"{type(failure).__name__}: {redacted(first)[:160]}"
