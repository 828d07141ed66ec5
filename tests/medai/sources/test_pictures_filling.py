"""The pixel cache: each row written by a worker, black where its file was lost, and rows put in order in place."""

from __future__ import annotations

import hashlib
import signal
from functools import partial
from operator import call
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medai.sources.pictures import filling
from medai.sources.pictures.decoding import Decoded
from medai.sources.pictures.filling import fill, hash_of_file, put_in_order


def pixels_of(number: int) -> np.ndarray:
    """A picture of one level."""
    return np.full((3, 2, 1), number, np.uint8)


@pytest.mark.parametrize("processes", [1, 2])
def test_each_row_is_its_tasks_picture(tmp_path: Path, processes: int) -> None:
    """Told without pixels; a lost task's row is black, with its reason as a fault and its file's hash."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    good = [partial(Decoded, str(number), pixels=pixels_of(number)) for number in range(1, 31)]
    crash = partial(signal.raise_signal, signal.SIGSEGV)
    tasks = [*good[:7], crash, partial(Decoded, "x", "not_a_picture"), *good[7:]]
    path = tmp_path / "pixels.npy"
    found = list(fill(path, (3, 2, 1), call, tasks, lambda _: file, processes))
    assert [one.content_hash for one in found[:7]] == [str(number) for number in range(1, 8)]
    assert all(one.pixels is None for one in found)
    lost = hashlib.sha256(b"file\0content").hexdigest()
    assert hash_of_file(file) == lost
    assert found[7] == Decoded(lost, "decoder_crashed")
    assert found[8].fault == "not_a_picture"
    assert np.load(path)[:, 0, 0, 0].tolist() == [*range(1, 8), 0, 0, *range(8, 31)]
    put_in_order(path, np.arange(32)[::-1])
    assert np.load(path)[:, 2, 1, 0].tolist() == [*range(30, 7, -1), 0, 0, *range(7, 0, -1)]


@given(st.permutations(range(7)), st.integers(0, 5))
def test_rows_are_rearranged_in_place(order: list[int], seed: int) -> None:
    """As NumPy's own indexing would, whatever the cycles."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 2, 3, 1), np.uint8)
    expected = pixels[order]
    filling.rearrange(pixels, np.array(order))
    np.testing.assert_array_equal(pixels, expected)
