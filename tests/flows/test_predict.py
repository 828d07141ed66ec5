"""The champion on other data: ``medai predict`` and ``medai evaluate``, through the command line."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.sources.synthetic import Synthetic, generate

HEAVY = {"tensorflow", "keras", "mlflow", "sklearn", "matplotlib"}
COLUMNS = ["id", "subject", "output", "score", "label", "threshold", "model_version", "model_sha256", "status", "input"]


@pytest.fixture(scope="module")
def pictures(medai: Any, home: Path, problems: Any) -> tuple[str, dict[str, Any]]:
    """A Problem of pictures with a champion, and the run that made it."""
    problem = problems.pictures("seen_again")
    found = medai.run(problem, home=home)
    assert found["champion"] == 1
    return problem, found


@pytest.fixture(scope="module")
def stays(medai: Any, home: Path, problems: Any) -> tuple[str, dict[str, Any]]:
    """A Problem of stays with a champion, and the run that made it."""
    problem = problems.stays("stayed")
    found = medai.run(problem, home=home)
    assert found["champion"] == 1
    return problem, found


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 generated pictures that the champion has not seen, with labels."""
    made = Synthetic(kind="synthetic", layout="medmnist", subjects=60, signal=2, seed=5)
    return generate(made, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def unlabelled(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test pictures alone, with one that is all black among pictures called train."""
    path = tmp_path_factory.mktemp("unlabelled") / "new.npz"
    with np.load(npz) as arrays:
        train = arrays["train_images"][:30].copy()
        train[4] = 0
        np.savez(path, test_images=arrays["test_images"], train_images=train)
    return path


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """25 stays of a folder without outcomes; 20 of them have numbers that the champion's hospital does not use."""
    raw = tmp_path / "raw"
    raw.mkdir()
    generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=25, signal=2, seed=9), raw)
    (raw / "Outcomes-a.txt").unlink()
    for file in sorted((raw / "set-a").iterdir())[5:]:
        rename(file, str(int(file.stem) + 77_700_000))
    return raw / "set-a"


def rename(file: Path, name: str) -> None:
    """Give a stay another number, in its file's name and inside."""
    text = file.read_text().replace(file.stem, name)
    file.unlink()
    file.with_name(f"{name}.txt").write_text(text)


def rows_of(path: Path) -> list[dict[str, str]]:
    """A result file in CSV as another program reads it."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- predict -------------------------------------------------------------------------------------------------------


def test_unlabelled_pictures_are_scored_each_once(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]], unlabelled: Path, tmp_path: Path
) -> None:
    """The contract's object; every picture has one row under its array's name and row; a black one has its reason."""
    problem, trained = pictures
    out = tmp_path / "answers.parquet"
    answer = medai("predict", problem, str(unlabelled), "--out", str(out), "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["problem"], found["version"], found["model_sha256"]) == ("seen_again", 1, trained["model_sha256"])
    assert (found["rows"], found["scored"], found["set_aside"], found["excluded"]) == (
        42, 41, {"all_black_picture": 1}, {},
    )  # fmt: skip
    assert found["labels"].keys() == {"absent", "present"}
    assert sum(found["labels"].values()) == 41
    assert found["seen_in_training"] == found["seen_pictures"] == found["repeated_ids"] == 0
    assert found["out"] == str(out)
    assert found["inputs"] == [{"data_sha256": found["data_sha256"], "rows": 42, "scored": 41}]
    assert list(found["stages"]) == ["ingest", "validate", "select", "prepare", "score", "write"]

    table = pl.read_parquet(out)
    assert table.columns == COLUMNS
    assert table["id"].to_list() == [f"test/{row}" for row in range(12)] + [f"train/{row}" for row in range(30)]
    assert table["subject"].null_count() == 42
    (black,) = table.filter(pl.col("status") != "scored").to_dicts()
    assert (black["id"], black["status"], black["score"], black["label"], black["threshold"]) == (
        "train/4", "set_aside:all_black_picture", None, None, None,
    )  # fmt: skip
    scored = table.filter(pl.col("status") == "scored")
    (threshold,) = scored["threshold"].unique()
    said = ["present" if score >= threshold else "absent" for score in scored["score"].to_list()]
    assert said == scored["label"].to_list()
    assert set(table["model_sha256"]) == {trained["model_sha256"]}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert found["result_sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()


def test_scores_are_those_of_the_champions_own_test(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Labels that come with the data are ignored; on its own data the champion says what its scorecard holds."""
    problem, _ = pictures
    (raw,) = (path for path in (home / "store" / "generate").glob("*/*.npz") if len(np.load(path)["test_images"]) == 60)
    out = tmp_path / "own.parquet"
    answer = medai("predict", problem, str(raw), "--out", str(out), "--json", home=home)
    assert answer.status == 0, answer.err
    assert answer.json["rows"] == 300
    assert answer.json["seen_in_training"] == answer.json["seen_pictures"] == 240
    own = medai("evaluate", problem, "--data", str(raw), "--json", home=home).json
    with np.load(raw) as arrays:
        truth = arrays["test_labels"][:, 0]
    table = pl.read_parquet(out).filter(pl.col("id").str.starts_with("test/"))
    predicted = np.array([label == "present" for label in table["label"]])
    assert float((predicted == (truth == 1)).mean()) == pytest.approx(own["metrics"]["opacity"]["accuracy"]["value"])


