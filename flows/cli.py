"""The command line. It imports next to nothing; each command imports what it needs when it runs.

With ``--json`` one JSON object stands on standard output and nothing else; progress and logs go to standard error.
Exit status: 0 done, 2 usage or configuration, 3 data refused, 4 a service or the machine failed, 1 a defect of ours.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.ledger import Ledger
    from medai.problem import Problem
    from medai.tracking import Tracking

app = typer.Typer(
    name="medai",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help without rich: a third of the time
    help="Medical data to a trustworthy model, kept trustworthy. Research software; no medical device.",
)

DEMO = ("synthetic_pictures", "synthetic_stays")
DEFECT, TERMINATED, INTERRUPTED = 1, 143, 130

Name = Annotated[str, typer.Argument(metavar="PROBLEM", help="A catalogue name, or a path to a YAML file.")]
Data = Annotated[str | None, typer.Option(metavar="PATH", help="Folder or file of the data.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the fit; it moves no patient.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a key of the Problem; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Reason = Annotated[str, typer.Option(help="Why; written in the audit.")]


# -- running the road ----------------------------------------------------------------------------------------------


@app.command()
def run(problem: Name, data: Data = None, seed: Seed = 0, overrides: Overrides = None, as_json: Json = False) -> None:
    """Run the whole flow: raw data to a decided, registered model."""

    def act(settings: Settings) -> dict[str, Any]:
        _load(problem, overrides)
        with _prefect(settings):
            from flows.train import train

            return train(problem, data, seed, overrides)

    _answer(act, as_json, _show_run)


@app.command()
def check(problem: Name, data: Data = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Ingest and validate only; exit status 3 when the data are refused."""

    def act(settings: Settings) -> dict[str, Any]:
        _load(problem, overrides)
        with _prefect(settings):
            from flows.check import check as judge

            return judge(problem, data, overrides)

    outcome = _answer(act, as_json, _show_check)
    if not outcome["passed"]:
        raise typer.Exit(3)


@app.command()
def demo(seed: Seed = 0, overrides: Overrides = None, as_json: Json = False) -> None:
    """Make generated data, run two problems to a promoted champion, and say where to look."""

    def act(settings: Settings) -> dict[str, Any]:
        for problem in DEMO:
            _load(problem, overrides)
        with _prefect(settings):
            from flows.train import train

            return {"runs": [train(problem, None, seed, overrides) for problem in DEMO], "home": str(settings.home)}

    _answer(act, as_json, _show_demo)


# -- the catalogue -------------------------------------------------------------------------------------------------


@app.command()
def problems(as_json: Json = False) -> None:
    """List the catalogue."""

    def act(_settings: Settings) -> dict[str, Any]:
        from medai.problem import catalogue, load_problem

        return {"problems": {name: load_problem(name).question for name in catalogue()}}

    def show(outcome: dict[str, Any]) -> None:
        _table("", ("problem", "question"), list(outcome["problems"].items()))

    _answer(act, as_json, show)


