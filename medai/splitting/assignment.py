"""``split``: who learns and who judges; patients never straddle.

A subject's side is a keyed hash of its id, the publisher's or a given list, or the time at which it came; never the
run's seed. So a patient who was once in test is in test in every later snapshot, however the data grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from medai.errors import DataRefused, near_match
from medai.records import ROLES, Cohort, Role, Snapshot, Splits, sha256_of, stage_key
from medai.splitting.definition import ORDER, Division, KeyedHash, Listed, Publisher, Split, Time
from medai.splitting.likeness import joined_by_likeness
from medai.splitting.lists import read_lists
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 2
UNCERTAIN = "uncertain"
"""In ``Splits.dropped``: samples whose period is not known for certain."""


def split(workspace: Workspace, snapshot: Snapshot, cohort: Cohort, config: Split) -> Made[Splits]:
    """Assign every sample of a cohort its role.

    Args:
        snapshot: whose identifiers (readable by the owner alone) the hash takes.

    Raises:
        ConfigurationError: a list of subjects cannot be read.
        DataRefused: the publisher gave no role, a patient would straddle two roles, or a role is empty.
    """
    listed: dict[str, Role] = {}
    keyed: BaseModel = config
    if isinstance(config, Listed):
        listed, keyed = read_lists(config)
    key = stage_key("split", VERSION, {"snapshot": snapshot.key, "cohort": cohort.key}, keyed, ("polars", "pyarrow"))

    def build(folder: Path) -> Splits:
        import polars as pl

        from medai.tables import read_table, write_table

        raw = workspace.folder("ingest", snapshot.key)
        table = pl.DataFrame(
            read_table(
                workspace.folder("select", cohort.key) / "cohort.parquet",
                ["sample_id", "subject_id", "publisher_role"],
            )
        )
        dropped: dict[str, int] = {}
        straddling = 0
        if isinstance(config, Publisher):
            table = table.with_columns(pl.col("publisher_role").alias("role"))
            _refuse_without_role(table["role"].null_count(), table.height)
            if config.divide_train is not None:
                table = _divided(table, raw, config.divide_train)
        else:
            table = _by_subject(table, raw, config, listed)
        if isinstance(config, Time):
            table, straddling, dropped = _by_time(table, _years(workspace, raw, cohort, config), config)
        hashed = config.divide_train if isinstance(config, Publisher) else config
        joined = 0
        if isinstance(hashed, (KeyedHash, Division)) and hashed.near_duplicates == "together":
            table, joined = joined_by_likeness(table, raw, "train" if isinstance(hashed, Division) else None)
        stands = most_protected(table)
        if not isinstance(config, Time):
            straddling = stands.filter(pl.col("roles") > 1).height
        if straddling and isinstance(config, Publisher) and config.straddling == "drop_from_train":
            table = table.join(stands, on="subject_id", how="left", maintain_order="left")
            away = table.filter(pl.col("role") != pl.col("kept"))
            dropped = {role: int((away["role"] == role).sum()) for role in ROLES if (away["role"] == role).any()}
            table = table.filter(pl.col("role") == pl.col("kept"))
        elif stands.filter(pl.col("roles") > 1).height:
            raise DataRefused(
                "the same patient stands on two sides of the split",
                expected="each patient in one role only",
                received=f"{straddling} of {table['subject_id'].n_unique()} subjects in several roles",
                action="use split kind keyed_hash, or the publisher's with straddling: drop_from_train",
            )
        present = {role: int((table["role"] == role).sum()) for role in ROLES}
        for role in config.needed:
            if present[role] == 0:
                raise DataRefused(
                    f"no sample is in {role}",
                    expected=f"samples in {', '.join(config.needed)}",
                    received=", ".join(f"{name}: {count}" for name, count in present.items()),
                    action="let split.divide_train divide the publisher's train, or use split kind keyed_hash"
                    if isinstance(config, Publisher)
                    else "give the split other fractions, or more data",
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
            joined=joined,
        )

    return workspace.materialise("split", key, Splits, build)


def _by_subject(
    table: pl.DataFrame, raw: Path, config: KeyedHash | Time | Listed, listed: dict[str, Role]
) -> pl.DataFrame:
    """The samples with their subject's role by the site's own id.

    Raises:
        DataRefused: a subject stands on no list, and the split does not allow that.
    """
    import polars as pl

    from medai.tables import read_table

    identifiers = pl.DataFrame(read_table(raw / "identifiers.parquet"))
    if isinstance(config, Listed):
        roles = [listed.get(site_id) for site_id in identifiers["site_id"].to_list()]
    else:
        roles = [config.role(site_id) for site_id in identifiers["site_id"].to_list()]
    given = identifiers.select("subject_id", pl.Series("role", roles, pl.String))
    table = table.join(given, on="subject_id", how="left", maintain_order="left")
    if isinstance(config, Listed):
        without = table.filter(pl.col("role").is_null())["subject_id"].n_unique()
        if without and config.unlisted == "refuse":
            raise DataRefused(
                "subjects of the cohort stand on no list",
                expected="every subject on a list, or split.unlisted: train",
                received=f"{without} of {table['subject_id'].n_unique()} subjects on none",
                action="complete the lists, or let the others be train",
            )
        table = table.with_columns(pl.col("role").fill_null("train"))
    return table


def _divided(table: pl.DataFrame, raw: Path, division: Division) -> pl.DataFrame:
    """The samples, those of the publisher's train with a role by their subject's hash."""
    import polars as pl

    from medai.tables import read_table

    identifiers = pl.DataFrame(read_table(raw / "identifiers.parquet"))
    roles = [division.role(site_id) for site_id in identifiers["site_id"].to_list()]
    given = identifiers.select("subject_id", pl.Series("part", roles, pl.String))
    table = table.join(given, on="subject_id", how="left", maintain_order="left")
    return table.with_columns(pl.when(pl.col("role") == "train").then("part").otherwise("role").alias("role"))


def _years(workspace: Workspace, raw: Path, cohort: Cohort, config: Time) -> pl.DataFrame:
    """sample_id and ``year``, the earliest that its stay may be of.

    Raises:
        DataRefused: the samples have no stay, or the stays no year.
    """
    import polars as pl

    from medai.tables import read_table

    samples = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet"))
    samples = samples.with_columns(pl.col("stay_id" if "stay_id" in samples.columns else "sample_id").alias("stay_id"))
    path = raw / "stays.parquet"
    columns = read_table(path).column_names if path.exists() else []
    if config.column not in columns:
        raise DataRefused(
            "a split by time needs the year of each stay",
            expected=f"a column {config.column} of the stays table",
            received=f"none of that name; {near_match(config.column, columns)}" if columns else "no stays",
            action="use split kind keyed_hash for this source, or name another split.column",
        )
    years = pl.DataFrame(read_table(path, ["stay_id", config.column])).rename({config.column: "year"})
    return samples.select("sample_id", "stay_id").join(years, on="stay_id", how="left").select("sample_id", "year")


def _by_time(table: pl.DataFrame, years: pl.DataFrame, config: Time) -> tuple[pl.DataFrame, int, dict[str, int]]:
    """The samples that keep a role, the patients of both periods, and who lost a role.

    Args:
        table: sample_id, subject_id and the role that its subject has in the earlier period.
    """
    import polars as pl

    table = table.join(years, on="sample_id", how="left", maintain_order="left", validate="1:1")
    later = (pl.col("year") >= config.first_year).fill_null(False)
    earlier = (pl.col("year") + config.uncertain_years < config.first_year).fill_null(False)
    before = table.filter(~later)["subject_id"].unique()  # an uncertain stay may be an earlier one
    both = later & pl.col("subject_id").is_in(before.implode())
    counted = table.select(
        uncertain=(~earlier & ~later).sum(), test=both.sum(), subjects=pl.col("subject_id").filter(both).n_unique()
    ).row(0, named=True)
    dropped = {name: counted[key] for name, key in ((UNCERTAIN, "uncertain"), ("test", "test")) if counted[key]}
    kept = table.filter(earlier | (later & ~both)).with_columns(
        pl.when(later).then(pl.lit("test")).otherwise("role").alias("role")
    )
    return kept.drop("year"), counted["subjects"], dropped


def most_protected(table: pl.DataFrame) -> pl.DataFrame:
    """How many roles each subject stands in, and the most protected of them.

    Args:
        table: subject_id and role, one row a sample.

    Returns:
        subject_id, roles, kept; one row a subject, in no particular order.
    """
    import polars as pl

    present = (pl.when((pl.col("role") == role).any()).then(pl.lit(role)) for role in ORDER)
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
