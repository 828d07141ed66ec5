"""What ``medai synth``, ``medai export`` and ``medai deidentify`` wrote."""

from __future__ import annotations

from typing import Any

import typer

from flows.shown.parts import table


def synth(outcome: dict[str, Any]) -> None:
    """What ``medai synth`` wrote, and what to run next."""
    megabytes = outcome["bytes"] / 1e6
    typer.echo(
        f"{outcome['path']}: {outcome['files']} files, {megabytes:.1f} MB, generated with seed {outcome['seed']}"
    )
    if planted := sum(outcome["faults"].values()):
        typer.echo(f"{planted} planted faults of {len(outcome['faults'])} kinds, counted in planted_faults.json")
    for command in outcome["next"]:
        typer.echo(f"next: {command}")


def export(outcome: dict[str, Any]) -> None:
    """What ``medai export`` wrote."""
    if "files" in outcome:
        stands = ", the champion" if outcome["champion"] else ""
        typer.echo(f"{outcome['path']}: version {outcome['version']} of {outcome['problem']}{stands}")
        typer.echo(
            f"its {len(outcome['files'])} files are as the site key {outcome['key'][:12]}… signed them (model.sig)"
        )
        return
    counts = outcome["counts"]
    typer.echo(
        f"{outcome['path']}: {counts['events']} events of {counts['subjects']} subjects in {counts['shards']} shards,"
        f" {counts['stays']} stays, {counts['codes']} codes, {counts['labels']} labels"
    )
    if counts["set_aside"]:
        typer.echo(f"{counts['set_aside']} events that validation set aside were left out")


def deidentified(outcome: dict[str, Any]) -> None:
    """What ``medai deidentify`` did, in counts."""
    if outcome["kind"] == "pictures":
        from medai.deidentification.outcomes import REASONS

        typer.echo(f"{outcome['path']}: {outcome['rewritten']} of {outcome['files']} files rewritten")
        typer.echo(f"{outcome['patients']} patients; {outcome['without_patient_id']} files named none")
        if outcome["set_aside"]:
            rows = [(count, reason, REASONS[reason]) for reason, count in outcome["set_aside"].items()]
            table("", ("set aside", "reason", "that is"), rows)
            typer.echo(f"which ones: {outcome['list']} (yours alone: names of files may be names of patients)")
        if outcome["actions"]:
            table("what was done with attributes", ("action: authority", "times"), list(outcome["actions"].items()))
        return
    tables = outcome.get("tables") or {"": outcome}
    for name, one in tables.items():
        emptied = ", ".join(f"{count} of fate {fate}" for fate, count in one["emptied"].items())
        typer.echo(f"{name or outcome['path']}: {one['rows']} rows" + (f"; emptied: {emptied}" if emptied else ""))
    for reason, count in outcome.get("set_aside", {}).items():
        typer.echo(f"set aside: {count} files, {reason}")
