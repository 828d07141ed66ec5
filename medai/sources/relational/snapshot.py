"""A folder of tables to canonical Parquet: stays, labels, events sorted by subject, codes, identifiers.

Events are read once, batch by batch, and put aside by range of subject id in parts that fit in memory; each part is
then sorted by a total order of content and appended. How many parts there are, in which order rows stood in their
files and how many threads worked changes no byte.
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
from medai.sources.relational.csv_text import read_rows, read_whole
from medai.sources.relational.diagnoses import phenotype_labels
from medai.sources.relational.events import OWN as EVENTS_OWN
from medai.sources.relational.events import EventReader
from medai.sources.relational.identity import Identities
from medai.sources.relational.mapping import Entities, Mapping
from medai.sources.relational.stays import LABELS, assemble, typed
from medai.sources.relational.stays import OWN as STAYS_OWN
from medai.tables import EVENTS, STAYS, Facts, table_of, write_table, write_tables
from medai.vocabularies import Vocabulary
from medai.vocabularies.phenotypes import Phenotypes

if TYPE_CHECKING:
    import polars as pl

BYTES_A_PART = 1 << 28
"""Raw bytes (compressed ones counted tenfold) whose events are sorted at once; 256 MiB of text take about 1 GiB."""
_INFLATES_TO = 10
_SUBJECT_BITS = 63
ORDER = ("subject_id", "time", "known_time", "priority", "code", "numeric_value", "text_value", "source_row")
"""The order of events. Of readings that tie in time, the most trusted item's comes last, and so stands."""

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
    with TemporaryDirectory(dir=folder, prefix=".parts-") as scratch:
        parts = _Parts(Path(scratch), _number_of_parts(reading, bytes_a_part))
        for name in reading.event_tables:
            table = mapping.events[name]
            reader = EventReader(
                name,
                table,
                reading.delays.get(name, table.delay_minutes),
                mapping,
                reading.vocabulary,
                subjects,
                admissions,
                hospital,
                tables["patients"]["subject"],
                counts,
            )
            header = mapping.headers.get(name, "")
            for rows in read_rows(name, reading.files[name], reader.columns, header, counts):
                parts.add(reader.canonical(rows))
            reader.finish()
            dropped["events"] += reader.dropped
        digest = _Digest(stay_table)
        written = {
            "events": write_tables(
                folder / "events.parquet",
                (table_of(_columns(part), EVENTS | EVENTS_OWN) for part in digest.watching(parts.sorted())),
                counters=("row_id", "source_row"),
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
    counts["same_row_twice"] = parts.same_row_twice
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
    return max(1, -(-size // bytes_a_part))


class _Parts:
    """Events by range of subject id: in memory while there is one part, else in files of their owner alone.

    Args:
        folder: for the files.
        count: how many parts.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._batches: list[pl.DataFrame] = []
        self._number = 0
        self.same_row_twice = 0

    def add(self, events: pl.DataFrame) -> None:
        """Put a batch of events aside."""
        import polars as pl

        if self._count == 1:
            self._batches.append(events)
            return
        width = -(-(1 << _SUBJECT_BITS) // self._count)
        placed = events.with_columns((pl.col("subject_id") // width).alias("part"))
        for (part,), rows in sorted(placed.partition_by("part", as_dict=True, include_key=False).items()):
            folder = self._folder / f"{part:05}"
            folder.mkdir(exist_ok=True)
            rows.write_ipc(folder / f"{self._number:07}.arrow", compression="lz4")
        self._number += 1

    def sorted(self) -> Iterator[pl.DataFrame]:
        """The parts in order of subject id, each in ``ORDER``, with ``row_id``."""
        import polars as pl

        first = 0
        for part in self._parts():
            codes = pl.Enum(part["code"].unique().sort())
            order = [pl.col(name).cast(codes) if name == "code" else pl.col(name) for name in ORDER]
            events = self._distinct(part.sort(order, nulls_last=False))
            yield events.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("row_id"))
            first += events.height

    def _distinct(self, events: pl.DataFrame) -> pl.DataFrame:
        """Sorted events, of rows that are equal in everything one; where rows have numbers, none is."""
        import polars as pl

        columns = (*ORDER, "admission_id", "link")
        same = events.select(pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in columns))
        again = same.to_series()
        if events.height:
            again[0] = False
        self.same_row_twice += int(again.sum())
        return events.filter(~again) if again.any() else events

    def _parts(self) -> Iterator[pl.DataFrame]:
        import polars as pl

        if self._count == 1:
            batches, self._batches = self._batches, []
            yield pl.concat(batches)
            return
        for folder in sorted(self._folder.iterdir()):
            yield pl.concat([pl.read_ipc(file) for file in sorted(folder.iterdir())])


class _Digest:
    """What is noticed of the events while they pass: which stays have readings of a variable, and which codes."""

    def __init__(self, stays: pl.DataFrame) -> None:
        self._stays = stays
        self._with_series: list[pl.Series] = []
        self._codes: list[pl.DataFrame] = []

    def watching(self, parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The same parts."""
        import polars as pl

        for part in parts:
            numbers = pl.col("variable", "numeric_value").is_not_null()
            measured = part.lazy().filter(pl.all_horizontal(numbers)).select("subject_id", "time").collect()
            spans = self._stays.select("subject_id", "stay_id", "start", "end").drop_nulls("start").sort("start")
            first = spans.join_asof(
                measured.sort("time"),
                left_on="start",
                right_on="time",
                by="subject_id",
                strategy="forward",
                check_sortedness=False,  # both are sorted just before
            )
            inside = (pl.col("time") <= pl.col("end")).fill_null(True) & pl.col("time").is_not_null()
            self._with_series.append(first.filter(inside)["stay_id"])
            self._codes.append(
                part.lazy()
                .group_by("code")
                .agg(
                    pl.col("source_table").first(),
                    pl.col("variable").first(),
                    pl.len().cast(pl.Int64).alias("readings"),
                    pl.col("numeric_value").count().cast(pl.Int64).alias("numbers"),
                )
                .collect()
            )
            yield part

    def has_series(self) -> pl.Series:
        """One flag a stay, in the order of the stays: a variable was measured between its start and end."""
        import polars as pl

        return (
            self._stays["stay_id"].is_in(pl.concat(self._with_series).implode())
            if self._with_series
            else (pl.repeat(False, self._stays.height, eager=True))
        )

    def codes(self) -> pl.DataFrame:
        """code, source_table, variable, readings, numbers; sorted by code."""
        import polars as pl

        return (
            pl.concat(self._codes)
            .group_by("code")
            .agg(pl.col("source_table").first(), pl.col("variable").first(), pl.col("readings", "numbers").sum())
            .sort("code")
        )


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
