"""What MLflow was not told, told later: by ``medai sync``, by the next run, and by ``medai up`` from time to time."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flows.delivery import deliver
from flows.governance import MLFLOW, ledger_of, project
from flows.settings import Settings
from medai.errors import ChampionMoved, MedaiError, ServiceDown
from medai.ledger import Ledger
from medai.paths import why
from medai.records import Decision
from medai.spool import Spool
from medai.tracking import Tracking
from medai.workspace import make_folder

if TYPE_CHECKING:
    from flows.services.process import Child

log = logging.getLogger("medai.sync")

LOOK_SECONDS = 60.0
"""How often ``medai up`` looks for what waits."""


def catch_up(ledger: Ledger, tracking: Tracking) -> dict[str, Any]:
    """Deliver what waits, in the order in which it was decided, and let MLflow's aliases follow the ledger.

    Nothing is asked of MLflow where nothing waits.

    Returns:
        ``delivered``: of each decision ``problem``, ``version``, ``verdict`` and ``held``, false where it would have
        promoted but no longer held; ``followed``: problems whose alias was moved; ``failed``: errors of what could not
        be delivered, though MLflow answers; ``waiting``: ``mlflow`` where it does not, with how much waits still in
        ``left``.
    """
    spool = Spool(ledger.workspace)
    outcome: dict[str, Any] = {"delivered": [], "followed": [], "failed": [], "waiting": [], "left": 0}
    try:
        for number in spool.numbers():
            with _noted(outcome):
                _deliver_one(ledger, tracking, spool, number, outcome)
        for problem in behind(ledger):
            with _noted(outcome), ledger.acting(problem):
                outcome["followed"].append(project(ledger, tracking, problem))
    except ServiceDown as down:
        outcome["waiting"] = [MLFLOW]
        log.warning("%s (%s)", down.wrong, down.received)
    outcome["left"] = len(spool.numbers()) + len(behind(ledger))
    return outcome


@contextmanager
def _noted(outcome: dict[str, Any]) -> Iterator[None]:
    """What cannot be delivered, though MLflow answers, keeps nothing else waiting."""
    try:
        yield
    except ServiceDown:
        raise
    except MedaiError as failure:
        log.warning("not delivered: %s", failure.wrong)
        outcome["failed"].append(failure.as_dict())


def _deliver_one(ledger: Ledger, tracking: Tracking, spool: Spool, number: int, outcome: dict[str, Any]) -> None:
    delivery = spool.read(number)
    if delivery is None:
        return
    with ledger.acting(delivery.problem):
        if spool.read(number) is None:  # somebody else was faster
            return
        held, version = True, None
        try:
            version = deliver(ledger, tracking, number, delivery).version
        except ChampionMoved as moved:
            held = False
            log.warning("%s: the decision of line %d no longer holds: %s", delivery.problem, number, moved.received)
    decision = ledger.workspace.find("decide", delivery.decision, Decision)
    verdict = decision.verdict if decision else None
    outcome["delivered"].append(
        {"problem": delivery.problem, "line": number, "version": version, "verdict": verdict, "held": held}
    )
    if held:
        log.info("%s: version %s is registered: %s", delivery.problem, version, verdict)


def behind(ledger: Ledger) -> list[str]:
    """Problems whose alias in MLflow does not show the ledger's champion yet."""
    last: dict[str, str] = {}
    for entry in ledger.entries():
        if entry.kind in ("champion", "projected"):
            last[entry.problem] = entry.kind
    return [problem for problem, kind in last.items() if kind == "champion" and not ledger.projected(problem)]


def something_waits(ledger: Ledger) -> bool:
    """Whether there is anything to deliver."""
    return bool(Spool(ledger.workspace).numbers()) or bool(behind(ledger))


class Courier:
    """Looks from time to time for what waits, and delivers it in a process of its own: MLflow is no part of this one.

    Args:
        settings: of the home.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next = 0.0
        self._child: Child | None = None

    def look(self) -> None:
        """Start the process when something waits, and none is on its way; to be called often."""
        if self._child is not None and self._child.ended is None:
            return
        self.stop()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            if something_waits(ledger_of(self._settings)):
                self._start()
        except MedaiError as failure:
            log.warning("what waits cannot be delivered: %s", failure.wrong)
        except OSError as failure:  # a full disk, too many processes: the services go on
            log.warning("what waits cannot be delivered: %s", why(failure))

    def _start(self) -> None:
        from flows.services.process import Child

        environment = self._settings.merged(os.environ)
        record = self._settings.home / "logs" / "sync.log"
        make_folder(record.parent)
        self._child = Child("sync", "flows.sync", [], environment, record)

    def stop(self) -> None:
        """End the process, which may be killed at any point; may be called twice."""
        if self._child is not None:
            self._child.stop()
            self._child = None


if __name__ == "__main__":
    from flows.cli import app

    app(["sync"])
