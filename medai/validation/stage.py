"""The stage: a snapshot and a suite in, a quality report and the list of rows set aside out."""

from __future__ import annotations

import logging
import math
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.errors import ValidationFailed
from medai.records import Failure, Frozen, QualityReport, Snapshot, canonical_json, stage_key
from medai.threads import each_of
from medai.validation.suites import Rule, Suite, check_tolerance, load_suite
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

    from medai.validation.measuring import Measured, Pass

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when this stage's bytes change for the same inputs."""

SET_ASIDE, VERDICTS = "set_aside.parquet", "verdicts.json"
TOO_MANY = "too_many_set_aside"


class _Config(Frozen):
    suite_sha256: str
    tolerance: float


def validate(
    workspace: Workspace, snapshot: Snapshot, suite: Path, tolerance: float | None = None
) -> Made[QualityReport]:
    """Judge a snapshot by a suite, or find the report of the same judgement.

    The stage's folder holds ``set_aside.parquet`` (table, row_id int64, reason; sorted; readable by its owner alone,
    as it points at rows) and ``verdicts.json`` (every rule with its reason, verdict and counts, in the suite's order).

    Args:
        workspace: where the snapshot lies.
        snapshot: what was ingested.
        suite: path of the suite's YAML file; ``catalogue_suite`` gives a packaged one's.
        tolerance: in place of the suite's own; a share between 0 and 1.

    Returns:
        The report; ``passed`` is false when a blocking rule failed or a table lost more rows than the
        tolerance, those that its reader left out for a fault (``Snapshot.dropped``) among them.

    Raises:
        ConfigurationError: the suite cannot be followed, or one of its expectations did not load.
        DataRefused: a table of the snapshot cannot be read.
    """
    rules = load_suite(suite)
    share = rules.tolerance if tolerance is None else check_tolerance(tolerance)
    key = stage_key(
        "validate",
        VERSION,
        {"snapshot": snapshot.key},
        _Config(suite_sha256=rules.sha256, tolerance=share),
        ("great-expectations", "polars"),
    )
    tables = workspace.folder("ingest", snapshot.key)

    def build(folder: Path) -> QualityReport:
        return _build(folder, key, tables, snapshot, rules, share)

    return workspace.materialise("validate", key, QualityReport, build)


def refuse_if_failed(report: QualityReport) -> None:
    """Stop the run where a blocking rule failed.

    Raises:
        ValidationFailed: the first blocking failure, by table, column, reason and counts.
    """
    if report.passed:
        return
    first = next(failure for failure in report.failures if failure.blocking)
    more = sum(failure.blocking for failure in report.failures) - 1
    where = f"table {first.table}" + (f", column {first.column}" if first.column else "")
    found = f"{first.unexpected} of {first.evaluated} rows break it"
    action = "run 'medai check' for every rule's verdict, then mend the data or, with a reason, the suite"
    if first.reason == TOO_MANY:
        found = f"{first.unexpected} of {first.evaluated} rows set aside: {_told_aside(report, first)}"
        action = "mend those rows or leave them out; with a reason, raise validation.tolerance"
    elif not first.unexpected:
        found = f"a table of {first.evaluated} rows that does not meet it" if first.evaluated else "no row to judge"
    raise ValidationFailed(
        f"the data failed validation: {first.reason} in {where}",
        expected=f"{first.expectation} to hold",
        received=found + (f"; {more} more blocking rule{'s' if more > 1 else ''} failed" if more else ""),
        action=action,
    )


def _told_aside(report: QualityReport, failure: Failure) -> str:
    """Why a table lost its rows: each reason with its rows, and what its reader left out before."""
    reasons = dict.fromkeys(one.reason for one in report.failures if one.table == failure.table)
    told = {reason: report.set_aside[reason] for reason in reasons if reason in report.set_aside}
    parts = [f"{reason} {count}" for reason, count in told.items()]
    if (left_out := failure.unexpected - sum(told.values())) > 0:
        parts.append(f"left out by the reader {left_out}")
    return ", ".join(parts)


