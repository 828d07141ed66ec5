"""External evaluation: the champion on labelled data that played no part in its making. It promotes nothing.

Every sample of the cohort is scored, in the role ``test`` of a split that has no other. Who the champion was fitted on
is left out unless somebody asks for it, since a model knows its own patients. Patients are known by their ids, and by
their pictures: another source calls the same patient otherwise, and equal pixels are one patient's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from medai.errors import ConfigurationError, DataRefused
from medai.measurement.evidence import told
from medai.outputs import Output
from medai.promotion import trained_subjects
from medai.records import Candidate, Cohort, Evidence, Frozen, Origin, Scorecard, Snapshot, Splits, sha256_of, stage_key
from medai.scores import SCORES
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
MINIMUM = 30
"""Subjects of a class below which figures are insufficient evidence where the Problem has no gate to say so."""


class _Division(Frozen):
    purpose: str = "external"


def same_question(candidate: Candidate, outputs: dict[str, Output]) -> None:
    """Refuse outputs that the champion does not answer; the label's column and values may be another site's.

    Raises:
        ConfigurationError: another output, kind or class, or the classes in another order.
    """
    asked = {name: (output.kind, list(output.names)) for name, output in outputs.items()}
    adapter: TypeAdapter[Output] = TypeAdapter(Output)
    own = {name: adapter.validate_python(output) for name, output in candidate.outputs.items()}
    answered = {name: (output.kind, list(output.names)) for name, output in own.items()}
    if asked != answered:
        raise ConfigurationError(
            "the champion answers another question than the Problem asks",
            expected=_told(answered),
            received=_told(asked),
            action="evaluate it under the outputs that it was fitted for, or run the Problem anew",
        )


def same_reading(candidate: Candidate, asked: Origin) -> None:
    """Refuse to score data that are read otherwise than those that the champion was fitted on.

    Its own preprocessing is kept; what the reader makes of the files, and when a prediction is made, is not in it.

    Raises:
        ConfigurationError: source or time of prediction differ; each key is named.
    """
    differing = candidate.reads_otherwise(asked)
    if differing:
        raise ConfigurationError(
            "the Problem reads its data otherwise than those that the champion was fitted on",
            expected="; ".join(f"{key}: {json.dumps(own)}" for key, (own, _) in differing.items()),
            received="; ".join(f"{key}: {json.dumps(other)}" for key, (_, other) in differing.items()),
            action="take back that --set or edit of the Problem, or run the Problem anew for a champion of its own",
        )


def _told(outputs: Mapping[str, tuple[str, list[str]]]) -> str:
    return "; ".join(f"{name}, {kind}: {', '.join(names)}" for name, (kind, names) in outputs.items())


def refuse_unlabelled(workspace: Workspace, snapshot: Snapshot, outputs: dict[str, Output]) -> None:
    """Refuse data in which no label of the outputs is known.

    Raises:
        DataRefused: there is none.
    """
    import polars as pl

    from medai.tables import read_table

    labels = pl.DataFrame(read_table(workspace.folder("ingest", snapshot.key) / "labels.parquet"))
    for name, output in outputs.items():
        present = [column for column in output.labels if column in labels.columns]
        if present and labels.select(pl.all_horizontal(pl.col(present).is_null()).all()).item():
            raise DataRefused(
                f"output {name}: no label is known in these data",
                expected=f"values in {', '.join(present)}",
                received=f"{labels.height} rows without one",
                action="give data with their outcomes, or score them with `medai predict`",
            )


def known_again(workspace: Workspace, snapshot: Snapshot, candidate: Candidate) -> frozenset[int]:
    """Subjects with a picture that is, pixel by pixel, one of somebody whom the candidate was fitted on.

    Nobody is known where there are no pictures, or where the store no longer holds those of the fit.
    """
    import polars as pl

    if candidate.origin is None:
        return frozenset()
    here, learnt = _pictures(workspace, snapshot.key), _pictures(workspace, candidate.origin.snapshot)
    if here is None or learnt is None:
        return frozenset()
    fitted = pl.Series(sorted(trained_subjects(workspace, candidate)), dtype=pl.Int64)
    contents = learnt.filter(pl.col("subject_id").is_in(fitted.implode()))["content_hash"]
    return frozenset(here.filter(pl.col("content_hash").is_in(contents.implode()))["subject_id"].drop_nulls().to_list())


def _pictures(workspace: Workspace, snapshot: str) -> pl.DataFrame | None:
    """row_id, subject_id and content_hash of a snapshot's pictures; None where there are none."""
    import polars as pl

    from medai.tables import read_table

    path = workspace.folder("ingest", snapshot) / "images.parquet" if snapshot else None
    if path is None or not path.is_file():
        return None
    return pl.DataFrame(read_table(path, ["row_id", "subject_id", "content_hash"]))


