"""Rows of an event table to canonical events, by rules that hold for every table.

- A code is prefix, the words of its columns and the recorded unit, joined by ``//``; ``UNK`` for an empty one, as
  public MEDS data have it.
- A row may say several things (an infusion's rate at its start, its amount at its end): an event each.
- The number is the publisher's own; where there is none, the text's, if it is a plain decimal number. A comparison
  (``<0.01``, ``GREATER THAN 500``) is no number, whatever stands beside it. What 32 bits cannot hold is none.
- A reading of a clinical variable is converted to the variable's unit; scores that are written as words become numbers.
- What is no number keeps its text.
- ``known_time`` is the later of time and stored time; without a stored time it is the time plus the table's delay. What
  has a date alone stands at its begin and is known at its end. What is coded when the admission ends is known then.
- A row whose time cannot be read or lies in an impossible year cannot be placed: it is counted and left out, and so is
  a row without patient or item, and one that the publisher marks as an error.
- How a row lies to its admission is measured, and judged by validation.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from medai.errors import DataRefused
from medai.sources.relational.identity import Identities, whole_numbers
from medai.sources.relational.mapping import DISCHARGE, Entry, EventTable, Mapping
from medai.sources.relational.stays import moments
from medai.vocabularies import Recipe, Vocabulary

if TYPE_CHECKING:
    import polars as pl

OWN = {
    "source_table": "string",
    "admission_id": "int64",
    "link": "string",
    "hours_outside_admission": "float32",
}
"""An event's own columns. ``link``: ``admission``; ``none`` (the row names none); ``other_patient`` (the admission is
somebody else's); ``unknown_admission``; ``unknown_patient``. ``hours_outside_admission`` is negative before the
admission, positive after discharge, 0 between; null where the row is not linked to one."""

MOST_UNPLACED = 0.2
"""Largest share of a table's rows whose time may be unreadable; beyond it the table as a whole cannot be trusted."""
_LARGEST_FLOAT32 = 3.4028234663852886e38
_COMPARISON = r"(?i)^\s*(<|>|less than|greater than)"
_UNKNOWN = "UNK"