@app.command("show")
def show_problem(problem: Name, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print one problem, resolved: every key with its value."""

    def act(_settings: Settings) -> dict[str, Any]:
        return _load(problem, overrides).model_dump(mode="json")

    def show(outcome: dict[str, Any]) -> None:
        import yaml

        typer.echo(yaml.safe_dump(outcome, sort_keys=False, allow_unicode=True, width=110), nl=False)

    _answer(act, as_json, show)


# -- governance ----------------------------------------------------------------------------------------------------


@app.command()
def history(
    problem: Name,
    at: Annotated[
        str | None, typer.Option(metavar="DATE", help="Who was champion at this ISO date or time, UTC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What was champion when, and why."""

    def act(settings: Settings) -> dict[str, Any]:
        from medai.ledger import moment

        name = _load(problem).name
        ledger = _ledger(settings)
        champion = ledger.champion(name, moment(at) if at else None)
        return {
            "problem": name,
            "at": at,
            "champion": None if champion is None else vars(champion),
            "versions": [
                {"version": version, "run_id": facts["run_id"], "model_sha256": facts["model_sha256"]}
                for version, facts in sorted(ledger.registered(name).items())
            ],
            "entries": [
                {"at": entry.at, "by": entry.by, "kind": entry.kind, **entry.facts}
                for entry in ledger.entries(name)
                if entry.kind in ("settled", "champion")
            ],
        }

    _answer(act, as_json, _show_history)


@app.command()
def promote(
    problem: Name,
    version: Annotated[int, typer.Argument(min=1, help="A registered version.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Make a registered version champion by hand."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import promote_by_hand

        return promote_by_hand(_ledger(settings), _tracking(settings), _load(problem).name, version, reason)

    _answer(act, as_json, _show_champion)


@app.command()
def rollback(problem: Name, reason: Reason, as_json: Json = False) -> None:
    """Withdraw the champion; the one before it stands again."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import roll_back

        return roll_back(_ledger(settings), _tracking(settings), _load(problem).name, reason)

    _answer(act, as_json, _show_champion)


# -- services ------------------------------------------------------------------------------------------------------


@app.command()
def up(
    worker: Annotated[bool, typer.Option(help="Also run the worker that carries out deployments.")] = True,
) -> None:
    """Serve Prefect's and MLflow's pages on loopback until stopped."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.services import Services
        from flows.services import up as serve

        def ready(services: Services) -> None:
            typer.echo(f"Prefect  {services.prefect_url}\nMLflow   {services.mlflow_url}\nStop with Ctrl-C.")

        serve(settings, worker=worker, ready=ready)
        return {}

    _answer(act, as_json=False, show=lambda _outcome: None)


@app.command()
def deploy(
    problem: Name,
    cron: Annotated[str, typer.Option(help="When to retrain, five fields of cron, UTC.")] = "0 3 * * 1",
    data: Data = None,
    seed: Seed = 0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Schedule retraining on the running Prefect server."""

    def act(settings: Settings) -> dict[str, Any]:
        question = _load(problem, overrides)
        with _prefect(settings):
            from flows.deploy import deploy as schedule

            deployment = schedule(settings, problem, cron=cron, data=data, seed=seed, overrides=tuple(overrides or ()))
        return {"problem": question.name, "deployment": str(deployment), "cron": cron}

    def show(outcome: dict[str, Any]) -> None:
        typer.echo(f"{outcome['problem']} is retrained at {outcome['cron']} (deployment {outcome['deployment']})")

    _answer(act, as_json, show)


# -- between the commands and the library --------------------------------------------------------------------------


def _load(problem: str, overrides: list[str] | None = None) -> Problem:
    from medai.problem import load_problem

    return load_problem(problem, overrides or ())


def _ledger(settings: Settings) -> Ledger:
    import getpass

    from medai.ledger import Ledger
    from medai.workspace import Workspace

    return Ledger(Workspace(settings.home, settings.lock_seconds), by=getpass.getuser())


def _tracking(settings: Settings) -> Tracking:
    from medai.tracking import Tracking
    from medai.workspace import Workspace

    return Tracking(
        settings.tracking_uri or settings.tracking_database,
        settings.artifact_root,
        Workspace(settings.home, settings.lock_seconds),
    )


@contextlib.contextmanager
def _prefect(settings: Settings) -> Iterator[None]:
    """Prefect's server: the one that runs, or an own one that starts while the flow is imported."""
    from flows.services import early_prefect_server

    _make_home(settings)
    with early_prefect_server(settings) as server:
        os.environ["PREFECT_API_URL"] = server.api_url
        import flows.train  # noqa: F401 - the server starts meanwhile

        server.wait()
        yield


def _make_home(settings: Settings) -> None:
    """The state folder, with Prefect's in it, which Prefect misses as soon as it is imported."""
    from medai.errors import ServiceFailed, from_machine_failure

    try:
        settings.prefect_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as failure:
        raise from_machine_failure(failure) or ServiceFailed(
            "the state folder cannot be made or written to",
            expected="MEDAI_HOME to name a folder of ours, or a place where we may make one",
            received=f"{type(failure).__name__} (errno {failure.errno})",
            action="correct MEDAI_HOME or the permissions of that place",
        ) from None


def _answer(
    act: Callable[[Settings], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Carry out a command, and turn what may go wrong into its message and exit status."""
    from medai.errors import MedaiError, from_machine_failure

    _log_to_standard_error()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from flows.settings import Settings

        settings = Settings.load()
        settings.apply()
        outcome = act(settings)
    except MedaiError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as failure:  # noqa: BLE001 - the last resort: what the machine did not do is a defect of ours
        known = from_machine_failure(failure)
        if known is None:
            _defect(failure, as_json)
        _fail(known, as_json)
    if as_json:
        typer.echo(json.dumps(outcome, ensure_ascii=False, allow_nan=False))
    else:
        show(outcome)
    return outcome


def _fail(error: Any, as_json: bool) -> NoReturn:
    typer.echo(f"medai: {error}", err=True)
    if as_json:
        typer.echo(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
    raise typer.Exit(error.exit_status)


def _defect(failure: BaseException, as_json: bool) -> NoReturn:
    """Say that it is our fault; the traceback goes to a file that only its owner may read."""
    import tempfile
    import traceback

    descriptor, path = tempfile.mkstemp(prefix="medai-defect-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(traceback.format_exception(failure)))
    typer.echo(f"medai: a defect of ours ({type(failure).__name__}). Please report it with {path}", err=True)
    if as_json:
        typer.echo(json.dumps({"error": {"kind": type(failure).__name__, "status": DEFECT, "traceback": path}}))
    raise typer.Exit(DEFECT)


def _terminated(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


def _log_to_standard_error() -> None:
    """Our own progress and warnings; other libraries only when they fail hard. Prefect leaves such a handler alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(
        lambda record: (
            record.levelno >= logging.CRITICAL or (record.name.startswith("medai") and record.levelno >= logging.INFO)
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("medai").setLevel(logging.INFO)


# -- what a person sees --------------------------------------------------------------------------------------------


def _table(title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file or a pipe has no width: let no figure wrap
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        figures = bool(title) and place > 0
        table.add_column(column, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)


def _interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _show_run(outcome: dict[str, Any]) -> None:
    counts = outcome["cohort"]
    typer.echo(f"\n{outcome['question']}")
    typer.echo(
        f"{counts['samples']} samples of {counts['subjects']} subjects (one {counts['unit']} each) · {outcome['model']}"
    )
    for output, metrics in outcome["metrics"].items():
        others = outcome["baselines"]
        rows = [
            (
                metric.replace("_", " "),
                _interval(measure),
                *(f"{figures[metric]:.3f}" if metric in figures else "–" for figures in others.values()),
            )
            for metric, measure in metrics.items()
        ]
        heads = (output, outcome["model"].replace("_", " "), *(name.replace("_", " ") for name in others))
        _table(f"test, opened for {outcome['test_openings']} candidate(s)", heads, rows)
    typer.echo(
        f"decision: {outcome['decision'].replace('_', ' ')} (version {outcome['version']}, run {outcome['run_id']})"
    )
    for reason in outcome["reasons"]:
        typer.echo(f"  {reason}")
    champion = outcome["champion"]
    typer.echo("champion: " + ("none" if champion is None else f"version {champion}"))
    typer.echo(f"report: {outcome['report']}")


def _show_check(outcome: dict[str, Any]) -> None:
    typer.echo(f"{'passed' if outcome['passed'] else 'FAILED'}: {outcome['rules']} rules on {outcome['rows']} rows")
    rows = [("set aside", reason, count) for reason, count in outcome["set_aside"].items()]
    rows += [("warned", reason, count) for reason, count in outcome["warned"].items()]
    rows += [("settled by the reader", reason, count) for reason, count in outcome["settled_by_reader"].items()]
    if rows:
        _table("", ("what", "reason", "rows"), rows)
    for failure in outcome["failures"]:
        if failure["blocking"]:
            typer.echo(
                f"blocking: {failure['reason']} in {failure['table']} {failure['column']}: "
                f"{failure['unexpected']} of {failure['evaluated']} rows"
            )


def _show_demo(outcome: dict[str, Any]) -> None:
    for one in outcome["runs"]:
        _show_run(one)
    typer.echo("\nlook at the reports above, or start `medai up` and open Prefect's and MLflow's pages")


def _show_history(outcome: dict[str, Any]) -> None:
    champion = outcome["champion"]
    when = f" at {outcome['at']}" if outcome["at"] else ""
    if champion is None:
        typer.echo(f"{outcome['problem']}: no champion{when}")
    else:
        typer.echo(f"{outcome['problem']}: version {champion['version']}{when}, since {champion['since'][:19]} UTC")
        typer.echo(f"  {champion['how']}: {champion['reason']}")
    if outcome["entries"]:
        rows = [
            (
                entry["at"][:19],
                entry["by"],
                entry["version"] if entry["version"] is not None else "–",
                entry["verdict"].replace("_", " ") if entry["kind"] == "settled" else f"champion by {entry['how']}",
            )
            for entry in outcome["entries"]
        ]
        _table("", ("when (UTC)", "who", "version", "what"), rows)


def _show_champion(outcome: dict[str, Any]) -> None:
    version = outcome["champion"]
    typer.echo(f"{outcome['problem']}: " + ("no champion" if version is None else f"version {version} is champion"))


def main() -> None:
    """Entry point of the ``medai`` command."""
    app()
