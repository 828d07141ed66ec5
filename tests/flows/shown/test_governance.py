"""What ``medai history`` tells a person."""

from __future__ import annotations

import pytest

from flows.shown import governance as shown

SURE = {"value": 1.0, "low": 1.0, "high": 1.0}


def test_history_has_the_caveat_too_and_the_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    """Versions registered before either was recorded have none."""
    version = {"registered": "2026-05-01T10:00:00", "seed": 0, "data_sha256": "a" * 64}
    figure = {"metric": "auroc", **SURE}
    shown.history(
        {
            "problem": "death",
            "at": None,
            "home": ".medai",
            "emptied": False,
            "first_champion": None,
            "champion": None,
            "versions": [
                version | {"version": 1, "overrides": None, "figure": figure},
                version
                | {
                    "version": 2,
                    "overrides": ["training.epochs=3", "gate=null"],
                    "figure": figure | {"rarest": {"label": "died", "samples": 2}},
                },
            ],
            "entries": [],
        }
    )
    told = capsys.readouterr().out
    assert told.count("only 2 samples with died") == 1
    assert "training.epochs=3 gate=null" in told
