"""One streaming pass over a table: every rule's metrics, and the rows to set aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.conditions import Columns, Unanswerable, parse_condition
from medai.errors import DataRefused
from medai.tables import scan
from medai.validation.suites import Rule
from medai.validation.translation import COLUMNS, NamedWords, Translation, joined_by, named_words, translate

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROWS_AT_ONCE = 1 << 19
_OTHER = "\0"
"""Stands for every word that no rule names; no text of a table holds it."""

IDENTITY = "row_id"
"""The column by which a row is named when it is set aside."""


class Measured(NamedTuple):
    """What one pass found out about one rule.

    Attributes:
        metrics: Great Expectations' metric name → value; empty when the table could not answer.
        unexpected: rows that break the rule; 0 for a rule on the table.
        evaluated: rows judged.
        unanswerable: why the table could not answer: ``missing_column`` or ``wrong_type``; empty when it did.
        blamed: the column to blame for that.
    """

    metrics: dict[str, Any]
    unexpected: int
    evaluated: int
    unanswerable: str = ""
    blamed: str = ""


class Pass(NamedTuple):
    """One table, measured.

    Attributes:
        rows: rows of the table.
        measured: one entry a rule, in their order.
        set_aside: columns row_id (int64) and rule (uint16: position among the rules), one row for each row that a
            rule with the action ``set_aside`` names, under the first such rule, sorted by row_id.
    """

    rows: int
    measured: list[Measured]
    set_aside: pl.DataFrame


def measure(path: Path, rules: Sequence[Rule], rows_at_once: int = ROWS_AT_ONCE) -> Pass:
    """Measure a Parquet file by its rules, all rows, in one streaming pass.

    A table of more rows than are looked at at once is measured part by part, and the parts' counts are added up; what
    cannot be told from parts (uniqueness, distinct values, a mean) is asked of the whole table in a query that streams.

    Args:
        path: the table's file.
        rules: of this table, each for one column (``columns_matching`` resolved).
        rows_at_once: how many rows are looked at at once, more or less.

    Raises:
        DataRefused: the file is not readable as Parquet.
    """
    import polars as pl

    with _refusing_damage(path):
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        large = table.select(pl.len()).collect().item() > rows_at_once
        whole = [not large or not _told_by_parts(rule, schema) for rule in rules]
        if all(whole):
            return _measure(table, schema, rules)
        parts = _measure_parts(
            path, schema, [rule for rule, one in zip(rules, whole, strict=True) if not one], rows_at_once
        )
        rest = (
            _measure(table, schema, [rule for rule, one in zip(rules, whole, strict=True) if one])
            if any(whole)
            else None
        )
    return _merged(whole, rest, parts)


def _told_by_parts(rule: Rule, schema: pl.Schema) -> bool:
    try:
        translation = translate(rule, schema)
    except Unanswerable:
        return True  # no part can answer either
    return translation.duplicates is None and all(joined_by(name) for name in translation.metrics)


def _merged(whole: Sequence[bool], rest: Pass | None, parts: Pass) -> Pass:
    """The passes over the whole table and over its parts as one, the rules in their order."""
    import polars as pl

    if rest is None:
        return parts
    places = {one: [at for at, of_whole in enumerate(whole) if of_whole == one] for one in (True, False)}
    measured: list[Measured] = [*rest.measured, *parts.measured]
    for one, judged in ((True, rest), (False, parts)):
        for at, found in zip(places[one], judged.measured, strict=True):
            measured[at] = found
    aside = [
        judged.set_aside.with_columns(
            pl.col("rule").replace_strict(list(range(len(places[one]))), places[one], return_dtype=pl.UInt16)
        )
        for one, judged in ((True, rest), (False, parts))
        if judged.set_aside.height
    ]
    return Pass(parts.rows, measured, _first_rules(aside))


def _measure_parts(path: Path, schema: pl.Schema, rules: Sequence[Rule], rows_at_once: int) -> Pass:
    """Measure rules that parts can tell about, part by part.

    Text columns that rules only compare with words become enumerations of those words, read from Parquet's own
    dictionaries: a comparison is then one of small numbers.
    """
    import polars as pl

    named = {
        name: words
        for name, dtype in schema.items()
        if dtype == pl.String and (words := named_words(rules, name)) is not None
    }
    enumerated = pl.Schema(
        {name: pl.Enum([*sorted(named[name]), _OTHER]) if name in named else dtype for name, dtype in schema.items()}
    )
    translations = [_translated(rule, enumerated, NamedWords) for rule in rules]
    used = _columns_used(rules, schema)
    totals: dict[str, Any] = {}
    aside: list[pl.DataFrame] = []
    rows = 0
    for part in scan(path, used, [name for name in used if name in named], rows=rows_at_once):
        table = pl.DataFrame({name: _column(part[name], enumerated[name]) for name in used}, schema_overrides=None)
        rows += table.height
        found = table.select(_aggregates(translations)).row(0, named=True)
        for name, value in found.items():
            totals[name] = _joined(name, totals.get(name), value)
        broken = [
            (index, translation.breaks)
            for index, (rule, translation) in enumerate(zip(rules, translations, strict=True))
            if isinstance(translation, Translation)
            and rule.action == "set_aside"
            and translation.breaks is not None
            and found[f"{index} {translation.unexpected}"]
        ]
        if broken:
            first = pl.coalesce([pl.when(breaks).then(pl.lit(index, pl.UInt16)) for index, breaks in broken])
            rows_aside = table.filter(pl.any_horizontal([breaks for _, breaks in broken]))
            aside.append(rows_aside.select(IDENTITY, rule=first))
    measured = []
    for index, translation in enumerate(translations):
        if isinstance(translation, Unanswerable):
            measured.append(Measured({}, 0, 0, translation.reason, translation.column))
            continue
        metrics: dict[str, Any] = {name: totals[f"{index} {name}"] for name in translation.metrics}
        metrics[COLUMNS] = schema.names()
        unexpected = metrics[translation.unexpected] if translation.unexpected else 0
        measured.append(Measured(metrics, int(unexpected), int(totals[f"{index} evaluated"])))
    return Pass(rows, measured, _first_rules(aside))


def _columns_used(rules: Sequence[Rule], schema: pl.Schema) -> list[str]:
    """The columns that rules speak of, in the table's order; one at least."""
    spoken_of = {IDENTITY} | {column for rule in rules for column in rule.columns}
    for rule in rules:
        if "row_condition" in rule.kwargs:
            spoken_of |= {comparison.column for comparison in parse_condition(rule.kwargs["row_condition"])}
    first = next(iter(schema))  # by which rows are counted where a rule speaks of all
    return [name for name in schema if name in spoken_of or name == first]


