"""What changed in the data between two runs is told; nothing is where there is nothing to compare with."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from flows.drift import facts, remember, since_last_run
from medai.ingestion import ingest
from medai.problem import load_problem
from medai.records import Snapshot
from medai.sources.synthetic import SyntheticDatabase
from medai.sources.synthetic.database import write_database
from medai.workspace import Workspace


def snapshot_of(workspace: Workspace, raw: Path) -> Snapshot:
    """The raw folder as the problem's source reads it."""
    return ingest(workspace, load_problem("mimic4_mortality").input.source, raw).record


def test_a_unit_that_changed_is_told(tmp_path: Path) -> None:
    """Half of the temperatures' items gone: told once a run of other data was made, and not for the same data."""
    config = SyntheticDatabase(kind="synthetic", layout="mimic4", subjects=120, seed=3, intensive=0.5, compressed=False)
    (tmp_path / "raw").mkdir()
    raw = write_database(config, tmp_path / "raw")
    workspace = Workspace(tmp_path / "home")
    first = snapshot_of(workspace, raw)
    assert since_last_run(workspace, "mimic4_mortality", first) is None
    remember(workspace, "mimic4_mortality", first)
    assert since_last_run(workspace, "mimic4_mortality", first) is None

    chart = raw / "icu" / "chartevents.csv"
    table = pl.read_csv(chart, infer_schema=False)
    table.filter(pl.col("itemid") != "220045").write_csv(chart)
    second = snapshot_of(workspace, raw)
    drift = since_last_run(workspace, "mimic4_mortality", second)
    assert drift is not None
    assert [one.variable for one in drift.vanished] == ["heart_rate"]
    assert drift.appeared == ()
    told = facts(drift)
    assert told is not None
    assert told["vanished"][0]["code"] == "CHART//220045//bpm"
    assert since_last_run(workspace, "another_problem", second) is None
