"""What a cohort asks of the events that validation kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

ROWS = 1 << 19
"""Events of a block."""


def set_aside(aside: Path, name: str) -> pl.DataFrame:
    """row_id and reason of the rows of a table that validation set aside."""
    import polars as pl

    from medai.tables import read_table

    rows = pl.DataFrame(read_table(aside / "set_aside.parquet"))
    return rows.filter(pl.col("table") == name).select("row_id", "reason")


def kept_events(raw: Path, aside: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Events that validation kept, in the snapshot's order, in blocks of whole subjects; one block at least."""
    import polars as pl

    from medai.tables import read_table, scan

    away = set_aside(aside, "events")["row_id"]
    path, read = raw / "events.parquet", list(dict.fromkeys(["row_id", "subject_id", *columns]))
    blocks = 0
    for part in scan(path, read, rows=ROWS):
        block = pl.DataFrame(part)
        if len(away):
            block = block.filter(~pl.col("row_id").is_in(away.implode()))
        blocks += 1
        yield block.select(columns)
    if not blocks:
        yield pl.DataFrame(read_table(path, columns))


def first_readings(raw: Path, aside: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """stay_id and ``first``, the time of the first reading of a clinical variable since the stay's start.

    Args:
        stays: stay_id, subject_id and start, one row a stay.
    """
    import polars as pl

    asked = stays.select("stay_id", "subject_id", "start")
    parts = [
        block.lazy()
        .filter(pl.all_horizontal(pl.col("time", "variable", "numeric_value").is_not_null()))
        .select("subject_id", "time")
        .unique()
        .join(asked.lazy(), on="subject_id")
        .filter(pl.col("time") >= pl.col("start"))
        .group_by("stay_id")
        .agg(pl.col("time").min().alias("first"))
        .collect()
        for block in kept_events(raw, aside, ["subject_id", "time", "variable", "numeric_value"])
    ]
    return pl.concat(parts)


def observed_stays(raw: Path, aside: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """sample_id of the stays with a reading of a clinical variable in the observation window, both ends included.

    Args:
        stays: sample_id, stay_id, subject_id, start and prediction_time, one row a stay.
    """
    import polars as pl

    first = first_readings(raw, aside, stays)
    return (
        stays.join(first, on="stay_id")
        .filter(pl.col("first") <= pl.col("prediction_time"))
        .select("sample_id")
        .unique()
    )


def static_level(raw: Path, aside: Path, code: str) -> pl.DataFrame:
    """subject_id and the last number of a static code, under the code's name."""
    import polars as pl

    parts = [
        block.filter(pl.col("time").is_null() & (pl.col("code") == code))
        .group_by("subject_id", maintain_order=True)
        .agg(pl.col("numeric_value").drop_nulls().last().alias(code))
        for block in kept_events(raw, aside, ["subject_id", "time", "code", "numeric_value"])
    ]
    return pl.concat(parts)
