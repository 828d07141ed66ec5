"""Blocks to files: drawn, formatted and deflated by several processes, written in order by one.

A table's file is its header and its blocks, each one gzip member; so the bytes do not depend on who made which block.
No more blocks are under way than are worked on and waited for, so memory does not grow with the hospital.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import ServiceFailed
from medai.sources.synthetic.database import mimic3, mimic4
from medai.sources.synthetic.database.contents import contents_of
from medai.sources.synthetic.database.csv_bytes import member
from medai.sources.synthetic.database.population import BLOCK

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from medai.sources.synthetic import SyntheticDatabase

Made = tuple[dict[str, bytes], Counter[str], Counter[str]]
"""Table → its bytes; table → its rows; planted faults."""
MOST_WORKERS = 8
_FEW = 4
"""Blocks that are sooner made than a process is started."""


def write_tables(config: SyntheticDatabase, folder: Path, workers: int | None) -> tuple[Counter[str], Counter[str]]:
    """Write all tables below an existing folder.

    Returns:
        Rows by table; planted faults by kind.
    """
    layout = mimic4 if config.layout == "mimic4" else mimic3
    ending = ".csv.gz" if config.compressed else ".csv"
    pack = member if config.compressed else bytes
    rows: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        files = {}
        for table, columns in layout.HEADERS.items():
            path = folder / f"{table}{ending}"
            path.parent.mkdir(exist_ok=True)
            files[table] = stack.enter_context(path.open("wb"))
            files[table].write(pack(columns.replace(" ", ",").encode() + b"\n"))
        for table, text in layout.dictionaries().items():
            files[table].write(pack(text))
            rows[table] += text.count(b"\n")
        blocks = -(-config.subjects // BLOCK)
        for data, written, planted in stack.enter_context(_Blocks(config, blocks, workers)):
            for table, packed in data.items():
                files[table].write(packed)
            rows += written
            counts += planted
    return rows, counts


def make(config: SyntheticDatabase, number: int) -> Made:
    """One block, from its number alone."""
    contents = contents_of(config, number)
    texts = (mimic4 if config.layout == "mimic4" else mimic3).tables(contents)
    rows = Counter({table: text.count(b"\n") for table, text in texts.items()})
    pack = member if config.compressed else bytes
    return {table: pack(text) for table, text in texts.items()}, rows, contents.counts


class _Blocks:
    """All blocks in order, made by this process or by several others.

    Args:
        workers: processes; None: one a core, up to MOST_WORKERS.

    Raises:
        ServiceFailed: a process was killed.
    """

    def __init__(self, config: SyntheticDatabase, blocks: int, workers: int | None) -> None:
        self._config = config
        self._blocks = blocks
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers = min(workers or min(cores, MOST_WORKERS), blocks)
        self._pool: ProcessPoolExecutor | None = None
        if self._workers > 1 and (workers or blocks > _FEW):
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_end_with_parent)

    def __enter__(self) -> Iterator[Made]:
        if self._pool is None:
            return (make(self._config, number) for number in range(self._blocks))
        return self._awaited(self._pool)

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _awaited(self, pool: ProcessPoolExecutor) -> Iterator[Made]:
        ahead: deque[Future[Made]] = deque()
        try:
            for number in range(self._blocks):
                ahead.append(pool.submit(make, self._config, number))
                if len(ahead) > 2 * self._workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise ServiceFailed(
                "a process that made a part of the data ended before it was done",
                expected=f"{self._workers} processes, with some 300 MiB of memory each",
                received="one that was killed, most often for want of memory",
                action="run the command again with --workers 1",
            ) from None


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