def test_equal_data_and_champion_give_equal_bytes(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]], unlabelled: Path, tmp_path: Path
) -> None:
    """A copy elsewhere, at another time: every stage is reused and the file is the same; CSV says what Parquet says."""
    problem, _ = pictures
    copy = tmp_path / "copy.npz"
    shutil.copy(unlabelled, copy)
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.parquet")]
    for source, out in zip((unlabelled, copy, copy), files, strict=True):
        answer = medai("predict", problem, str(source), "--out", str(out), "--json", home=home)
        assert answer.status == 0, answer.err
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [stage for stage, facts in answer.json["stages"].items() if not facts["reused"]] == ["write"]
    rows, table = rows_of(files[0]), pl.read_parquet(files[2])
    assert list(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == table["id"].to_list()
    assert [np.float32(row["score"]) for row in rows if row["score"]] == table["score"].drop_nulls().to_list()
    assert [row["status"] for row in rows] == table["status"].to_list()
    receipts = list((home / "receipts" / "predict").iterdir())
    assert any(json.loads(path.read_text())["rows"] == 42 for path in receipts)


def test_several_inputs_are_told_apart(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]], unlabelled: Path, npz: Path, tmp_path: Path
) -> None:
    """Each row names its input; an id that stands in two of them is counted; the same data twice are refused."""
    problem, _ = pictures
    out = tmp_path / "both.csv"
    both = (str(unlabelled), str(npz))
    answer = medai("predict", problem, *both, "--out", str(out), "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert [one["rows"] for one in found["inputs"]] == [42, 60]
    assert found["rows"] == len(rows_of(out)) == 102
    assert [row["input"] for row in rows_of(out)] == ["1"] * 42 + ["2"] * 60
    assert found["repeated_ids"] == 42
    assert "score:2" in found["stages"]
    again = medai("predict", problem, *both[:1], *both[:1], "--out", str(tmp_path / "x.csv"), "--json", home=home)
    assert again.status == 2
    assert again.error["wrong"] == "the same data are given twice"
    assert again.error["received"] == "input 2 of 2 has the content of input 1"
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("how", ["missing", "larger", "black"])
def test_of_several_inputs_the_refused_one_is_told_by_its_place(
    how: str, medai: Any, home: Path, pictures: Any, unlabelled: Path, npz: Path, tmp_path: Path
) -> None:
    """Missing, of another size, or with too many broken rows: its place in the command, and never its name."""
    path = tmp_path / "JOHN_DOE.npz"
    with np.load(npz) as arrays:
        test = arrays["test_images"]
    if how == "larger":
        np.savez(path, test_images=np.pad(test, ((0, 0), (4, 4), (4, 4))))
    elif how == "black":
        np.savez(path, train_images=np.concatenate([np.zeros_like(test[:2]), test[:2]]))
    three = (str(unlabelled), str(path), str(npz))
    answer = medai("predict", pictures[0], *three, "--out", str(tmp_path / "x.csv"), "--json", home=home)
    assert answer.status == 3, answer.err
    assert answer.error["wrong"].startswith("input 2 of 3: ")
    assert "JOHN_DOE" not in answer.out + answer.err


def test_stays_without_outcomes_are_scored(
    medai: Any, home: Path, stays: tuple[str, dict[str, Any]], ward: Path, tmp_path: Path
) -> None:
    """A stay is called by its record; one with an impossible reading is scored without it; who was seen is counted."""
    problem, _ = stays
    victim = sorted(ward.iterdir())[7]
    victim.write_text(victim.read_text() + "12:00,HR,5000\n12:30,HR,fast\n")
    out = tmp_path / "ward.csv"
    shown = medai("predict", problem, str(ward), "--out", str(out), home=home)
    assert shown.status == 0, shown.err
    assert shown.out.startswith("25 of 25 rows scored by version 1\n")
    again = medai("predict", problem, str(ward), "--out", str(out), "--overwrite", "--json", home=home)
    found = again.json
    assert (found["scored"], found["excluded"], found["not_judged"]) == (25, {}, [])
    assert 1 <= found["seen_in_training"] <= 5
    rows = rows_of(out)
    assert [row["id"] for row in rows] == sorted((file.stem for file in ward.iterdir()), key=int)
    assert {row["subject"] for row in rows} == {""}
    assert {row["label"] for row in rows} <= {"died", "survived"}
    told = shown.out + shown.err + again.out + again.err
    receipts = "".join(path.read_text() for path in (home / "receipts" / "predict").iterdir())
    assert not re.search(r"\b7860\d{4}\b", told + receipts)


def test_criteria_that_ask_for_the_outcome_are_left_unjudged(
    medai: Any, home: Path, stays: tuple[str, dict[str, Any]], ward: Path, tmp_path: Path, problems: Any
) -> None:
    """They are named; those on what is known apply, and who they exclude has the criterion for an answer."""
    criteria = [
        {"name": "stayed two days", "where": "length_of_stay >= 2"},
        {"name": "has readings", "observed": True},
    ]
    problem = problems.stays("stayed", cohort={"kind": "stays", "observation_hours": 48, "criteria": criteria})
    bare = sorted(ward.iterdir())[3]
    bare.write_text(f"Time,Parameter,Value\n00:00,RecordID,{bare.stem}\n00:00,Age,70\n")
    out = tmp_path / "ward.csv"
    shown = medai("predict", problem, str(ward), "--out", str(out), home=home)
    assert shown.status == 0, shown.err
    assert "not judged, since it asks for what is known only later: stayed two days" in shown.out
    assert "24 of 25 rows scored" in shown.out
    (row,) = (row for row in rows_of(out) if row["status"] != "scored")
    assert (row["id"], row["score"], row["status"]) == (bare.stem, "", "excluded:has readings")
    problems.stays("stayed")


@pytest.mark.slow
def test_predicting_loads_no_training_library_and_writes_no_registry(
    home: Path, pictures: tuple[str, dict[str, Any]], npz: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """In a process of its own, nothing reused: MLflow and TensorFlow stay away, audit and registry untouched."""
    new = tmp_path / "new.npz"
    with np.load(npz) as arrays:
        np.savez(new, val_images=arrays["train_images"][:7])
    script = (
        "import sys; from flows.cli import app\n"
        "try: app(sys.argv[2:])\n"
        "finally: open(sys.argv[1], 'w').write('\\n'.join(sys.modules))\n"
    )
    before = [(home / name).read_bytes() for name in ("audit.jsonl", "mlflow/mlflow.db")]
    modules, out = tmp_path / "modules", tmp_path / "out.csv"
    done = subprocess.run(
        [sys.executable, "-c", script, str(modules), "predict", pictures[0], str(new), "--out", str(out), "--json"],
        env=environment | {"MEDAI_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scored"] == 7
    (waived,) = (line for line in done.stderr.splitlines() if line.startswith("enough to be scored; asked only of"))
    assert "too_few" in waived
    assert "failed" not in done.stderr
    assert set(modules.read_text().split("\n")) & HEAVY == set()
    assert [(home / name).read_bytes() for name in ("audit.jsonl", "mlflow/mlflow.db")] == before


# -- predict, refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("answers.txt", None, "has a suffix that names no format"),
        ("no/such/folder.csv", None, "has no place"),
        ("folder.csv", "folder", "is a folder"),
        ("there.csv", "file", "is there already"),
        ("new.npz/inside.csv", None, "has no place"),
    ],
)
def test_a_wrong_destination_is_refused_before_any_work(
    name: str, make: str | None, told: str, medai: Any, pictures: Any, unlabelled: Path, tmp_path: Path
) -> None:
    """Status 2; what is there stays as it is."""
    out = tmp_path / name
    if make == "folder":
        out.mkdir()
    elif make == "file":
        out.write_text("mine")
    answer = medai("predict", pictures[0], str(unlabelled), "--out", str(out), "--json", home=tmp_path / "home")
    assert answer.status == 2
    assert told in answer.error["wrong"]
    assert make != "file" or out.read_text() == "mine"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("kind", "override", "expected", "received"),
    [
        ("stays", "cohort.observation_hours=24", "cohort.observation_hours: 48", "cohort.observation_hours: 24"),
        ("pictures", "outputs.opacity.classes={0: cat, 1: present}", "absent, present", "cat, present"),
        ("stays", "outputs.death.positive=survived", "survived, died", "died, survived"),
    ],
)
def test_data_that_would_be_read_or_asked_otherwise_are_not_scored(
    kind: str, override: str, expected: str, received: str, medai: Any, home: Path, request: Any, tmp_path: Path
) -> None:
    """The champion's own reading and question hold, whatever the Problem says by now: status 2, before any work."""
    problem, _ = request.getfixturevalue(kind)
    for command in (("predict", problem, "nowhere", "--out", str(tmp_path / "x.csv")), ("evaluate", problem)):
        answer = medai(*command, "--set", override, "--json", home=home)
        assert answer.status == 2, answer.err
        assert expected in answer.error["expected"]
        assert received in answer.error["received"]
    assert not (tmp_path / "x.csv").exists()


