"""The commands ``medai stack up``, ``down`` and ``status``, ``medai backup`` and ``medai restore``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.settings import Settings
    from flows.stack import Stack

Answer = Callable[..., dict[str, Any]]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once it answers, and let it run.")]


def add(app: typer.Typer, answer: Answer) -> None:
    """Add the commands.

    Args:
        app: the command line.
        answer: carries out a command (``flows.cli``).
    """
    stack = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(stack, name="stack", help="PostgreSQL, Prefect's and MLflow's servers and a worker, as processes.")

    @stack.command("up")
    def up(detach: Detach = False, as_json: Json = False) -> None:
        """Run the stack on loopback until stopped."""

        def act(settings: Settings) -> dict[str, Any]:
            from flows import stack as services

            if detach:
                return _told(services.up_in_background(settings))
            services.up(settings, ready=lambda found: _show_stack(_told(found) | {"attached": True}))
            return {}

        answer(act, as_json, lambda outcome: _show_stack(outcome) if outcome else None)

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

        answer(
            act,
            as_json,
            lambda outcome: _show_stack(outcome) if outcome["running"] else typer.echo("no stack runs on this home"),
        )

    @app.command("backup")
    def backup(
        out: Annotated[str, typer.Argument(metavar="OUT", help="A new folder for the copy; it will hold secrets.")],
        as_json: Json = False,
    ) -> None:
        """Copy the home with its databases, while others work."""

        def act(settings: Settings) -> dict[str, Any]:
            from flows.backup import back_up

            return back_up(settings, out)

        answer(act, as_json, _show_copy)

    @app.command("restore")
    def restore(
        source: Annotated[str, typer.Argument(metavar="FROM", help="What `medai backup` wrote.")],
        as_json: Json = False,
    ) -> None:
        """Put a copy back into an empty home."""

        def act(settings: Settings) -> dict[str, Any]:
            from flows.backup import restore

            return restore(settings, source)

        answer(act, as_json, _show_copy)


def _show_copy(outcome: dict[str, Any]) -> None:
    verb, place = ("copied to", outcome["out"]) if "out" in outcome else ("restored into", outcome["home"])
    audit = outcome["audit"]
    typer.echo(f"{outcome['files']} files, {outcome['bytes'] / 1e6:.1f} MB {verb} {place}")
    typer.echo(f"databases: {', '.join(outcome['databases']) or 'none'}")
    typer.echo(f"audit: {audit['lines']} lines, the last {audit['head'][:16]}…, as of {outcome['at'][:19]} UTC")
    typer.echo(f"SHA-256 of backup.json: {outcome['sha256']}")


def _told(found: Stack) -> dict[str, Any]:
    return {"running": True, **found.model_dump()}


def _show_stack(outcome: dict[str, Any]) -> None:
    for name, address in (
        ("overview", "pages_url"),
        ("Prefect", "prefect_url"),
        ("MLflow", "mlflow_url"),
        ("PostgreSQL", "postgres"),
    ):
        typer.echo(f"{name:<10} {outcome[address]}")
    typer.echo(f"{'logs':<10} {outcome['logs']}\n\nTo use it:")
    for name, value in outcome["told"].items():
        typer.echo(f"  export {name}={value}")
    typer.echo("\nStop with Ctrl-C." if outcome.get("attached") else "\nEnd it with `medai stack down`.")
