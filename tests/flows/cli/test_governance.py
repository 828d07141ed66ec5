"""``medai history`` knows whom the ledger knows."""

from pathlib import Path
from typing import Any


def test_history_knows_whom_the_ledger_knows(medai: Any, home: Path, problems: Any, tmp_path: Path) -> None:
    """By its file or by its name alone; a stranger is refused, and an empty ledger names its home."""
    problem = problems.pictures("remembered")
    medai.run(problem, home=home)
    assert (
        medai("history", "remembered", "--json", home=home).json == medai("history", problem, "--json", home=home).json
    )
    assert (
        medai("rollback", "remembered", "--reason", "its ward was closed", "--json", home=home).json["champion"] is None
    )
    assert (
        medai("promote", "remembered", "1", "--reason", "it was opened again", "--json", home=home).json["champion"]
        == 1
    )
    assert medai("history", "synthetic_picture", "--json", home=home).status == 2
    empty = medai("history", problem, home=tmp_path / "empty")
    assert empty.status == 0
    assert f"ledger of {tmp_path / 'empty'}" in empty.out
    nobody = medai("rollback", problem, "--reason", "never mind", "--json", home=tmp_path / "empty")
    assert (nobody.status, "medai history" in nobody.error["action"]) == (2, False)
