"""Retraining by itself: deployments on Prefect's server, which the worker of ``medai up`` runs.

A problem has up to two: ``retrain-NAME`` on a schedule and, by an automation that belongs to it, on events of the
problem; ``watch-NAME``, which looks whether data arrived. Flows are named by their modules, so nothing is pulled and
the worker's directory does not matter. One run a deployment at a time: retrainings that fall due meanwhile wait, and
the next does what all of them were to do (``flows.turns``); looks that fall due meanwhile are dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.automations import CAUSES, events_of, tell_of_crashes, triggers_of
from flows.services import WORK_POOL, running
from flows.settings import Settings
from medai.errors import ConfigurationError, ServiceFailed
from medai.paths import expanded
from medai.problem import Problem, load_problem
from medai.records import Frozen

FIELDS = 5
"""Of a cron expression: minute, hour, day, month, weekday."""

FORMER = "train/retrain-{name}"
"""What a schedule was called before retraining had a flow of its own."""

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient


class Deployed(Frozen):
    """A schedule that the server keeps.

    Attributes:
        id: of the deployment.
        name: of the deployment; the problem's name is in it.
        next: the first time it falls due, ISO 8601 with its offset from UTC.
        replaced: of the schedule that stood under this name: ``cron`` and the parameters; None where none stood.
    """

    id: str
    name: str
    next: str
    replaced: dict[str, Any] | None = None


def deploy(
    settings: Settings,
    problem: str,
    *,
    cron: str,
    data: str | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    timezone: str = "UTC",
    on: Sequence[str] = (),
    watch: str | None = None,
    notify: str | None = None,
) -> dict[str, Any]:
    """Retrain a problem on a schedule and on events; the same problem again replaces what stood.

    Args:
        settings: of the home that the runs work in.
        problem: a catalogue name, or a path to a YAML file.
        cron: five fields, minute first.
        data: folder or file of the data; the Problem's generator or location when left out.
        seed: of the fit.
        overrides: ``section.key=value``.
        timezone: in which the cron fields are meant.
        on: events that start a retraining, too: ``drift``, ``data``, ``labels``.
        watch: when to look whether data arrived, five fields; nobody looks when left out.
        notify: Prefect's notification blocks that are told, with commas between them; MEDAI_NOTIFY of the worker when
            left out.

    Returns:
        What ``medai deploy --json`` prints.

    Raises:
        ConfigurationError: a cron expression, the timezone or an event is none, a block is not on the server, or nobody
            said where the data lie.
        ServiceFailed: no Prefect server answers.
    """
    question = load_problem(problem, overrides)
    falls_due(question.name, cron, timezone)
    if watch is not None:
        falls_due(question.name, watch, timezone)
    events = events_of(on)
    _refuse_without_data(settings, question, problem, data, watched=watch is not None)
    here = expanded(problem)
    given = {
        "problem": str(here.absolute()) if here.suffix in (".yaml", ".yml") else problem,
        "data": None if data is None else str(expanded(data).absolute()),
        "overrides": list(overrides),
    }
    name, looks = f"retrain-{question.name}", f"watch-{question.name}"
    with _server(settings) as client:
        from flows.arrivals import watch as look
        from flows.notify import blocks_of
        from flows.retrain import retrain

        told = None if notify is None else blocks_of(notify)
        names = blocks_of(settings.notify) if told is None else told
        _refuse_unknown_blocks(names)
        learning = given | {"seed": seed, "notify": None if told is None else ",".join(told)}
        triggers = triggers_of(question.name, events)
        made = _applied(client, retrain, settings, name, cron, learning, timezone, triggers=triggers, waits=True)
        tell_of_crashes(client, made.id, made.name, names)
        _removed(client, FORMER.format(name=question.name))
        looked = None
        if watch is not None:
            looked = _applied(client, look, settings, looks, watch, given, timezone)
        else:
            _removed(client, f"watch/{looks}")
    return {
        "problem": question.name,
        "deployment": made.id,
        "name": made.name,
        "cron": cron,
        "timezone": timezone,
        "data": data,
        "on": list(dict.fromkeys(on)),
        "notify": None if told is None else list(told),
        "next": made.next,
        "replaced": made.replaced,
        "watch": None if looked is None else looked.model_dump(exclude={"replaced"}) | {"cron": watch},
    }


def schedule(
    flow: Flow[..., Any],
    settings: Settings,
    name: str,
    *,
    cron: str,
    parameters: dict[str, Any],
    timezone: str = "UTC",
    waits: bool = False,
) -> Deployed:
    """Apply a deployment of any flow of an installed module.

    Args:
        waits: a run that is due during another waits for its turn; it is dropped otherwise.

    Raises:
        ConfigurationError, ServiceFailed: as ``deploy``.
    """
    falls_due(name, cron, timezone)
    with _server(settings) as client:
        return _applied(client, flow, settings, name, cron, parameters, timezone, waits=waits)


def deployed(settings: Settings, name: str) -> list[dict[str, Any]]:
    """What the server keeps of a problem: ``name``, ``cron``, ``timezone``, ``on`` and ``paused`` of each deployment.

    Raises:
        ServiceFailed: no Prefect server answers.
    """
    with _server(settings) as client:
        return [facts for path in _paths(name) if (facts := _standing(client, path)) is not None]


def remove(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Take a problem's deployments and their automations from the server; what they were, as ``deployed`` tells it.

    A run at work goes on to its end.

    Raises:
        ServiceFailed: no Prefect server answers.
    """
    with _server(settings) as client:
        return [facts for path in _paths(name) if (facts := _removed(client, path)) is not None]


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


