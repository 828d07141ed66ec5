"""Pixels: the cohort's rows of the cache, in the order of the samples, each brought over by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from medai.cohort import Pictures, select
from medai.errors import DataRefused
from medai.outputs import Output
from medai.preprocessing import Pixels, Preprocessing, pixels, prepare
from medai.preprocessing.pixels import prepared, prepared_mask
from medai.preprocessing.pixels.cropping import BorderCrop, box_of
from medai.preprocessing.pixels.enhancing import CLAHE, Median, contrasted, denoised, resized


def test_pixels_are_the_caches_own(picture_road: Any) -> None:
    """Nothing is scaled or standardised: each sample's picture is the one that was ingested."""
    cache = np.load(picture_road.workspace.folder("ingest", picture_road.snapshot.key) / "pixels.npy")
    found = picture_road.load("pixels")
    assert found.dtype == np.uint8
    assert found.shape == (120, 16, 16, 1)
    np.testing.assert_array_equal(found, cache)
    assert picture_road.arrays.arrays["pixels"].shape == found.shape


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_left_out_pictures_leave_no_gap(
    put: Callable[..., Any], output_of: Callable[..., Output], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """The index says which sample each row is, however many rows are copied at once."""
    monkeypatch.setattr(pixels, "_BLOCK", block)
    cache = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    images = pl.DataFrame(
        {"row_id": range(8), "subject_id": range(8), "time": [None] * 8, "publisher_role": ["train"] * 8},
        schema_overrides={"time": pl.Datetime("us")},
    )
    labels = pl.DataFrame({"row_id": range(8), "label": [0, 1] * 4})
    aside = (("images", 0, "blank"), ("images", 3, "blank"))
    workspace, snapshot, quality = put({"images": images, "labels": labels}, "images", aside, pixels=cache)
    output = output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), {"ill": output}).record
    arrays = prepare(workspace, snapshot, quality, cohort, Pixels(kind="pixels", size=(2, 3), channels=3)).record
    folder = workspace.folder("prepare", arrays.key)
    assert np.load(folder / "pixels.npy")[:, 0, 0, 0].tolist() == [1, 2, 4, 5, 6, 7]
    index = pl.read_parquet(folder / "samples.parquet")
    assert dict(index.select("row", "sample_id").iter_rows()) == {0: 1, 1: 2, 2: 4, 3: 5, 4: 6, 5: 7}
    assert (folder / "samples.parquet").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("size", "channels"), [((28, 28), 1), ((16, 16), 3), ((16, 28), 1)])
def test_pictures_of_another_size_are_refused(picture_road: Any, size: tuple[int, int], channels: int) -> None:
    """Never resized in silence: the message says both sizes."""
    config = Pixels.model_validate({"kind": "pixels", "size": size, "channels": channels})
    with pytest.raises(DataRefused, match="another size than the Problem expects") as raised:
        prepare(picture_road.workspace, picture_road.snapshot, picture_road.quality, picture_road.cohort, config)
    assert raised.value.expected == f"height, width, channels = {(*size, channels)}"
    assert raised.value.received == "(16, 16, 1)"


ENHANCED: dict[str, Any] = {
    "kind": "pixels",
    "size": [12, 10],
    "crop": {"kind": "border"},
    "denoise": {"kind": "median"},
    "contrast": {"kind": "clahe", "tiles": 2},
    "resize": "area",
}


def test_operations_come_in_their_order_and_are_counted(picture_road: Any) -> None:
    """Crop, then noise, then contrast, then size; the record says how many pictures lost a frame, and a second key
    holds what was done: the plain arrays stay as they are."""
    config = Pixels.model_validate(ENHANCED)
    road = picture_road
    cache = np.array(np.load(road.workspace.folder("ingest", road.snapshot.key) / "pixels.npy"))
    arrays = prepare(road.workspace, road.snapshot, road.quality, road.cohort, config).record
    found = np.load(road.workspace.folder("prepare", arrays.key) / "pixels.npy")
    assert found.shape == arrays.arrays["pixels"].shape == (120, 12, 10, 1)
    assert arrays.key != road.arrays.key
    framed = 0
    for picture, one in zip(cache, found, strict=True):
        box = box_of(picture, BorderCrop(kind="border"))
        assert box is not None
        framed += box != (0, 16, 0, 16)
        cut = picture[box.top : box.bottom, box.left : box.right]
        clean = denoised(cut, Median(kind="median"))
        np.testing.assert_array_equal(one, resized(contrasted(clean, CLAHE(kind="clahe", tiles=2)), (12, 10)))
    assert arrays.counts == ({"frame_cut": framed} if framed else {})


