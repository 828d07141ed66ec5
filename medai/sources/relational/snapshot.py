"""A folder of tables to canonical Parquet: stays, labels, events sorted by subject, codes, identifiers.

Events are read once, batch by batch, and put aside by range of subject id in parts that fit in memory; each part is
then sorted by a total order of content (``ordering``) and appended. How many parts there are, in which order rows
stood in their files and how many threads worked changes no byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from medai.errors import DataRefused
from medai.records import sha256_of_file
from medai.sources.files import token_of
from medai.sources.relational.bearings import Kinds, Places
from medai.sources.relational.csv_text import each_batch, read_whole
from medai.sources.relational.diagnoses import phenotype_labels
from medai.sources.relational.digest import Digest
from medai.sources.relational.events import EventReader
from medai.sources.relational.identity import Identities
from medai.sources.relational.mapping import Entities, Mapping
from medai.sources.relational.ordering import Bearings, Parts, in_order
from medai.sources.relational.stays import LABELS, assemble, typed
from medai.sources.relational.stays import OWN as STAYS_OWN
from medai.sources.relational.storing import COUNTERS, SPLIT, event_schema, groups_of
from medai.tables import STAYS, Facts, table_of, write_groups, write_table
from medai.threads import each_of
from medai.vocabularies import Vocabulary
from medai.vocabularies.phenotypes import Phenotypes

if TYPE_CHECKING:
    import polars as pl

    from medai.sources.relational.events import Events

BYTES_A_PART = 3 << 23
"""Raw bytes (compressed ones counted tenfold) whose events are sorted at once: 24 MiB, some 250,000 chart rows."""
_MOST_PARTS = 400
_INFLATES_TO = 10

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
"""Columns of ``codes.parquet``, one row a code: what its dictionary calls it, the variable that it measures, how many
readings and how many of them are numbers; ``named``: its dictionary knows the item (null where it has none)."""


class Reading(NamedTuple):
    """What is read, and how.

    Attributes:
        mapping, vocabulary: of the source.
        event_tables: which of the mapping's event tables.
        files: table → file.
        delays: event table → minutes, in place of the mapping's own.
        phenotypes: conditions whose labels are made from the diagnoses.
    """

    mapping: Mapping
    vocabulary: Vocabulary
    event_tables: tuple[str, ...]
    files: dict[str, Path]
    delays: Dictionary[str, int]
    phenotypes: Phenotypes | None = None


def write_snapshot(reading: Reading, folder: Path, bytes_a_part: int = BYTES_A_PART) -> Facts:
    """Write ``events``, ``stays``, ``labels``, ``codes`` and the identifiers into the folder.

    Raises:
        DataRefused: a table cannot be read or trusted as a whole.
    """
    import polars as pl

    mapping, counts, dropped = reading.mapping, Counter[str](), Counter[str]()
    subjects, admissions, stays = (Identities(mapping.source + kind) for kind in ("", ".admission", ".stay"))
    tables = {}
    for name, entities in (
        ("patients", mapping.patients),
        ("admissions", mapping.admissions),
        ("stays", mapping.stays),
    ):
        noticed = Counter[str]()
        tables[name] = typed(_whole(reading, entities, counts), entities, mapping, noticed)
        counts += noticed
        if name == "stays":  # a stay of an admission or a patient that went is an orphan, and is set aside as such
            dropped[name] = noticed["row_without_key"]
    subjects.of(tables["patients"]["subject"])  # a patient without a stay has an id too
    stay_table, labels = assemble(tables, mapping, subjects, admissions, stays, counts)
    hospital = tables["admissions"].select(
        "admission",
        pl.col("subject").alias("whose"),
        pl.col("start").alias("admitted"),
        pl.col("end").alias("discharged"),
    )
    places = Places(subjects, admissions, hospital, tables["patients"]["subject"])
    kinds = Kinds(tuple(reading.vocabulary.variables))
    with TemporaryDirectory(dir=folder, prefix=".parts-") as scratch:
        parts = Parts(Path(scratch), _number_of_parts(reading, bytes_a_part), places)
        for name in reading.event_tables:
            table = mapping.events[name]
            delay = reading.delays.get(name, table.delay_minutes)
            reader = EventReader(name, table, delay, mapping, reading.vocabulary, places, kinds, counts)
            header, file = mapping.headers.get(name, ""), reading.files[name]
            for found in each_batch(name, file, reader.columns, reader.words, header, counts, reader.canonical):
                for events in found:
                    parts.add(events)
            reader.finish()
            dropped["events"] += reader.dropped
        bearings = Bearings.of(places, kinds)
        digest = Digest(stay_table, bearings)
        written = {
            "events": write_groups(
                folder / "events.parquet",
                event_schema(),
                groups_of(digest.watching(_sorted(parts, bearings, counts)), bearings),
                counters=COUNTERS,
                split=SPLIT,
            )
        }
    if not written["events"]:
        raise DataRefused(
            f"tables {', '.join(reading.event_tables)} hold no event",
            expected="a row with patient, item and time",
            received="none",
            action="fetch the tables again from their publisher",
        )
    types = STAYS | {name: STAYS_OWN.get(name, "string") for name in stay_table.columns if name not in STAYS}
    token = token_of(sha256_of_file(reading.files[mapping.stays.table]))
    stay_table = stay_table.with_columns(has_series=digest.has_series(), source_id=pl.lit(token))
    written["stays"] = write_table(folder / "stays.parquet", table_of(_columns(stay_table), types))
    labels = _with_phenotypes(labels, stay_table, tables["admissions"], admissions, reading, counts)
    label_types = LABELS | {name: "int64" for name in labels.columns if name not in LABELS}
    written["labels"] = write_table(folder / "labels.parquet", table_of(_columns(labels), label_types))
    codes = _named(digest.codes(), reading, counts)
    written["codes"] = write_table(folder / "codes.parquet", table_of(_columns(codes), CODES))
    subjects.write(folder / "identifiers.parquet", "subject_id")
    admissions.write(folder / "admission_identifiers.parquet", "admission_id")
    stays.write(folder / "stay_identifiers.parquet", "stay_id")
    counts["stay_without_series"] = int((~stay_table["has_series"]).sum())
    return Facts(
        unit="patient",
        tables=written,
        counts={reason: count for reason, count in sorted(counts.items()) if count},
        dropped={table: count for table, count in sorted(dropped.items()) if count},
    )


def _with_phenotypes(
    labels: pl.DataFrame,
    stays: pl.DataFrame,
    hospital: pl.DataFrame,
    admissions: Identities,
    reading: Reading,
    counts: Counter[str],
) -> pl.DataFrame:
    """The labels with a column a condition, where conditions are asked for."""
    import polars as pl

    diagnoses = reading.mapping.diagnoses
    if reading.phenotypes is None or diagnoses is None:
        return labels
    numbers = pl.DataFrame({"admission_id": admissions.of(hospital["admission"]), "admission": hospital["admission"]})
    placed = stays.select("stay_id", "admission_id").join(numbers, on="admission_id", how="left", maintain_order="left")
    rows = _whole(reading, diagnoses, counts)
    had = phenotype_labels(rows, diagnoses, reading.phenotypes, placed["admission"], counts)
    return labels.join(
        placed.join(had, on="admission", how="left").drop("admission_id", "admission"),
        on="stay_id",
        how="left",
        maintain_order="left",
    )


def _whole(reading: Reading, entities: Entities, counts: Counter[str]) -> pl.DataFrame:
    columns = tuple(dict.fromkeys(entities.columns.values()))
    header = reading.mapping.headers.get(entities.table, "")
    return read_whole(entities.table, reading.files[entities.table], columns, header, counts)


def _columns(table: pl.DataFrame) -> dict[str, object]:
    return {name: table[name].to_arrow() for name in table.columns}


def _number_of_parts(reading: Reading, bytes_a_part: int) -> int:
    size = 0
    for name in reading.event_tables:
        file = reading.files[name]
        size += file.stat().st_size * (_INFLATES_TO if file.suffix.lower() == ".gz" else 1)
    return min(max(1, -(-size // bytes_a_part)), _MOST_PARTS)


def _sorted(parts: Parts, bearings: Bearings, counts: Counter[str]) -> Iterator[Events]:
    """The parts in order of subject id, each in the total order; rows that are there twice are counted."""
    for events, same in each_of(parts.each(), lambda load: in_order(load(), bearings)):
        counts["same_row_twice"] += same
        yield events


def _named(codes: pl.DataFrame, reading: Reading, counts: Counter[str]) -> pl.DataFrame:
    """Codes with what their dictionaries call them."""
    import polars as pl

    mapping = reading.mapping
    named = [
        pl.DataFrame(schema={"source_table": pl.String, "item": pl.String, "label": pl.String, "category": pl.String})
    ]
    of_tables = {name: mapping.events[name].dictionary for name in reading.event_tables}
    for dictionary in dict.fromkeys(filter(None, of_tables.values())):
        entities = mapping.dictionaries[dictionary]
        table = typed(_whole(reading, entities, Counter()), entities, mapping, counts)
        items = table.select(pl.col("item").cast(pl.String), "label", "category")
        named += [
            items.select(pl.lit(name).alias("source_table"), pl.all())
            for name, its_own in of_tables.items()
            if its_own == dictionary
        ]
    known = pl.concat(named).with_columns(named=pl.lit(True))
    with_dictionary = [name for name, dictionary in of_tables.items() if dictionary is not None]
    # A prefix may hold the separator itself; the item follows it.
    item = pl.coalesce(
        pl.when(pl.col("source_table") == name, pl.col("code").str.starts_with(f"{entry.prefix}//")).then(
            pl.col("code").str.slice(len(entry.prefix) + len("//")).str.split("//").list.first()
        )
        for name in reading.event_tables
        for entry in mapping.events[name].entries
    )
    return (
        codes.with_columns(item.alias("item"))
        .join(known, on=["source_table", "item"], how="left", maintain_order="left")
        .with_columns(
            pl.col("label").alias("description"),
            pl.when(pl.col("source_table").is_in(with_dictionary))
            .then(pl.col("named").fill_null(False))
            .alias("named"),
        )
        .select(*CODES)
    )
