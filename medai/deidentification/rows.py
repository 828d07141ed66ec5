"""Tables (CSV, CSV.gz, Parquet) with the pseudonyms and shifts that the pictures of the same patients have.

A table is read and written in batches, so that its size does not matter. Every value is text until its column's fate is
done; a date, an age or an id that cannot be understood is emptied and counted, never passed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.deidentification import dates
from medai.deidentification.columns import Definition, Fate, Table
from medai.deidentification.folder import entries, refuse_place
from medai.deidentification.keys import Key, normal
from medai.errors import ConfigurationError, DataRefused
from medai.records import canonical_json
from medai.workspace import make_folder, sync_file, write_durably

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

VERSION = 1
ENDINGS = (".csv", ".csv.gz", ".parquet")
OLDEST = 90
_BLOCK = 1 << 24
_ROWS = 1 << 17
REPORT = "report.json"


def rewrite_table(source: Path, out: Path, definition: Definition, key: Key, name: str = "") -> dict[str, Any]:
    """Rewrite one table.

    Args:
        source: a .csv, .csv.gz or .parquet file.
        out: the file to write, of the same kind; absent.
        name: of the table, where ``definition`` has what is otherwise in some.

    Returns:
        The report: rows, columns by fate, values emptied by reason.

    Raises:
        ConfigurationError: the place is taken, the endings differ, or a column is not named.
        DataRefused: the table cannot be read to its end.
    """
    source = source.resolve()
    refuse_place(source, out.absolute())
    if ending_of(source) is None or ending_of(source) != ending_of(out):
        raise ConfigurationError(
            "a table is rewritten as what it is",
            expected=f"two names that end alike: {', '.join(ENDINGS)}",
            received=f"{ending_of(source) or 'another ending'} and {ending_of(out) or 'another ending'}",
            action="name the result like the table",
        )
    beside = out.with_name(f".{out.name}.partial")
    make_folder(out.parent)
    try:
        report = _rewrite(source, beside, definition.of(name), key)
        sync_file(beside)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
    return {"kind": "table", **report, "key": key.mark, "version": VERSION}


def rewrite_tables(source: Path, out: Path, definition: Definition, key: Key) -> dict[str, Any]:
    """Rewrite the tables of a folder whose names the mapping has; other files are set aside, and counted.

    Args:
        out: a folder that is absent or empty.

    Raises:
        ConfigurationError, DataRefused: as ``rewrite_table``.
    """
    import shutil

    source, out = source.resolve(), out.absolute()
    refuse_place(source, out)
    beside = out.with_name(f".{out.name}.{key.mark}-{VERSION}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    make_folder(beside)
    known = {name.lower(): name for name in definition.tables}
    tables: dict[str, Any] = {}
    aside: Counter[str] = Counter()
    try:
        for found in entries(source):
            ending = ending_of(found.path)
            stem = "" if ending is None else found.path.name.lower().removesuffix(ending)
            if found.reason is not None or ending is None or stem not in known:
                aside[found.reason or "no_table_of_the_mapping"] += 1
                continue
            if known[stem] in tables:
                aside["same_table"] += 1
                continue
            tables[known[stem]] = _rewrite(found.path, beside / (known[stem] + ending), definition.of(stem), key)
        report: dict[str, Any] = {"kind": "tables", "tables": tables, "set_aside": dict(sorted(aside.items()))}
        report |= {"key": key.mark, "version": VERSION}
        write_durably(beside / REPORT, canonical_json(report) + b"\n")
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return report


def ending_of(path: Path) -> str | None:
    """The ending of a table's name; None if it is no table.

    >>> ending_of(Path("CHARTEVENTS.csv.gz"))
    '.csv.gz'
    """
    name = path.name.lower()
    return next((ending for ending in (".csv.gz", ".csv", ".parquet") if name.endswith(ending)), None)


def _rewrite(source: Path, out: Path, table: Table, key: Key) -> dict[str, Any]:
    work: _Work | None = None
    with _readable(), _written(out) as write:
        for batch in _batches(source):
            work = work or _Work(table, batch.columns, key)
            write(work.done(batch))
    if work is None:
        raise DataRefused(
            "a table is empty",
            expected="a line of column names",
            received="nothing",
            action="correct the path, or fetch the table again",
        )
    return {
        "rows": work.rows,
        "columns": dict(sorted(Counter(work.fates.values()).items())),
        "emptied": dict(sorted(work.emptied.items())),
    }


class _Work:
    """The rewriting of one table, batch by batch."""

    def __init__(self, table: Table, columns: list[str], key: Key) -> None:
        self.table, self.key = table, key
        self.fates: dict[str, Fate] = table.settle(columns)
        self.subject = next((name for name, fate in self.fates.items() if fate == "subject"), None)
        self.rows = 0
        self.emptied: Counter[str] = Counter()
        self._days: dict[str, int] = {}

    def done(self, batch: pl.DataFrame) -> pl.DataFrame:
        """A batch with each column's fate done; dropped columns are gone."""
        import polars as pl

        self.rows += batch.height
        days = pl.Series([None] * batch.height, dtype=pl.Int64)
        if self.subject is not None:
            people = self._text(batch[self.subject])
            days = self._mapped(people, lambda one: self.key.days(one), pl.Int64)
        columns = []
        for name, fate in self.fates.items():
            if fate != "drop":
                if fate == "keep":
                    columns.append(batch[name])
                    continue
                text = self._text(batch[name])
                after = self._column(name, fate, text, days)
                lost = after.null_count() - text.null_count()
                if fate != "empty" and lost:
                    self.emptied[fate] += lost
                columns.append(after.alias(name))
        return pl.DataFrame(columns)

    def _text(self, column: pl.Series) -> pl.Series:
        """A column's values as text: none and blanks are null, whole numbers have no point."""
        import polars as pl

        if column.dtype.is_float():
            whole = column.cast(pl.Int64, strict=False)
            column = pl.select(
                pl.when(whole.cast(column.dtype) == column)
                .then(whole.cast(pl.String))
                .otherwise(column.cast(pl.String))
            ).to_series()
        text = column.cast(pl.String).str.strip_chars()
        return pl.select(pl.when(text != "").then(text)).to_series()

    def _mapped(self, text: pl.Series, function: Any, kind: Any) -> pl.Series:
        """A function of each distinct value."""
        import polars as pl

        values = text.unique().drop_nulls().to_list()
        if not values:
            return pl.Series([None] * len(text), dtype=kind)
        return text.replace_strict(values, [function(normal(one)) for one in values], default=None, return_dtype=kind)

    def _column(self, name: str, fate: Fate, text: pl.Series, days: pl.Series) -> pl.Series:
        import polars as pl

        lower = name.lower()
        if fate in ("subject", "identifier"):
            purpose = "subject" if fate == "subject" else f"identifier {self.table.kinds[lower]}"
            if self.table.numbers:
                return self._mapped(text, lambda one: self.key.number(purpose, one), pl.Int64)
            if fate == "subject":
                return self._mapped(text, self.key.subject, pl.String)
            return self._mapped(text, lambda one: self.key.identifier(self.table.kinds[lower], one), pl.String)
        if fate == "uid":
            return self._mapped(text, self.key.uid, pl.String)
        if fate == "empty":
            return pl.Series([None] * len(text), dtype=pl.String)
        if fate == "year":
            return _moved(text + "-07-01", days).str.slice(0, 4)
        if fate == "age":
            return self._mapped(text, _age, pl.String)
        return _moved(text, days, self.table.births.get(lower) if fate == "birth" else None)


