"""What ``medai predict`` tells a person."""

from __future__ import annotations

from typing import Any

import pytest

from flows.shown import scores as shown


def test_pictures_of_an_unknown_patient_may_have_been_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Not known is said, and is not none; what equal pixels tell is said beside it."""
    outcome: dict[str, Any] = {
        "scored": 3, "rows": 3, "version": 1, "labels": {"ill": 3}, "set_aside": {}, "excluded": {}, "not_judged": [],
        "repeated_ids": 0, "seen_in_training": None, "seen_pictures": 2, "out": "answers.csv", "monitoring": None,
    }  # fmt: skip
    shown.prediction(outcome)
    told = capsys.readouterr().out
    assert "unknown: whether the champion was fitted on these patients" in told
    assert "2 pictures are pictures of patients that the champion was fitted on" in told
    shown.prediction(outcome | {"seen_in_training": 0, "seen_pictures": None})
    assert "fitted on" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outside", "told"),
    [
        ([], "within all bounds of what the champion learnt from\n"),
        ([("score", "predictions", False)], "outside of what the champion learnt from, drift if it repeats: score\n"),
        ([("heart_rate", "data", True), ("heart_rate", "data", True)], "drift that counts: heart rate\n"),
        ([("calibration", "performance", True)], "within all bounds of what the champion learnt from\n"),
    ],
)
def test_what_the_batch_is_beside_the_champions_own_data_is_told(
    capsys: pytest.CaptureFixture[str], outside: list[tuple[str, str, bool]], told: str
) -> None:
    """In a line, with the page; outcomes that came later are no part of it, and a batch of nobody says nothing."""
    figures = [{"measure": name, "statistic": "ks", "kind": kind, "counts": counts} for name, kind, counts in outside]
    stands = {"outside": figures, "counting": []}
    found = {"windows": [{"measures": 2, "too_few": 1}], "standing": stands, "page": "monitor.html"}
    outcome: dict[str, Any] = {
        "scored": 3, "rows": 3, "version": 1, "labels": {"ill": 3}, "set_aside": {}, "excluded": {}, "not_judged": [],
        "repeated_ids": 0, "seen_in_training": 1, "seen_pictures": None, "out": "answers.csv", "monitoring": found,
    }  # fmt: skip
    shown.prediction(outcome)
    said = capsys.readouterr().out
    assert told + "page: monitor.html\n" in said
    assert "fitted on by the champion before: 1 subject of them" in said
    counting = [{"measure": "sodium", "statistic": "psi", "kind": "data", "verdict": "within"}]
    shown.prediction(outcome | {"monitoring": found | {"standing": stands | {"counting": counting}}})
    said = capsys.readouterr().out
    assert "drift that counts by earlier batches: sodium\npage: " in said
    assert "within all bounds" not in said
    shown.prediction(outcome | {"monitoring": found | {"windows": []}})
    assert "champion learnt" not in capsys.readouterr().out


def test_what_could_not_be_judged_is_not_called_within_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch of too few patients says nothing of drift; ids with several answers are counted."""
    found = {
        "windows": [{"measures": 3, "too_few": 3}, {"measures": 1, "too_few": 1}],
        "standing": {"outside": [], "counting": []}, "page": "monitor.html",
    }  # fmt: skip
    shown.prediction({
        "scored": 4, "rows": 4, "version": 1, "labels": {"ill": 4}, "set_aside": {}, "excluded": {}, "not_judged": [],
        "seen_in_training": 0, "seen_pictures": None, "out": "answers.csv", "monitoring": found, "repeated_ids": 2,
    })  # fmt: skip
    said = capsys.readouterr().out
    assert "too few new patients to tell whether they are within the bounds of what the champion learnt from" in said
    assert "within all bounds" not in said
    assert "rows whose id stands there before, so that one id has several answers: 2\n" in said
