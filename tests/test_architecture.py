"""Laws that no linter keeps: what the command line may import, and how long it may take to answer."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"prefect", "tensorflow", "keras", "mlflow", "great_expectations", "polars", "numpy", "pandas", "sklearn"}
PATIENCE = 15.0
"""Seconds: twenty times what it takes on an idle machine, so that a busy one does not fail."""

SCRIPT = """
import sys
sys.argv = ["medai", *{arguments!r}]
from flows.cli import main
try:
    status = main()
except SystemExit as end:
    status = end.code
print("IMPORTED", *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["rollback", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """Whoever asks how it works is answered at once, and no state folder is made for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(arguments=arguments, heavy=HEAVY)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "MEDAI_HOME": str(tmp_path / "home")},
        timeout=60,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < PATIENCE
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert done.stderr.splitlines()[-1] == "IMPORTED"
    assert list(tmp_path.iterdir()) == []


def test_reading_a_problem_imports_no_engine() -> None:
    """A Problem is checked before any work, so checking it must not cost the import of what does the work."""
    code = (
        "import sys; from medai.problem import catalogue, load_problem\n"
        "for name in catalogue(): load_problem(name)\n"
        f"print(sorted({HEAVY - {'numpy'}!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_library_reads_no_environment_and_prints_nothing() -> None:
    """Where and who are handed to it: no os.environ, no getenv, no print below medai."""
    for path in sorted((ROOT / "medai").rglob("*.py")):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith((">>>", "#")))
        for forbidden in (r"os\.environ", r"\bgetenv\(", r"\bprint\("):
            assert not re.search(forbidden, text), f"{path.relative_to(ROOT)}: {forbidden}"


def test_every_flow_takes_the_ledger_as_the_settings_have_it() -> None:
    """By one function: a ledger without the site's key or the machines' lock would write beside the others."""
    for path in sorted((ROOT / "flows").rglob("*.py")):
        if path.name != "governance.py":
            assert " Ledger(" not in path.read_text(), f"{path.relative_to(ROOT)}: use ledger_of(settings)"
