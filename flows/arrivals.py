"""Whether data arrived: a look at names, sizes and times where a problem's data lie, never at what is in the files.

A change is announced once, as ``medai.data.arrived``, and only when it is at rest: two looks some time apart that see
the same. Nothing of a name leaves this module but through a hash over all of them; events and logs hold counts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.announcing import announce
from flows.places import flow
from flows.reading import data_path
from flows.services.record import running
from flows.settings import Settings
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.paths import why
from medai.problem import Problem, load_problem
from medai.records import Frozen
from medai.workspace import Workspace

log = logging.getLogger("medai.arrivals")

REST_SECONDS = 60.0
"""Between two looks that must agree: longer than a copy over a network stalls, shorter than anybody waits for."""

UNANSWERED = timedelta(hours=6)
"""After which an arrival that no retraining followed is announced again: the event may have been lost."""

NOTED, BEGUN = "arrivals", "retraining"
"""Receipts: what was seen of a problem's data; when its last retraining began."""

STATES = {"arrived": "Arrived", "arriving": "StillArriving", "unchanged": "Unchanged"}


class Look(Frozen):
    """What lies at a location.

    Attributes:
        mark: SHA-256 over each file's relative name, size and modification time, in the order of names.
        files: how many.
        bytes: of all of them.
    """

    mark: str
    files: int
    bytes: int


@flow(name="watch", flow_run_name="watch-{problem}")
def watch(
    problem: str, data: str | None = None, overrides: list[str] | None = None, rest: float = REST_SECONDS
) -> State[dict[str, Any]]:
    """Look once for data that arrived; see ``watch_once``.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        data: folder or file of the data; the Problem's location when left out.
        overrides: ``section.key=value``.
        rest: seconds between two looks that must agree.
    """
    settings = Settings.load()
    settings.apply()
    seen = watch_once(settings, problem, data, overrides, rest)
    return Completed(name=STATES[seen["seen"]], message=f"{seen['files']} files", data=seen)


def watch_once(
    settings: Settings,
    problem: str,
    data: str | None = None,
    overrides: list[str] | None = None,
    rest: float = REST_SECONDS,
) -> dict[str, Any]:
    """Announce data that arrived since the last announcement and are at rest; waits ``rest`` seconds to know that.

    Returns:
        ``problem``; ``seen``: ``unchanged``, ``arriving`` (the next look decides) or ``arrived`` (announced now);
        ``files`` and ``bytes`` of them, ``files_before`` and ``bytes_before`` of those announced before.

    Raises:
        ConfigurationError: nobody said where the data lie, or they are generated.
        DataRefused: nothing lies there, or it cannot be listed.
        ServiceFailed: there is no Prefect server to tell, or it does not take the event.
    """
    if settings.prefect_api_url is None and running(settings) is None:
        raise ServiceFailed(
            "there is no Prefect server to be told of arrivals",
            expected="medai up running on this home, or an address in MEDAI_PREFECT_API_URL",
            received="neither",
            action="start medai up, then watch again",
        )
    question = load_problem(problem, overrides or ())
    path = location(question, data, settings, f"medai watch {problem}")
    workspace = Workspace(settings.home, settings.lock_seconds)
    with workspace.lock(f"watch-{question.name}"):
        return _decide(workspace, question.name, path, rest)


def location(question: Problem, data: str | None, settings: Settings, command: str) -> Path:
    """Where a problem's data lie, as a run would find them.

    Raises:
        ConfigurationError: nobody said, or the Problem generates its data.
    """
    if data is None and question.data is not None:
        raise ConfigurationError(
            f"the data of {question.name} cannot arrive",
            expected="a place where data arrive",
            received="a problem that generates its data",
            action=f"{command} --data PATH, or leave the watching out",
        )
    return data_path(question, data, settings, command)


