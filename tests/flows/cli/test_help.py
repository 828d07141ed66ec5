"""What the command line tells of itself, and how little it imports for that."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from medai import __version__

HEAVY = ("tensorflow", "keras", "great_expectations", "mlflow", "sklearn", "onnxruntime", "matplotlib", "pandas")


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


def test_the_version_is_told(medai: Any, home: Path) -> None:
    """As ``medai --version``."""
    answer = medai("--version", home=home)
    assert (answer.status, answer.out) == (0, f"medai {__version__}\n")


def test_the_readme_names_the_commands_without_json(medai: Any, home: Path) -> None:
    """A script that relies on the sentence is not refused: every command but these takes ``--json``."""
    told = re.search(r"Each but (.+) takes `--json`", (Path(__file__).parents[3] / "README.md").read_text())
    assert told is not None
    without = set(re.findall(r"`(\w+)`", told[1]))
    named = re.findall(r"^  ([a-z]+)  +[A-Z]", medai("--help", home=home).out, re.MULTILINE)
    groups = {"audit", "export", "stack"}
    alone = [name for name in named if name not in groups]
    assert {name for name in alone if "--json" not in medai(name, "--help", home=home).out} == without


def test_make_lists_every_target_that_explains_itself() -> None:
    """A digit in its name hides none."""
    root = Path(__file__).parents[3]
    listed = subprocess.run(["make", "help"], cwd=root, check=True, capture_output=True, text=True).stdout
    explained = re.findall(r"^([\w-]+):.*## ", (root / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make ([\w-]+)", listed, re.MULTILINE) == explained
