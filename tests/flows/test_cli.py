"""The command line as a contract: what it prints, where, with which exit status, and what it never shows."""

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medai import __version__
from medai.sources.synthetic import Synthetic, generate

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
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    stages, earlier = second.pop("stages"), first.pop("stages")
    assert second == first
    assert list(stages) == list(earlier)
    assert all(facts["reused"] for facts in stages.values())
    assert state_of(home) == before
    assert set(modules.read_text().split("\n")) & set(HEAVY) == set()


# -- check, and the catalogue --------------------------------------------------------------------------------------


def npz(folder: Path, **changes: Any) -> Path:
    """Generated pictures as a file."""
    return generate(Synthetic(kind="synthetic", layout="medmnist", subjects=60, seed=5, **changes), folder)


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


def test_problems_and_show(medai: Any, home: Path) -> None:
    """The catalogue by name; one problem with every key, overrides applied."""
    listed = medai("problems", "--json", home=home).json["problems"]
    assert {"pneumonia_mnist", "breast_mnist", "physionet2012_mortality", "synthetic_pictures"} <= set(listed)
    assert "pneumonia_mnist" in medai("problems", home=home).out
    shown = medai("show", "synthetic_stays", "--set", "training.epochs=3", home=home)
    resolved = yaml.safe_load(shown.out)
    assert (resolved["training"]["epochs"], resolved["training"]["label_smoothing"]) == (3, 0.0)
    same = medai("show", "synthetic_stays", "--set", "training.epochs=3", "--json", home=home).json
    assert same["split"] == resolved["split"]


def test_every_command_has_a_help_line(medai: Any, home: Path) -> None:
    """Each command of the contract and each of its options explains itself."""
    overview = medai("--help", home=home)
    assert overview.status == 0
    running = ("run", "check", "evaluate", "predict", "demo", "synth", "export", "deidentify")
    for command in (*running, "problems", "show", "history", "promote", "rollback", "up", "deploy", "watch"):
        assert re.search(rf"^  {command}  +[A-Z]", overview.out, re.MULTILINE), command
        page = medai(command, "--help", home=home)
        assert page.status == 0
        assert "Usage: medai " + command in page.out


