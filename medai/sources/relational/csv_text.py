"""One table's text, read in a stream and strictly.

Most readers fill a short row with nulls, rename a column that comes twice, and take a file that is cut short for a
whole one. Here each is refused: every row has as many fields as the header, the text is UTF-8 and ends in a line end,
gzip's own checksum is right. Columns are found by name, whatever their order and case; quoted fields may hold commas
and line ends. Every field is text, an empty one ``""``; what it means is decided by whoever asked for it. An empty line
is a row of empty fields, which is then counted as a row without its patient.

The file is inflated by one thread in blocks of whole rows, which others parse; a line end that has an odd number of
quotes before it lies inside a field. Where a stray quote comes, as in an unquoted ``5" tube``, counting says nothing:
from there on the parser itself finds the rows' ends, in one stream.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from medai.errors import DataRefused
from medai.sources.files import what_is
from medai.sources.relational.parquet_text import batches_of, names_of
from medai.threads import each_of

if TYPE_CHECKING:
    from collections import Counter

    import polars as pl
    import pyarrow as pa
    import pyarrow.csv as pc

T = TypeVar("T")

BLOCK = 1 << 23
"""Bytes of text that are parsed at once: some 90,000 chart rows, so that what is done once a block weighs little."""
_LONGEST_ROW = 1 << 24
_LONGEST_HEADER = 1 << 16
_BOM = b"\xef\xbb\xbf"
_LINE_END, _QUOTE = ord("\n"), ord('"')
_BEFORE_QUOTED, _AFTER_QUOTED = ([ord(letter) for letter in letters] for letters in (',\n"', ',\r\n"'))
_FIRST_BEYOND_ASCII = 128
_IN_CACHE = 1 << 18
_EDGE = 64
"""Bytes among which a letter that lies across two reads is looked for."""


def read_rows(
    table: str, file: Path, columns: Sequence[str], header: str, counts: Counter[str]
) -> Iterator[pl.DataFrame]:
    """The rows of a table in its file's order, some ten thousand at a time.

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
    import polars as pl

    rows = 0
    for frame in each_batch(table, file, columns, (), header, counts, pl.DataFrame):
        rows += frame.height
        yield frame
    if not rows:
        yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def each_batch(
    table: str,
    file: Path,
    columns: Sequence[str],
    words: Sequence[str],
    header: str,
    counts: Counter[str],
    work: Callable[[pa.Table], T],
) -> Iterator[T]:
    """Whatever ``work`` makes of the rows, some ten thousand at a time, by several threads; in the file's order.

    Args:
        table, file, columns, header, counts: as for ``read_rows``.
        words: columns of few distinct texts, which are handed over as dictionaries.
        work: given Arrow tables of text columns; called by several threads at once.

    Raises:
        DataRefused: as ``read_rows``; of several faults the first in the file.
    """
    if file.name.lower().endswith(".parquet"):
        names = names_of(table, file)
        _require(table, names, columns)
        count_header(names, header, counts)
        yield from each_of(batches_of(table, file, columns, words, counts), work)
        return
    with file.open("rb") as raw:
        text = _Text(table, raw, file.name.lower().endswith(".gz"))
        names = _header(table, text, columns)
        count_header(names, header, counts)
        parser = _Parser(table, names, columns, words)
        yield from each_of(parser.parse(text), lambda parse: work(parse()))


