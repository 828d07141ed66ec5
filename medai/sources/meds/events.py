"""Rows of a shard to canonical events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from medai.sources.meds.layout import EXTENSIONS, VALUES, Table
from medai.sources.meds.variables import Codes

if TYPE_CHECKING:
    import polars as pl

    from medai.sources.meds import Meds

OWN = {
    "source_table": "string",
    "admission_id": "int64",
    "link": "string",
    "hours_outside_admission": "float32",
}
"""An event's own columns: those of an export of medai, null of any other data set."""
EARLIEST, LATEST = datetime(1700, 1, 1), datetime(2300, 12, 31, 23, 59, 59)
"""Times that can be; de-identified data are shifted by centuries."""


def placed_rows(table: Table, counts: Counter[str], dropped: Counter[str]) -> Iterator[pl.DataFrame]:
    """A shard's rows that have subject, code and a possible time, with every column that may be read.

    A known time that cannot be is taken for none (``impossible_known_time``).
    """
    import polars as pl

    kinds: dict[str, pl.DataType | type[pl.DataType]] = {
        "known_time": pl.Datetime("us"),
        "numeric_value": pl.Float32,
        "hours_outside_admission": pl.Float32,
    }
    kinds |= dict.fromkeys(("source_row", "row_id", "admission_id", "stay_id"), pl.Int64)
    last: tuple[object, ...] | None = None
    met, places = set[int](), 0
    for batch in table.batches(counts):
        rows = pl.DataFrame(batch)
        wanted = {name: kinds.get(name, pl.String) for name in (*VALUES, *EXTENSIONS)}
        rows = rows.with_columns(
            pl.col("code").cast(pl.String),
            *(
                (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
                for name, kind in wanted.items()
            ),
        )
        given = rows.height
        faults = {
            "row_without_subject": pl.col("subject_id").is_null(),
            "row_without_code": pl.col("code").is_null() | (pl.col("code") == ""),
            "impossible_time": impossible("time"),
        }
        for reason, broken in faults.items():
            kept = rows.filter(~broken.fill_null(False))
            counts[reason] += rows.height - kept.height
            rows = kept
        dropped["events"] += given - rows.height
        strange = impossible("known_time")
        counts["impossible_known_time"] += int(rows.select(strange.sum()).item() or 0)
        infinite = pl.col("numeric_value").is_finite().not_()
        counts["number_not_finite"] += int(rows.select(infinite.sum()).item() or 0)
        rows = rows.with_columns(
            pl.when(~strange).then("known_time").alias("known_time"),
            pl.when(infinite).then(None).otherwise("numeric_value").alias("numeric_value"),
            pl.when(infinite & pl.col("text_value").is_null())
            .then(pl.col("numeric_value").cast(pl.String))
            .otherwise("text_value")
            .alias("text_value"),
        )
        if rows.height:
            before = (
                pl.DataFrame(
                    {"subject_id": [last[0]], "time": [last[1]]}, schema=rows.select("subject_id", "time").schema
                )
                if last
                else None
            )
            counts["subject_out_of_order"] += _out_of_order(rows, before)
            begins = int((rows["subject_id"] != rows["subject_id"].shift(1)).fill_null(True).sum())
            places += begins - (last is not None and last[0] == rows["subject_id"][0])
            met.update(rows["subject_id"].unique().to_list())
            last = rows.select("subject_id", "time").row(-1)
            yield rows
    counts["subject_in_several_places"] += places - len(met)


def impossible(column: str) -> pl.Expr:
    """Whether a column's time cannot be; not where there is none.

    Times are compared whole: of one far beyond the calendar the year cannot be asked.
    """
    import polars as pl

    return (~pl.col(column).is_between(EARLIEST, LATEST)).fill_null(False)


def _out_of_order(rows: pl.DataFrame, before: pl.DataFrame | None) -> int:
    """Subjects with a row that is earlier than the one before it; rows without a time come first."""
    import polars as pl

    joined = rows.select("subject_id", "time")
    joined = joined if before is None else pl.concat([before, joined])
    earlier = (pl.col("time") < pl.col("time").shift(1)) | (
        pl.col("time").is_null() & pl.col("time").shift(1).is_not_null()
    )
    same = pl.col("subject_id") == pl.col("subject_id").shift(1)
    return joined.filter(same & earlier.fill_null(False))["subject_id"].n_unique()


def canonical(rows: pl.DataFrame, codes: Codes, config: Meds, counts: Counter[str], *, own: bool) -> pl.DataFrame:
    """The events of some rows, with ``priority`` and ``row``.

    Args:
        own: an export of medai, whose rows name their variables, in their units, and are numbered.
    """
    import polars as pl

    if own:
        rows = rows.with_columns(pl.lit(0, pl.Int16).alias("priority"), pl.col("row_id").alias("row"))
    else:
        rows = codes.measured(rows.drop("variable")).with_columns(pl.lit(None, pl.Int64).alias("row"))
        counts["unit_of_another_quantity"] += int(rows["strange_unit"].sum())
    delays = sorted(config.delay_minutes.items(), key=lambda one: len(one[0]))
    known_time = pl.col("time")
    for beginning, minutes in delays:
        later = pl.col("time") + timedelta(minutes=minutes)
        known_time = pl.when(pl.col("code").str.starts_with(beginning)).then(later).otherwise(known_time)
    return rows.select(
        "subject_id",
        "time",
        "code",
        "variable",
        "numeric_value",
        "text_value",
        pl.coalesce("known_time", known_time).alias("known_time"),
        pl.col("source_row").cast(pl.Int32, strict=False),
        pl.col("priority").fill_null(0),
        "row",
        *OWN,
    )