class EventReader:
    """One event table's rows, batch by batch.

    Args:
        name: the table.
        table: its description.
        delay_minutes: in place of the description's own.
        mapping, vocabulary: of the source.
        subjects, admissions: who gives out ids.
        hospital: admission (site's number), whose (subject's number), admitted, discharged; one row an admission.
        patients: the numbers of all patients.
        counts: what was settled by a rule is counted here.

    Attributes:
        dropped: rows that were left out because of a fault of theirs.
    """

    def __init__(
        self,
        name: str,
        table: EventTable,
        delay_minutes: int,
        mapping: Mapping,
        vocabulary: Vocabulary,
        subjects: Identities,
        admissions: Identities,
        hospital: pl.DataFrame,
        patients: pl.Series,
        counts: Counter[str],
    ) -> None:
        import polars as pl

        self._name = name
        self._table = table
        self._delay = timedelta(minutes=delay_minutes)
        self._mapping = mapping
        self._vocabulary = vocabulary
        self._subjects = subjects
        self._counts = counts
        self._hospital = hospital.select(
            "admission",
            "whose",
            "admitted",
            "discharged",
            admissions.of(hospital["admission"]).alias("admission_id"),
        )
        self._patients = pl.DataFrame({"subject": patients, "known": True})
        self._items = vocabulary.items_of(mapping.source, name)
        self._recipes: dict[tuple[int, str], Recipe] = {}
        self._rows = 0
        self._unplaced = 0
        self.dropped = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read, in lower case."""
        return self._table.columns(self._mapping.patients.columns["subject"])

    def canonical(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The events of some rows, with ``priority``; in the rows' order."""
        import polars as pl

        table, said = self._table, self._mapping.patients.columns["subject"]
        self._rows += rows.height
        for column, values in table.left_out.items():
            rows = self._keep(rows, ~rows[column].is_in(list(values)), f"marked_as_error_{self._name}")
        frame = (
            pl.DataFrame(
                {
                    "subject": whole_numbers(rows[said]),
                    "admission": whole_numbers(rows[table.admission])
                    if table.admission
                    else pl.repeat(None, rows.height, dtype=pl.Int64, eager=True),
                    "item": rows[table.code[0]],
                    "words": _words(rows, table.code),
                    "coded": rows.select(pl.any_horizontal(pl.col(*table.code) != "")).to_series(),
                }
            )
            .with_columns((whole_numbers(rows[table.row]) if table.row else pl.lit(None, pl.Int64)).alias("source_row"))
            .join(self._hospital, on="admission", how="left", maintain_order="left")
        )
        if table.stored == DISCHARGE:
            frame = frame.with_columns(pl.col("discharged").alias("stored"))
        else:
            stored = self._stored(rows[table.stored]) if table.stored else pl.lit(None, pl.Datetime("us"))
            frame = frame.with_columns(stored.alias("stored"))
        entries = [self._events(frame, rows, entry, first=at == 0) for at, entry in enumerate(table.entries)]
        return pl.concat(entries)

    def _events(self, frame: pl.DataFrame, rows: pl.DataFrame, entry: Entry, *, first: bool) -> pl.DataFrame:
        """One event a row, as the entry says; the table's own entry judges the rows, and alone measures variables."""
        import polars as pl

        table = self._table
        texts = {"unit": entry.unit, "number": entry.number, "text": entry.text}
        frame = frame.with_columns(
            *((rows[column] if column else pl.lit("")).alias(name) for name, column in texts.items()),
            *self._times(rows, entry),
        )
        if not first:
            said_in = [column for column in (entry.number, entry.text) if column]
            said_in = said_in or [column for column in (entry.time, entry.date) if column][:1]
            frame = frame.filter(rows.select(pl.any_horizontal(pl.col(*said_in) != "")).to_series())
        if table.stored == DISCHARGE:  # without its end, nobody can say when the admission was coded
            frame = frame.with_columns(pl.when(pl.col("stored").is_not_null()).then("time").alias("time"))
        if first:
            self._unplaced += frame["time"].null_count()
        of_its_own = first or entry.time != table.time  # a row's faults are counted once
        placed = self._keep(frame, frame["time"].is_not_null(), f"impossible_time_{self._name}", counted=of_its_own)
        self.dropped += (frame.height - placed.height) * of_its_own
        frame = placed
        placed = self._keep(placed, placed["subject"].is_not_null(), f"row_without_subject_{self._name}", counted=first)
        placed = self._keep(placed, placed["coded"], f"row_without_item_{self._name}", counted=first)
        self.dropped += (frame.height - placed.height) * first
        return self._linked(self._measured(placed, entry, first=first))

    def _times(self, rows: pl.DataFrame, entry: Entry) -> tuple[pl.Expr | pl.Series, pl.Expr | pl.Series]:
        """``time``, and ``settled``: when an event without a stored time counts as known, but for the table's delay."""
        import polars as pl

        if entry.time == DISCHARGE:
            return pl.col("discharged").alias("time"), pl.col("discharged").alias("settled")
        times = moments(rows[entry.time], self._mapping) if entry.time else None
        if entry.date is None:
            assert times is not None  # noqa: S101 - an entry has a time or a date
            return times.alias("time"), times.alias("settled")
        days = moments(rows[entry.date], self._mapping, dates=True).dt.truncate("1d")
        ends = days.dt.offset_by("1d")
        if entry.time is None or times is None:
            return days.alias("time"), ends.alias("settled")
        blank = rows[entry.time] == ""
        return times.zip_with(~blank, days).alias("time"), times.zip_with(~blank, ends).alias("settled")

    def finish(self) -> None:
        """Judge the table as a whole.

        Raises:
            DataRefused: too many rows cannot be placed in time.
        """
        if self._unplaced > MOST_UNPLACED * self._rows:
            raise DataRefused(
                f"table {self._name}, column {self._table.time or self._table.date}: "
                + ("most" if self._unplaced * 2 > self._rows else "too many")
                + " times cannot be read",
                expected="YYYY-MM-DD HH:MM:SS with years from "
                f"{self._mapping.earliest} to {self._mapping.latest}, in {1 - MOST_UNPLACED:.0%} of the rows at least",
                received=f"{self._unplaced} of {self._rows} rows with another form, as spreadsheets leave behind",
                action="fetch the table again from its publisher",
            )

    def _stored(self, texts: pl.Series) -> pl.Series:
        """When rows were stored; one that cannot be read is counted, and the table's delay stands in its place."""
        times = moments(texts, self._mapping)
        unreadable = int((times.is_null() & (texts != "")).sum())
        if unreadable:
            self._counts[f"impossible_stored_time_{self._name}"] += unreadable
        return times

    def _keep(self, rows: pl.DataFrame, good: pl.Series, reason: str, *, counted: bool = True) -> pl.DataFrame:
        kept = int(good.sum())
        if kept == rows.height:
            return rows
        if counted:
            self._counts[reason] += rows.height - kept
        return rows.filter(good)

    def _measured(self, frame: pl.DataFrame, entry: Entry, *, first: bool) -> pl.DataFrame:
        """Add code, variable, priority, numeric_value and text_value."""
        import polars as pl

        blank = pl.col("text") == ""
        unit = []
        if entry.unit is not None:
            unit = [pl.lit("//"), pl.when(pl.col("unit") == "").then(pl.lit(_UNKNOWN)).otherwise("unit")]
        number = pl.coalesce(
            pl.col("number").cast(pl.Float64, strict=False), pl.col("text").cast(pl.Float64, strict=False)
        )
        number = pl.when(number.abs() <= _LARGEST_FLOAT32, ~pl.col("text").str.contains(_COMPARISON)).then(number)
        frame = frame.with_columns(
            number.alias("value"),
            pl.concat_str(pl.lit(f"{entry.prefix}//"), "words", *unit).alias("code"),
            pl.when(~blank).then("text").otherwise(pl.when(pl.col("number") != "").then("number")).alias("written"),
        ).join(
            self._recipe_table(frame if first else frame.clear()),
            on=["item", "unit"],
            how="left",
            maintain_order="left",
        )
        worded = self._worded(frame)
        if worded is not None:
            frame = frame.with_columns(pl.coalesce(worded, "value").alias("value"))
        percent = {name: one.percent_above for name, one in self._vocabulary.variables.items() if one.percent_above}
        value = (pl.col("value") - pl.col("subtract")) * pl.col("multiply")
        for name, limit in percent.items():
            value = pl.when((pl.col("variable") == name) & (value > limit)).then(value / 100).otherwise(value)
        value = pl.when(pl.col("variable").is_null()).then("value").otherwise(value)
        return frame.with_columns(
            value.cast(pl.Float32).alias("numeric_value"),
            pl.when(pl.col("value").is_null()).then("written").alias("text_value"),
            pl.max_horizontal("time", pl.coalesce("stored", pl.col("settled") + self._delay)).alias("known_time"),
        )

    def _recipe_table(self, frame: pl.DataFrame) -> pl.DataFrame:
        """(item, unit) of the vocabulary's items → variable, priority, subtract, multiply."""
        import polars as pl

        ids = pl.Series([str(item) for item in self._items], dtype=pl.String)
        pairs = frame.lazy().select("item", "unit").filter(pl.col("item").is_in(ids.implode()))
        counted = pairs.group_by("item", "unit").agg(rows=pl.len()).collect().sort("item", "unit")
        rows = []
        for item, unit, count in counted.iter_rows():
            recipe = self._recipes.get((item, unit))
            if recipe is None:
                recipe = self._vocabulary.recipe(self._mapping.source, self._name, int(item), unit)
                self._recipes[item, unit] = recipe
            if recipe.strange_unit:
                self._counts["unit_of_another_quantity"] += count
            rows.append((item, unit, recipe.variable, recipe.priority, recipe.subtract, recipe.multiply))
        return pl.DataFrame(
            rows,
            orient="row",
            schema={
                "item": pl.String,
                "unit": pl.String,
                "variable": pl.String,
                "priority": pl.Int16,
                "subtract": pl.Float64,
                "multiply": pl.Float64,
            },
        )

    def _worded(self, frame: pl.DataFrame) -> pl.Series | None:
        """Numbers of scores that are written as words, null elsewhere; None where no row can be one."""
        import polars as pl

        words = [
            (name, text, number)
            for name, variable in self._vocabulary.variables.items()
            for text, number in variable.texts.items()
            if name in self._items.values()
        ]
        if not words:
            return None
        known = pl.DataFrame(
            words, orient="row", schema={"variable": pl.String, "folded": pl.String, "score": pl.Float64}
        )
        scored = frame["variable"].is_in(known["variable"].unique().implode()).fill_null(False)
        rows = scored.arg_true()
        found = (
            frame[rows]
            .select("variable", pl.col("text").str.strip_chars().str.to_lowercase().alias("folded"))
            .join(known, on=["variable", "folded"], how="left", maintain_order="left")["score"]
        )
        return pl.repeat(None, frame.height, dtype=pl.Float64, eager=True).scatter(rows, found)

    def _linked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add subject_id, admission_id, link, hours_outside_admission and source_table."""
        import polars as pl

        if not frame["subject"].is_in(self._patients["subject"].implode()).all():
            frame = frame.join(self._patients, on="subject", how="left", maintain_order="left")
        else:
            frame = frame.with_columns(known=pl.lit(True))
        own = pl.col("whose") == pl.col("subject")
        link = (
            pl.when(pl.col("known").is_null())
            .then(pl.lit("unknown_patient"))
            .when(pl.col("admission").is_null())
            .then(pl.lit("none"))
            .when(pl.col("whose").is_null())
            .then(pl.lit("unknown_admission"))
            .when(~own)
            .then(pl.lit("other_patient"))
            .otherwise(pl.lit("admission"))
        )
        time, admitted, discharged = pl.col("time"), pl.col("admitted"), pl.col("discharged")
        outside = (
            pl.when(time < admitted)
            .then(time - admitted)
            .when(time > discharged)
            .then(time - discharged)
            .otherwise(pl.duration(hours=0))
            .dt.total_seconds()
            / 3600
        )
        return frame.select(
            self._subjects.of(frame["subject"]).alias("subject_id"),
            "time",
            "code",
            "variable",
            "numeric_value",
            "text_value",
            "known_time",
            pl.col("source_row").cast(pl.Int32, strict=False),
            pl.col("priority").fill_null(0),
            pl.lit(self._name).alias("source_table"),
            pl.when(own).then("admission_id").alias("admission_id"),
            link.alias("link"),
            pl.when(own & admitted.is_not_null()).then(outside).cast(pl.Float32).alias("hours_outside_admission"),
        )


def _words(rows: pl.DataFrame, columns: tuple[str, ...]) -> pl.Series:
    """The words of a code's columns, joined by ``//``."""
    import polars as pl

    words = (pl.when(pl.col(column) == "").then(pl.lit(_UNKNOWN)).otherwise(pl.col(column)) for column in columns)
    return rows.select(pl.concat_str(words, separator="//")).to_series()
