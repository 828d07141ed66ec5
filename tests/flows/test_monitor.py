"""``medai monitor`` and ``medai label`` through the command line: drift that repeats, and outcomes that come later."""

from __future__ import annotations

import csv
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.monitoring.batches import batches
from medai.monitoring.performance import predictions_of
from medai.monitoring.windows import standing, windows
from medai.sources.synthetic import Synthetic, generate
from medai.workspace import Workspace


@pytest.fixture(scope="module")
def pictures(medai: Any, home: Path, problems: Any) -> str:
    """A Problem of pictures with a champion."""
    problem: str = problems.pictures("watched")
    assert medai.run(problem, home=home)["champion"] == 1
    return problem


def npz(folder: Path, seed: int, lighter: int = 0, subjects: int = 80) -> Path:
    """Generated pictures that the champion has not seen, lighter by so many grey levels."""
    (folder / str(seed)).mkdir()
    made = generate(
        Synthetic(kind="synthetic", layout="medmnist", subjects=subjects, signal=2, seed=seed), folder / str(seed)
    )
    with np.load(made) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    for name in kept:
        if name.endswith("images") and lighter:
            kept[name] = np.clip(kept[name].astype(np.int16) + lighter, 0, 255).astype(np.uint8)
    np.savez(made, **kept)
    return made


def asked(answer: Any) -> dict[str, Any]:
    """The object of a command that did its work."""
    assert answer.status == 0, answer.err
    found: dict[str, Any] = answer.json
    return found


