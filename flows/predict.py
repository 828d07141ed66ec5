"""The champion on new data.

    ingest → validate → select → prepare → score → keep │ write → monitor

The road of training without its truth: data are read without labels, judged by the same suite, prepared by the
champion's own preprocessing, and scored by the file that was promoted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flows.champion import ask
from flows.outcome import Steps
from flows.places import flow
from flows.reading import origin_of
from flows.watching import own_output, remember_batch, watch_batch
from medai.errors import ConfigurationError, DataRefused
from medai.external import same_question, same_reading
from medai.outputs import Output
from medai.paths import expanded
from medai.prediction import (
    Destination,
    Part,
    answers,
    fit_for_scoring,
    left_unjudged,
    seen_before,
    seen_pictures,
)
from medai.preprocessing import Preprocessing
from medai.problem import Problem, suite_path
from medai.records import KEY_LENGTH, Candidate, sha256_of
from medai.sources import unlabelled
from medai.validation import refuse_if_failed
from medai.workspace import Workspace
from tasks.ingest import ingest
from tasks.predict import score, select_unlabelled, write
from tasks.prepare import prepare
from tasks.validate import validate

log = logging.getLogger("medai.run")


@flow(name="predict", flow_run_name="{problem}")
def predict(
    problem: str, inputs: list[str], out: str, overwrite: bool = False, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Score data of a Problem's source with its champion and write what it says of each row.

    Args:
        problem: a catalogue name, or a path to a YAML file.
        inputs: data in the layout of the Problem's source; labels are not needed and not read.
        out: the file of the answers, .parquet or .csv.
        overwrite: whether ``out`` may be replaced.
        overrides: ``section.key=value``.

    Returns:
        What ``medai predict --json`` prints.
    """
    paths = [expanded(one).absolute() for one in inputs]
    destination = Destination(Path(out), overwrite=overwrite, inputs=paths)
    _, workspace, ledger, question, standing, champion = ask(problem, overrides)
    same_question(champion, question.outputs)
    same_reading(champion, origin_of(question))
    name, output = own_output(champion)
    steps = Steps()
    parts: list[Part] = []
    for place, path in enumerate(paths, start=1):
        with _input(place, len(paths)):
            parts.append(road(workspace, question, path, champion, steps, f":{place}" if len(paths) > 1 else ""))
    _refuse_copies(parts)
    remember_batch(workspace, question, standing, champion, parts)
    with steps.timed("write"):
        table = answers(workspace, parts, champion, name, output, standing.version)
        result_sha256 = write(destination, table)
    statuses = Counter(table["status"].to_list())
    data = [part.snapshot.data_sha256 for part in parts]
    outcome = {
        "problem": question.name,
        "version": standing.version,
        "model_sha256": champion.model_sha256,
        "inputs": [
            {"data_sha256": part.snapshot.data_sha256, "rows": part.cohort.attrition[0].samples}
            | {"scored": part.cohort.samples}
            for part in parts
        ],
        "rows": table.height,
        "scored": statuses["scored"],
        "set_aside": _reasons(statuses, "set_aside:"),
        "excluded": _reasons(statuses, "excluded:"),
        "settled_by_reader": dict(sum((Counter(part.snapshot.counts) for part in parts), Counter())),
        "not_judged": sorted(
            {one for part in parts for one in left_unjudged(workspace, part.snapshot, question.cohort)}
        ),
        "labels": _labels(output, table["label"].drop_nulls().to_list()),
        "seen_in_training": seen_before(workspace, [(part.snapshot, part.cohort) for part in parts], champion),
        "seen_pictures": _summed(seen_pictures(workspace, part.snapshot, champion) for part in parts),
        "repeated_ids": table.height - table["id"].n_unique(),
        "out": str(destination.path),
        "result_sha256": result_sha256,
        "data_sha256": data[0] if len(data) == 1 else sha256_of(data),
        "stages": steps.taken,
    }
    key = sha256_of([champion.key, *(part.cohort.key for part in parts)])[:KEY_LENGTH]
    facts = {fact: value for fact, value in outcome.items() if fact != "out"}
    workspace.keep_receipt("predict", key, facts | {"at": datetime.now(UTC).isoformat(), "by": ledger.by})
    return outcome | {"monitoring": watch_batch(workspace, ledger, question, standing, champion, parts)}


@contextmanager
def _input(place: int, many: int) -> Iterator[None]:
    """Say of which of several inputs a refusal is: by its place in the command, since its name may be a patient's."""
    try:
        yield
    except DataRefused as refused:
        if many == 1:
            raise
        raise type(refused)(
            f"input {place} of {many}: {refused.wrong}",
            expected=refused.expected,
            received=refused.received,
            action=refused.action,
        ) from refused


def _refuse_copies(parts: Sequence[Part]) -> None:
    """Refuse data that are given twice, whatever they are called."""
    first: dict[str, int] = {}
    for place, part in enumerate(parts, start=1):
        earlier = first.setdefault(part.snapshot.key, place)
        if earlier < place:
            raise ConfigurationError(
                "the same data are given twice",
                expected="each input once",
                received=f"input {place} of {len(parts)} has the content of input {earlier}",
                action="leave the copy out",
            )


def road(
    workspace: Workspace, question: Problem, path: Path, champion: Candidate, steps: Steps, mark: str = ""
) -> Part:
    """One input from its files to scores; each step is found or made."""
    name, output = own_output(champion)
    snapshot = steps.take(f"ingest{mark}", ingest(workspace, unlabelled(question.input.source), path))
    quality = steps.take(
        f"validate{mark}", validate(workspace, snapshot, suite_path(question), question.validation.tolerance)
    )
    judged = fit_for_scoring(quality)
    refuse_if_failed(judged)
    if not quality.passed:
        waived = [failure.reason for failure in quality.failures if failure.blocking]
        log.info("enough to be scored; asked only of data to learn from: %s", ", ".join(sorted(set(waived))))
    cohort = steps.take(f"select{mark}", select_unlabelled(workspace, snapshot, quality, question.cohort))
    if cohort.samples == 0:
        return Part(snapshot, cohort, None)
    own = TypeAdapter(Preprocessing).validate_python(champion.preprocessing)
    arrays = steps.take(f"prepare{mark}", prepare(workspace, snapshot, quality, cohort, own))
    scores = steps.take(f"score{mark}", score(workspace, champion, arrays, name, output))
    return Part(snapshot, cohort, scores, arrays, quality)


def _summed(counts: Iterable[int | None]) -> int | None:
    """The sum, or None where one of them is not known."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def _reasons(statuses: Counter[str], kind: str) -> dict[str, int]:
    return {status.removeprefix(kind): count for status, count in sorted(statuses.items()) if status.startswith(kind)}


def _labels(output: Output, said: list[str]) -> dict[str, int]:
    """Class → rows said to be of it; finding → rows said to show it."""
    counts = Counter(one for label in said for one in (label.split("; ") if output.kind == "multilabel" else [label]))
    return {name: counts[name] for name in output.names}
