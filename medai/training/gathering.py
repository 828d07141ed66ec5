"""Arrays that are gathered when rows are asked for: a stay's series is stored once, and its samples are an index.

Prepared arrays come in two layouts (``Arrays.layout``). In layout ``sample`` the first axis of every array is the
sample. In layout ``stay`` the series of all stays lie behind each other, ``last``, ``mask`` and ``elapsed`` (all steps,
variables) and ``summaries`` (all steps, columns), and a sample is a place in them: ``begin``, the row of its stay's
first step, and ``length``, the steps from there to its prediction. What a model reads of a sample are the last
``Arrays.steps`` steps of that, and the summaries of its last step. Ten million samples are so never written out, nor
held: ask for rows in blocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.records import Arrays


class Gathered(ABC):
    """An array whose rows are made when they are asked for, in NumPy's words.

    Attributes:
        shape: (rows, …).
        dtype: of the values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Rows by number, slice, positions or mask; further indices choose within the rows."""
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        rows = np.arange(len(self))[first]
        block = self._gather(np.atleast_1d(rows))
        if rows.ndim == 0:
            return np.asarray(block[(0, *rest)])
        return block[(slice(None), *rest)] if rest else block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows at once: for few rows, or narrow ones."""
        del copy
        return np.asarray(self[:], dtype)

    @abstractmethod
    def at(self, rows: NDArray[np.int64]) -> Gathered:
        """These rows, not yet gathered."""

    @abstractmethod
    def _gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(rows, …) values."""


class Picked(Gathered):
    """Rows of an array at these places.

    Args:
        array: memory-mapped or held.
        places: (rows,) positions in its first axis.
    """

    def __init__(self, array: NDArray[Any], places: NDArray[np.int64]) -> None:
        self._array, self._places = array, places
        self.shape, self.dtype = (len(places), *array.shape[1:]), array.dtype

    def at(self, rows: NDArray[np.int64]) -> Picked:
        """These rows, not yet gathered."""
        return Picked(self._array, self._places[rows])

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self._array[self._places[rows]])


class Windows(Gathered):
    """(samples, steps, variables): of each sample the last steps until its prediction.

    Before the stay's start nothing was measured: ``last`` is NaN there, ``mask`` 0 and ``elapsed`` the number of steps,
    which is also the most that ``elapsed`` says anywhere.

    Args:
        series: (all steps, variables) of all stays behind each other.
        begin: (samples,) row of the stay's first step.
        length: (samples,) steps from there to the prediction, at least one.
        steps: of a window.
        before: what stands before the stay's start.
        most: values are drawn in to this; None: they stay.
    """

    def __init__(
        self,
        series: NDArray[Any],
        begin: NDArray[np.int64],
        length: NDArray[np.int32],
        steps: int,
        before: float,
        most: int | None = None,
    ) -> None:
        self._series, self._begin, self._length = series, begin, length
        self._steps, self._before, self._most = steps, before, most
        self.shape, self.dtype = (len(begin), steps, *series.shape[1:]), series.dtype

    def at(self, rows: NDArray[np.int64]) -> Windows:
        """These rows, not yet gathered."""
        return Windows(self._series, self._begin[rows], self._length[rows], self._steps, self._before, self._most)

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        length = self._length[rows].astype(np.int64)[:, None]
        back = np.arange(self._steps) - self._steps
        there = back >= -length
        places = np.where(there, self._begin[rows].astype(np.int64)[:, None] + length + back, 0)
        values = np.asarray(self._series[places])
        if self._most is not None:
            np.minimum(values, values.dtype.type(self._most), out=values)
        values[~there] = self._before
        return values


def open_arrays(folder: Path, arrays: Arrays) -> dict[str, Any]:
    """Array name → its rows, one a sample in the order of ``sample_id``, in either layout.

    Args:
        folder: where ``prepare`` left them.

    Returns:
        Memory-mapped arrays, or ``Gathered`` ones that answer to shape, dtype, len and indices alike.
    """
    stored = {
        name: np.load(folder / array.file, mmap_mode="r", allow_pickle=False)
        for name, array in sorted(arrays.arrays.items())
    }
    if arrays.layout == "sample":
        return stored
    begin, length = np.asarray(stored.pop("begin")), np.asarray(stored.pop("length"))
    steps = arrays.steps
    opened: dict[str, Any] = dict(stored)
    for name, before, most in (("last", np.nan, None), ("mask", 0, None), ("elapsed", steps, steps)):
        opened[name] = Windows(stored[name], begin, length, steps, before, most)
    if "summaries" in stored:
        opened["summaries"] = Picked(stored["summaries"], begin + length - 1)
    return opened


def at(arrays: dict[str, Any], rows: NDArray[np.int64]) -> dict[str, Gathered]:
    """The same arrays with these rows only, not yet gathered."""
    return {
        name: array.at(rows) if isinstance(array, Gathered) else Picked(array, rows) for name, array in arrays.items()
    }
