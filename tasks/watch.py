"""The guard over what Prefect and the logs are told: from the moment the data are read, it knows who is in them.

One run at a time is watched in a process; the next one's data take their place. A line of a log that names somebody is
withheld, from whatever library it comes and to whatever handler it goes; an artifact that does so is refused.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import httpx
from prefect.artifacts import create_table_artifact

from medai.disclosure import Guard
from medai.errors import MedaiError
from medai.records import Snapshot
from medai.sources.pictures.workers import DecoderDefect
from medai.workspace import Workspace

log = logging.getLogger("medai.run")

SERVER_ERRORS = 500
"""HTTP statuses from here on are the server's failures; those below would be ours."""
WITHHELD = "(a line that named a patient was withheld)"

_guards: list[Guard] = []
_plain = logging.getLogRecordFactory()


def watch(workspace: Workspace, snapshot: Snapshot) -> None:
    """Know from now on who is in these data."""
    _guards[:] = [Guard.of(workspace, snapshot)]
    logging.setLogRecordFactory(_guarded)


def show_table(rows: list[dict[str, Any]], key: str, description: str | None = None) -> None:
    """Make a table artifact on Prefect's page.

    Raises:
        MedaiError: it would name a patient.
    """
    for guard in _guards:
        guard.refuse(f"Prefect's artifact {key}", {"rows": rows, "description": description or ""})
    with dispensable():
        create_table_artifact(rows, key=key, description=description)


@contextmanager
def dispensable() -> Iterator[None]:
    """Around what Prefect's page shows and no work needs: where its server does not answer, the work goes on."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as failure:
        answer = getattr(failure, "response", None)
        unreachable = isinstance(failure, httpx.HTTPError) or str(failure).startswith("Failed to reach API")
        if not unreachable or (answer is not None and answer.status_code < SERVER_ERRORS):
            raise
        log.warning("Prefect's server does not take what its page would show (%s)", type(failure).__name__)


@contextmanager
def nameless(*, strangers: bool = False) -> Iterator[None]:
    """A failure whose message names somebody loses the message before Prefect keeps it.

    Args:
        strangers: whether data are read of whom no guard knows yet who is in them: then any message may name somebody,
            a failure of the machine keeps its number alone, and a defect its type and place.

    Raises:
        MedaiError: in place of such a failure.
        OSError: without the file's name.
    """
    try:
        yield
    except (MedaiError, DecoderDefect):
        raise
    except Exception as failure:
        if strangers and isinstance(failure, OSError) and failure.errno is not None:
            raise OSError(failure.errno, os.strerror(failure.errno)) from None
        if strangers:
            *_, last = traceback.extract_tb(failure.__traceback__)
            raise MedaiError(
                f"a defect of ours ({type(failure).__name__}) while the data were read",
                expected="a picture, a table or a refusal",
                received=f"a failure at {PurePath(last.filename).name}:{last.lineno}, in {last.name}",
                action="report it as a defect of medai; the message was withheld, as it may quote the data",
            ) from None
        if any(guard.finds(f"{failure!r} {failure}") for guard in _guards):
            raise MedaiError(
                f"a defect of ours ({type(failure).__name__}), whose message names a patient",
                expected="no identifier in a message",
                received="one of the snapshot's identifiers",
                action="report it as a defect of medai; the message was withheld",
            ) from None
        raise


def _guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _plain(*args, **kwargs)
    failure = record.exc_info[1] if record.exc_info else None
    try:
        said = f"{record.getMessage()} {failure or ''}"
    except Exception:  # noqa: BLE001 - a message that does not fit its arguments is its handler's to report
        said = f"{record.msg} {record.args}"
    if any(guard.finds(said) for guard in _guards):
        record.msg, record.args, record.exc_info, record.exc_text = WITHHELD, (), None, None
    return record
