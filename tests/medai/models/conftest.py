"""Nets are built in the same process as other tests fit them: its threads are pinned before the first operation."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _pinned(request: pytest.FixtureRequest) -> None:
    """Pin where Keras is used at all."""
    if not request.module.__name__.endswith("test_baselines"):
        request.getfixturevalue("pinned")
