"""A snapshot's ``pixels.npy``: each row is written by the worker that decoded it, so that no pixel is sent anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from medai.sources.pictures.decoding import Decoded
from medai.sources.pictures.workers import Lost, each_decoded, module_of
from medai.tables import new_pixels

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_open: dict[Path, np.memmap] = {}
"""In a worker: the file that it fills."""


def fill(
    path: Path,
    shape: tuple[int, ...],
    decode: Callable[[T], Decoded],
    tasks: Sequence[T],
    file_of: Callable[[T], Path],
    processes: int | None = None,
) -> Generator[Decoded]:
    """Make a new ``.npy`` of one row a task and fill it; each task's picture, without its pixels, in the tasks' order.

    A task that is lost gives a fault of that name and a black row.

    Args:
        path: the new file.
        shape: of a row: height, width, channels.
        decode: a task to a picture, in a worker; picklable, as ``each_decoded`` says.
        tasks: what is decoded; a task's place is its row.
        file_of: the file behind a task, by whose bytes a lost one is known.
        processes: workers at most.

    Raises:
        OSError: a file cannot be read, or the disk is full.
    """
    pixels = new_pixels(path, (len(tasks), *shape))
    numbered = list(enumerate(tasks))
    into = partial(_into, path, decode)
    answers = each_decoded(into, numbered, module=module_of(decode), processes=processes)
    for (row, task), found in zip(numbered, answers, strict=True):
        if isinstance(found, Lost):
            pixels[row] = 0  # it may have been lost in the middle of its row
            yield Decoded(hash_of_file(file_of(task)), found.reason)
        else:
            yield found
    pixels.flush()


def _into(path: Path, decode: Callable[[T], Decoded], numbered: tuple[int, T]) -> Decoded:
    import numpy as np

    row, task = numbered
    found = decode(task)
    if found.pixels is None:
        return found
    if path not in _open:
        _open[path] = np.lib.format.open_memmap(path, mode="r+")
    _open[path][row] = found.pixels
    return found._replace(pixels=None)


def put_in_order(path: Path, order: np.ndarray) -> None:
    """Put the rows of a filled ``.npy`` in order: row ``order[k]`` becomes row k."""
    import numpy as np

    pixels = np.lib.format.open_memmap(path, mode="r+")
    rearrange(pixels, order)
    pixels.flush()


def rearrange(pixels: np.ndarray, order: np.ndarray) -> None:
    """Put row ``order[k]`` at row k, in place: along each cycle of the order, with one row to spare."""
    done = [False] * len(order)
    for start in range(len(order)):
        if done[start]:
            continue
        spare, at = pixels[start].copy(), start
        while not done[at]:
            done[at] = True
            source = int(order[at])
            pixels[at] = spare if source == start else pixels[source]
            at = source


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as it stands for a picture that has no pixels; never that of any pixels."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(b"file\0")).hexdigest()
