"""One streaming pass over a table: every rule's metrics, and the rows to set aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.conditions import Unanswerable
from medai.errors import DataRefused
from medai.validation.suites import Rule
from medai.validation.translation import COLUMNS, Translation, translate

if TYPE_CHECKING:
    import polars as pl

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


def measure(path: Path, rules: Sequence[Rule]) -> Pass:
    """Measure a Parquet file by its rules, all rows, in one streaming pass.

    Args:
        path: the table's file.
        rules: of this table, each for one column (``columns_matching`` resolved).

    Raises:
        DataRefused: the file is not readable as Parquet.
    """
    import polars as pl

    with _refusing_damage(path):
        table = pl.scan_parquet(path)
        return _measure(table, table.collect_schema(), rules)


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


def _measure(table: pl.LazyFrame, schema: pl.Schema, rules: Sequence[Rule]) -> Pass:
    import polars as pl

    translations: list[Translation | Unanswerable] = []
    for rule in rules:
        try:
            if rule.action == "set_aside" and schema.get(IDENTITY) != pl.Int64:
                raise Unanswerable("wrong_type" if IDENTITY in schema else "missing_column", IDENTITY)
            translations.append(translate(rule, schema))
        except Unanswerable as unanswerable:
            translations.append(unanswerable)

    aggregates = [pl.len().alias("rows")]
    by_expression: list[tuple[int, pl.Expr]] = []
    queries: dict[str, pl.LazyFrame] = {}
    for index, (rule, translation) in enumerate(zip(rules, translations, strict=True)):
        if isinstance(translation, Unanswerable):
            continue
        aggregates.append(translation.evaluated.alias(f"{index} evaluated"))
        aggregates += [metric.alias(f"{index} {name}") for name, metric in translation.metrics.items()]
        if translation.duplicates is not None:
            queries[f"{index} repeated"] = _repeated(table, *translation.duplicates).select(pl.col("times").sum())
        if rule.action == "set_aside":
            if translation.breaks is not None:
                by_expression.append((index, translation.breaks))
            else:
                named = breaking_rows(table, translation, IDENTITY)
                queries[f"{index} named"] = named.with_columns(rule=pl.lit(index, pl.UInt16))
    queries["aggregates"] = table.select(aggregates)
    if by_expression:
        first = pl.coalesce([pl.when(breaks).then(pl.lit(index, pl.UInt16)) for index, breaks in by_expression])
        queries["named"] = table.select(IDENTITY, rule=first).filter(pl.col("rule").is_not_null())

    answers = dict(zip(queries, pl.collect_all(list(queries.values()), engine="streaming"), strict=True))
    totals = answers["aggregates"].row(0, named=True)
    named_rows = [answer for query, answer in answers.items() if query.endswith("named")]
    empty = pl.DataFrame(schema={IDENTITY: pl.Int64, "rule": pl.UInt16})
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
        set_aside=pl.concat([empty, *named_rows]).group_by(IDENTITY).agg(pl.col("rule").min()).sort(IDENTITY),
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
