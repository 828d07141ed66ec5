"""Outcomes that come later: a file of them, read, and joined to the predictions that they are about.

The file is CSV in UTF-8 or Parquet, one row an outcome:

id        what the site calls the picture or stay, as in the answers of ``medai predict``; or
subject   what it calls the patient, where one prediction alone was made for him
OUTCOME   named like the output, its label column or ``outcome``: a class by its name or its label value; of findings
          one column each of 0 and 1, or ``outcome`` with their names, parted by ";"
time      when it was known, ISO 8601; may be left out
site      by which the performance is told, too; may be left out. A cell that names a patient is no site
          (a cohort's group of that name is told as "site of the data")

Further columns may stand there, of whatever kind; they are not used.

What cannot be used is set aside by its reason, and counted; nothing of a row is told.

without_id            neither id nor subject
missing_outcome       empty
unknown_outcome       no class of the output
unreadable_time       no ISO 8601
future                later than now, though the prediction is not
duplicate             the same id with the same outcome again
contradicts_itself    the same id with several outcomes: none of them is taken
unknown_id            nobody of that name was predicted
several_predictions   a subject for whom several rows were predicted: give their ids; or an id that names several
                      subjects, as where each file of pictures counts its own from 0
other_outputs         predicted only by champions whose outputs are not those of the one that stands, as before a class
                      was renamed: the file is read by the classes of the one that stands
model_missing         predicted only by a champion whose files are gone or altered; once the store is restored from a
                      copy, give the file again
contradicts_earlier   another outcome is known already, and stands
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.disclosure import Guard
from medai.errors import ConfigurationError, DataRefused
from medai.outputs import Mask, Multilabel, Output
from medai.records import sha256_of_file

if TYPE_CHECKING:
    import polars as pl

KEYS = ("id", "subject")
OUTCOME, TIME, SITE = "outcome", "time", "site"
LONGEST_SITE = 64
"""Characters of a site's name; a longer text is none."""
OTHER_OUTPUTS, MODEL_MISSING = "other_outputs", "model_missing"
"""Why no outcome is joined to what a champion answered."""
REASONS = (
    "without_id",
    "missing_outcome",
    "unknown_outcome",
    "unreadable_time",
    "future",
    "duplicate",
    "contradicts_itself",
    "unknown_id",
    "several_predictions",
    OTHER_OUTPUTS,
    MODEL_MISSING,
    "contradicts_earlier",
)
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The first of January of the year 1 and the last of December 9999, in days since 1970."""
_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})


class LabelFile(NamedTuple):
    """A file that was read.

    Attributes:
        key: ``id`` or ``subject``.
        table: name (of the id or subject), truth (the class's name; findings parted by "; "), time, site, and reason
            where a row is set aside.
        sha256: of the file.
    """

    key: str
    table: pl.DataFrame
    sha256: str


class Joined(NamedTuple):
    """What became of a file's rows.

    Attributes:
        rows: predictions with their truth and site, known already or not.
        set_aside: reason → rows of the file.
    """

    rows: pl.DataFrame
    set_aside: dict[str, int]


def read_labels(path: Path, name: str, output: Output) -> LabelFile:
    """Read a file of outcomes.

    Args:
        name: of the output.

    Raises:
        ConfigurationError: the output is a mask, or there is no such file.
        DataRefused: the file cannot be read, or lacks a column.
    """
    import polars as pl

    if isinstance(output, Mask):
        raise ConfigurationError(
            "outcomes of masks are pictures",
            expected="an output of classes or findings",
            received="an output of kind mask",
            action="measure the champion on labelled pictures with `medai evaluate`",
        )
    findings = (*output.names, *output.classes) if isinstance(output, Multilabel) else ()
    raw, columns = _read(path, {*KEYS, TIME, SITE, name, OUTCOME, *output.labels, *findings})
    keys = [key for key in KEYS if key in raw.columns]
    if not keys:
        raise _lacks("a column id or subject", columns)
    if isinstance(output, Multilabel) and any(finding in raw.columns for finding in findings):
        truth = _findings(raw, columns, output)
    else:
        found = [one for one in dict.fromkeys((name, OUTCOME, *output.labels)) if one in raw.columns]
        if not found:
            raise _lacks(f"the outcome in a column {name} or {OUTCOME}", columns)
        if len(found) > 1:
            raise _twice(f"the outcome in one column, {name} or {OUTCOME}", f"{len(found)} columns of outcomes")
        column = found[0]
        truth = raw[column].map_elements(lambda text: _class_of(str(text), output), pl.String, skip_nulls=True)
        truth = pl.select(pl.when(raw[column].is_null()).then(pl.lit("")).otherwise(truth)).to_series()
    times, readable = _times(raw[TIME] if TIME in raw.columns else None, raw.height)
    site = (
        raw[SITE].str.slice(0, LONGEST_SITE) if SITE in raw.columns else pl.Series([None] * raw.height, dtype=pl.String)
    )
    table = pl.DataFrame({"name": raw[keys[0]], "truth": truth, "time": times, "readable": readable, "site": site})
    reason = (
        pl.when(pl.col("name").is_null())
        .then(pl.lit("without_id"))
        .when(pl.col("truth") == "")
        .then(pl.lit("missing_outcome"))
        .when(pl.col("truth").is_null())
        .then(pl.lit("unknown_outcome"))
        .when(~pl.col("readable"))
        .then(pl.lit("unreadable_time"))
    )
    return LabelFile(keys[0], table.with_columns(reason.alias("reason")).drop("readable"), sha256_of_file(path))


def without_named_patients(file: LabelFile, guards: Iterable[Guard]) -> tuple[LabelFile, int]:
    """The file without those sites that name a patient, since sites are told on pages; and of how many rows they were.

    Args:
        guards: who know the patients; where nobody names a site none is asked for.
    """
    import polars as pl

    sites = file.table["site"].drop_nulls().unique().to_list()
    known = list(guards) if sites else []
    naming = [site for site in sites if any(one.finds(site) for one in known)]
    named = pl.col("site").is_in(naming)
    table = file.table.with_columns(pl.when(~named).then("site").alias("site"))
    return file._replace(table=table), int(file.table["site"].is_in(naming).sum())


def join(
    file: LabelFile,
    predictions: pl.DataFrame,
    known: pl.DataFrame,
    now: datetime | None = None,
    aside: Mapping[str, str] | None = None,
) -> Joined:
    """Join outcomes to predictions.

    Args:
        predictions: id, subject, subject_id, candidate, prediction_time and further columns; of one id, subject and
            candidate one row.
        known: candidate, id and truth of outcomes that were joined before.
        now: later than which no outcome can be known; the clock's when left out.
        aside: candidate → why nothing is joined to its predictions; they say still whom a name means.
    """
    import polars as pl

    unfit = dict(aside or {})
    known = known.filter(~pl.col("candidate").is_in(list(unfit)))
    now = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    table = file.table.with_row_index("line")
    free = pl.col("reason").is_null()
    several = pl.col("truth").filter(free).n_unique().over("name") > 1
    table = table.with_columns(
        pl.when(free & several).then(pl.lit("contradicts_itself")).otherwise("reason").alias("reason")
    )
    again = free & (pl.col("line") > pl.col("line").filter(free).min().over("name"))
    table = table.with_columns(pl.when(again).then(pl.lit("duplicate")).otherwise("reason").alias("reason"))

    of_name = predictions.with_columns(
        (pl.col("id") if file.key == "id" else pl.col("subject").fill_null(pl.col("id"))).alias("name"),
        pl.col("candidate").replace_strict(unfit, default=None, return_dtype=pl.String).alias("aside"),
    )
    counted = of_name.group_by("name").agg(
        pl.struct("id", "subject_id").n_unique().alias("ids"),
        pl.col("prediction_time").max(),
        pl.when(pl.col("aside").is_not_null().all()).then(pl.col("aside").min()).alias("aside"),
    )
    table = table.join(counted, on="name", how="left", maintain_order="left")
    shifted = pl.col("prediction_time").fill_null(pl.lit(now)) > pl.lit(now)  # dates of a calendar of their own
    earlier = (
        of_name.select("name", "id")
        .unique()
        .join(known.select("id", pl.col("truth").alias("stands")).unique(), on="id")
    )
    table = table.join(earlier.select("name", "stands").unique("name"), on="name", how="left", maintain_order="left")
    reason = (
        pl.when(~free)
        .then("reason")
        .when(pl.col("ids").is_null())
        .then(pl.lit("unknown_id"))
        .when(pl.col("ids") > 1)
        .then(pl.lit("several_predictions"))
        .when(pl.col("aside").is_not_null())
        .then("aside")
        .when((pl.col("time") > pl.lit(now)) & ~shifted)
        .then(pl.lit("future"))
        .when(pl.col("stands") != pl.col("truth"))
        .then(pl.lit("contradicts_earlier"))
    )
    table = table.with_columns(reason.alias("reason"))
    kept = table.filter(free).select("name", "truth", "site")
    usable = of_name.filter(pl.col("aside").is_null()).drop("aside")
    rows = usable.join(kept, on="name", how="inner", maintain_order="left").drop("name")
    counts = table["reason"].drop_nulls().value_counts()
    found = dict(zip(counts["reason"].to_list(), counts["count"].to_list(), strict=True))
    return Joined(rows, {reason: found[reason] for reason in REASONS if reason in found})


def _read(path: Path, wanted: Collection[str]) -> tuple[pl.DataFrame, int]:
    """Every cell as text, without blanks around it; an empty one is null. And how many columns the file has.

    Args:
        wanted: columns that may be needed; of Parquet no others are read.

    Raises:
        ConfigurationError: no such file, or another suffix.
        DataRefused: it cannot be read, or is empty.
    """
    import polars as pl

    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet") or not os.path.isfile(path):  # noqa: PTH113 False, too, for a name that is too long
        raise ConfigurationError(
            "the file of outcomes is not there" if suffix in (".csv", ".parquet") else "the file has another format",
            expected="a file named ….csv or ….parquet",
            received="no such file" if suffix in (".csv", ".parquet") else "another suffix",
            action="correct the path",
        )
    table, columns = _read_csv(path) if suffix == ".csv" else _read_parquet(path, wanted)
    if not table.height:
        raise DataRefused(
            "the file of outcomes is empty",
            expected="a line of column names, and a row an outcome",
            received="no row",
            action="write it again",
        )
    return table.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.all() != "").then(pl.all()).name.keep()
    ), columns


def _read_csv(path: Path) -> tuple[pl.DataFrame, int]:
    import polars as pl

    try:
        text = path.read_bytes().decode("utf-8-sig")
        names = next(csv.reader(io.StringIO(text, newline="")), [])
        table = pl.read_csv(io.StringIO(text), infer_schema=False) if text.strip() else pl.DataFrame()
    except UnicodeDecodeError:
        raise _unreadable("bytes that are not UTF-8") from None
    except (csv.Error, pl.exceptions.PolarsError):
        raise _unreadable("rows that are longer than the line of names, or quotes that do not end") from None
    _each_once(names)
    return table, len(names)


def _read_parquet(path: Path, wanted: Collection[str]) -> tuple[pl.DataFrame, int]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    from medai.tables import read_table, readable

    damaged = _unreadable("a file that is damaged, or is no Parquet")
    try:
        with readable(path):
            names = pq.read_schema(path).names
    except DataRefused:
        raise damaged from None
    _each_once(names)
    needed = [name for name in names if name in wanted]
    if not needed:
        raise _lacks("a column id or subject", len(names))
    try:
        read = read_table(path, needed).select(needed)  # of "a" Parquet's reader gives "a.b", too
    except DataRefused:
        raise damaged from None
    odd = _unreadable("columns of lists, of bytes, of numbers with more than 38 digits or of an unknown time zone")
    if any(pa.types.is_decimal256(kind) for kind in read.schema.types):  # polars panics
        raise odd
    try:
        table = pl.DataFrame(read)
        if not all(map(_in_calendar, table)):
            raise _unreadable("times that are in no calendar: before the year 1, or after 9999")
        return table.select(
            pl.col(name).dt.to_string("iso") if kind.is_temporal() else pl.col(name).cast(pl.String)
            for name, kind in table.schema.items()
        ), len(names)
    except pl.exceptions.PolarsError:
        raise odd from None


def _in_calendar(column: pl.Series) -> bool:
    """Whether dates lie in the years 1 to 9999; where they lie far outside polars panics when it tells them."""
    import polars as pl

    if column.dtype == pl.Date:
        low, high = _FIRST_DAY, _LAST_DAY
    elif isinstance(column.dtype, pl.Datetime):
        parts = {"ms": 10**3, "us": 10**6, "ns": 10**9}[column.dtype.time_unit] * 86_400
        low, high = _FIRST_DAY * parts, (_LAST_DAY + 1) * parts - 1
    else:
        return True
    numbers = column.to_physical().drop_nulls().to_numpy()
    return not len(numbers) or low <= int(numbers.min()) <= int(numbers.max()) <= high


def _unreadable(received: str) -> DataRefused:
    """The refusal of a file that cannot be read, without a word of it, which libraries repeat."""
    return DataRefused(
        "the file of outcomes cannot be read",
        expected="CSV in UTF-8 with a line of column names, or Parquet of plain columns",
        received=received,
        action="write it again",
    )


def _each_once(names: list[str]) -> None:
    """Refuse a file that names two of its columns alike; libraries give the second another name, or neither."""
    if len({*names}) < len(names):
        raise _twice("each column's name once", "a name that two columns have")


def _twice(expected: str, received: str) -> DataRefused:
    return DataRefused(
        "the file of outcomes says something twice",
        expected=expected,
        received=received,
        action="remove the column that is not meant",
    )


def _lacks(what: str, columns: int) -> DataRefused:
    """The names that were found are not told: of a file without a header they are the first patient's values."""
    return DataRefused(
        "the file of outcomes lacks a column",
        expected=what,
        received=f"{columns} columns of other names",
        action="name the columns as `medai label --help` tells",
    )


def _class_of(text: str, output: Output) -> str | None:
    """The class that a cell means, by its name; None where it means none."""
    if isinstance(output, Multilabel):
        said = {one.strip().casefold() for one in text.split(";")} - {"", "none"}
        names = {one.casefold(): one for one in output.names}
        return _together(output, {names[one] for one in said}) if said <= names.keys() else None
    for value, label in output.classes.items():
        if text.casefold() == label.casefold() or text in (str(value), f"{value}.0"):
            return label
    return None


def _findings(table: pl.DataFrame, width: int, output: Multilabel) -> pl.Series:
    """The findings of each row whose every column is 0 or 1; empty where one is missing, null where one is neither."""
    import polars as pl

    columns = {
        label: next((one for one in (label, column) if one in table.columns), None)
        for column, label in output.classes.items()
    }
    lacking = [label for label, column in columns.items() if column is None]
    if lacking:
        raise _lacks(f"a column for each finding, {lacking[0]} among them", width)
    said: list[str | None] = []
    for row in table.select([str(column) for column in columns.values()]).iter_rows():
        cells = ["" if cell is None else str(cell).casefold() for cell in row]
        if "" in cells:
            said.append("")
        elif all(cell in _TRUE | _FALSE for cell in cells):
            there = {label for label, cell in zip(columns, cells, strict=True) if cell in _TRUE}
            said.append(_together(output, there))
        else:
            said.append(None)
    return pl.Series(said, dtype=pl.String)


def _together(output: Multilabel, findings: set[str]) -> str:
    """Findings in their order; a word for none, as nothing would be a missing outcome."""
    return "; ".join(one for one in output.names if one in findings) or "none"


def _times(column: pl.Series | None, rows: int) -> tuple[pl.Series, pl.Series]:
    """Times in UTC without a zone, and whether each could be read; one that is missing can."""
    import polars as pl

    if column is None:
        return pl.Series([None] * rows, dtype=pl.Datetime("us")), pl.Series([True] * rows)
    times: list[datetime | None] = []
    readable = []
    for text in column.to_list():
        try:
            time = None if text is None else datetime.fromisoformat(text)
            times.append(time.astimezone(UTC).replace(tzinfo=None) if time and time.tzinfo else time)
            readable.append(True)
        except (ValueError, OverflowError):
            times.append(None)
            readable.append(False)
    return pl.Series(times, dtype=pl.Datetime("us")), pl.Series(readable, dtype=pl.Boolean)
