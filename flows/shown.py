"""What a person sees of an outcome: the command line's answers as text and tables."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import typer


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


def _interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _who(counts: dict[str, Any]) -> str:
    from medai.reporting.numbers import samples_of

    return samples_of(counts["samples"], counts["subjects"], counts["unit"])


def _figure(measure: dict[str, float] | None) -> str:
    return "–" if measure is None else _interval(measure)


def _alone(apart: dict[str, Any] | None) -> str:
    """The own test's figure where its interval is of other findings."""
    return "–" if apart is None else f"{apart['own']:.3f}"


def _difference(apart: dict[str, Any] | None) -> str:
    if apart is None:
        return "–"
    one = apart["difference"]
    return f"{one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"


def _key_figure(metrics: dict[str, Any]) -> str:
    """The metric that sums an output up, after a comma; nothing where it is not there."""
    return next((f", {key} {_interval(metrics[key])}" for key in ("auroc", "dice") if key in metrics), "")


def _few(rarest: dict[str, Any] | None) -> str:
    """A caveat where an interval rests on a handful of cases; empty elsewhere."""
    from medai.reporting.cautions import RARE
    from medai.reporting.numbers import several

    # Runs of before the count of subjects was kept have samples alone.
    number = rarest.get("subjects", rarest["samples"]) if rarest else RARE
    if number >= RARE or not rarest:
        return ""
    told = several(number, rarest.get("unit", "sample"))
    return f"only {told} with {rarest['label']}: an interval cannot show the uncertainty"


def run(outcome: dict[str, Any]) -> None:
    """What ``medai run`` tells: figures beside the baselines, the decision with every condition."""
    from medai.measurement.metrics import in_order

    typer.echo(f"\n{outcome['question']}")
    typer.echo(f"{_who(outcome['cohort'])} · {outcome['model']}")
    _folders(outcome)
    _drift(outcome["drift"])
    for output, metrics in outcome["metrics"].items():
        others = outcome["baselines"]
        listed, left = _briefly(in_order({metric for figures in (metrics, *others.values()) for metric in figures}))
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
        if caveat := _few(outcome["rarest"]):
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
    _waiting(outcome["waiting"])
    champion = outcome["champion"]
    if outcome["awaits_approval"]:
        typer.echo(f"`medai promote {outcome['problem']} {version} --reason …` approves it")
    typer.echo("champion: " + ("none" if champion is None else f"version {champion}"))
    typer.echo(f"report: {outcome['report']}")
    typer.echo(f"to make it again: {outcome['reproduce']}")


def _briefly(metrics: list[str]) -> tuple[list[str], int]:
    """All metrics, but of those of single findings (``auroc/Edema``) the first kind only; and how many are left out."""
    parts = [metric for metric in metrics if "/" in metric]
    kind = parts[0].partition("/")[0] if parts else ""
    listed = [metric for metric in metrics if "/" not in metric or metric.partition("/")[0] == kind]
    return listed, len(metrics) - len(listed)


def _waiting(services: list[str]) -> None:
    """What is done later, and by what."""
    if services:
        typer.echo("waiting: MLflow does not answer; `medai sync`, the next run or `medai up` tells it once it does")


def _opened(now: int, then: int) -> str:
    """How often a test set was opened, by now and when the run was decided."""
    title = f"test, opened for {now} candidate{'' if now == 1 else 's'}"
    return title if now == then else f"{title} by now, for {then} when this was decided"


def evaluation(outcome: dict[str, Any]) -> None:
    """What ``medai evaluate`` tells: the champion's figures on these data beside those of its own test."""
    counts, seen, own = outcome["cohort"], outcome["seen_in_training"], outcome["own_test"]
    typer.echo(f"\n{outcome['question']}")
    typer.echo(f"{_who(counts)} · champion version {outcome['version']}, {outcome['model']}")
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
        listed, left = _briefly(list(metrics)) if "report" in outcome else (list(metrics), 0)
        rows = [
            (
                metric.replace("_", " "),
                _interval(metrics[metric]),
                _interval(tested[metric]) if metric in tested else _alone(apart.get(metric)),
                *([_difference(apart.get(metric))] if apart else []),
            )
            for metric in listed
        ]
        headings = (output, "these data", "its own test", *(["gap"] if apart else []))
        table("the champion on these data", headings, rows)
        if left:
            typer.echo(f"{left} more figures of single findings are in the report")
        for group in outcome["subgroups"].get(output, ()):
            who = _who(group | {"unit": counts["unit"]})
            typer.echo(f"  {group['group']} {group['level']}: {who}{_key_figure(group['metrics'])}")
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


