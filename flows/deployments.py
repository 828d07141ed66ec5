"""Deployments as Prefect's server keeps them: made, told and removed, with when they fall due."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.automations import CAUSES
from flows.places import marked, told
from flows.services.prefect_server import WORK_POOL
from flows.services.record import running
from flows.settings import Settings
from medai.errors import ConfigurationError, ServiceFailed
from medai.records import Frozen

log = logging.getLogger("medai.deploy")

FIELDS = 5
"""Of a cron expression: minute, hour, day, month, weekday."""

START_LOOKS = 60
"""How often, a second apart, a removal looks whether the runs that are about to begin have begun."""

LIMITS_A_PAGE = 200
"""The most that Prefect's server lists at once."""

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient


class Deployed(Frozen):
    """A schedule that the server keeps.

    Attributes:
        id: of the deployment.
        name: of the deployment; the problem's name is in it.
        next: the first time it falls due, ISO 8601 with its offset from UTC.
        replaced: of the schedule that stood under this name: ``cron``, ``on`` and the parameters; None where there was
            none.
    """

    id: str
    name: str
    next: str
    replaced: dict[str, Any] | None = None


def applied(
    client: SyncPrefectClient,
    flow: Flow[..., Any],
    settings: Settings,
    name: str,
    cron: str,
    parameters: dict[str, Any],
    timezone: str,
    *,
    triggers: Sequence[Any] = (),
    waits: bool = False,
) -> Deployed:
    """Make or replace a deployment with its automation.

    Args:
        triggers: of the automation.
        waits: a run that is due during another waits for its turn; it is dropped otherwise.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    try:
        client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # somebody else deploys, too
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
    try:
        before = client.read_deployment_by_name(f"{flow.name}/{name}")
    except ObjectNotFound:
        replaced = None
    else:
        crons = [str(getattr(each.schedule, "cron", "")) for each in before.schedules]
        events = (standing(client, f"{flow.name}/{name}") or {"on": []})["on"]
        replaced = {"cron": ", ".join(crons), "on": events, **told(settings, before.parameters, lost=True)}
    strategy = ConcurrencyLimitStrategy.ENQUEUE if waits else ConcurrencyLimitStrategy.CANCEL_NEW
    deployment = RunnerDeployment.from_flow(
        flow,
        name=name,
        schedule=Cron(cron, timezone=timezone),
        parameters=marked(settings, parameters),
        triggers=list(triggers),
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy),
        work_pool_name=WORK_POOL,
        job_variables={"env": _where(settings)},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    try:
        identity = str(deployment.apply())
    except DeploymentApplyError as failure:
        raise failure.__cause__ or failure from None  # Prefect calls whatever went wrong by this name
    _watch_heartbeats(settings, str(client.api_url))
    return Deployed(id=identity, name=name, next=falls_due(name, cron, timezone).isoformat(), replaced=replaced)


def standing(client: SyncPrefectClient, path: str) -> dict[str, Any] | None:
    """What is told of a deployment; None where there is none."""
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = client.read_deployment_by_name(path)
    except ObjectNotFound:
        return None
    automations = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    schedules = [each.schedule for each in deployment.schedules]
    events = {event for automation in automations for event in getattr(automation.trigger, "expect", ())}
    return {
        "name": deployment.name,
        "id": str(deployment.id),
        "cron": ", ".join(str(getattr(each, "cron", "")) for each in schedules),
        "timezone": next((str(getattr(each, "timezone", None) or "UTC") for each in schedules), "UTC"),
        "on": [cause for cause, event in CAUSES.items() if event in events],
        "paused": deployment.paused,
    }


def removed(client: SyncPrefectClient, path: str) -> dict[str, Any] | None:
    """Take a deployment and its automations from the server; what they were, None where there was none.

    A run at work goes on to its end. Prefect deletes a deployment's concurrency limit with it, and then refuses every
    state that ends such a run, since there is no limit whose slot it could give back: so the limit is taken off first,
    and deleted when nobody holds a slot of it, now or at a later removal.
    """
    from prefect.exceptions import ObjectNotFound

    facts = standing(client, path)
    if facts is not None:
        client.delete_resource_owned_automations(f"prefect.deployment.{facts['id']}")
        with suppress(ObjectNotFound):  # somebody else removes it, too
            client.pause_deployment(facts["id"])
            _let_start(client, UUID(facts["id"]))
            _unlimited(client, facts["id"])
            client.delete_deployment(facts["id"])
    _sweep_limits(client)
    return facts


def _let_start(client: SyncPrefectClient, identity: UUID) -> None:
    """A process that begins a run asks for its deployment until it runs: a minute at most is given to it."""
    from prefect.client.schemas.filters import FlowRunFilter

    starting = FlowRunFilter.model_validate(
        {"deployment_id": {"any_": [identity]}, "state": {"type": {"any_": ["PENDING"]}}}
    )
    for look in range(START_LOOKS):
        if not client.read_flow_runs(flow_run_filter=starting, limit=1):
            return
        if not look:
            log.info("a run of it is about to begin, which is waited for, a minute at most")
        time.sleep(1)


def _unlimited(client: SyncPrefectClient, identity: str) -> None:
    """Take the concurrency limit off a deployment; the limit itself stays."""
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        # The client's own model of an update does not know the field that the server has.
        client.request(
            "PATCH",
            "/deployments/{id}",
            path_params={"id": identity},
            json={"global_concurrency_limit_id": None},
        )
    except PrefectHTTPStatusError as error:
        if error.response.status_code == HTTPStatus.NOT_FOUND:
            raise ObjectNotFound(http_exc=error) from error
        raise


def _sweep_limits(client: SyncPrefectClient) -> None:
    """Delete the limits of deployments that are gone, once no run holds a slot of them."""
    from prefect.exceptions import ObjectNotFound

    seen = 0
    while limits := client.read_global_concurrency_limits(limit=LIMITS_A_PAGE, offset=seen):
        seen += len(limits)
        for limit in limits:
            kind, _, identity = limit.name.partition(":")
            if kind != "deployment" or limit.active_slots > 0:
                continue
            try:
                client.read_deployment(UUID(identity))
            except ObjectNotFound:
                with suppress(ObjectNotFound):
                    client.delete_global_concurrency_limit_by_name(limit.name)
                    seen -= 1
            except ValueError:
                continue  # somebody's own limit that is called so


def falls_due(name: str, cron: str, timezone: str = "UTC", start: datetime | None = None) -> datetime:
    """The next time of a schedule, in its timezone.

    In the night in which the clocks skip that time it is due an hour earlier, and when it comes twice the first counts:
    once a night in both.

    Args:
        name: whose schedule it is, for messages.
        start: after which time; now when left out.

    Raises:
        ConfigurationError: the cron expression or the timezone is none, or no day ever meets it.
    """
    from prefect.server.schemas.schedules import CronSchedule

    try:
        if len(cron.split()) != FIELDS:
            raise ValueError
        return asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(n=1, start=start))[0]
    except (ValueError, LookupError):
        raise ConfigurationError(
            f"the schedule of {name} cannot be used",
            expected="a cron expression of five fields, such as '0 3 * * 1', and a timezone such as UTC",
            received=f"{cron!r} in {timezone!r}",
            action="correct the cron expression or the timezone",
        ) from None


@contextmanager
def server_of(settings: Settings) -> Iterator[SyncPrefectClient]:
    """Prefect's server, for as long as its answers are needed."""
    # Prefect reads its environment when it is imported.
    os.environ.update(settings.merged(os.environ))
    found = None if settings.prefect_api_url else running(settings)
    api_url = settings.prefect_api_url or (found and found.prefect_api_url)
    if not api_url:
        raise ServiceFailed(
            "there is no Prefect server to keep the schedule",
            expected="medai up running on this home, or an address in MEDAI_PREFECT_API_URL",
            received="neither",
            action="start medai up, then deploy again",
        )
    from json import JSONDecodeError

    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from pydantic import ValidationError

    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectHTTPStatusError, JSONDecodeError, ValidationError) as error:
        raise ServiceFailed(
            "Prefect's server did not take the schedule",
            expected=f"an answer from {api_url}",
            received=type(error).__name__,
            action="see that the server runs, is of our version and takes our credentials, then deploy again",
        ) from None


def _where(settings: Settings) -> dict[str, str]:
    """What a scheduled run must be told wherever its worker runs; nothing secret: the server keeps it in the open."""
    where = {"MEDAI_HOME": str(settings.home)}
    return where if settings.data is None else where | {"MEDAI_DATA": str(settings.data)}


def _watch_heartbeats(settings: Settings, api_url: str) -> None:
    """A run of this schedule that falls silent is called crashed, on a hospital's own server, too."""
    from flows.lost import watch_heartbeats

    own = settings.prefect_api_url is None
    auth = None if own or settings.prefect_auth is None else settings.prefect_auth.get_secret_value()
    watch_heartbeats(api_url.rstrip("/"), auth)