def _column(values: pa.ChunkedArray, dtype: pl.DataType) -> pl.Series:
    """A column as Polars holds it; a dictionary as an enumeration, in which words that no rule names are one."""
    import numpy as np
    import polars as pl

    if not isinstance(dtype, pl.Enum):
        series = pl.Series(values)
        return series
    known = set(dtype.categories)
    parts = []
    for chunk in values.chunks:
        words = [word if word in known else _OTHER for word in chunk.dictionary.to_pylist()]
        places = chunk.indices.fill_null(len(words)).to_numpy().astype(np.uint32)
        parts.append(pl.Series([*words, None], dtype=dtype).gather(pl.Series(places)))
    return pl.concat(parts)


def _joined(name: str, before: Any, value: Any) -> Any:
    """A metric of the parts so far and of one more."""
    if before is None or value is None:
        return value if before is None else before
    how = joined_by(name.partition(" ")[2]) or "sum"
    return {"min": min, "max": max}[how](before, value) if how != "sum" else before + value


def _first_rules(named: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """row_id and the first rule that names it, sorted by row_id."""
    import polars as pl

    empty = pl.DataFrame(schema={IDENTITY: pl.Int64, "rule": pl.UInt16})
    return pl.concat([empty, *named]).group_by(IDENTITY).agg(pl.col("rule").min()).sort(IDENTITY)


def columns_of(path: Path) -> list[str]:
    """The columns of a table's file.

    Raises:
        DataRefused: as ``measure``.
    """
    import polars as pl

    with _refusing_damage(path):
        return pl.scan_parquet(path).collect_schema().names()


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    import polars as pl

    try:
        yield
    except pl.exceptions.ComputeError:
        raise DataRefused(
            f"table {path.stem} of the snapshot cannot be read",
            expected="the whole Parquet file that ingestion wrote",
            received="a damaged file",
            action="remove the snapshot's folder from the workspace's store and run the same command again",
        ) from None  # the reader's own words may quote a value


def breaking_rows(table: pl.LazyFrame, translation: Translation, identity: str) -> pl.LazyFrame:
    """The identities of the rows that break a rule on rows, in no particular order."""
    if translation.breaks is not None:
        return table.filter(translation.breaks).select(identity)
    if translation.duplicates is None:
        raise ValueError("a rule on the whole table names no rows")
    judged, columns = translation.duplicates
    keyed = table.filter(judged).select(identity, *_keys(table, columns))
    repeated = _repeated(table, judged, columns)
    on = [f"key {column}" for column in columns]
    return keyed.join(repeated, on=on, how="semi", nulls_equal=True).select(identity)


def _translated(rule: Rule, schema: pl.Schema, columns: type[Columns] = Columns) -> Translation | Unanswerable:
    import polars as pl

    try:
        if rule.action == "set_aside" and schema.get(IDENTITY) != pl.Int64:
            raise Unanswerable("wrong_type" if IDENTITY in schema else "missing_column", IDENTITY)
        return translate(rule, schema, columns)
    except Unanswerable as unanswerable:
        return unanswerable


def _aggregates(translations: Sequence[Translation | Unanswerable]) -> list[pl.Expr]:
    """``rows``, and of each rule what it judged and its metrics, under the rule's number."""
    import polars as pl

    aggregates = [pl.len().alias("rows")]
    for index, translation in enumerate(translations):
        if not isinstance(translation, Unanswerable):
            aggregates.append(translation.evaluated.alias(f"{index} evaluated"))
            aggregates += [metric.alias(f"{index} {name}") for name, metric in translation.metrics.items()]
    return aggregates


def _measure(table: pl.LazyFrame, schema: pl.Schema, rules: Sequence[Rule]) -> Pass:
    import polars as pl

    translations = [_translated(rule, schema) for rule in rules]
    by_expression: list[tuple[int, pl.Expr]] = []
    queries: dict[str, pl.LazyFrame] = {}
    for index, (rule, translation) in enumerate(zip(rules, translations, strict=True)):
        if isinstance(translation, Unanswerable):
            continue
        if translation.duplicates is not None:
            queries[f"{index} repeated"] = _repeated(table, *translation.duplicates).select(pl.col("times").sum())
        if rule.action == "set_aside":
            if translation.breaks is not None:
                by_expression.append((index, translation.breaks))
            else:
                named = breaking_rows(table, translation, IDENTITY)
                queries[f"{index} named"] = named.with_columns(rule=pl.lit(index, pl.UInt16))
    queries["aggregates"] = table.select(_aggregates(translations))
    if by_expression:
        first = pl.coalesce([pl.when(breaks).then(pl.lit(index, pl.UInt16)) for index, breaks in by_expression])
        queries["named"] = table.select(IDENTITY, rule=first).filter(pl.col("rule").is_not_null())

    answers = dict(zip(queries, pl.collect_all(list(queries.values()), engine="streaming"), strict=True))
    totals = answers["aggregates"].row(0, named=True)
    named_rows = [answer for query, answer in answers.items() if query.endswith("named")]
    measured = []
    for index, translation in enumerate(translations):
        if isinstance(translation, Unanswerable):
            measured.append(Measured({}, 0, 0, translation.reason, translation.column))
            continue
        metrics: dict[str, Any] = {name: totals[f"{index} {name}"] for name in translation.metrics}
        metrics[COLUMNS] = schema.names()
        if translation.duplicates is not None:
            metrics[translation.unexpected] = answers[f"{index} repeated"].item()
        unexpected = metrics[translation.unexpected] if translation.unexpected else 0
        measured.append(Measured(metrics, int(unexpected), int(totals[f"{index} evaluated"])))
    return Pass(
        rows=int(totals["rows"]),
        measured=measured,
        set_aside=_first_rules(named_rows),
    )


def _repeated(table: pl.LazyFrame, judged: pl.Expr, columns: tuple[str, ...]) -> pl.LazyFrame:
    """The keys that several judged rows share, with how many rows (``times``)."""
    import polars as pl

    keys = _keys(table, columns)
    return table.filter(judged).group_by(keys).agg(times=pl.len()).filter(pl.col("times") > 1)


def _keys(table: pl.LazyFrame, columns: tuple[str, ...]) -> list[pl.Expr]:
    """The columns as keys, where every missing value, NaN among them, is the same key."""
    import polars as pl

    schema = table.collect_schema()
    return [
        (pl.col(column).fill_nan(None) if schema[column].is_float() else pl.col(column)).alias(f"key {column}")
        for column in columns
    ]
