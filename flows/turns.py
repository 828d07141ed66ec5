"""Whose turn it is: of several runs of one deployment that are due at once, one does the work of all.

Prefect runs one at a time and keeps the others waiting, so that an event during a run is not lost. A run that begins
then does the work of what is due: each of those would read the same data as this one reads now. So an outage over
several due times ends in one run, and five events during a run in one more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelled

log = logging.getLogger("medai.retrain")

SUPERSEDED = "Superseded"
FAILURES = (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound)
CAUSE = "cause"
"""The parameter that says why a run was started: it makes no other run of it."""

SCHEDULE = "schedule"
"""The cause of a run that names none."""


@contextmanager
def turn() -> Iterator[list[str]]:
    """Do the work of the runs of this run's deployment that are due by now and were asked for the same.

    They end when the work is done, or has failed as theirs would. Where this run is killed they go on waiting, and the
    first of them takes the work up: what started them is not lost.

    Yields:
        Why each of them was started. Empty where this run is of no deployment, or the server does not answer: they
        then find nothing new when their turn comes.
    """
    due = _due()
    try:
        yield [str(waiting.parameters.get(CAUSE, SCHEDULE)) for waiting in due]
    except Exception:
        _supersede(due)
        raise
    _supersede(due)


def _due() -> list[FlowRun]:
    number = flow_run.get_id()
    if number is None:
        return []
    try:
        with get_client(sync_client=True) as client:
            own = client.read_flow_run(UUID(number))
            if own.deployment_id is None:
                return []
            due = FlowRunFilter.model_validate(
                {
                    "deployment_id": {"any_": [own.deployment_id]},
                    "state": {"type": {"any_": [StateType.SCHEDULED]}},
                    "expected_start_time": {"before_": datetime.now(UTC)},
                }
            )
            found = client.read_flow_runs(flow_run_filter=due)
    except FAILURES as failure:
        log.warning("runs that wait were not looked for (%s)", type(failure).__name__)
        return []
    return [
        waiting for waiting in found if waiting.id != own.id and _asked(waiting.parameters) == _asked(own.parameters)
    ]


def _supersede(due: list[FlowRun]) -> None:
    if not due:
        return
    done: State[Any] = Cancelled(
        name=SUPERSEDED, message=f"done by {flow_run.get_name()}, which began after this was due"
    )
    try:
        with get_client(sync_client=True) as client:
            for waiting in due:
                client.set_flow_run_state(waiting.id, done)
    except FAILURES as failure:
        log.warning("runs that wait were not all told that they are done (%s)", type(failure).__name__)
    else:
        log.info("%d waiting runs are done with this one", len(due))


def _asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != CAUSE and value not in (None, [])}
