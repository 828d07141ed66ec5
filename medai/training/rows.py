"""The rows of a cohort, with their arrays, truth and roles, in the order of ``sample_id``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medai.cohort import truth_columns
from medai.outputs import Output
from medai.records import Arrays, Cohort, Role, Splits
from medai.tables import read_table, write_table
from medai.workspace import Workspace


@dataclass(frozen=True)
class Rows:
    """Memory-mapped arrays beside the truth and role of each row."""

    table: pl.DataFrame
    arrays: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]

    @classmethod
    def load(
        cls, workspace: Workspace, arrays: Arrays, cohort: Cohort, splits: Splits, outputs: dict[str, Output]
    ) -> Rows:
        """Join cohort and splits to the arrays' index; rows stay in the order of sample_id.

        A sample that the split dropped stays, so that rows and arrays agree; it has no role and is in none.
        """
        table = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet"))
        roles = pl.DataFrame(read_table(workspace.folder("split", splits.key) / "splits.parquet"))
        table = table.join(roles.select("sample_id", "role"), on="sample_id", how="left", maintain_order="left")
        folder = workspace.folder("prepare", arrays.key)
        data: dict[str, Any] = {
            name: np.load(folder / array.file, mmap_mode="r", allow_pickle=False)
            for name, array in sorted(arrays.arrays.items())
        }
        truth = {}
        for name, output in outputs.items():
            columns = table.select(truth_columns(name, output)).to_numpy()
            truth[name] = columns if output.kind == "multilabel" else columns[:, 0]
        return cls(table, data, truth)

    def of(self, *roles: Role) -> np.ndarray:
        """Positions of the rows in these roles."""
        return np.flatnonzero(self.table["role"].is_in(list(roles)).fill_null(False).to_numpy())

    def write_subjects(self, path: Path, roles: tuple[Role, ...]) -> None:
        """Keep which subjects a model has seen, for the owner's eyes only."""
        seen = self.table.filter(pl.col("role").is_in(list(roles))).select("subject_id", "role").unique()
        write_table(path, seen.sort("subject_id", "role").to_arrow())
        path.chmod(0o600)
