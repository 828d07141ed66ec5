"""A MEDS data set to canonical Parquet, shard by shard; memory holds one range of subjects."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medai.errors import DataRefused
from medai.records import sha256_of_file
from medai.sources.files import token_of
from medai.sources.meds.events import OWN, canonical, placed_rows
from medai.sources.meds.layout import CODES as CODE
from medai.sources.meds.layout import CODES_FURTHER, DATA, EXTENSIONS, VALUES, Found, Table, description_of
from medai.sources.meds.passing import Digest, Parts
from medai.sources.meds.people import People
from medai.sources.meds.stays import (
    LABELS,
    STAY,
    exported_stays,
    label_rows,
    labelled_stays,
    no_stays,
    types_of_stays,
)
from medai.sources.meds.variables import Codes
from medai.tables import (
    EVENTS,
    IDENTIFIERS,
    OWNER_ALONE,
    STAY_IDENTIFIERS,
    Facts,
    table_of,
    write_table,
    write_tables,
)
from medai.vocabularies import load_vocabulary

if TYPE_CHECKING:
    import polars as pl

    from medai.sources.meds import Meds

CODES = {
    "code": "string",
    "source_table": "string",
    "description": "large_string",
    "category": "string",
    "variable": "string",
    "readings": "int64",
    "numbers": "int64",
    "named": "bool",
}
"""Columns of ``codes.parquet``; ``named``: the data set's own metadata know the code."""
SUBJECTS = {"subject_id": "int64", "publisher_role": "string"}
"""Columns of ``subjects.parquet``: the side of each subject, for predictions that belong to no stay."""
ETL_NAME = "medai"
"""What ``dataset.json`` says of an export of medai."""
MEDS_VERSION = "0.4"
ROWS_A_PART = 1 << 20
"""Rows that are sorted at once: with what the sort needs, the reader stays below 2 GiB."""


