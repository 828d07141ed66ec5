"""How a stage shows on Prefect's page: made or reused, its artifacts, its failure; no record is kept by Prefect."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import flows

SCRIPT = """
import os, sys
from pathlib import Path
from flows.services.prefect_server import early_prefect_server
from flows.settings import Settings
settings = Settings.load(home=Path(sys.argv[1])); settings.apply()
server = early_prefect_server(settings)
os.environ["PREFECT_API_URL"] = server.api_url
from prefect import flow
from prefect.artifacts import create_table_artifact
from medai.errors import DataRefused
from medai.records import Generated
from medai.workspace import Made, Workspace
from tasks.stage import stage

def walk(workspace: Workspace, key: str) -> Made[Generated]:
    "Make a record."
    def build(folder):
        if key == "f" * 32:
            raise DataRefused("a row is ragged", expected="3", received="2", action="mend it")
        return Generated(key=key, layout="rounds", path="x")
    return workspace.materialise("walk", key, Generated, build)

step = stage(walk, run_name="walk-{key}", show=lambda made: create_table_artifact([{"key": made.key}], key="rounds"))
assert (step.__name__, step.__doc__) == ("walk", "Make a record.")

@flow(persist_result=False)
def ward():
    workspace = Workspace(settings.home)
    for _ in range(2):
        made = step(workspace, "a" * 32)
        print(made.reused, made.record.path, made.seconds < 60)
    try:
        step(workspace, "f" * 32)
    except DataRefused as error:
        print(error.wrong, error.exit_status)

server.wait()
ward()
server.stop()
"""


def test_a_stage_is_a_task_that_ends_completed_reused_or_failed(tmp_path: Path) -> None:
    """The record is handed on in memory; the page tells made from reused, and an error keeps its class."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_", "MLFLOW_"))
    }
    root = str(Path(flows.__file__).parents[1])
    walked = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment | {"PYTHONPATH": root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert walked.returncode == 0, walked.stderr
    assert walked.stdout.splitlines() == ["False x True", "True x True", "a row is ragged 3"]
    with contextlib.closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        states = database.execute("select name, state_type, state_name from task_run order by start_time").fetchall()
        artifacts = database.execute("select key, data from artifact where key is not null").fetchall()
    name = f"walk-{'a' * 32}"
    assert states == [
        (name, "COMPLETED", "Completed"),
        (name, "COMPLETED", "Reused"),
        (f"walk-{'f' * 32}", "FAILED", "Failed"),
    ]
    assert [key for key, _ in artifacts] == ["rounds"]
    assert list((tmp_path / "prefect").glob("storage/*")) == []