def test_a_command_that_needs_no_data_imports_nothing_heavy(bare_environment: dict[str, str], tmp_path: Path) -> None:
    """``--help`` needs typer alone, ``show`` no data library."""
    script = "import sys; from flows.cli import app\ntry: app(sys.argv[1:])\nfinally: print(*sys.modules)"
    for arguments, banned in (
        (["--help"], {"pydantic", "rich", "yaml", *HEAVY}),
        (["show", "synthetic_stays"], {"prefect", "polars", "pyarrow", *HEAVY}),
    ):
        shown = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=bare_environment | {"MEDAI_HOME": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert set(shown.stdout.splitlines()[-1].split()) & banned == set()


@pytest.mark.slow
def test_synth_writes_a_hospital_and_says_what_it_holds(medai: Any, tmp_path: Path, home: Path) -> None:
    """For a person in sentences, with --json as one object; the same folder is not written to twice."""
    out = tmp_path / "hospital"
    answer = medai("synth", "hospital", str(out), "--patients", "20", "--faults", "0.2", home=home)
    assert answer.status == 0, answer.err
    assert f"{out}: " in answer.out
    assert re.search(r"\d+ planted faults of \d+ kinds, counted in planted_faults.json", answer.out)
    again = medai("synth", "hospital", str(out), "--json", home=home)
    assert again.status == 2
    assert again.json["error"]["wrong"] == "the place to write to is taken"
    plain = medai(
        "synth", "hospital", str(tmp_path / "plain"), "--patients", "20", "--faults", "0", "--mimic-version", "2.2",
        "--seed", "3", "--signal", "0", "--json", home=home,
    )  # fmt: skip
    assert plain.status == 0, plain.err
    assert (plain.json["kind"], plain.json["patients"], plain.json["seed"]) == ("hospital", 20, 3)
    assert set(plain.json["faults"].values()) == {0}
    assert "MIMIC-IV v2.2" in (tmp_path / "plain" / "README.txt").read_text()


@pytest.mark.slow
def test_demo_promotes_two_champions(medai: Any, tmp_path: Path) -> None:
    """Both generated problems to a champion, with few epochs."""
    answer = medai("demo", "--set", "training.epochs=4", "--json", home=tmp_path / "home")
    assert answer.status == 0, answer.err
    assert [one["problem"] for one in answer.json["runs"]] == ["hospital_radiographs", "hospital_mortality"]
    assert [one["decision"] for one in answer.json["runs"]] == ["promoted", "promoted"]


# -- what can go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "changes", "told"),
    [
        (("synthetic_picture",), None, "did you mean 'synthetic_pictures'?"),
        (("nowhere.yaml",), None, "nowhere.yaml"),
        ((), {"trainning": {"epochs": 1}}, "did you mean 'training'?"),
        (("--set", "training.epochz=3"), {}, "did you mean 'epochs'?"),
        (("--set", "training.epochs"), {}, "--set section.key=value"),
        (("--set", "training.epochs=-1"), {}, "training.epochs"),
        (("--set", "training.learning_rate=.nan"), {}, "training.learning_rate"),
        (("--set", "training.epochs=many"), {}, "training.epochs"),
        (("--set", "training.epochs=true"), {}, "training.epochs: true"),
        (("--data", "~nosuchuser/x.npz"), {}, "~nosuchuser/x.npz"),
        (("--set", "name.x=1"), {}, "name is a single value"),
        (("--set", "data=!!python/object:os.system"), {}, ""),
        (("--set", "inputs.picture.encoder.kind=small_cn"), {}, "did you mean 'small_cnn'?"),
        (("--set", "gate.role=gate"), {}, "role 'test'"),
        ((), {"data": None}, "--data PATH"),
        ((), {"validation": {"suite": "no/such.yaml"}}, "validation.suite"),
    ],
)
def test_what_cannot_be_followed_ends_with_status_2(
    arguments: tuple[str, ...], changes: dict[str, Any] | None, told: str, medai: Any, problems: Any, tmp_path: Path
) -> None:
    """Before any work: the message names the key and the near match, nothing is made."""
    problem = () if changes is None else (problems.pictures("wrong", **changes),)
    answer = medai("run", *problem, *arguments, "--json", home=tmp_path / "home")
    assert answer.status == 2, answer.err
    assert told in str(answer.error["expected"] + answer.error["received"] + answer.error["action"])
    assert not (tmp_path / "home" / "store").exists()
    assert not (tmp_path / "home" / "audit.jsonl").exists()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("class PanicException(BaseException): pass\nfailure = PanicException('a patient')", "gave up in the middle"),
        ("failure = OSError(27, 'File too large')", "a file grew past the limit"),
        ("failure = OSError(11, 'Resource temporarily unavailable')", "starts no more processes or threads"),
        (
            "import httpx\nfrom prefect.exceptions import PrefectHTTPStatusError\n"
            "asked = httpx.Request('POST', 'http://127.0.0.1/api')\n"
            "failure = PrefectHTTPStatusError('Traceback of a patient', request=asked,"
            " response=httpx.Response(500, request=asked))",
            "received: PrefectHTTPStatusError, status 500",
        ),
    ],
)
def test_what_the_machine_does_not_do_is_no_defect_of_ours(
    failure: str, told: str, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    """Status 4 and a sentence: also for a panic, which is no Exception, and for an answer of Prefect's server."""
    script = f"{failure}\nfrom flows import cli\ndef act(_):\n    raise failure\ncli._answer(act, True, print)"
    ended = subprocess.run(
        [sys.executable, "-c", "import typer\napp = typer.Typer()\n@app.command()\ndef main():\n"
         + "\n".join("    " + line for line in script.splitlines()) + "\napp()"],
        env=bare_environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert told in ended.stderr
    assert json.loads(ended.stdout)["error"]["status"] == 4
    assert not any(word in ended.stdout + ended.stderr for word in ("patient", "Traceback"))


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("run", "--jsn", "x"), ("run", "x", "--seed", "-1"), ("run", "x", "--seed", str(2**32)), ("rum",)],
)
def test_a_misused_command_ends_with_status_2(arguments: tuple[str, ...], medai: Any, home: Path) -> None:
    """A usage error says how it is used, on standard error."""
    answer = medai(*arguments, home=home)
    assert (answer.status, answer.out) == (2, "")
    assert "Usage: medai" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("variable", "value"), [("MEDAI_THREADS", "two"), ("MEDAI_THREAD", "2"), ("MEDAI_TRACKING_URI", "http://a:b@c")]
)
def test_a_wrong_setting_ends_with_status_2(variable: str, value: str, medai: Any, home: Path, problems: Any) -> None:
    """The variable is named."""
    answer = medai("run", problems.pictures("set"), "--json", home=home, environment={variable: value})
    assert answer.status == 2
    assert variable in answer.error["wrong"]


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[str], Path]:
    """Data files that cannot be trusted."""

    def make(how: str) -> Path:
        path = npz(tmp_path)
        if how == "missing":
            path.unlink()
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-400])
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "text":
            path.write_text("<html>404</html>")
        elif how == "folder":
            return tmp_path
        elif how == "flipped":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("how", ["missing", "cut", "empty", "text", "folder", "flipped"])
