"""What keeps running, as a person is told of it: pages, deployments, looks for data, stacks and copies."""

from __future__ import annotations

from typing import Any

import typer


def overview(outcome: dict[str, Any]) -> None:
    """What ``medai overview`` tells: each problem in a line, and where the pages lie."""
    from medai.overview import Overview
    from medai.overview.page import LIGHTS

    seen = Overview.model_validate(outcome["overview"])
    if seen.broken:
        typer.echo(f"the audit is not whole: {seen.broken}; `medai audit verify` says what to restore")
    for view in seen.problems:
        stands = "no champion" if view.champion is None else f"version {view.champion} since {view.since[:10]}"
        typer.echo(f"{view.problem}: {LIGHTS[view.light][0].lower()}; {stands}")
    typer.echo(outcome["path"])


def deployed(outcome: dict[str, Any]) -> None:
    """What ``medai deploy`` tells: what stands, what was removed, or what is made now."""
    for word in ("deployments", "removed"):
        if word in outcome:
            typer.echo(f"{outcome['problem']}: {'nothing is deployed' if not outcome[word] else word}")
            for one in outcome[word]:
                events = f" and on {', '.join(one['on'])}" if one["on"] else ""
                typer.echo(f"  {one['name']} at {one['cron']} {one['timezone']}{events}")
            return
    zone = outcome["timezone"]
    events = f", and on {', '.join(outcome['on'])}" if outcome["on"] else ""
    typer.echo(
        f"{outcome['problem']} is retrained at {outcome['cron']} {zone}, next {outcome['next'][:16]} {zone}{events}"
    )
    typer.echo(f"  deployment {outcome['name']} ({outcome['deployment']})")
    if (watch := outcome["watch"]) is not None:
        typer.echo(f"  its data are looked at by {watch['name']} at {watch['cron']} {zone}")
    if outcome["notify"]:
        typer.echo(f"  told: {', '.join(outcome['notify'])}")
    if outcome["absent"] is not None:
        typer.echo(f"  nothing is found at {outcome['absent']} from here; a run that finds nothing there is refused")
    if (before := outcome["replaced"]) is not None:
        events = f" and on {', '.join(before['on'])}" if before["on"] else ""
        typer.echo(f"  it replaces the schedule at {before['cron']}{events}")
        if before.get("data") and outcome["data"] is None:
            typer.echo(
                f"  the earlier one read --data {before['data']}; this one reads the problem's own or MEDAI_DATA's"
            )
    if (before := outcome["unwatched"]) is not None:
        looked = f"{before['name']} at {before['cron']}"
        typer.echo(f"  nobody looks for data any more: {looked} is removed; --watch keeps it")


def seen(outcome: dict[str, Any]) -> None:
    """What ``medai watch`` tells of one look."""
    sentences = {
        "unchanged": "nothing new",
        "arriving": "data are still arriving; the next look decides",
        "arrived": "data arrived, and medai.data.arrived was announced",
    }
    typer.echo(f"{outcome['problem']}: {sentences[outcome['seen']]} ({outcome['files']} files)")


def stack(outcome: dict[str, Any]) -> None:
    """Where the services of ``medai stack`` answer, and what to export; or that none run."""
    if not outcome["running"]:
        typer.echo("no stack runs on this home")
        return
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


def copied(outcome: dict[str, Any]) -> None:
    """What ``medai backup`` and ``medai restore`` tell: where it is, as of when, its hash."""
    verb, place = ("copied to", outcome["out"]) if "out" in outcome else ("restored into", outcome["home"])
    audit = outcome["audit"]
    typer.echo(f"{outcome['files']} files, {outcome['bytes'] / 1e6:.1f} MB {verb} {place}")
    typer.echo(f"databases: {', '.join(outcome['databases']) or 'none'}")
    typer.echo(f"audit: {audit['lines']} lines, the last {audit['head'][:16]}…, as of {outcome['at'][:19]} UTC")
    typer.echo(f"SHA-256 of backup.json: {outcome['sha256']}")
    if "home" in outcome:
        typer.echo("next: compare that SHA-256 with the one that `medai backup` printed, then `medai audit verify`")
