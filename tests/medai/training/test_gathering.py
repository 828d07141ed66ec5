"""Samples of a stay are windows of one series, gathered when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.inference import Scorer
from medai.models.baselines import GradientBoosting, LogisticRegression
from medai.outputs import Binary
from medai.preprocessing.statistics import fit_statistics
from medai.records import ArrayFile, Arrays, sha256_of_file
from medai.training.gathering import Gathered, Picked, Windows, at, open_arrays
from medai.training.rows import Rows

STEPS, WIDTH = 4, 2
LASTS = (3, 6)
"""Steps of two stays."""


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, Arrays]:
    """Two stays of 3 and 6 steps; a sample after each step: the stay's step number and ten times it are measured."""
    steps = np.concatenate([np.arange(1, last + 1) for last in LASTS]).astype(np.float32)
    stay = np.repeat([100.0, 200.0], LASTS).astype(np.float32)
    stored = {
        "last": np.stack([stay + steps, stay + 10 * steps], axis=1),
        "mask": np.ones((9, WIDTH), np.uint8),
        "elapsed": np.stack([steps, np.full(9, 255)], axis=1).astype(np.uint8),
        "summaries": np.stack([steps, stay, np.where(steps < 2, np.nan, steps)], axis=1).astype(np.float32),
        "static": np.repeat([[50.0], [70.0]], LASTS, axis=0).astype(np.float32),
        "begin": np.repeat([0, 3], LASTS).astype(np.int64),
        "length": steps.astype(np.int32),
    }
    for name, values in stored.items():
        np.save(tmp_path / f"{name}.npy", values)
    files = {
        name: ArrayFile(file=f"{name}.npy", dtype=str(values.dtype), shape=values.shape)
        for name, values in stored.items()
    }
    return tmp_path, Arrays(key="k", kind="series", layout="stay", steps=STEPS, arrays=files, samples=9)


