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
from medai.sources.parquet_pages import has_checksums

if TYPE_CHECKING:
    from collections import Counter

    import pyarrow as pa

_ROWS_AT_ONCE = 1 << 16
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The first day of the year 1 and the last one of the year 9999, in days since 1970."""
_TICKS_A_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_WHOLE_IN_FLOAT32 = 1 << 24
"""Up to here every whole number is one of 32-bit floats."""


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
            for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
                texts = [_text(table, name, batch.column(own[name])) for name in columns]
                arrays = [
                    text.dictionary_encode() if name in words else text
                    for name, text in zip(columns, texts, strict=True)
                ]
                yield pa.table(arrays, names=list(columns))
            counts["table_without_checksums"] += not has_checksums(file, opened, wanted)
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _damaged(table) from None


def _text(table: str, name: str, values: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values.validate(full=True)  # readers take texts as they stand, whatever their bytes
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        values = _written(values)
    elif pa.types.is_floating(kind):
        if name.endswith("id") and kind.bit_width <= 32 and _too_large(values):
            received = "numbers of 32 bits or fewer, in which identifiers of eight digits fall together"
            raise _no_text(table, name, "identifiers", received)
        values = pc.if_else(pc.is_nan(values), None, values)
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif pa.types.is_timestamp(kind):
        raise _no_text(table, name, "times as the hospital's clocks show them", "times of a time zone")
    elif pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise _no_text(table, name, "texts, numbers or times", str(kind))
    return values.cast(pa.string()).fill_null("")


def _written(times: pa.Array) -> pa.Array:
    """Times as the publisher writes them; one beyond the calendar as a word, which is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ticks, unit = times.cast(pa.int64()), times.type.unit
    longest = (1 << 63) - 1
    bounds = [max(min(day * _TICKS_A_DAY[unit], longest), -longest) for day in (_FIRST_DAY, _LAST_DAY + 1)]
    inside = pc.and_(pc.greater_equal(ticks, bounds[0]), pc.less(ticks, bounds[1]))
    sound = pc.if_else(inside, ticks, 0).cast(times.type)
    texts = pc.strftime(pc.floor_temporal(sound, unit="second").cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S")
    return pc.if_else(inside, texts, "beyond the calendar")


def _too_large(values: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.greater_equal(pc.abs(values.cast("float64")), _WHOLE_IN_FLOAT32)).as_py())


def _no_text(table: str, name: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        f"table {table}, column {name}: its values are no {expected}",
        expected="a column as the publisher's CSV has it",
        received=received,
        action="fetch the table again from its publisher, or convert it anew from the publisher's CSV",
    )


def _damaged(table: str) -> DataRefused:
    return DataRefused(
        f"table {table} cannot be read to its end",
        expected="a whole Parquet file, every page as its checksum says",
        received="a file that is cut short or damaged",
        action="fetch the table again from its publisher and compare its size or hash",
    )
