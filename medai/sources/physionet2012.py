"""PhysioNet/Computing in Cardiology Challenge 2012: 48 hours of an intensive-care stay, one small text file a stay.

A stay's file has the columns ``Time,Parameter,Value``; the outcomes stand in a table of their own. Silva I, Moody G,
Scott DJ, Celi LA, Mark RG. Predicting in-hospital mortality of ICU patients. Comput Cardiol 2012. Identifiers are
stays, not patients. By these rules the files become canonical events:

- Times are hours and minutes since admission. The nominal origin of every stay is 2000-01-01T00:00, and a reading is
  known when it was taken: the challenge records no other time.
- Age, Gender, Height, ICUType and Weight at 00:00 describe the whole stay: their ``time`` is null, and they are known
  from the origin. Weight is a series as well, so its reading at 00:00 stays too.
- -1 is the publisher's code for missing: such rows are dropped and counted (``coded_missing``).
- Ages over 89, written as they are or shifted to 300 and more, become 90 (``age_over_89``).
- A reading that is no plain decimal number, or none that 32 bits can hold, keeps its text and no number: validation
  sets it aside.
- A time that is not HH:MM or lies beyond 48:00 cannot be placed: the row is set aside (``impossible_time``).
- RecordID names the stay and is no reading.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from medai.errors import DataRefused
from medai.records import Frozen
from medai.sources.files import archive_members, files_below, look, other_kind, token_of, what_is
from medai.tables import (
    EVENTS,
    IDENTIFIERS,
    OWNER_ALONE,
    STAY_IDENTIFIERS,
    STAYS,
    Facts,
    subject_ids,
    table_of,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

VERSION = 3
SHAPE: Literal["images", "events"] = "events"

ORIGIN_US = 946_684_800_000_000
"""2000-01-01T00:00, the nominal admission of every stay, in microseconds since 1970."""
HOURS = 48
UNPACKED_LIMIT = 2 << 30
"""Bytes the stays may unpack to; the challenge's sets hold 27 MB each."""
STATIC = ("Age", "Gender", "Height", "ICUType", "Weight")
MISSING = -1.0
OUTCOMES = ("SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")

