"""Times as whole minutes since the first day of the calendar (0001-01-01 is day 1), and as MIMIC writes them."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

HOUR, DAY = 60, 24 * 60
_OF_DAY = [f" {minute // HOUR:02d}:{minute % HOUR:02d}:00" for minute in range(DAY)]


def time_text(minute: int) -> str:
    """A time, ``2150-03-01 14:05:00``."""
    day, rest = divmod(minute, DAY)
    return date_text(day) + _OF_DAY[rest]


@lru_cache(4096)
def date_text(day: int) -> str:
    """A day, ``2150-03-01``."""
    return date.fromordinal(day).isoformat()


def year_of(minute: int) -> int:
    """The year of a time."""
    return date.fromordinal(minute // DAY).year