def test_what_a_crop_did_is_told() -> None:
    """Cut, nothing to cut, and not trusted, in words that the record counts."""
    scene = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
    framed, blank = np.pad(scene, ((4, 4), (0, 0), (0, 0))), np.zeros((16, 16, 1), np.uint8)
    border = Pixels.model_validate(ENHANCED)
    assert [prepared(one, border).told for one in (framed, scene, blank)] == ["frame_cut", None, "frame_not_cut"]
    lungs = np.full((32, 32, 1), 180, np.uint8)
    lungs[6:26, 4:14] = lungs[6:26, 18:28] = 50
    field = Pixels.model_validate(dict(ENHANCED, crop={"kind": "lung_field"}))
    assert [prepared(one, field).told for one in (lungs, blank)] == ["lung_field_cut", "lung_field_not_found"]


def test_a_picture_alone_is_prepared_as_among_others(picture_road: Any, put: Callable[..., Any]) -> None:
    """What is predicted passes the road of training: by the candidate's own record, to the byte."""
    config = Pixels.model_validate(ENHANCED)
    road = picture_road
    cache = np.load(road.workspace.folder("ingest", road.snapshot.key) / "pixels.npy")
    together = prepare(road.workspace, road.snapshot, road.quality, road.cohort, config).record
    expected = np.load(road.workspace.folder("prepare", together.key) / "pixels.npy")
    images = pl.DataFrame(
        {"row_id": [0], "subject_id": [1], "time": [None], "publisher_role": ["test"]},
        schema_overrides={"time": pl.Datetime("us")},
    )
    labels = pl.DataFrame({"row_id": [0], "label": [0]})
    workspace, snapshot, quality = put({"images": images, "labels": labels}, "images", (), pixels=cache[77:78])
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), road.outputs).record
    again = TypeAdapter(Preprocessing).validate_python(config.model_dump(mode="json"))
    alone = prepare(workspace, snapshot, quality, cohort, again).record
    np.testing.assert_array_equal(np.load(workspace.folder("prepare", alone.key) / "pixels.npy")[0], expected[77])


@pytest.mark.parametrize("size", [(12, 10), (24, 24)])
def test_a_mask_shows_what_its_picture_shows(size: tuple[int, int]) -> None:
    """Cut by the same box and brought to the same size, each of its values one that it had."""
    scene = np.random.default_rng(0).integers(0, 90, (16, 16, 1), dtype=np.uint8)
    scene[4:12, 2:8] = 255
    mask = (scene[..., 0] == 255).astype(np.uint8) * 3
    config = Pixels(kind="pixels", size=size, crop=BorderCrop(kind="border"), resize="area")
    made = prepared(np.pad(scene, ((5, 0), (0, 7), (0, 0))), config)
    assert made.box == (5, 21, 0, 16)
    found = prepared_mask(np.pad(mask, ((5, 0), (0, 7))), made.box, size)
    assert found.shape == size
    assert set(np.unique(found)) == {0, 3}
    assert ((made.picture[..., 0] > 170) == (found == 3)).mean() > 0.9
    np.testing.assert_array_equal(prepared_mask(mask, None, (16, 16)), mask)


def test_a_smaller_cache_is_not_enlarged(picture_road: Any) -> None:
    """What was never seen cannot be made up; with resize a larger cache is brought down."""
    road = picture_road
    config = Pixels(kind="pixels", size=(17, 16), resize="area")
    with pytest.raises(DataRefused, match="cannot be brought to the size") as raised:
        prepare(road.workspace, road.snapshot, road.quality, road.cohort, config)
    assert raised.value.received == "(16, 16, 1)"
    with pytest.raises(ValidationError, match="add resize: area"):
        Pixels.model_validate({"kind": "pixels", "size": [8, 8], "crop": {"kind": "border"}})