def hold_out(
    workspace: Workspace,
    cohort: Cohort,
    candidate: Candidate,
    *,
    include_seen: bool = False,
    known: frozenset[int] = frozenset(),
) -> Made[Splits]:
    """All of a cohort in the role test; who the candidate was fitted on has none, and is counted in ``dropped``.

    Args:
        include_seen: leave nobody out.
        known: subjects who are known again, by other means than their ids.

    Raises:
        DataRefused: nobody is left.
    """
    inputs = {"cohort": cohort.key} | ({} if include_seen else {"candidate": candidate.key})
    if known and not include_seen:
        inputs["known"] = sha256_of(sorted(known))
    key = stage_key("split", VERSION, inputs, _Division(), ("polars", "pyarrow"))

    def build(folder: Path) -> Splits:
        import polars as pl

        from medai.tables import OWNER_ALONE, read_table, write_table

        table = pl.DataFrame(
            read_table(workspace.folder("select", cohort.key) / "cohort.parquet", ["sample_id", "subject_id"])
        )
        kept = table if include_seen else table.filter(~_seen(workspace, table, candidate, known))
        if kept.height == 0:
            raise DataRefused(
                "the champion was fitted on every patient of these data",
                expected="patients that it has not seen",
                received=f"{table.height} samples of {table['subject_id'].n_unique()} subjects, all seen in its fit",
                action="give other data, or say --include-seen and do not take the figures for evidence",
            )
        assigned = kept.with_columns(pl.lit(0, pl.Int8).alias("fold"), pl.lit("test").alias("role")).sort("sample_id")
        write_table(folder / "splits.parquet", assigned.to_arrow(), mode=OWNER_ALONE)
        subjects = kept["subject_id"].unique().sort().to_list()
        dropped = table.height - kept.height
        return Splits(
            key=key,
            samples={"test": kept.height},
            subjects={"test": len(subjects)},
            test_sha256=sha256_of(subjects),
            dropped={"test": dropped} if dropped else {},
        )

    return workspace.materialise("split", key, Splits, build)


def seen(
    workspace: Workspace, cohort: Cohort, candidate: Candidate, known: frozenset[int] = frozenset()
) -> tuple[int, int]:
    """Samples and subjects of a cohort that the candidate was fitted on, or that are known again."""
    import polars as pl

    from medai.tables import read_table

    table = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", ["subject_id"]))
    found = table.filter(_seen(workspace, table, candidate, known))
    return found.height, found["subject_id"].n_unique()


def _seen(workspace: Workspace, table: pl.DataFrame, candidate: Candidate, known: frozenset[int]) -> pl.Series:
    import polars as pl

    subjects = sorted(trained_subjects(workspace, candidate) | known)
    return table["subject_id"].is_in(pl.Series(subjects, dtype=pl.Int64).implode())


def own_scorecard(
    workspace: Workspace, candidate: Candidate, tests: Iterable[str], like: Scorecard
) -> Scorecard | None:
    """The candidate's scorecard on its own test set; None where the store no longer holds it.

    Args:
        tests: names of the test sets (``Splits.test_sha256``) that the ledger saw it opened for.
        like: a scorecard made the same way (interval, resamples), which stands beside it.
    """
    opened = set(tests)
    for folder in sorted((workspace.root / "store" / "evaluate").glob("[0-9a-f]*")):
        record = folder / "record.json"
        if not record.is_file() or candidate.key.encode() not in record.read_bytes():
            continue
        scorecard = workspace.find("evaluate", folder.name, Scorecard)
        if scorecard is None or scorecard.candidate != candidate.key or scorecard.role != "test":
            continue
        if (scorecard.confidence, scorecard.resamples) != (like.confidence, like.resamples):
            continue
        if _subjects_sha256(folder / SCORES) in opened:
            return scorecard
    return None


def rows_of_both(
    workspace: Workspace, scorecard: Scorecard, other: Scorecard, snapshots: tuple[str, str] = ("", "")
) -> int:
    """Samples of a scorecard whose subject stands in another, by its id or by a picture: what it repeats.

    Args:
        snapshots: key of each scorecard's snapshot; without pictures ids alone are compared.
    """
    import polars as pl

    from medai.tables import read_table

    ours, theirs = (
        pl.DataFrame(read_table(workspace.folder("evaluate", card.key) / SCORES)) for card in (scorecard, other)
    )
    both = ours["subject_id"].is_in(theirs["subject_id"].implode())
    here, there = (_pictures(workspace, key) for key in snapshots)
    if here is not None and there is not None:
        shown = there.filter(pl.col("row_id").is_in(theirs["sample_id"].implode()))["content_hash"]
        again = here.filter(pl.col("content_hash").is_in(shown.implode()))["subject_id"].drop_nulls()
        both = both | ours["subject_id"].is_in(again.implode())
    return int(both.sum())


def _subjects_sha256(scores: Path) -> str:
    import polars as pl

    from medai.tables import read_table

    table = pl.DataFrame(read_table(scores, ["subject_id"]))
    return sha256_of(table["subject_id"].unique().sort().to_list())


def lacking(evidence: Iterable[Evidence], unit: str, positives: int, negatives: int) -> tuple[str, ...]:
    """What is missing before figures are evidence: one sentence for each class with too few subjects.

    Args:
        evidence: each class of the output.
        unit: what a subject is.
        positives, negatives: fewest subjects of a positive and of a negative class; each of several classes is a
            positive one, and the absence of a finding a negative one.

    >>> well = Evidence(label="well", positive=False, samples=50, subjects=50)
    >>> ill = Evidence(label="ill", positive=True, samples=40, subjects=3)
    >>> lacking((well, ill), "patient", 30, 30)
    ('ill: 3 patients (40 samples) (required: at least 30)',)
    """
    return tuple(
        f"{one.label}: {told(one, unit)} (required: at least {least})"
        for one in evidence
        if one.subjects < (least := positives if one.positive else negatives)
    )
