"""Roads that are killed: real ``medai run`` commands, forked from one process that has imported everything."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from medai.ledger import Ledger
from medai.signatures import SIGNATURE, check_folder
from medai.signing import SiteKey
from medai.workspace import Workspace

T = TypeVar("T")

HERE = Path(__file__).parent
START_SECONDS, RUN_SECONDS = 240, 240
_IDS = re.compile(r"\b(m-)?[0-9a-f]{32,}\b")


def chosen(places: Sequence[T]) -> Sequence[T]:
    """Those that a loop takes: every n-th with ``KILLS=n``; the k-th of n parts alone with ``KILL_PART=k/n``."""
    part, parts = (int(number) for number in os.environ.get("KILL_PART", "1/1").split("/"))
    assert 1 <= part <= parts, "KILL_PART is one of n parts, such as 2/3"
    taken = places[:: int(os.environ.get("KILLS", "1"))]
    return taken[len(taken) * (part - 1) // parts : len(taken) * part // parts]


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status, -9 after a kill.
        points: the commit points that it reached.
        marks: of what lay on disk at each point; points with one mark leave the same bytes.
        epochs: the epochs that it began.
        outcome: what it printed as JSON.
        told: what it logged.
    """

    status: int
    points: list[str]
    marks: list[str]
    epochs: list[int]
    outcome: dict[str, Any]
    told: str


