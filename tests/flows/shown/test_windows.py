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
    stands = {"outside": [], "measures": measures, "undecided": undecided}
    shown.windows({"windows": [], "standing": stands, "detected": None, "page": "monitor.html"})
    assert capsys.readouterr().out == f"{told}page: monitor.html\n"
