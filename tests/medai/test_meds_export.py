"""What medai exports is MEDS by the standard's own schemas, names nobody, and comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meds
import polars as pl
import pyarrow.parquet as pq
import pytest

from medai.cohort import Stays, select
from medai.ingestion import ingest
from medai.meds_export import Asked, export_meds, labels_of
from medai.outputs import Binary, Multiclass, Multilabel
from medai.records import Cohort, Snapshot, sha256_of_file
from medai.sources.meds import Meds
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.synthetic import Synthetic, SyntheticHospital, generate
from medai.splitting import KeyedHash, split
from medai.tables import read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

DEATH = Binary(kind="binary", label="in_hospital_death", classes={0: "survived", 1: "died"}, positive="died")
SPLIT = KeyedHash(kind="keyed_hash", key="k", fractions={"test": 0.3, "gate": 0.2, "validation": 0.2, "train": 0.3})
COHORT = Stays(kind="stays", observation_hours=24)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A synthetic hospital: its snapshot, what a Problem makes of it, and the folders of both."""
    folder = tmp_path_factory.mktemp("hospital")
    made = SyntheticHospital(kind="synthetic", layout="hospital", subjects=60, faults=0.2, size=32)
    raw = generate(made, folder)
    workspace = Workspace(folder / "home")
    snapshot = ingest(workspace, Mimic4(kind="mimic4"), raw).record
    quality = validate(workspace, snapshot, catalogue_suite("mimic4"), 0.9).record
    cohort = select(workspace, snapshot, quality, COHORT, {"death": DEATH}).record
    splits = split(workspace, snapshot, cohort, SPLIT).record
    asked = Asked(
        workspace.folder("validate", quality.key),
        workspace.folder("select", cohort.key),
        workspace.folder("split", splits.key),
        {"death": DEATH},
    )
    return {"workspace": workspace, "snapshot": snapshot, "cohort": cohort, "asked": asked, "raw": raw}


def exported(hospital: dict[str, Any], out: Path, *, asked: bool, rows: int = 1500) -> dict[str, int]:
    """Export into a new folder, in several shards."""
    out.mkdir()
    snapshot: Snapshot = hospital["snapshot"]
    folder = hospital["workspace"].folder("ingest", snapshot.key)
    return export_meds(snapshot, folder, out, hospital["asked"] if asked else None, rows)


def table_of(snapshot: Snapshot, workspace: Workspace, name: str) -> pl.DataFrame:
    """A table of a snapshot."""
    return pl.DataFrame(read_table(workspace.folder("ingest", snapshot.key) / f"{name}.parquet"))