def _refuse_without_data(
    settings: Settings, question: Problem, problem: str, data: str | None, *, watched: bool
) -> None:
    if watched:
        from flows.arrivals import location

        location(question, data, settings, f"medai deploy {problem}")
    elif data is not None or question.data is None:
        from flows.train import data_path

        data_path(question, data, settings, f"medai deploy {problem}")


def _refuse_unknown_blocks(names: Sequence[str]) -> None:
    from flows.notify import Mail, missing

    Mail.register_type_and_schema()  # so that one can be made on Prefect's page
    if unknown := missing(names):
        raise ConfigurationError(
            "somebody who is to be notified is not known to Prefect's server",
            expected="notification blocks that it keeps",
            received=", ".join(unknown),
            action="make the block on Prefect's page under Blocks, or correct its name",
        )


@contextmanager
def _server(settings: Settings) -> Iterator[SyncPrefectClient]:
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
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ServiceFailed(
            "Prefect's server did not take the schedule",
            expected=f"an answer from {api_url}",
            received=type(error).__name__,
            action="see that the server runs and takes our credentials, then deploy again",
        ) from None


def _applied(
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
    from prefect.deployments.runner import RunnerDeployment
    from prefect.exceptions import ObjectNotFound
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.places import marked, told

    try:
        client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
    try:
        before = client.read_deployment_by_name(f"{flow.name}/{name}")
    except ObjectNotFound:
        replaced = None
    else:
        crons = [str(getattr(each.schedule, "cron", "")) for each in before.schedules]
        replaced = {"cron": ", ".join(crons), **told(settings, before.parameters, lost=True)}
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
    identity = str(deployment.apply())
    _watch_heartbeats(settings, str(client.api_url))
    return Deployed(id=identity, name=name, next=falls_due(name, cron, timezone).isoformat(), replaced=replaced)


def _paths(name: str) -> tuple[str, ...]:
    return f"retrain/retrain-{name}", f"watch/watch-{name}", FORMER.format(name=name)


def _standing(client: SyncPrefectClient, path: str) -> dict[str, Any] | None:
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


def _removed(client: SyncPrefectClient, path: str) -> dict[str, Any] | None:
    facts = _standing(client, path)
    if facts is not None:
        client.delete_resource_owned_automations(f"prefect.deployment.{facts['id']}")
        client.delete_deployment(facts["id"])
    return facts


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
