"""Columns of numbers to CSV text, millions of rows a second, without touching a row in Python.

A cell is an array of texts of one width, filled up with NUL bytes; a row is its cells beside each other. So a table is
one matrix of bytes, and dropping its NUL bytes leaves the CSV.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NEVER = -(1 << 40)
"""The minute of what did not happen; written as nothing."""
DAY = 24 * 60
_FIRST_YEAR, _LAST_YEAR = 1700, 2400
"""Years that can be written; MIMIC-III's births of the oldest lie 300 years before their admission."""
_LEVEL = 1


def table(cells: Sequence[np.ndarray | bytes]) -> bytes:
    """The rows of a table.

    Args:
        cells: its columns, each an array of n texts (dtype S or V, filled up with NUL), or one text for all rows.

    Returns:
        n lines, each with its line end; nothing for no rows.
    """
    import numpy as np

    flat = joined(cells, b"\n").view(np.uint8)
    text: bytes = flat[flat != 0].tobytes()
    return text


def joined(cells: Sequence[np.ndarray | bytes], end: bytes = b"") -> np.ndarray:
    """Columns beside each other, with commas between and an end: one cell."""
    import numpy as np

    columns: list[np.ndarray | bytes] = []
    for cell in cells:
        columns += [b","] if isinstance(cell, bytes) and not cell else [cell, b","]
    columns[-1:] = [end] if end else []
    rows = next(len(column) for column in columns if isinstance(column, np.ndarray))
    arrays = [np.array(column) if isinstance(column, bytes) else column for column in columns]
    kinds = [(f"c{place}", f"V{array.dtype.itemsize}") for place, array in enumerate(arrays)]
    matrix = np.empty(rows, kinds)
    for (name, kind), array in zip(kinds, arrays, strict=True):
        matrix[name] = array.view(kind)
    whole: np.ndarray = matrix.view(f"V{matrix.dtype.itemsize}")
    return whole


def number(values: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Whole numbers from 0 up as texts; where not ``known``, nothing."""
    import numpy as np

    width = len(str(int(values.max()))) if len(values) else 1
    digits = np.empty((len(values), width), np.uint8)
    rest = values.astype(np.int64)
    for place in reversed(range(width)):
        rest, digits[:, place] = np.divmod(rest, 10)
    written = np.maximum.accumulate(digits > 0, axis=1)  # from the first digit that is no nought
    written[:, -1] = True
    if known is not None:
        written &= known[:, None]
    return np.where(written, digits + ord("0"), 0).astype(np.uint8).view(f"S{width}")[:, 0]


def decimal(values: np.ndarray, decimals: int, known: np.ndarray | None = None) -> np.ndarray:
    """Whole numbers from 0 up as decimal fractions: 1234 with two decimals is ``12.34``."""
    import numpy as np

    whole, part = np.divmod(values.astype(np.int64), 10**decimals)
    left, right = number(whole), number(part + 10**decimals)  # a one before the fraction keeps its noughts
    fraction = np.ascontiguousarray(right.view(np.uint8).reshape(len(values), -1)[:, 1:])
    texts = np.empty(len(values), [("whole", left.dtype), ("point", "S1"), ("part", f"S{decimals}")])
    texts["whole"], texts["point"], texts["part"] = left, b".", fraction.view(f"S{decimals}")[:, 0]
    joined = texts.view(np.uint8).reshape(len(values), -1)
    if known is not None:
        joined[~known] = 0
    return joined.view(f"S{joined.shape[1]}")[:, 0]


def signed(texts: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Numbers with a minus before the negative ones."""
    import numpy as np

    whole = np.empty(len(texts), [("sign", "S1"), ("number", texts.dtype)])
    whole["sign"], whole["number"] = np.where(negative, b"-", b""), texts
    cells: np.ndarray = whole.view(f"S{whole.dtype.itemsize}")
    return cells


def choice(words: Sequence[str | None], index: np.ndarray) -> np.ndarray:
    """The words that an index names, quoted where CSV asks for it; nothing for None and for index -1."""
    import numpy as np

    cells: np.ndarray = np.array([cell(word) for word in words] + [b""], "S")[index]
    return cells


def cell(word: str | None) -> bytes:
    """A word as a cell.

    >>> cell("Bilirubin, Total")
    b'"Bilirubin, Total"'
    """
    text = word or ""
    if "," in text or '"' in text:
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


def moment(minutes: np.ndarray) -> np.ndarray:
    """Times, ``2150-03-01 14:05:00``, from minutes since 1970; nothing for NEVER."""
    import numpy as np

    days, clock = _calendar()
    day, minute = np.divmod(minutes, DAY)
    never = minutes == NEVER
    texts = np.empty(len(minutes), [("day", "S10"), ("clock", "S9")])
    texts["day"] = days[np.where(never, len(days) - 1, day - _first_day())]
    texts["clock"] = clock[np.where(never, DAY, minute)]
    return texts.view("S19")


def date(days: np.ndarray) -> np.ndarray:
    """Dates, ``2150-03-01``, from days since 1970; nothing for NEVER."""
    import numpy as np

    known, _ = _calendar()
    return known[np.where(days == NEVER, len(known) - 1, days - _first_day())]


def year_of(days: np.ndarray) -> np.ndarray:
    """The year of a day since 1970."""
    import numpy as np

    years: np.ndarray = days.astype("M8[D]").astype("M8[Y]").astype(np.int64) + 1970
    return years


def first_of(years: np.ndarray) -> np.ndarray:
    """The day since 1970 on which a year begins."""
    import numpy as np

    days: np.ndarray = (years - 1970).astype("M8[Y]").astype("M8[D]").astype(np.int64)
    return days


@cache
def _first_day() -> int:
    import numpy as np

    return int(first_of(np.array([_FIRST_YEAR]))[0])


@cache
def _calendar() -> tuple[np.ndarray, np.ndarray]:
    """Every day and every minute of a day as text; the last of each is nothing."""
    import numpy as np

    span = np.arange(f"{_FIRST_YEAR}-01-01", f"{_LAST_YEAR}-01-01", dtype="M8[D]")
    days = np.append(np.datetime_as_string(span).astype("S10"), b"")
    clock = np.array([f" {minute // 60:02d}:{minute % 60:02d}:00" for minute in range(DAY)] + [""], "S9")
    return days, clock


def member(text: bytes) -> bytes:
    """Text as one member of a gzip file (RFC 1952), without time, name or system; nothing for no text.

    A file of several members is their texts one after the other: so blocks are deflated apart and written in order.
    """
    if not text:
        return b""
    press = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = press.compress(text) + press.flush()
    return (
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
        + body
        + struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF)
    )