def set_aside_rows(folder: Path, table: str) -> pl.DataFrame:
    """The rows of one table that were set aside.

    Args:
        folder: of the finished stage: ``workspace.folder("validate", report.key)``.
        table: the table's name.

    Returns:
        row_id (int64, sorted, unique) and reason; empty when every row was kept.
    """
    import polars as pl

    rows = pl.read_parquet(folder / SET_ASIDE)
    return rows.filter(pl.col("table") == table).select("row_id", "reason")


def _build(folder: Path, key: str, tables: Path, snapshot: Snapshot, suite: Suite, tolerance: float) -> QualityReport:
    from medai.validation.judging import configurations, load_expectations

    # Which columns a pattern stands for depends on the table; all else is known from the suite.
    rules = [rule for declared in suite.rules for rule in _resolved(declared, tables)]
    expectations = load_expectations(suite.name, configurations(rules))
    passes: dict[str, Pass] = {}
    judged: dict[int, _Judged] = {}
    # One table is measured by a thread while Great Expectations judges the one before it here.
    for table, measured in each_of(_by_size(suite, tables), partial(_measure, tables, rules), most=1):
        places = [place for place, rule in enumerate(rules) if rule.table == table]
        for index, place in enumerate(places):
            judged[place] = _judge(rules[place], expectations[place], _measured(measured, index))
        if measured is not None:
            passes[table] = measured
    passes = {table: passes[table] for table in suite.tables if table in passes}
    verdicts = [judged[place].verdict for place in range(len(rules))]
    failures = [failure for place in range(len(rules)) if (failure := judged[place].failure) is not None]
    warned: dict[str, int] = {}
    for place, rule in enumerate(rules):
        failure = judged[place].failure
        if failure is not None and rule.action == "warn" and not failure.blocking:
            warned[rule.reason] = warned.get(rule.reason, 0) + failure.unexpected
    rows_aside = _write_set_aside(folder / SET_ASIDE, passes, rules)
    for table, whole in passes.items():
        failures += _too_many(suite.name, table, whole, snapshot.dropped.get(table, 0), tolerance)
    failures.sort(key=lambda failure: not failure.blocking)  # stable: the suite's order within each half
    (folder / VERDICTS).write_bytes(canonical_json(verdicts))
    report = QualityReport(
        key=key,
        passed=not any(failure.blocking for failure in failures),
        rows=next((whole.rows for whole in passes.values()), 0),
        tables={table: whole.rows for table, whole in passes.items()},
        set_aside=rows_aside,
        warned=warned,
        idle=_idle(verdicts),
        failures=tuple(failures),
        rules=len(rules),
    )
    log.info(
        "validated snapshot %s by suite %s: %d rules, %s, %d set aside, %d not met",
        snapshot.key,
        suite.name,
        report.rules,
        ", ".join(f"{rows} {table}" for table, rows in report.tables.items()),
        sum(rows_aside.values()),
        len(report.failures),  # no verdict: what learning needs is waived where nothing is learnt
    )
    return report


class _Judged(NamedTuple):
    """A rule's line in the list of verdicts, and its failure where it was not met."""

    verdict: dict[str, Any]
    failure: Failure | None


def _judge(rule: Rule, expectation: Any, measured: Measured) -> _Judged:
    from medai.validation.judging import judge
    from medai.validation.translation import ROW_COUNT

    success = not measured.unanswerable and judge(expectation, measured.metrics)
    failure = None
    if not success:
        failure = Failure(
            expectation=rule.type,
            table=rule.table,
            column=measured.blamed or rule.column,
            reason=measured.unanswerable or rule.reason,
            blocking=rule.action == "block" or bool(measured.unanswerable),
            unexpected=measured.unexpected,
            evaluated=measured.evaluated,
        )
    verdict = {
        "type": rule.type,
        "table": rule.table,
        "column": rule.column,
        "row_condition": rule.kwargs.get("row_condition", ""),
        "reason": rule.reason,
        "why": rule.why,
        "unit": rule.unit,
        "source": rule.source,
        "action": rule.action,
        "success": success,
        "unanswerable": measured.unanswerable,
        "spoken_of": measured.metrics.get(ROW_COUNT, measured.evaluated),
        "unexpected": measured.unexpected,
        "evaluated": measured.evaluated,
    }
    return _Judged(verdict, failure)


