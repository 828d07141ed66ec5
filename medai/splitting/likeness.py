"""Subjects whose pictures are equal or nearly so, on one side of a split: perhaps one person under two numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import DataRefused
from medai.splitting.definition import ORDER

if TYPE_CHECKING:
    import polars as pl

GROUP = "near_group"
"""Column of the images table: equal for pictures that hang together, null for the others."""


def joined_by_likeness(table: pl.DataFrame, raw: Path, within: str | None) -> tuple[pl.DataFrame, int]:
    """The samples, where subjects hang together with the most protected role that one of them has.

    So a subject of the test stays there in every later snapshot, whoever turns out to look alike.

    Args:
        table: sample_id, subject_id, publisher_role and role.
        raw: the snapshot's folder.
        within: the publisher's role whose samples alone are meant; None: all.

    Returns:
        The table, and how many subjects got another role thereby.

    Raises:
        DataRefused: the source does not compare its pictures.
    """
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet")) if (raw / "images.parquet").exists() else pl.DataFrame()
    if GROUP not in images.columns:
        raise DataRefused(
            "near-duplicates cannot be kept together",
            expected=f"pictures that were compared when they were read: a column {GROUP}",
            received="a source that compares none",
            action="leave near_duplicates of the split out",
        )
    pairs = images.filter(pl.col(GROUP).is_not_null(), pl.col("subject_id").is_not_null())
    sides = _sides(pairs.select(GROUP, "subject_id").unique().sort(GROUP, "subject_id"))
    meant = pl.lit(True) if within is None else pl.col("publisher_role") == within
    given = table.join(sides, on="subject_id", how="left", maintain_order="left")
    present = (pl.when((pl.col("role") == role).any()).then(pl.lit(role)) for role in ORDER)
    best = given.filter(meant, pl.col("side").is_not_null()).group_by("side").agg(best=pl.coalesce(*present))
    given = given.join(best, on="side", how="left", maintain_order="left")
    moved = given.with_columns(pl.when(meant).then(pl.coalesce("best", "role")).otherwise("role").alias("given"))
    joined = moved.filter(pl.col("given") != pl.col("role"))["subject_id"].n_unique()
    return moved.with_columns(pl.col("given").alias("role")).select(table.columns), joined


def _sides(pairs: pl.DataFrame) -> pl.DataFrame:
    """subject_id and ``side``, which is equal for subjects that a chain of groups connects."""
    import polars as pl

    above: dict[int, int] = {}

    def first(subject: int) -> int:
        while above.setdefault(subject, subject) != subject:
            subject = above[subject]
        return subject

    for (_,), group in pairs.group_by(GROUP, maintain_order=True):
        one, *others = group["subject_id"].to_list()
        for other in others:
            low, high = sorted((first(one), first(other)))
            above[high] = low
    subjects = sorted(above)
    return pl.DataFrame(
        {"subject_id": subjects, "side": [first(one) for one in subjects]},
        schema={"subject_id": pl.Int64, "side": pl.Int64},
    )