def test_the_standards_own_schemas_accept_it(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Shards, codes, splits, labels and description, each by the package ``meds``; order and shards as it says."""
    out = tmp_path / "out"
    counts = exported(hospital, out, asked=True)
    shards = sorted((out / "data").iterdir())
    assert counts["shards"] == len(shards) > 3
    seen: set[int] = set()
    codes: set[str] = set()
    for shard in shards:
        table = pq.read_table(shard)
        meds.DataSchema.validate(table)
        rows = pl.DataFrame(table)
        subjects = rows["subject_id"].unique(maintain_order=True).to_list()
        assert not seen & set(subjects)
        seen |= set(subjects)
        assert rows["subject_id"].is_sorted()
        for (_subject,), own in rows.group_by("subject_id"):
            assert own["time"].is_sorted(nulls_last=False)
        codes |= set(rows["code"])
    metadata = pq.read_table(out / "metadata" / "codes.parquet")
    meds.CodeMetadataSchema.validate(metadata)
    assert set(metadata["code"].to_pylist()) == codes
    named = dict(zip(metadata["code"].to_pylist(), metadata["parent_codes"].to_pylist(), strict=True))
    assert named["CHART//220045//bpm"] == ["medai/heart_rate"]
    splits = pq.read_table(out / "metadata" / "subject_splits.parquet")
    meds.SubjectSplitSchema.validate(splits)
    assert set(splits["split"].to_pylist()) == {"train", "tuning", "gate", "held_out"}
    described = json.loads((out / "metadata" / "dataset.json").read_text())
    meds.DatasetMetadataSchema.validate(described)
    assert (described["etl_name"], described["meds_version"]) == ("medai", "0.4")
    assert "created_at" not in described
    labels = pq.read_table(out / "labels" / "death" / "0.parquet")
    meds.LabelSchema.validate(labels)
    cohort: Cohort = hospital["cohort"]
    assert labels.num_rows == counts["labels"] == cohort.samples
    assert sum(labels["boolean_value"].to_pylist()) == cohort.classes["death"]["died"]


def test_it_comes_back_as_it_was(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Events, stays and codes are equal, but for the publisher's row numbers, which are not exported."""
    exported(hospital, tmp_path / "out", asked=False)
    workspace, snapshot = hospital["workspace"], hospital["snapshot"]
    back = ingest(workspace, Meds(kind="meds"), tmp_path / "out").record
    before, after = (table_of(one, workspace, "events") for one in (snapshot, back))
    assert after.drop("source_row").equals(before.drop("source_row"))
    assert after["source_row"].is_null().all()
    before, after = (table_of(one, workspace, "stays") for one in (snapshot, back))
    same = [name for name in before.columns if name not in ("source_id", "content_hash")]
    assert after.select(same).equals(before.select(same))
    before, after = (table_of(one, workspace, "codes") for one in (snapshot, back))
    same = ["code", "source_table", "variable", "description", "readings", "numbers"]
    assert after.select(same).equals(before.select(same))
    assert back.counts == {"no_subject_splits": 1}
    assert validate(workspace, back, catalogue_suite("meds"), 0.9).record.passed


def test_a_problems_labels_make_the_same_samples(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Read back with its label file, the data set has one stay a prediction, with its side and its truth."""
    exported(hospital, tmp_path / "out", asked=True)
    workspace = hospital["workspace"]
    config = Meds(kind="meds", labels="labels/death", observation_hours=24)
    back = ingest(workspace, config, tmp_path / "out").record
    stays = table_of(back, workspace, "stays").join(table_of(back, workspace, "labels").drop("row_id"), on="stay_id")
    cohort = pl.DataFrame(read_table(hospital["asked"].cohort / "cohort.parquet"))
    splits = pl.DataFrame(read_table(hospital["asked"].splits / "splits.parquet"))
    expected = cohort.join(splits.select("sample_id", "role"), on="sample_id")
    both = expected.join(stays, left_on=["subject_id", "prediction_time"], right_on=["subject_id", "end"])
    assert both.height == cohort.height
    assert both["death"].equals(both["boolean_value"].rename("death").cast(both.schema["death"]))
    assert both["role"].equals(both["publisher_role_right"].rename("role"))


def test_what_validation_set_aside_is_left_out(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Of a Problem; a snapshot is written whole."""
    whole = exported(hospital, tmp_path / "whole", asked=False)
    kept = exported(hospital, tmp_path / "kept", asked=True)
    assert whole["set_aside"] == whole["labels"] == 0
    assert kept["set_aside"] > 0
    assert kept["events"] + kept["set_aside"] == whole["events"]
    assert kept["stays"] < whole["stays"]


def test_equal_snapshots_give_equal_bytes(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Every file, twice."""
    for name in ("one", "two"):
        exported(hospital, tmp_path / name, asked=True)
    files = [file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*") if file.is_file()]
    assert len(files) > 6
    for file in files:
        assert sha256_of_file(tmp_path / "one" / file) == sha256_of_file(tmp_path / "two" / file), file


def test_it_holds_none_of_the_sites_numbers(hospital: dict[str, Any], tmp_path: Path) -> None:
    """Neither patients nor admissions nor stays nor rows are called what the hospital calls them."""
    exported(hospital, tmp_path / "out", asked=True)
    folder = hospital["workspace"].folder("ingest", hospital["snapshot"].key)
    for name, column in (("", "subject_id"), ("admission_", "admission_id"), ("stay_", "stay_id")):
        site = set(pl.read_parquet(folder / f"{name}identifiers.parquet")["site_id"].cast(pl.Int64))
        for shard in sorted((tmp_path / "out" / "data").iterdir()):
            rows = pl.read_parquet(shard)
            assert not site & set(rows[column])
            assert "source_row" not in rows.columns


def test_outputs_of_each_kind() -> None:
    """A class's number and name; a folder for each finding."""
    cohort = pl.DataFrame(
        {
            "subject_id": [2, 1],
            "prediction_time": pl.Series([None, None], dtype=pl.Datetime("us")),
            "unit": [2, 0],
            "finding.0": [0, 1],
            "finding.1": [1, 1],
        }
    )
    output = Multiclass(kind="multiclass", classes={0: "ward", 1: "unit", 5: "theatre"})
    ((folder, table),) = labels_of("unit", output, cohort)
    assert folder == "unit"
    assert table.select("subject_id", "integer_value", "categorical_value").rows() == [
        (1, 0, "ward"),
        (2, 2, "theatre"),
    ]
    findings = dict(labels_of("finding", Multilabel(kind="multilabel", classes={"a": "A", "b": "B"}), cohort))
    assert {name: table["boolean_value"].to_list() for name, table in findings.items()} == {
        "finding.0": [True, False],
        "finding.1": [True, True],
    }


def test_a_challenges_stays_are_exported_too(tmp_path: Path) -> None:
    """A source without codes' descriptions, with timeless rows and variables of its own."""
    workspace = Workspace(tmp_path / "home")
    made = Synthetic(kind="synthetic", layout="physionet2012", subjects=30, seed=3)
    from medai.sources.physionet2012 import Physionet2012

    snapshot = ingest(workspace, Physionet2012(kind="physionet2012"), generate(made, tmp_path)).record
    (tmp_path / "out").mkdir()
    counts = export_meds(snapshot, workspace.folder("ingest", snapshot.key), tmp_path / "out")
    assert counts["stays"] == counts["subjects"] == 30
    meds.DataSchema.validate(pq.read_table(tmp_path / "out" / "data" / "00000.parquet"))
    back = ingest(workspace, Meds(kind="meds"), tmp_path / "out").record
    before, after = (table_of(one, workspace, "events") for one in (snapshot, back))
    same = ["subject_id", "time", "code", "numeric_value", "known_time"]
    assert after.select(same).equals(before.select(same))


@pytest.mark.data
def test_the_demo_comes_back(tmp_path: Path, real_demo: Callable[[], Path]) -> None:
    """845,101 events of MIMIC-III's demo, through the standard and back."""
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, Mimic3(kind="mimic3"), real_demo()).record
    (tmp_path / "out").mkdir()
    counts = export_meds(snapshot, workspace.folder("ingest", snapshot.key), tmp_path / "out")
    assert (counts["events"], counts["subjects"], counts["stays"]) == (845101, 100, 136)
    back = ingest(workspace, Meds(kind="meds"), tmp_path / "out").record
    before, after = (table_of(one, workspace, "events") for one in (snapshot, back))
    assert after.drop("source_row").equals(before.drop("source_row"))


@pytest.fixture
def real_demo() -> Callable[[], Path]:
    """MIMIC-III's demo, where MEDAI_TEST_DATA names it."""
    import os

    def find() -> Path:
        folder = os.environ.get("MEDAI_TEST_DATA")
        if not folder:
            pytest.skip("MEDAI_TEST_DATA does not name a folder of real data")
        return Path(folder) / "mimic3_demo"

    return find
