"""The synthetic radiograph archive: the published layout, findings that are seen or not, and sites that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from medai.sources.nih_chest_xray.listing import FINDINGS, read_listing
from medai.sources.synthetic import AnySynthetic, Generator, generate
from medai.sources.synthetic.findings import DENSITY, pattern


def archive(folder: Path, **options: Any) -> Path:
    """An archive of 40 patients at 32 × 32 in a new folder."""
    folder.mkdir(parents=True)
    given = {"kind": "synthetic", "layout": "nih", "subjects": 40, "size": 32, **options}
    return generate(TypeAdapter[AnySynthetic](Generator).validate_python(given), folder)


def contents(root: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("table", ["v2020", "2017"])
def test_the_published_layout_is_read_back(tmp_path: Path, table: str) -> None:
    """Rows, lists and pictures belong together; patients are on one list; faults are counted; equal seeds, equal bytes;
    a larger archive begins with the smaller one.
    """
    root = archive(tmp_path / "a", table=table, faults=0.2)
    listing = read_listing(root)
    files = {path.name for path in (root / "images").iterdir()}
    assert files < {row.name for row in listing.rows}
    sides = {(row.patient, row.role) for row in listing.rows}
    assert len(sides) == 40
    assert {role for _, role in sides} == {"train", "test"}
    assert sum((row.age or 0) > 120 for row in listing.rows) > 0
    assert {row.view for row in listing.rows} == {"AP", "PA"}
    assert contents(archive(tmp_path / "b", table=table, faults=0.2)) == contents(root)
    larger = contents(archive(tmp_path / "c", table=table, faults=0.2, subjects=50))
    assert all(larger[name] == data for name, data in contents(root).items() if name.endswith(".png"))


def test_findings_come_as_often_as_published_but_none_too_rarely(tmp_path: Path) -> None:
    """A hernia is as rare as it is only where that is asked for."""
    listing = read_listing(archive(tmp_path / "a", subjects=600, faults=0))
    share = {finding: np.mean([finding in row.findings for row in listing.rows]) for finding in FINDINGS}
    assert share["Infiltration"] == pytest.approx(19_894 / 112_120, abs=0.04)
    assert min(share.values()) > 0.025
    assert max(share["Hernia"], share["Pneumonia"]) < 0.1
    rare = read_listing(archive(tmp_path / "b", subjects=600, faults=0, least=0))
    assert np.mean(["Hernia" in row.findings for row in rare.rows]) < 0.01


def test_what_is_unseen_changes_no_pixel_and_what_is_seen_does(tmp_path: Path) -> None:
    """With signal 0 an archive's pictures are those of another choice of unseen findings, and of one without any."""
    blank = contents(archive(tmp_path / "a", signal=0, faults=0))
    unseen = contents(archive(tmp_path / "b", unseen=FINDINGS, faults=0))
    tables = {name for name in blank if not name.endswith(".png")}
    assert all(data == unseen[name] for name, data in blank.items() if name not in tables and name.endswith("000.png"))
    for finding in FINDINGS:
        field = pattern(finding, 48, [0.3, 0.4, 0.5, 0.6])
        assert 0.3 * DENSITY < np.abs(field).max() < 2 * DENSITY, finding
        assert (np.abs(field) > 3).mean() > 0.004, finding


def test_sites_differ_in_exposure_contrast_and_patients(tmp_path: Path) -> None:
    """The same seed elsewhere: lighter, flatter, and nobody in common; pictures may lie in several folders."""
    here = archive(tmp_path / "a", faults=0)
    there = archive(tmp_path / "b", faults=0, exposure=0.1, contrast=0.5, first_patient=5001, archives=3)
    assert sorted(path.name for path in there.iterdir() if path.is_dir()) == ["images_001", "images_002", "images_003"]
    levels = []
    for root in (here, there):
        files = sorted(root.rglob("*.png"))
        levels.append(np.stack([np.asarray(Image.open(file).convert("L"), float) for file in files]))
    expected = np.clip(np.rint(128 + (levels[0] - 128) * 0.5 + 25.5), 0, 255)
    unclipped = (levels[0] > 0) & (levels[0] < 255)
    assert np.abs(levels[1] - expected)[unclipped].max() <= 1
    patients = [{row.patient for row in read_listing(root).rows} for root in (here, there)]
    assert not patients[0] & patients[1]
