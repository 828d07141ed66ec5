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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from flows import shown, stack_commands

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.errors import MedaiError
    from medai.ledger import Ledger
    from medai.problem import Problem
    from medai.tracking import Tracking


class _Commands(TyperGroup):
    """Refuses arguments that are no text before any command runs: they could be neither logged nor answered."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what is text."""
        for text in args:
            if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in text):
                from medai.errors import ConfigurationError

                error = ConfigurationError(
                    "an argument is no text",
                    expected="characters in UTF-8",
                    received=ascii(text),
                    action="write it in UTF-8, or rename that file",
                )
                _fail(error, "--json" in args)
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="medai",
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help without rich: a third of the time
)

DEMO = ("hospital_radiographs", "hospital_mortality")
DEFECT, TERMINATED, INTERRUPTED, BROKEN_PIPE = 1, 143, 130, 141

Name = Annotated[str, typer.Argument(metavar="PROBLEM", help="A catalogue name, or a path to a YAML file.")]
Remembered = Annotated[
    str, typer.Argument(metavar="PROBLEM", help="A catalogue name, a path to a YAML file, or a name in the ledger.")
]
Data = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or file of the data, or the folder of all data sets.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the fit; it moves no patient.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a key of the Problem; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Reason = Annotated[str, typer.Option(help="Why; written in the audit.")]