def write_snapshot(config: Meds, found: Found, folder: Path, rows_a_part: int = ROWS_A_PART) -> Facts:
    """Write ``events``, ``stays``, ``labels``, ``codes``, ``subjects`` and the identifiers into the folder.

    Raises:
        DataRefused: a file is damaged or of another schema, a subject stands in two shards, or nothing is in them.
    """
    import polars as pl

    counts, dropped = Counter[str](), Counter[str]()
    described = description_of(found.description)
    own = described.get("etl_name") == ETL_NAME
    counts["no_dataset_description"] += found.description is None
    version = described.get("meds_version")
    counts["other_meds_version"] += version is not None and not f"{version}.".startswith(f"{MEDS_VERSION}.")
    counts["ignored_file"] += len(found.ignored)
    tables = [Table(file, f"shard {at}", DATA, VALUES, EXTENSIONS) for at, file in enumerate(found.shards, start=1)]
    _compare(tables, own, counts)
    parts = max(1, -(-sum(table.rows for table in tables) // rows_a_part))
    codes = Codes(load_vocabulary(config.vocabulary), config.items_of)
    people, stay_rows = People(own), []
    with TemporaryDirectory(dir=folder, prefix=".parts-") as scratch:
        places = Parts(Path(scratch), parts)
        for position, table in enumerate(tables, start=1):
            for rows in placed_rows(table, counts, dropped):
                people.meet(rows, position, counts)
                rows = rows.with_columns(people.hashed(rows["subject_id"]).alias("subject_id"))
                if own:
                    stay_rows.append(rows.filter(pl.col("code").str.starts_with(STAY)))
                    rows = rows.filter(~pl.col("code").str.starts_with(STAY))
                places.add(canonical(rows, codes, config, counts, own=own))
        if not places.rows:
            raise DataRefused(
                "the data set holds no event",
                expected="a row with subject and code",
                received="none",
                action="point --data at another data set",
            )
        whole = people.table(found.splits, counts)
        labels = pl.DataFrame(schema={"stay_id": pl.Int64})
        stays = no_stays()
        if found.labels:
            rows, dropped["labels"] = label_rows(found.labels, config.categories, counts)
            strangers = rows.join(whole, left_on="subject_id", right_on="site_id", how="anti").height
            counts["label_of_unknown_subject"] += strangers
            dropped["labels"] += strangers
            stays, labels = labelled_stays(rows, config.observation_hours, whole, counts)
        elif own and stay_rows:
            stays = exported_stays(pl.concat(stay_rows), whole)
            labels = stays.select("stay_id")
        digest = Digest(stays, counts)
        written = {
            "events": write_tables(
                folder / "events.parquet",
                (table_of(_columns(part), EVENTS | OWN) for part in digest.watching(places.sorted())),
                counters=("row_id", "source_row"),
            )
        }
    _write_stays(stays, labels, digest, token_of(sha256_of_file(found.codes)), folder, written)
    written["codes"] = _write_codes(folder, digest.codes(), found.codes, counts)
    roles = {"subject_id": whole["hashed"].to_arrow(), "publisher_role": whole["role"].to_arrow()}
    written["subjects"] = write_table(folder / "subjects.parquet", table_of(roles, SUBJECTS))
    ids = {"subject_id": whole["hashed"].to_arrow(), "site_id": whole["site_id"].cast(pl.String).to_arrow()}
    write_table(folder / "identifiers.parquet", table_of(ids, IDENTIFIERS), mode=OWNER_ALONE)
    return Facts(
        unit="patient",
        tables=written,
        counts={reason: count for reason, count in sorted(counts.items()) if count},
        dropped={table: count for table, count in sorted(dropped.items()) if count},
    )


def _compare(tables: list[Table], own: bool, counts: Counter[str]) -> None:
    """Count shards of other columns than the standard's, and such as differ from the first.

    Raises:
        DataRefused: an export of medai lost what says when a row was known, or what it measures.
    """
    for position, table in enumerate(tables, start=1):
        lost = [name for name in ("known_time", "variable") if own and name not in table.columns]
        if lost:
            raise DataRefused(
                f"shard {position} of an export of medai lacks column {lost[0]}",
                expected="the columns that the export wrote, in their types",
                received=f"a shard without {' and '.join(lost)}",
                action=f"export the data set again, or take etl_name {ETL_NAME} out of metadata/dataset.json",
            )
        counts["column_of_another_type"] += len(table.passed_over)
        counts["table_with_extra_columns"] += not own and len(table.others) > len(table.passed_over)
        counts["shard_without_rows"] += not table.rows
        counts["shard_of_other_columns"] += set(table.columns) != set(tables[0].columns)


def _columns(table: pl.DataFrame) -> dict[str, object]:
    return {name: table[name].to_arrow() for name in table.columns}


def _write_stays(
    stays: pl.DataFrame, labels: pl.DataFrame, digest: Digest, token: str, folder: Path, written: dict[str, int]
) -> None:
    import polars as pl

    numbers = pl.int_range(pl.len(), dtype=pl.Int64).alias("row_id")
    types = types_of_stays()
    stays = stays.with_columns(numbers, digest.has_series().alias("has_series"), pl.lit(token).alias("source_id"))
    known = {name: column for name, column in _columns(stays).items() if name in types}
    written["stays"] = write_table(folder / "stays.parquet", table_of(known, types))
    kinds = {name: LABELS[name] for name in ("row_id", *labels.columns)}
    written["labels"] = write_table(folder / "labels.parquet", table_of(_columns(labels.with_columns(numbers)), kinds))
    site = {"stay_id": stays["stay_id"].to_arrow(), "site_id": stays["stay_site_id"].to_arrow()}
    write_table(folder / "stay_identifiers.parquet", table_of(site, STAY_IDENTIFIERS), mode=OWNER_ALONE)


def _write_codes(folder: Path, codes: pl.DataFrame, metadata: Path, counts: Counter[str]) -> int:
    """Codes that occur, with what the data set's metadata call them."""
    import polars as pl

    table = Table(metadata, "metadata/codes.parquet", CODE, None, CODES_FURTHER)
    frames = [pl.DataFrame(batch) for batch in table.batches(counts)]
    said = pl.concat(frames) if frames else pl.DataFrame(schema={"code": pl.String})
    counts["no_code_descriptions"] += "description" not in table.columns
    if "description" not in said.columns:
        said = said.with_columns(pl.lit(None, pl.String).alias("description"))
    said = said.select(pl.col("code", "description").cast(pl.String)).drop_nulls("code").sort("code", "description")
    named = said.unique("code", keep="first", maintain_order=True).with_columns(pl.lit(True).alias("named"))
    codes = codes.join(named, on="code", how="left", maintain_order="left")
    codes = codes.with_columns(pl.col("named").fill_null(False), pl.lit(None, pl.String).alias("category"))
    return write_table(folder / "codes.parquet", table_of(_columns(codes.select(*CODES)), CODES))