def test_answers_never_replace_an_input(medai: Any, home: Path, stays: Any, ward: Path) -> None:
    """Not even with --overwrite; nor do they fall into a folder of patients' files."""
    for out in (ward / "new.csv", sorted(ward.iterdir())[0].with_suffix(".csv")):
        answer = medai("predict", stays[0], str(ward), "--out", str(out), "--overwrite", "--json", home=home)
        assert answer.status == 2
        assert "lies among the inputs" in answer.error["wrong"]


def test_without_a_champion_the_next_step_is_told(medai: Any, problems: Any, unlabelled: Path, tmp_path: Path) -> None:
    """Status 2 for both commands; no file, and nothing in the store."""
    problem = problems.pictures("nobody")
    for command in (("predict", problem, str(unlabelled), "--out", str(tmp_path / "x.csv")), ("evaluate", problem)):
        answer = medai(*command, "--json", home=tmp_path / "home")
        assert answer.status == 2, answer.err
        assert answer.error["wrong"] == "nobody has no champion"
        assert f"`medai run {problem}` makes" in answer.error["action"]
        assert str(tmp_path / "home") in answer.error["received"]
    assert not (tmp_path / "x.csv").exists()
    assert not (tmp_path / "home" / "store").exists()


@pytest.mark.parametrize("how", ["flipped", "deleted"])
def test_an_altered_champion_scores_nothing(
    how: str, medai: Any, home: Path, pictures: Any, unlabelled: Path, tmp_path: Path
) -> None:
    """Status 4: the file that was promoted, byte for byte, or none."""
    other = tmp_path / "home"
    shutil.copytree(home / "store" / "fit", other / "store" / "fit")
    shutil.copytree(home / "keys", other / "keys")
    for audit in home.glob("audit*"):
        shutil.copy(audit, other)
    for model in (other / "store" / "fit").glob("*/model.onnx"):
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.unlink() if how == "deleted" else model.write_bytes(data)
    out = tmp_path / "x.csv"
    for command in (("predict", pictures[0], str(unlabelled), "--out", str(out)), ("evaluate", pictures[0])):
        answer = medai(*command, "--json", home=other)
        assert answer.status == 4, answer.err
        assert "is missing or was altered" in answer.error["wrong"]
    assert not out.exists()


