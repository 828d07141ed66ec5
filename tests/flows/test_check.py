"""``medai check``: whether data are fit for a question, before anybody waits for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_data_of_another_size_are_refused_as_a_run_would(medai: Any, problems: Any, tmp_path: Path) -> None:
    """They are not called fit only for the run to refuse them minutes later."""
    problem = problems.pictures("of_another_size")
    size = ("--set", "inputs.picture.preprocessing.size=[20, 20]")
    refused = medai("check", problem, *size, "--json", home=tmp_path / "home")
    assert (refused.status, refused.error["wrong"]) == (3, "the pictures have another size than the Problem expects")
    assert refused.error["expected"] == "height, width, channels = (20, 20, 1)"
    assert medai("check", problem, home=tmp_path / "home").status == 0
