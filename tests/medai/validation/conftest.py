"""Small tables after the two canonical shapes, and Great Expectations' own pandas engine as the judge to agree with."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from medai.records import Snapshot
from medai.validation import Rule
from medai.workspace import Workspace

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

START = datetime(2020, 1, 1)
ROLES = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10


class PandasVerdict(NamedTuple):
    """What Great Expectations says when it sees the rows itself."""

    success: bool
    rows: list[int] | None


@pytest.fixture(scope="session")
def judged_by_pandas() -> Callable[[pl.DataFrame, list[Rule]], list[PandasVerdict]]:
    """A judge: full validation of a table by Great Expectations' pandas engine with the COMPLETE result format."""
    import great_expectations as gx

    from medai.validation.judging import configurations

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    batches = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    whole = batches.add_batch_definition_whole_dataframe("whole")

    def judge(table: pl.DataFrame, rules: list[Rule]) -> list[PandasVerdict]:
        declared = configurations(rules)
        for index, configuration in enumerate(declared):  # results come back grouped by column
            configuration["meta"]["index"] = index
        suite = gx.ExpectationSuite(name="suite", expectations=declared)
        batch = whole.get_batch({"dataframe": table.to_pandas()})
        results = batch.validate(suite, result_format="COMPLETE").results
        assert len(results) == len(rules)
        verdicts: list[PandasVerdict | None] = [None] * len(rules)
        for result in results:
            index = int(result.expectation_config.meta["index"])
            verdicts[index] = PandasVerdict(bool(result.success), result.result.get("unexpected_index_list"))
        return [verdict for verdict in verdicts if verdict is not None]

    return judge


@pytest.fixture
def images() -> dict[str, pl.DataFrame]:
    """A clean snapshot of 60 pictures."""
    number = len(ROLES)
    rng = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "row_id": range(number),
            "subject_id": range(number),
            "publisher_role": ROLES,
            "frame": [0] * number,
            "height": [28] * number,
            "width": [28] * number,
            "channels": [1] * number,
            "bits": [8] * number,
            "mean": rng.uniform(50, 200, number),
            "std": rng.uniform(10, 60, number),
            "minimum": rng.integers(0, 20, number),
            "maximum": rng.integers(200, 255, number),
            "content_hash": [f"{one:064x}" for one in range(number)],
            "twin_of": [None] * number,
            "copy_number": [0] * number,
            "label_conflict": [False] * number,
        },
        schema_overrides={
            "height": pl.Int32,
            "width": pl.Int32,
            "channels": pl.Int8,
            "bits": pl.Int8,
            "mean": pl.Float32,
            "std": pl.Float32,
            "minimum": pl.Int32,
            "maximum": pl.Int32,
            "twin_of": pl.String,
            "copy_number": pl.Int32,
        },
    )
    return {"images": table, "labels": pl.DataFrame({"row_id": range(number), "label": [0, 1] * (number // 2)})}


NORMAL = {
    "Age": 70, "Gender": 1, "Height": 170, "ICUType": 3, "Albumin": 3, "ALP": 80, "ALT": 30, "AST": 30, "Bilirubin": 1,
    "BUN": 20, "Cholesterol": 160, "Creatinine": 1, "DiasABP": 60, "FiO2": 0.21, "GCS": 15, "Glucose": 120, "HCO3": 24,
    "HCT": 35, "HR": 80, "K": 4, "Lactate": 1, "MAP": 80, "MechVent": 1, "Mg": 2, "Na": 140, "NIDiasABP": 60,
    "NIMAP": 80, "NISysABP": 120, "PaCO2": 40, "PaO2": 90, "pH": 7.4, "Platelets": 200, "RespRate": 15, "SaO2": 97,
    "SysABP": 120, "Temp": 37, "TroponinI": 0.3, "TroponinT": 0.01, "Urine": 60, "WBC": 9, "Weight": 80,
}  # fmt: skip
"""A reading of each variable that nobody would set aside."""

STATIC = ("Age", "Gender", "Height", "ICUType", "Weight")


@pytest.fixture
def events() -> dict[str, pl.DataFrame]:
    """A clean snapshot of 4 stays with one reading of each variable."""
    rows = [(subject, code, float(value)) for subject in range(4) for code, value in NORMAL.items()]
    times = [None if code in STATIC else START + timedelta(minutes=7 * at) for at, (_, code, _) in enumerate(rows)]
    table = pl.DataFrame(
        {
            "subject_id": [row[0] for row in rows],
            "time": times,
            "code": [row[1] for row in rows],
            "variable": [row[1] for row in rows],
            "numeric_value": [row[2] for row in rows],
            "text_value": [None] * len(rows),
            "known_time": [time or START for time in times],
            "row_id": range(len(rows)),
            "source_row": range(len(rows)),
        },
        schema_overrides={
            "time": pl.Datetime("us"),
            "known_time": pl.Datetime("us"),
            "numeric_value": pl.Float32,
            "text_value": pl.String,
            "source_row": pl.Int32,
        },
    )
    stays = pl.DataFrame(
        {
            "row_id": range(4),
            "subject_id": range(4),
            "stay_id": range(4),
            "admission_id": range(4),
            "start": [START] * 4,
            "end": [START + timedelta(hours=48)] * 4,
            "publisher_role": ["train"] * 4,
            "has_series": [True] * 4,
        },
        schema_overrides={"start": pl.Datetime("us"), "end": pl.Datetime("us")},
    )
    labels = pl.DataFrame(
        {
            "stay_id": range(4),
            "in_hospital_death": [0, 1, None, 0],
            "length_of_stay": [5, 10, None, 3],
            "survival": [None, 9, None, 30],
            "saps_i": [10, 20, None, 12],
            "sofa": [1, 8, None, 2],
        }
    )
    return {"events": table, "stays": stays, "labels": labels}


@pytest.fixture
def snapshot_of(tmp_path: Path) -> Callable[..., tuple[Workspace, Snapshot]]:
    """Write tables as a finished ingestion and return its workspace and record."""
    made = 0

    def write(tables: dict[str, pl.DataFrame], shape: str = "images") -> tuple[Workspace, Snapshot]:
        nonlocal made
        made += 1
        snapshot = Snapshot.model_validate(
            {
                "key": f"{made:032x}",
                "shape": shape,
                "source": "fixture",
                "unit": "image" if shape == "images" else "stay",
                "data_sha256": "0" * 64,
                "tables": {name: table.height for name, table in tables.items()},
            }
        )
        workspace = Workspace(tmp_path / "home")
        folder = workspace.folder("ingest", snapshot.key)
        folder.mkdir(parents=True)
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet")
        return workspace, snapshot

    return write


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[[str], Path]:
    """Write a suite's text to a file."""

    def write(text: str) -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def rule_of() -> Callable[..., Rule]:
    """A rule from its type and arguments, with the rest filled in."""

    def make(kind: str, action: str = "warn", reason: str = "reason", **kwargs: Any) -> Rule:
        return Rule.model_validate(
            {
                "type": kind,
                "table": "table",
                "kwargs": kwargs,
                "severity": "warning",
                "reason": reason,
                "action": action,
                "why": "A reason.",
            }
        )

    return make
