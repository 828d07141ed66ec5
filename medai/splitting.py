"""``split``: who learns and who judges; patients never straddle.

A subject's side is a keyed hash of its id, or the publisher's list; never the run's seed. So a patient who was once
in test is in test in every later snapshot, however the data grow.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medai.errors import DataRefused
from medai.records import ROLES, Cohort, Frozen, Role, Snapshot, Splits, sha256_of, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 2
# Test is cut first and train last, so that moving the border between train and validation leaves test alone.
_ORDER: tuple[Role, ...] = ("test", "gate", "validation", "train")


class Publisher(Frozen):
    """The roles that the data's publisher gave.

    Attributes:
        straddling: what follows when a patient stands in several roles: ``refuse`` the split, or ``drop_from_train``:
            the patient stays in the most protected role (test, then validation), and samples elsewhere get no role.
    """

    kind: Literal["publisher"]
    straddling: Literal["refuse", "drop_from_train"] = "refuse"


class KeyedHash(Frozen):
    """A subject's role is a keyed hash of the site's own id.

    Attributes:
        key: the hash's key; another key is another split.
        fractions: role → share of subjects; they sum to 1.
    """

    kind: Literal["keyed_hash"]
    key: str = Field(min_length=1, max_length=64)
    fractions: dict[Role, float]

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> KeyedHash:
        if any(share < 0 for share in self.fractions.values()):
            raise ValueError("fractions must not be negative")
        total = sum(self.fractions.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"fractions must sum to 1, they sum to {total:g}")
        for role in ("train", "validation", "test"):
            if self.fractions.get(role, 0) == 0:
                raise ValueError(f"fractions must give {role} a share")
        return self

    def role(self, site_id: str) -> Role:
        """The role of a subject: the first 64 bits of SHA-256 of ``key/id``, read as a fraction of one.

        >>> split = KeyedHash(kind="keyed_hash", key="k", fractions={"train": 0.6, "validation": 0.2, "test": 0.2})
        >>> [split.role(site_id) for site_id in ("1", "2", "3", "4", "5")]
        ['train', 'train', 'validation', 'train', 'train']
        """
        digest = hashlib.sha256(f"{self.key}/{site_id}".encode()).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64
        for role in _ORDER:
            share = self.fractions.get(role, 0.0)
            if point < share:
                return role
            point -= share
        return "train"


Split = Annotated[Publisher | KeyedHash, Field(discriminator="kind")]


def split(workspace: Workspace, snapshot: Snapshot, cohort: Cohort, config: Publisher | KeyedHash) -> Made[Splits]:
    """Assign every sample of a cohort its role.

    Args:
        snapshot: whose identifiers (readable by the owner alone) the hash takes.

    Raises:
        DataRefused: the publisher gave no role, a patient would straddle two roles, or a role is empty.
    """
    key = stage_key("split", VERSION, {"snapshot": snapshot.key, "cohort": cohort.key}, config, ("polars", "pyarrow"))

    def build(folder: Path) -> Splits:
        import polars as pl

        from medai.tables import read_table, write_table

        table = pl.DataFrame(
            read_table(
                workspace.folder("select", cohort.key) / "cohort.parquet",
                ["sample_id", "subject_id", "publisher_role"],
            )
        )
        if isinstance(config, KeyedHash):
            identifiers = pl.DataFrame(
                read_table(workspace.folder("ingest", snapshot.key) / "identifiers.parquet")
            ).with_columns(pl.col("site_id").map_elements(config.role, return_dtype=pl.String).alias("role"))
            roles = identifiers.select("subject_id", "role")
            table = table.join(roles, on="subject_id", how="left", maintain_order="left")
        else:
            table = table.with_columns(pl.col("publisher_role").alias("role"))
            _refuse_without_role(table["role"].null_count(), table.height)
        stands = most_protected(table)
        straddling = stands.filter(pl.col("roles") > 1).height
        dropped: dict[str, int] = {}
        if straddling and isinstance(config, Publisher) and config.straddling == "drop_from_train":
            table = table.join(stands, on="subject_id", how="left", maintain_order="left")
            away = table.filter(pl.col("role") != pl.col("kept"))
            dropped = {role: int((away["role"] == role).sum()) for role in ROLES if (away["role"] == role).any()}
            table = table.filter(pl.col("role") == pl.col("kept"))
        elif straddling:
            raise DataRefused(
                "the same patient stands on two sides of the split",
                expected="each patient in one role only",
                received=f"{straddling} of {table['subject_id'].n_unique()} subjects in several roles",
                action="use split kind keyed_hash, or the publisher's with straddling: drop_from_train",
            )
        present = {role: int((table["role"] == role).sum()) for role in ROLES}
        needed: list[Role] = ["train", "validation", "test"]
        if isinstance(config, KeyedHash) and config.fractions.get("gate", 0) > 0:
            needed.append("gate")
        for role in needed:
            if present[role] == 0:
                raise DataRefused(
                    f"no sample is in {role}",
                    expected=f"samples in {', '.join(needed)}",
                    received=", ".join(f"{name}: {count}" for name, count in present.items()),
                    action="give the split other fractions, or more data",
                )
        table = table.select("sample_id", "subject_id", pl.lit(0, pl.Int8).alias("fold"), "role").sort("sample_id")
        write_table(folder / "splits.parquet", table.to_arrow())
        (folder / "splits.parquet").chmod(0o600)
        test = table.filter(pl.col("role") == "test")["subject_id"].unique().sort().to_list()
        return Splits(
            key=key,
            samples={role: count for role, count in present.items() if count},
            subjects={
                role: table.filter(pl.col("role") == role)["subject_id"].n_unique()
                for role, count in present.items()
                if count
            },
            test_sha256=sha256_of(test),
            straddling=straddling,
            dropped=dropped,
        )

    return workspace.materialise("split", key, Splits, build)


def most_protected(table: pl.DataFrame) -> pl.DataFrame:
    """How many roles each subject stands in, and the most protected of them.

    Args:
        table: subject_id and role, one row a sample.

    Returns:
        subject_id, roles, kept; one row a subject, in no particular order.
    """
    import polars as pl

    present = (pl.when((pl.col("role") == role).any()).then(pl.lit(role)) for role in _ORDER)
    return table.group_by("subject_id").agg(
        pl.col("role").n_unique().alias("roles"), pl.coalesce(*present).alias("kept")
    )


def _refuse_without_role(missing: int, samples: int) -> None:
    if missing:
        raise DataRefused(
            "the publisher's split does not name every sample's role",
            expected="train, validation or test for each sample",
            received=f"{missing} of {samples} samples without a role",
            action="use split kind keyed_hash for this source",
        )