@pytest.mark.parametrize("how", ["missing", "empty", "empty_folder", "larger", "no_pictures", "colour"])
def test_data_that_the_champion_cannot_read_are_refused(
    how: str, medai: Any, home: Path, pictures: Any, npz: Path, tmp_path: Path
) -> None:
    """Status 3 in three parts, and no file of answers."""
    path = tmp_path / "new.npz"
    with np.load(npz) as arrays:
        test = arrays["test_images"]
    if how == "empty":
        path.write_bytes(b"")
    elif how == "empty_folder":
        path.mkdir()
    elif how == "larger":
        np.savez(path, test_images=np.pad(test, ((0, 0), (4, 4), (4, 4))))
    elif how == "colour":
        np.savez(path, test_images=np.stack([test] * 3, axis=-1))
    elif how == "no_pictures":
        np.savez(path, test_labels=np.zeros((3, 1), np.uint8))
    out = tmp_path / "x.csv"
    answer = medai("predict", pictures[0], str(path), "--out", str(out), "--json", home=home)
    assert answer.status == 3, answer.err
    assert answer.error["kind"] == "DataRefused"
    assert not out.exists()


def test_too_many_rows_set_aside_are_refused(medai: Any, home: Path, pictures: Any, npz: Path, tmp_path: Path) -> None:
    """The suite's tolerance holds for new data, too; a person may raise it for one command."""
    path = tmp_path / "new.npz"
    with np.load(npz) as arrays:
        images = arrays["train_images"][:4].copy()
    images[:2] = 0
    np.savez(path, train_images=images)
    out = tmp_path / "x.csv"
    answer = medai("predict", pictures[0], str(path), "--out", str(out), "--json", home=home)
    assert answer.status == 3
    assert "too_many_set_aside" in answer.error["wrong"]
    tolerated = ("--set", "validation.tolerance=1")
    answer = medai("predict", pictures[0], str(path), "--out", str(out), "--json", *tolerated, home=home)
    assert answer.status == 0, answer.err
    assert (answer.json["scored"], sum(answer.json["set_aside"].values())) == (2, 2)


