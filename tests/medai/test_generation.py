"""``generate``: made once a configuration, where the record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medai.generation import generate
from medai.records import sha256_of_file
from medai.sources.synthetic import Synthetic, SyntheticHospital
from medai.workspace import Workspace


@pytest.mark.parametrize(("layout", "path"), [("medmnist", "synthetic.npz"), ("physionet2012", ".")])
def test_files_are_made_once_and_lie_where_the_record_says(tmp_path: Path, layout: Any, path: str) -> None:
    """Found the second time; in another workspace the same bytes under the same key."""
    config = Synthetic(kind="synthetic", layout=layout, subjects=10, size=16)
    workspace, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "two")
    first, second, elsewhere = (generate(home, config) for home in (workspace, workspace, other))
    assert (first.reused, second.reused, elsewhere.reused) == (False, True, False)
    assert first.record == second.record == elsewhere.record
    assert (first.record.layout, first.record.path) == (layout, path)
    one, two = (home.folder("generate", first.record.key) for home in (workspace, other))
    assert (one / path).exists()
    names = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert len(names) == (3 if layout == "medmnist" else 13)
    assert all(sha256_of_file(one / name) == sha256_of_file(two / name) for name in names)


def test_another_configuration_is_another_folder(tmp_path: Path) -> None:
    """Each option that moves the bytes moves the key."""
    keys: dict[str, Any] = {"kind": "synthetic", "layout": "medmnist", "subjects": 10, "size": 16}
    changes: list[dict[str, Any]] = [{}, {"subjects": 11}, {"seed": 1}, {"signal": 0}, {"size": 17}, {"channels": 3}]
    workspace = Workspace(tmp_path / "home")
    found = {generate(workspace, Synthetic.model_validate(keys | change)).record.key for change in changes}
    assert len(found) == len(changes)


def test_problems_with_the_same_hospital_share_its_folder(tmp_path: Path) -> None:
    """Tables and radiographs lie below one folder, which is made once."""
    config = SyntheticHospital(kind="synthetic", layout="hospital", subjects=10, size=32)
    workspace = Workspace(tmp_path / "home")
    first, second = generate(workspace, config), generate(workspace, config.model_copy())
    assert (first.reused, second.reused) == (False, True)
    assert (first.record.layout, first.record.path) == ("hospital", ".")
    folder = workspace.folder("generate", first.record.key)
    assert {"hosp", "icu", "radiographs"} <= {path.name for path in folder.iterdir()}
