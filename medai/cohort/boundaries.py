"""Where a window begins or ends, as a small language.

    boundary  = reference [ ("+" | "-") duration | "->" predicate | "<-" predicate ]
    reference = "trigger" | "start" | "end" | window ".start" | window ".end"
    duration  = number unit { number unit }
    unit      = "s" | "min" | "h" | "d" | "w", or in words: "24 hours", "1 day 6 hours"

``start`` and ``end`` are the other end of the same window; one of a window's two boundaries refers to the other so.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal, NamedTuple, cast, get_args

from medai.errors import near_match

Side = Literal["start", "end"]

_UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
    "w": 604800,
    "week": 604800,
    "weeks": 604800,
}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*,?")
_BOUNDARY = re.compile(
    r"\s*(?P<window>[A-Za-z_]\w*)(?:\.(?P<side>\w+))?\s*"
    r"(?:(?P<sign>[+-])(?!>)\s*(?P<duration>[^<>+-]+)|(?P<arrow>->|<-)\s*(?P<predicate>[A-Za-z_]\w*)\s*)?"
)
_LONGEST = timedelta(days=366 * 150)


class Boundary(NamedTuple):
    """One end of a window.

    Attributes:
        window: the window referred to, ``trigger``, or None for the same window.
        side: which end of it; None for ``trigger``.
        offset: how much later (negative: earlier); zero beside an arrow.
        next: the predicate whose next moment from there on it is.
        previous: the predicate whose last moment until there it is.
    """

    window: str | None
    side: Side | None
    offset: timedelta = timedelta(0)
    next: str | None = None
    previous: str | None = None

    @property
    def own(self) -> bool:
        """Whether it refers to the other end of the same window."""
        return self.window is None


def parse_duration(text: str) -> timedelta:
    """Read a duration.

    >>> parse_duration("1 day 6h")
    datetime.timedelta(days=1, seconds=21600)

    Raises:
        ValueError: it is none; the message says why.
    """
    at, seconds = 0, 0.0
    text = text.rstrip()
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError(f"{text.strip()!r} is no duration such as 24h or '1 day 6 hours'")
        unit = part[2].lower()
        if unit not in _UNITS:
            raise ValueError(f"there is no unit {part[2]!r}; {near_match(unit, _UNITS)}")
        seconds += float(part[1]) * _UNITS[unit]
        at = part.end()
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise ValueError(f"{text.strip()!r} is no time between two events of one patient")
    return timedelta(seconds=seconds)


def parse_boundary(text: str) -> Boundary:
    """Read a boundary.

    >>> parse_boundary("input.end + 24h")
    Boundary(window='input', side='end', offset=datetime.timedelta(days=1), next=None, previous=None)

    Raises:
        ValueError: it is none; the message says why.
    """
    found = _BOUNDARY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no boundary such as 'trigger + 24h', 'input.end' or 'start -> discharge'")
    name, side = found["window"], found["side"]
    if side not in (None, *get_args(Side)):
        raise ValueError(f"a window has a start and an end, no {side!r}")
    if side is None and name not in ("trigger", "start", "end"):
        raise ValueError(f"{name!r} is no moment; write {name}.start or {name}.end, or 'trigger'")
    if side is not None and name in ("trigger", "start", "end"):
        raise ValueError(f"{name!r} has no start and no end")
    own = side is None and name in ("start", "end")
    offset = parse_duration(found["duration"]) if found["sign"] else timedelta(0)
    return Boundary(
        window=None if own else name,
        side=cast("Side | None", name if own else side),
        offset=-offset if found["sign"] == "-" else offset,
        next=found["predicate"] if found["arrow"] == "->" else None,
        previous=found["predicate"] if found["arrow"] == "<-" else None,
    )
