"""``medai run``, ``check`` and ``demo``: what they print, and what they leave behind."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PICTURE = {
    "source": {"kind": "medmnist"},
    "preprocessing": {"kind": "pixels", "size": [28, 28], "channels": 1},
    "encoder": {"kind": "small_cnn", "filters": [8, 8], "dense": 16},
}


HEAVY = ("tensorflow", "keras", "great_expectations", "mlflow", "sklearn", "onnxruntime", "matplotlib", "pandas")


STAGES = ["generate", "ingest", "validate", "select", "split", "prepare", "screen", "fit", "fit:logistic_regression",
          "evaluate", "evaluate:logistic_regression", "compare", "draw", "illustrate", "decide", "register", "promote",
          "report"]  # fmt: skip


def is_interval(measure: dict[str, float]) -> bool:
    """A figure inside its interval."""
    return list(measure) == ["value", "low", "high"] and measure["low"] <= measure["value"] <= measure["high"]


def state_of(home: Path) -> dict[str, str]:
    """Hash of the audit and of MLflow's database."""
    return {
        name: hashlib.sha256((home / name).read_bytes()).hexdigest() for name in ("audit.jsonl", "mlflow/mlflow.db")
    }


# -- run -----------------------------------------------------------------------------------------------------------


def test_run_prints_one_json_object_with_every_key_of_the_contract(medai: Any, home: Path, problems: Any) -> None:
    """Scripts read it: the keys of ARCHITECTURE section 6 with their types; nothing else stands on standard output."""
    answer = medai("run", problems.pictures("contract"), "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert found["problem"] == "contract"
    assert re.fullmatch(r"[0-9a-f]{32}", found["run_id"])
    assert found["version"] == found["champion"] == 1
    assert found["decision"] == "promoted"
    assert found["reasons"]
    assert all(isinstance(reason, str) for reason in found["reasons"])
    assert all(condition["passed"] is True for condition in found["conditions"])
    assert found["withdrawn"] is None
    assert found["cohort"]["samples"] == found["cohort"]["subjects"] == 300
    assert sum(found["cohort"]["classes"]["opacity"].values()) == 300
    assert set(found["cohort"]["classes"]["opacity"]) == {"absent", "present"}
    assert found["splits"] == {"train": 210, "validation": 30, "test": 60}
    assert {"auroc", "auprc", "accuracy"} <= set(found["metrics"]["opacity"])
    assert all(is_interval(measure) for measure in found["metrics"]["opacity"].values())
    assert 0 <= found["baselines"]["logistic_regression"]["auroc"] <= 1
    for name in ("model_sha256", "data_sha256"):
        assert re.fullmatch(r"[0-9a-f]{64}", found[name])
    assert list(found["stages"]) == STAGES
    for facts in found["stages"].values():
        assert type(facts["seconds"]) is float
        assert type(facts["reused"]) is bool
    assert Path(found["report"]).read_text().startswith("<!doctype html>")
    assert "generate" in answer.err  # progress


def test_a_run_names_the_command_that_makes_it_again(medai: Any, home: Path, problems: Any) -> None:
    """The problem as given, the seed, each override, quoted for a shell; all conditions are shown, met or not."""
    problem = problems.pictures("remade")
    given = ["--seed", "3", "--set", "gate.floors={auroc: 0.9999}", "--set", "evaluation.resamples=100"]
    answer = medai("run", problem, *given, "--json", home=home)
    found = answer.json
    assert "fit net on 210 samples …" in answer.err  # said before it begins; nothing of other libraries beside it
    assert "Warning" not in answer.err
    assert "MLflow" not in answer.err
    assert shlex.split(found["reproduce"]) == ["medai", "run", problem, *given]
    assert medai.run(*shlex.split(found["reproduce"])[2:], home=home)["run_id"] == found["run_id"]
    shown = medai("run", problem, *given, home=home).out
    assert "  ✓ positives in test: " in shown
    assert "  ✗ opacity auroc in test: " in shown
    assert f"to make it again: {found['reproduce']}" in shown


def test_run_shows_a_summary_to_a_person(medai: Any, home: Path, problems: Any) -> None:
    """Without --json: cohort, figures with intervals beside the baselines, decision with reasons, champion, report."""
    answer = medai("run", problems.pictures("summary"), home=home)
    assert answer.status == 0, answer.err
    for part in (
        "Does this tiny generated picture show the opacity?",
        "300 samples of 300 different images · net",
        "logistic regression",
        "decision: promoted (version 1, run ",
        "(required: lower bound at least 0.6)",
        "champion: version 1",
        "report: ",
    ):
        assert part in answer.out
    assert re.search(r"auroc +\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] +\d\.\d{3}", answer.out)


def test_the_same_command_again_answers_with_the_earlier_run_and_writes_nothing(
    medai: Any, home: Path, problems: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    """In a process of its own: all stages reused, same answer, MLflow and audit untouched, nothing heavy imported."""
    problem = problems.pictures("again")
    first = medai.run(problem, home=home)
    before = state_of(home)
    script = (
        "import sys; from flows.cli import app\n"
        "try: app(sys.argv[2:])\n"
        "finally: open(sys.argv[1], 'w').write('\\n'.join(sys.modules))\n"
    )
    modules = tmp_path / "modules"
    again = subprocess.run(
        [sys.executable, "-c", script, str(modules), "run", problem, "--json"],
        env=environment | {"MEDAI_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    stages, earlier = second.pop("stages"), first.pop("stages")
    assert second == first
    assert list(stages) == list(earlier)
    assert all(facts["reused"] for facts in stages.values())
    assert state_of(home) == before
    assert set(modules.read_text().split("\n")) & set(HEAVY) == set()


def test_check_passes_good_data(medai: Any, home: Path, problems: Any) -> None:
    """Ingest, validate and select only: the contract's keys, exit 0, nothing in the ledger."""
    problem = problems.pictures("checked")
    answer = medai("check", problem, "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["passed"], found["set_aside"], found["failures"]) == (True, {}, [])
    assert type(found["rows"]) is int
    assert found["rows"] > 0
    assert list(found["stages"]) == ["generate", "ingest", "validate", "select", "split"]
    assert found["folders"] == {}
    assert found["tables"] == {"images": found["rows"], "labels": found["rows"]}
    shown = medai("check", problem, home=home)
    assert re.match(rf"passed: \d+ rules on {found['rows']} images, {found['rows']} labels\n", shown.out)
    assert medai("history", problem, "--json", home=home).json["entries"] == []


def test_check_judges_labels_as_a_run_does(medai: Any, home: Path, problems: Any) -> None:
    """Classes that the data do not have, and another set than the Problem's, end both with status 3."""
    classes = {"kind": "binary", "classes": {1: "absent", 2: "present"}, "positive": "present"}
    others = problems.pictures("others", outputs={"opacity": classes})
    plain = problems.pictures("plain")
    expect = "inputs.picture.source.expect={train: 546}"
    for problem, override, wrong in (
        (others, "training.epochs=1", "labels outside the Problem's classes"),
        (plain, expect, "another set than the Problem's"),
    ):
        for command in ("check", "run"):
            answer = medai(command, problem, "--set", override, "--json", home=home)
            assert answer.status == 3
            assert wrong in answer.error["wrong"]


@pytest.fixture
def strict(tmp_path: Path) -> str:
    """A suite that no data meet."""
    rule = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "mean", "min_value": 254},
        "meta": {"reason": "too_dark", "action": "block", "why": "Nothing is that bright."},
    }
    path = tmp_path / "strict.yaml"
    path.write_text(yaml.safe_dump({"name": "strict", "tolerance": 0.2, "tables": {"images": [rule]}}))
    return str(path)


def test_a_blocking_rule_ends_check_and_run_with_status_3(medai: Any, home: Path, problems: Any, strict: str) -> None:
    """``check`` reports each failed rule; ``run`` refuses with the same reason and goes no further."""
    problem = problems.pictures("blocked", validation={"suite": strict})
    answer = medai("check", problem, "--json", home=home)
    assert answer.status == 3
    found = answer.json
    assert found["passed"] is False
    assert found["failures"] == [
        {"expectation": "expect_column_values_to_be_between", "table": "images", "column": "mean",
         "reason": "too_dark", "blocking": True, "unexpected": 300, "evaluated": 300}
    ]  # fmt: skip
    shown = medai("check", problem, home=home)
    assert shown.status == 3
    assert "blocking: too_dark in images mean: 300 of 300 rows" in shown.out
    Path(strict).write_text(Path(strict).read_text().replace("column: mean", "column: maen"))
    misspelt = medai("check", problem, home=home)
    assert misspelt.status == 3
    told = "blocking: missing_column in images maen: the table has none of that name; did you mean 'mean'?\n"
    assert told in misspelt.out
    Path(strict).write_text(Path(strict).read_text().replace("column: maen", "column: mean"))
    refused = medai("run", problem, "--json", home=home)
    assert refused.status == 3
    assert refused.error["kind"] == "ValidationFailed"
    assert "too_dark" in str(refused.error)


@pytest.mark.slow
def test_demo_promotes_two_champions(medai: Any, tmp_path: Path) -> None:
    """Both generated problems to a champion, with few epochs."""
    answer = medai("demo", "--set", "training.epochs=4", "--json", home=tmp_path / "home")
    assert answer.status == 0, answer.err
    assert [one["problem"] for one in answer.json["runs"]] == ["hospital_radiographs", "hospital_mortality"]
    assert [one["decision"] for one in answer.json["runs"]] == ["promoted", "promoted"]
