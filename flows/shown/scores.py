"""What ``medai evaluate`` and ``medai predict`` tell of the champion."""

from __future__ import annotations

from typing import Any

import typer

from flows.shown.parts import briefly, counted, drifting, earlier, interval, key_figure, table


def evaluation(outcome: dict[str, Any]) -> None:
    """What ``medai evaluate`` tells: the champion's figures on these data beside those of its own test."""
    counts, seen, own = outcome["cohort"], outcome["seen_in_training"], outcome["own_test"]
    typer.echo(f"\n{outcome['question']}")
    typer.echo(f"{counted(counts)} · champion version {outcome['version']}, {outcome['model']}")
    if repeated := outcome["own_test_rows"]:
        all_of_them = repeated == counts["samples"]
        typer.echo(
            f"{'all of them' if all_of_them else f'{repeated} of them'} are rows of the champion's own test: "
            + ("its test once more, and nothing new" if all_of_them else "so far these figures are nothing new")
        )
    if seen["samples"]:
        what = "scored all the same" if seen["scored"] else "left out"
        typer.echo(f"{seen['samples']} samples of {seen['subjects']} subjects that it was fitted on were {what}")
    if missing := outcome.get("missing"):
        typer.echo(f"not measured, as these data have no label for it: {', '.join(missing)}")
    apart = outcome.get("gap") or {}
    for output, metrics in outcome["metrics"].items():
        tested = own["metrics"].get(output, {}) if own and not missing else {}
        listed, left = briefly(list(metrics)) if "report" in outcome else (list(metrics), 0)
        rows = [
            (
                metric.replace("_", " "),
                interval(metrics[metric]),
                interval(tested[metric]) if metric in tested else _alone(apart.get(metric)),
                *([_difference(apart.get(metric))] if apart else []),
            )
            for metric in listed
        ]
        headings = (output, "these data", "its own test", *(["gap"] if apart else []))
        table("the champion on these data", headings, rows)
        if left:
            typer.echo(f"{left} more figures of single findings are in the report")
        for group in outcome["subgroups"].get(output, ()):
            who = counted(group | {"unit": counts["unit"]})
            typer.echo(f"  {group['group']} {group['level']}: {who}{key_figure(group['metrics'])}")
    typer.echo(f"enough {counts['unit']}s: {'yes' if outcome['evidence'] == 'sufficient' else 'no'}")
    for reason in outcome["reasons"]:
        typer.echo(f"  {reason}")
    for metric, floor in outcome["floors"].items():
        lower = "undefined" if floor["low"] is None else f"{floor['low']:.4f}"
        typer.echo(
            f"  {'✓' if floor['met'] else '✗'} the gate's floor of {metric.replace('_', ' ')} on these data: "
            f"{lower} (required: lower bound at least {floor['floor']:g})"
        )
    typer.echo(f"looks of this champion at labelled data, this one included: {outcome['looks']}")
    if "report" in outcome:
        typer.echo(f"report: {outcome['report']}")


def _alone(apart: dict[str, Any] | None) -> str:
    """The own test's figure where its interval is of other findings."""
    return "–" if apart is None else f"{apart['own']:.3f}"


def _difference(apart: dict[str, Any] | None) -> str:
    if apart is None:
        return "–"
    one = apart["difference"]
    return f"{one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"


def prediction(outcome: dict[str, Any]) -> None:
    """What ``medai predict`` tells: how many were scored, and why others were not."""
    typer.echo(f"{outcome['scored']} of {outcome['rows']} rows scored by version {outcome['version']}")
    rows = [("label", label, count) for label, count in outcome["labels"].items()]
    rows += [("set aside", reason, count) for reason, count in outcome["set_aside"].items()]
    rows += [("excluded", criterion, count) for criterion, count in outcome["excluded"].items()]
    table("", ("what", "which", "rows"), rows)
    if outcome["repeated_ids"]:
        typer.echo(f"rows whose id stands there before, so that one id has several answers: {outcome['repeated_ids']}")
    for criterion in outcome["not_judged"]:
        typer.echo(f"not judged, since it asks for what is known only later: {criterion}")
    if outcome["seen_in_training"] is None:
        typer.echo("unknown: whether the champion was fitted on these patients, as not every picture tells whose it is")
    elif outcome["seen_in_training"]:
        from medai.reporting.numbers import several

        typer.echo(f"fitted on by the champion before: {several(outcome['seen_in_training'], 'subject')} of them")
    if outcome["seen_pictures"]:
        typer.echo(f"{outcome['seen_pictures']} pictures are pictures of patients that the champion was fitted on")
    _met(outcome["monitoring"])
    typer.echo(f"answers: {outcome['out']}")


def _met(found: dict[str, Any] | None) -> None:
    """In short, what ``medai monitor`` tells at length of the batch beside what the champion learnt from."""
    if found is None or not found["windows"]:
        return  # why is told by a warning
    outside = [one for one in found["standing"]["outside"] if one["kind"] != "performance"]
    before = [one for one in earlier(found["standing"]) if one["kind"] != "performance"]
    if counting := [one for one in outside if one["counts"]]:
        typer.echo(f"drift that counts: {drifting(counting)}")
    if once := [one for one in outside if not one["counts"]]:
        typer.echo(f"outside of what the champion learnt from, drift if it repeats: {drifting(once)}")
    if not outside:
        undecided = {window["too_few"] == window["measures"] for window in found["windows"]}
        if undecided == {True}:
            typer.echo(
                "too few new patients to tell whether they are within the bounds of what the champion learnt from"
            )
        else:
            within = "this batch is within the bounds" if before else "within all bounds"
            typer.echo(f"{within} of what the champion learnt from")
    if before:
        typer.echo(f"drift that counts by earlier batches: {drifting(before)}")
    typer.echo(f"page: {found['page']}")
