"""What a Parquet file's reader leaves unexamined: its description of the columns, which no checksum covers.

Where pages carry checksums the reader refuses a byte that was turned in them. A byte that was turned in the footer may
make it read fewer rows of a column, or another column's pages in its place: whether the footer agrees with itself is
looked at here.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_PAGE_HEADER = 64
_I32 = 5
_CRC_FIELD = 4


def has_checksums(file: Path, opened: pq.ParquetFile, columns: Collection[str]) -> bool:
    """Whether the first page of every column that was read carries a checksum.

    Its header is a Thrift structure in compact form: type, two sizes, and then, where there is one, the checksum.

    Args:
        opened: the file, of which these columns were read to their end. Asked before, a damaged description of a
            column ends the process, where the reader refuses it.
        columns: as the file writes them.

    Raises:
        ValueError: the file's footer contradicts itself.
    """
    leaves = [
        (at, opened.schema.column(at).max_repetition_level == 0)
        for at in range(len(opened.schema.names))
        if opened.schema.column(at).path.split(".")[0] in columns
    ]
    checked, spans = True, []
    with file.open("rb") as raw:
        for group in range(opened.metadata.num_row_groups):
            described = opened.metadata.row_group(group)
            for at, flat in leaves:
                chunk = described.column(at)
                if flat and chunk.num_values != described.num_rows:
                    raise ValueError("a column of another length than the table")
                if not chunk.num_values:
                    continue
                first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
                spans.append((first, first + chunk.total_compressed_size))
                raw.seek(first)
                checked = checked and _page_has_checksum(raw.read(_PAGE_HEADER))
    if any(end > begin for (_, end), (begin, _) in pairwise(sorted(spans))):
        raise ValueError("two columns in one place")
    return checked


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