_HEADER = ("Time", "Parameter", "Value")
_ARCHIVES = (what_is(b"\x1f\x8b"), what_is(b"PK\x03\x04"))
_ARCHIVE_NAMES = (".tar.gz", ".tgz", ".zip")
_STAY_NAME = re.compile(r"\d.*\.txt")
_TIME = re.compile(r"(\d\d):([0-5]\d)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ROW_END = b"\n"
_MINUTE_US = 60_000_000
_LARGEST_FLOAT32 = 3.4028234663852886e38


class Physionet2012(Frozen):
    """A set of the challenge: a folder that holds the stays (a folder or an archive) and the outcomes, or the stays
    themselves with the outcomes inside or beside them.

    Attributes:
        outcomes: file name of the outcomes; None for stays without known outcomes.
    """

    kind: Literal["physionet2012"]
    outcomes: str | None = Field("Outcomes-a.txt", pattern=r"^[^/\\]*[^/\\.][^/\\]*$")

    def unlabelled(self) -> Physionet2012:
        """The same files without their outcomes."""
        return self.model_copy(update={"outcomes": None})


def minutes_of(text: str) -> int | None:
    """Minutes since admission; None for a time that cannot be.

    >>> minutes_of("47:59"), minutes_of("48:01"), minutes_of("7:30")
    (2879, None, None)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    minutes = int(match[1]) * 60 + int(match[2])
    return minutes if minutes <= HOURS * 60 else None


def number_of(text: str) -> float | None:
    """The number that a reading says, None when it says none or one that 32 bits cannot hold.

    >>> number_of("7.38"), number_of("8,5"), number_of("<0.01"), number_of("1e400")
    (7.38, None, None, None)
    """
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if abs(number) <= _LARGEST_FLOAT32 else None


class _Located(NamedTuple):
    """Where the parts of a set lie; outcomes None: inside the archive, or not asked for."""

    stays: Path
    archive: str | None
    outcomes: Path | None


class _File(NamedTuple):
    site_id: str
    sha256: str
    body: bytes

    @property
    def token(self) -> str:
        return token_of(self.sha256)


def raw_files(config: Physionet2012, path: Path) -> list[tuple[str, Path]]:
    """The outcomes, and the archive of stays or each stay's file.

    Raises:
        DataRefused: a part is missing, empty, unreadable, ambiguous, or another type than its name says.
    """
    located = _locate(config, path)
    outcomes = [] if located.outcomes is None else [("outcomes", located.outcomes)]
    if located.archive is not None:
        return [*outcomes, ("stays", located.stays)]
    return [*outcomes, *(("stays/*", file) for file in _stay_files(located.stays))]


def _stay_files(folder: Path) -> list[Path]:
    return [file for file in files_below(folder) if _STAY_NAME.fullmatch(file.name)]


def _locate(config: Physionet2012, path: Path) -> _Located:
    kind = look(path)
    if kind in _ARCHIVES:
        beside = _outcomes_in(config, path.parent)
        return _Located(path, kind, beside)
    if kind != "folder":
        raise other_kind("the data file", "a folder, a .tar.gz or a .zip of stays", kind)
    if _stay_files(path):
        outcomes = _outcomes_in(config, path) or _outcomes_in(config, path.parent)
        if config.outcomes is not None and outcomes is None:
            raise _no_outcomes(config)
        return _Located(path, None, outcomes)
    return _in_folder(config, path)


def _in_folder(config: Physionet2012, path: Path) -> _Located:
    """The stays of a folder that holds them one level down."""
    archives = [file for file in files_below(path) if file.name.endswith(_ARCHIVE_NAMES)]
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    folders = [folder for folder in folders if _stay_files(folder)]
    found = [*archives, *folders]
    if len(found) != 1:
        raise DataRefused(
            "the stays cannot be told in the data folder" if found else "the data folder holds no stays",
            expected="one folder of stays (such as set-a/), or one .tar.gz or .zip of them",
            received=f"{len(folders)} folders and {len(archives)} archives",
            action="point --data at the folder or the archive of the stays",
        )
    outcomes = _outcomes_in(config, path) or (_outcomes_in(config, folders[0]) if folders else None)
    if folders:
        if config.outcomes is not None and outcomes is None:
            raise _no_outcomes(config)
        return _Located(folders[0], None, outcomes)
    kind = look(archives[0])
    if kind not in _ARCHIVES:
        raise other_kind("the archive of the stays", "a .tar.gz or a .zip", kind)
    return _Located(archives[0], kind, outcomes)


def _outcomes_in(config: Physionet2012, folder: Path) -> Path | None:
    if config.outcomes is None:
        return None
    file = folder / config.outcomes
    if not file.exists() and not file.is_symlink():
        return None
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        raise other_kind("the outcomes file", "a regular file inside the data folder", "a link that leaves the folder")
    kind = look(file)
    if kind != what_is(b"text"):
        raise other_kind("the outcomes file", "a table as text", kind)
    return file


def _no_outcomes(config: Physionet2012) -> DataRefused:
    return DataRefused(
        "the outcomes file is missing",
        expected=f"{config.outcomes} beside the stays",
        received="no file of this name",
        action="fetch it from the publisher, or correct 'outcomes' of the source",
    )


def read(config: Physionet2012, path: Path, folder: Path) -> Facts:
    """Write events, stays, labels and identifiers; a stay is called by its RecordID.

    Raises:
        DataRefused: a file is damaged, cut, ragged, or contradicts another; nothing is guessed.
    """
    import numpy as np

    located = _locate(config, path)
    outcomes = None if located.outcomes is None else located.outcomes.read_bytes()
    contents = []
    for name, data in _contents(located):
        if PurePosixPath(name).name == config.outcomes:
            outcomes = data if located.outcomes is None else outcomes
        elif _STAY_NAME.fullmatch(PurePosixPath(name).name):
            contents.append((PurePosixPath(name).stem, data))
    if config.outcomes is not None and outcomes is None:
        raise _no_outcomes(config)
    counts: Counter[str] = Counter()
    files = _distinct_stays(contents, counts)
    del contents
    subjects = np.array(subject_ids("physionet2012", [file.site_id for file in files]), np.int64)
    order = np.argsort(subjects)  # from here on a stay is known by its place among the sorted subject ids
    files, subjects = [files[row] for row in order], subjects[order]

    events = _events(files, counts)
    has_series = np.zeros(len(files), bool)
    has_series[events.filter(~_is_static(events))["stay"].unique().to_numpy()] = True
    tables = {"events": _write_events(folder, events, subjects)}
    start = np.full(len(files), ORIGIN_US, "datetime64[us]")
    stays = {
        "row_id": np.arange(len(files)),
        "subject_id": subjects,
        "stay_id": subjects,
        "start": start,
        "end": start + np.timedelta64(HOURS, "h"),
        "has_series": has_series,
        "source_id": [file.token for file in files],
        "content_hash": [file.sha256 for file in files],
    }
    tables["stays"] = write_table(folder / "stays.parquet", table_of(stays, STAYS))
    labels: dict[str, object] = {"stay_id": subjects}
    labels |= _labels(files, outcomes, counts)
    tables["labels"] = write_table(folder / "labels.parquet", table_of(labels, dict.fromkeys(labels, "int64")))
    people = {"subject_id": subjects, "site_id": [file.site_id for file in files]}
    write_table(folder / "identifiers.parquet", table_of(people, IDENTIFIERS), mode=OWNER_ALONE)
    records = {"stay_id": subjects, "site_id": people["site_id"]}
    write_table(folder / "stay_identifiers.parquet", table_of(records, STAY_IDENTIFIERS), mode=OWNER_ALONE)
    counts["stay_without_series"] = int((~has_series).sum())
    return Facts(
        unit="stay", tables=tables, counts={reason: count for reason, count in sorted(counts.items()) if count}
    )


def _contents(located: _Located) -> Iterator[tuple[str, bytes]]:
    if located.archive is not None:
        yield from archive_members(located.stays, located.archive, UNPACKED_LIMIT)
        return
    for file in _stay_files(located.stays):
        yield file.name, file.read_bytes()


def _refuse(wrong: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        wrong,
        expected=expected,
        received=received,
        action="fetch the file again from the publisher, or leave it out and say so",
    )


def _distinct_stays(contents: list[tuple[str, bytes]], counts: Counter[str]) -> list[_File]:
    """Each stay once, its text under the canonical header; same content under two names is kept once."""
    if not contents:
        raise _refuse("there is not a single stay", "files such as 132539.txt", "none")
    kept: dict[str, tuple[str, bytes]] = {}
    # Of several names the plainest stays: 132539 before "132539 (1)".
    for name, data in sorted(contents, key=lambda content: (len(content[0]), content[0])):
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in kept:
            counts["same_stay_twice"] += 1
        else:
            kept[sha256] = (name, data)
    files = [_File(name, sha256, _body(data, token_of(sha256), counts)) for sha256, (name, data) in kept.items()]
    holders: dict[str, _File] = {}
    for file in files:
        other = holders.setdefault(file.site_id, file)
        if other is not file:
            raise _refuse(
                "two files of one stay differ",
                "one file a stay",
                f"files {other.token} and {file.token} with different content",
            )
    return files


def _lines(data: bytes, what: str) -> bytes:
    """The text of a table with plain line ends, refused when it is no text or ends in mid-row."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            row = data.count(b"\n", 0, error.start) + 1
            raise _refuse(f"{what} is no text", "a table as UTF-8 text", f"other bytes in row {row}") from None
    if b"\0" in data:
        raise _refuse(f"{what} is no text", "a table as UTF-8 text", f"a NUL byte; it is {what_is(data[:512])}")
    data = data.replace(b"\r\n", _ROW_END)
    if not data.endswith(_ROW_END):
        received = "an empty file" if not data else f"row {data.count(_ROW_END) + 1} breaks off"
        raise _refuse(f"{what} is cut short", "a line end after the last row", received)
    return data


def _columns_by_name(header: str, wanted: Sequence[str], what: str) -> list[int]:
    """Positions of the wanted columns; other columns, another order or another case do no harm."""
    names = [name.strip().lower() for name in header.split(",")]
    for name in wanted:
        if (found := names.count(name.lower())) != 1:
            raise _refuse(
                f"{what} has no column {name}" if found == 0 else f"{what} has column {name} more than once",
                f"columns {', '.join(wanted)}, once each",
                f"{len(names)} columns; {_what_instead(header)}",
            )
    return [names.index(name.lower()) for name in wanted]


def _what_instead(header: str) -> str:
    kind = what_is(header.encode())
    return "row 1 is no such header" if kind == "a text file" else f"the file is {kind}"


def _body(data: bytes, token: str, counts: Counter[str]) -> bytes:
    """A stay's rows without the header, columns in canonical order."""
    what = f"file {token}"
    data = _lines(data, what)
    header, _, body = data.partition(b"\n")
    if header == ",".join(_HEADER).encode():
        return body
    text = header.decode()
    places = _columns_by_name(text, _HEADER, what)
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
    return _refuse(f"file {token}, row {row} is ragged", f"{expected} fields", f"{received} fields")


def _rows_of(buffer: bytes, files: list[_File]) -> np.ndarray:
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


def _parsed(files: list[_File]) -> pl.DataFrame:
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


def _check_record_ids(table: pl.DataFrame, files: list[_File]) -> None:
    import polars as pl

    named = table.filter(pl.col("Parameter") == "RecordID")
    told = dict.fromkeys(range(len(files)), 0)
    for stay, row, value in named.select("stay", "source_row", "Value").iter_rows():
        told[stay] += 1
        if value != files[stay].site_id:
            raise _refuse(
                f"file {files[stay].token}, row {row} names another stay than the file's name",
                "the RecordID that the file is named after",
                "a different one",
            )
    for stay, times in told.items():
        if times == 0:
            raise _refuse(f"file {files[stay].token} does not say whose it is", "a RecordID row", "none")


def _is_static(table: pl.DataFrame) -> pl.Series:
    """Rows that describe the whole stay: the descriptors at 00:00."""
    return (table["minutes"] == 0) & table["code"].is_in(STATIC)


def _events(files: list[_File], counts: Counter[str]) -> pl.DataFrame:
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


def _write_events(folder: Path, events: pl.DataFrame, subjects: np.ndarray) -> int:
    """Write events.parquet, ordered by subject, time (untimed first), code, value, text and line."""
    import numpy as np
    import polars as pl

    static = _is_static(events)
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


def _labels(files: list[_File], outcomes: bytes | None, counts: Counter[str]) -> dict[str, list[int | None]]:
    """Outcome column → one whole number a stay, None where it is missing or not known."""
    names = [name.lower().replace("-", "_") for name in OUTCOMES]
    if outcomes is None:
        return {name: [None] * len(files) for name in names}
    text = _lines(outcomes, "the outcomes table").decode()
    header, *lines = text.removesuffix("\n").split("\n")
    places = _columns_by_name(header, ("RecordID", *OUTCOMES), "the outcomes table")
    width = header.count(",") + 1
    counts["extra_outcome_column"] = width - len(places)
    table: dict[str, list[int | None]] = {}
    for row, line in enumerate(lines, start=2):
        fields = line.split(",")
        if len(fields) != width:
            raise _refuse(f"the outcomes table, row {row} is ragged", f"{width} fields", f"{len(fields)} fields")
        site_id, *values = (fields[place] for place in places)
        if site_id in table:
            raise _refuse(
                f"the outcomes table, row {row} names a stay again", "one row a stay", "a second row of one stay"
            )
        table[site_id] = [_outcome(value, counts) for value in values]
    counts["orphan_outcome"] = len(table.keys() - {file.site_id for file in files})
    counts["stay_without_outcome"] = sum(file.site_id not in table for file in files)
    if counts["stay_without_outcome"] == len(files):
        raise _refuse("the outcomes table is of other stays", "outcomes of the stays given", "not one stay in common")
    unknown: list[int | None] = [None] * len(names)
    rows = [table.get(file.site_id, unknown) for file in files]
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def _outcome(text: str, counts: Counter[str]) -> int | None:
    number = number_of(text.strip())
    if number is None or not math.isfinite(number) or number != int(number) or abs(number) >= 1 << 53:
        counts["unreadable_outcome"] += 1
        return None
    return None if number == MISSING else int(number)