def test_a_sample_is_what_came_before_it(folder: tuple[Path, Arrays]) -> None:
    """The last steps end at the prediction; before the stay's start nothing was measured, of another stay nothing."""
    arrays = open_arrays(*folder)
    assert sorted(arrays) == ["elapsed", "last", "mask", "static", "summaries"]
    assert {name: values.shape for name, values in arrays.items()} == {
        "last": (9, STEPS, WIDTH),
        "mask": (9, STEPS, WIDTH),
        "elapsed": (9, STEPS, WIDTH),
        "summaries": (9, 3),
        "static": (9, 1),
    }
    nothing = np.nan
    second_of_first = [[nothing, nothing, 101, 102], [nothing, nothing, 110, 120]]
    np.testing.assert_array_equal(arrays["last"][1].T, np.array(second_of_first, np.float32))
    np.testing.assert_array_equal(arrays["last"][8, :, 0], [203, 204, 205, 206])
    np.testing.assert_array_equal(arrays["last"][3, :, 0], [nothing, nothing, nothing, 201])
    np.testing.assert_array_equal(arrays["mask"][1, :, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(arrays["elapsed"][8, :, 0], [3, 4, 4, 4])
    np.testing.assert_array_equal(arrays["elapsed"][1, :, 1], [4, 4, 4, 4])
    np.testing.assert_array_equal(arrays["summaries"][[0, 8]], np.array([[1, 100, nothing], [6, 200, 6]], np.float32))


def test_rows_are_asked_for_as_of_an_array(folder: tuple[Path, Arrays]) -> None:
    """Numbers, slices, positions, masks, and further indices answer as NumPy does on the whole."""
    last = open_arrays(*folder)["last"]
    whole = np.asarray(last)
    assert (whole.shape, last.ndim, len(last), last.dtype) == ((9, STEPS, WIDTH), 3, 9, np.float32)
    mask = np.arange(9) % 2 == 0
    for index in (
        4,
        -1,
        slice(2, 7, 2),
        np.array([8, 0, 0]),
        mask,
        (3, slice(None), 1),
        (slice(0, 2), 1),
        np.array([]),
    ):
        place = index.astype(np.int64) if isinstance(index, np.ndarray) and index.size == 0 else index
        np.testing.assert_array_equal(last[place], whole[place])
    with pytest.raises(IndexError):
        last[9]


def test_rows_of_rows_are_gathered_late(folder: tuple[Path, Arrays]) -> None:
    """What ``at`` gives is no copy, of either layout, and may be narrowed again."""
    arrays = open_arrays(*folder)
    rows = np.array([7, 2, 5])
    some = at(arrays, rows)
    assert all(isinstance(values, Gathered) for values in some.values())
    assert isinstance(some["static"], Picked)
    assert isinstance(some["last"], Windows)
    for name, values in some.items():
        np.testing.assert_array_equal(values, np.asarray(arrays[name])[rows])
        np.testing.assert_array_equal(values.at(np.array([2, 0])), np.asarray(arrays[name])[[5, 7]])


def test_statistics_are_those_of_the_windows(folder: tuple[Path, Arrays]) -> None:
    """Means over gathered windows are those over the same windows written out."""
    arrays = open_arrays(*folder)
    rows = np.array([0, 4, 8])
    assert fit_statistics(arrays, rows) == fit_statistics({name: np.asarray(a) for name, a in arrays.items()}, rows)


def test_many_rows_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound evenly spaced rows stand for all."""
    monkeypatch.setattr("medai.preprocessing.statistics._ROWS", 3)
    values = np.arange(9, dtype=np.float32)[:, None]
    assert fit_statistics({"static": values}, np.arange(9))["static"]["mean"] == [4.0]  # of 0, 4 and 8


@pytest.mark.parametrize("model", [LogisticRegression(), GradientBoosting(iterations=3, rows_a_leaf=1)])
def test_baselines_learn_and_score_from_gathered_rows(
    folder: tuple[Path, Arrays], model: LogisticRegression | GradientBoosting
) -> None:
    """A fit from gathered rows is the fit from the same rows in memory, and is scored batch by batch alike."""
    output = Binary(kind="binary", classes={0: "a", 1: "b"}, positive="b")
    arrays = open_arrays(*folder)
    rows, truth = np.arange(9), np.array([0, 1, 0, 1, 0, 1, 1, 0, 1])
    held = {name: np.asarray(values) for name, values in arrays.items()}
    gathered = model.fit(at(arrays, rows), truth, output, seed=1, threads=1)  # type: ignore[arg-type]
    assert gathered.onnx_bytes() == model.fit(held, truth, output, seed=1, threads=1).onnx_bytes()
    path = folder[0] / "model.onnx"
    gathered.export(path)
    scorer = Scorer(path, sha256_of_file(path))
    np.testing.assert_array_equal(scorer.score(at(arrays, rows), batch_size=2), scorer.score(held))


def test_rows_are_drawn_by_their_ids() -> None:
    """The same rows for the same ids, whoever else is there; all of them where there are few."""
    ids = np.arange(1000) * 7
    rows = Rows(pl.DataFrame({"sample_id": ids}), {}, {})
    positions = np.arange(0, 1000, 2)
    drawn = rows.drawn(positions, 100)
    assert len(drawn) == 100
    assert set(drawn) <= set(positions)
    assert (np.diff(drawn) > 0).all()
    assert abs(drawn.mean() - 500) < 100
    fewer = Rows(pl.DataFrame({"sample_id": ids[:500]}), {}, {})
    kept = fewer.drawn(positions[:250], 100)
    assert set(drawn[drawn < 500]) <= set(kept)
    assert rows.drawn(positions, 500) is positions


def test_a_net_learns_from_gathered_windows_as_from_arrays(
    folder: tuple[Path, Arrays], tmp_path: Path, pinned: None
) -> None:
    """The same weights to the byte, and the same curve of validation."""
    from medai.models.recurrent import GRU
    from medai.training import Execution, Training
    from medai.training.nets import fit_net

    output = Binary(kind="binary", classes={0: "a", 1: "b"}, positive="b")
    opened = open_arrays(*folder)
    truth, rows = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1]), np.arange(9)
    hashes = []
    for name, arrays in (("gathered", opened), ("held", {name: np.asarray(one) for name, one in opened.items()})):
        (tmp_path / name).mkdir()
        sha256, _ = fit_net(
            GRU(kind="gru", units=2, wide=2, dropout=0.0),
            Training(epochs=2, batch_size=4),
            arrays,
            truth,
            rows[:6],
            rows[6:],
            output,
            fit_statistics(arrays, rows[:6]),
            Execution(threads=2),
            1,
            tmp_path / name,
            tmp_path / name,
            None,
        )
        hashes.append((sha256, (tmp_path / name / "history.json").read_text()))
    assert hashes[0] == hashes[1]
