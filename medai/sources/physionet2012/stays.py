"""The stays' own files: each stay once, its rows whole, its readings as events."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused
from medai.sources.files import token_of
from medai.sources.physionet2012.text import MISSING, columns_by_name, lines_of, minutes_of, number_of, refuse
from medai.tables import EVENTS, table_of, write_table

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

ORIGIN_US = 946_684_800_000_000
"""2000-01-01T00:00, the nominal admission of every stay, in microseconds since 1970."""
STATIC = ("Age", "Gender", "Height", "ICUType", "Weight")
"""Descriptors: at 00:00 they describe the whole stay."""
FAULTS = ("impossible_time", "unnamed_variable")
"""Reasons for which a row of a stay is left out as faulty."""

_HEADER = ("Time", "Parameter", "Value")
_MINUTE_US = 60_000_000


class File(NamedTuple):
    """One stay's file: the RecordID that it is named after, its content's hash, its rows in canonical columns."""

    site_id: str
    sha256: str
    body: bytes

    @property
    def token(self) -> str:
        """How a message names the file."""
        return token_of(self.sha256)


def distinct_stays(contents: Iterable[tuple[str, bytes]], counts: Counter[str]) -> list[File]:
    """Each stay once, its text under the canonical header.

    Kept once, under the plainest name (132539 before "132539 (1)"), are equal contents under two names, and equal
    readings under two RecordIDs: such a stay would stand for two patients, one on each side of a split.
    """
    kept: dict[str, tuple[str, bytes]] = {}
    for name, data in sorted(contents, key=lambda content: (len(content[0]), content[0])):
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in kept:
            counts["same_stay_twice"] += 1
        else:
            kept[sha256] = (name, data)
    files = [File(name, sha256, _body(data, token_of(sha256), counts)) for sha256, (name, data) in kept.items()]
    holders: dict[str, File] = {}
    for file in files:
        other = holders.setdefault(file.site_id, file)
        if other is not file:
            raise refuse(
                "two files of one stay differ",
                "one file a stay",
                f"files {other.token} and {file.token} with different content",
            )
    return _without_other_ids(files, counts)


def _without_other_ids(files: list[File], counts: Counter[str]) -> list[File]:
    """The files, each in its place, without those that repeat the readings of a plainer RecordID.

    Stays of descriptors alone are kept: two patients may well share an age, a gender and a unit.
    """
    alike: dict[bytes, list[File]] = defaultdict(list)
    for file in files:
        rest = _without_record_id(file)
        alike[hashlib.sha256(rest).digest()].append(file)
    again: set[str] = set()
    for first, *others in alike.values():
        if others and _has_readings(_without_record_id(first)):
            again.update(file.site_id for file in others)
    counts["same_stay_other_id"] = len(again)
    return [file for file in files if file.site_id not in again]


def _without_record_id(file: File) -> bytes:
    """A stay's rows without the one that names the stay rightly; a wrong name stays and is refused later."""
    named = file.body.find(f",RecordID,{file.site_id}\n".encode())
    if named < 0:
        return file.body
    return file.body[: file.body.rfind(b"\n", 0, named) + 1] + file.body[file.body.index(b"\n", named) + 1 :]


def _has_readings(body: bytes) -> bool:
    """Whether any row is more than a descriptor at 00:00."""
    descriptors = tuple(f"00:00,{name},".encode() for name in STATIC)
    return any(not row.startswith(descriptors) for row in body.splitlines())


def _body(data: bytes, token: str, counts: Counter[str]) -> bytes:
    """A stay's rows without the header, columns in canonical order."""
    what = f"file {token}"
    data = lines_of(data, what)
    header, _, body = data.partition(b"\n")
    if header == ",".join(_HEADER).encode():
        return body
    text = header.decode()
    places = columns_by_name(text, _HEADER, what)
    counts["header_by_name"] += 1
    width = text.count(",") + 1
    rows = []
    for number, line in enumerate(body.decode().removesuffix("\n").split("\n") if body else (), start=2):
        fields = line.split(",")
        if len(fields) != width:
            raise _ragged(token, number, width, len(fields))
        rows.append(",".join(fields[place] for place in places) + "\n")
    return "".join(rows).encode()


def _ragged(token: str, row: int, expected: int, received: int) -> DataRefused:
    return refuse(f"file {token}, row {row} is ragged", f"{expected} fields", f"{received} fields")


