"""What keeps running: ``up``, ``overview`` and ``pages``; and retraining by itself: ``deploy`` and ``watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Data, Json, Name, Overrides, Remembered, Seed, known, load, open_ledger
from flows.cli.frame import answer
from flows.cli.server import make_home
from flows.shown import operation as shown

if TYPE_CHECKING:
    from flows.settings import Settings

commands = typer.Typer()


@commands.command()
def up(
    worker: Annotated[bool, typer.Option(help="Also run the worker that carries out deployments.")] = True,
) -> None:
    """Serve the overview, Prefect's and MLflow's pages on loopback until stopped."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.services.record import Services
        from flows.services.up import up as serve

        def ready(services: Services) -> None:
            typer.echo(
                f"overview {services.pages_url}\nPrefect  {services.prefect_url}\nMLflow   {services.mlflow_url}"
            )
            typer.echo("Stop with Ctrl-C.")

        serve(settings, worker=worker, ready=ready)
        return {}

    answer(act, as_json=False, show=lambda _outcome: None)


@commands.command()
def overview(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the pages go.")] = "overview",
    as_json: Json = False,
) -> None:
    """Write pages of what stands in production: champions, figures over time, drift, quality, plans, approvals."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.overview import write

        return write(settings, out)

    answer(act, as_json, shown.overview)


@commands.command()
def pages(
    host: Annotated[str, typer.Option(help="Outside loopback MEDAI_PAGES_AUTH is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4300,
) -> None:
    """Serve the overview and /metrics alone, for a site that keeps its own Prefect and MLflow servers."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.pages import serve

        serve(settings, None, host, port)
        return {}

    answer(act, as_json=False, show=lambda _outcome: None)


@commands.command()
def deploy(
    problem: Remembered,
    cron: Annotated[str, typer.Option(help="When to retrain, five fields of cron.")] = "0 3 * * 1",
    on: Annotated[
        str | None, typer.Option(metavar="LIST", help="Events that start it, too: some of drift,data,labels.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option(metavar="CRON", help="When to look whether data arrived, such as '*/10 * * * *'.")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Prefect's notification blocks that are told, such as slack-webhook/ward."),
    ] = None,
    timezone: Annotated[str, typer.Option(help="In which both schedules are meant, such as Europe/Berlin.")] = "UTC",
    data: Data = None,
    seed: Seed = 0,
    overrides: Overrides = None,
    listed: Annotated[bool, typer.Option("--list", help="Only tell what is deployed of the problem.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take all of it from the server.")] = False,
    as_json: Json = False,
) -> None:
    """Retrain by itself: on a schedule and on events."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows import deploy as deployments

        if listed or remove:
            name = known(problem, open_ledger(settings))
            make_home(settings)
            look = deployments.remove if remove else deployments.deployed
            return {"problem": name, "removed" if remove else "deployments": look(settings, name)}
        load(problem, overrides)
        make_home(settings)
        return deployments.deploy(
            settings,
            problem,
            cron=cron,
            data=data,
            seed=seed,
            overrides=tuple(overrides or ()),
            timezone=timezone,
            on=() if on is None else tuple(part.strip() for part in on.split(",")),
            watch=watch,
            notify=notify,
        )

    answer(act, as_json, shown.deployed)


@commands.command("watch")
def look_once(
    problem: Name,
    data: Data = None,
    rest: Annotated[float, typer.Option(min=0, help="Seconds between two looks that must agree.")] = 60.0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Look once for data that arrived, and announce them."""

    def act(settings: Settings) -> dict[str, Any]:
        make_home(settings)
        from flows.arrivals import watch_once

        return watch_once(settings, problem, data, overrides, rest)

    answer(act, as_json, shown.seen)
