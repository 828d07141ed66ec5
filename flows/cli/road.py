"""What is asked of one problem: ``run``, ``check``, ``evaluate``, ``predict``, ``monitor``, ``label``; and ``demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Data, Json, Name, Overrides, Seed, load
from flows.cli.frame import answer
from flows.cli.server import about, prefect_server
from flows.shown import road as shown
from flows.shown import scores, windows

if TYPE_CHECKING:
    from flows.settings import Settings

commands = typer.Typer()

DEMO = ("hospital_radiographs", "hospital_mortality")


@commands.command()
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
        question = load(problem, overrides)
        if dask is not None or shards is not None:
            from flows.spreading import check

            check(dask, shards, settings)  # refused before any work
        with prefect_server(settings, (question, data, f"medai run {problem}")), about(question):
            from flows.train import train

            return train(problem, data, seed, overrides, dask, shards)

    answer(act, as_json, shown.run)


@commands.command()
def check(problem: Name, data: Data = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Ingest, validate and select only; status 3 if refused."""

    def act(settings: Settings) -> dict[str, Any]:
        question = load(problem, overrides)
        with prefect_server(settings, (question, data, f"medai check {problem}")), about(question):
            from flows.check import check as judge

            return judge(problem, data, overrides)

    outcome = answer(act, as_json, shown.check)
    if not outcome["passed"]:
        raise typer.Exit(3)


@commands.command()
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
        question = load(problem, overrides)
        with prefect_server(settings), about(question):
            from flows.evaluate import evaluate as measure

            return measure(problem, data, include_seen, overrides, source)

    answer(act, as_json, scores.evaluation)


@commands.command()
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

        question = load(problem, overrides)
        from medai.prediction import Destination

        Destination(Path(out), overwrite=overwrite, inputs=[Path(one) for one in inputs])  # refused before any work
        with prefect_server(settings), about(question):
            from flows.predict import predict as score

            return score(problem, inputs, out, overwrite, overrides)

    answer(act, as_json, scores.prediction)


@commands.command()
def monitor(problem: Name, data: Data = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Compare data, and the champion's answers to them, with what it learnt from."""

    def act(settings: Settings) -> dict[str, Any]:
        question = load(problem, overrides)
        with prefect_server(settings), about(question):
            from flows.monitor import monitor as compare

            return compare(problem, data, overrides)

    answer(act, as_json, windows.monitoring)


@commands.command()
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
        question = load(problem, overrides)
        with prefect_server(settings), about(question):
            from flows.label import label as join

            return join(problem, file, overrides)

    answer(act, as_json, windows.labelling)


@commands.command()
def demo(seed: Seed = 0, overrides: Overrides = None, as_json: Json = False) -> None:
    """Run two problems on generated data."""

    def act(settings: Settings) -> dict[str, Any]:
        questions = [load(problem, overrides) for problem in DEMO]
        with prefect_server(settings, (questions[0], None, "medai demo")):
            from flows.train import train

            runs = []
            for problem, question in zip(DEMO, questions, strict=True):
                with about(question):
                    runs.append(train(problem, None, seed, overrides))
            return {"runs": runs, "home": str(settings.home)}

    answer(act, as_json, shown.demo)
