"""The subjects of a data set: their ids, the shard of each, and which side of a split the publisher gave them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import DataRefused
from medai.sources.meds.layout import SPLITS, Table
from medai.sources.meds.passing import BIRTH
from medai.sources.meds.stays import genders
from medai.tables import subject_ids

if TYPE_CHECKING:
    import polars as pl

ROLES = {"train": "train", "tuning": "validation", "held_out": "test", "gate": "gate"}
"""The standard's name of a split → the role; ``gate`` is medai's own."""


class People:
    """The subjects: their ids, the shard of each, when they were born and what their gender is.

    Args:
        own: an export of medai, whose subject ids are medai's already.
    """

    def __init__(self, own: bool) -> None:
        import polars as pl

        self._own = own
        self._ids = pl.DataFrame(schema={"site_id": pl.Int64, "hashed": pl.Int64, "shard": pl.Int64})
        self._births: list[pl.DataFrame] = []
        self._genders: dict[int, str] = {}

    def meet(self, rows: pl.DataFrame, shard: int, counts: Counter[str]) -> None:
        """Note the subjects of a shard's rows.

        Raises:
            DataRefused: a subject stood in another shard.
        """
        import polars as pl

        asked = pl.DataFrame({"site_id": rows["subject_id"].unique().sort()})
        known = asked.join(self._ids, on="site_id", how="left")
        twice = known.filter(pl.col("shard") != shard).height
        if twice:
            raise DataRefused(
                f"shard {shard} holds subjects of another shard",
                expected="each subject in one shard, as MEDS 0.4 says",
                received=f"{twice} subjects that stand in two",
                action="have the data set written anew; one of the shards may be a copy",
            )
        new = known.filter(pl.col("shard").is_null())["site_id"]
        if len(new):
            hashed = new.to_list() if self._own else subject_ids("meds", [str(number) for number in new.to_list()])
            added = pl.DataFrame({"site_id": new, "hashed": hashed, "shard": shard}, schema=self._ids.schema)
            self._ids = pl.concat([self._ids, added])
        born = rows.filter(pl.col("code") == BIRTH).select("subject_id", "time")
        self._births.append(born)
        counts["subject_born_twice"] += born.height - born["subject_id"].n_unique()
        self._genders |= dict(genders(rows))

    def hashed(self, site: pl.Series) -> pl.Series:
        """The ids of subjects that were met."""
        known = site.to_frame("site_id").join(self._ids, on="site_id", how="left", maintain_order="left")
        return known["hashed"]

    def table(self, splits: Path | None, counts: Counter[str]) -> pl.DataFrame:
        """site_id, hashed, role, birth, gender; one row a subject, sorted by hashed.

        Raises:
            DataRefused: a subject has two splits, or two subjects one id.
        """
        import polars as pl

        if not self._own:
            subject_ids("meds", [str(number) for number in self._ids["site_id"].to_list()])
        births = pl.concat(self._births).drop_nulls().group_by("subject_id").agg(pl.col("time").min().alias("birth"))
        of_gender = pl.DataFrame(
            {"subject_id": list(self._genders), "gender": list(self._genders.values())},
            schema={"subject_id": pl.Int64, "gender": pl.String},
        )
        whole = self._ids.drop("shard").sort("hashed")
        roles = _roles(splits, counts)
        if splits is not None:
            counts["split_of_unknown_subject"] += roles.join(
                self._ids, left_on="subject_id", right_on="site_id", how="anti"
            ).height
            counts["subject_without_split"] += self._ids.join(
                roles, left_on="site_id", right_on="subject_id", how="anti"
            ).height
        for table in (births, of_gender, roles):
            whole = whole.join(table, left_on="site_id", right_on="subject_id", how="left", maintain_order="left")
        return whole


def _roles(splits: Path | None, counts: Counter[str]) -> pl.DataFrame:
    """subject_id and role; a split of another name is counted and gives none."""
    import polars as pl

    empty = pl.DataFrame(schema={"subject_id": pl.Int64, "role": pl.String})
    if splits is None:
        counts["no_subject_splits"] += 1
        return empty
    table = Table(splits, "metadata/subject_splits.parquet", SPLITS)
    counts["table_with_extra_columns"] += bool(table.others)
    frames = [pl.DataFrame(one) for one in table.batches(counts)]
    if not frames:
        return empty
    given = pl.concat(frames)
    rows = given.drop_nulls()
    counts["split_without_subject"] += given.height - rows.height
    rows = rows.unique(maintain_order=True)
    twice = rows.height - rows["subject_id"].n_unique()
    if twice:
        raise DataRefused(
            "metadata/subject_splits.parquet gives subjects two splits",
            expected="one split a subject",
            received=f"{twice} subjects with two",
            action="mend the list; a subject on both sides would tell the model its own outcome",
        )
    role = pl.col("split").cast(pl.String).replace_strict(ROLES, default=None, return_dtype=pl.String)
    named = rows.select("subject_id", role.alias("role"))
    counts["subject_in_another_split"] += named["role"].null_count()
    return named
