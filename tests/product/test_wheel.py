"""The wheel in an environment of its own: medai works from any folder, and whatever that folder holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SHADOW = 'raise RuntimeError("a file of the working folder was imported")\n'

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without what this process's environment says of Python or medai."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MEDAI_", "VIRTUAL"))
    }
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``medai`` command of an environment that holds the locked packages and the wheel, not this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("medai-*.whl")
    call(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    synced = call(
        UV,
        "pip",
        "sync",
        "--quiet",
        "--offline",
        "--python",
        python,
        "--require-hashes",
        ROOT / "requirements.lock",
        cwd=folder,
    )
    if synced.returncode != 0:
        pytest.skip("the locked packages are not in uv's cache: run `make install` first")
    placed = call(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel, cwd=folder)
    assert placed.returncode == 0, placed.stderr
    return folder / "venv" / "bin" / "medai"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with modules of its own that are named like medai's packages."""
    for name in ("tasks", "flows", "medai", "expectations"):
        (tmp_path / f"{name}.py").write_text(SHADOW)
    return tmp_path


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The object printed by a command that succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_catalogue_and_the_suites_travel_along(installed: Path, elsewhere: Path) -> None:
    """Every problem of the checkout is listed, and each resolves with its suite."""
    listed = answer(call(installed, "problems", "--json", cwd=elsewhere))["problems"]
    assert set(listed) == {path.stem for path in (ROOT / "medai" / "problems").glob("*.yaml")}
    for name in listed:
        assert answer(call(installed, "show", name, "--json", cwd=elsewhere))["name"] == name


def test_the_road_is_walked_from_any_folder(installed: Path, elsewhere: Path) -> None:
    """A problem and a suite by path, generated data, a decision and its report; the folder's own modules stay out."""
    problem = yaml.safe_load((ROOT / "medai" / "problems" / "synthetic_pictures.yaml").read_text())
    problem |= {"name": "mine", "validation": {"suite": "mine_suite.yaml"}}
    problem["data"]["subjects"] = 200
    problem["training"]["epochs"] = 1
    problem["baselines"] = {}
    (elsewhere / "mine.yaml").write_text(yaml.safe_dump(problem))
    shutil.copy(ROOT / "expectations" / "suites" / "medmnist.yaml", elsewhere / "mine_suite.yaml")
    outcome = answer(call(installed, "run", "./mine.yaml", "--json", cwd=elsewhere))
    assert outcome["decision"] in ("promoted", "refused", "insufficient_evidence")
    assert Path(outcome["report"]).is_file()
    assert (elsewhere / ".medai" / "audit.jsonl").is_file()
    history = answer(call(installed, "history", "./mine.yaml", "--json", cwd=elsewhere))
    assert history["problem"] == "mine"
