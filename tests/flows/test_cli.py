"""The command line as a contract: what it prints, where, with which exit status, and what it never shows."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medai.sources.synthetic import Synthetic, generate

HEAVY = ("tensorflow", "keras", "great_expectations", "mlflow", "sklearn", "onnxruntime", "matplotlib", "pandas")

STAGES = ["generate", "ingest", "validate", "select", "split", "prepare", "fit", "fit:logistic_regression", "evaluate",
          "evaluate:logistic_regression", "compare", "draw", "decide", "register", "promote", "report"]  # fmt: skip


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


def test_run_shows_a_summary_to_a_person(medai: Any, home: Path, problems: Any) -> None:
    """Without --json: cohort, figures with intervals beside the baselines, decision with reasons, champion, report."""
    answer = medai("run", problems.pictures("summary"), home=home)
    assert answer.status == 0, answer.err
    for part in (
        "Does this tiny generated picture show the opacity?",
        "300 samples of 300 subjects (one image each) · net",
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
    """Ingest and validate only: the contract's keys, exit 0, nothing in the ledger."""
    problem = problems.pictures("checked")
    answer = medai("check", problem, "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["passed"], found["set_aside"], found["failures"]) == (True, {}, [])
    assert type(found["rows"]) is int
    assert found["rows"] > 0
    assert list(found["stages"]) == ["generate", "ingest", "validate"]
    shown = medai("check", problem, home=home)
    assert shown.out.startswith("passed: ")
    assert medai("history", problem, "--json", home=home).json["entries"] == []


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
    refused = medai("run", problem, "--json", home=home)
    assert refused.status == 3
    assert refused.error["kind"] == "ValidationFailed"
    assert "too_dark" in str(refused.error)


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
    for command in ("run", "check", "demo", "problems", "show", "history", "promote", "rollback", "up", "deploy"):
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
def test_demo_promotes_two_champions(medai: Any, tmp_path: Path) -> None:
    """Both generated problems to a champion, with few epochs."""
    answer = medai("demo", "--set", "training.epochs=2", "--json", home=tmp_path / "home")
    assert answer.status == 0, answer.err
    assert [one["problem"] for one in answer.json["runs"]] == ["synthetic_pictures", "synthetic_stays"]
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


@pytest.mark.parametrize("arguments", [("run",), ("run", "--jsn", "x"), ("run", "x", "--seed", "-1"), ("rum",)])
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


def test_a_prefect_server_that_is_down_ends_with_status_4(medai: Any, home: Path, problems: Any) -> None:
    """The wait is bounded and the address told."""
    down = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    answer = medai("run", problems.pictures("down"), "--json", home=home, environment=down)
    assert answer.status == 4
    assert answer.error["wrong"] == "Prefect's server does not answer"
    assert "127.0.0.1:9" in answer.error["expected"]


def test_mlflow_down_loses_no_work(medai: Any, home: Path, problems: Any) -> None:
    """Status 4 after the fit; the same command completes later without fitting again, with one version."""
    problem = problems.pictures("notebook_down")
    down = {"MEDAI_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    answer = medai("run", problem, "--json", home=home, environment=down)
    assert answer.status == 4
    assert "MLflow failed" in answer.error["wrong"]
    found = medai.run(problem, home=home)
    assert (found["version"], found["decision"], found["champion"]) == (1, "promoted", 1)
    assert found["stages"]["fit"]["reused"]
    assert found["stages"]["decide"]["reused"]


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
    """A read-only disk, and a file where the folder belongs."""
    problem = problems.pictures("read_only")
    (mounted / "file").write_text("")
    for place in ("file", "home"):
        answer = medai("run", problem, "--json", home=mounted / place)
        assert answer.status == 4, answer.err
        assert answer.error["kind"] == "ServiceFailed"
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)


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
    texts |= {str(path): path.read_bytes() for path in places if path.stat().st_mode & 0o077}
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