def count_header(names: Sequence[str], header: str, counts: Counter[str]) -> None:
    """Count a table whose columns are not the publisher's."""
    published = header.split()
    if header and list(names) != published:
        known = set(published)
        counts["table_with_extra_columns"] += any(name not in known for name in names)
        counts["table_with_reordered_columns"] += [one for one in names if one in known] != [
            one for one in published if one in names
        ]


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

    def blocks(self) -> Iterator[Block]:
        """Blocks of whole rows until a stray quote comes or the text ends.

        What has been read and lies in no block is then read again by ``readinto``.
        """
        given_back: SimpleQueue[bytearray] = SimpleQueue()
        waiting = b""
        while True:
            before = self.rows
            try:
                buffer = given_back.get_nowait()
            except Empty:
                buffer = bytearray(BLOCK)
            if len(waiting) + len(self._head) >= len(buffer):
                buffer = bytearray(2 * (len(waiting) + len(self._head)))
            begin, at = len(waiting), len(waiting)
            buffer[:begin] = waiting
            if self._head:
                at += len(self._head)
                buffer[begin:at] = self._head
                self._head = b""
            else:
                at += self._into(memoryview(buffer)[begin:])
            if at == begin:
                return  # _check saw to it that nothing waits
            quoted = buffer.find(b'"', begin, at) >= 0 or waiting.find(b'"') >= 0
            if quoted and _has_stray_quote(np.frombuffer(buffer, np.uint8, at)):
                self._head = bytes(buffer[:at])
                return
            end = _end_of_rows(buffer, at, outside=self._quotes % 2 == 0)
            waiting = bytes(memoryview(buffer)[end:at])
            if end:
                yield Block(before, buffer, end, quoted, given_back)
            elif at > _LONGEST_ROW:
                raise _damaged(self._table, before, [])

    @property
    def rows(self) -> int:
        """Rows of the text that was taken."""
        return self._rows - 1 - self._head.count(b"\n")

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)]
        if data:
            self._head = self._head[len(data) :]
            buffer[: len(data)] = data
            return len(data)
        return self._into(memoryview(buffer))

    def _next(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self._into(memoryview(buffer))])

    def _into(self, buffer: memoryview) -> int:
        """Fill the buffer, or less of it where the text ends; checked."""
        from isal import isal_zlib

        damaged: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub calls it Any
        filled = 0
        try:
            while filled < len(buffer):
                read = self._stream.readinto(buffer[filled:])
                if not read:
                    break
                filled += read
        except (EOFError, OSError, damaged) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # of the machine
            received = "a file that is cut short or damaged"
            raise _refused(self._table, "cannot be read to its end", "a whole gzip file", received) from None
        self._check(buffer[:filled])
        return filled

    def _check(self, data: memoryview) -> None:
        table, bytes_of = self._table, np.frombuffer(data, np.uint8)
        if not len(data):
            if self._last not in (b"\n", b""):
                raise _refused(
                    table, "is cut short", "a line end after the last row", f"row {self._rows + 1} breaks off"
                )
            if self._quotes % 2:
                raise _refused(table, "cannot be parsed", "quotes in pairs", "a quote that is never closed")
        line_ends = quotes = 0
        for at in range(0, len(data), _IN_CACHE):
            part = bytes_of[at : at + _IN_CACHE]
            if not part.min():
                raise _refused(table, "is no text", "a table as UTF-8 text", "a NUL byte")
            line_ends += int(np.count_nonzero(part == _LINE_END))
            quotes += int(np.count_nonzero(part == _QUOTE))
        if not (self._whole and len(data) and bytes_of.max() < _FIRST_BEYOND_ASCII):
            self._decode(data, bytes_of)
        if len(data):
            self._last = bytes(data[-1:])
            self._rows += line_ends
            self._quotes += quotes

    def _decode(self, data: memoryview, bytes_of: np.ndarray) -> None:
        """Refuse what is no UTF-8; a letter may begin in what was read before, or go on in what is read next."""
        pieces = [(0, data)]
        begins, ends = (np.flatnonzero(edge < _FIRST_BEYOND_ASCII) for edge in (bytes_of[:_EDGE], bytes_of[-_EDGE:]))
        if len(begins) and len(ends):
            begin, end = int(begins[0]), len(data) - min(_EDGE, len(data)) + int(ends[-1])
            if begin < end and _is_utf8(data[begin:end]):
                pieces = [(0, data[:begin]), (end, data[end:])]
        for at, piece in pieces:
            try:
                self._decoder.decode(piece, final=not len(data))
            except UnicodeDecodeError as error:
                row = self._rows + bytes(data[: at + max(error.start, 0)]).count(b"\n") + 1
                raise _refused(
                    self._table, "is no UTF-8 text", "a table as UTF-8 text", f"other bytes near row {row}"
                ) from None
        self._whole = not self._decoder.getstate()[0]


