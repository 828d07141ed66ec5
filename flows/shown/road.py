"""What ``medai run``, ``medai check`` and ``medai demo`` tell."""

from __future__ import annotations

from typing import Any

import typer

from flows.shown.parts import briefly, counted, few, interval, table, waiting


def run(outcome: dict[str, Any]) -> None:
    """What ``medai run`` tells: figures beside the baselines, the decision with every condition."""
    from medai.measurement.metrics import in_order

    typer.echo(f"\n{outcome['question']}")
    typer.echo(f"{counted(outcome['cohort'])} · {outcome['model']}")
    _folders(outcome)
    _drift(outcome["drift"])
    for output, metrics in outcome["metrics"].items():
        others = outcome["baselines"]
        listed, left = briefly(in_order({metric for figures in (metrics, *others.values()) for metric in figures}))
        rows = [
            (
                metric.replace("_", " "),
                _figure(metrics.get(metric)),
                *(f"{figures[metric]:.3f}" if metric in figures else "–" for figures in others.values()),
            )
            for metric in listed
        ]
        heads = (output, outcome["model"].replace("_", " "), *(name.replace("_", " ") for name in others))
        table(_opened(outcome["test_openings"], outcome["test_openings_when_decided"]), heads, rows)
        if left:
            typer.echo(f"{left} more figures of single findings are in the report")
        if caveat := few(outcome["rarest"]):
            typer.echo(f"{caveat} of {', '.join(metrics)}")
    version, verdict, since = outcome["version"], outcome["decision"].replace("_", " "), outcome["withdrawn"]
    told = f"{verdict} (version {version}, run {outcome['run_id']})"
    if version is None:
        told = f"{verdict} (not yet registered)"
    if since is None:
        typer.echo(f"decision: {told}")
    else:
        later = since["at"] > (since["decided"] or "")
        decided = f"decided at {since['decided'][:19]} UTC" if later and since["decided"] else "decision"
        typer.echo(f"{decided}: {told}")
        typer.echo(
            f"withdrawn {'since ' if later else ''}by a person, {since['by']}, at {since['at'][:19]} UTC:"
            f" {since['reason']}"
        )
        typer.echo(f"  `medai promote {outcome['problem']} {version} --reason …` brings it back")
        if later:
            typer.echo("conditions as they were when it was decided:")
    for condition in outcome["conditions"]:
        mark = ("✓" if condition["judged"] else "–") if condition["passed"] else "…" if condition["awaits"] else "✗"
        typer.echo(f"  {mark} {condition['name']}: {condition['figure']} (required: {condition['required']})")
    for reason in outcome["reasons"] if not outcome["conditions"] else ():
        typer.echo(f"  {reason}")
    waiting(outcome["waiting"])
    champion = outcome["champion"]
    if outcome["awaits_approval"]:
        typer.echo(f"`medai promote {outcome['problem']} {version} --reason …` approves it")
    if outcome["decision"] == "insufficient_evidence" and version is not None and since is None:
        person = f"a person may `medai promote {outcome['problem']} {version} --reason …`"
        typer.echo(f"data of more patients let the gate judge it; {person}")
    typer.echo("champion: " + ("none" if champion is None else f"version {champion}"))
    typer.echo(f"report: {outcome['report']}")
    typer.echo(f"to make it again: {outcome['reproduce']}")


def _figure(measure: dict[str, float] | None) -> str:
    return "–" if measure is None else interval(measure)


def _opened(now: int, then: int) -> str:
    """How often a test set was opened, by now and when the run was decided."""
    title = f"test, opened for {now} candidate{'' if now == 1 else 's'}"
    return title if now == then else f"{title} by now, for {then} when this was decided"


def demo(outcome: dict[str, Any]) -> None:
    """What ``medai demo`` tells: each run, and where to look."""
    for one in outcome["runs"]:
        run(one)
    typer.echo("\nlook at the reports above, or start `medai up` and open Prefect's and MLflow's pages")


def check(outcome: dict[str, Any]) -> None:
    """What ``medai check`` tells."""
    judged = ", ".join(f"{rows} {table}" for table, rows in outcome["tables"].items())
    typer.echo(f"{'passed' if outcome['passed'] else 'FAILED'}: {outcome['rules']} rules on {judged}")
    rows = [("set aside", reason, count) for reason, count in outcome["set_aside"].items()]
    rows += [("warned", reason, count) for reason, count in outcome["warned"].items()]
    rows += [("settled by the reader", reason, count) for reason, count in outcome["settled_by_reader"].items()]
    if rows:
        table("", ("what", "reason", "rows"), rows)
    _folders(outcome)
    _drift(outcome["drift"])
    for failure in outcome["failures"]:
        if failure["blocking"]:
            where = " ".join(part for part in (failure["table"], failure["column"]) if part)
            typer.echo(f"blocking: {failure['reason']} in {where}: {_broken(failure)}")


def _folders(outcome: dict[str, Any]) -> None:
    """Which class each folder's pictures were given: nothing but a person's eye can tell that it is the right one."""
    for pairs in outcome["folders"].values():
        for pair in pairs:
            typer.echo(f"folder {pair['folder']} → {pair['class']}: {pair['samples']}")


def _drift(drift: dict[str, Any] | None) -> None:
    """What changed since the snapshot of the last run, where there was one and it was another."""
    if drift is None:
        return
    rows = [
        *(("code gone", one["code"], f"{one['share']:.1%} of the earlier readings") for one in drift["vanished"]),
        *(("new code", one["code"], f"{one['share']:.1%} of the readings") for one in drift["appeared"]),
        *(("units", one["variable"], f"mix differs by {one['distance']:.2f}") for one in drift["units"]),
        *(
            ("median", one["variable"], f"{one['before']:g} → {one['after']:g}, {one['shift']:+.2f} quartile ranges")
            for one in drift["medians"]
        ),
    ]
    if rows:
        table("since the last run's data", ("what", "of", "change"), rows)
    else:
        typer.echo("since the last run's data: no change of codes, units or medians worth telling")


def _broken(failure: dict[str, Any]) -> str:
    """How a blocking rule was broken: by rows, by the table as a whole, or by asking for what is not there."""
    if failure["reason"] == "missing_column":
        return f"the table has none of that name; {failure['hint']}"
    if failure["reason"] == "class_empty":
        return f"none of {failure['evaluated']} samples is of it"
    if failure["unexpected"]:
        return f"{failure['unexpected']} of {failure['evaluated']} rows"
    return f"a table of {failure['evaluated']} rows" if failure["evaluated"] else "no row to judge"
