"""What a person decides stands: rollback, promotion by hand, and MLflow's alias that follows each time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def alias(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The version that an alias of a registered model points at, as MLflow's own client reads it."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    store = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"

    def read(problem: str, name: str = "champion") -> int | None:
        aliases = MlflowClient(store, store).get_registered_model(problem).aliases
        return int(aliases[name]) if name in aliases else None

    return read


def test_what_a_person_decides_stays(medai: Any, home: Path, problems: Any, alias: Any) -> None:
    """Rolled back, the only champion is nobody's; the same command does not claim it back, a new seed may, and a
    person may bring the withdrawn one back by hand. The alias follows each time.
    """
    problem = problems.pictures("ruled")
    first = medai.run(problem, home=home)
    assert (first["champion"], alias("ruled"), alias("ruled", "challenger")) == (1, 1, 1)

    answer = medai("rollback", problem, "--reason", "the ward saw false alarms", "--json", home=home)
    assert (answer.status, answer.json) == (0, {"problem": "ruled", "champion": None}), answer.err
    assert alias("ruled") is None
    nobody = datetime.now(UTC).isoformat()

    same = medai.run(problem, home=home)
    assert (same["decision"], same["version"], same["champion"]) == ("promoted", 1, None)
    assert alias("ruled") is None
    stricter = medai.run(problem, "--set", "gate.floors.auroc=0.61", home=home)
    assert (stricter["decision"], stricter["champion"]) == ("refused", None)
    assert stricter["reasons"] == [
        "not rolled back by a person: rolled back (required: only `medai promote` brings a withdrawn version back)"
    ]

    other = medai.run(problem, "--seed", "1", home=home)
    assert (other["decision"], other["version"], other["champion"]) == ("promoted", 2, 2)
    assert alias("ruled") == 2

    by_hand = medai("promote", problem, "1", "--reason", "the alarms were the monitor's", home=home)
    assert (by_hand.status, by_hand.out) == (0, "ruled: version 1 is champion\n"), by_hand.err
    assert alias("ruled") == 1
    back = medai("rollback", problem, "--reason", "no, they were not", "--json", home=home)
    assert back.json["champion"] == 2
    assert alias("ruled") == 2

    history = medai("history", problem, "--json", home=home).json
    assert (history["champion"]["version"], history["champion"]["how"]) == (2, "rollback")
    assert [entry["how"] for entry in history["entries"] if entry["kind"] == "champion"] == [
        "gate", "rollback", "gate", "person", "rollback"
    ]  # fmt: skip
    assert [version["version"] for version in history["versions"]] == [1, 2]
    assert medai("history", problem, "--at", nobody, "--json", home=home).json["champion"] is None
    assert medai("history", problem, "--at", "2020-01-01", home=home).out.startswith("ruled: no champion at 2020-01-01")
    assert medai("history", problem, "--at", "2099-01-01", "--json", home=home).json["champion"]["version"] == 2
    shown = medai("history", problem, home=home).out
    assert "champion by person" in shown
    assert "no, they were not" in shown


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("promote", "7", "--reason", "x"), "has no version 7"),
        (("promote", "1", "--reason", "  "), "a promotion or rollback needs a reason"),
        (("rollback", "--reason", "x"), "has no champion"),
        (("history", "--at", "yesterday"), "a date cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told(
    command: tuple[str, ...], told: str, medai: Any, home: Path, problems: Any
) -> None:
    """Status 2, in three parts; the ledger is as before."""
    problem = problems.pictures("unruled")
    answer = medai(command[0], problem, *command[1:], "--json", home=home)
    assert answer.status == 2
    assert told in answer.error["wrong"]


def test_an_altered_champion_is_not_promoted_by_hand(medai: Any, problems: Any, tmp_path: Path) -> None:
    """A flipped byte in the model's file: the version cannot serve, and a new candidate cannot be compared with it."""
    home = tmp_path / "home"
    problem = problems.pictures("altered", baselines={})
    first = medai.run(problem, home=home)
    assert first["champion"] == 1
    model = next((home / "store" / "fit").glob("*/model.onnx"))
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    answer = medai("promote", problem, "1", "--reason", "once more", "--json", home=home)
    assert (answer.status, answer.error["wrong"]) == (2, "version 1 of altered cannot serve")
    answer = medai("run", problem, "--seed", "1", "--json", home=home)
    assert answer.status == 4
    assert answer.error["wrong"] == "the champion of altered, version 1, is missing or was altered"
    healed = medai.run(problem, home=home)
    assert healed["model_sha256"] == first["model_sha256"]
    assert not healed["stages"]["fit"]["reused"]
    assert healed["champion"] == 1
