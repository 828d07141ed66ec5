"""``keep``: what a champion answered for one input, so that outcomes can be joined to it months later.

It holds the site's own names of rows and patients, and is its owner's alone. The result file is the user's: it may be
moved, changed or thrown away.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.cohort.events import static_level
from medai.monitoring.records import Batch
from medai.outputs import Output
from medai.prediction import Part
from medai.prediction.answers import named_rows
from medai.records import Candidate, Frozen, QualityReport, sha256_of, stage_key
from medai.scores import SCORES, score_columns
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
PREDICTIONS, RECEIPTS = "predictions.parquet", "batches"


class Noted(Frozen):
    """The receipt of a batch: its key, the version that predicted it and when."""

    batch: str
    version: int
    at: str


class Kept(NamedTuple):
    """A batch that was kept, with the version that predicted it and when."""

    batch: Batch
    version: int
    at: str


def keep_batch(
    workspace: Workspace,
    champion: Candidate,
    part: Part,
    quality: QualityReport,
    groups: tuple[str, ...],
    name: str,
    output: Output,
) -> Made[Batch]:
    """Write ``predictions.parquet``: one row a sample that was scored.

    id and subject are the site's names; sample_id, subject_id and prediction_time ours; then the scores' columns, and
    those groups that the data record, as text.

    Args:
        part: an input on whose road somebody was scored.
        groups: columns of pictures or stays, or static codes.
    """
    if part.scores is None:
        raise AssertionError("nobody was scored")
    scores = part.scores
    key = stage_key(
        "keep",
        VERSION,
        {"cohort": part.cohort.key, "scores": scores.key, "groups": sha256_of(list(groups))},
        None,
        ("polars", "pyarrow"),
    )

    def build(folder: Path) -> Batch:
        import polars as pl

        from medai.tables import OWNER_ALONE, read_table, write_table

        named = named_rows(workspace, part, 1).filter(pl.col("status").is_null()).select("sample_id", "id", "subject")
        people = pl.DataFrame(
            read_table(
                workspace.folder("select", part.cohort.key) / "cohort.parquet",
                ["sample_id", "subject_id", "prediction_time"],
            )
        )
        said = pl.DataFrame(
            read_table(workspace.folder("score", scores.key) / SCORES, ["sample_id", *score_columns(name, output)])
        )
        table = named.join(people, on="sample_id", validate="1:1").join(said, on="sample_id", validate="1:1")
        table, found = _with_groups(workspace, part, quality, table, groups)
        write_table(folder / PREDICTIONS, table.sort("sample_id").to_arrow(), mode=OWNER_ALONE)
        return Batch(key=key, candidate=champion.key, snapshot=part.snapshot.key, samples=table.height, groups=found)

    return workspace.materialise("keep", key, Batch, build)


def note_batch(workspace: Workspace, problem: str, batch: Batch, version: int, at: str) -> None:
    """Remember that a batch was predicted for a problem; the first time counts."""
    key = f"{problem}-{batch.key}"
    if not workspace.receipt(RECEIPTS, key):
        workspace.keep_receipt(RECEIPTS, key, Noted(batch=batch.key, version=version, at=at).model_dump())


def batches(workspace: Workspace, problem: str) -> list[Kept]:
    """The batches of a problem that the store still has, oldest first."""
    found = []
    for noted in workspace.receipts(RECEIPTS, problem, Noted):
        batch = workspace.find("keep", noted.batch, Batch)
        if batch is not None:
            found.append(Kept(batch, noted.version, noted.at))
    return sorted(found, key=lambda kept: (kept.at, kept.batch.key))


def _with_groups(
    workspace: Workspace, part: Part, quality: QualityReport, table: pl.DataFrame, groups: tuple[str, ...]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table with each group that the data have a column or code for, as text."""
    import polars as pl

    from medai.tables import read_table

    raw = workspace.folder("ingest", part.snapshot.key)
    name, key = ("images", "row_id") if part.snapshot.shape == "images" else ("stays", "stay_id")
    own = pl.DataFrame(read_table(raw / f"{name}.parquet"))
    for group in groups:
        if group in own.columns:
            levels = own.select(pl.col(key).alias("sample_id"), group)
            table = table.join(levels, on="sample_id", how="left", maintain_order="left", validate="m:1")
        elif part.snapshot.shape == "events":
            levels = static_level(raw, workspace.folder("validate", quality.key), group)
            table = table.join(levels, on="subject_id", how="left", maintain_order="left", validate="m:1")
    found = tuple(group for group in groups if group in table.columns and table[group].null_count() < table.height)
    return table.drop(set(groups) - set(found), strict=False), found