def _age(text: str) -> str | None:
    """Years, or DICOM's age; over 89 is 90."""
    if (told := dates.dicom_age(text)) is not None:
        return told
    try:
        years = float(text)
    except ValueError:
        return None
    if not years >= 0:
        return None
    return str(OLDEST) if years > OLDEST - 1 else text


def _moved(text: pl.Series, days: pl.Series, earliest: Any = None) -> pl.Series:
    """Dates so many days later; with dashes or without, and with the time that stands behind them."""
    import polars as pl

    dashed, plain = r"^\d{4}-\d{2}-\d{2}", r"^\d{8}"
    clock = r"([T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
    digits = r"(\d{2}(\d{2}(\d{2}([.]\d{1,6})?)?)?([+-]\d{4})?)?$"
    value = pl.col("value")
    forms = ((dashed + clock, 10, "%Y-%m-%d"), (plain + digits, 8, "%Y%m%d"))
    frame = pl.DataFrame({"value": text, "days": days})
    columns = []
    for pattern, length, form in forms:
        day = value.str.slice(0, length).str.to_date(form, strict=False)
        if earliest is not None:
            day = pl.max_horizontal(day, pl.lit(earliest))
        later = day + pl.duration(days=pl.col("days"))
        columns.append(pl.when(value.str.contains(pattern)).then(later.dt.strftime(form) + value.str.slice(length)))
    return frame.select(pl.coalesce(columns)).to_series()


