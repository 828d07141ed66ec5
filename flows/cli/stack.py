"""The stack of a machine, ``stack up``, ``down`` and ``status``; copies of a home, ``backup`` and ``restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Json
from flows.cli.frame import answer
from flows.shown import operation as shown

if TYPE_CHECKING:
    from flows.settings import Settings
    from flows.stack import Stack

commands = typer.Typer()
stack = typer.Typer(
    name="stack",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="PostgreSQL, Prefect's and MLflow's servers and a worker, as processes.",
)

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once it answers, and let it run.")]


@stack.command("up")
def up(detach: Detach = False, as_json: Json = False) -> None:
    """Run the stack on loopback until stopped."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows import stack as services

        if detach:
            return _told(services.up_in_background(settings))
        services.up(settings, ready=lambda found: shown.stack(_told(found) | {"attached": True}))
        return {}

    answer(act, as_json, lambda outcome: shown.stack(outcome) if outcome else None)


@stack.command("down")
def down(as_json: Json = False) -> None:
    """End the stack of this home; its data stay."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.stack import down as end

        return {"ended": end(settings) is not None}

    answer(act, as_json, lambda outcome: typer.echo("ended" if outcome["ended"] else "no stack runs on this home"))


@stack.command("status")
def status(as_json: Json = False) -> None:
    """Say what runs on this home, and what to export."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.stack import running

        found = running(settings)
        return {"running": False} if found is None else _told(found)

    answer(act, as_json, shown.stack)


@commands.command("backup")
def backup(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new folder for the copy; it will hold secrets.")],
    as_json: Json = False,
) -> None:
    """Copy the home with its databases, while others work."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.backup import back_up

        return back_up(settings, out)

    answer(act, as_json, shown.copied)


@commands.command("restore")
def restore(
    source: Annotated[str, typer.Argument(metavar="FROM", help="What `medai backup` wrote.")],
    as_json: Json = False,
) -> None:
    """Put a copy back into an empty home."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.backup import restore

        return restore(settings, source)

    answer(act, as_json, shown.copied)


def _told(found: Stack) -> dict[str, Any]:
    return {"running": True, **found.model_dump()}
