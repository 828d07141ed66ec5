"""Small hospitals, and their tables as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.sources.synthetic import SyntheticHospital, generate

Hospital = Callable[..., Path]
Table = Callable[[Path, str], pl.DataFrame]


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """The folder of a hospital of a configuration; made once, nobody writes in it."""
    made: dict[SyntheticHospital, Path] = {}

    def make(subjects: int, **fields: Any) -> Path:
        config = SyntheticHospital.model_validate(
            {"kind": "synthetic", "layout": "hospital", "subjects": subjects, "size": 32, **fields}
        )
        if config not in made:
            made[config] = generate(config, tmp_path_factory.mktemp("hospital"))
        return made[config]

    return make


@pytest.fixture(scope="session")
def table() -> Table:
    """A table of a hospital with every value as text; empty is null."""

    def read(folder: Path, name: str) -> pl.DataFrame:
        return pl.read_csv(folder / f"{name}.csv.gz", infer_schema=False)

    return read
