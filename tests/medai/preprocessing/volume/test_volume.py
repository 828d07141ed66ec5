"""Volumes: those of the cache as they are, and those that a series' slices make."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import Pictures, SliceSeries, select
from medai.errors import ConfigurationError, DataRefused
from medai.ingestion import ingest
from medai.outputs import Output
from medai.prediction import selection
from medai.preprocessing import Volume, prepare, volume
from medai.preprocessing.volume.resampling import Stack, resampled
from medai.screening import Screen, screen
from medai.sources import MedMNIST
from medai.sources.synthetic import Synthetic, generate
from medai.splitting import Publisher, split
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

ILL: dict[str, Any] = {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}
SLICES = SliceSeries(kind="slice_series", least_slices=4)
MADE = Volume(kind="volume", size=(6, 8, 8), spacing=(2.0, 1.0, 1.0))


def test_volumes_of_the_cache_are_copied_and_screened(tmp_path: Path, output_of: Callable[..., Output]) -> None:
    """A 3-D set goes the same road as pictures: each sample is the cube that was ingested, no single place of the
    cubes tells the outcome, and another size, or a spacing that nobody told, is refused."""
    (tmp_path / "raw").mkdir()
    raw = generate(Synthetic(kind="synthetic", layout="medmnist", volumes=True, subjects=60, size=16), tmp_path / "raw")
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, MedMNIST(kind="medmnist"), raw).record
    quality = validate(workspace, snapshot, catalogue_suite("medmnist")).record
    assert (quality.passed, quality.rows) == (True, 60)
    outputs = {"ill": output_of(**ILL)}
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), outputs).record
    arrays = prepare(workspace, snapshot, quality, cohort, Volume(kind="volume", size=(16, 16, 16))).record
    assert (arrays.kind, arrays.samples, arrays.counts) == ("volume", 60, {})
    found = np.load(workspace.folder("prepare", arrays.key) / "volume.npy")
    assert found.shape == arrays.arrays["volume"].shape == (60, 16, 16, 16, 1)
    cache = np.load(workspace.folder("ingest", snapshot.key) / "pixels.npy")
    np.testing.assert_array_equal(found, cache)
    splits = split(workspace, snapshot, cohort, Publisher(kind="publisher")).record
    told = screen(workspace, snapshot, arrays, cohort, splits, outputs, Screen(minimum=5)).record
    assert told.columns == 256 + 8
    assert not told.leaking
    for config, wrong in (
        (Volume(kind="volume", size=(16, 16, 17)), "another size than the Problem expects"),
        (MADE, "a spacing is asked for, and the data are no slices"),
    ):
        with pytest.raises(DataRefused, match=wrong):
            prepare(workspace, snapshot, quality, cohort, config)
    with pytest.raises(DataRefused, match="the pictures are no slices of a series") as raised:
        select(workspace, snapshot, quality, SLICES, outputs)
    assert raised.value.received == "no series, slice_position, spacing_down, spacing_across"


def scans(**changes: Any) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    """Slices 8 × 8 of four series, a patient each, in no order: c lacks one in the middle, d has three alone."""
    random = np.random.default_rng(0)
    places = {"a": range(6), "b": range(0, 24, 4), "c": (0, 1, 2, 4, 5, 6), "d": range(3)}
    rows = [(series, float(place), "abcd".index(series)) for series, some in places.items() for place in some]
    order = random.permutation(len(rows))
    rows = [rows[place] for place in order]
    images = pl.DataFrame(
        {
            "row_id": range(len(rows)),
            "subject_id": [100 + row[2] for row in rows],
            "time": [None] * len(rows),
            "publisher_role": ["train"] * len(rows),
            "series": [row[0] for row in rows],
            "slice_position": [row[1] for row in rows],
            "height": [16] * len(rows),
            "width": [16] * len(rows),
            "spacing_down": [1.125] * len(rows),
            "spacing_across": [0.75] * len(rows),
        },
        schema_overrides={"time": pl.Datetime("us")},
    ).with_columns(**changes)
    labels = pl.DataFrame({"row_id": range(len(rows)), "label": [row[2] % 2 for row in rows]})
    return {"images": images, "labels": labels}, random.integers(0, 256, (len(rows), 8, 8, 1), dtype=np.uint8)


def test_slices_become_a_volume_by_their_positions(put: Callable[..., Any], output_of: Callable[..., Output]) -> None:
    """Each whole series is one sample with its label, its slices in the order of their positions; the attrition says
    who is not whole; and who is predicted is prepared alike."""
    tables, cache = scans()
    workspace, snapshot, quality = put(tables, "images", (), pixels=cache)
    cohort = select(workspace, snapshot, quality, SLICES, {"ill": output_of(**ILL)}).record
    assert [(line.criterion, line.samples) for line in cohort.attrition] == [
        ("series in the snapshot", 4),
        ("with a slice that was not set aside", 4),
        ("of one patient", 4),
        ("every slice has a place and a spacing", 4),
        ("at least 4 slices", 3),
        ("slices of one geometry", 3),
        ("one slice a place", 3),
        ("no slice missing in between", 2),
        ("its slices' labels agree", 2),
        ("selected", 2),
    ]
    assert cohort.classes == {"ill": {"well": 1, "ill": 1}}
    chosen = pl.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")
    arrays = prepare(workspace, snapshot, quality, cohort, MADE).record
    assert arrays.counts == {"volume_cut_to_size": 1}  # b is 20 mm long, the volume 12
    found = np.load(workspace.folder("prepare", arrays.key) / "volume.npy")
    for row, sample in zip(found, chosen.iter_rows(named=True), strict=True):
        series = tables["images"].filter(pl.col("subject_id") == sample["subject_id"]).sort("slice_position")
        assert sample["sample_id"] == series["row_id"].min()
        stack = Stack(cache[series["row_id"].to_numpy(), ..., 0], series["slice_position"].to_numpy(), 1.125, 0.75)
        np.testing.assert_array_equal(row[..., 0], resampled(stack, MADE.size, (2.0, 1.0, 1.0))[0])
    asked = selection.select(workspace, snapshot, quality, SLICES).record
    assert asked.samples == 2
    told = pl.read_parquet(workspace.folder("select", asked.key) / selection.ROWS)
    assert sorted(told["status"].drop_nulls()) == ["excluded:at least 4 slices", "excluded:no slice missing in between"]
    again = prepare(workspace, snapshot, quality, asked, MADE).record
    np.testing.assert_array_equal(np.load(workspace.folder("prepare", again.key) / "volume.npy"), found)


@pytest.mark.parametrize(
    ("change", "criterion"),
    [
        ({"subject_id": pl.when(pl.col("slice_position") == 4).then(9).otherwise("subject_id")}, "of one patient"),
        (
            {"slice_position": pl.when(pl.col("slice_position") != 4).then("slice_position")},
            "every slice has a place and a spacing",
        ),
        (
            {"spacing_down": pl.when(pl.col("slice_position") == 4).then(0.7).otherwise("spacing_down")},
            "slices of one geometry",
        ),
        (
            {"slice_position": pl.when(pl.col("slice_position") == 4).then(5.0).otherwise("slice_position")},
            "one slice a place",
        ),
    ],
    ids=["patients", "places", "geometry", "twice"],
)
def test_a_series_that_is_not_whole_is_left_out(
    put: Callable[..., Any], output_of: Callable[..., Output], change: dict[str, pl.Expr], criterion: str
) -> None:
    """Two patients, a slice without a place, two geometries, two slices in one place: a leaves at that criterion."""
    tables, cache = scans(**change)
    tables["images"] = tables["images"].filter(pl.col("series").is_in(["a", "d"]))
    tables["labels"] = tables["labels"].join(tables["images"], on="row_id", how="semi")
    workspace, snapshot, quality = put(tables, "images", (), pixels=cache)
    three = SLICES.model_copy(update={"least_slices": 3})
    cohort = select(workspace, snapshot, quality, three, {"ill": output_of(**ILL)}).record
    lines = {line.criterion: line.samples for line in cohort.attrition}
    before = list(lines)[list(lines).index(criterion) - 1]
    assert (lines[before], lines[criterion], cohort.samples) == (2, 1, 1)


def test_a_slice_that_was_set_aside_takes_its_series_along(
    put: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """From the middle: the gap is seen. Labels that differ within a series leave it out, too."""
    tables, cache = scans()
    middle = tables["images"].filter(series="a", slice_position=2.0)["row_id"].item()
    workspace, snapshot, quality = put(tables, "images", (("images", middle, "blank"),), pixels=cache)
    cohort = select(workspace, snapshot, quality, SLICES, {"ill": output_of(**ILL)}).record
    assert {line.criterion: line.samples for line in cohort.attrition}["no slice missing in between"] == 1
    turned = pl.when(pl.col("row_id") == middle).then(1 - pl.col("label")).otherwise("label").alias("label")
    tables["labels"] = tables["labels"].with_columns(turned)
    workspace, snapshot, quality = put(tables, "images", (), home="other", pixels=cache)
    cohort = select(workspace, snapshot, quality, SLICES, {"ill": output_of(**ILL)}).record
    assert cohort.attrition[-2].criterion == "its slices' labels agree"
    assert cohort.samples == 1


def test_without_simpleitk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes that come as such need nothing."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(volume, "version", missing)
    volume.need_libraries(Volume(kind="volume", size=(4, 4, 4)))
    with pytest.raises(ConfigurationError, match="needs the package simpleitk") as raised:
        volume.need_libraries(MADE)
    assert raised.value.action == "pip install '.[imaging]' in the folder that medai was cloned to"
