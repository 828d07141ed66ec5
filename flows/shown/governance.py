"""What the ledger, the audit and the store's keeping are told as."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import typer

from flows.shown.parts import few, interval, key_figure, table, waiting


def history(outcome: dict[str, Any]) -> None:
    """What ``medai history`` tells."""
    current = outcome["champion"]
    when = f" at {outcome['at']}" if outcome["at"] else ""
    if current is None:
        typer.echo(f"{outcome['problem']}: no champion{when}")
        if outcome["first_champion"] is not None and not outcome["versions"]:
            typer.echo(f"  the first one stood from {outcome['first_champion'][:19]} UTC on")
        elif not outcome["entries"]:
            typer.echo(f"  nothing is told of it in the ledger of {outcome['home']}; MEDAI_HOME names another")
            if outcome["emptied"]:
                typer.echo("  this home has a site key and no audit: was it removed? `medai audit verify` asks MLflow")
    else:
        since = f"since {current['since'][:19]} UTC by {current['by']}"
        typer.echo(f"{outcome['problem']}: version {current['version']}{when}, {since}")
        typer.echo(f"  {_why(current)}")
        for name, what in (("model_sha256", "model"), ("data_sha256", "data"), ("report", "report")):
            if current[name]:
                typer.echo(f"  {what} {current[name]}")
    if moved := [entry for entry in outcome["entries"] if entry["kind"] == "moved"]:
        typer.echo(f"MLflow's alias was moved by hand {len(moved)} times, last noticed at {moved[-1]['at'][:19]} UTC")
    if outcome["versions"]:
        rows = []
        for one in outcome["versions"]:
            figure = one["figure"]
            shown = f"{figure['metric']} {interval(figure)}" if figure else "–"
            if figure and (caveat := few(figure.get("rarest"))):
                shown += f" ({caveat})"
            seed = "–" if one["seed"] is None else one["seed"]
            changed = " ".join(one["overrides"] or ()) or "–"
            rows.append((one["version"], one["registered"][:19], seed, changed, one["data_sha256"][:12], shown))
        table("", ("version", "registered (UTC)", "seed", "--set", "data", "on test"), rows)
    for entry in _judged_first(outcome["entries"]):
        typer.echo(f"{entry['at'][:19]}  {entry['by']}  {_told(entry)}")
        for reason in entry.get("reasons", ()):
            typer.echo(f"    {reason}")


def _why(current: dict[str, Any]) -> str:
    """Why the champion stands; the reason of a rollback speaks of the version that was withdrawn."""
    if current["how"] == "gate":
        return "made champion by the gate"
    if current["after"] is None:
        return f"made champion by a person: {current['reason']}"
    return f"stands again since version {current['after']} was withdrawn: {current['reason']}"


def _judged_first(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdict before what followed from it: the ledger settles a decision once it is carried out."""
    told = list(entries)
    for place, (one, after) in enumerate(pairwise(entries)):
        if (
            (one["kind"], one.get("how"), after["kind"]) == ("champion", "gate", "settled")
            and one["version"] == after["version"]
            and after["verdict"] == "promoted"
        ):
            told[place], told[place + 1] = after, one
    return told


def _told(entry: dict[str, Any]) -> str:
    """What a line of the history says."""
    if entry["kind"] == "evaluated":
        data = f"{entry['samples']} samples of data {entry['data_sha256'][:12]}"
        return f"version {entry['version']} measured on {data}{key_figure(entry['metrics'])}"
    if entry["kind"] == "moved":
        found = "gone" if entry["found"] is None else f"at version {entry['found']}"
        put = "dropped" if entry["version"] is None else f"put back to version {entry['version']}"
        return f"MLflow's alias {entry['alias']} was found {found}, moved by hand; {put}"
    if entry["kind"] == "wanted":
        return f"version {entry['version']} waits for a person: {', '.join(entry['for'])}"
    if entry["kind"] == "lapsed":
        return (
            f"the promotion of version {entry['version']} no longer held when MLflow could be told: {entry['reason']}"
        )
    if entry["kind"] == "detected":
        measures = sorted({one["measure"] for one in entry["measures"]})
        return f"drift from version {entry['version']} that counts: {', '.join(measures)}"
    if entry["kind"] == "labelled":
        return f"outcomes of {sum(one['samples'] for one in entry['outcomes'])} predictions arrived"
    if entry["kind"] == "settled":
        return f"version {entry['version']} judged by the gate: {entry['verdict'].replace('_', ' ')}"
    if entry["how"] == "rollback":
        after = "nobody stands" if entry["version"] is None else f"version {entry['version']} stands again"
        return f"version {entry['withdrawn_version']} withdrawn: {entry['reason']}; {after}"
    line = "" if (begins := entry.get("begins")) is None else "; a line of champions begins" + _other(begins)
    if entry["how"] == "person":
        approved = "approved and " if entry.get("approves") else ""
        return f"version {entry['version']} {approved}made champion by a person: {entry['reason']}{line}"
    return f"version {entry['version']} made champion by the gate{line}"


