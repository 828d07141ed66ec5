"""What ``medai monitor`` and ``medai label`` tell a person."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flows.shown import windows as shown


def counts(measure: str, statistic: str = "psi", verdict: str = "within") -> dict[str, Any]:
    """A measure whose violation repeated."""
    return {"measure": measure, "statistic": statistic, "verdict": verdict, "counts": True}


def said(
    capsys: pytest.CaptureFixture[str],
    *,
    undecided: int,
    counting: list[dict[str, Any]],
    outside: list[dict[str, Any]] | None = None,
) -> str:
    """What is told of four measures."""
    stands = {"outside": outside or [], "counting": counting, "measures": 4, "undecided": undecided}
    shown.windows({"windows": [], "standing": stands, "detected": None, "page": "monitor.html"})
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("measures", "undecided", "told"),
    [
        (4, 0, "  within all bounds\n"),
        (4, 1, "  within all bounds; undecided: 1 figure\n"),
        (4, 4, "  too few patients to tell whether anything is within its bounds\n"),
        (0, 0, ""),
    ],
)
def test_only_what_was_judged_is_within_bounds(
    capsys: pytest.CaptureFixture[str], measures: int, undecided: int, told: str
) -> None:
    """Figures of too few patients are undecided, and without a window nothing is said."""
    stands = {"outside": [], "counting": [], "measures": measures, "undecided": undecided}
    shown.windows({"windows": [], "standing": stands, "detected": None, "page": "monitor.html"})
    assert capsys.readouterr().out == f"{told}page: monitor.html\n"


def test_outcomes_that_wait_are_told_as_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by figures of which none could be had; a pool tells of how many files it is."""
    few = {
        "kind": "performance", "new": True, "unit": "patient", "subjects": 1, "known": 0, "measures": 9, "outside": 0,
        "too_few": 9, "files": 1, "judged": False,
    }  # fmt: skip
    more = few | {"subjects": 12, "files": 3, "known": 2}
    fitted = few | {"subjects": 0, "known": 7}
    enough = few | {"subjects": 40, "files": 4, "judged": True, "outside": 1, "too_few": 2}
    stands = {"outside": [], "counting": [], "measures": 0, "undecided": 0}
    shown.windows(
        {"windows": [few, more, fitted, enough], "standing": stands, "detected": None, "page": "monitor.html"}
    )
    assert capsys.readouterr().out == (
        "  performance: 1 patient, too few to be judged, they wait for the next outcomes\n"
        "  performance: 12 patients of 3 files, too few to be judged, they wait for the next outcomes,"
        " 2 left out that the champion was fitted on\n"
        "  performance: 0 patients, 7 left out that the champion was fitted on\n"
        "  performance: 40 patients of 4 files, 1 of 9 figures outside, 2 undecided\n"
        "page: monitor.html\n"
    )


def test_who_waits_is_told_where_nothing_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that adds nothing, or a batch that is monitored: what was told before waits still."""
    stands = {"outside": [], "counting": [], "measures": 4, "undecided": 0}
    waiting = {"subjects": 7, "unit": "stay", "files": 2}
    found = {"windows": [], "standing": stands | {"waiting": waiting}, "detected": None, "page": "monitor.html"}
    shown.windows(found)
    assert capsys.readouterr().out == (
        "  within all bounds\n  outcomes of 7 stays wait for the next ones, too few to be judged\npage: monitor.html\n"
    )


def test_a_quiet_window_does_not_hide_drift_that_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """What the page calls drift that counts is never called within all bounds, though the newest figures are."""
    told = said(capsys, undecided=0, counting=[counts("heart_rate"), counts("heart_rate", "ks"), counts("score")])
    assert told.startswith(
        "  the newest figures are within their bounds\n  drift that counts by earlier windows: heart rate, score\n"
    )


def test_undecided_figures_are_not_called_within_their_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """A small window after drift tells nothing of it, and the drift counts still."""
    told = said(capsys, undecided=4, counting=[counts("heart_rate", verdict="too_few")])
    assert told.startswith(
        "  too few patients to tell whether anything is within its bounds\n"
        "  drift that counts by earlier windows: heart rate\n"
    )
    told = said(capsys, undecided=1, counting=[counts("heart_rate")])
    assert "  the newest figures are within their bounds; undecided: 1 figure\n" in told


def test_what_is_outside_now_hides_no_drift_of_before(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure and bound have one unit; what counts and is outside stands in the table alone."""
    alerts = counts("alerts", "alerts", verdict="outside") | {
        "value": 0.25, "bound": "−10 points to +10 points", "subjects": 50, "violations": 2,
    }  # fmt: skip
    told = said(capsys, undecided=0, counting=[alerts, counts("ph")], outside=[alerts])
    assert re.search(r"alerts +alerts +\+25\.0 points +−10 points to \+10 points +50 +2×, counts", told)
    assert "  drift that counts by earlier windows: pH\n" in told
    assert "bounds\n" not in told
