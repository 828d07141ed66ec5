"""Tables as Parquet files: written with the same bytes everywhere, read with every page's checksum verified."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import DataRefused, from_machine_failure
from medai.threads import each_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_IN_GROUP = 1 << 17
OWNER_ALONE = 0o600


def table_of(columns: Mapping[str, object], types: Mapping[str, str]) -> pa.Table:
    """An Arrow table of exactly these columns and types, in this order.

    Args:
        columns: column → NumPy array, Arrow array or list; absent ones are null throughout.
        types: column → type, as in ``IMAGES``.
    """
    import pyarrow as pa

    rows = max(len(values) for values in columns.values())  # type: ignore[arg-type]
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def write_table(path: Path, table: pa.Table, mode: int = 0o644) -> int:
    """Write a table as Parquet with page checksums; equal tables give equal bytes.

    Row groups, compression and encodings are fixed, chunks are joined and foreign schema metadata is dropped, so that
    neither threads nor the library that built the table leave a trace.

    Args:
        mode: the new file's permissions before the process's mask.

    Returns:
        The number of rows.
    """
    return write_tables(path, [table], mode)


def write_tables(path: Path, parts: Iterable[pa.Table], mode: int = 0o644, counters: Sequence[str] = ()) -> int:
    """Write the rows of several tables of one schema as one; the same bytes as if they had come in one table.

    At most one row group more than a part is held in memory.

    Args:
        parts: at least one; of the same columns and types.
        mode: as for ``write_table``.
        counters: columns of whole numbers that grow from row to row; their differences are stored, which is smaller.

    Returns:
        The number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    waiting: pa.Table | None = None
    writer: pq.ParquetWriter | None = None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            plain = _plain(part)
            rows += plain.num_rows
            waiting = plain if waiting is None else pa.concat_tables([waiting, plain])
            if writer is None:
                writer = pq.ParquetWriter(
                    file,
                    plain.schema,
                    use_dictionary=[name for name in plain.schema.names if name not in counters] if counters else True,
                    column_encoding=dict.fromkeys(counters, "DELTA_BINARY_PACKED") or None,
                    version="2.6",
                    compression="zstd",
                    compression_level=3,
                    write_page_checksum=True,
                )
            whole = waiting.num_rows // ROWS_IN_GROUP * ROWS_IN_GROUP
            if whole:
                writer.write_table(waiting.slice(0, whole).combine_chunks(), row_group_size=ROWS_IN_GROUP)
                waiting = waiting.slice(whole)
        if writer is None or waiting is None:
            raise ValueError("a table is written from one part at least")
        if waiting.num_rows or not rows:
            writer.write_table(waiting.combine_chunks(), row_group_size=ROWS_IN_GROUP)
        writer.close()
    return rows


def write_groups(
    path: Path,
    schema: pa.Schema,
    groups: Iterable[pa.Table],
    counters: Sequence[str] = (),
    split: Sequence[str] = (),
) -> int:
    """Write a large table group by group, as it comes; equal groups give equal bytes.

    Args:
        schema: of the table as it is read again; of a group, texts may be dictionaries of them.
        groups: each becomes one row group; one at least.
        counters: columns of whole numbers whose differences are stored.
        split: columns of floats whose bytes are stored apart.

    Returns:
        The number of rows.
    """
    import pyarrow.parquet as pq

    rows = 0
    writer: pq.ParquetWriter | None = None
    encodings = dict.fromkeys(counters, "DELTA_BINARY_PACKED") | dict.fromkeys(split, "BYTE_STREAM_SPLIT")
    with path.open("wb") as file:
        for group in groups:
            if writer is None:
                writer = pq.ParquetWriter(
                    file,
                    group.schema,
                    use_dictionary=[name for name in schema.names if name not in encodings],
                    column_encoding=encodings,
                    version="2.6",
                    compression="lz4",
                    write_statistics=[name for name in ("subject_id", "time", "row_id") if name in schema.names],
                    write_page_checksum=True,
                    store_schema=False,
                )
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
            rows += group.num_rows
        if writer is None:
            raise ValueError("a table is written from one group at least")
        # The schema that readers restore: of the texts themselves, whatever stood for them while they were written.
        writer.add_key_value_metadata({"ARROW:schema": base64.b64encode(schema.serialize().to_pybytes()).decode()})
        writer.close()
    return rows


