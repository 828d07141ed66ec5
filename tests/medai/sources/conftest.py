"""Small sets in the publishers' layouts, and the real ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data named by MEDAI_TEST_DATA."""
    folder = os.environ.get("MEDAI_TEST_DATA")
    if not folder:
        pytest.skip("MEDAI_TEST_DATA does not name a folder of real data")
    return Path(folder)


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    """Six arrays of a small grey set: 12, 4 and 4 pictures of 8 × 8, all different."""
    rng = np.random.default_rng(3)
    arrays = {}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (count, 1), dtype=np.uint8)
    return arrays


STAYS = {
    "132539": "00:00,RecordID,132539\n00:00,Age,54\n00:00,Height,-1\n00:00,Weight,80.5\n00:07,HR,73\n48:00,HR,80\n",
    "132540": "00:00,RecordID,132540\n00:00,Age,300\n00:00,Weight,-1\n01:30,pH,7.4\n01:30,pH,7.3\n",
    "132541": "00:00,RecordID,132541\n00:00,Age,61\n00:00,Gender,1\n",
}
OUTCOMES = (
    "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    "132539,6,1,5,-1,0\n132540,16,8,8,4,1\n132541,-1,11,19,-1,0\n"
)


@pytest.fixture
def write_stays(tmp_path: Path) -> Callable[..., Path]:
    """Write stays and outcomes in the challenge's layout; keywords replace a stay's text or the outcomes."""

    def write(
        folder: str = "set",
        *,
        header: str = "Time,Parameter,Value\n",
        outcomes: str | None = OUTCOMES,
        stays: dict[str, str] = STAYS,
    ) -> Path:
        root = tmp_path / folder
        (root / "set-a").mkdir(parents=True)
        for name, text in stays.items():
            (root / "set-a" / f"{name}.txt").write_bytes((header + text).encode("utf-8", "surrogateescape"))
        if outcomes is not None:
            (root / "Outcomes-a.txt").write_bytes(outcomes.encode())
        return root

    return write
