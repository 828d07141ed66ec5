"""What a person sees of windows: the answers of ``medai monitor`` and ``medai label``."""

from __future__ import annotations

from typing import Any

import typer

from flows.shown import table


def monitoring(outcome: dict[str, Any]) -> None:
    """What ``medai monitor`` tells: the windows, what is outside and what counts."""
    typer.echo(
        f"{outcome['problem']}: version {outcome['version']} beside {outcome['scored']} of {outcome['rows']} rows"
    )
    if not outcome["windows"]:
        typer.echo("  nobody of them could be scored, so nothing was compared")
    windows(outcome)


def windows(outcome: dict[str, Any]) -> None:
    """Windows, the measures that are outside now, what counts, and the page."""
    for window in outcome["windows"]:
        told = [
            f"{window['subjects']} {window['unit']}s",
            f"{window['outside']} of {window['measures']} figures outside",
        ]
        if window["known"]:
            told.append(f"{window['known']} left out that the champion was fitted on")
        if window["too_few"]:
            told.append(f"{window['too_few']} undecided")
        typer.echo(f"  {window['kind']}: {', '.join(told)}{'' if window['new'] else '; seen before'}")
    stands = outcome["standing"]
    if stands["outside"]:
        rows = [
            (
                f"{one['measure']}".replace("_", " "),
                one["statistic"],
                f"{one['value']:.3f}",
                one["bound"],
                one["subjects"],
                f"{one['violations']}×" + (", counts" if one["counts"] else ""),
            )
            for one in stands["outside"]
        ]
        table("outside now", ("measure", "statistic", "value", "bound", "subjects", "of the last windows"), rows)
    else:
        typer.echo("  within all bounds")
    if outcome["detected"] is not None:
        names = ", ".join(one["measure"].replace("_", " ") for one in outcome["detected"]["measures"])
        typer.echo(f"drift that counts, new: {names}")
    typer.echo(f"page: {outcome['page']}")
