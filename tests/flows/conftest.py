"""The real command line, served by one process for all tests here, before one Prefect server.

That process imports TensorFlow, MLflow and Great Expectations once. Whatever a command writes to descriptors 1 and 2
is its output, also what a library writes there past Python.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import flows
from flows.governance import promote_by_hand
from flows.services.prefect_server import early_prefect_server
from flows.settings import Settings
from medai.attestation import TAG
from medai.ledger import Ledger
from medai.records import Candidate, Environment
from medai.signing import SiteKey
from medai.tracking import Tracking
from medai.workspace import Workspace

ROOT = Path(flows.__file__).parents[1]
OURS = ("MEDAI_", "PREFECT_", "MLFLOW_")

SERVE = """
import json, os, sys
from flows.cli import app
given = dict(os.environ)
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    order = json.loads(line)
    os.environ.clear()
    os.environ.update(given | order["environment"])
    os.chdir(order["folder"])
    for descriptor, path in ((1, order["out"]), (2, order["err"])):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    status = 0
    try:
        app(order["arguments"], prog_name="medai")
    except SystemExit as ended:
        status = ended.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    answers.write(json.dumps(status) + "\\n")
    answers.flush()
"""


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output, and nothing else there."""
        assert self.out.count("\n") == 1, self.out + self.err
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer

    @property
    def error(self) -> dict[str, Any]:
        """The error of a ``--json`` command; it stands on standard error, too, and never as a traceback."""
        assert "Traceback" not in self.out + self.err
        assert list(self.json) == ["error"], self.out + self.err
        error: dict[str, Any] = self.json["error"]
        assert error["status"] == self.status
        assert f"medai: {error['wrong']}." in self.err
        return error


