"""Retraining on a schedule: a deployment on Prefect's server, which the worker of ``medai up`` runs.

The flow is named by its module, so nothing is pulled and the worker's directory does not matter. One run a deployment
at a time: a run that falls due meanwhile, or several that fell due during an outage, are cancelled but for one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.services import WORK_POOL, running
from flows.settings import Settings
from medai.errors import ConfigurationError, ServiceFailed
from medai.paths import expanded
from medai.problem import load_problem
from medai.records import Frozen

FIELDS = 5
"""Of a cron expression: minute, hour, day, month, weekday."""

if TYPE_CHECKING:
    from prefect import Flow


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
) -> Deployed:
    """Retrain a problem on a schedule; the same problem again replaces its schedule.

    Args:
        settings: of the home that the runs work in.
        problem: a catalogue name, or a path to a YAML file.
        cron: five fields, minute first.
        data: folder or file of the data; the Problem's generator or location when left out.
        seed: of the fit.
        overrides: ``section.key=value``.
        timezone: in which the cron fields are meant.

    Raises:
        ConfigurationError: the cron expression or the timezone is none, or nobody said where the data lie.
        ServiceFailed: no Prefect server answers.
    """
    question = load_problem(problem, overrides)
    falls_due(question.name, cron, timezone)
    from flows.train import data_path, train

    if data is not None or question.data is None:
        data_path(question, data, settings, f"medai deploy {problem}")
    here = expanded(problem)
    parameters = {
        "problem": str(here.absolute()) if here.suffix in (".yaml", ".yml") else problem,
        "data": None if data is None else str(expanded(data).absolute()),
        "seed": seed,
        "overrides": list(overrides),
    }
    return schedule(train, settings, f"retrain-{question.name}", cron=cron, parameters=parameters, timezone=timezone)


def falls_due(name: str, cron: str, timezone: str = "UTC") -> datetime:
    """The next time of a schedule.

    Raises:
        ConfigurationError: the cron expression or the timezone is none, or no day ever meets it.
    """
    from prefect.server.schemas.schedules import CronSchedule

    try:
        if len(cron.split()) != FIELDS:
            raise ValueError
        return asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(n=1))[0]
    except (ValueError, LookupError):
        raise ConfigurationError(
            f"the schedule of {name} cannot be used",
            expected="a cron expression of five fields, such as '0 3 * * 1', and a timezone such as UTC",
            received=f"{cron!r} in {timezone!r}",
            action="correct the cron expression or the timezone",
        ) from None


def schedule(
    flow: Flow[..., Any],
    settings: Settings,
    name: str,
    *,
    cron: str,
    parameters: dict[str, Any],
    timezone: str = "UTC",
) -> Deployed:
    """Apply a deployment of any flow of an installed module; see ``deploy``."""
    # Prefect reads its environment when it is imported.
    os.environ.update(settings.merged(os.environ))
    due = falls_due(name, cron, timezone)
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
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.schedules import Cron
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.types.entrypoint import EntrypointType

    replaced: dict[str, Any] | None = None
    try:
        with temporary_settings({PREFECT_API_URL: api_url}):
            with get_client(sync_client=True) as client:
                try:
                    client.read_work_pool(WORK_POOL)
                except ObjectNotFound:
                    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
                try:
                    before = client.read_deployment_by_name(f"{flow.name}/{name}")
                except ObjectNotFound:
                    pass
                else:
                    crons = [str(getattr(each.schedule, "cron", "")) for each in before.schedules]
                    replaced = {"cron": ", ".join(crons), **before.parameters}
            deployment = RunnerDeployment.from_flow(
                flow,
                name=name,
                schedule=Cron(cron, timezone=timezone),
                parameters=parameters,
                concurrency_limit=ConcurrencyLimitConfig(
                    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
                ),
                work_pool_name=WORK_POOL,
                job_variables={"env": _where(settings)},
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            return Deployed(id=str(deployment.apply()), name=name, next=due.isoformat(), replaced=replaced)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ServiceFailed(
            "Prefect's server did not take the schedule",
            expected=f"an answer from {api_url}",
            received=type(error).__name__,
            action="see that the server runs and takes our credentials, then deploy again",
        ) from None


def _where(settings: Settings) -> dict[str, str]:
    """What a scheduled run must be told wherever its worker runs; nothing secret: the server keeps it in the open."""
    where = {"MEDAI_HOME": str(settings.home)}
    return where if settings.data is None else where | {"MEDAI_DATA": str(settings.data)}
