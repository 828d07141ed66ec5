"""Retraining on a schedule: a deployment on Prefect's server, which the worker of ``medai up`` runs.

The flow is named by its module, so nothing is pulled and the worker's directory does not matter. One run a deployment
at a time: a run that falls due meanwhile, or several that fell due during an outage, are cancelled but for one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.services import WORK_POOL, running
from flows.settings import Settings
from medai.errors import ConfigurationError, ServiceFailed

if TYPE_CHECKING:
    from prefect import Flow


def deploy(
    settings: Settings,
    problem: str,
    *,
    cron: str,
    data: str | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    timezone: str = "UTC",
) -> UUID:
    """Retrain a problem on a schedule; the same problem again replaces its schedule.

    Args:
        settings: of the home that the runs work in.
        problem: a catalogue name, or a path to a YAML file.
        cron: five fields, minute first.
        data: folder or file of the data.
        seed: of the fit.
        overrides: ``section.key=value``.
        timezone: in which the cron fields are meant.

    Returns:
        The deployment's id.

    Raises:
        ConfigurationError: the cron expression or the timezone is none.
        ServiceFailed: no Prefect server answers.
    """
    from flows.train import train

    here = Path(problem).expanduser()
    parameters = {
        "problem": str(here.absolute()) if here.suffix in (".yaml", ".yml") else problem,
        "data": None if data is None else str(Path(data).expanduser().absolute()),
        "seed": seed,
        "overrides": list(overrides),
    }
    return schedule(train, settings, f"retrain-{here.stem}", cron=cron, parameters=parameters, timezone=timezone)


def schedule(
    flow: Flow[..., Any],
    settings: Settings,
    name: str,
    *,
    cron: str,
    parameters: dict[str, Any],
    timezone: str = "UTC",
) -> UUID:
    """Apply a deployment of any flow of an installed module; see ``deploy``."""
    found = None if settings.prefect_api_url else running(settings)
    api_url = settings.prefect_api_url or (found and found.prefect_api_url)
    if not api_url:
        raise ServiceFailed(
            "there is no Prefect server to keep the schedule",
            expected="medai up running on this home, or an address in MEDAI_PREFECT_API_URL",
            received="neither",
            action="start medai up, then deploy again",
        )
    # Prefect reads its environment when it is imported.
    os.environ.update(settings.merged(os.environ))
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import RunnerDeployment
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.schedules import Cron
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.types.entrypoint import EntrypointType

    try:
        CronSchedule(cron=cron, timezone=timezone)  # judges both
    except ValueError:
        raise ConfigurationError(
            f"the schedule of {name} cannot be used",
            expected="a cron expression of five fields, such as '0 3 * * 1', and a timezone such as UTC",
            received=f"{cron!r} in {timezone!r}",
            action="correct the cron expression or the timezone",
        ) from None
    try:
        with temporary_settings({PREFECT_API_URL: api_url}):
            with get_client(sync_client=True) as client:
                try:
                    client.read_work_pool(WORK_POOL)
                except ObjectNotFound:
                    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
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
            return UUID(str(deployment.apply()))
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