def look(path: Path, leave_out: Path | None = None) -> Look:
    """Look at a file, or at all files below a folder; links are followed, each folder once.

    Args:
        path: the location.
        leave_out: a folder that is none of the data: the state folder, where it lies among them.

    Raises:
        DataRefused: nothing lies there, or a folder cannot be listed.
    """
    digest, count, size = hashlib.sha256(), 0, 0
    for name, status in _files(path, leave_out):
        digest.update(b"%s\0%d\0%d\n" % (os.fsencode(name), status.st_size, status.st_mtime_ns))
        count, size = count + 1, size + status.st_size
    if count == 0:
        raise DataRefused(
            "there are no data where they should lie",
            expected="a file, or a folder with files",
            received="nothing" if not path.exists() else "an empty folder",
            action="see whether the disk is mounted and the data were moved; say where they are with --data",
        )
    return Look(mark=digest.hexdigest(), files=count, bytes=size)


def _files(path: Path, leave_out: Path | None) -> list[tuple[str, os.stat_result]]:
    found: list[tuple[str, os.stat_result]] = []
    entered: set[tuple[int, int]] = set()
    if leave_out is not None and leave_out.exists():  # by whatever name it is met
        entered.add((leave_out.stat().st_dev, leave_out.stat().st_ino))
    below = [path]
    while below:
        place = below.pop()
        try:
            status = place.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((os.path.relpath(place, path), status))
            elif stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in entered:
                entered.add((status.st_dev, status.st_ino))
                below += place.iterdir()
        except FileNotFoundError:
            continue  # it went meanwhile, or a link leads nowhere: the next look differs, or sees the same
        except OSError as failure:
            raise DataRefused(
                "the place of the data cannot be looked at",
                expected="folders that may be listed",
                received=why(failure),
                action="mend its permissions, or look at the disk",
            ) from None
    return sorted(found, key=lambda one: one[0])


def _decide(workspace: Workspace, name: str, path: Path, rest: float) -> dict[str, Any]:
    noted = workspace.receipt(NOTED, name)
    seen = look(path, workspace.root)
    before = noted.get("announced", {})
    facts = {
        "files": seen.files,
        "bytes": seen.bytes,
        "files_before": before.get("files", 0),
        "bytes_before": before.get("bytes", 0),
    }
    if seen.mark == before.get("mark") and not _unanswered(workspace, name, before):
        return {"problem": name, "seen": "unchanged", **facts}
    if not _rested(noted.get("seen", {}), seen, rest):
        _note(workspace, name, noted | {"seen": _dated(seen)})
        time.sleep(rest)
        if look(path, workspace.root) != seen:
            log.info("%s: data are still arriving", name)
            return {"problem": name, "seen": "arriving", **facts}
    log.info("%s: data arrived, %d files", name, seen.files)
    if not announce("medai.data.arrived", name, facts):
        raise ServiceFailed(
            "Prefect's server was not told that data arrived",
            expected="a server that takes the event",
            received="none; the log says why",
            action="see that the server runs; the next look announces them",
        )
    _note(workspace, name, {"seen": _dated(seen), "announced": _dated(seen)})
    return {"problem": name, "seen": "arrived", **facts}


def _rested(earlier: dict[str, Any], seen: Look, rest: float) -> bool:
    """Whether the look before this one saw the same, long enough ago."""
    if earlier.get("mark") != seen.mark:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(earlier["at"]) >= timedelta(seconds=rest)


def _unanswered(workspace: Workspace, name: str, announced: dict[str, Any]) -> bool:
    told = datetime.fromisoformat(announced["at"])
    began = workspace.receipt(BEGUN, name).get("began")
    followed = began is not None and datetime.fromisoformat(began) >= told
    return not followed and datetime.now(UTC) - told > UNANSWERED


def _note(workspace: Workspace, name: str, noted: dict[str, Any]) -> None:
    workspace.keep_receipt(NOTED, name, noted)


def _dated(seen: Look) -> dict[str, Any]:
    return seen.model_dump() | {"at": datetime.now(UTC).isoformat()}
