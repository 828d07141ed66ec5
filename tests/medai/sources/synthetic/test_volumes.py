"""Synthetic volumes: a nodule that only its shape in three dimensions tells from a vessel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from medai.sources.synthetic import Synthetic, generate


def made(folder: Path, subjects: int, **fields: Any) -> dict[str, np.ndarray]:
    """All roles' arrays, by name."""
    folder.mkdir()
    config = {"kind": "synthetic", "layout": "medmnist", "volumes": True, "subjects": subjects, "size": 20, **fields}
    with np.load(generate(Synthetic.model_validate(config), folder)) as arrays:
        return dict(arrays)


def test_neither_levels_nor_places_tell(tmp_path: Path) -> None:
    """Mean, spread, maximum and the middle of a cube are as good as blind to the label; the layout is the
    publisher's in 3-D."""
    arrays = made(tmp_path / "a", 400)
    assert arrays["train_images"].shape == (280, 20, 20, 20)
    assert arrays["train_images"].dtype == np.uint8
    cubes = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test")]).astype(np.float64)
    labels = np.concatenate([arrays[f"{split}_labels"] for split in ("train", "val", "test")])[:, 0]
    assert 0.4 < labels.mean() < 0.6
    flat = cubes.reshape(len(cubes), -1)
    for figure in (flat.mean(axis=1), flat.std(axis=1), flat.max(axis=1), cubes[:, 10, 10, 10]):
        assert 0.35 < roc_auc_score(labels, figure) < 0.65


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    """Each subject draws from a stream of its own; the bytes are known."""
    small, large = made(tmp_path / "a", 20), made(tmp_path / "b", 40)
    np.testing.assert_array_equal(large["train_images"][:14], small["train_images"])
    assert hashlib.sha256(small["train_images"].tobytes()).hexdigest()[:16] == "7ab0521e3dea4775"
    without = made(tmp_path / "c", 20, signal=0)
    assert not np.array_equal(without["train_images"], small["train_images"])


@pytest.mark.parametrize("fields", [{"multilabel": True}, {"classes": 3}, {"channels": 3}, {"size": 65}])
def test_impossible_volumes_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Grey cubes with or without one nodule, and none that fills the memory."""
    with pytest.raises(ValidationError, match="volumes are"):
        made(tmp_path / "a", 20, **fields)
