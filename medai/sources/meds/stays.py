"""Stays of a data set that has none: from a label file, or from the codes in which medai exports its own.

An export of medai holds, under codes that begin with ``MEDAI_STAY//``, for each stay its ``START``, its ``END`` and
what was known at its start (age, gender, …), each row with the stay's id in the column ``stay_id``. They are stays when
they are read again, and no events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from medai.errors import DataRefused
from medai.sources.meds.events import impossible
from medai.sources.meds.layout import LABEL, LABEL_VALUES, Table
from medai.sources.relational.stays import AGE_GROUPS, AGED, DAYS_A_YEAR, over_89
from medai.tables import STAYS, subject_ids

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

STAY = "MEDAI_STAY//"
START, END = STAY + "START", STAY + "END"
_GENDER = r"(?i)^GENDER//(F|M)(?:EMALE|ALE)?$"

OWN = {
    "age": "float32",
    "age_group": "string",
    "gender": "string",
    "insurance": "string",
    "admission_type": "string",
    "admission_year": "int64",
    "first_unit": "string",
    "race_group": "string",
    "ethnicity_group": "string",
    "record_fault": "string",
}
"""A stay's own columns, null where the data set does not say. Of a label's stay: ``age`` in years at its start since
``MEDS_BIRTH``, over 89 it is 90; ``gender`` of a code ``GENDER//…``. Of an export of medai: as they were."""
NUMBERS = ("age", "admission_year")
"""Columns of ``OWN`` that are exported as numbers; the others are texts."""

LABELS = {
    "row_id": "int64",
    "stay_id": "int64",
    "boolean_value": "int64",
    "integer_value": "int64",
    "float_value": "float64",
    "categorical_value": "int64",
}
"""Labels of a label file; ``boolean_value`` is 0 or 1, ``categorical_value`` the number of the word in the source's
``categories``. Columns that the file does not have are left out."""


def label_rows(files: list[Path], categories: tuple[str, ...], counts: Counter[str]) -> tuple[pl.DataFrame, int]:
    """subject_id (the data set's own), prediction_time and the values; and how many rows were left out for a fault.

    Equal rows are one (``same_label_twice``). Of rows that contradict each other none stays (``label_conflict``), nor
    does a row without subject or time (``label_without_prediction``), at a time that cannot be, without a value or with
    an infinite one (``label_at_impossible_time``, ``label_without_value``, ``label_not_finite``), or with an unknown
    word (``unknown_category``).

    Raises:
        DataRefused: the files' schema is not the standard's label schema, they have different columns, or no row.
    """
    import polars as pl

    frames = []
    for position, file in enumerate(files, start=1):
        table = Table(file, f"label file {position}", LABEL, LABEL_VALUES)
        if table.others:
            raise DataRefused(
                f"label file {position} has further columns",
                expected=f"columns {', '.join((*LABEL, *LABEL_VALUES))} alone, as MEDS 0.4 says",
                received=f"{len(table.others)} further columns",
                action="write the labels anew in MEDS 0.4's label schema",
            )
        frames += [pl.DataFrame(batch) for batch in table.batches(counts)]
    if len({tuple(frame.columns) for frame in frames}) > 1:
        raise DataRefused(
            "the label files have different columns",
            expected="the same value columns in each",
            received=f"{len({tuple(frame.columns) for frame in frames})} kinds of files",
            action="point labels at the files of one task",
        )
    if not frames:
        raise DataRefused(
            "the label files hold no row",
            expected="one prediction, at least",
            received=f"{len(files)} files without any",
            action="point labels at another file, or leave it out of the source",
        )
    rows = pl.concat(frames, how="vertical_relaxed")
    given = rows.height
    whole = rows.drop_nulls(list(LABEL))
    counts["label_without_prediction"] += given - whole.height
    values = [name for name in LABEL_VALUES if name in rows.columns]
    faults = {"label_at_impossible_time": impossible("prediction_time")}
    if "float_value" in values:
        faults["label_not_finite"] = ~pl.col("float_value").is_finite()
    if values:
        faults["label_without_value"] = pl.all_horizontal(pl.col(name).is_null() for name in values)
    counts["no_label_values"] += not values  # they place predictions, and say nothing of what came
    for reason, broken in faults.items():
        kept = whole.filter(~broken.fill_null(False))
        counts[reason] += whole.height - kept.height
        whole = kept
    if "categorical_value" in values:
        numbers = {word: number for number, word in enumerate(categories)}
        known = whole.with_columns(
            pl.col("categorical_value").cast(pl.String).replace_strict(numbers, default=None, return_dtype=pl.Int64)
        )
        unknown = known["categorical_value"].is_null() & whole["categorical_value"].is_not_null()
        counts["unknown_category"] += int(unknown.sum())
        whole = known.filter(~unknown)
    distinct = whole.unique(maintain_order=True)
    counts["same_label_twice"] += whole.height - distinct.height
    alone = distinct.filter(pl.len().over(list(LABEL)) == 1)
    counts["label_conflict"] += distinct.height - alone.height
    kinds = {"boolean_value": pl.Int64, "float_value": pl.Float64}
    alone = alone.with_columns(pl.col(name).cast(kind) for name, kind in kinds.items() if name in values)
    return alone.sort(list(LABEL)), given - alone.height - (whole.height - distinct.height)


