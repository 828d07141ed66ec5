"""Whom of the data the champion was fitted on, as far as ids and contents tell.

A picture whose file name tells no patient has its content for a subject: it is known again by its pixels alone, and
nobody can say whether the champion knows its patient by another picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from medai.prediction.selection import ROWS
from medai.promotion import trained_subjects
from medai.records import Candidate, Cohort, Snapshot
from medai.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl


def seen_before(workspace: Workspace, given: Iterable[tuple[Snapshot, Cohort]], champion: Candidate) -> int | None:
    """How many subjects of the snapshots, scored or not, the champion was fitted on; who is in several counts once.

    Returns:
        None where ids cannot be compared: pictures without a name on the one side, patients on the other.
    """
    from medai.tables import read_table

    subjects: set[int] = set()
    for snapshot, cohort in given:
        learnt = snapshot.unit if champion.origin is None else champion.origin.unit
        if snapshot.unit != learnt or (learnt != "image" and len(nameless(workspace, snapshot))):
            return None
        rows = read_table(workspace.folder("select", cohort.key) / ROWS, ["subject_id"])
        subjects.update(rows["subject_id"].to_pylist())
    return len(subjects & trained_subjects(workspace, champion))


def seen_pictures(workspace: Workspace, snapshot: Snapshot, champion: Candidate) -> int | None:
    """How many pictures of the snapshot are, pixel by pixel, pictures of those whom the champion was fitted on.

    Returns:
        None where there are no pictures, or the store no longer holds those of the fit.
    """
    import polars as pl

    from medai.tables import read_table

    if snapshot.shape != "images" or champion.origin is None:
        return None
    learnt = workspace.folder("ingest", champion.origin.snapshot) / "images.parquet"
    if not learnt.is_file():
        return None
    known = pl.Series(sorted(trained_subjects(workspace, champion)), dtype=pl.Int64)
    theirs = pl.DataFrame(read_table(learnt, ["subject_id", "content_hash"])).filter(
        pl.col("subject_id").is_in(known.implode())
    )
    here = read_table(workspace.folder("ingest", snapshot.key) / "images.parquet", ["content_hash"])
    return int(pl.DataFrame(here)["content_hash"].is_in(theirs["content_hash"].implode()).sum())


def nameless(workspace: Workspace, snapshot: Snapshot) -> pl.Series:
    """subject_id of the pictures of nobody known, whose content stands for a subject."""
    import polars as pl

    from medai.tables import read_table

    if snapshot.shape != "images":
        return pl.Series("subject_id", [], pl.Int64)
    raw = workspace.folder("ingest", snapshot.key)
    contents = pl.DataFrame(read_table(raw / "images.parquet", ["subject_id", "content_hash"]))
    people = pl.DataFrame(read_table(raw / "identifiers.parquet"))
    return contents.join(
        people, left_on=["subject_id", "content_hash"], right_on=["subject_id", "site_id"], how="semi"
    )["subject_id"].unique()