def _plain(table: pa.Table) -> pa.Table:
    """The table without foreign metadata, in types that every library reads alike."""
    import pyarrow as pa

    fields = [
        pa.field(field.name, pa.large_string() if pa.types.is_string_view(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def read_table(path: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """Read a table that ``write_table`` wrote and verify its page checksums.

    Args:
        columns: which columns, in this order; all of them by default.

    Raises:
        DataRefused: the table is missing, damaged, or lacks a column.
        ServiceFailed: the disk reported an error.
    """
    import pyarrow.parquet as pq

    chosen = None if columns is None else list(columns)
    with readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        has_columns(path, file, chosen or ())
        return file.read(columns=chosen)


def scan(
    path: Path,
    columns: Sequence[str],
    words: Sequence[str] = (),
    rows: int = ROWS_IN_GROUP,
) -> Iterator[pa.Table]:
    """Read a large table part by part, in its order, and verify its page checksums; the next part is read meanwhile.

    In a table that is sorted by subject_id no subject stands in two parts, so a part holds its largest subject at
    least. Memory does not grow with the table.

    Args:
        columns: which columns, in this order.
        words: text columns that are given as dictionaries, which saves time where words repeat.
        rows: of a part, more or less: row groups are joined up to it.

    Raises:
        DataRefused, ServiceFailed: as ``read_table``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=list(words)) as file:
        has_columns(path, file, columns)
        batches = _batches(file, rows)
        whole = ["subject_id"] if "subject_id" in file.schema_arrow.names and "subject_id" not in columns else []

        def read(groups: list[int]) -> pa.Table:
            return file.read_row_groups(groups, columns=[*columns, *whole])

        kept: pa.Table | None = None
        for (_, closed), table in zip(batches, each_of((groups for groups, _ in batches), read, most=1), strict=True):
            part = table if kept is None else pa.concat_tables([kept, table])
            begin = part.num_rows if closed else _last_subject(part)
            kept = part.slice(begin) if begin < part.num_rows else None
            if begin:
                yield part.slice(0, begin).select(columns)
        if kept is not None:
            yield kept.select(columns)


def spans_of(file: pq.ParquetFile, column: str) -> list[tuple[int, int] | None]:
    """Row group → the least and the largest whole number of a column, where the file says them."""
    names = file.schema_arrow.names
    spans: list[tuple[int, int] | None] = []
    for group in range(file.num_row_groups):
        told = file.metadata.row_group(group).column(names.index(column)) if column in names else None
        statistics = told.statistics if told is not None else None
        spans.append((statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None)
    return spans


def _batches(file: pq.ParquetFile, rows: int) -> list[tuple[list[int], bool]]:
    """Row groups to be read together, and whether a part may end with them: no subject goes on in the next group."""
    spans, last = spans_of(file, "subject_id"), file.num_row_groups - 1
    batches: list[tuple[list[int], bool]] = []
    groups: list[int] = []
    held = 0
    for group, here in enumerate(spans):
        groups.append(group)
        held += file.metadata.row_group(group).num_rows
        if held >= rows or group == last:
            after = spans[group + 1] if group < last else None
            closed = group == last or (here is not None and after is not None and here[1] < after[0])
            batches.append((groups, closed))
            groups, held = [], 0
    return batches


def _last_subject(part: pa.Table) -> int:
    """Where the rows of the part's last subject begin; at its end where the table has no subjects."""
    if "subject_id" not in part.schema.names or not part.num_rows:
        return int(part.num_rows)
    subjects = part["subject_id"].to_numpy()
    return int(subjects.searchsorted(subjects[-1]))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever reading this table may meet, as DataRefused or ServiceFailed without a word of its content."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise _unreadable(path, "no such file") from error
    except OSError as error:
        failure = from_machine_failure(error) if error.errno else None
        raise failure or _unreadable(path, "a damaged file") from None  # the reader's own words may quote a value
    except (pa.ArrowException, ValueError):
        raise _unreadable(path, "a damaged file") from None


def has_columns(path: Path, file: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Raise DataRefused unless the table has these columns."""
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise DataRefused(
            f"table {path.stem} lacks column {missing[0]}",
            expected=f"columns {', '.join(columns)}",
            received=f"columns {', '.join(file.schema_arrow.names)}",
            action="run the stage that writes it again",
        )


def _unreadable(path: Path, received: str) -> DataRefused:
    return DataRefused(
        f"table {path.stem} cannot be read",
        expected="the whole Parquet file, every page as its checksum says",
        received=received,
        action="remove its folder from the workspace's store and run the same command again",
    )
