"""Dates and times moved by days; what is no whole date gives None, and is then left out.

A time of day stays (PS3.15 option 113107, modified dates: what lies between two events is kept).
"""

from __future__ import annotations

import re
from datetime import date, timedelta

OLDEST = "090Y"
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
_DOTTED = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_COLONS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(\.\d{1,6})?)?")
_DATETIME = re.compile(r"(\d{8})(\d*(?:\.\d{1,6})?)([+-]\d{4})?")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)((?:[ T].*)?)")
_ISO_CLOCK = re.compile(r"(?:[ T](?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_AGE = re.compile(r"(\d{3})([DWMY])")


def moved(year: str, month: str, day: str, days: int) -> date | None:
    """A day so many days later; None where there is no such day, or it leaves the calendar."""
    try:
        return date(int(year), int(month), int(day)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None


def dicom_date(text: str, days: int) -> str | None:
    """DA (PS3.5 6.2), and its old form with dots.

    >>> dicom_date("20200301", -1), dicom_date("2020.03.01", -1), dicom_date("born in May", -1)
    ('20200229', '20200229', None)
    """
    found = _DATE.fullmatch(text) or _DOTTED.fullmatch(text)
    day = moved(found[1], found[2], found[3], days) if found else None
    return None if day is None else _digits(day)


def dicom_time(text: str) -> str | None:
    """TM, unmoved; its old form with colons loses them.

    >>> dicom_time("235959.123"), dicom_time("23:59"), dicom_time("midnight")
    ('235959.123', '2359', None)
    """
    if found := _COLONS.fullmatch(text):
        return "".join(part or "" for part in found.groups())
    return text if _TIME.fullmatch(text) else None


def dicom_datetime(text: str, days: int) -> str | None:
    """DT, its day moved; a year or a month alone cannot be.

    >>> dicom_datetime("20200301120000.5+0100", -1), dicom_datetime("202003", -1)
    ('20200229120000.5+0100', None)
    """
    found = _DATETIME.fullmatch(text)
    day = dicom_date(found[1], days) if found else None
    if found is None or day is None or (found[2] and not _TIME.fullmatch(found[2])):
        return None
    return day + found[2] + (found[3] or "")


def iso(text: str, days: int) -> str | None:
    """A date or a time of a table, ISO 8601 or with a blank for the T.

    >>> iso("2020-03-01 10:00:00", -1), iso("2020-03-01", -366), iso("01/03/2020", -1)
    ('2020-02-29 10:00:00', '2019-03-01', None)
    """
    found = _ISO.fullmatch(text)
    if found is None or not _ISO_CLOCK.fullmatch(found[4]):
        return None
    day = moved(found[1], found[2], found[3], days)
    return None if day is None else day.isoformat() + found[4]


def dicom_age(text: str) -> str | None:
    """AS; over 89 years becomes ``090Y`` (HIPAA, 45 CFR 164.514(b)(2)(i)(C): ages over 89 are one category).

    >>> dicom_age("089Y"), dicom_age("101Y"), dicom_age("018M"), dicom_age("old")
    ('089Y', '090Y', '018M', None)
    """
    found = _AGE.fullmatch(text)
    if found is None:
        return None
    return OLDEST if found[2] == "Y" and int(found[1]) > 89 else text


def _digits(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"
