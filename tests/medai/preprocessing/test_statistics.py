"""Statistics: of train alone, of what was measured alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medai.preprocessing import statistics
from medai.preprocessing.statistics import fit_statistics


def series(seed: int, rows: int = 12) -> dict[str, np.ndarray]:
    """Arrays as ``prepare`` writes them, a quarter of the values missing."""
    draw = np.random.default_rng(seed)
    last = draw.normal(80, 20, (rows, 3, 4)).astype(np.float32)
    last[draw.random(last.shape) < 0.25] = np.nan
    return {
        "last": last,
        "mask": (~np.isnan(last)).astype(np.uint8),
        "elapsed": np.zeros(last.shape, np.uint8),
        "static": draw.normal(size=(rows, 2)).astype(np.float32),
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 11), st.sampled_from([1, 5, 4096]))
def test_they_are_the_means_and_deviations_of_train(seed: int, rows: int, block: int) -> None:
    """numpy's own nanmean and nanstd over the train rows, however many rows are summed at once."""
    arrays = series(seed)
    train = np.sort(np.random.default_rng(seed).permutation(12)[:rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_BLOCK", block)
        found = fit_statistics(arrays, train)
    assert sorted(found) == ["last", "static"]
    for name, values in found.items():
        columns = arrays[name][train].astype(np.float64).reshape(-1, arrays[name].shape[-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column that train never saw
            mean, deviation = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
        deviation = np.where(np.isnan(deviation) | (deviation < 1e-6), 1, deviation)
        np.testing.assert_allclose(values["mean"], np.nan_to_num(mean), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(values["deviation"], deviation, rtol=1e-6)


def test_other_rows_do_not_enter(picture_road: Any) -> None:
    """Every pixel of validation and test changed: the figures are the same to the last bit."""
    roles = picture_road.table("split")["role"].to_numpy()
    train = np.flatnonzero(roles == "train")
    pixels = picture_road.load("pixels")
    expected = fit_statistics({"pixels": pixels}, train)
    changed = pixels.copy()
    changed[roles != "train"] = 255 - changed[roles != "train"]
    assert fit_statistics({"pixels": changed}, train) == expected
    changed[train[0]] = 255 - changed[train[0]]
    assert fit_statistics({"pixels": changed}, train) != expected


def test_what_train_never_saw_or_never_saw_change_is_left_alone() -> None:
    """Without a value: mean 0, deviation 1. Constant: its own mean, deviation 1, so that nothing divides by zero."""
    values = np.array([[np.nan, 7, 1], [np.nan, 7, 3]], np.float32)
    assert fit_statistics({"static": values}, np.arange(2)) == {
        "static": {"mean": [0.0, 7.0, 2.0], "deviation": [1.0, 1.0, 1.0]}
    }


def test_pixels_are_taken_by_channel() -> None:
    """Three channels, three means, over all pictures and places."""
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    pixels[..., 1], pixels[0, ..., 2] = 9, 200
    assert fit_statistics({"pixels": pixels}, np.arange(2)) == {
        "pixels": {"mean": [0.0, 9.0, 100.0], "deviation": [1.0, 1.0, 100.0]}
    }


def test_a_range_is_counted_exactly() -> None:
    """The least level that a hundredth, or 99 of a hundred, of the train values do not exceed, a channel by itself;
    only where asked for, and of grey levels alone."""
    levels = np.stack([np.arange(200), np.full(200, 7)], axis=-1).astype(np.uint8).reshape(4, 50, 1, 2)
    arrays = {"pixels": levels, "static": np.ones((4, 2), np.float32)}
    found = fit_statistics(arrays, np.arange(4), ranges=True)
    assert found["pixels_range"] == {"low": [1.0, 7.0], "high": [197.0, 7.0]}
    assert sorted(found) == ["pixels", "pixels_range", "static"]
    assert sorted(fit_statistics(arrays, np.arange(4))) == ["pixels", "static"]
