"""ACES itself says whom a definition finds: the same samples, prediction times and labels on generated records."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import Windows
from medai.cohort.attrition import Attrition
from medai.cohort.extraction import extracted

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv" / "aces" / "bin" / "python"
PREDICATES: dict[str, Any] = {
    "admission": {"code": {"prefix": "ADMISSION//"}},
    "discharge": {"code": {"regex": "^DISCHARGE//(HOME|WARD)$"}},
    "death": {"code": "MEDS_DEATH"},
    "end_of_stay": {"any_of": ["discharge", "death"]},
    "rate": {"code": {"any": ["RATE", "PULSE"]}},
    "fast": {"code": "RATE", "value_min": 100.0, "value_min_inclusive": True},
    "slow": {"code": "RATE", "value_max": 60.0},
    "fast_discharge": {"all_of": ["discharge", "rate"]},
}
DAY = {"start": "trigger", "end": "start + 24h", "start_inclusive": True, "end_inclusive": True}


def definition(trigger: str, windows: dict[str, Any], **predicates: Any) -> dict[str, Any]:
    """A definition on the generated records."""
    return {"kind": "windows", "predicates": PREDICATES | predicates, "trigger": trigger, "windows": windows}


def named(exclusive: str = "", **keys: Any) -> dict[str, Any]:
    """A window; ``exclusive`` names the ends that do not count."""
    return {"start_inclusive": "s" not in exclusive, "end_inclusive": "e" not in exclusive, **keys}


DEFINITIONS = {
    "in-hospital mortality with a gap": definition(
        "admission",
        {
            "input": {**DAY, "has": {"rate": {"min": 2}, "end_of_stay": {"max": 0}}, "index_timestamp": "end"},
            "gap": named("s", start="input.end", end="start + 6h", has={"end_of_stay": {"max": 0}}),
            "target": named("s", start="gap.end", end="start -> end_of_stay", label="death"),
        },
    ),
    "readmission within a week of discharge": definition(
        "discharge",
        {
            "history": named(start=None, end="trigger", has={"rate": {"min": 1, "max": 30}}, index_timestamp="end"),
            "target": named("s", start="trigger", end="start + 7d", has={"death": {"max": 0}}, label="admission"),
        },
    ),
    "the last day of a stay": definition(
        "discharge",
        {
            "stay": named(
                "e", start="end <- admission", end="trigger", has={"rate": {"min": 1}}, index_timestamp="start"
            ),
            "day": named("s", start="end - 24h", end="trigger", has={"fast": {"max": 2}}),
            "later": named("s", start="trigger", end=None, label="fast"),
        },
    ),
    "chained windows of events": definition(
        "admission",
        {
            "first": named(start="trigger", end="start -> fast", has={"slow": {"max": 3}}),
            "second": named("se", start="first.end", end="start -> slow", index_timestamp="end"),
            "third": named("e", start="second.end", end="start + 2 days", has={"rate": {"min": 1}}, label="fast"),
        },
    ),
    "ends that do not count": definition(
        "rate",
        {
            "before": named("se", start="end - 12h", end="trigger", has={"rate": {"min": 1}}),
            "after": named("e", start="trigger", end="start + 12h", has={"rate": {"max": 4}}, index_timestamp="end"),
            "target": named("s", start="after.end", end="start + 3d", label="end_of_stay"),
        },
    ),
    "after an hour, until a pulse at a discharge": definition(
        "admission",
        {
            "wait": named(start="trigger", end="start + 1h"),
            "target": named(
                "s", start="wait.end", end="start -> fast_discharge", label="slow", index_timestamp="start"
            ),
        },
    ),
    "women only": definition(
        "admission", {"input": {**DAY, "index_timestamp": "end"}}, woman={"code": "GENDER//F", "static": True}
    ),
    "anything that follows": definition(
        "_ANY_EVENT",
        {"day": named("s", start="trigger", end="start + 1d", has={"_ANY_EVENT": {"min": 3}}, index_timestamp="end")},
    ),
}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 subjects in the shape of MEDS, many events at whole hours so that moments and ends coincide."""
    generator = np.random.default_rng(7)
    codes = ["ADMISSION//EW", "ADMISSION//ER", "DISCHARGE//HOME", "DISCHARGE//WARD", "DISCHARGE//", "RATE", "PULSE"]
    weights = np.array([2, 1, 2, 1, 1, 10, 4]) / 21
    rows = []
    for subject in range(200):
        if generator.random() < 0.5:
            rows.append((subject, None, "GENDER//F", None))
        hours = np.sort(generator.integers(0, 300, size=generator.integers(1, 60)) * generator.choice([1.0, 0.5]))
        for hour in hours:
            code = str(generator.choice(codes, p=weights))
            number = float(generator.integers(4, 14) * 10) if code in ("RATE", "PULSE") else None
            rows.append((subject, hour, code, number))
        if generator.random() < 0.3:
            rows.append((subject, hours[-1] + 5, "MEDS_DEATH", None))
    start = datetime(2110, 1, 1)
    table = pl.DataFrame(rows, schema=["subject_id", "hour", "code", "numeric_value"], orient="row").select(
        pl.col("subject_id").cast(pl.Int64),
        (pl.lit(start) + pl.duration(minutes=pl.col("hour") * 60)).cast(pl.Datetime("us")).alias("time"),
        "code",
        pl.col("numeric_value").cast(pl.Float32),
    )
    path = tmp_path_factory.mktemp("aces") / "events.parquet"
    table.write_parquet(path)
    return path