def _rows_of(buffer: bytes, files: list[File]) -> np.ndarray:
    """Rows of each file in the joined text; every row must have three fields.

    One pass over all separators: they must repeat as comma, comma, line end.
    """
    import numpy as np

    marks = np.frombuffer(buffer, np.uint8)
    places = np.flatnonzero((marks == ord(",")) | (marks == ord("\n")))
    kinds = marks[places]
    ends = np.cumsum([len(file.body) for file in files])
    expected = np.full(-(-len(places) // 3) * 3, ord(","), np.uint8)
    expected[2::3] = ord("\n")
    wrong = np.flatnonzero(kinds != expected[: len(kinds)])
    if len(wrong):
        at = int(places[wrong[0]])
        stay = int(np.searchsorted(ends, at, side="right"))
        begin = int(ends[stay]) - len(files[stay].body)
        line = buffer.rfind(b"\n", begin, at) + 1 or begin
        line_end = buffer.index(b"\n", at)
        row = buffer.count(b"\n", begin, at) + 2
        raise _ragged(files[stay].token, row, len(_HEADER), buffer.count(b",", line, line_end) + 1)
    return np.diff(np.searchsorted(places[2::3], ends), prepend=0)


def _parsed(files: list[File]) -> pl.DataFrame:
    """All stays' rows as text: stay (place in ``files``), source_row, Time, Parameter, Value."""
    import numpy as np
    import polars as pl

    buffer = b"".join(file.body for file in files)
    rows = _rows_of(buffer, files)
    total = int(rows.sum())
    table = pl.DataFrame(schema=dict.fromkeys(_HEADER, pl.String))
    if total:
        table = pl.read_csv(
            buffer,
            has_header=False,
            schema=dict.fromkeys(_HEADER, pl.String),
            quote_char=None,
            empty_string_is_null=False,
        ).rechunk()
    if table.height != total:
        raise AssertionError(f"{total} rows were counted and {table.height} parsed")
    first = np.repeat(np.cumsum(rows) - rows, rows)
    return table.with_columns(
        stay=np.repeat(np.arange(len(files), dtype=np.int32), rows),
        source_row=(np.arange(total) - first + 2).astype(np.int32),
    )


def _check_record_ids(table: pl.DataFrame, files: list[File]) -> None:
    import polars as pl

    named = table.filter(pl.col("Parameter") == "RecordID")
    told = dict.fromkeys(range(len(files)), 0)
    for stay, row, value in named.select("stay", "source_row", "Value").iter_rows():
        told[stay] += 1
        if value != files[stay].site_id:
            raise refuse(
                f"file {files[stay].token}, row {row} names another stay than the file's name",
                "the RecordID that the file is named after",
                "a different one",
            )
    for stay, times in told.items():
        if times == 0:
            raise refuse(f"file {files[stay].token} does not say whose it is", "a RecordID row", "none")


def is_static(table: pl.DataFrame) -> pl.Series:
    """Rows that describe the whole stay: the descriptors at 00:00."""
    return (table["minutes"] == 0) & table["code"].is_in(STATIC)


def events_of(files: list[File], counts: Counter[str]) -> pl.DataFrame:
    """Rows that can be placed: stay, source_row, minutes, code, numeric_value (Float32), text_value."""
    import polars as pl

    table = _parsed(files)
    _check_record_ids(table, files)
    times = table["Time"].unique().to_list()
    values = table["Value"].unique().to_list()
    table = table.filter(pl.col("Parameter") != "RecordID").select(
        "stay",
        "source_row",
        pl.col("Time")
        .replace_strict(times, [minutes_of(time) for time in times], return_dtype=pl.Int32)
        .alias("minutes"),
        pl.col("Parameter").alias("code"),
        pl.col("Value")
        .replace_strict(values, [number_of(value) for value in values], return_dtype=pl.Float64)
        .alias("number"),
        "Value",
    )
    for reason, faulty in (
        ("impossible_time", pl.col("minutes").is_null()),
        ("unnamed_variable", pl.col("code") == ""),
        ("coded_missing", pl.col("number").eq_missing(MISSING)),
    ):
        kept = table.filter(~faulty)
        counts[reason] = table.height - kept.height
        table = kept
    # MIMIC shifts ages over 89 to 300 and more; other ages beyond a human life are left for validation to set aside.
    number = pl.col("number")
    old = (pl.col("code") == "Age") & (number > 89) & ((number <= 120) | ((number >= 300) & (number < 312)))
    counts["age_over_89"] = int(table.select((old & (number != 90)).sum()).item())
    return table.select(
        "stay",
        "source_row",
        "minutes",
        "code",
        pl.when(old).then(90.0).otherwise(number).cast(pl.Float32).alias("numeric_value"),
        pl.when(number.is_null()).then("Value").alias("text_value"),
    )


def write_events(folder: Path, events: pl.DataFrame, subjects: np.ndarray) -> int:
    """Write events.parquet, ordered by subject, time (untimed first), code, value, text and line."""
    import numpy as np
    import polars as pl

    static = is_static(events)
    untimed = events.filter(static).with_columns(minutes=pl.lit(-1, pl.Int32))
    timed = events.filter(~static | (events["code"] == "Weight"))
    order = ["stay", "minutes", "code", "numeric_value", "text_value", "source_row"]
    table = pl.concat([untimed, timed])
    codes = sorted(table["code"].unique().to_list())
    table = table.with_columns(rank=pl.col("code").replace_strict(codes, range(len(codes)), return_dtype=pl.Int32))
    table = table.sort([name if name != "code" else "rank" for name in order], nulls_last=False)
    minutes = table["minutes"].to_numpy()
    moments = ORIGIN_US + np.maximum(minutes, 0).astype(np.int64) * _MINUTE_US
    known = pl.Series(moments).cast(pl.Datetime("us"))
    columns = {
        "subject_id": subjects[table["stay"].to_numpy()],
        "time": pl.select(pl.when(pl.Series(minutes) >= 0).then(known)).to_series().to_arrow(),
        "code": table["code"].to_arrow(),
        "variable": table["code"].to_arrow(),
        "numeric_value": table["numeric_value"].to_arrow(),
        "text_value": table["text_value"].to_arrow(),
        "known_time": known.to_arrow(),
        "row_id": np.arange(table.height, dtype=np.int64),
        "source_row": table["source_row"].to_numpy(),
    }
    return write_table(folder / "events.parquet", table_of(columns, EVENTS))