def prediction(outcome: dict[str, Any]) -> None:
    """What ``medai predict`` tells: how many were scored, and why others were not."""
    typer.echo(f"{outcome['scored']} of {outcome['rows']} rows scored by version {outcome['version']}")
    rows = [("label", label, count) for label, count in outcome["labels"].items()]
    rows += [("set aside", reason, count) for reason, count in outcome["set_aside"].items()]
    rows += [("excluded", criterion, count) for criterion, count in outcome["excluded"].items()]
    table("", ("what", "which", "rows"), rows)
    for criterion in outcome["not_judged"]:
        typer.echo(f"not judged, since it asks for what is known only later: {criterion}")
    if outcome["seen_in_training"] is None:
        typer.echo("unknown: whether the champion was fitted on these patients, as not every picture tells whose it is")
    elif outcome["seen_in_training"]:
        typer.echo(f"{outcome['seen_in_training']} subjects are among those that the champion was fitted on")
    if outcome["seen_pictures"]:
        typer.echo(f"{outcome['seen_pictures']} pictures are pictures of patients that the champion was fitted on")
    typer.echo(f"answers: {outcome['out']}")


def _folders(outcome: dict[str, Any]) -> None:
    """Which class each folder's pictures were given: nothing but a person's eye can tell that it is the right one."""
    for pairs in outcome["folders"].values():
        for pair in pairs:
            typer.echo(f"folder {pair['folder']} → {pair['class']}: {pair['samples']}")


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


def demo(outcome: dict[str, Any]) -> None:
    """What ``medai demo`` tells: each run, and where to look."""
    for one in outcome["runs"]:
        run(one)
    typer.echo("\nlook at the reports above, or start `medai up` and open Prefect's and MLflow's pages")


def history(outcome: dict[str, Any]) -> None:
    """What ``medai history`` tells."""
    current = outcome["champion"]
    when = f" at {outcome['at']}" if outcome["at"] else ""
    if current is None:
        typer.echo(f"{outcome['problem']}: no champion{when}")
        if not outcome["entries"]:
            typer.echo(f"  nothing is told of it in the ledger of {outcome['home']}; MEDAI_HOME names another")
    else:
        since = f"since {current['since'][:19]} UTC by {current['by']}"
        typer.echo(f"{outcome['problem']}: version {current['version']}{when}, {since}")
        typer.echo(f"  {current['how']}: {current['reason']}")
        for name, what in (("model_sha256", "model"), ("data_sha256", "data"), ("report", "report")):
            if current[name]:
                typer.echo(f"  {what} {current[name]}")
    if moved := [entry for entry in outcome["entries"] if entry["kind"] == "moved"]:
        typer.echo(f"MLflow's alias was moved by hand {len(moved)} times, last noticed at {moved[-1]['at'][:19]} UTC")
    if outcome["versions"]:
        rows = []
        for one in outcome["versions"]:
            figure = one["figure"]
            shown = f"{figure['metric']} {_interval(figure)}" if figure else "–"
            if figure and (caveat := _few(figure.get("rarest"))):
                shown += f" ({caveat})"
            seed = "–" if one["seed"] is None else one["seed"]
            changed = " ".join(one["overrides"] or ()) or "–"
            rows.append((one["version"], one["registered"][:19], seed, changed, one["data_sha256"][:12], shown))
        table("", ("version", "registered (UTC)", "seed", "--set", "data", "on test"), rows)
    for entry in _judged_first(outcome["entries"]):
        typer.echo(f"{entry['at'][:19]}  {entry['by']}  {_told(entry)}")
        for reason in _reasons(entry):
            typer.echo(f"    {reason}")


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
        return f"version {entry['version']} measured on {data}{_key_figure(entry['metrics'])}"
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


def _reasons(entry: dict[str, Any]) -> list[str]:
    """Why: what the gate found, told once."""
    if entry["kind"] == "champion":
        return entry["reason"].split("; ") if entry["how"] == "gate" else []
    return [] if entry.get("verdict") == "promoted" else list(entry.get("reasons", ()))


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
    _waiting(outcome["waiting"])
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
    if (before := outcome["replaced"]) is not None:
        typer.echo(f"  it replaces the schedule at {before['cron']}")
        if before.get("data") and outcome["data"] is None:
            typer.echo(
                f"  the earlier one read --data {before['data']}; this one reads the problem's own or MEDAI_DATA's"
            )


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