def test_data_that_cannot_be_trusted_end_with_status_3(
    how: str, damaged: Callable[[str], Path], medai: Any, home: Path, problems: Any
) -> None:
    """Refused in three parts; no stage's folder is left half made."""
    answer = medai("run", problems.pictures("refused"), "--data", str(damaged(how)), "--json", home=home)
    assert answer.status == 3, answer.err
    assert answer.error["kind"] == "DataRefused"
    assert list((home / "store").glob("*/.*.partial")) == []


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, mounted with the test's options; skipped where nobody may mount."""
    place = tmp_path / "disk"
    place.mkdir()
    options = getattr(request, "param", "size=1m")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("mounted", ["size=64k", "size=256k", "size=600k"], indirect=True)
def test_a_full_disk_ends_with_status_4_and_works_again_with_space(mounted: Path, medai: Any, problems: Any) -> None:
    """Whatever stage meets the end of the disk, the message is the same and nothing half made is visible."""
    problem = problems.pictures("full")
    answer = medai("run", problem, "--json", home=mounted / "home")
    assert answer.status == 4, answer.err
    assert answer.error["kind"] == "ServiceFailed"
    assert "full" in answer.error["wrong"] + answer.error["received"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    assert medai("check", problem, "--json", home=mounted / "home").status == 0


def test_a_home_that_cannot_be_written_ends_with_status_4(mounted: Path, medai: Any, problems: Any) -> None:
    """A read-only disk."""
    problem = problems.pictures("read_only")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    answer = medai("run", problem, "--json", home=mounted / "home")
    assert answer.status == 4, answer.err
    assert answer.error["kind"] == "ServiceFailed"


@pytest.mark.parametrize(
    "command", [("history",), ("promote", "1", "--reason", "x"), ("rollback", "--reason", "x"), ("run",), ("check",)]
)
def test_a_state_folder_that_is_none_is_named(
    command: tuple[str, ...], medai: Any, problems: Any, tmp_path: Path
) -> None:
    """A home that is a file is a wrong setting, status 2; a lock folder or an audit that is none, status 4. Both are
    named by path and setting, in words.
    """
    (tmp_path / "file").touch()
    home = tmp_path / "home"
    (home / "audit.jsonl").mkdir(parents=True)
    (home / "locks").touch()
    problem = problems.pictures("nowhere")
    for place, status in ((tmp_path / "file", 2), (home, 4)):
        answer = medai(command[0], problem, *command[1:], "--json", home=place)
        assert answer.status == status, answer.err
        assert "MEDAI_HOME" in str(answer.error)
        assert str(place) in str(answer.error)
        assert "rrno" not in str(answer.error)


def test_data_are_found_in_the_folder_of_data_sets_and_nowhere_else(medai: Any, problems: Any, tmp_path: Path) -> None:
    """``--data`` may name that folder, as MEDAI_DATA does; a link that leads out of it is refused."""
    source = {"picture": PICTURE | {"location": "sets/pictures.npz"}}
    problem = problems.pictures("located", data=None, inputs=source)
    sets = tmp_path / "all" / "sets"
    sets.mkdir(parents=True)
    made = npz(tmp_path)
    (sets / "pictures.npz").symlink_to(made)
    for given, environment in ((("--data", str(sets.parent)), {}), ((), {"MEDAI_DATA": str(sets.parent)})):
        answer = medai("check", problem, *given, "--json", home=tmp_path / "home", environment=environment)
        assert (answer.status, answer.error["wrong"]) == (3, "the data's location leads out of the folder of data sets")
    (sets / "pictures.npz").unlink()
    made.rename(sets / "pictures.npz")
    answer = medai("check", problem, "--data", str(sets.parent), "--json", home=tmp_path / "home")
    assert answer.json["passed"] is True
    nowhere = medai("check", problem, "--json", home=tmp_path / "home")
    assert nowhere.error["action"] == f"medai check {problem} --data PATH"


@pytest.mark.parametrize("arguments", [["show", "synthetic_stays", "--json"], ["show", "synthetic_stay", "--json"]])
def test_a_standard_output_that_is_full_ends_with_status_4(
    arguments: list[str], bare_environment: dict[str, str], tmp_path: Path
) -> None:
    """In three parts and without a traceback, for an answer as for a refusal; a reader that left is no failure."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=bare_environment, cwd=tmp_path, check=False
        )
    assert answer.returncode == 4
    assert "medai: standard output takes no more." in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Exception ignored" not in answer.stderr


def test_the_version_is_told(medai: Any, home: Path) -> None:
    """As ``medai --version``."""
    answer = medai("--version", home=home)
    assert (answer.status, answer.out) == (0, f"medai {__version__}\n")


@pytest.mark.parametrize("argument", ["\udcff.yaml", "p\udcff"])
def test_an_argument_that_is_no_text_ends_with_status_2(argument: str, medai: Any, home: Path) -> None:
    """Bytes that are not UTF-8 can be neither logged nor answered."""
    for arguments in (("show", argument), ("check", "synthetic_stays", "--data", argument)):
        answer = medai(*arguments, "--json", home=home)
        assert (answer.status, answer.error["wrong"]) == (2, "an argument is no text")


# -- whose names are never shown -----------------------------------------------------------------------------------

PLANTED = 77_700_000
"""Added to the stays' identifiers: no other number of a run looks like them."""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Generated stays whose identifiers are recognised anywhere."""
    raw = tmp_path / "raw"
    raw.mkdir()
    generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=200, signal=2, seed=9), raw)

    def renamed(text: str) -> str:
        return re.sub(r"\b(900\d{3})\b", lambda found: str(int(found[1]) + PLANTED), text)

    for file in list((raw / "set-a").iterdir()):
        file.with_name(renamed(file.name)).write_text(renamed(file.read_text()))
        file.unlink()
    (raw / "Outcomes-a.txt").write_text(renamed((raw / "Outcomes-a.txt").read_text()))
    return raw


