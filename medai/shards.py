"""Shards: runs of row groups of a large table, cut between two subjects, and how the work on them is spread.

A shard is worked on by itself: by a thread here, by another process, or by another machine, which reads it from the
workspace's own table or from a ``Store``. What comes of it depends on the shard alone.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from medai.errors import DataRefused
from medai.store import Store
from medai.tables import ROWS_IN_GROUP, has_columns, readable, spans_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

VERSION = 1
"""Of a shard's file in a store."""
ROWS_ELSEWHERE = 1 << 20
"""Rows of a shard that is worked on elsewhere: long enough that handing it over is no part of the time."""
INDEX = "shards.json"
_LEAST, _LARGEST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


class Each(Protocol):
    """Does a picklable work on each of some picklable orders, and gives the results in the orders' order.

    Few results are held at once: orders are taken, and results given, as they are asked for.
    """

    def __call__(self, work: Callable[[T], R], orders: Iterable[T]) -> Iterator[R]:
        """The results."""
        ...


@dataclass(frozen=True)
class Spread:
    """Work that is done elsewhere.

    Attributes:
        each: hands it over.
        store: what this machine and all others reach; None where they are this machine.
        owner: tells runs of different workspaces on one store apart.
        rows: of a shard, more or less.
    """

    each: Each
    store: Store | None = None
    owner: str = "alone"
    rows: int = ROWS_ELSEWHERE


class Shard(NamedTuple):
    """All rows of some neighbouring subjects.

    Attributes:
        groups: the first row group that holds them, and the one behind the last.
        low, high: the least and the largest subject_id that belongs here, met or not; every subject_id belongs to
            exactly one shard of a table.
        row_ids: the least and the largest row_id of these groups.
    """

    groups: tuple[int, int]
    low: int
    high: int
    row_ids: tuple[int, int]


class InTable(NamedTuple):
    """A shard's rows in the table itself."""

    path: Path
    shard: Shard

    def read(self, columns: Sequence[str], words: Sequence[str] = ()) -> pa.Table:
        """Read them and verify their page checksums.

        Args:
            columns: which, in this order.
            words: text columns that are given as dictionaries.

        Raises:
            DataRefused, ServiceFailed: as ``medai.tables.read_table``.
        """
        import pyarrow.parquet as pq

        with (
            readable(self.path),
            pq.ParquetFile(
                self.path,
                metadata=_metadata(self.path),
                page_checksum_verification=True,
                read_dictionary=list(words),
            ) as file,
        ):
            has_columns(self.path, file, ["subject_id", *columns])
            wanted = list(dict.fromkeys([*columns, "subject_id"]))
            table = file.read_row_groups(list(range(*self.shard.groups)), columns=wanted)
        subject = table["subject_id"].to_numpy()
        begin = int(subject.searchsorted(self.shard.low, side="left"))
        end = int(subject.searchsorted(self.shard.high, side="right"))
        return table.slice(begin, end - begin).select(list(columns))


class InStore(NamedTuple):
    """A shard's rows in a file of a store."""

    store: Store
    name: str
    sha256: str

    def read(self, columns: Sequence[str], words: Sequence[str] = ()) -> pa.Table:
        """As ``InTable.read``; the whole file's hash is verified as well.

        Raises:
            ServiceFailed: the file is gone or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = pa.BufferReader(self.store.get(self.name, self.sha256))
        with pq.ParquetFile(data, page_checksum_verification=True, read_dictionary=list(words)) as file:
            return file.read(columns=list(columns))


Place = InTable | InStore


def cut(path: Path, rows: int = ROWS_IN_GROUP) -> list[Shard]:
    """Cut a table that is sorted by subject_id; one shard at least, in the table's order.

    A row group in whose middle a subject begins that goes on in the next belongs to two shards; a shard's rows are
    those of its subjects. A table that does not say which subjects its groups hold is one shard.

    Args:
        rows: of a shard, more or less: row groups are joined up to it.

    Raises:
        DataRefused, ServiceFailed: as ``medai.tables.read_table``.
    """
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path, metadata=_metadata(path)) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        spans = spans_of(file, "subject_id")
        row_ids = [span or (_LEAST, _LARGEST) for span in spans_of(file, "row_id")]
    known = [span for span, size in zip(spans, sizes, strict=True) if size and span is not None]
    last = len(sizes)
    if not last or len(known) < last or any(one[1] > after[0] for one, after in pairwise(known)):
        return [Shard((0, last), _LEAST, _LARGEST, (_LEAST, _LARGEST))]
    shards = []
    begin, held, low = 0, 0, _LEAST
    for group in range(last):
        held += sizes[group]
        high = known[group + 1][0] - 1 if group + 1 < last else _LARGEST
        if group + 1 < last and (held < rows or high < known[begin][0] or high < low):
            continue
        own = row_ids[begin : group + 1]
        shards.append(Shard((begin, group + 1), low, high, (min(own)[0], max(one[1] for one in own))))
        begin, held, low = group + 1, 0, high + 1
        while begin and known[begin - 1][1] > high:
            begin -= 1
    return shards


def share(path: Path, key: str, columns: Sequence[str], store: Store, rows: int) -> list[tuple[Shard, Place]]:
    """Put a table's shards into a store, once, and say where each is.

    They lie in a folder named by the snapshot's key, each under its content's hash; the index of them is written last,
    so that half a copy is never taken for a whole.

    Args:
        path: of the table.
        key: the snapshot's.
        columns: which of the table's are put there; nothing else leaves the machine.
        rows: of a shard.
    """
    shards = cut(path, rows)
    digest = hashlib.sha256(json.dumps([VERSION, rows, *columns]).encode()).hexdigest()[:8]
    folder = store.folder(f"snapshot-{key}-{digest}")
    names = _indexed(folder.find(INDEX), len(shards))
    if names is None:
        log.info("the snapshot goes into the store of shards, in parts: %d", len(shards))
        names = []
        for shard in shards:
            data = _file(InTable(path, shard).read(columns))
            sha256 = hashlib.sha256(data).hexdigest()
            folder.put(f"{sha256}.parquet", data)
            names.append(sha256)
        folder.put(INDEX, json.dumps(names).encode())
    return [(shard, InStore(folder, f"{sha256}.parquet", sha256)) for shard, sha256 in zip(shards, names, strict=True)]


def _indexed(data: bytes | None, count: int) -> list[str] | None:
    """The hashes of an index of so many shards; None where it is none, and must be written anew."""
    try:
        names = json.loads(data or b"null")
    except ValueError:
        return None
    good = isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)
    return names if good else None


def _file(table: pa.Table) -> bytes:
    """The bytes of a table's Parquet file."""
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(
        table.combine_chunks(),
        data,
        row_group_size=max(table.num_rows, 1),
        version="2.6",
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
    )
    return data.getvalue()


def _metadata(path: Path) -> pq.FileMetaData:
    """The table's footer, read once as long as the table stays."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataRefused(
            f"table {path.stem} cannot be read",
            expected="the snapshot's table where this run left it",
            received="no such file",
            action="name a store that all workers reach with --shards, or run the same command again",
        ) from error
    return _footer(path, status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=2)
def _footer(path: Path, _size: int, _changed: int, _inode: int) -> pq.FileMetaData:
    import pyarrow.parquet as pq

    with readable(path):
        return pq.read_metadata(path)
