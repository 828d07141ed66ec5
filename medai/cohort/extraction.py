"""Triggers and their windows on events: ``medai.cohort.windows`` says what they mean.

Subjects are gone through in blocks. In a block the moments at which a predicate is met are counted once, with running
sums; how often a predicate is met between two times is then the difference of two look-ups, for all triggers at once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.attrition import Attrition
from medai.cohort.boundaries import Boundary
from medai.cohort.events import kept_events, static_level
from medai.cohort.windows import ANY_EVENT, RECORD_END, RECORD_START, Code, Predicate, Windows
from medai.errors import DataRefused

if TYPE_CHECKING:
    import polars as pl

LABEL = "label"
"""The column in which an output finds whether the label's predicate was met."""


def triggers(raw: Path, aside: Path, definition: Windows, attrition: Attrition) -> pl.DataFrame:
    """One row a sample, in the order of sample_id.

    Returns:
        sample_id (the first 63 bits of a hash of subject and trigger time), subject_id, prediction_time,
        publisher_role (null where the publisher gave none), the groups, and ``label`` (0 or 1) where a window has one.

    Raises:
        DataRefused: two samples share their id.
    """
    import polars as pl

    from medai.tables import read_table

    columns = ["subject_id", "time", "code", "variable", "numeric_value"]
    parts = []
    place = attrition.place
    for events in kept_events(raw, aside, columns):
        attrition.rewind(place)
        parts.append(extracted(events, definition, attrition))
    samples = pl.concat(parts)
    pairs = zip(samples["subject_id"].to_list(), samples["trigger"].cast(pl.Int64).to_list(), strict=True)
    names = pl.Series("sample_id", [_named(subject, moment) for subject, moment in pairs], pl.Int64)
    if names.n_unique() < len(names):
        raise DataRefused(
            "two samples hash to the same id",
            expected="distinct ids",
            received=f"{len(names)} samples, {names.n_unique()} ids",
            action="report it with the number of samples; no cohort was made",
        )
    samples = samples.with_columns(names)
    if (raw / "subjects.parquet").exists():  # the publisher's own split of the subjects
        roles = pl.DataFrame(read_table(raw / "subjects.parquet", ["subject_id", "publisher_role"]))
        samples = samples.join(roles, on="subject_id", how="left", maintain_order="left")
    else:
        samples = samples.with_columns(pl.lit(None, pl.String).alias("publisher_role"))
    samples = samples.sort("sample_id")
    for group in definition.groups:
        samples = samples.join(static_level(raw, aside, group), on="subject_id", how="left", maintain_order="left")
    return samples.drop("trigger")


