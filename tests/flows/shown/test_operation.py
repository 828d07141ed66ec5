"""What ``medai stack`` and ``medai deploy`` tell a person."""

from __future__ import annotations

from typing import Any

import pytest

from flows.shown.operation import deployed, stack

ADDRESSES = {"pages_url": "http://a", "prefect_url": "http://b", "mlflow_url": "http://c", "postgres": "127.0.0.1:1"}


def test_a_home_without_a_stack_says_so_and_one_with_it_how_to_use_and_end_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By an address a service, what to export, and how this one is ended."""
    stack({"running": False})
    assert capsys.readouterr().out == "no stack runs on this home\n"
    outcome = {"running": True, **ADDRESSES, "logs": "logs", "told": {"MEDAI_POSTGRES": "127.0.0.1:1"}}
    stack(outcome)
    told = capsys.readouterr().out
    assert told.startswith("overview   http://a\nPrefect    http://b\nMLflow     http://c\nPostgreSQL 127.0.0.1:1\n")
    assert told.endswith("\nTo use it:\n  export MEDAI_POSTGRES=127.0.0.1:1\n\nEnd it with `medai stack down`.\n")
    stack(outcome | {"attached": True})
    assert capsys.readouterr().out.endswith("\nStop with Ctrl-C.\n")


def test_what_a_new_deployment_ends_and_what_it_will_not_find_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt folder, events that start nothing any more and looks that end are seen now, not at three at night."""
    outcome: dict[str, Any] = {
        "problem": "p", "cron": "0 3 * * 1", "timezone": "UTC", "on": [], "next": "2026-11-23T03:00:00", "notify": None,
        "name": "retrain-p", "deployment": "1", "data": "nosuch", "absent": "/nosuch", "watch": None,
        "replaced": {"cron": "0 3 * * 1", "on": ["drift", "data"]},
        "unwatched": {"name": "watch-p", "cron": "*/10 * * * *"},
    }  # fmt: skip
    deployed(outcome)
    told = capsys.readouterr().out
    assert "  nothing is found at /nosuch from here; a run that finds nothing there is refused\n" in told
    assert "  it replaces the schedule at 0 3 * * 1 and on drift, data\n" in told
    assert "  nobody looks for data any more: watch-p at */10 * * * * is removed; --watch keeps it\n" in told
    deployed(outcome | {"absent": None, "replaced": None, "unwatched": None})
    assert capsys.readouterr().out.count("\n") == 2
