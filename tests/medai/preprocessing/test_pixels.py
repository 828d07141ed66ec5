"""Pixels: the cohort's rows of the cache, in the order of the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import Pictures, select
from medai.errors import DataRefused
from medai.outputs import Output
from medai.preprocessing import Pixels, pixels, prepare


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
