"""Arrays beside the tables, as NumPy's files."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from medai.records import ArrayFile

if TYPE_CHECKING:
    import numpy as np


def write_array(path: Path, values: np.ndarray, names: tuple[str, ...] = ()) -> ArrayFile:
    """Write a small array as ``.npy``."""
    import numpy as np

    np.save(path, values, allow_pickle=False)
    return ArrayFile(file=path.name, dtype=str(values.dtype), shape=values.shape, names=names)


class NewArray:
    """A new ``.npy`` of zeros whose rows are written as they come, in any order; none of it is held in memory.

    Args:
        path: of the file.
        kind: the values' type, as NumPy names it.
        shape: rows first.
    """

    def __init__(self, path: Path, kind: str, shape: tuple[int, ...]) -> None:
        import numpy as np

        self._path, self._dtype, self._shape = path, np.dtype(kind), shape
        self._row = self._dtype.itemsize * math.prod(shape[1:])
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._begin = self._file.tell()
        self._file.flush()
        os.ftruncate(self._file.fileno(), self._begin + shape[0] * self._row)

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write these rows."""
        import numpy as np

        whole = np.ascontiguousarray(values, self._dtype)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for begin, end in pairwise([0, *breaks.tolist(), len(rows)]):
            if begin < end:
                self._write(whole[begin:end], self._begin + int(rows[begin]) * self._row)

    def _write(self, values: np.ndarray, at: int) -> None:
        left = memoryview(values.reshape(-1).view("uint8"))  # type: ignore[arg-type]
        while left:
            done = os.pwrite(self._file.fileno(), left, at)
            left, at = left[done:], at + done

    def described(self, names: tuple[str, ...] = ()) -> ArrayFile:
        """The file as a record names it."""
        return ArrayFile(file=self._path.name, dtype=str(self._dtype), shape=self._shape, names=names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def new_pixels(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` of uint8 zeros, to be filled through memory and flushed.

    Its space is taken at once: a disk that is full only when a page is written would end the process by SIGBUS.
    """
    import numpy as np

    pixels: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return pixels
