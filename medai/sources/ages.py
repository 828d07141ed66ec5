"""Ages as records write them, and as they may be kept: a person over 89 is 90 (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""

from __future__ import annotations

import re

OLDEST_SHOWN = 90
"""What stands for every age over 89."""
OLDEST_POSSIBLE = 120
"""Years above this are a slip of whoever entered them; they are kept as they are, for a rule to judge."""
_AGE = re.compile(r"(\d{1,3})(?:\.0*)?([YMWD]?)")
_BANDS = ((0, 17), (18, 39), (40, 64), (65, 89))
_YEARS_A_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def years_of(text: str) -> int | None:
    """Whole years of an age as DICOM writes it (``058Y``, ``011M``; PS3.5, value representation AS) or as a number.

    >>> [years_of(text) for text in ("058Y", "58", "011M", "095Y", "414", "", "old")]
    [58, 58, 0, 90, 414, None, None]
    """
    found = _AGE.fullmatch(text.strip().upper())
    if found is None:
        return None
    years = int(int(found[1]) * _YEARS_A_UNIT[found[2]])
    return OLDEST_SHOWN if OLDEST_SHOWN <= years <= OLDEST_POSSIBLE else years


def band_of(years: int | None) -> str | None:
    """The age band that evaluation may group by; None for no age, or an impossible one.

    >>> [band_of(years) for years in (4, 39, 90, 414, None)]
    ['0-17', '18-39', '90+', None, None]
    """
    if years is None or years > OLDEST_POSSIBLE:
        return None
    return next((f"{low}-{high}" for low, high in _BANDS if low <= years <= high), f"{OLDEST_SHOWN}+")
