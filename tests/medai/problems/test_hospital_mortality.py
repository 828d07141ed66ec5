"""The synthetic hospital's stays on the pure road, from its tables to arrays; nobody looks ahead."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from medai.cohort import Stays, select
from medai.ingestion import ingest
from medai.preprocessing import prepare
from medai.problem import load_problem
from medai.records import Arrays, Cohort, sha256_of_file
from medai.sources.synthetic import SyntheticHospital, generate
from medai.splitting import split
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

PROBLEM = load_problem("hospital_mortality")
GOLDEN = {
    "sample": {
        "elapsed": "64d2a6d15de6e434",
        "last": "786768b5074dd492",
        "mask": "fa5f1428e095cec8",
        "static": "d313207c4fd01d04",
        "summaries": "80152721fbb445e0",
    },
    "stay": {
        "begin": "83b0b1bf227705ad",
        "elapsed": "78e1f8617b6d8c84",
        "last": "bb096886cb5080d7",
        "length": "dc45e8ce96accb6d",
        "mask": "8e44bfbcf9054740",
        "static": "9411d7d346628cf9",
        "summaries": "87de9120b54c797e",
    },
}
"""First digits of the arrays' SHA-256, a layout: taken when one process read the events part by part. They change with
the generator, the reader, or VERSION of the series."""


class Prepared(NamedTuple):
    """What came of a hospital."""

    workspace: Workspace
    cohort: Cohort
    arrays: Arrays
    roles: pl.DataFrame

    def load(self, name: str) -> np.ndarray:
        """One of the arrays."""
        folder = self.workspace.folder("prepare", self.arrays.key)
        array: np.ndarray = np.load(folder / self.arrays.arrays[name].file)
        return array


def walk(raw: Path, home: Path) -> Prepared:
    """From raw files to arrays."""
    workspace = Workspace(home)
    snapshot = ingest(workspace, PROBLEM.input.source, raw).record
    quality = validate(workspace, snapshot, catalogue_suite("mimic4")).record
    cohort = select(workspace, snapshot, quality, PROBLEM.cohort, PROBLEM.outputs).record
    splits = split(workspace, snapshot, cohort, PROBLEM.split).record
    arrays = prepare(workspace, snapshot, quality, cohort, PROBLEM.input.preprocessing).record
    table = pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")
    roles = pl.read_parquet(workspace.folder("split", splits.key) / "splits.parquet")
    return Prepared(workspace, cohort, arrays, table.join(roles, on="sample_id"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital of 400 patients without planted faults."""
    config = SyntheticHospital(kind="synthetic", layout="hospital", subjects=400, mortality=0.3, faults=0, size=32)
    return generate(config, tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Its cohort and arrays."""
    return walk(raw, tmp_path_factory.mktemp("home"))


def test_the_hospital_becomes_arrays(prepared: Prepared) -> None:
    """Every role has both outcomes; every variable is measured in most stays; the groups are there."""
    cohort = prepared.cohort
    assert cohort.classes["death"]["died"] > 20
    assert cohort.groups == ("gender", "age_group", "race_group", "insurance")
    outcomes = prepared.roles.group_by("role").agg(pl.col("death").n_unique())
    assert outcomes.height == 4
    assert outcomes["death"].to_list() == [2, 2, 2, 2]
    mask = prepared.load("mask")
    assert mask.shape == (cohort.samples, 24, 15)
    measured = mask.any(axis=1).mean(axis=0)
    assert (measured > 0.3).all()
    static = prepared.load("static")
    assert not np.isnan(static).any()


def test_the_arrays_are_golden(raw: Path, prepared: Prepared) -> None:
    """However the work on the events is cut and shared, both layouts have the bytes that they always had."""
    workspace = prepared.workspace
    snapshot = ingest(workspace, PROBLEM.input.source, raw).record
    quality = validate(workspace, snapshot, catalogue_suite("mimic4")).record
    hourly = select(workspace, snapshot, quality, Stays(kind="stays", every_hours=4, first_hours=6), {}).record
    stays = prepare(workspace, snapshot, quality, hourly, PROBLEM.input.preprocessing).record
    for arrays in (prepared.arrays, stays):
        folder = workspace.folder("prepare", arrays.key)
        found = {name: sha256_of_file(folder / file.file)[:16] for name, file in arrays.arrays.items()}
        assert found == GOLDEN[arrays.layout]


def test_later_events_change_nothing(raw: Path, prepared: Prepared, tmp_path: Path) -> None:
    """What was stored later than 24 hours into a stay may be anything: the arrays are the same bytes."""
    definition = PROBLEM.cohort
    assert isinstance(definition, Stays)
    starts: dict[str, np.datetime64] = {}
    with gzip.open(raw / "icu" / "icustays.csv.gz", "rt") as stays:
        for row in csv.DictReader(stays):
            starts[row["stay_id"]] = np.datetime64(row["intime"])
    altered = tmp_path / "altered"
    changed = 0
    for file in raw.rglob("*.csv.gz"):
        target = altered / file.relative_to(raw)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.name != "chartevents.csv.gz":
            target.write_bytes(file.read_bytes())
            continue
        with gzip.open(file, "rt") as source, gzip.open(target, "wt", compresslevel=1) as out:
            reader = csv.DictReader(source)
            writer = csv.DictWriter(out, reader.fieldnames or [], lineterminator="\n")
            writer.writeheader()
            for row in reader:
                known = max(np.datetime64(row["charttime"]), np.datetime64(row["storetime"]))
                # A patient may have several stays: only what is later than each of them by a day may change.
                if known > starts[row["stay_id"]] + np.timedelta64(definition.observation_hours, "h"):
                    row["value"] = row["valuenum"] = "55"
                    changed += 1
                writer.writerow(row)
    assert changed > 1000
    other = walk(altered, tmp_path / "home")
    for name in prepared.arrays.arrays:
        assert np.array_equal(other.load(name), prepared.load(name), equal_nan=True), name
