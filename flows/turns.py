"""Whose turn it is: of several runs of one deployment that are due at once, one does the work of all.

Prefect runs one at a time and keeps the others waiting, so that an event during a run is not lost. A run that begins
then takes over what is due: each of those would read the same data as this one reads now. So an outage over several
due times ends in one run, and five events during a run in one more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelled

log = logging.getLogger("medai.retrain")

SUPERSEDED = "Superseded"
CAUSE = "cause"
"""The parameter that says why a run was started: it makes no other run of it."""

SCHEDULE = "schedule"
"""The cause of a run that names none."""


def take_over() -> list[str]:
    """End the runs of this run's deployment that are due by now and were asked for the same, for whatever cause.

    Returns:
        Why each of them was started. Empty where this run is of no deployment, or the server does not answer: they
        then find nothing new when their turn comes.
    """
    number = flow_run.get_id()
    causes: list[str] = []
    if number is None:
        return causes
    try:
        with get_client(sync_client=True) as client:
            own = client.read_flow_run(UUID(number))
            if own.deployment_id is None:
                return causes
            due = FlowRunFilter.model_validate(
                {
                    "deployment_id": {"any_": [own.deployment_id]},
                    "state": {"type": {"any_": [StateType.SCHEDULED]}},
                    "expected_start_time": {"before_": datetime.now(UTC)},
                }
            )
            for waiting in client.read_flow_runs(flow_run_filter=due):
                if waiting.id != own.id and _asked(waiting.parameters) == _asked(own.parameters):
                    client.set_flow_run_state(waiting.id, _superseded(own))
                    causes.append(str(waiting.parameters.get(CAUSE, SCHEDULE)))
    except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as failure:
        log.warning("runs that wait were not all looked for (%s)", type(failure).__name__)
    if causes:
        log.info("%d waiting runs are done with this one", len(causes))
    return causes


def _asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != CAUSE and value not in (None, [])}


def _superseded(own: FlowRun) -> Any:
    return Cancelled(name=SUPERSEDED, message=f"done by {own.name}, which began after this was due")
