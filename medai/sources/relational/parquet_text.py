"""One table that came as Parquet, as the text that the same table has as CSV: the same rules then judge both.

Numbers are written as plainly as they can be (``97``, not ``97.0``), times as ``YYYY-MM-DD HH:MM:SS``, what is missing
as an empty text. Where the file's pages carry checksums they are verified; a table without them is counted, since
nothing could tell a flipped byte in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import DataRefused

if TYPE_CHECKING:
    from collections import Counter

    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 1 << 16
_PAGE_HEADER = 64
_I32 = 5
_CRC_FIELD = 4


def names_of(table: str, file: Path) -> list[str]:
    """The table's columns in lower case.

    Raises:
        DataRefused: the file is no whole Parquet file, or a column comes twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = [name.strip().lower() for name in pq.read_schema(file).names]
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the machine
        raise _damaged(table) from None
    if len(set(names)) < len(names):
        raise DataRefused(
            f"table {table} has a column more than once",
            expected="each column once, whatever its case",
            received="a second one",
            action="fetch the table again from its publisher and compare its size or hash",
        )
    return names


def batches_of(
    table: str, file: Path, columns: Sequence[str], words: Sequence[str], counts: Counter[str]
) -> Iterator[pa.Table]:
    """The rows of a table, some ten thousand at a time, as text columns; those of ``words`` as dictionaries.

    Args:
        table: its name, for messages.
        columns: the columns wanted, in lower case and in this order; all are there.
        counts: a table without page checksums is counted here (``table_without_checksums``).

    Raises:
        DataRefused: the file is damaged, or a column holds what is no text, number or time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            own = {name.strip().lower(): name for name in opened.schema_arrow.names}
            wanted = [own[name] for name in columns]
            counts["table_without_checksums"] += not _has_checksums(file, opened, wanted)
            for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
                texts = [_text(table, name, batch.column(own[name])) for name in columns]
                arrays = [
                    text.dictionary_encode() if name in words else text
                    for name, text in zip(columns, texts, strict=True)
                ]
                yield pa.table(arrays, names=list(columns))
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _damaged(table) from None


def _text(table: str, name: str, values: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        values = pc.strftime(pc.floor_temporal(values, unit="second").cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S")
    elif pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    elif pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise DataRefused(
            f"table {table}, column {name}: its values are no texts, numbers or times",
            expected="a column as the publisher's CSV has it",
            received=str(kind),
            action="fetch the table again from its publisher",
        )
    return values.cast(pa.string()).fill_null("")


def _has_checksums(file: Path, opened: pq.ParquetFile, columns: Sequence[str]) -> bool:
    """Whether the first page of every column that is read carries a checksum.

    Its header is a Thrift structure in compact form: type, two sizes, and then, where there is one, the checksum.
    """
    metadata = opened.metadata
    with file.open("rb") as raw:
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(at)
                if chunk.path_in_schema.split(".")[0] not in columns or not chunk.num_values:
                    continue
                raw.seek(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
                if not _page_has_checksum(raw.read(_PAGE_HEADER)):
                    return False
    return True


def _page_has_checksum(header: bytes) -> bool:
    field = at = 0
    while at < len(header):
        step, kind = header[at] >> 4, header[at] & 15
        field += step
        if kind != _I32 or not step:
            return False
        if field == _CRC_FIELD:
            return True
        at += 1
        while at < len(header) and header[at] & 128:
            at += 1
        at += 1
    return False


def _damaged(table: str) -> DataRefused:
    return DataRefused(
        f"table {table} cannot be read to its end",
        expected="a whole Parquet file, every page as its checksum says",
        received="a file that is cut short or damaged",
        action="fetch the table again from its publisher and compare its size or hash",
    )
