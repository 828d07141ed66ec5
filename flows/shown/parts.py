"""What several answers are made of: tables, figures with their intervals, caveats."""

from __future__ import annotations

from typing import Any

import typer


def drifting(figures: list[dict[str, Any]]) -> str:
    """What drifts, each measure once, however many statistics tell of it."""
    from medai.reporting.words import measure

    return ", ".join(dict.fromkeys(measure(one["measure"], one["statistic"]) for one in figures))


def earlier(stands: dict[str, Any]) -> list[dict[str, Any]]:
    """Of what counts, all whose newest figure is not outside: by earlier windows alone."""
    return [one for one in stands["counting"] if one["verdict"] != "outside"]


def table(title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    """Print a table; with a title, every column but the first holds figures."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file or a pipe has no width: let no figure wrap
    if title:  # not as the grid's own: a narrow grid would break it
        typer.echo(title)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        figures = bool(title) and place > 0
        grid.add_column(column, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    console.print(grid)


def interval(measure: dict[str, float]) -> str:
    """A figure with its interval."""
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def counted(counts: dict[str, Any]) -> str:
    """How many samples there are, and of how many subjects."""
    from medai.reporting.numbers import samples_of

    return samples_of(counts["samples"], counts["subjects"], counts["unit"])


def key_figure(metrics: dict[str, Any]) -> str:
    """The metric that sums an output up, after a comma; nothing where it is not there."""
    return next((f", {key} {interval(metrics[key])}" for key in ("auroc", "dice") if key in metrics), "")


def few(rarest: dict[str, Any] | None) -> str:
    """A caveat where an interval rests on a handful of cases; empty elsewhere."""
    from medai.reporting.cautions import RARE
    from medai.reporting.numbers import several

    # Runs of before the count of subjects was kept have samples alone.
    number = rarest.get("subjects", rarest["samples"]) if rarest else RARE
    if number >= RARE or not rarest:
        return ""
    told = several(number, rarest.get("unit", "sample"))
    return f"only {told} with {rarest['label']}: an interval cannot show the uncertainty"


def briefly(metrics: list[str]) -> tuple[list[str], int]:
    """All metrics, but of those of single findings (``auroc/Edema``) the first kind only; and how many are left out."""
    parts = [metric for metric in metrics if "/" in metric]
    kind = parts[0].partition("/")[0] if parts else ""
    listed = [metric for metric in metrics if "/" not in metric or metric.partition("/")[0] == kind]
    return listed, len(metrics) - len(listed)


def waiting(services: list[str]) -> None:
    """What is done later, and by what."""
    if services:
        typer.echo("waiting: MLflow does not answer; `medai sync`, the next run or `medai up` tells it once it does")