# -- evaluate ------------------------------------------------------------------------------------------------------


def test_evaluate_measures_the_champion_and_promotes_nothing(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]], npz: Path
) -> None:
    """All samples as one role, figures beside the champion's own test; the audit has a line, once for the same look."""
    problem, trained = pictures
    before = medai("history", problem, "--json", home=home).json
    answer = medai("evaluate", problem, "--data", str(npz), "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["version"], found["model_sha256"]) == (1, trained["model_sha256"])
    assert found["cohort"]["samples"] == sum(found["cohort"]["classes"]["opacity"].values()) == 60
    assert found["seen_in_training"] == {"samples": 0, "subjects": 0, "scored": False}
    auroc = found["metrics"]["opacity"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"]
    assert found["own_test"]["metrics"] == trained["metrics"]
    assert found["own_test"]["samples"] == 60
    assert sum(map(sum, found["confusion"]["opacity"])) == 60
    assert set(found["calibration"]["opacity"]) == {"slope", "intercept"}
    assert found["evidence"] == "sufficient"
    again = medai("evaluate", problem, "--data", str(npz), "--json", home=home).json
    assert again["looks"] == found["looks"]
    entries = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    facts = [
        entry["facts"]
        for entry in entries
        if (entry["kind"], entry["problem"]) == ("evaluated", "seen_again")
        and entry["facts"]["data_sha256"] == found["data_sha256"]
    ]
    assert len(facts) == 1
    assert (facts[0]["samples"], facts[0]["metrics"]["auroc"]) == (60, auroc)
    after = medai("history", problem, "--json", home=home).json
    assert (after["champion"], after["versions"]) == (before["champion"], before["versions"])
    assert [entry["kind"] for entry in after["entries"][len(before["entries"]) :]] == ["evaluated"]
    told = medai("history", problem, home=home).out
    assert f"version 1 measured on 60 samples of data {found['data_sha256'][:12]}, auroc {auroc['value']:.3f} [" in told
    assert found["own_test_rows"] == 0
    floor = found["floors"]["auroc"]
    assert (floor["low"], floor["met"]) == (auroc["low"], auroc["low"] >= floor["floor"])
    shown = medai("evaluate", problem, "--data", str(npz), home=home)
    assert re.search(r"auroc +\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] +\d\.\d{3} \[", shown.out)
    assert "60 samples of 60 different images · champion version 1, net" in shown.out
    assert "enough images: yes\n" in shown.out
    assert "evidence:" not in shown.out
    assert f"the gate's floor of auroc on these data: {auroc['low']:.4f} (required: lower bound at least" in shown.out
    assert f"looks of this champion at labelled data, this one included: {found['looks']}\n" in shown.out


def test_evaluate_says_which_rows_are_the_champions_own_test(
    medai: Any, home: Path, pictures: tuple[str, dict[str, Any]]
) -> None:
    """On the data it was made from, whoever it was fitted on is left out: what is left is its own test once more."""
    problem, trained = pictures
    found = medai("evaluate", problem, "--json", home=home).json
    assert found["own_test_rows"] == trained["splits"]["test"] == found["cohort"]["samples"]
    shown = medai("evaluate", problem, home=home)
    assert "all of them are rows of the champion's own test: its test once more, and nothing new" in shown.out


def test_patients_of_the_fit_are_left_out_unless_asked_for(
    medai: Any, home: Path, stays: tuple[str, dict[str, Any]]
) -> None:
    """On its own data the champion is measured on test and gate; with --include-seen on all, and it says so."""
    problem, trained = stays
    apart = trained["splits"]["test"] + trained["splits"]["gate"]
    found = medai("evaluate", problem, "--json", home=home).json
    assert found["cohort"]["samples"] == apart
    assert found["seen_in_training"] == {"samples": 200 - apart, "subjects": 200 - apart, "scored": False}
    whole = medai("evaluate", problem, "--include-seen", home=home)
    assert "200 samples of 200 stays" in whole.out
    assert "enough stays: no\n" in whole.out
    assert (
        f"{200 - apart} samples of {200 - apart} subjects that it was fitted on were scored all the same" in whole.out
    )


def test_few_positives_are_insufficient_evidence(medai: Any, home: Path, pictures: Any, npz: Path) -> None:
    """By the gate's minimum; the figures are shown all the same."""
    demanding = ("--set", "gate.minimum_positives=500")
    answer = medai("evaluate", pictures[0], "--data", str(npz), "--json", *demanding, home=home)
    assert answer.status == 0, answer.err
    assert answer.json["evidence"] == "insufficient_evidence"
    assert re.fullmatch(r"present: \d+ images \(required: at least 500\)", answer.json["reasons"][0])
    assert "auroc" in answer.json["metrics"]["opacity"]


def test_data_without_labels_are_not_evaluated(
    medai: Any, home: Path, stays: Any, pictures: Any, ward: Path, unlabelled: Path, tmp_path: Path
) -> None:
    """Refused with status 3, whether the labels are missing as a file, as arrays, or value by value."""
    answer = medai("evaluate", stays[0], "--data", str(ward), "--json", home=home)
    assert (answer.status, answer.error["wrong"]) == (3, "the outcomes file is missing")
    answer = medai("evaluate", pictures[0], "--data", str(unlabelled), "--json", home=home)
    assert answer.status == 3
    lines = [f"{file.stem},-1,-1,-1,-1,-1" for file in sorted(ward.iterdir())]
    header = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    (ward / "Outcomes-a.txt").write_text("\n".join([header, *lines]) + "\n")
    answer = medai("evaluate", stays[0], "--data", str(ward), "--json", home=home)
    assert (answer.status, answer.error["wrong"]) == (3, "output death: no label is known in these data")
    assert "medai predict" in answer.error["action"]


def test_another_question_is_not_evaluated(medai: Any, home: Path, problems: Any, pictures: Any, npz: Path) -> None:
    """The champion's classes are those that it was fitted for."""
    outputs = {"opacity": {"kind": "binary", "classes": {0: "clear", 1: "present"}, "positive": "present"}}
    problem = problems.pictures("seen_again", outputs=outputs)
    answer = medai("evaluate", problem, "--data", str(npz), "--json", home=home)
    problems.pictures("seen_again")
    assert answer.status == 2
    assert answer.error["wrong"] == "the champion answers another question than the Problem asks"