def _has_stray_quote(text: np.ndarray) -> bool:
    """Whether a quote stands elsewhere than around a field or doubled within one: counting quotes then deceives.

    Args:
        text: its bytes, from the begin of a row on.
    """
    quotes = np.flatnonzero(text == _QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    before, after = text[opening[opening > 0] - 1], text[closing[closing < len(text) - 1] + 1]
    return not (np.isin(before, _BEFORE_QUOTED).all() and np.isin(after, _AFTER_QUOTED).all())


def _end_of_rows(text: bytearray, size: int, *, outside: bool) -> int:
    """Where the last whole row of a text ends; 0 where none does. A line end between quotes ends no row.

    Args:
        size: of the text, which begins with a row.
        outside: whether it ends outside quotes.
    """
    while size > 0:
        quote = text.rfind(b'"', 0, size)
        end = text.rfind(b"\n", quote + 1, size) + 1 if outside else 0
        if end:
            return end
        size, outside = quote, not outside
    return 0


def _is_utf8(data: memoryview) -> bool:
    """Whether whole letters are UTF-8; Arrow looks at them where they lie, while a decoder writes them anew."""
    import pyarrow as pa

    bounds = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, bounds, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class Block(NamedTuple):
    """Whole rows of a table's text.

    Attributes:
        before: rows that came before them.
        buffer: the text begins here.
        end: and ends here.
        quoted: some fields stand between quotes, and may hold line ends.
        given_back: takes the buffer once it is not needed any more.
    """

    before: int
    buffer: bytearray
    end: int
    quoted: bool
    given_back: SimpleQueue[bytearray]


def _header(table: str, text: _Text, columns: Sequence[str]) -> list[str]:
    """The names of the table's columns, in lower case; each once, all wanted ones among them."""
    line = text.take_header()
    names = [name.strip().lower() for name in next(csv.reader([line.decode("utf-8", "replace")]), [])]
    for name in names:
        if names.count(name) > 1:
            known = f"column {name}" if name in columns else "column"  # other words may be a patient's
            raise _refused(table, f"has a {known} more than once", "each column once", "a second one")
    _require(table, names, columns)
    return names


def _require(table: str, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if name not in names:
            received = _what_instead(",".join(names).encode())
            raise _refused(
                table,
                f"has no column {name}",
                f"columns {', '.join(columns)}",
                received,
                "correct source.columns where the Problem names columns of your own, or fetch the table again from its"
                " publisher",
            )


def _what_instead(head: bytes) -> str:
    kind = what_is(head)
    return "a first line that is no such header" if kind == "a text file" else kind


class _Parser:
    """Text to Arrow tables of the wanted columns.

    Args:
        table: its name, for messages.
        names: of all columns, in their order.
        columns: the wanted ones.
        words: those of them that become dictionaries.
    """

    def __init__(self, table: str, names: list[str], columns: Sequence[str], words: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.csv as pc

        self._table = table
        self._names = names
        text, dictionary = pa.string(), pa.dictionary(pa.int32(), pa.string())
        self._convert = pc.ConvertOptions(
            check_utf8=False,  # it was
            include_columns=list(columns),
            column_types={name: dictionary if name in words else text for name in columns},
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        )

    def parse(self, text: _Text) -> Iterator[Callable[[], pa.Table]]:
        """The text's rows, parsed or to be parsed: a part each, in their order."""
        for block in text.blocks():
            yield partial(self._block, block)
        yield from self._stream(text)

    def _block(self, block: Block) -> pa.Table:
        import pyarrow as pa
        import pyarrow.csv as pc

        ragged: list[tuple[int, int]] = []
        try:
            return pc.read_csv(
                pa.BufferReader(pa.py_buffer(memoryview(block.buffer)[: block.end])),
                pc.ReadOptions(column_names=self._names, block_size=block.end + 1, use_threads=False),
                self._options(ragged, line_ends_in_fields=block.quoted),
                self._convert,
            )
        except pa.ArrowInvalid:  # its own words quote the row
            raise _damaged(self._table, block.before, ragged) from None
        finally:
            block.given_back.put(block.buffer)

    def _stream(self, text: _Text) -> Iterator[Callable[[], pa.Table]]:
        import pyarrow as pa
        import pyarrow.csv as pc

        ragged: list[tuple[int, int]] = []
        rows = text.rows
        buffered = io.BufferedReader(text, 1 << 20)
        if not buffered.peek(1):
            return
        try:
            reader = pc.open_csv(
                buffered,
                pc.ReadOptions(column_names=self._names, block_size=BLOCK),
                self._options(ragged, line_ends_in_fields=True),
                self._convert,
            )
            for batch in reader:
                rows += batch.num_rows
                yield partial(pa.Table.from_batches, [batch])
        except pa.ArrowInvalid:
            raise _damaged(self._table, rows, ragged) from None

    def _options(self, ragged: list[tuple[int, int]], *, line_ends_in_fields: bool) -> pc.ParseOptions:
        import pyarrow.csv as pc

        def note(row: pc.InvalidRow) -> str:
            ragged.append((row.expected_columns, row.actual_columns))
            return "error"

        return pc.ParseOptions(
            newlines_in_values=line_ends_in_fields, ignore_empty_lines=False, invalid_row_handler=note
        )


def _damaged(table: str, rows: int, ragged: list[tuple[int, int]]) -> DataRefused:
    near = f"after row {rows + 1}" if rows else "in the first rows"
    if ragged:
        expected, received = ragged[0]
        return _refused(table, f"has a ragged row ({near})", f"{expected} fields in every row", f"{received} fields")
    return _refused(table, f"cannot be parsed ({near})", "a table as CSV", "a quote that is never closed, or the like")


def _refused(
    table: str,
    wrong: str,
    expected: str,
    received: str,
    action: str = "fetch the table again from its publisher and compare its size or hash",
) -> DataRefused:
    return DataRefused(
        f"table {table} {wrong}",
        expected=expected,
        received=received,
        action=action,
    )
