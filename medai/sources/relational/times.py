"""Timestamps from text, ``YYYY-MM-DD HH:MM:SS`` by the words that the machine reads, all others one by one.

Nearly every time of a table has that one form of 19 bytes. Eight of them at a time are taken as one whole number, in
which a digit's place is known, so that a block of rows is read by a few dozen operations on arrays.
"""

from __future__ import annotations

import calendar
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from medai.sources.relational.mapping import Mapping

MISSING = np.iinfo(np.int64).min
"""Stands for no time."""
DAY = 86_400
_AT_ONCE = 1 << 14
"""Times read at once: the arrays in between then stay in the processor's cache."""
_WIDTH = 19
_WORDS = np.dtype(
    {"names": ["date", "day", "clock"], "formats": ["<u8", "<u4", "<u8"], "offsets": [0, 7, 11], "itemsize": _WIDTH}
)
_DATE = np.frombuffer(b"0000-00-", "<u8")[0]
_DAY = np.frombuffer(b"-00 ", "<u4")[0]
_CLOCK = np.frombuffer(b"00:00:00", "<u8")[0]
_MONTHS = 16


def moments(texts: pl.Series, mapping: Mapping, *, dates: bool = False) -> pl.Series:
    """Timestamps (us) from ``YYYY-MM-DD HH:MM:SS``; null for another form or an impossible year.

    Args:
        dates: also read ``YYYY-MM-DD``, as that day's begin. A reading must not be dated so: it would be known before
            it was taken.
    """
    import polars as pl

    times = texts.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    if dates and int((times.is_null() & (texts != "")).sum()):
        days = texts.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")
        times = pl.select(pl.coalesce(times, days)).to_series()
    bounds = (pl.datetime(mapping.earliest, 1, 1), pl.datetime(mapping.latest + 1, 1, 1))
    return times.to_frame("t").select(pl.when(pl.col("t").is_between(*bounds, closed="left")).then("t")).to_series()


def seconds_of(texts: pa.Array, mapping: Mapping, *, dates: bool = False) -> tuple[np.ndarray, int]:
    """Seconds since 1970 of texts, by the rules of ``moments``.

    Args:
        texts: Arrow strings without nulls.

    Returns:
        int64 (rows), ``MISSING`` where there is none; and how many texts are not empty and no time all the same.
    """
    rows = len(texts)
    seconds = np.full(rows, MISSING)
    lengths, data = _lengths(texts)
    written = lengths > 0
    usual = lengths == _WIDTH
    if usual.sum() == written.sum():  # then the bytes lie one time after the other
        words = data.view(_WORDS)
        parts = [
            _read(words[at : at + _AT_ONCE], mapping.earliest, mapping.latest) for at in range(0, len(words), _AT_ONCE)
        ]
        read = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
        sound = np.concatenate([np.empty(0, bool), *(part[1] for part in parts)])
        if len(read) == rows:
            seconds = read
        else:
            seconds[usual] = read
        left = np.flatnonzero(usual)[~sound] if not sound.all() else np.empty(0, np.int64)
    else:
        left = np.flatnonzero(written)
    if not len(left):
        return seconds, 0
    found = _one_by_one(texts, left, mapping, dates=dates)
    seconds[left] = found
    return seconds, int((found == MISSING).sum())


def _lengths(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The texts' lengths in bytes, and the bytes themselves."""
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return np.diff(offsets), whole[offsets[0] : offsets[-1]] if len(offsets) else whole[:0]


def _read(texts: np.ndarray, earliest: int, latest: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 of texts as ``_WORDS``, and whether each is such a time; ``MISSING`` where not."""

    strange = np.zeros(len(texts), bool)

    def digits(word: np.ndarray, separators: int, form: int) -> np.ndarray:
        """Each byte the digit that stands there, a separator 0; what is another byte is marked in ``strange``."""
        six = (0x0606_0606_0606_0606 & ~separators) & form
        high = (0xF0F0_F0F0_F0F0_F0F0 | separators) & form
        np.logical_or(strange, ((word | (word + word.dtype.type(six))) & word.dtype.type(high)) != 0, out=strange)
        return word

    date = digits(texts["date"] ^ _DATE, 0xFF00_00FF_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)
    day = digits(texts["day"] ^ _DAY, 0xFF00_00FF, 0xFFFF_FFFF)
    clock = digits(texts["clock"] ^ _CLOCK, 0x0000_FF00_00FF_0000, 0xFFFF_FFFF_FFFF_FFFF)

    # A digit and the one after it make a number of two: ten times the byte and the next byte.
    pairs = date * np.uint64(10) + (date >> np.uint64(8))
    byte = np.uint64(0xFF)
    year = (pairs & byte) * np.uint64(100) + ((pairs >> np.uint64(16)) & byte)
    month = (pairs >> np.uint64(40)) & byte
    of_day = ((day * np.uint32(10) + (day >> np.uint32(8))) >> np.uint32(8)) & np.uint32(0xFF)
    pairs = clock * np.uint64(10) + (clock >> np.uint64(8))
    hour, minute, second = pairs & byte, (pairs >> np.uint64(24)) & byte, (pairs >> np.uint64(48)) & byte

    before, length = _calendar(earliest, latest)
    place = (year.astype(np.int64) - earliest) * _MONTHS + np.minimum(month, _MONTHS - 1).astype(np.int64)
    inside = (place >= 0) & (place < len(before))
    if not inside.all():
        place = np.where(inside, place, 0)
    sound = inside & ~strange & (of_day >= 1) & (of_day <= length[place])
    sound &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = (before[place] + of_day) * DAY
    seconds += (hour * np.uint64(3600) + minute * np.uint64(60) + second).astype(np.int64)
    if not sound.all():
        seconds[~sound] = MISSING
    return seconds, sound


@cache
def _calendar(earliest: int, latest: int) -> tuple[np.ndarray, np.ndarray]:
    """By year and month (sixteen a year): the days from 1970 to the month's eve, and the month's length; 0 for none."""
    before = np.zeros((latest + 1 - earliest) * _MONTHS, np.int64)
    length = np.zeros(len(before), np.uint32)
    for year in range(earliest, latest + 1):
        for month in range(1, 13):
            at = (year - earliest) * _MONTHS + month
            before[at] = np.datetime64(f"{year:04}-{month:02}-01").astype(np.int64) - 1
            length[at] = calendar.monthrange(year, month)[1]
    return before, length


def _one_by_one(texts: pa.Array, rows: np.ndarray, mapping: Mapping, *, dates: bool) -> np.ndarray:
    import polars as pl
    import pyarrow as pa

    chosen = pl.Series(texts.take(pa.array(rows)))
    times = moments(chosen, mapping, dates=dates)
    known = times.is_not_null().to_numpy()
    return np.where(known, times.dt.epoch("s").fill_null(0).to_numpy(), MISSING)
