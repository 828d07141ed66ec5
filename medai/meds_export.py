"""A snapshot as a MEDS 0.4 data set: shards, metadata and, of a Problem, its split and its labels.

    DIR/data/00000.parquet …          events by subject and time, and the stays in codes of their own
    DIR/metadata/codes.parquet        each code, what its dictionary calls it, the clinical variable as its parent
    DIR/metadata/subject_splits.parquet
    DIR/metadata/dataset.json         no date and no name of a machine: equal snapshots give equal bytes
    DIR/labels/OUTPUT/0.parquet       one row a prediction of the Problem's cohort, and one folder an output

Subjects, admissions and stays carry medai's ids, never the site's, and rows not the publisher's numbers. Numbers of
clinical variables are in the variable's unit, whatever unit the code names: the column ``unit`` says so. What is known
of a row beyond the standard (``known_time``, ``variable``, …) stands in further columns, which the standard allows; the
source ``meds`` reads them back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai import __version__
from medai.outputs import Binary, Multilabel, Output
from medai.records import Snapshot, canonical_json
from medai.sources.meds.people import ROLES
from medai.sources.meds.snapshot import ETL_NAME, MEDS_VERSION
from medai.sources.meds.stays import END, NUMBERS, START, STAY
from medai.sources.meds.stays import OWN as STAY_COLUMNS
from medai.tables import read_table, write_table
from medai.validation import set_aside_rows
from medai.vocabularies import load_vocabulary, vocabularies
from medai.workspace import write_durably

if TYPE_CHECKING:
    import polars as pl

ROWS_A_SHARD = 1 << 20
CORE = ("subject_id", "time", "code", "numeric_value", "text_value")
EXTENSIONS = ("known_time", "variable", "source_table", "admission_id", "link", "hours_outside_admission", "row_id")
"""Columns of the events that are written beside the standard's, where the snapshot has them."""


class Asked(NamedTuple):
    """What a Problem adds to its snapshot.

    Attributes:
        aside: the folder of its validation, whose rows are left out.
        cohort: the folder of its cohort.
        splits: the folder of its split.
        outputs: what it predicts.
    """

    aside: Path
    cohort: Path
    splits: Path
    outputs: Mapping[str, Output]


def export_meds(
    snapshot: Snapshot, raw: Path, out: Path, asked: Asked | None = None, rows_a_shard: int = ROWS_A_SHARD
) -> dict[str, int]:
    """Write a data set into an empty folder.

    Args:
        raw: the snapshot's folder.
        asked: of a Problem; without one the snapshot is written whole, without labels, and with the splits that its
            publisher gave.

    Returns:
        Counts: subjects, events, stays, shards, codes, labels, and rows left out because validation set them aside.

    Raises:
        DataRefused: the snapshot cannot be read.
    """
    import polars as pl

    for folder in ("data", "metadata"):
        (out / folder).mkdir()
    aside = None if asked is None else asked.aside
    stays = _kept(pl.DataFrame(read_table(raw / "stays.parquet")), "stays", aside)
    written = dict.fromkeys(("subjects", "events", "stays", "shards", "codes", "labels", "set_aside"), 0)
    columns: list[str] = []
    counted: list[pl.DataFrame] = []
    subjects: list[pl.Series] = []
    rows_of_stays = stay_rows(stays)
    for number, events in enumerate(_shards(raw / "events.parquet", rows_a_shard)):
        kept = _kept(events.rows, "events", aside)
        written["set_aside"] += events.rows.height - kept.height
        own = rows_of_stays.filter(pl.col("subject_id").is_between(events.first, events.last))
        shard = _shard(kept, own)
        columns = shard.columns
        write_table(out / "data" / f"{number:05}.parquet", _typed(shard))
        counted.append(shard.group_by("code").agg(pl.col("variable").drop_nulls().first()))
        subjects.append(shard["subject_id"].unique().sort())
        written["events"] += kept.height
        written["shards"] += 1
    everybody = pl.concat(subjects)
    written["subjects"], written["stays"] = len(everybody), stays.height
    written["codes"] = _write_codes(raw, pl.concat(counted), out / "metadata" / "codes.parquet")
    roles = _publishers_roles(raw, stays) if asked is None else _roles(asked.splits)
    if roles is not None:
        _write_splits(roles.filter(pl.col("subject_id").is_in(everybody.implode())), out)
    described = {
        "dataset_name": snapshot.source,
        "dataset_version": snapshot.data_sha256,
        "etl_name": ETL_NAME,
        "etl_version": __version__,
        "meds_version": MEDS_VERSION,
        "code_modifier_columns": ["unit"],
        "raw_source_id_columns": [name for name in ("admission_id", "stay_id") if name in columns],
        "other_extension_columns": [name for name in columns if name not in (*CORE, "unit", "admission_id", "stay_id")],
    }
    write_durably(out / "metadata" / "dataset.json", canonical_json(described) + b"\n")
    if asked is not None:
        (out / "labels").mkdir()
        cohort = pl.DataFrame(read_table(asked.cohort / "cohort.parquet"))
        for name, output in asked.outputs.items():
            for folder, labels in labels_of(name, output, cohort):
                (out / "labels" / folder).mkdir()
                write_table(out / "labels" / folder / "0.parquet", labels.to_arrow())
                written["labels"] += labels.height
    return written