class Road:
    """Runs commands on homes.

    Args:
        folder: for the Prefect server's home and the commands' output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        (folder / "tmp").mkdir()
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_"))}
        ours = {"MEDAI_THREADS": "1", "MEDAI_LOCK_SECONDS": "200", "TMPDIR": str(folder / "tmp")}
        self._log = (folder / "road.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "shim.py"), str(folder / "server")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=outer | ours,
        )
        self.api_url = self._answer(START_SECONDS)
        assert self.api_url.startswith("http"), (folder / "road.log").read_text()

    def stop(self) -> None:
        """End the server and the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def _answer(self, seconds: float) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self._process.kill()
            raise AssertionError(f"no answer in {seconds} s; see {self.folder}")
        return self._process.stdout.readline().strip()

    def run(
        self,
        home: Path,
        *arguments: str,
        strike: int = 0,
        at: str = "",
        how: str = "kill",
        marked: bool = False,
        copies: Path | None = None,
        seconds: tuple[float, ...] = (0,),
    ) -> list[Ended]:
        """Run ``medai ARGUMENTS``, struck at a point: by its number or its name.

        Args:
            seconds: one for each process that runs it at the same time: when it is killed from outside, 0 for never.
        """
        orders = []
        for limit in seconds:
            self.number += 1
            place = self.folder / f"run-{self.number}"
            orders.append(
                {
                    "home": str(home),
                    "arguments": list(arguments),
                    "strike": strike,
                    "at": at,
                    "how": how,
                    "marked": marked,
                    "copies": str(copies) if copies else None,
                    "seconds": limit,
                    **{name: f"{place}.{name}" for name in ("trace", "out", "err")},
                }
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        statuses = json.loads(self._answer(RUN_SECONDS))
        return [_ended(status, order) for status, order in zip(statuses, orders, strict=True)]

    def train(self, home: Path, problem: str, **options: Any) -> Ended:
        """Run one of the two tiny problems."""
        return self.run(home, "run", str(HERE / f"{problem}.yaml"), "--json", **options)[0]


def _ended(status: int, order: dict[str, Any]) -> Ended:
    texts = {
        name: Path(order[name]).read_text() if Path(order[name]).exists() else "" for name in ("trace", "out", "err")
    }
    for name in texts:
        Path(order[name]).unlink(missing_ok=True)
    lines = texts["trace"].splitlines()
    points = [line.split(" ", 1) for line in lines if not line.startswith("#")]
    outcome = json.loads(texts["out"]) if texts["out"].startswith("{") else {}
    return Ended(
        status=status,
        points=[name for _, name in points],
        marks=[mark for mark, _ in points],
        epochs=[int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("# epoch")],
        outcome=outcome,
        told=texts["err"],
    )


def replace_home(home: Path, other: Path | None) -> None:
    """Make a home the copy of another, at its own place: MLflow's database holds absolute paths."""
    if home.exists():
        shutil.rmtree(home)
    if other is not None:
        shutil.copytree(other, home)


def answer(outcome: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one command must both say: all but MLflow's random id, seconds and the page's place."""
    return {name: value for name, value in outcome.items() if name not in ("run_id", "stages", "report")}


def torn(home: Path) -> list[str]:
    """What lies in the store under its final name and is not whole, or has any other name: must be empty."""
    found = []
    for folder in (home / "store").glob("*/*"):
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
            whole = all(_digest((folder / name).read_bytes()) == sha256 for name, (_, sha256) in manifest.items())
            whole = whole and json.loads((folder / "record.json").read_bytes())["key"] == folder.name
        except (OSError, ValueError):
            whole = False
        if not whole:
            found.append(str(folder.relative_to(home)))
    return found


def world(home: Path, problem: str, at: Path | None = None) -> dict[str, Any]:
    """All that a run leaves behind, without times and without MLflow's random ids.

    Args:
        at: where the home lay when it was written, if it was copied since.

    Returns:
        ``store``: file → permission bits and SHA-256 of every stage; ``pages``: the same of the report's files;
        ``spool``: what waits; ``audit``: the entries, their chain verified; ``alias``, ``runs``, ``versions`` and
        further tables of MLflow;
        ``artifacts``: MLflow's files.
    """
    found: dict[str, Any] = {"store": {}, "pages": []}
    for path in sorted((home / "store").glob("*/*/**/*")):
        name = path.relative_to(home / "store")
        assert not name.parts[1].startswith("."), f"{name} was left behind"
        if not path.is_file():
            continue
        data = path.read_bytes()
        if name.parts[0] == "report":  # the page shows MLflow's run
            if path.name != "manifest.json":
                found["pages"].append((path.name, _digest(_IDS.sub("*", data.decode()).encode())))
        else:
            found["store"][str(name)] = (oct(path.stat().st_mode)[-3:], _digest(data))
    found["spool"] = sorted(path.name for path in (home / "spool").glob("*"))
    entries = Ledger(Workspace(home), by="").entries(f"kill_{problem}")
    found["audit"] = [
        (entry.kind, {key: value for key, value in entry.facts.items() if key != "run_id"}) for entry in entries
    ]
    database = home / "mlflow" / "mlflow.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as open_database:
            for name, question in _QUESTIONS.items():
                found[name] = [
                    tuple(
                        _IDS.sub("*", value.replace(str(at or home), "")) if isinstance(value, str) else value
                        for value in row
                    )
                    for row in sorted(open_database.execute(question).fetchall(), key=repr)
                ]
    found["artifacts"] = sorted(
        _IDS.sub("*", f"{path.relative_to(home)} {'' if path.name in _TIMED else _digest(path.read_bytes())[:16]}")
        for path in (home / "mlflow" / "artifacts").rglob("*")
        if path.is_file()
    )
    for path in (home / "mlflow" / "artifacts").rglob(SIGNATURE):
        check_folder(path.parent, path, SiteKey.of(home / "keys", make=False), "a model that was registered")
    return found


_TIMED = ("MLmodel", SIGNATURE)
"""Artifacts that hold MLflow's ids and times, or a random number: a signature is checked instead."""
_QUESTIONS = {
    "runs": "select name, status, lifecycle_stage from runs",
    "versions": "select name, version, current_stage, status, source from model_versions",
    "alias": "select name, alias, version from registered_model_aliases",
    "models": "select name, status, lifecycle_stage from logged_models",
    "params": "select key, value from params",
    "metrics": "select key, value, step from metrics",
    "latest": "select key, value, step from latest_metrics",
    "datasets": "select name, digest from datasets",
    "inputs": "select source_type, destination_type from inputs",
    "model metrics": "select metric_name, metric_step, metric_value, dataset_digest from logged_model_metrics",
    "tags": "select key, value from tags",
    "version tags": "select key, value from model_version_tags",
    "model tags": "select tag_key, tag_value from logged_model_tags",
}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs between two worlds, by name."""
    told = []
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name), theirs.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            told += [f"{name}: {key}" for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
        else:
            one, other = list(one or []), list(other or [])
            told.append(
                f"{name}: now {[each for each in one if each not in other][:5]} ({len(one)}),"
                f" undisturbed {[each for each in other if each not in one][:5]} ({len(other)})"
            )
    return told


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say something at once, past pytest: a loop of hours shows how far it is."""

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    return say


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One for all tests: its start takes as long as TensorFlow's import."""
    road = Road(tmp_path_factory.mktemp("road"))
    yield road
    road.stop()


@pytest.fixture(scope="session")
def undisturbed(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """Problem → its undisturbed run, with the points, the world it left and a copy of the home after each stage."""
    made: dict[str, Undisturbed] = {}

    def run(problem: str) -> Undisturbed:
        if problem not in made:
            folder = tmp_path_factory.mktemp(problem)
            home, copies = folder / "home", folder / "copies"
            started = time.perf_counter()
            ended = road.train(home, problem, marked=True, copies=copies)
            assert ended.status == 0, ended.told
            made[problem] = Undisturbed(
                problem, home, copies, ended, world(home, problem), time.perf_counter() - started
            )
        return made[problem]

    return run


@dataclass
class Undisturbed:
    """An undisturbed run.

    Attributes:
        home: at this very place every killed run has its home, too.
        copies: folders of the home after each stage, named by the point's number.
        ended, world, seconds: how it ended, what it left, how long it took.
    """

    problem: str
    home: Path
    copies: Path
    ended: Ended
    world: dict[str, Any]
    seconds: float

    def copy_before(self, stage: str) -> Path | None:
        """The home as it was before a stage began."""
        first = "before sync spool/" if stage == "register" else f"before sync store/{stage}/"
        points = enumerate(self.ended.points, start=1)
        return self.before(next(number for number, name in points if name.startswith(first)))[1]

    def states(self) -> list[int]:
        """Numbers of the points (from 1) to kill at: the last one of each row of points with the same bytes on disk.

        Commits of MLflow's database stand for themselves, in one of the two problems, as they are the same in both; of
        those that make its empty tables, beside its final name, every tenth is taken.
        """
        marks = [*self.ended.marks, ""]
        made = next(number for number, name in enumerate(self.ended.points) if "rename mlflow/mlflow.db" in name)
        found = []
        for number, name in enumerate(self.ended.points, start=1):
            if "sql" in name:
                taken = self.problem == "pictures" and (number > made or number % 10 == 0)
            else:
                taken = marks[number] != marks[number - 1] or "batch" in name
            if taken:
                found.append(number)
        return found

    def before(self, point: int) -> tuple[int, Path | None]:
        """The last copy before a point: its number and folder; 0 and None for an empty home."""
        numbers = sorted(int(path.name) for path in self.copies.iterdir())
        number = max((each for each in numbers if each < point), default=0)
        return number, self.copies / str(number) if number else None

    def after(self, point: int) -> tuple[str, Path] | None:
        """Where the stage of a point is done: the name of its last point, and the copy of the home taken there.

        None where a recovery does not get there: the stage was committed at the point, or all that it notes was noted,
        or it acts on the world.
        """
        numbers = sorted(int(path.name) for path in self.copies.iterdir())
        number = min((each for each in numbers if each >= point), default=0)
        points = self.ended.points
        committed = any(
            re.match(r"after rename store/[a-z]+/[0-9a-f*]+$", name) for name in points[self.before(point)[0] : point]
        )
        if number in (0, point) or committed or any("mlflow" in name for name in points[:number]):
            return None
        return points[number - 1], self.copies / str(number)

    def finished_epochs(self, point: int) -> int:
        """How many epochs were on disk at a point."""
        return sum(
            name.startswith("after rename scratch/fit/") and name.endswith("epoch.npz")
            for name in self.ended.points[:point]
        )

    def fitting(self, point: int) -> bool:
        """Whether the net is not yet committed at a point."""
        committed = re.compile(r"after rename store/fit/[0-9a-f]+$")
        return not any(committed.match(name) for name in self.ended.points[:point])
