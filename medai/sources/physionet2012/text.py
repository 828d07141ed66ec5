"""The challenge's text tables: what a time and a number say, and rows that are whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medai.errors import DataRefused
from medai.sources.files import what_is

HOURS = 48
"""Hours of a stay that the challenge records."""
MISSING = -1.0
"""The publisher's code for a value that is not known."""

_TIME = re.compile(r"(\d\d):([0-5]\d)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ROW_END = b"\n"
_LARGEST_FLOAT32 = 3.4028234663852886e38


def minutes_of(text: str) -> int | None:
    """Minutes since admission; None for a time that cannot be.

    >>> minutes_of("47:59"), minutes_of("48:01"), minutes_of("7:30")
    (2879, None, None)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    minutes = int(match[1]) * 60 + int(match[2])
    return minutes if minutes <= HOURS * 60 else None


def number_of(text: str) -> float | None:
    """The number that a reading says, None when it says none or one that 32 bits cannot hold.

    >>> number_of("7.38"), number_of("8,5"), number_of("<0.01"), number_of("1e400")
    (7.38, None, None, None)
    """
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if abs(number) <= _LARGEST_FLOAT32 else None


def refuse(wrong: str, expected: str, received: str) -> DataRefused:
    """A refusal of a file of the challenge."""
    return DataRefused(
        wrong,
        expected=expected,
        received=received,
        action="fetch the file again from the publisher, or leave it out and say so",
    )


def lines_of(data: bytes, what: str) -> bytes:
    """The text of a table with plain line ends, refused when it is no text or ends in mid-row."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            row = data.count(b"\n", 0, error.start) + 1
            raise refuse(f"{what} is no text", "a table as UTF-8 text", f"other bytes in row {row}") from None
    if b"\0" in data:
        raise refuse(f"{what} is no text", "a table as UTF-8 text", f"a NUL byte; it is {what_is(data[:512])}")
    data = data.replace(b"\r\n", _ROW_END)
    if not data.endswith(_ROW_END):
        received = "an empty file" if not data else f"row {data.count(_ROW_END) + 1} breaks off"
        raise refuse(f"{what} is cut short", "a line end after the last row", received)
    return data


def columns_by_name(header: str, wanted: Sequence[str], what: str) -> list[int]:
    """Positions of the wanted columns; other columns, another order or another case do no harm."""
    names = [name.strip().lower() for name in header.split(",")]
    for name in wanted:
        if (found := names.count(name.lower())) != 1:
            raise refuse(
                f"{what} has no column {name}" if found == 0 else f"{what} has column {name} more than once",
                f"columns {', '.join(wanted)}, once each",
                f"{len(names)} columns; {_what_instead(header)}",
            )
    return [names.index(name.lower()) for name in wanted]


def _what_instead(header: str) -> str:
    kind = what_is(header.encode())
    return "row 1 is no such header" if kind == "a text file" else f"the file is {kind}"
