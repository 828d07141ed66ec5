"""One table's text, read in a stream and strictly.

Most readers fill a short row with nulls, rename a column that comes twice, and take a file that is cut short for a
whole one. Here each is refused: every row has as many fields as the header, the text is UTF-8 and ends in a line end,
gzip's own checksum is right. Columns are found by name, whatever their order and case; quoted fields may hold commas
and line ends. Every field is text, an empty one ``""``; what it means is decided by whoever asked for it. An empty line
is a row of empty fields, which is then counted as a row without its patient.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.errors import DataRefused
from medai.sources.files import what_is

if TYPE_CHECKING:
    from collections import Counter

    import polars as pl
    import pyarrow as pa

BLOCK = 1 << 24
"""Bytes of text that are parsed at once: some 150,000 chart rows."""
_LONGEST_HEADER = 1 << 16
_BOM = b"\xef\xbb\xbf"


def read_rows(
    table: str, file: Path, columns: Sequence[str], header: str, counts: Counter[str]
) -> Iterator[pl.DataFrame]:
    """The rows of a table in its file's order, some hundred thousand at a time.

    Args:
        table: its name, for messages.
        columns: the columns wanted, in lower case and in this order.
        header: the publisher's columns, separated by spaces; empty when not known.
        counts: tables whose header differs from the publisher's are counted here.

    Yields:
        Frames of text columns; one at least, which may be empty.

    Raises:
        DataRefused: a column is missing or there twice, a row is ragged, the text is cut short or is none.
    """
    with file.open("rb") as raw:
        text = _Text(table, raw, file.name.lower().endswith(".gz"))
        names = _header(table, text, columns)
        if header and names != header.split():
            known = set(header.split())
            counts["table_with_extra_columns"] += any(name not in known for name in names)
            counts["table_with_reordered_columns"] += [one for one in names if one in known] != [
                one for one in header.split() if one in names
            ]
        yield from _parsed(table, text, names, columns)


def read_whole(table: str, file: Path, columns: Sequence[str], header: str, counts: Counter[str]) -> pl.DataFrame:
    """All rows of a small table; as ``read_rows``."""
    import polars as pl

    return pl.concat(list(read_rows(table, file, columns, header, counts)))


class _Text(io.RawIOBase):
    """The inflated text of a file; it refuses what is no UTF-8 text or ends in mid-row.

    Args:
        table: its name, for messages.
        raw: the file.
        zipped: whether it is gzip.
    """

    def __init__(self, table: str, raw: Any, zipped: bool) -> None:
        super().__init__()
        self._table = table
        self._stream = raw
        if zipped:
            from isal import igzip

            self._stream = igzip.IGzipFile(fileobj=raw)  # type: ignore[no-untyped-call]
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._whole = True  # no letter lies across two blocks
        self._last = b""
        self._head = b""
        self._rows = 0
        self._quotes = 0

    def readable(self) -> bool:
        return True

    def take_header(self) -> bytes:
        """The first line without its end; what was read beyond it comes again."""
        head = self._next(_LONGEST_HEADER)
        line, end, self._head = head.partition(b"\n")
        if not end:
            raise _refused(self._table, "has no header", "a first line of column names", _what_instead(head))
        return line.removeprefix(_BOM).removesuffix(b"\r")

    @property
    def is_header_alone(self) -> bool:
        """Whether one line was all."""
        return self._last == b"\n" and self._rows == 1

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)]
        if data:
            self._head = self._head[len(data) :]
        else:
            data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        from isal import isal_zlib

        damaged: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub calls it Any
        try:
            data: bytes = self._stream.read(size)
        except (EOFError, OSError, damaged) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # of the machine
            received = "a file that is cut short or damaged"
            raise _refused(self._table, "cannot be read to its end", "a whole gzip file", received) from None
        self._check(data)
        return data

    def _check(self, data: bytes) -> None:
        plain = data.isascii()
        if not data and self._last not in (b"\n", b""):
            raise _refused(
                self._table, "is cut short", "a line end after the last row", f"row {self._rows + 1} breaks off"
            )
        if not data and self._quotes % 2:
            raise _refused(self._table, "cannot be parsed", "quotes in pairs", "a quote that is never closed")
        if b"\0" in data:
            raise _refused(self._table, "is no text", "a table as UTF-8 text", "a NUL byte")
        if not (plain and self._whole):
            try:
                self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                row = self._rows + data.count(b"\n", 0, max(error.start, 0)) + 1
                raise _refused(
                    self._table, "is no UTF-8 text", "a table as UTF-8 text", f"other bytes near row {row}"
                ) from None
            self._whole = not self._decoder.getstate()[0]
        if data:
            self._last = data[-1:]
            self._rows += data.count(b"\n")
            self._quotes += data.count(b'"')


def _header(table: str, text: _Text, columns: Sequence[str]) -> list[str]:
    """The names of the table's columns, in lower case; each once, all wanted ones among them."""
    line = text.take_header()
    names = [name.strip().lower() for name in next(csv.reader([line.decode("utf-8", "replace")]), [])]
    for name in names:
        if names.count(name) > 1:
            known = f"column {name}" if name in columns else "column"  # other words may be a patient's
            raise _refused(table, f"has a {known} more than once", "each column once", "a second one")
    for name in columns:
        if name not in names:
            received = _what_instead(",".join(names).encode())
            raise _refused(table, f"has no column {name}", f"columns {', '.join(columns)}", received)
    return names


def _what_instead(head: bytes) -> str:
    kind = what_is(head)
    return "a first line that is no such header" if kind == "a text file" else kind


def _parsed(table: str, text: _Text, names: list[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.csv as pc

    ragged: list[tuple[int, int]] = []

    def note(row: pc.InvalidRow) -> str:
        ragged.append((row.expected_columns, row.actual_columns))
        return "error"

    rows = 0
    buffered = io.BufferedReader(text, 1 << 20)
    try:
        reader = pc.open_csv(
            buffered,
            read_options=pc.ReadOptions(column_names=names, block_size=BLOCK),
            parse_options=pc.ParseOptions(newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=note),
            convert_options=pc.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        if text.is_header_alone:
            yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
            return
        raise _damaged(table, rows, ragged) from None
    while True:
        try:
            batch: pa.RecordBatch = reader.read_next_batch()
        except StopIteration:
            return
        except pa.ArrowInvalid:  # its own words quote the row
            raise _damaged(table, rows, ragged) from None
        rows += batch.num_rows
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a batch has columns
        yield frame


def _damaged(table: str, rows: int, ragged: list[tuple[int, int]]) -> DataRefused:
    near = f"after row {rows + 1}" if rows else "in the first rows"
    if ragged:
        expected, received = ragged[0]
        return _refused(table, f"has a ragged row ({near})", f"{expected} fields in every row", f"{received} fields")
    return _refused(table, f"cannot be parsed ({near})", "a table as CSV", "a quote that is never closed, or the like")


def _refused(table: str, wrong: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        f"table {table} {wrong}",
        expected=expected,
        received=received,
        action="fetch the table again from its publisher and compare its size or hash",
    )
