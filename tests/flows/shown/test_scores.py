"""What ``medai predict`` tells a person."""

from __future__ import annotations

from typing import Any

import pytest

from flows.shown import scores as shown


def test_pictures_of_an_unknown_patient_may_have_been_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Not known is said, and is not none; what equal pixels tell is said beside it."""
    outcome: dict[str, Any] = {
        "scored": 3, "rows": 3, "version": 1, "labels": {"ill": 3}, "set_aside": {}, "excluded": {}, "not_judged": [],
        "seen_in_training": None, "seen_pictures": 2, "out": "answers.csv",
    }  # fmt: skip
    shown.prediction(outcome)
    told = capsys.readouterr().out
    assert "unknown: whether the champion was fitted on these patients" in told
    assert "2 pictures are pictures of patients that the champion was fitted on" in told
    shown.prediction(outcome | {"seen_in_training": 0, "seen_pictures": None})
    assert "fitted on" not in capsys.readouterr().out