def _batches(source: Path) -> Iterator[pl.DataFrame]:
    """The table's rows; of a CSV each value as text, as it stands there."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    if ending_of(source) == ".parquet":
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield pl.DataFrame(pa.Table.from_batches([batch]))
            if file.metadata.num_rows == 0:
                yield pl.DataFrame(file.schema_arrow.empty_table())
        return
    names = _header(source)
    options = pc.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    reading = pc.ReadOptions(block_size=_BLOCK)
    parsing = pc.ParseOptions(newlines_in_values=True)
    with pc.open_csv(source, read_options=reading, parse_options=parsing, convert_options=options) as reader:
        empty = True
        for batch in reader:
            empty = False
            yield pl.DataFrame(pa.Table.from_batches([batch]))
        if empty:
            yield pl.DataFrame(pa.schema([(name, pa.string()) for name in names]).empty_table())


def _header(source: Path) -> list[str]:
    """The names of a CSV's columns.

    Raises:
        DataRefused: one stands there twice.
    """
    import csv
    import gzip
    import io

    raw = gzip.GzipFile(source) if ending_of(source) == ".csv.gz" else source.open("rb")
    with raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    if len({name.lower() for name in names}) < len(names):
        raise DataRefused(
            "a table has the same column twice",
            expected="each column once",
            received="two of one name",
            action="correct the table",
        )
    return names


@contextmanager
def _written(out: Path) -> Iterator[Any]:
    """A function that appends batches to a new file; equal batches give equal bytes."""
    import gzip

    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    writers: list[Any] = []
    # A gzip header holds a time and a name unless told otherwise.
    raw = out.open("wb")
    packed = gzip.GzipFile("", "wb", 6, raw, mtime=0) if out.name.removesuffix(".partial").endswith(".gz") else raw
    parquet = ending_of(Path(out.name.removesuffix(".partial"))) == ".parquet"

    def write(batch: pl.DataFrame) -> None:
        table: pa.Table = batch.to_arrow()
        plain = [pa.field(one.name, pa.string() if "string" in str(one.type) else one.type) for one in table.schema]
        table = table.cast(pa.schema(plain))
        if not writers:
            writers.append(
                pq.ParquetWriter(packed, table.schema, compression="zstd", write_page_checksum=True)
                if parquet
                else pc.CSVWriter(packed, table.schema, write_options=pc.WriteOptions(quoting_style="needed"))
            )
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()
        packed.close()
        raw.close()


@contextmanager
def _readable() -> Iterator[None]:
    """What the readers raise at damage, as a refusal that repeats nothing of the table."""
    import zlib

    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, UnicodeDecodeError, EOFError, zlib.error) as damage:
        received = type(damage).__name__
    except OSError as failure:
        if failure.errno is not None:
            raise
        received = "a file that is cut short or damaged"
    else:
        return
    raise DataRefused(
        "a table cannot be read to its end",
        expected="rows as wide as the line of column names, in UTF-8",
        received=received,
        action="fetch the table again, or correct it",
    )
