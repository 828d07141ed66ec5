"""Small databases, and their tables as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.sources.synthetic import SyntheticDatabase, generate


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a database of a configuration; made once, nobody writes in it."""
    made: dict[str, Path] = {}

    def make(layout: str, subjects: int, **fields: Any) -> Path:
        config = SyntheticDatabase.model_validate(
            {"kind": "synthetic", "layout": layout, "subjects": subjects, "chart_rows_per_stay": 700} | fields
        )
        key = config.model_dump_json()
        if key not in made:
            made[key] = generate(config, tmp_path_factory.mktemp(layout), workers=1)
        return made[key]

    return make


@pytest.fixture(scope="session")
def rows() -> Callable[[Path, str], pl.DataFrame]:
    """A table with every value as text and columns in lower case; empty is null."""

    def read(folder: Path, name: str) -> pl.DataFrame:
        file = next(folder.glob(f"{name}.csv*"))
        return pl.read_csv(file, infer_schema=False).rename(str.lower)

    return read
