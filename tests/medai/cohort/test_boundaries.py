"""Where windows begin and end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from medai.cohort.boundaries import Boundary, parse_boundary, parse_duration


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("trigger", Boundary("trigger", None)),
        ("trigger + 24h", Boundary("trigger", None, timedelta(hours=24))),
        ("trigger-1d", Boundary("trigger", None, timedelta(days=-1))),
        ("input.end", Boundary("input", "end")),
        ("gap.start + 2 days 6 hours", Boundary("gap", "start", timedelta(days=2, hours=6))),
        ("start -> discharge", Boundary(None, "start", next="discharge")),
        ("end <- _RECORD_START", Boundary(None, "end", previous="_RECORD_START")),
        ("trigger -> death_or_discharge", Boundary("trigger", None, next="death_or_discharge")),
        ("  end - 90 min ", Boundary(None, "end", timedelta(minutes=-90))),
    ],
)
def test_boundaries_are_read(text: str, boundary: Boundary) -> None:
    """A reference, and an offset or an arrow to a predicate."""
    assert parse_boundary(text) == boundary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no boundary"),
        ("24h", "is no boundary"),
        ("input", "'input' is no moment; write input.start or input.end"),
        ("input.middle", "a window has a start and an end, no 'middle'"),
        ("trigger.end", "'trigger' has no start and no end"),
        ("trigger + 24 hourz", "there is no unit 'hourz'; did you mean 'hour'"),
        ("trigger + fast", "is no duration such as 24h"),
        ("trigger + 0h", "is no time between two events"),
        ("trigger + 200 years", "there is no unit 'years'"),
        ("trigger + 99999999w", "is no time between two events"),
        ("start -> a -> b", "is no boundary"),
        ("start -> discharge + 1h", "is no boundary"),
    ],
)
def test_what_is_no_boundary_is_refused(text: str, message: str) -> None:
    """The message says what is wrong, with the near match."""
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_boundary(text)


def test_durations_add_up() -> None:
    """Several parts, short or in words, with fractions."""
    assert parse_duration("1 day, 6.5 hours") == timedelta(days=1, hours=6.5)
    assert parse_duration("90m") == parse_duration("1h 30min") == timedelta(minutes=90)
