"""The command line. It imports next to nothing; each command imports what it needs when it runs.

With ``--json`` one JSON object stands on standard output and nothing else; progress and logs go to standard error.
Exit status: 0 done, 2 usage or configuration, 3 data refused, 4 a service or the machine failed, 1 a defect of ours.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli import catalogue, data, governance, operation, road, stack
from flows.cli.frame import fail


class Commands(TyperGroup):
    """Refuses arguments that are no text before any command runs: they could be neither logged nor answered."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what is text."""
        for text in args:
            if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in text):
                from medai.errors import ConfigurationError

                error = ConfigurationError(
                    "an argument is no text",
                    expected="characters in UTF-8",
                    received=ascii(text),
                    action="write it in UTF-8, or rename that file",
                )
                fail(error, "--json" in args)
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="medai",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help without rich: a third of the time
)

for part in (  # in the order of the help
    road.commands,
    data.commands,
    catalogue.commands,
    governance.commands,
    operation.commands,
    stack.commands,
    governance.audit,
    stack.stack,
):
    app.add_typer(part)


def _show_version(asked: bool) -> None:
    if asked:
        from medai import __version__

        typer.echo(f"medai {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Medical data to a trustworthy model, kept trustworthy. Research software; no medical device."""


def main() -> None:
    """Entry point of the ``medai`` command."""
    app()
