"""What ``medai stack`` tells a person."""

from __future__ import annotations

import pytest

from flows.shown.operation import stack

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
