"""Generated pictures with planted lesions: equal bytes, a stream a patient, masks that mark what was planted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medai.sources.synthetic import SyntheticLesions, generate
from medai.sources.synthetic.lesions import studies_of

GOLDEN = "2b813cdce1344b17"
"""Of the files of twelve patients, seed 3."""


def config(**keys: Any) -> SyntheticLesions:
    """Few patients with small pictures."""
    return SyntheticLesions.model_validate(
        {"kind": "synthetic", "layout": "lesions", "subjects": 12, "seed": 3, **keys}
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file but the read-me, by its place."""
    found = sorted(path for path in folder.rglob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_equal_configurations_write_equal_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    """Each patient draws from a stream of its own."""
    sets = {}
    for name, subjects in (("one", 12), ("two", 12), ("more", 15)):
        (tmp_path / name).mkdir()
        assert generate(config(subjects=subjects), tmp_path / name) == tmp_path / name
        sets[name] = files(tmp_path / name)
    assert sets["one"] == sets["two"]
    assert sets["one"].items() < sets["more"].items()
    digest = hashlib.sha256()
    for name in sets["one"]:  # of the pixels: how a PNG is deflated is the library's
        digest.update(name.encode() + np.asarray(Image.open(tmp_path / "one" / name)).tobytes())
    assert digest.hexdigest()[:16] == GOLDEN
    told = (tmp_path / "one" / "README.txt").read_text()
    assert "No patient in it ever lived" in told
    assert f"{sum(name.startswith('images') for name in sets['one'])} pictures" in told


def test_every_picture_has_a_mask_file_a_lesion_or_an_empty_one(tmp_path: Path) -> None:
    """Masks hold 0 and 255; pictures without a lesion have one of zeros; a patient has one to three pictures."""
    generate(config(subjects=40), tmp_path)
    images = [path.stem for path in sorted((tmp_path / "images").iterdir())]
    masks = {stem: sorted((tmp_path / "masks").glob(f"{stem}*.png")) for stem in images}
    empty = 0
    for stem, paths in masks.items():
        values = [set(np.unique(np.asarray(Image.open(path))).tolist()) for path in paths]
        if values == [{0}]:
            assert paths[0].stem == stem
            empty += 1
        else:
            assert 1 <= len(paths) <= 3
            assert all(one == {0, 255} for one in values)
    assert 0 < empty < len(images) / 2
    views = {stem: stem.partition("_")[0] for stem in images}
    numbers = [list(views.values()).count(patient) for patient in set(views.values())]
    assert set(numbers) == {1, 2, 3}


def test_lesions_lie_where_their_masks_say_and_nowhere_at_signal_0() -> None:
    """With a strong signal the marked pixels are lighter than without; with none, the picture is the same."""
    differences = []
    for subject in range(8):
        none, strong = (studies_of(config(signal=signal), subject) for signal in (0, 2))
        for (quiet, masks), (loud, _) in zip(none, strong, strict=True):
            change = loud.astype(int) - quiet
            marked = np.any(masks, axis=0) if masks else np.zeros(quiet.shape, bool)
            assert not masks or change[marked].mean() > 15
            assert masks or not change.any()
            differences.append(change[~marked].mean())
    assert np.mean(differences) < 1.5