def _other(parts: list[str]) -> str:
    return f" (other {', '.join(parts)})" if parts else ""


def audit(outcome: dict[str, Any]) -> None:
    """What ``medai audit verify`` found."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome["kinds"].items()))
    typer.echo(
        f"{'intact' if outcome['intact'] else 'NOT INTACT'}: {outcome['lines']} lines" + (f": {kinds}" * bool(kinds))
    )
    if outcome["key"]:
        typer.echo(f"signed by the site key {outcome['key']}")
    for problem, lines in outcome["second_place"].items():
        typer.echo(f"MLflow knows {lines} lines by the model {problem}")
    typer.echo(f"files of {outcome['champions']} promoted versions looked at")
    for finding in outcome["findings"]:
        typer.echo(f"✗ {finding['wrong']}")
        for part in ("expected", "received"):
            typer.echo(f"  {part}: {finding[part]}")
        typer.echo(f"  next step: {finding['action']}")


def signed(outcome: dict[str, Any]) -> None:
    """What ``medai audit sign`` did."""
    if not outcome["lines"]:
        typer.echo("nothing was audited here yet")
        return
    typer.echo(f"{outcome['lines']} lines, signed by the site key {outcome['key']}")
    for problem in outcome["problems"]:
        typer.echo(f"MLflow knows them by the model {problem}")
    for problem, found in outcome["moved"].items():
        where = "gone" if found is None else f"at version {found}"
        typer.echo(f"{problem}: MLflow's alias champion was {where}, moved by hand; put back")


def pruned(outcome: dict[str, Any]) -> None:
    """What ``medai prune`` deleted, or would, and what stays and why."""
    gone, kept = outcome["unneeded"], outcome["kept"]
    folders, size = (sum(one[what] for one in gone.values()) for what in ("folders", "bytes"))
    typer.echo(f"{'would delete' if outcome['dry_run'] else 'deleted'} {folders} folders, {size / 1e6:.1f} MB")
    rows = [("goes", stage, one["folders"], f"{one['bytes'] / 1e6:.1f}") for stage, one in gone.items()]
    rows += [("stays", why, one["folders"], f"{one['bytes'] / 1e6:.1f}") for why, one in kept.items()]
    table("", ("what", "stage, or why", "folders", "MB"), rows)


def champion(outcome: dict[str, Any]) -> None:
    """What ``medai promote`` and ``medai rollback`` tell."""
    version = outcome["champion"]
    who = "no champion" if version is None else f"version {version} is champion"
    waiting(outcome["waiting"])
    if "withdrawn" in outcome:
        typer.echo(f"{outcome['problem']}: version {outcome['withdrawn']} withdrawn: {outcome['reason']}")
        typer.echo(who)
        return
    if not outcome["recorded"]:
        typer.echo(f"{outcome['problem']}: version {version} was already champion; nothing recorded")
        return
    typer.echo(f"{outcome['problem']}: {who}{', approved and signed' if outcome['approved'] else ''}")
    gate = outcome["gate"]
    if outcome["approved"]:
        return
    if gate is not None and gate["verdict"] != "promoted":
        refused = gate["verdict"] == "refused"
        typer.echo("the gate had refused it:" if refused else f"the gate had said {gate['verdict'].replace('_', ' ')}:")
        for reason in gate["reasons"]:
            typer.echo(f"  {reason}")


def sync(outcome: dict[str, Any]) -> None:
    """What ``medai sync`` tells: what MLflow knows now, and what it still does not."""
    for one in outcome["delivered"]:
        what = f"{one['problem']}: the decision of line {one['line']}"
        if one["held"]:
            typer.echo(f"{what} is registered as version {one['version']}: {one['verdict'].replace('_', ' ')}")
        else:
            typer.echo(f"{what} no longer held; run the problem again to have it compared with what stands now")
    for one in outcome["followed"]:
        shows = "no champion" if one["champion"] is None else f"version {one['champion']} as champion"
        typer.echo(f"{one['problem']}: MLflow shows {shows}")
    for error in outcome["failed"]:
        typer.echo(f"{error['wrong']}: {error['action']}")
    if outcome["waiting"]:
        typer.echo(f"MLflow does not answer; {outcome['left']} still wait")
    elif not any(outcome[part] for part in ("delivered", "followed", "failed")):
        typer.echo("nothing waits")
