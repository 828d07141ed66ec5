"""Cohorts of stays: which stays, and when in each of them a prediction is made.

Criteria on stays come first, on one row a stay. Stays that are left then become predictions, in blocks of whole stays,
so that 100,000 stays of 100 hours (ten million predictions) are never held at once.

A stay of one prediction lends it its own id. A stay of many numbers them: the first 49 bits of a hash of stay_id, then
14 bits of the prediction's number in the stay. So the order of sample_id, in which arrays and tables lie, keeps a
stay's predictions together and in the order of time, and a further stay moves no id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.attrition import Attrition
from medai.cohort.definition import Criterion, Stays
from medai.cohort.events import first_readings, observed_stays, static_level
from medai.cohort.truth import ASKED_AT
from medai.conditions import Columns, Unanswerable, parse_condition
from medai.errors import ConfigurationError, DataRefused, near_match

if TYPE_CHECKING:
    import polars as pl

NUMBER_BITS = 14
LARGEST_BLOCK = 1 << 20
"""Predictions of a block, unless a single stay has more."""


def chosen_stays(raw: Path, aside: Path, stays: pl.DataFrame, definition: Stays, attrition: Attrition) -> pl.DataFrame:
    """The stays that meet every criterion on stays, with prediction_time where there is one a stay, and the groups.

    Args:
        stays: the stays that validation kept, joined with their labels.

    Raises:
        ConfigurationError: a criterion asks for a column that is not there or of another type.
    """
    import polars as pl

    stays = stays.sort("stay_id")
    if not definition.has_series:
        stays = stays.with_columns(
            pl.col("stay_id").alias("sample_id"),
            (pl.col("start") + timedelta(hours=definition.observation_hours)).alias("prediction_time"),
        )
    for criterion in definition.criteria:
        if criterion.where is not None:
            stays = stays.filter(condition(criterion, stays.schema))
        elif criterion.only_in is not None:
            stays = stays.filter(pl.len().over(f"{criterion.only_in}_id") == 1)
        elif definition.has_series:
            continue
        else:
            stays = stays.join(observed_stays(raw, aside, stays), on="sample_id", how="semi", maintain_order="left")
        attrition.note(criterion.name, stays)
    for group in definition.groups:
        if group not in stays.columns:
            stays = stays.join(static_level(raw, aside, group), on="subject_id", how="left", maintain_order="left")
    return stays


def predictions(
    raw: Path, aside: Path, stays: pl.DataFrame, definition: Stays, attrition: Attrition
) -> Iterator[pl.DataFrame]:
    """The predictions of the stays, block by block, in the order of sample_id; each block is noted from here on.

    Args:
        stays: as ``chosen_stays`` gives them, with no more columns than are needed later.

    Yields:
        One row a prediction: the stay's columns with sample_id, prediction_time and ``hours_asked_at``.

    Raises:
        DataRefused: two stays share the hash that their predictions are named by, or a stay has too many.
    """
    import polars as pl

    if not definition.has_series:
        yield stays.with_columns(pl.lit(float(definition.observation_hours)).alias(ASKED_AT))
        return
    lasts = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    stays = stays.with_columns(lasts.alias("lasts")).filter(pl.col("lasts") > 0)
    observed = [criterion.name for criterion in definition.criteria if criterion.observed]
    if observed:
        stays = stays.join(first_readings(raw, aside, stays), on="stay_id", how="left", maintain_order="left")
    hour = 3_600_000_000
    if definition.every_hours is None:
        stays = stays.with_columns(
            pl.col("stay_id").alias("sample_id"),
            pl.col("end").alias("prediction_time"),
            (pl.col("lasts") / hour).alias(ASKED_AT),
        ).sort("sample_id")
        blocks = iter([stays])
        line = "with an end"
    else:
        first, every = definition.first_hours, definition.every_hours
        last = pl.min_horizontal(pl.col("lasts") // hour, pl.lit(definition.last_hours, pl.Int64))
        stays = stays.with_columns(((last - first) // every + 1).clip(0).alias("number"), _named(stays["stay_id"]))
        stays = stays.sort("name")
        _refuse_unnameable(stays)
        blocks = _repeated(stays, first, every)
        line = f"predictions, one every {every} h from {first} h on" if every > 1 else f"hours from {first} on"
    place = attrition.place
    for block in blocks:
        attrition.rewind(place)
        attrition.note(line, block)
        for name in observed:
            block = block.filter((pl.col("first") <= pl.col("prediction_time")).fill_null(False))
            attrition.note(name, block)
        yield block


def _repeated(stays: pl.DataFrame, first: int, every: int) -> Iterator[pl.DataFrame]:
    """One row a prediction, of so many whole stays at a time as fit a block; at least one block."""
    import numpy as np
    import polars as pl

    ends = np.cumsum(stays["number"].to_numpy())
    start = 0
    while True:
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + LARGEST_BLOCK, side="right")))
        hours = pl.lit(first, pl.Int64) + every * pl.col("place")
        yield (
            stays[start:stop]
            .with_columns(pl.int_ranges(0, "number").alias("place"))
            .explode("place", empty_as_null=False)
            .with_columns(
                (pl.col("name") + pl.col("place")).alias("sample_id"),
                (pl.col("start") + pl.duration(hours=hours)).alias("prediction_time"),
                hours.cast(pl.Float64).alias(ASKED_AT),
            )
        )
        start = stop
        if start >= stays.height:
            return


def _named(stay_ids: pl.Series) -> pl.Series:
    """A stay's part of its predictions' ids, int64: their number can be added to it."""
    import polars as pl

    def name(stay_id: int) -> int:
        digest = hashlib.blake2b(b"medai.sample\0" + str(stay_id).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (1 + NUMBER_BITS) << NUMBER_BITS

    return pl.Series("name", [name(stay_id) for stay_id in stay_ids.to_list()], pl.Int64)


def _refuse_unnameable(stays: pl.DataFrame) -> None:
    names = stays["name"].n_unique()
    if names < stays.height:
        raise DataRefused(
            "two stays hash to the same name of their predictions",
            expected="distinct names",
            received=f"{stays.height} stays, {names} names",
            action="report it with the number of stays; no cohort was made",
        )
    many = int((stays["number"] > 1 << NUMBER_BITS).sum())
    if many:
        raise DataRefused(
            "a stay is too long for a prediction so often",
            expected=f"at most {1 << NUMBER_BITS} predictions a stay",
            received=f"{many} stays with more",
            action="raise every_hours, or leave out stays of that length by a criterion",
        )


def condition(criterion: Criterion, schema: pl.Schema) -> pl.Expr:
    """The rows that a criterion's ``where`` keeps.

    Raises:
        ConfigurationError: a column is not there or of another type.
    """
    try:
        return Columns(schema).meet(parse_condition(criterion.where or ""))
    except Unanswerable as unanswerable:
        missing = unanswerable.reason == "missing_column"
        raise ConfigurationError(
            f"the criterion '{criterion.name}' cannot be followed",
            expected="a condition on columns of the stays and labels tables, each with values of its type",
            received=f"column {unanswerable.column}, "
            + (f"which is not there; {near_match(unanswerable.column, schema)}" if missing else "of another type"),
            action="correct cohort.criteria in the Problem",
        ) from None
