"""Where data lie is the owner's alone: a path may name a patient."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.places import FILE, marked, told
from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.sources.synthetic import Synthetic, generate

NAMED = "XQJOHN_DOE_771"
"""A folder's name, of a patient."""
OWN = 0o077


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a state folder of its own."""
    return Settings.load(home=tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A patient's folder with generated stays."""
    made = tmp_path / NAMED
    made.mkdir()
    generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=200, signal=2, seed=9), made)
    return made


@pytest.fixture
def leaks(prefect_home: Path) -> Callable[[Path], list[str]]:
    """Where the name is found in a state folder and in Prefect's, but for files that their owner alone may read."""

    def found(home: Path) -> list[str]:
        files = [path for path in [*home.rglob("*"), *prefect_home.rglob("*")] if path.is_file()]
        seen = [path for path in files if path.stat().st_mode & OWN or path.name in ("report.html", "audit.jsonl")]
        seen += [path for path in files if path.name.startswith(("prefect.db", "mlflow.db"))]
        assert any(path.name == "prefect.db" for path in seen)
        return sorted({str(path) for path in seen if NAMED in str(path) or NAMED.encode() in path.read_bytes()})

    return found


def parameters(prefect_home: Path) -> Iterator[dict[str, Any]]:
    """Of every run that Prefect knows."""
    with closing(sqlite3.connect(prefect_home / "prefect" / "prefect.db")) as database:
        for row in database.execute("select parameters from flow_run"):
            yield json.loads(row[0])


def test_equal_places_have_one_mark_which_the_owner_alone_can_read(settings: Settings) -> None:
    """Lists have one, too; what is no place, or is left out, stays as it is; a mark gets none of its own."""
    given = {"problem": "p", "data": f"/wards/{NAMED}", "inputs": ["/a/1.dcm", "/a/2.dcm"], "out": None, "seed": 3}
    hidden = marked(settings, given)
    assert NAMED not in json.dumps(hidden)
    assert (hidden["problem"], hidden["out"], hidden["seed"], len(hidden["inputs"])) == ("p", None, 3, 1)
    assert marked(settings, given) == marked(settings, hidden) == hidden
    assert marked(settings, {"file": given["data"]})["file"] == hidden["data"]
    assert told(settings, hidden) == told(settings, given) == given
    assert (settings.home / FILE).stat().st_mode & OWN == 0


def test_a_mark_of_another_state_folder_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Nobody runs on data that he did not mean; what only shows a mark shows it as it is."""
    hidden = marked(settings, {"data": "/wards/7"})
    other = Settings.load(home=tmp_path / "other")
    with pytest.raises(ConfigurationError, match="stands for no place"):
        told(other, hidden)
    assert told(other, hidden, lost=True) == hidden
    (settings.home / FILE).write_bytes(b'{"place:')
    with pytest.raises(ConfigurationError, match="cannot be read"):
        told(settings, hidden)


def test_prefect_is_not_told_where_data_lie(
    folder: Path, leaks: Any, medai: Any, problems: Any, prefect_home: Path, tmp_path: Path
) -> None:
    """Neither by a run's parameters nor by what is said where nothing is found; a run is found by its problem."""
    home, problem = tmp_path / "home", problems.stays("of_a_ward")
    assert medai("check", problem, "--data", str(folder), "--json", home=home).status == 0
    missing = medai("check", problem, "--data", str(folder / "none"), "--json", home=home)
    assert (missing.status, missing.error["wrong"]) == (3, "the data path is missing")
    assert NAMED not in missing.out + missing.err
    (asked,) = [run["data"] for run in parameters(prefect_home) if run.get("problem") == problem]
    assert asked.startswith("place:")
    with closing(sqlite3.connect(prefect_home / "prefect" / "prefect.db")) as database:
        question = "select name, tags from flow_run where json_extract(parameters, '$.problem') = ?"
        runs = database.execute(question, (problem,)).fetchall()
    assert [(name, "medai.problem.of_a_ward" in json.loads(tags)) for name, tags in runs] == [("of_a_ward", True)]
    assert json.loads((home / FILE).read_bytes())[asked] == str(folder)
    assert leaks(home) == []


@pytest.mark.slow
def test_a_path_that_names_a_patient_appears_nowhere(
    folder: Path, leaks: Any, medai: Any, problems: Any, prefect_home: Path, tmp_path: Path
) -> None:
    """Trained on, scored, measured, watched, labelled and refused: not in Prefect, MLflow, audit, report or log."""
    home, problem = tmp_path / "home", problems.stays("of_wards")
    medai.run(problem, "--data", str(folder), home=home)
    new = tmp_path / "new" / NAMED
    shutil.copytree(folder, new)
    beside = tmp_path / "beside" / NAMED
    beside.mkdir(parents=True)
    out, labels = beside / "answers.csv", beside / "labels.csv"
    labels.write_text("id,outcome\n1,0\n")
    commands = (
        ("predict", problem, str(new), "--out", str(out)),
        ("predict", problem, str(new / "none"), str(new), "--out", str(beside / "none.csv")),
        ("evaluate", problem, "--data", str(new)),
        ("monitor", problem, "--data", str(new)),
        ("label", problem, str(labels)),
        ("run", problem, "--data", str(new / "none")),
        ("report", problem),
        ("history", problem),
    )
    answers = {command: medai(*command, home=home) for command in commands}
    assert out.exists(), answers[commands[0]].err
    assert [command for command, answer in answers.items() if NAMED in answer.err] == []
    names = {name for run in parameters(prefect_home) for name, value in run.items() if "place:" in str(value)}
    assert names >= {"data", "inputs", "out", "file"}
    assert leaks(home) == []