def stay_rows(stays: pl.DataFrame) -> pl.DataFrame:
    """Rows of the stays' own codes: when each began and ended, and what was known of it at its start."""
    import polars as pl

    def rows(code: str, time: str, number: str | None = None, text: str | None = None) -> pl.DataFrame:
        return stays.select(
            "subject_id",
            pl.col(time).alias("time"),
            pl.lit(code).alias("code"),
            (pl.col(number) if number else pl.lit(None)).cast(pl.Float32).alias("numeric_value"),
            (pl.col(text) if text else pl.lit(None)).cast(pl.String).alias("text_value"),
            pl.col(time).alias("known_time"),
            "admission_id",
            "stay_id",
        )

    parts = [rows(START, "start"), rows(END, "end").drop_nulls("time")]
    for name in STAY_COLUMNS:
        if name in stays.columns:
            number = name in NUMBERS
            part = rows(STAY + name, "start", name if number else None, None if number else name)
            parts.append(part.drop_nulls("numeric_value" if number else "text_value"))
    return pl.concat(parts).sort("subject_id", "time", "stay_id", "code")


def labels_of(name: str, output: Output, cohort: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Folder and label table of an output: true or false, or the number of a class and its name.

    A multilabel output gives a folder for each finding, named ``OUTPUT.position`` as in the cohort.
    """
    import polars as pl

    at = [pl.col("subject_id"), pl.col("prediction_time")]
    if isinstance(output, Multilabel):
        for position in range(output.columns):
            yield f"{name}.{position}", _rows(cohort, [*at, (pl.col(f"{name}.{position}") == 1).alias("boolean_value")])
    elif isinstance(output, Binary):
        yield name, _rows(cohort, [*at, (pl.col(name) == 1).alias("boolean_value")])
    else:
        words = pl.col(name).replace_strict(dict(enumerate(output.names)), return_dtype=pl.String)
        number = pl.col(name).cast(pl.Int64).alias("integer_value")
        yield name, _rows(cohort, [*at, number, words.alias("categorical_value")])


def _rows(cohort: pl.DataFrame, columns: list[pl.Expr]) -> pl.DataFrame:
    return cohort.select(columns).sort("subject_id", "prediction_time")


class _Shard(NamedTuple):
    """Events of a range of subject ids, both ends included; every subject of the snapshot is in one range."""

    first: int
    last: int
    rows: pl.DataFrame


def _shards(path: Path, rows_a_shard: int) -> Iterator[_Shard]:
    """Whole subjects, as many as fit; one shard of nothing where there is nobody."""
    import polars as pl
    import pyarrow.parquet as pq

    first, waiting = 0, pl.DataFrame()
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=min(rows_a_shard, 1 << 17)):
            rows = pl.DataFrame(batch).with_columns(pl.col(pl.Categorical).cast(pl.String))
            waiting = rows if waiting.is_empty() else pl.concat([waiting, rows])
            if waiting.height > rows_a_shard:
                whole = waiting.filter(pl.col("subject_id") < waiting["subject_id"][-1])
                if whole.height:
                    last = int(whole["subject_id"][-1])
                    yield _Shard(first, last, whole)
                    first, waiting = last + 1, waiting[whole.height :]
    yield _Shard(first, (1 << 63) - 1, waiting)


def _kept(rows: pl.DataFrame, table: str, aside: Path | None) -> pl.DataFrame:
    if aside is None:
        return rows
    return rows.join(set_aside_rows(aside, table), on="row_id", how="anti", maintain_order="left")


def _shard(events: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """Events and stays' rows by subject and time, a subject's timeless rows first; the standard's columns first."""
    import polars as pl

    further = [name for name in EXTENSIONS if name in events.columns]
    named = events.select(
        *CORE,
        *further,
        pl.col("variable").replace_strict(_units(), default=None, return_dtype=pl.String).alias("unit"),
        pl.lit(None, pl.Int64).alias("stay_id"),
    )
    own = stays.select(
        *(
            (pl.col(name) if name in stays.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in named.schema.items()
        )
    )
    order = ("subject_id", "time", "known_time", "row_id", "stay_id", "code")
    return pl.concat([named, own]).sort(order, nulls_last=[False, False, False, True, True, False])


def _units() -> dict[str, str]:
    """Clinical variable → the unit of its numbers; it is the same in every vocabulary."""
    return {
        name: variable.unit
        for one in sorted(vocabularies())
        for name, variable in load_vocabulary(one).variables.items()
    }


def _typed(shard: pl.DataFrame) -> object:
    """As Arrow, with the standard's types: ``code`` a string, ``text_value`` a large one."""
    import pyarrow as pa

    table = shard.to_arrow()
    plain = {"text_value": pa.large_string()}
    fields = [
        pa.field(field.name, plain.get(field.name, pa.string()) if _is_text(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _is_text(kind: object) -> bool:
    return "string" in str(kind)


def _write_codes(raw: Path, counted: pl.DataFrame, path: Path) -> int:
    """Every code of the shards: description where the snapshot has one, the clinical variable as its parent."""
    import polars as pl
    import pyarrow as pa

    codes = counted.group_by("code").agg(pl.col("variable").drop_nulls().first()).sort("code")
    described = raw / "codes.parquet"
    if described.exists():
        said = pl.DataFrame(read_table(described, ["code", "description"]))
        codes = codes.join(said, on="code", how="left", maintain_order="left")
    else:
        codes = codes.with_columns(pl.lit(None, pl.String).alias("description"))
    parents = [None if variable is None else [f"medai/{variable}"] for variable in codes["variable"].to_list()]
    schema = pa.schema([("code", pa.string()), ("description", pa.string()), ("parent_codes", pa.list_(pa.string()))])
    columns = [codes["code"].to_list(), codes["description"].to_list(), parents]
    return write_table(path, pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))


def _publishers_roles(raw: Path, stays: pl.DataFrame) -> pl.DataFrame | None:
    import polars as pl

    told = raw / "subjects.parquet"
    stays = pl.DataFrame(read_table(told)) if told.exists() else stays
    roles = stays.select("subject_id", pl.col("publisher_role").alias("role")).drop_nulls().unique()
    alone = roles.filter(pl.len().over("subject_id") == 1)
    return alone if alone.height else None


def _roles(splits: Path) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(read_table(splits / "splits.parquet", ["subject_id", "role"])).unique()


def _write_splits(roles: pl.DataFrame, out: Path) -> None:
    import polars as pl
    import pyarrow as pa

    names = {role: name for name, role in ROLES.items()}
    named = roles.select("subject_id", pl.col("role").replace_strict(names, return_dtype=pl.String).alias("split"))
    table = named.sort("subject_id").to_arrow()
    schema = pa.schema([("subject_id", pa.int64()), ("split", pa.string())])
    write_table(out / "metadata" / "subject_splits.parquet", table.cast(schema))
