"""What a person sees of windows: the answers of ``medai monitor`` and ``medai label``."""

from __future__ import annotations

from typing import Any

import typer

from flows.shown.parts import drifting, earlier, interval, table


def monitoring(outcome: dict[str, Any]) -> None:
    """What ``medai monitor`` tells: the windows, what is outside and what counts."""
    typer.echo(
        f"{outcome['problem']}: version {outcome['version']} beside {outcome['scored']} of {outcome['rows']} rows"
    )
    if not outcome["windows"]:
        typer.echo("  nobody of them could be scored, so nothing was compared")
    windows(outcome)


def labelling(outcome: dict[str, Any]) -> None:
    """What ``medai label`` tells: what was joined, what was set aside, and how right the champion was."""
    typer.echo(
        f"{outcome['problem']}: {outcome['joined']} of {outcome['rows']} rows joined, {outcome['new']} of them new;"
        f" {outcome['predicted']} ids were predicted in all"
    )
    for reason, count in outcome["set_aside"].items():
        typer.echo(f"  set aside, {reason.replace('_', ' ')}: {count}")
    for window in outcome["windows"]:
        figures = [one for one in window["figures"] if one.get("value") is not None]
        if figures:
            rows = [
                (f"{one['measure']} {'' if one['statistic'] == 'metric' else one['statistic']}", interval(one))
                for one in figures
            ]
            table(f"version {window['version']} on {window['subjects']} {window['unit']}s", ("metric", "value"), rows)
        groups = [one for one in window["groups"] if one["metrics"]]
        for one in groups:
            told = ", ".join(f"{metric} {interval(figure)}" for metric, figure in one["metrics"].items())
            typer.echo(f"  {one['group']} {one['level']}: {told}")
    windows(outcome)


def windows(outcome: dict[str, Any]) -> None:
    """Windows, the measures that are outside now, what counts, and the page."""
    from medai.reporting.numbers import drifted, several
    from medai.reporting.words import measure

    for window in outcome["windows"]:
        told = [several(window["subjects"], window["unit"])]
        if window.get("files", 1) > 1:
            told[0] += f" of {window['files']} files"
        waits = not window.get("judged", True)
        if waits and window["subjects"]:
            told.append("too few to be judged, they wait for the next outcomes")
        elif not waits:
            told.append(f"{window['outside']} of {window['measures']} figures outside")
        if window["known"]:
            told.append(f"{window['known']} left out that the champion was fitted on")
        if window["too_few"] and not waits:
            told.append(f"{window['too_few']} undecided")
        typer.echo(f"  {window['kind']}: {', '.join(told)}{'' if window['new'] else '; seen before'}")
    stands = outcome["standing"]
    if stands["outside"]:
        rows = [
            (
                measure(one["measure"], one["statistic"]),
                one["statistic"],
                drifted(one["value"], one["statistic"]),
                one["bound"],
                one["subjects"],
                f"{one['violations']}×" + (", counts" if one["counts"] else ""),
            )
            for one in stands["outside"]
        ]
        table("outside now", ("measure", "statistic", "value", "bound", "subjects", "of the last windows"), rows)
    elif stands["undecided"] < stands["measures"]:
        besides = f"; undecided: {several(stands['undecided'], 'figure')}" if stands["undecided"] else ""
        within = "the newest figures are within their bounds" if stands["counting"] else "within all bounds"
        typer.echo(f"  {within}{besides}")
    elif stands["measures"]:
        typer.echo("  too few patients to tell whether anything is within its bounds")
    if (waiting := stands.get("waiting")) and all(window.get("judged", True) for window in outcome["windows"]):
        number = several(waiting["subjects"], waiting["unit"])
        typer.echo(f"  outcomes of {number} wait for the next ones, too few to be judged")
    if before := earlier(stands):
        typer.echo(f"  drift that counts by earlier windows: {drifting(before)}")
    if outcome["detected"] is not None:
        typer.echo(f"drift that counts, new: {drifting(outcome['detected']['measures'])}")
    typer.echo(f"page: {outcome['page']}")
