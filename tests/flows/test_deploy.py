"""Deployments: one a problem, on a server that keeps them, and nothing lost without a word."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

import flows
from medai.problem import load_problem

SHIPPED = yaml.safe_load((Path(flows.__file__).parents[1] / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", SHIPPED, ids=lambda deployment: str(deployment["name"]))
def test_what_is_shipped_can_be_deployed(deployment: dict[str, Any]) -> None:
    """Its problem is in the catalogue, its name is the problem's, its flow is there."""
    problem = load_problem(deployment["parameters"]["problem"])
    assert deployment["name"] == f"retrain-{problem.name}"
    assert problem.name in deployment["description"]
    assert deployment["entrypoint"] == "flows.train.train"
    assert set(deployment["parameters"]) == {"problem", "data", "seed", "overrides"}
    assert all(len(each["cron"].split()) == 5 for each in deployment["schedules"])


@pytest.mark.parametrize(
    ("arguments", "changes", "told"),
    [
        (("--cron", "99 99 * * *"), {}, "the schedule of unplanned cannot be used"),
        (("--cron", ""), {}, "the schedule of unplanned cannot be used"),
        (("--cron", "@daily"), {}, "the schedule of unplanned cannot be used"),
        (("--cron", "0 3 31 2 *"), {}, "the schedule of unplanned cannot be used"),
        ((), {"data": None}, "nobody said where the data of unplanned lie"),
        (("--set", "training.epochz=1"), {}, "cannot be followed"),
    ],
)
def test_what_cannot_run_is_not_scheduled(
    arguments: tuple[str, ...], changes: dict[str, Any], told: str, medai: Any, home: Path, problems: Any
) -> None:
    """Status 2 before any server is asked, whether or not one answers."""
    down = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    problem = problems.pictures("unplanned", **changes)
    answer = medai("deploy", problem, *arguments, "--json", home=home, environment=down)
    assert answer.status == 2, answer.err
    assert told in answer.error["wrong"]


def test_each_problem_has_its_own_schedule_and_a_replaced_one_is_told(
    medai: Any, home: Path, problems: Any, tmp_path: Path
) -> None:
    """Two files of one stem are two problems; the same problem again says what it replaces, its data above all."""
    data = tmp_path / "raw.npz"
    data.touch()
    first = problems.pictures("planned")
    other = tmp_path / "planned.yaml"
    other.write_text(Path(first).read_text().replace("name: planned", "name: planned_too"))
    one = medai("deploy", first, "--data", str(data), "--json", home=home).json
    two = medai("deploy", str(other), "--json", home=home).json
    assert (one["name"], two["name"]) == ("retrain-planned", "retrain-planned_too")
    assert one["deployment"] != two["deployment"]
    assert one["replaced"] is two["replaced"] is None
    assert datetime.fromisoformat(one["next"]).isocalendar().weekday == 1

    again = medai("deploy", first, "--cron", "30 4 * * *", home=home)
    assert again.status == 0, again.err
    assert re.match(r"planned is retrained at 30 4 \* \* \* UTC, next \d{4}-\d\d-\d\dT04:30 UTC\n", again.out)
    assert "it replaces the schedule at 0 3 * * 1 UTC" in again.out
    assert f"the earlier one read --data {data}" in again.out