def outside(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Measures that are outside now, with their statistics."""
    return {(one["measure"], one["statistic"]) for one in found["standing"]["outside"]}


def test_drift_that_repeats_is_detected_once(medai: Any, home: Path, pictures: str, tmp_path: Path) -> None:
    """Pictures as they were, lighter ones once, the same file again, and a second time: then it counts, and is told."""
    plain = asked(medai("monitor", pictures, "--data", str(npz(tmp_path, 21)), "--json", home=home))
    assert [(one["kind"], one["subjects"], one["new"]) for one in plain["windows"]] == [
        ("data", 80, True), ("predictions", 80, True),
    ]  # fmt: skip
    assert (outside(plain), plain["detected"], plain["standing"]["counting"]) == (set(), None, [])

    lighter = str(npz(tmp_path, 22, lighter=60))
    first = asked(medai("monitor", pictures, "--data", lighter, "--json", home=home))
    assert {("intensity", "psi"), ("intensity", "ks"), ("feature distance", "ks")} <= outside(first)
    assert (first["detected"], first["standing"]["counting"]) == (None, [])
    again = asked(medai("monitor", pictures, "--data", lighter, "--json", home=home))
    assert [one["new"] for one in again["windows"]] == [False, False]
    assert again["standing"] == first["standing"]

    out = tmp_path / "answers.csv"
    answer = medai("predict", pictures, str(npz(tmp_path, 23, lighter=60)), "--out", str(out), "--json", home=home)
    found = asked(answer)["monitoring"]
    counted = {(one["measure"], one["statistic"]) for one in found["detected"]["measures"]}
    assert {("intensity", "psi"), ("intensity", "ks")} <= counted
    assert found["standing"]["windows"] == {"data": 3, "predictions": 3, "performance": 0}
    third = asked(medai("monitor", pictures, "--data", str(npz(tmp_path, 24, lighter=60)), "--json", home=home))
    assert counted.isdisjoint(
        (one["measure"], one["statistic"]) for one in (third["detected"] or {"measures": []})["measures"]
    )

    lines = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    detected = [line for line in lines if (line["kind"], line["problem"]) == ("detected", "watched")]
    assert detected[0]["facts"] == found["detected"]
    page = Path(third["page"])
    assert "Drift that counts" in page.read_text()
    workspace = Workspace(home)
    assert [window.how for window in windows(workspace, "watched")] == [
        *["monitor"] * 4,
        *["predict"] * 2,
        *["monitor"] * 2,
    ]
    assert {trend.measure for trend in standing(workspace, "watched").counting} >= {"intensity"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "stays"])
def test_a_batch_that_is_run_and_monitored_is_one_window(
    medai: Any, home: Path, problems: Any, tmp_path: Path, kind: str
) -> None:
    """`run` reads it with its labels and `monitor` without: of each kind one window, which cannot repeat itself."""
    name = f"two_roads_{kind}"
    problem = getattr(problems, kind)(name)
    assert medai.run(problem, home=home)["champion"] == 1
    if kind == "pictures":
        data = npz(tmp_path, 41, lighter=60)
    else:
        data = tmp_path / "raw"
        data.mkdir()
        generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=200, signal=2, seed=41), data)
    ran = medai.run(problem, "--data", str(data), "--set", "gate.floors={auroc: 0.9999}", home=home)
    assert ran["champion"] == 1
    workspace = Workspace(home)
    first = windows(workspace, name)
    assert [(window.kind, window.how) for window in first] == [("data", "run"), ("predictions", "run")]
    found = asked(medai("monitor", problem, "--data", str(data), "--json", home=home))
    assert found["standing"]["windows"] == {"data": 1, "predictions": 1, "performance": 0}
    assert (found["detected"], found["standing"]["counting"]) == (None, [])
    second = windows(workspace, name)
    assert [(window.kind, window.how, window.at) for window in second] == [
        (window.kind, "monitor", window.at) for window in first
    ]
    assert [window.content.contents for window in second] == [window.content.contents for window in first]
    assert {window.content.batch for window in first}.isdisjoint(window.content.batch for window in second)
    if kind == "pictures":
        assert ("intensity", "psi") in outside(found)


def test_outcomes_that_come_later(medai: Any, home: Path, pictures: str, tmp_path: Path) -> None:
    """Joined once, measured, noted in the audit; what cannot be used is counted; a second time nothing is new.

    Each file of pictures counts its own from 0: of an id that another file had, too, nobody knows whose outcome it is.
    """
    earlier = predictions_of(Workspace(home), batches(Workspace(home), "watched"))
    made = npz(tmp_path, 31, subjects=240)
    out = tmp_path / "answers.csv"
    asked(medai("predict", pictures, str(made), "--out", str(out), "--json", home=home))
    truth = {}
    with np.load(made) as arrays:
        for role in ("train", "val", "test"):
            for number, label in enumerate(arrays[f"{role}_labels"][:, 0].tolist()):
                truth[f"{role}/{number}"] = label
    with out.open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    shared = set() if earlier is None else set(ids) & set(earlier["id"])
    free = 240 - len(shared)
    ids.sort(key=lambda name: name in shared)
    late = tmp_path / "late.csv"
    rows = [f"{name},{truth[name]},{'north' if number % 2 else 'south'}" for number, name in enumerate(ids)]
    late.write_text("\n".join(["id,outcome,site", *rows, "nobody,1,north", f"{ids[0]},{truth[ids[0]]},south"]) + "\n")
    found = asked(medai("label", pictures, str(late), "--json", home=home))
    assert (found["rows"], found["joined"], found["new"], found["known_already"]) == (242, free, free, 0)
    several = {"several_predictions": len(shared)} if shared else {}
    assert found["set_aside"] == {"duplicate": 1, "unknown_id": 1} | several
    (window,) = found["windows"]
    assert (window["kind"], window["samples"], window["version"], window["new"]) == ("performance", free, 1, True)
    figures = {one["measure"]: one for one in window["figures"] if one["statistic"] == "metric"}
    assert 0.6 < figures["auroc"]["low"] < figures["auroc"]["value"] <= figures["auroc"]["high"]
    assert "reference" in figures["auroc"]
    assert {one["level"] for one in window["groups"] if one["group"] == "site"} == {"north", "south"}
    assert "By site and subgroup" in Path(found["page"]).read_text()

    again = asked(medai("label", pictures, str(late), "--json", home=home))
    assert (again["new"], again["known_already"], again["windows"]) == (0, free, [])
    lines = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    (labelled,) = (line["facts"] for line in lines if (line["kind"], line["problem"]) == ("labelled", "watched"))
    assert labelled["set_aside"] == found["set_aside"]
    assert labelled["outcomes"][0]["samples"] == free
    for path in (*home.glob("store/label/*/outcomes.parquet"), *home.glob("store/keep/*/predictions.parquet")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    late.write_text(f"id,outcome\n{ids[0]},{1 - truth[ids[0]]}\n")
    refused = medai("label", pictures, str(late), "--json", home=home)
    assert refused.status == 3
    assert "contradicts earlier: 1" in refused.error["received"]


KILLED = """
import os, signal, sys
from medai.prediction import Destination
write = Destination.write
def killed(*given):
    write(*given)
    os.kill(os.getpid(), signal.SIGKILL)
Destination.write = killed
from flows.cli import app
app(sys.argv[1:])
"""
"""The command, killed once its answers are written."""


def test_answers_that_a_killed_command_wrote_can_be_labelled(
    environment: dict[str, str], medai: Any, home: Path, problems: Any, tmp_path: Path
) -> None:
    """Whoever acts on them need not predict again: they were kept before they were written."""
    problem = problems.pictures("killed_predicting")
    assert medai.run(problem, home=home)["champion"] == 1
    out = tmp_path / "answers.csv"
    command = [sys.executable, "-c", KILLED, "predict", problem, str(npz(tmp_path, 57)), "--out", str(out)]
    ended = subprocess.run(command, env=environment | {"MEDAI_HOME": str(home)}, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with out.open(newline="") as file:
        first = next(csv.DictReader(file))["id"]
    late = tmp_path / "late.csv"
    late.write_text(f"id,outcome\n{first},1\n")
    assert asked(medai("label", problem, str(late), "--json", home=home))["new"] == 1


def test_what_cannot_be_monitored(medai: Any, home: Path, problems: Any, tmp_path: Path) -> None:
    """A problem without a champion, a misspelt bound, a file that is not there: told before any work."""
    problem = problems.pictures("unwatched")
    answer = medai("monitor", problem, "--json", home=home)
    assert (answer.status, answer.error["wrong"]) == (2, "unwatched has no champion")
    answer = medai("monitor", problem, "--set", "monitoring.pis=0.3", "--json", home=home)
    assert answer.status == 2
    assert "psi" in answer.error["received"] + answer.error["expected"]
    assert medai("label", problem, str(tmp_path / "none.csv"), "--json", home=home).status == 2
