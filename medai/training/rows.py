"""The rows of a cohort, with their arrays, truth and roles, in the order of ``sample_id``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medai.cohort import amount_columns, truth_columns
from medai.errors import DataRefused
from medai.outputs import Mask, Output
from medai.records import Arrays, Cohort, Role, Splits
from medai.tables import read_table, write_table
from medai.training.gathering import at, open_arrays
from medai.workspace import Workspace


@dataclass(frozen=True)
class Rows:
    """Arrays beside the truth and role of each row.

    Attributes:
        table: sample_id, subject_id, role, the groups and the truth's columns of each row.
        arrays: name → memory-mapped or gathered when asked for; take rows in blocks.
        truth: output → class numbers; of a mask, which pictures show any finding.
        amounts: output whose classes are bins → what they are bins of, in hours.
    """

    table: pl.DataFrame
    arrays: dict[str, Any]
    truth: dict[str, np.ndarray]
    amounts: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def load(
        cls, workspace: Workspace, arrays: Arrays, cohort: Cohort, splits: Splits, outputs: dict[str, Output]
    ) -> Rows:
        """Join cohort and splits to the arrays' index; rows stay in the order of sample_id.

        A sample that the split dropped stays, so that rows and arrays agree; it has no role and is in none.
        """
        asked = [column for name, output in outputs.items() for column in truth_columns(name, output)]
        binned = {name: column for name, output in outputs.items() for column in amount_columns(name, output)}
        columns = ["sample_id", "subject_id", *cohort.groups, *asked, *binned.values()]
        table = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", columns))
        roles = pl.DataFrame(read_table(workspace.folder("split", splits.key) / "splits.parquet"))
        table = table.join(roles.select("sample_id", "role"), on="sample_id", how="left", maintain_order="left")
        data = open_arrays(workspace.folder("prepare", arrays.key), arrays)
        truth = {}
        for name, output in outputs.items():
            values = table.select(truth_columns(name, output)).to_numpy()
            truth[name] = values if output.kind == "multilabel" else values[:, 0]
        return cls(table, data, truth, {name: table[column].to_numpy() for name, column in binned.items()})

    def goal(self, name: str, output: Output) -> Any:
        """What a model of this output learns: class numbers of the rows, or of their pixels, memory-mapped.

        Raises:
            DataRefused: a mask is asked for, and the source gave none.
        """
        if not isinstance(output, Mask):
            return self.truth[name]
        if "masks" not in self.arrays:
            raise DataRefused(
                f"output {name}: the pictures have no masks",
                expected="a source that gives a mask for each picture",
                received=f"arrays {', '.join(sorted(self.arrays))}",
                action="name a source of pictures with masks, or another kind of output",
            )
        return self.arrays["masks"]

    def of(self, *roles: Role) -> np.ndarray:
        """Positions of the rows in these roles."""
        return np.flatnonzero(self.table["role"].is_in(list(roles)).fill_null(False).to_numpy())

    def drawn(self, positions: np.ndarray, largest: int) -> np.ndarray:
        """These positions, or where they are more than ``largest`` so many of them.

        Those are drawn whose sample_id has the smallest hash (the finaliser of SplitMix64, Steele et al. 2014): no row
        that others join or leave is drawn otherwise for it, and neighbours in time are drawn independently.
        """
        if len(positions) <= largest:
            return positions
        mixed = self.table["sample_id"].to_numpy()[positions].astype(np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
        return np.asarray(positions[np.sort(np.argpartition(mixed, largest - 1)[:largest])])

    def at(self, positions: np.ndarray) -> dict[str, Any]:
        """The arrays with these rows only; read when they are asked for."""
        return at(self.arrays, positions)

    def write_subjects(self, path: Path, roles: tuple[Role, ...]) -> None:
        """Keep which subjects a model has seen, for the owner's eyes only."""
        seen = self.table.filter(pl.col("role").is_in(list(roles))).select("subject_id", "role").unique()
        write_table(path, seen.sort("subject_id", "role").to_arrow())
        path.chmod(0o600)
