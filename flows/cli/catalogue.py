"""The catalogue of problems: ``problems`` and ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from flows.cli.arguments import Json, Name, Overrides, load
from flows.cli.frame import answer
from flows.shown.parts import table

if TYPE_CHECKING:
    from flows.settings import Settings

commands = typer.Typer()


@commands.command()
def problems(as_json: Json = False) -> None:
    """List the catalogue."""

    def act(_settings: Settings) -> dict[str, Any]:
        from medai.problem import catalogue, load_problem

        return {"problems": {name: load_problem(name).question for name in catalogue()}}

    def show(outcome: dict[str, Any]) -> None:
        table("", ("problem", "question"), list(outcome["problems"].items()))

    answer(act, as_json, show)


@commands.command("show")
def show_problem(problem: Name, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print one problem, resolved: every key with its value."""

    def act(_settings: Settings) -> dict[str, Any]:
        return load(problem, overrides).model_dump(mode="json")

    def show(outcome: dict[str, Any]) -> None:
        import yaml

        typer.echo(yaml.safe_dump(outcome, sort_keys=False, allow_unicode=True, width=110), nl=False)

    answer(act, as_json, show)
