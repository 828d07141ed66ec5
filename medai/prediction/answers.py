"""One row for each picture or stay that was handed over: what the champion says of it, or why it says nothing.

id             what the site calls it: its file, row or record
subject        what the site calls its patient, where that is told and is another name
output         the output's name
score          probability of the positive class; with several classes or findings one column each, score.CLASS
               or, of a mask, what ``medai.prediction.masks`` tells of the picture, label among it
label          the class at the threshold, the likeliest of several, or the findings present, parted by "; "
threshold      score at which label changes; threshold.FINDING for findings, null where the likeliest class is taken
model_version, model_sha256
status         scored, set_aside:REASON or excluded:CRITERION
input          which of the inputs it came from, from 1
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.errors import DataRefused
from medai.measurement.metrics import Scored
from medai.outputs import Mask, Output
from medai.prediction.acquaintance import nameless
from medai.prediction.masks import columns_of
from medai.prediction.scoring import Scores
from medai.prediction.selection import ROWS
from medai.records import Arrays, Candidate, Cohort, QualityReport, Snapshot
from medai.scores import SCORES, score_columns
from medai.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

SCORED = "scored"


class Part(NamedTuple):
    """One input on its way: its snapshot, who of it was selected, their scores and arrays (None: nobody was).

    ``quality`` says which of its rows were set aside.
    """

    snapshot: Snapshot
    cohort: Cohort
    scores: Scores | None
    arrays: Arrays | None = None
    quality: QualityReport | None = None


def answers(
    workspace: Workspace, parts: Sequence[Part], candidate: Candidate, name: str, output: Output, version: int
) -> pl.DataFrame:
    """The rows of all inputs, input by input, each in the order of its ids (numbers by size).

    Raises:
        DataRefused: an input names two of its rows alike, so that answers could not be told apart.
    """
    import polars as pl

    tables = [named_rows(workspace, part, place) for place, part in enumerate(parts, start=1)]
    table = pl.concat(tables)
    types = _said(name, output)
    columns = [column for column in types if column != "label"]
    thresholds = candidate.thresholds[name]
    scored = table.filter(pl.col("status").is_null())
    frames = [
        _scores(workspace, part.scores, place, list(types) if isinstance(output, Mask) else columns)
        for place, part in enumerate(parts, start=1)
        if part.scores is not None
    ]
    if not isinstance(output, Mask):
        frames = [
            frame.with_columns(pl.Series("label", labels_of(output, frame.select(columns).to_numpy(), thresholds)))
            for frame in frames
        ]
    empty = pl.DataFrame(schema={"input": pl.Int32, "sample_id": pl.Int64, **types})
    said = pl.concat([empty, *frames])
    if scored.join(said, on=("input", "sample_id"), how="anti").height:
        raise AssertionError("a selected sample has no score")
    table = table.join(said, on=("input", "sample_id"), how="left", maintain_order="left", validate="m:1")
    heads = columns if isinstance(output, Mask) else _headed("score", output)
    names = dict(zip(columns, heads, strict=True))
    cuts = dict(zip(_headed("threshold", output), thresholds, strict=True)) if thresholds else {"threshold": None}
    spoken = pl.col("status").is_null()
    return table.select(
        "id",
        "subject",
        pl.lit(name).alias("output"),
        *(pl.when(spoken).then(column).alias(head) for column, head in names.items()),
        pl.when(spoken).then("label").alias("label"),
        *(pl.when(spoken).then(pl.lit(cut, pl.Float64)).alias(head) for head, cut in cuts.items()),
        pl.lit(version, pl.Int64).alias("model_version"),
        pl.lit(candidate.model_sha256).alias("model_sha256"),
        pl.col("status").fill_null(SCORED),
        "input",
    )


def _said(name: str, output: Output) -> dict[str, Any]:
    """Column of what was scored → polars' type, label last or among them."""
    import polars as pl

    if isinstance(output, Mask):
        return columns_of(output)
    return dict.fromkeys(score_columns(name, output), pl.Float32) | {"label": pl.String}


def labels_of(output: Scored, scores: np.ndarray, thresholds: tuple[float, ...]) -> list[str]:
    """What each row of (samples, columns) probabilities says, by the class's name.

    >>> import numpy as np
    >>> from medai.outputs import Binary
    >>> ill = Binary(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")
    >>> labels_of(ill, np.array([[0.29], [0.3]]), (0.3,))
    ['well', 'ill']
    """
    from medai.measurement.metrics import predict

    predicted = predict(output, scores, thresholds)
    if output.kind != "multilabel":
        return [output.names[one] for one in predicted.tolist()]
    return [
        "; ".join(finding for finding, there in zip(output.names, row, strict=True) if there)
        for row in predicted.tolist()
    ]


def _headed(what: str, output: Output) -> list[str]:
    return [what] if output.kind in ("binary", "mask") else [f"{what}.{name}" for name in output.names]


def named_rows(workspace: Workspace, part: Part, place: int) -> pl.DataFrame:
    """Every row of an input with the site's own names, in the order of its ids.

    Returns:
        sample_id, id, subject (null where it is no other name), status (null where it is to be scored) and input, which
        is ``place``.

    Raises:
        DataRefused: two rows are named alike.
    """
    import polars as pl

    from medai.tables import read_table

    raw = workspace.folder("ingest", part.snapshot.key)
    what, key = ("picture", "row_id") if part.snapshot.shape == "images" else ("stay", "stay_id")
    ids = pl.DataFrame(read_table(raw / f"{what}_identifiers.parquet", [key, "site_id"]))
    ids = ids.rename({key: "sample_id", "site_id": "id"})
    people = pl.DataFrame(read_table(raw / "identifiers.parquet")).rename({"site_id": "subject"})
    # A picture of nobody known has its content for a subject, which is no name.
    people = people.filter(~pl.col("subject_id").is_in(nameless(workspace, part.snapshot).implode()))
    rows = pl.DataFrame(read_table(workspace.folder("select", part.cohort.key) / ROWS))
    table = (
        rows.join(ids, on="sample_id", how="left", validate="m:1")
        .join(people, on="subject_id", how="left", validate="m:1")
        .select(
            "sample_id",
            "id",
            pl.when(pl.col("subject") != pl.col("id")).then("subject"),
            "status",
            pl.lit(place, pl.Int32).alias("input"),
        )
    )
    unnamed, repeated = table["id"].null_count(), table.height - table["id"].n_unique()
    if unnamed or repeated:
        raise DataRefused(
            "the rows of the input cannot be told apart",
            expected="a name of its own for each picture or stay",
            received=f"{unnamed} without a name, {repeated} whose name is taken",
            action="give each picture or stay a name of its own in the input",
        )
    order = sorted(range(table.height), key=[_by_size(one) for one in table["id"].to_list()].__getitem__)
    return table[order]


def _scores(workspace: Workspace, scores: Scores, place: int, columns: list[str]) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    table = pl.DataFrame(read_table(workspace.folder("score", scores.key) / SCORES))
    return table.select(pl.lit(place, pl.Int32).alias("input"), "sample_id", *columns)


def _by_size(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """The order in which a person looks for names: their numbers by size.

    >>> sorted(["test/10", "test/9", "a"], key=_by_size)
    ['a', 'test/9', 'test/10']
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part) for part in parts), name