def test_a_patients_identifier_appears_nowhere(
    planted: Path, medai: Any, problems: Any, tmp_path: Path, prefect_home: Path
) -> None:
    """Not in what is printed, logged, tracked, reported or recorded; only in files that their owner alone may read."""
    home = tmp_path / "home"
    shown = [
        medai("run", problems.stays("planted"), "--data", str(planted), "--json", home=home),
        medai("run", problems.stays("planted"), "--data", str(planted), home=home),
        medai("history", problems.stays("planted"), home=home),
    ]
    assert [answer.status for answer in shown] == [0, 0, 0], shown[0].err
    victim = sorted((planted / "set-a").iterdir())[7]
    victim.write_text(victim.read_text() + "12:00,HR\n")
    shown.append(medai("run", problems.stays("planted"), "--data", str(planted), "--json", home=home))
    assert shown[-1].status == 3
    victim.write_text(victim.read_text().removesuffix("\n"))
    shown.append(medai("check", problems.stays("planted"), "--data", str(planted), home=home))
    assert shown[-1].status == 3

    pattern = re.compile(rb"78600[0-2]\d\d")
    token = re.compile(rb"[0-9a-f]78600\d{3}|78600\d{3}[0-9a-f]|\.\d*78600\d{3}")  # inside a hash or a fraction
    places = [path for path in [*home.rglob("*"), *prefect_home.rglob("*")] if path.is_file()]
    texts = {f"standard output {number}": answer.out.encode() for number, answer in enumerate(shown)}
    texts |= {f"standard error {number}": answer.err.encode() for number, answer in enumerate(shown)}
    for path in places:  # the page is its owner's alone, and yet the one that is handed on
        if path.stat().st_mode & 0o077 or path.name == "report.html":
            texts[str(path)] = path.read_bytes()
    assert any(path.endswith("mlflow.db") for path in texts)
    assert any(path.endswith("report.html") for path in texts)
    assert len(pattern.findall((planted / "Outcomes-a.txt").read_bytes())) == 200
    assert [place for place, text in texts.items() if pattern.search(token.sub(b"", text))] == []
    with contextlib.closing(sqlite3.connect(prefect_home / "prefect" / "prefect.db")) as database:
        logged = "\n".join(row[0] for row in database.execute("select message from log"))
    assert "row" in logged
    assert not pattern.search(logged.encode())
    people = [path for path in places if path.name == "identifiers.parquet"]
    assert people
    assert all(path.stat().st_mode & 0o077 == 0 for path in people)