class Command:
    """``medai`` with its arguments.

    Args:
        folder: for output files; also the working directory of commands.
        environment: of every command.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __call__(self, *arguments: str, home: Path, environment: dict[str, str] | None = None) -> Answer:
        """Run a command on a home."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out, err = self.folder / "out", self.folder / "err"
        order = {
            "arguments": list(arguments),
            "environment": {"MEDAI_HOME": str(home)} | (environment or {}),
            "folder": str(self.folder),
            "out": str(out),
            "err": str(err),
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = self.process.stdout.readline()
        assert status, "medai died: " + err.read_text()
        return Answer(json.loads(status), out.read_text(), err.read_text())

    def run(self, problem: str, *arguments: str, home: Path, environment: dict[str, str] | None = None) -> Any:
        """``medai run --json`` that must succeed; its object."""
        answer = self("run", problem, *arguments, "--json", home=home, environment=environment)
        assert answer.status == 0, answer.err
        return answer.json

    def end(self) -> None:
        """End the process; nothing of it is needed any more."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def bare_environment() -> dict[str, str]:
    """This process's environment without any setting of medai, Prefect or MLflow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")])}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside in this process."""
    for name in list(os.environ):
        if name.startswith((*OURS, "PG")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's Prefect server keeps its database, with every log line and state."""
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def environment(bare_environment: dict[str, str], prefect_home: Path) -> Iterator[dict[str, str]]:
    """Of every command: one Prefect server for all of them."""
    with early_prefect_server(Settings.load(home=prefect_home, prefect_api_url=None)) as server:
        server.wait()
        yield bare_environment | {"PREFECT_API_URL": server.api_url}


@pytest.fixture(scope="session")
def medai(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command."""
    command = Command(tmp_path_factory.mktemp("command"), environment)
    yield command
    command.end()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all tests that need no own one: each asks under its own problem names, and pure stages
    that two of them share are made once.
    """
    return tmp_path_factory.mktemp("medai") / "home"


PICTURES: dict[str, Any] = {
    "question": "Does this tiny generated picture show the opacity?",
    "data": {"kind": "synthetic", "layout": "medmnist", "subjects": 300, "signal": 2, "seed": 3},
    "inputs": {
        "picture": {
            "source": {"kind": "medmnist"},
            "preprocessing": {"kind": "pixels", "size": [28, 28], "channels": 1},
            "encoder": {"kind": "small_cnn", "filters": [8, 8], "dense": 16},
        }
    },
    "outputs": {"opacity": {"kind": "binary", "classes": {0: "absent", 1: "present"}, "positive": "present"}},
    "cohort": {"kind": "pictures"},
    "split": {"kind": "publisher"},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.003},
    "baselines": {"logistic_regression": {"kind": "logistic_regression"}},
    "evaluation": {"resamples": 200},
    "gate": {"role": "test", "floors": {"auroc": 0.6}, "minimum_positives": 5, "minimum_negatives": 5},
}
STAYS: dict[str, Any] = {
    "question": "Will this tiny generated stay end in death?",
    "data": {"kind": "synthetic", "layout": "physionet2012", "subjects": 200, "signal": 2, "seed": 3},
    "inputs": {
        "stay": {
            "source": {"kind": "physionet2012"},
            "preprocessing": {
                "kind": "series",
                "hours": 48,
                "step_minutes": 240,
                "variables": ["HR", "GCS", "Lactate", "BUN"],
                "static": ["Age"],
                "categories": {"ICUType": [1, 2, 3, 4]},
            },
            "encoder": {"kind": "gru", "units": 4, "wide": 8, "dropout": 0},
        }
    },
    "outputs": {
        "death": {
            "kind": "binary",
            "label": "in_hospital_death",
            "classes": {0: "survived", 1: "died"},
            "positive": "died",
        }
    },
    "cohort": {"kind": "stays", "observation_hours": 48},
    "split": {
        "kind": "keyed_hash",
        "key": "tiny",
        "fractions": {"test": 0.2, "gate": 0.2, "validation": 0.2, "train": 0.4},
    },
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
    "evaluation": {"resamples": 200},
    "gate": {
        "role": "gate",
        "floors": {},
        "non_inferiority": {"metric": "auroc", "margin": 1.0},
        "minimum_positives": 2,
        "minimum_negatives": 2,
    },
}


class Problems:
    """Writes Problem files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, base: dict[str, Any], name: str, **changes: Any) -> str:
        """The path of a Problem like ``base`` with other top-level sections."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, **base, **changes}, sort_keys=False))
        return str(path)

    def pictures(self, name: str, **changes: Any) -> str:
        """A question on generated pictures, judged on test."""
        return self(PICTURES, name, **changes)

    def stays(self, name: str, **changes: Any) -> str:
        """A question on generated stays, judged on gate patients."""
        return self(STAYS, name, **changes)


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Problems:
    """Writes Problem files."""
    return Problems(tmp_path_factory.mktemp("problems"))


# -- a registry without a run --------------------------------------------------------------------------------------


class Watched(Tracking):
    """MLflow, with something that happens just before an alias moves."""

    meanwhile: Callable[[], object] | None = None

    def set_alias(self, problem: str, alias: str, version: int) -> None:
        """Let it happen, once, in a thread as another person's command would be, and give it time to be done."""
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            other = threading.Thread(target=act)
            other.start()
            other.join(1)
            self.other = other
        super().set_alias(problem, alias, version)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Watched]]:
    """A state folder whose MLflow database knows a model ``p`` with versions 1 to 3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        workspace = Workspace(tmp_path_factory.mktemp("raced"))
        database = f"sqlite:///{workspace.root / 'mlflow.db'}"
        tracking = Watched(
            database, workspace.root / "artifacts", workspace, lambda: SiteKey.of(workspace.root / "keys")
        )
        tracking.prepare()
        from mlflow import MlflowClient

        client = MlflowClient(database, database)
        client.create_registered_model("p")
        for version in (1, 2, 3):
            tags = {"medai.candidate": f"{version}" * 32}
            client.create_model_version("p", f"s3://nowhere/{version}", tags=tags)
        for version in (1, 2, 3):
            workspace.materialise(
                "fit", f"{version}" * 32, Candidate, lambda _folder, key=f"{version}" * 32: _fitted(key)
            )
        yield workspace, tracking


def _fitted(key: str) -> Candidate:
    """A candidate whose files are its record alone."""
    nothing: dict[str, Any] = {
        "thresholds": {},
        "calibration": {},
        "preprocessing": {},
        "outputs": {},
        "statistics": {},
    }
    environment = Environment(threads=1, onednn=True, instruction_set="x", libraries={})
    return Candidate(
        key=key, name="net", members=(), trained_on={}, seed=0, epochs=1, environment=environment, **nothing
    )


@pytest.fixture
def ledger(registry: tuple[Workspace, Watched]) -> Ledger:
    """A ledger of its own in which the three versions are registered and 1, then 2 became champion."""
    workspace, tracking = registry
    if (model := tracking.model("p")) and TAG in model.tags:
        from mlflow import MlflowClient

        MlflowClient(tracking.uri, tracking.uri).delete_registered_model_tag("p", TAG)
    for alias in model.aliases if model else ():
        tracking.drop_alias("p", alias)
    for name in ("audit.jsonl", "audit.head"):
        (workspace.root / name).unlink(missing_ok=True)
    found = Ledger(workspace, by="ward")
    for version in (1, 2, 3):
        found.append("registered", "p", {"version": version, "run_id": "r", "candidate": f"{version}" * 32})
    for version in (1, 2):
        promote_by_hand(found, tracking, "p", version, "good")
    return found


@pytest.fixture
def fitted() -> Callable[[str], Candidate]:
    """Key → a candidate whose files are its record alone."""
    return _fitted


Note = Callable[[str, str, str], None]


@pytest.fixture
def outcome_of(record_property: Callable[[str, object], None]) -> Note:
    """Notes a row of the table of failing services: service, moment, outcome."""
    return lambda service, moment, outcome: record_property("service", (service, moment, outcome))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of failing services, and how many of its rows are as declared."""
    rows = [
        (*value, category == "passed")
        for category, reports in terminalreporter.stats.items()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "service"
    ]
    if not rows:
        return
    services = Counter(service for service, _, _, _ in rows)
    named = ", ".join(f"{service} {count}" for service, count in sorted(services.items()))
    unmet = sum(not passed for *_, passed in rows)
    terminalreporter.write_line(f"SERVICES: {named}: {len(rows)} outcomes, {unmet} not as declared")
    for service, moment, outcome, passed in sorted(rows):
        terminalreporter.write_line(f"  {service:<11} {moment:<42} {outcome}{'' if passed else '  (NOT SO)'}")
