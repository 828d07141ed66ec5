"""Series of slices that make a volume: which are whole, and one row for each.

A volume with a slice missing in its middle looks like anatomy that nobody has. So a series is taken whole or not at
all; where validation set slices aside, what they leave must still be evenly spaced. A slice lost at either end cannot
be told from a series that was planned shorter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.definition import SliceSeries
from medai.cohort.events import set_aside
from medai.errors import DataRefused

if TYPE_CHECKING:
    import polars as pl

PLACE = ("series", "slice_position", "spacing_down", "spacing_across")
"""Columns of the images table that say where a slice lies: see ``medai.preprocessing.volume``."""
LARGEST_GAP = 1.5
"""Times the median gap between slices; a larger gap has a slice missing in it."""


def all_slices(raw: Path) -> pl.DataFrame:
    """Pictures that belong to a series, in the order of their series and positions.

    Raises:
        DataRefused: the source says nothing of series.
    """
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet"))
    missing = [column for column in PLACE if column not in images.columns]
    if missing:
        raise DataRefused(
            "the pictures are no slices of a series",
            expected="columns " + ", ".join(PLACE) + " in the table of images",
            received="no " + ", ".join(missing),
            action="use a source of CT or MR series, or a cohort of kind pictures",
        )
    return images.filter(pl.col("series").is_not_null()).sort("series", "slice_position", "row_id")


def kept_slices(raw: Path, aside: Path) -> pl.DataFrame:
    """The same without those that validation set aside."""
    away = set_aside(aside, "images").select("row_id")
    return all_slices(raw).join(away, on="row_id", how="anti", maintain_order="left")


def first_of_each(slices: pl.DataFrame) -> pl.DataFrame:
    """One row a series, that of its least row_id, in the order of row_id."""
    return slices.sort("row_id").unique("series", keep="first", maintain_order=True)


def judged(slices: pl.DataFrame, definition: SliceSeries) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each criterion with the series that meet it (column ``series``), whatever they met before."""
    import polars as pl

    place, position = pl.struct("height", "width", "spacing_down", "spacing_across"), pl.col("slice_position")
    gaps = position.drop_nulls().diff().drop_nulls()
    known = pl.all_horizontal(pl.col(column).is_not_null() for column in PLACE).all()
    holds = {
        "of one patient": pl.col("subject_id").n_unique() == 1,
        "every slice has a place and a spacing": known,
        f"at least {definition.least_slices} slices": pl.len() >= definition.least_slices,
        "slices of one geometry": place.n_unique() == 1,
        "one slice a place": position.n_unique() == pl.len(),
        "no slice missing in between": gaps.max() <= LARGEST_GAP * gaps.median(),
    }
    told = slices.group_by("series", maintain_order=True).agg(**holds)
    for criterion in holds:
        yield criterion, told.filter(pl.col(criterion)).select("series")