def _idle(verdicts: list[dict[str, Any]]) -> tuple[str, ...]:
    """Reasons of conditions that speak of no row of a table that has rows: fitting data, or a misspelt word."""
    spoken_of: dict[str, int] = {}
    for verdict in verdicts:
        if verdict["row_condition"] and not verdict["unanswerable"]:
            spoken_of[verdict["reason"]] = spoken_of.get(verdict["reason"], 0) + verdict["spoken_of"]
    return tuple(reason for reason, rows in spoken_of.items() if not rows)


def _resolved(rule: Rule, tables: Path) -> list[Rule]:
    """The rule itself, or one for each column that its pattern matches; unchanged when none does."""
    path = tables / f"{rule.table}.parquet"
    if not rule.columns_matching or not path.exists():
        return [rule] if not rule.columns_matching else [_for_column(rule, rule.columns_matching)]
    from medai.validation.measuring import columns_of

    matching = [column for column in columns_of(path) if re.fullmatch(rule.columns_matching, column)]
    return [_for_column(rule, column) for column in matching or [rule.columns_matching]]


def _for_column(rule: Rule, column: str) -> Rule:
    """A pattern that matches nothing stands as a column of that name, which the table then lacks."""
    return rule.model_copy(update={"kwargs": {**rule.kwargs, "column": column}, "columns_matching": ""})


def _by_size(suite: Suite, tables: Path) -> list[str]:
    """The suite's tables, those that the snapshot lacks and the smaller ones first."""
    paths = {table: tables / f"{table}.parquet" for table in suite.tables}
    return sorted(paths, key=lambda table: paths[table].stat().st_size if paths[table].exists() else 0)


def _measure(tables: Path, rules: list[Rule], table: str) -> tuple[str, Pass | None]:
    """A table of the suite, measured; None where the snapshot does not hold it."""
    from medai.validation.measuring import measure

    path = tables / f"{table}.parquet"
    return table, measure(path, [rule for rule in rules if rule.table == table]) if path.exists() else None


def _measured(judged: Pass | None, index: int) -> Measured:
    from medai.validation.measuring import Measured

    return judged.measured[index] if judged is not None else Measured({}, 0, 0, "missing_table")


def _write_set_aside(path: Path, passes: dict[str, Pass], rules: list[Rule]) -> dict[str, int]:
    """Write the list of rows set aside for its owner alone; returns reason → rows in the suite's order."""
    import polars as pl

    frames = [pl.DataFrame(schema={"table": pl.String, "row_id": pl.Int64, "reason": pl.String})]
    for table, judged in passes.items():
        reasons = [rule.reason for rule in rules if rule.table == table]
        named = pl.DataFrame({"rule": range(len(reasons)), "reason": reasons}, schema_overrides={"rule": pl.UInt16})
        joined = judged.set_aside.join(named, on="rule", how="left")
        frames.append(joined.select(pl.lit(table).alias("table"), "row_id", "reason"))
    rows = pl.concat(frames).sort("table", "row_id")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        rows.write_parquet(file)
    counts = dict(rows.group_by("reason").len().iter_rows())
    return {rule.reason: counts[rule.reason] for rule in rules if rule.reason in counts}


def _too_many(suite: str, table: str, judged: Pass, dropped: int, tolerance: float) -> list[Failure]:
    """A failure when the table would lose a larger share of the rows handed over for it than is tolerated.

    Args:
        dropped: rows that the reader left out for a fault; they are not in the table any more.
    """
    from medai.validation.judging import judge, load_expectations
    from medai.validation.translation import ROW_COUNT

    aside, rows = judged.set_aside.height + dropped, judged.rows + dropped
    most = math.floor(rows * tolerance + 1e-9)  # 0.2 × 15 is 3, in floating point as well
    kind = "expect_table_row_count_to_be_between"
    declared = {"type": kind, "kwargs": {"min_value": rows - most}, "severity": "critical"}
    if judge(load_expectations(suite, [declared])[0], {ROW_COUNT: rows - aside}):
        return []
    return [
        Failure(
            expectation=kind,
            table=table,
            column="",
            reason=TOO_MANY,
            blocking=True,
            unexpected=aside,
            evaluated=rows,
        )
    ]