def in_aces_words(ours: dict[str, Any]) -> dict[str, Any]:
    """The same definition as ACES reads it."""
    predicates = {}
    for name, one in ours["predicates"].items():
        if "any_of" in one or "all_of" in one:
            word, parts = ("or", one["any_of"]) if "any_of" in one else ("and", one["all_of"])
            predicates[name] = {"expr": f"{word}({', '.join(parts)})"}
        elif isinstance(one["code"], dict) and "prefix" in one["code"]:
            predicates[name] = {**one, "code": {"regex": "^" + re.escape(one["code"]["prefix"])}}
        else:
            predicates[name] = dict(one)
    windows = {
        name: {
            **window,
            "has": {
                predicate: f"({bounds.get('min')}, {bounds.get('max')})"
                for predicate, bounds in window.get("has", {}).items()
            },
        }
        for name, window in ours["windows"].items()
    }
    static = {name: one for name, one in predicates.items() if one.pop("static", False)}
    words = {"predicates": predicates, "trigger": ours["trigger"], "windows": windows}
    return words | ({"patient_demographics": static} if static else {})


@pytest.mark.parametrize("name", DEFINITIONS)
def test_aces_finds_the_same(name: str, events: Path, tmp_path: Path) -> None:
    """Equal sets of subject, trigger, prediction time and label."""
    if not PYTHON.exists():
        pytest.skip("ACES is not installed beside medai: make oracle-aces")
    ours = DEFINITIONS[name]
    (tmp_path / "definition.yaml").write_text(json.dumps(in_aces_words(ours)))
    runner = ROOT / "tests" / "oracles" / "aces_cohort.py"
    files = [tmp_path / "definition.yaml", events, tmp_path / "theirs.parquet"]
    ran = subprocess.run([PYTHON, runner, *files], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    # Where an end does not exist ACES leaves a row without a trigger, which is no sample.
    theirs = pl.read_parquet(tmp_path / "theirs.parquet").drop_nulls("trigger")
    table = pl.read_parquet(events).with_columns(pl.lit(None, pl.String).alias("variable"))
    attrition = Attrition()
    samples = extracted(table, Windows.model_validate(ours), attrition)
    columns = ["subject_id", "trigger", pl.col("index_timestamp").alias("prediction_time")]
    if "label" in theirs.columns:
        columns.append((pl.col("label") > 0).cast(pl.Int64).alias("label"))
    expected = theirs.select(columns).sort("subject_id", "trigger")
    assert 20 < expected.height < attrition.lines()[-len(ours["windows"]) - 1].samples + 1
    assert samples.rows() == expected.rows()
