"""Generated CT series: what two scanners store leads back to the cube that was drawn."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from medai.preprocessing.volume.resampling import Stack, resampled
from medai.sources.dicom.decoding import Target, decode
from medai.sources.dicom.rendering import Window
from medai.sources.synthetic import Synthetic, SyntheticCt, generate
from medai.sources.synthetic.ct_files import FAULTS, MILLIMETRES, SCANNERS, WINDOW
from medai.sources.synthetic.volumes import volume_block

SIZE, SUBJECTS = 16, 12
TARGET = Target(SIZE, SIZE, 1, False, Window(*WINDOW, "LINEAR_EXACT"), "each")


def config(**told: float) -> SyntheticCt:
    """A few patients."""
    return SyntheticCt.model_validate(
        {"kind": "synthetic", "layout": "ct", "subjects": SUBJECTS, "size": SIZE, "faults": 0} | told
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen patients without faults."""
    return generate(config(), tmp_path_factory.mktemp("ct"))


def test_slices_ordered_by_position_and_resampled_by_spacing_give_the_drawn_cube(written: Path) -> None:
    """By both scanners, whatever the files are called; labels stand at the series."""
    plain = Synthetic(kind="synthetic", layout="medmnist", volumes=True, subjects=SUBJECTS, size=SIZE)
    drawn, labels = volume_block(plain, range(SUBJECTS))
    told = dict(list(csv.reader((written / "labels.csv").open()))[1:])
    met, named_in_order = set(), 0
    for subject, folder in enumerate(sorted(path for path in written.iterdir() if path.is_dir())):
        slices = []
        for file in sorted(folder.iterdir()):
            answer = decode(file.read_bytes(), TARGET)
            (picture,) = answer.pictures
            assert picture.decoded.fault is None
            assert picture.decoded.pixels is not None
            assert answer.facts is not None
            slices.append((answer.facts.slice_position, picture.decoded.pixels[..., 0]))
            assert told[str(answer.facts.series)] == str(labels[subject, 0])
            met.add(answer.facts.model)
        positions = [position for position, _ in slices]
        named_in_order += positions in (sorted(positions), sorted(positions, reverse=True))
        slices.sort(key=lambda one: one[0])
        stack = Stack(np.stack([levels for _, levels in slices]), np.array(sorted(positions)), MILLIMETRES, MILLIMETRES)
        cube, cut = resampled(stack, (SIZE,) * 3, (MILLIMETRES,) * 3)
        assert not cut
        off = cube[1:-1].astype(int) - drawn[subject][1:-1]
        assert np.abs(off).mean() < (1 if len(slices) == SIZE else 12)  # layers between two are smoother than these
        assert np.corrcoef(cube[1:-1].ravel(), drawn[subject][1:-1].ravel())[0, 1] > 0.9
    assert met == {scanner.name for scanner in SCANNERS}
    assert 0 < named_in_order < SUBJECTS


def test_no_two_slices_are_equal(written: Path) -> None:
    """Or validation would set one aside as a copy."""
    hashes = [
        picture.decoded.content_hash
        for file in written.rglob("*.dcm")
        for picture in decode(file.read_bytes(), TARGET).pictures
    ]
    assert len(set(hashes)) == len(hashes)


def test_faults_are_planted_and_counted_and_equal_seeds_write_equal_bytes(tmp_path: Path) -> None:
    """One series each: a slice is gone, cut short, or lies where another does; a larger set holds the smaller."""
    for name, subjects in (("a", 12), ("b", 15)):
        (tmp_path / name).mkdir()
        generate(config(subjects=subjects, faults=0.25), tmp_path / name)
    assert json.loads((tmp_path / "a" / "planted_faults.json").read_text())["faults"] == dict.fromkeys(FAULTS, 1)
    assert "No patient in it ever lived" in (tmp_path / "a" / "README.txt").read_text()
    first, second = (
        {str(file.relative_to(tmp_path / name)): hashlib.sha256(file.read_bytes()).hexdigest()
         for file in (tmp_path / name).rglob("*.dcm")} for name in ("a", "b")
    )  # fmt: skip
    assert first.items() <= second.items()