def _show_version(asked: bool) -> None:
    if asked:
        from medai import __version__

        typer.echo(f"medai {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Medical data to a trustworthy model, kept trustworthy. Research software; no medical device."""


# -- running the road ----------------------------------------------------------------------------------------------


@app.command()
def run(
    problem: Name,
    data: Data = None,
    seed: Seed = 0,
    overrides: Overrides = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Make arrays of events on Dask: local, or a scheduler's tcp://HOST:PORT."),
    ] = None,
    shards: Annotated[
        str | None, typer.Option(metavar="URL", help="Where Dask's workers find the events: file:///…, s3://….")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the whole flow: raw data to a decided, registered model."""

    def act(settings: Settings) -> dict[str, Any]:
        question = _load(problem, overrides)
        if dask is not None or shards is not None:
            from flows.spreading import check

            check(dask, shards, settings)  # refused before any work
        with _prefect(settings, (question, data, f"medai run {problem}")):
            from flows.train import train

            return train(problem, data, seed, overrides, dask, shards)

    _answer(act, as_json, shown.run)


@app.command()
def check(problem: Name, data: Data = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Ingest, validate and select only; status 3 if refused."""

    def act(settings: Settings) -> dict[str, Any]:
        question = _load(problem, overrides)
        with _prefect(settings, (question, data, f"medai check {problem}")):
            from flows.check import check as judge

            return judge(problem, data, overrides)

    outcome = _answer(act, as_json, shown.check)
    if not outcome["passed"]:
        raise typer.Exit(3)


@app.command()
def evaluate(
    problem: Name,
    data: Data = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also score patients whom the champion was fitted on.")
    ] = False,
    champion: Annotated[
        bool, typer.Option("--champion", help="The champion is measured in any case; a script may say so.")
    ] = True,
    source: Annotated[
        str | None, typer.Option(metavar="FILE", help="A site's YAML file: data of another source, or other names.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Measure the champion on other labelled data; promotes nothing."""
    del champion  # nothing else can be measured

    def act(settings: Settings) -> dict[str, Any]:
        _load(problem, overrides)
        with _prefect(settings):
            from flows.evaluate import evaluate as measure

            return measure(problem, data, include_seen, overrides, source)

    _answer(act, as_json, shown.evaluation)


@app.command()
def predict(
    problem: Name,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Data in the layout of the problem's source; no labels needed."),
    ],
    out: Annotated[str, typer.Option(metavar="FILE", help="Where the answers go: a .parquet or .csv file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Score new data with the champion."""

    def act(settings: Settings) -> dict[str, Any]:
        from pathlib import Path

        _load(problem, overrides)
        from medai.prediction import Destination

        Destination(Path(out), overwrite=overwrite, inputs=[Path(one) for one in inputs])  # refused before any work
        with _prefect(settings):
            from flows.predict import predict as score

            return score(problem, inputs, out, overwrite, overrides)

    _answer(act, as_json, shown.prediction)


@app.command()
def monitor(problem: Name, data: Data = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Compare data, and the champion's answers to them, with what it learnt from."""

    def act(settings: Settings) -> dict[str, Any]:
        _load(problem, overrides)
        with _prefect(settings):
            from flows.monitor import monitor as compare

            return compare(problem, data, overrides)

    from flows.shown_monitoring import monitoring

    _answer(act, as_json, monitoring)


@app.command()
def label(
    problem: Name,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=".csv or .parquet: id (or subject), outcome; time and site if known.")
    ],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Join outcomes that came later to the predictions, and measure the champion on them."""

    def act(settings: Settings) -> dict[str, Any]:
        _load(problem, overrides)
        with _prefect(settings):
            from flows.label import label as join

            return join(problem, file, overrides)

    from flows.shown_monitoring import labelling

    _answer(act, as_json, labelling)


@app.command()
def demo(seed: Seed = 0, overrides: Overrides = None, as_json: Json = False) -> None:
    """Run two problems on generated data."""

    def act(settings: Settings) -> dict[str, Any]:
        questions = [_load(problem, overrides) for problem in DEMO]
        with _prefect(settings, (questions[0], None, "medai demo")):
            from flows.train import train

            return {"runs": [train(problem, None, seed, overrides) for problem in DEMO], "home": str(settings.home)}

    _answer(act, as_json, shown.demo)


@app.command()
def synth(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="hospital, dicom, ct, lesions, mimic4, mimic3, nih, medmnist or physionet2012."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is absent or empty.")],
    patients: Annotated[int, typer.Option(metavar="N", help="Patients, stays or pictures.")] = 1500,
    seed: Annotated[int, typer.Option(help="Another seed makes other patients.")] = 0,
    signal: Annotated[float, typer.Option(help="How strongly the label shows: 1 plainly, 0 not at all.")] = 1.0,
    mimic_version: Annotated[str | None, typer.Option(help="Of the hospital's tables: 2.2 or 3.1.")] = None,
    faults: Annotated[
        float | None, typer.Option(help="Share of a hospital, mimic4 or mimic3 with planted faults, 0 for none.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="The share of one fault (mimic4, mimic3); repeat it.")
    ] = None,
    intensive: Annotated[
        float | None, typer.Option(help="Share of admissions with intensive care (mimic4, mimic3; 0.2).")
    ] = None,
    chart_rows_per_stay: Annotated[
        int | None, typer.Option(metavar="N", help="Mean rows of chartevents (mimic4, mimic3; 3600).")
    ] = None,
    drift: Annotated[
        float | None, typer.Option(help="How much practice changes over the years (mimic4, mimic3; 0: not at all).")
    ] = None,
    shift: Annotated[
        float | None, typer.Option(help="How far a hospital has moved from what it was, for monitoring (hospital; 0).")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="CSV in place of csv.gz (mimic4, mimic3).")] = False,
    size: Annotated[int | None, typer.Option(metavar="N", help="Pixels a side of pictures (hospital, nih).")] = None,
    exposure: Annotated[
        float | None, typer.Option(help="How much lighter a site's pictures are, as a share of white (nih; 0).")
    ] = None,
    contrast: Annotated[float | None, typer.Option(help="A site's contrast (nih; 1).")] = None,
    first_patient: Annotated[
        int | None, typer.Option(metavar="N", help="Number of the first patient, so that sites share none (nih; 1).")
    ] = None,
    archives: Annotated[
        int | None, typer.Option(metavar="N", help="Folders that pictures are put into, images_001 and so on (nih).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes for mimic4, mimic3: as many as cores, up to 8.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write generated data: a hospital with radiographs, MIMIC's tables, a radiograph archive, masks, or stays."""

    def act(_settings: Settings) -> dict[str, Any]:
        from flows.synth import rates
        from flows.synth import synth as write

        chosen = {
            "version": mimic_version,
            "faults": faults,
            "rates": rates(fault) if fault else None,
            "intensive": intensive,
            "chart_rows_per_stay": chart_rows_per_stay,
            "drift": drift,
            "shift": shift,
            "compressed": False if plain else None,
            "size": size,
            "exposure": exposure,
            "contrast": contrast,
            "first_patient": first_patient,
            "archives": archives,
        }
        options = {name: value for name, value in chosen.items() if value is not None}
        return write(kind, out, {"subjects": patients, "seed": seed, "signal": signal, **options}, workers)

    _answer(act, as_json, shown.synth)


@app.command()
def export(
    form: Annotated[
        str, typer.Argument(metavar="FORM", help="meds: the MEDS 0.4 standard; model: as it was registered and signed.")
    ],
    what: Annotated[str, typer.Argument(metavar="PROBLEM|SNAPSHOT", help="A problem, or the key of a snapshot.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is absent or empty.")],
    version: Annotated[int | None, typer.Option(metavar="N", help="Of a model; the champion when left out.")] = None,
    data: Data = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a problem's events, or a snapshot's, in the field's standard; or its registered model, checked."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.export import export_model, export_problem, export_snapshot, is_snapshot, refuse_before

        refuse_before(form, out)
        if form == "model":
            return export_model(settings, _known(what, _ledger(settings)), out, version)
        if is_snapshot(what):
            return export_snapshot(settings, what, out)
        question = _load(what, overrides)
        with _prefect(settings, (question, data, f"medai export meds {what}")):
            return export_problem(what, str(out), data, overrides)

    _answer(act, as_json, shown.export)


@app.command()
def deidentify(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A folder or file of DICOM; or a table, or a folder of them.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder that is absent or empty; for a table, a file.")],
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The site's secret; one is kept in MEDAI_HOME if left out.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="YAML: columns under subject, uids, dates, keep, drop … (see README); or mimic4."
        ),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(metavar="FILE", help="YAML: where the site's devices write into pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rewrite DICOM files and tables without who they are of, so that they still join."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.deidentify import deidentify as rewrite

        return rewrite(settings, source, out, key, columns, regions)

    _answer(act, as_json, shown.deidentified)


# -- the catalogue -------------------------------------------------------------------------------------------------


@app.command()
def problems(as_json: Json = False) -> None:
    """List the catalogue."""

    def act(_settings: Settings) -> dict[str, Any]:
        from medai.problem import catalogue, load_problem

        return {"problems": {name: load_problem(name).question for name in catalogue()}}

    def show(outcome: dict[str, Any]) -> None:
        shown.table("", ("problem", "question"), list(outcome["problems"].items()))

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
    problem: Remembered,
    at: Annotated[
        str | None, typer.Option(metavar="DATE", help="Who was champion at this ISO date or time, UTC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What was champion when, and why."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.history import history as tell

        ledger = _ledger(settings)
        return tell(ledger, _known(problem, ledger), at)

    _answer(act, as_json, shown.history)


@app.command()
def promote(
    problem: Remembered,
    version: Annotated[int, typer.Argument(min=1, help="A registered version.")],
    reason: Reason,
    expect: Annotated[
        int | None,
        typer.Option(metavar="VERSION", min=0, help="Replace this champion (0: nobody), or nothing if another stands."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a registered version champion by hand."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import promote_by_hand

        ledger = _ledger(settings)
        return promote_by_hand(ledger, _tracking(settings), _known(problem, ledger), version, reason, expect)

    _answer(act, as_json, shown.champion)


@app.command()
def rollback(
    problem: Remembered,
    reason: Reason,
    expect: Annotated[
        int | None, typer.Option(metavar="VERSION", min=1, help="Withdraw this version, or nothing if another stands.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Withdraw the champion; the one before it stands again."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import roll_back

        ledger = _ledger(settings)
        return roll_back(ledger, _tracking(settings), _known(problem, ledger), reason, expect) | {"reason": reason}

    _answer(act, as_json, shown.champion)


@app.command()
def prune(
    reason: Annotated[str, typer.Option(help="Why; written in the audit. Not needed with --dry-run.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what no champion, registered version, pending decision or snapshot in use needs."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import check_reason
        from medai.pruning import plan
        from medai.pruning import prune as delete

        ledger = _ledger(settings)
        if not dry_run:
            check_reason(reason)
        found = plan(ledger) if dry_run else delete(ledger, reason)
        return {"dry_run": dry_run, "list_sha256": found.list_sha256, **found.counts()}

    _answer(act, as_json, shown.pruned)


audit = typer.Typer(name="audit", no_args_is_help=True, rich_markup_mode=None, help="Who did what, when and why.")
app.add_typer(audit)


@audit.command("verify")
def verify_audit(as_json: Json = False) -> None:
    """Is the audit whole, signed, and known to MLflow; are the champions' files intact? Status 4 if not."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.audit import verify

        return verify(_ledger(settings), _tracking(settings))

    outcome = _answer(act, as_json, shown.audit)
    if not outcome["intact"]:
        raise typer.Exit(4)


@audit.command("sign")
def sign_audit(
    reason: Annotated[
        str | None, typer.Option(help="Begin with a new site key, or sign an audit that never was; why.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let MLflow's aliases and its copies of the audit's signed head follow the ledger."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.audit import sign

        return sign(_ledger(settings), _tracking(settings), reason)

    _answer(act, as_json, shown.signed)


@app.command()
def sync(as_json: Json = False) -> None:
    """Tell MLflow what was decided while it was down; status 4 if some of it still waits."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.sync import catch_up

        return catch_up(_ledger(settings), _tracking(settings))

    outcome = _answer(act, as_json, shown.sync)
    if outcome["left"]:
        raise typer.Exit(4)


# -- services ------------------------------------------------------------------------------------------------------


@app.command()
def up(
    worker: Annotated[bool, typer.Option(help="Also run the worker that carries out deployments.")] = True,
) -> None:
    """Serve the overview, Prefect's and MLflow's pages on loopback until stopped."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.services import Services
        from flows.services import up as serve

        def ready(services: Services) -> None:
            typer.echo(
                f"overview {services.pages_url}\nPrefect  {services.prefect_url}\nMLflow   {services.mlflow_url}"
            )
            typer.echo("Stop with Ctrl-C.")

        serve(settings, worker=worker, ready=ready)
        return {}

    _answer(act, as_json=False, show=lambda _outcome: None)


@app.command()
def overview(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the pages go.")] = "overview",
    as_json: Json = False,
) -> None:
    """Write pages of what stands in production: champions, figures over time, drift, quality, plans, approvals."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.overview import write

        return write(settings, out)

    _answer(act, as_json, shown.overview)


@app.command()
def pages(
    host: Annotated[str, typer.Option(help="Outside loopback MEDAI_PAGES_AUTH is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4300,
) -> None:
    """Serve the overview and /metrics alone, for a site that keeps its own Prefect and MLflow servers."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.pages import serve

        serve(settings, None, host, port)
        return {}

    _answer(act, as_json=False, show=lambda _outcome: None)


@app.command()
def deploy(
    problem: Remembered,
    cron: Annotated[str, typer.Option(help="When to retrain, five fields of cron.")] = "0 3 * * 1",
    on: Annotated[
        str | None, typer.Option(metavar="LIST", help="Events that start it, too: some of drift,data,labels.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option(metavar="CRON", help="When to look whether data arrived, such as '*/10 * * * *'.")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Prefect's notification blocks that are told, such as slack-webhook/ward."),
    ] = None,
    timezone: Annotated[str, typer.Option(help="In which both schedules are meant, such as Europe/Berlin.")] = "UTC",
    data: Data = None,
    seed: Seed = 0,
    overrides: Overrides = None,
    listed: Annotated[bool, typer.Option("--list", help="Only tell what is deployed of the problem.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take all of it from the server.")] = False,
    as_json: Json = False,
) -> None:
    """Retrain by itself: on a schedule and on events."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows import deploy as deployments

        if listed or remove:
            name = _known(problem, _ledger(settings))
            _make_home(settings)
            look = deployments.remove if remove else deployments.deployed
            return {"problem": name, "removed" if remove else "deployments": look(settings, name)}
        _load(problem, overrides)
        _make_home(settings)
        return deployments.deploy(
            settings,
            problem,
            cron=cron,
            data=data,
            seed=seed,
            overrides=tuple(overrides or ()),
            timezone=timezone,
            on=() if on is None else tuple(part.strip() for part in on.split(",")),
            watch=watch,
            notify=notify,
        )

    _answer(act, as_json, shown.deployed)


@app.command("watch")
def look_once(
    problem: Name,
    data: Data = None,
    rest: Annotated[float, typer.Option(min=0, help="Seconds between two looks that must agree.")] = 60.0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Look once for data that arrived, and announce them."""

    def act(settings: Settings) -> dict[str, Any]:
        _make_home(settings)
        from flows.arrivals import watch_once

        return watch_once(settings, problem, data, overrides, rest)

    def show(outcome: dict[str, Any]) -> None:
        sentences = {
            "unchanged": "nothing new",
            "arriving": "data are still arriving; the next look decides",
            "arrived": "data arrived, and medai.data.arrived was announced",
        }
        typer.echo(f"{outcome['problem']}: {sentences[outcome['seen']]} ({outcome['files']} files)")

    _answer(act, as_json, show)


# -- between the commands and the library --------------------------------------------------------------------------


def _load(problem: str, overrides: list[str] | None = None) -> Problem:
    from medai.problem import load_problem

    return load_problem(problem, overrides or ())


def _known(problem: str, ledger: Ledger) -> str:
    """The name of a problem of the catalogue, of a file, or of the ledger: what has a history may be asked for it."""
    from medai.errors import ConfigurationError

    try:
        return _load(problem).name
    except ConfigurationError:
        if any(entry.problem == problem for entry in ledger.entries()):
            return problem
        raise


def _ledger(settings: Settings) -> Ledger:
    from flows.governance import ledger_of

    return ledger_of(settings)


def _tracking(settings: Settings) -> Tracking:
    from flows.governance import tracking_of

    return tracking_of(_ledger(settings), settings)


@contextlib.contextmanager
def _prefect(settings: Settings, ahead: tuple[Problem, str | None, str] | None = None) -> Iterator[None]:
    """Prefect's server: the one that runs, or an own one that starts while the flow is imported.

    Args:
        ahead: the problem and the data that will be judged, if they are new, and the command as messages name it.
    """
    from flows.services import early_prefect_server

    _make_home(settings)
    lost = False
    with early_prefect_server(settings) as server:
        os.environ["PREFECT_API_URL"] = server.api_url
        from flows.lost import marked

        if ahead is not None:
            from flows.ahead import load_ahead

            load_ahead(*ahead, settings)
        os.environ["PREFECT_API_URL"] = server.wait()
        from prefect.settings import PREFECT_API_URL

        if PREFECT_API_URL.value() != server.api_url:  # it took the place of one that does not answer
            from prefect.context import refresh_global_settings_context

            refresh_global_settings_context()
        try:
            with marked(settings, server):
                yield
        except Exception as failure:
            if settings.prefect_own or _of_prefect(failure) is None or server.answers():
                raise
            lost = True
    if lost:
        _take_up_again()


def _take_up_again() -> NoReturn:
    """Begin the command anew in this process's place, with a Prefect server of its own; finished stages are reused.

    A new program, as Prefect's client keeps threads and connections to the server that is gone. It happens once: the
    new one is told to keep its own server, and whoever was told so ends when that one fails.
    """
    logging.getLogger("medai.run").warning(
        "Prefect's server was lost; the command goes on with one of its own, and finished stages are reused"
    )
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    words = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environment | {"MEDAI_PREFECT_OWN": "true"})  # noqa: S606 - our own command line


def _make_home(settings: Settings) -> None:
    """The state folder, with Prefect's in it, which Prefect misses as soon as it is imported."""
    from medai.errors import ServiceFailed, from_machine_failure
    from medai.paths import why
    from medai.workspace import make_folder

    try:
        make_folder(settings.prefect_home, 0o700)
    except OSError as failure:
        raise from_machine_failure(failure) or ServiceFailed(
            "the state folder cannot be made or written to",
            expected="MEDAI_HOME to name a folder of ours, or a place where we may make one",
            received=f"{settings.home}: {why(failure)}",
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
    except SystemExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - the last resort: what the machine did not do is a defect of ours
        known = from_machine_failure(failure) or _of_prefect(failure)
        if known is None:
            _defect(failure, as_json)
        _fail(known, as_json)
    with _standard_output():
        if as_json:
            _print_json(outcome)
        else:
            show(outcome)
    return outcome


def _print_json(outcome: dict[str, Any]) -> None:
    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(outcome, ensure_ascii=not wide, allow_nan=False))


@contextlib.contextmanager
def _standard_output() -> Iterator[None]:
    """Print to the end; where standard output takes no more (a full disk, a reader that left), say so and end."""
    import io

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✓
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as failure:
        from medai.errors import ServiceFailed
        from medai.paths import why

        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)  # nothing is left to fail at the exit
        os.close(nowhere)
        if isinstance(failure, BrokenPipeError):
            raise typer.Exit(BROKEN_PIPE) from None
        error = ServiceFailed(
            "standard output takes no more",
            expected="room for the answer",
            received=why(failure),
            action="make room, then run the same command again: what was done is kept",
        )
        typer.echo(f"medai: {error}", err=True)
        raise typer.Exit(error.exit_status) from None


def _fail(error: Any, as_json: bool) -> NoReturn:
    typer.echo(f"medai: {error}", err=True)
    if as_json:
        with _standard_output():
            _print_json({"error": error.as_dict()})
    raise typer.Exit(error.exit_status)


def _of_prefect(failure: BaseException | None) -> MedaiError | None:
    """The ServiceFailed for what Prefect's client raises where its server does not do its part; None for all else.

    Told by names, so that neither library is imported for it; the answer is never repeated, as it may be a traceback.
    """
    from medai.errors import ServiceFailed

    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(failure).__mro__}
    if "httpx.HTTPError" not in names and not str(failure).startswith("Failed to reach API"):
        return None
    status = getattr(getattr(failure, "response", None), "status_code", None)
    return ServiceFailed(
        "Prefect's server did not do its part",
        expected="an answer to each request of the run",
        received=type(failure).__name__ + (f", status {status}" if status else ""),
        action="see that the disk has room and the shell's limits (ulimit -a) are wide enough, then run the same"
        " command again: finished stages are kept",
    )


def _defect(failure: BaseException, as_json: bool) -> NoReturn:
    """Say that it is our fault; the traceback goes to a file that only its owner may read."""
    import tempfile
    import traceback

    descriptor, path = tempfile.mkstemp(prefix="medai-defect-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(traceback.format_exception(failure)))
    typer.echo(f"medai: a defect of ours ({type(failure).__name__}). Please report it with {path}", err=True)
    if as_json:
        with _standard_output():
            _print_json({"error": {"kind": type(failure).__name__, "status": DEFECT, "traceback": path}})
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


stack_commands.add(app, _answer)


def main() -> None:
    """Entry point of the ``medai`` command."""
    app()


if __name__ == "__main__":
    main()