def labelled_stays(
    rows: pl.DataFrame, hours: int, people: pl.DataFrame, counts: Counter[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One stay a label, from ``hours`` before its prediction to the prediction; and the labels by stay_id.

    Args:
        rows: as ``label_rows`` gives them.
        people: subject_id, site_id, role, birth, gender; one row a subject of the data.
        counts: ages over 89 are counted here.
    """
    import polars as pl

    stays = rows.join(people, left_on="subject_id", right_on="site_id", how="inner", maintain_order="left")
    moments = stays["prediction_time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%6f")
    named = [f"{site}@{moment}" for site, moment in zip(stays["subject_id"].to_list(), moments.to_list(), strict=True)]
    start = pl.col("prediction_time") - timedelta(hours=hours)
    years = ((start - pl.col("birth")).dt.total_seconds() / 86400 / DAYS_A_YEAR).cast(pl.Float32)
    stays = stays.with_columns(
        pl.Series("stay_id", subject_ids("meds.stay", named), pl.Int64),
        pl.Series("stay_site_id", named, pl.String),
        start.alias("start"),
        pl.col("prediction_time").alias("end"),
        over_89(stays.select(years.alias("age")).to_series(), counts).alias("age"),
    ).with_columns(_age_group())
    stays = stays.drop("subject_id").rename({"hashed": "subject_id", "role": "publisher_role"}).sort("stay_id")
    return stays, stays.select("stay_id", *(name for name in LABEL_VALUES if name in stays.columns))


def exported_stays(rows: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    """The stays of an export of medai.

    Args:
        rows: the rows whose code begins with ``MEDAI_STAY//``: subject_id, time, code, numeric_value, text_value,
            stay_id, admission_id.

    Raises:
        DataRefused: a row names no stay.
    """
    import polars as pl

    if rows["stay_id"].null_count():
        raise DataRefused(
            "a row of a stay does not say of which",
            expected=f"a stay_id in each row whose code begins with {STAY}",
            received=f"{rows['stay_id'].null_count()} rows without one",
            action="export the data set again",
        )
    named = pl.col("code").str.strip_prefix(STAY)
    values = []
    for name, kind in OWN.items():
        dtype = {"float32": pl.Float32, "int64": pl.Int64}.get(kind, pl.String)
        value = pl.col("numeric_value") if name in NUMBERS else pl.col("text_value")
        values.append(value.filter(named == name).first().cast(dtype).alias(name))
    stays = rows.group_by("stay_id").agg(
        pl.col("subject_id").first(),
        pl.col("admission_id").first(),
        pl.col("time").filter(pl.col("code") == START).first().alias("start"),
        pl.col("time").filter(pl.col("code") == END).first().alias("end"),
        *values,
    )
    roles = people.select(pl.col("hashed").alias("subject_id"), pl.col("role").alias("publisher_role"))
    stays = stays.join(roles, on="subject_id", how="left")
    return stays.with_columns(pl.col("stay_id").cast(pl.String).alias("stay_site_id")).sort("stay_id")


def no_stays() -> pl.DataFrame:
    """The stays of a data set that has none."""
    import polars as pl

    moment = pl.Datetime("us")
    numbers = {"subject_id": pl.Int64, "stay_id": pl.Int64}
    return pl.DataFrame(schema={**numbers, "start": moment, "end": moment, "stay_site_id": pl.String})


def types_of_stays() -> dict[str, str]:
    """Column → type of the stays table."""
    return STAYS | OWN


def genders(rows: pl.DataFrame) -> Iterator[tuple[int, str]]:
    """Subject and F or M, of codes such as ``GENDER//F``."""
    import polars as pl

    found = rows.select("subject_id", pl.col("code").str.extract(_GENDER, 1).str.to_uppercase().alias("gender"))
    yield from found.drop_nulls().sort("subject_id", "gender").unique("subject_id", keep="first").iter_rows()


def _age_group() -> pl.Expr:
    import polars as pl

    age = pl.col("age")
    younger = [pl.when(age < limit).then(pl.lit(name)) for limit, name in AGE_GROUPS]
    return pl.when(age.is_not_null()).then(pl.coalesce(*younger, pl.lit(AGED))).alias("age_group")