def _named(subject: int, moment: int) -> int:
    digest = hashlib.blake2b(f"medai.trigger\0{subject}\0{moment}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def extracted(events: pl.DataFrame, definition: Windows, attrition: Attrition) -> pl.DataFrame:
    """The samples of some subjects, whole.

    Args:
        events: subject_id, time (null: static), code, variable and numeric_value.

    Returns:
        subject_id, trigger (its time), prediction_time, and ``label``, in the order of subjects and times.
    """
    import polars as pl

    events = _of_static_subjects(events, definition, attrition)
    moments, record = _moments(events, definition)
    asked = (
        moments.filter(pl.col(definition.trigger) > 0)
        .select("subject_id", pl.col("time").alias("trigger"))
        .sort("subject_id", "trigger")
    )
    attrition.note(f"trigger {definition.trigger}", asked)
    sums = _running_sums(moments)
    for name in definition.in_order():
        window = definition.windows[name]
        start, end = window.boundaries
        first, second = (("end", end), ("start", start)) if start.own else (("start", start), ("end", end))
        for side, boundary in (first, second):
            if not boundary.own:
                inclusive = False
            else:
                inclusive = window.start_inclusive if side == "start" else window.end_inclusive
            asked = _with_time(asked, f"{name}.{side}", boundary, name, inclusive, moments, record)
        if window.has or window.label is not None:
            asked = _with_counts(asked, name, window.start_inclusive, window.end_inclusive, sums)
    for name, window in definition.windows.items():
        asked = asked.drop_nulls([f"{name}.start", f"{name}.end"])
        for predicate, bounds in window.has.items():
            met = pl.col(f"{name}/{predicate}")
            if bounds.min is not None:
                asked = asked.filter(met >= bounds.min)
            if bounds.max is not None:
                asked = asked.filter(met <= bounds.max)
        attrition.note(f"window {name}", asked)
    index, labelled = definition.index_window, definition.label_window
    moment = "trigger" if index is None else f"{index}.{definition.windows[index].index_timestamp}"
    kept = [pl.col("subject_id"), pl.col("trigger"), pl.col(moment).alias("prediction_time")]
    if labelled is not None:
        kept.append((pl.col(f"{labelled}/{definition.windows[labelled].label}") > 0).cast(pl.Int64).alias(LABEL))
    return asked.select(kept)


def _of_static_subjects(events: pl.DataFrame, definition: Windows, attrition: Attrition) -> pl.DataFrame:
    """The timed events of the subjects that meet every static predicate."""
    import polars as pl

    timed = events.filter(pl.col("time").is_not_null())
    for name, predicate in definition.predicates.items():
        if predicate.static:
            having = events.filter(pl.col("time").is_null(), fits(predicate)).select("subject_id").unique()
            timed = timed.join(having, on="subject_id", how="semi", maintain_order="left")
            attrition.note(f"events of subjects with {name}", timed)
    return timed


def fits(predicate: Predicate) -> pl.Expr:
    """True for the events that a plain predicate fits, false for all others."""
    import polars as pl

    parts = []
    if isinstance(predicate.code, str):
        parts.append(pl.col("code") == predicate.code)
    elif isinstance(predicate.code, Code):
        code = pl.col("code")
        if predicate.code.any is not None:
            parts.append(code.is_in(list(predicate.code.any)))
        elif predicate.code.prefix is not None:
            parts.append(code.str.starts_with(predicate.code.prefix))
        else:
            parts.append(code.str.contains(str(predicate.code.regex)))
    if predicate.variable is not None:
        parts.append(pl.col("variable") == predicate.variable)
    number = pl.col("numeric_value").fill_nan(None)
    if predicate.value_min is not None:
        parts.append(number >= predicate.value_min if predicate.value_min_inclusive else number > predicate.value_min)
    if predicate.value_max is not None:
        parts.append(number <= predicate.value_max if predicate.value_max_inclusive else number < predicate.value_max)
    return pl.all_horizontal(parts).fill_null(False)


def _moments(events: pl.DataFrame, definition: Windows) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Moments at which something that the definition names is met, with its counts; and each record's two ends.

    Returns:
        (subject_id, time, one Int64 column a predicate) and (subject_id, first, last), sorted.
    """
    import polars as pl

    record = (
        events.group_by("subject_id")
        .agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
        .sort("subject_id")
    )
    plain = {name: one for name, one in definition.predicates.items() if not one.parts and not one.static}
    named = {definition.trigger} | {
        predicate for window in definition.windows.values() for _, predicate in window.named
    }
    marked = events.lazy().select("subject_id", "time", *(fits(one).alias(name) for name, one in plain.items()))
    if ANY_EVENT not in named:
        ends = [RECORD_START, RECORD_END] if named & {RECORD_START, RECORD_END} else []
        met = pl.any_horizontal([pl.col(name) for name in plain] or [pl.lit(False)])
        if ends:
            marked = marked.join(record.lazy(), on="subject_id")
            met = met | (pl.col("time") == pl.col("first")) | (pl.col("time") == pl.col("last"))
        marked = marked.filter(met)
    counts = [pl.col(name).cast(pl.Int64).sum() for name in plain]
    moments = marked.group_by("subject_id", "time").agg(counts).sort("subject_id", "time").collect()
    for name in definition.derived_in_order():
        predicate = definition.predicates[name]
        each = [pl.col(part) > 0 for part in predicate.parts]
        whole = pl.any_horizontal(each) if predicate.any_of else pl.all_horizontal(each)
        moments = moments.with_columns(whole.cast(pl.Int64).alias(name))
    moments = moments.join(record, on="subject_id", how="left", maintain_order="left")
    return (
        moments.with_columns(
            pl.lit(1, pl.Int64).alias(ANY_EVENT),
            (pl.col("time") == pl.col("first")).cast(pl.Int64).alias(RECORD_START),
            (pl.col("time") == pl.col("last")).cast(pl.Int64).alias(RECORD_END),
        ).drop("first", "last"),
        record,
    )


def _running_sums(moments: pl.DataFrame) -> pl.DataFrame:
    """How often each predicate was met until a moment, that moment included."""
    import polars as pl

    names = [name for name in moments.columns if name not in ("subject_id", "time")]
    return moments.with_columns(pl.col(name).cum_sum().over("subject_id") for name in names)


def _with_time(
    asked: pl.DataFrame,
    column: str,
    boundary: Boundary,
    window: str,
    inclusive: bool,
    moments: pl.DataFrame,
    record: pl.DataFrame,
) -> pl.DataFrame:
    """With the time of a boundary, null where there is none.

    Args:
        inclusive: an arrow may find the very moment that it starts from.
    """
    import polars as pl

    origin = "trigger" if boundary.side is None else f"{boundary.window or window}.{boundary.side}"
    moment = (pl.col(origin) + boundary.offset).alias(column)
    sought = boundary.next or boundary.previous
    if sought is None:
        return asked.with_columns(moment)
    if sought == RECORD_START:
        found = record.select("subject_id", pl.col("first").alias(column))
    elif sought == RECORD_END:
        found = record.select("subject_id", pl.col("last").alias(column))
    else:
        found = moments.filter(pl.col(sought) > 0).select("subject_id", pl.col("time").alias(column))
    return _nearest(asked, origin, found, column, forward=boundary.next is not None, inclusive=inclusive)


def _nearest(
    asked: pl.DataFrame, origin: str, found: pl.DataFrame, time: str, *, forward: bool, inclusive: bool
) -> pl.DataFrame:
    """With the columns of the next or last row of ``found`` from ``origin`` on, of the same subject; null: none."""
    import polars as pl

    row = "asked_row"
    numbered = asked.with_row_index(row)
    there = numbered.select(row, "subject_id", pl.col(origin).alias("from")).drop_nulls().sort("from")
    near = there.join_asof(
        found.with_columns(pl.col(time).alias("to")).sort("to"),
        left_on="from",
        right_on="to",
        by="subject_id",
        strategy="forward" if forward else "backward",
        allow_exact_matches=inclusive,
        check_sortedness=False,
    ).drop("subject_id", "from", "to", strict=False)
    return numbered.join(near, on=row, how="left", maintain_order="left").drop(row)


def _with_counts(
    asked: pl.DataFrame, name: str, start_inclusive: bool, end_inclusive: bool, sums: pl.DataFrame
) -> pl.DataFrame:
    """With ``window/predicate``: how often each predicate is met in the window, 0 where it does not exist."""
    import polars as pl

    predicates = [column for column in sums.columns if column not in ("subject_id", "time")]
    for side, inclusive in (("start", not start_inclusive), ("end", end_inclusive)):
        until = sums.rename({predicate: f"{side}:{predicate}" for predicate in predicates})
        asked = _nearest(asked, f"{name}.{side}", until, "time", forward=False, inclusive=inclusive).drop("time")
    met = [
        (pl.col(f"end:{predicate}").fill_null(0) - pl.col(f"start:{predicate}").fill_null(0))
        .clip(0)
        .alias(f"{name}/{predicate}")
        for predicate in predicates
    ]
    return asked.with_columns(met).drop(f"{side}:{one}" for side in ("start", "end") for one in predicates)
