"""What ``medai monitor`` and ``medai label`` tell a person."""

from __future__ import annotations

import pytest

from flows.shown import windows as shown


@pytest.mark.parametrize(
    ("measures", "undecided", "told"),
    [
        (4, 0, "  within all bounds\n"),
        (4, 1, "  within all bounds; 1 figures are undecided\n"),
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


def test_a_quiet_window_does_not_hide_drift_that_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """What the page calls drift that counts is never called within all bounds, though the newest figures are."""
    counting = [{"measure": "heart_rate"}, {"measure": "heart_rate"}, {"measure": "score"}]
    stands = {"outside": [], "counting": counting, "measures": 4, "undecided": 0}
    shown.windows({"windows": [], "standing": stands, "detected": None, "page": "monitor.html"})
    told = capsys.readouterr().out
    assert "drift that counts by earlier windows: heart rate, score\n" in told
    assert "within all bounds" not in told
