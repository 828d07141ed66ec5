"""Acute kidney injury as KDIGO defines it, from creatinine and urine output: labels that no table holds.

Kidney Disease: Improving Global Outcomes (KDIGO) Acute Kidney Injury Work Group. KDIGO clinical practice guideline for
acute kidney injury. Kidney Int Suppl 2012;2:1–138, section 2.1 and table 2:

=====  ==============================================================  ====================================
stage  creatinine                                                      urine output
=====  ==============================================================  ====================================
1      1.5 times the baseline, or 0.3 mg/dL more within 48 h           below 0.5 mL/kg/h for 6 h
2      2 times the baseline                                            below 0.5 mL/kg/h for 12 h
3      3 times the baseline, or 4.0 mg/dL where stage 1 is met as well below 0.3 mL/kg/h for 24 h, none for 12 h
=====  ==============================================================  ====================================

What the guideline leaves open is settled as the public ICU benchmarks do (van de Water R, et al. Yet Another ICU
Benchmark. ICLR 2024; its cohort code): the baseline is the lowest creatinine of the last 7 days, the reading itself
included; the 0.3 mg/dL are above the lowest of the last 48 h; a patient without a weight weighs 75 kg. Dialysis, which
alone makes stage 3, is not read.

Urine is charted as what ran out since the last entry. So between two entries it is taken to run evenly, and the output
of a window is reckoned from that. A window is judged at an entry, if entries cover it: what the first entry holds ran
out at an unknown time, and of more than 24 h without an entry nothing is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.cohort.events import kept_events

if TYPE_CHECKING:
    import polars as pl

ONSET, STAGE, HIGH_BASELINE = "hours_to_kidney_injury", "kidney_injury_stage", "high_baseline_creatinine"
LABELS = (ONSET, STAGE, HIGH_BASELINE)
"""``hours_to_kidney_injury``: from the stay's start to the first moment of stage 1 or more, looked for from 7 days
before the stay until its end; below 0 where it came before, null where nothing shows it: a stay in which neither was
measured often enough has none, nor one that ended before. ``kidney_injury_stage``: the highest stage during the stay, 0
to 3. ``high_baseline_creatinine``: 1 where the lowest creatinine from 7 days before the stay until the first reading in
it is above 4 mg/dL (a kidney that had failed before), else 0."""
VARIABLES = ("creatinine", "urine_output", "weight")
"""Clinical variables, in mg/dL, mL and kg."""

BASELINE_DAYS = 7
ASSUMED_WEIGHT = 75.0
"""kg, of a patient without a weight."""
HIGH_CREATININE = 4.0
LONGEST_GAP_HOURS = 24
_HOUR = 3_600_000_000
_ROUNDED = 4
"""Decimals of mg/dL that readings are compared in: 1.3 is 0.3 more than 1.0, whatever float32 makes of them."""


def kidney_labels(raw: Path, aside: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """stay_id and ``LABELS``, one row a stay.

    Args:
        stays: stay_id, subject_id, start and end; a stay without an end has lasted until its last reading.
    """
    import polars as pl

    asked = stays.select("stay_id", "subject_id", "start", "end")
    none = {name: pl.lit(None, kind) for name, kind in kidney_schema().items()}
    parts = [asked.select("stay_id").clear().with_columns(**none)]
    for events in kept_events(raw, aside, ["subject_id", "time", "variable", "numeric_value"]):
        readings = (
            events.lazy()
            .filter(pl.col("variable").is_in(list(VARIABLES)), pl.col("time").is_not_null())
            .select("subject_id", "time", "variable", pl.col("numeric_value").cast(pl.Float64).alias("value"))
            .drop_nulls("value")
            .join(asked.lazy(), on="subject_id", maintain_order="left")
            .filter(
                pl.col("time") >= pl.col("start") - pl.duration(days=BASELINE_DAYS),
                (pl.col("time") <= pl.col("end")).fill_null(True),
            )
            .collect()
        )
        parts.append(_of_readings(readings))
    found = pl.concat(parts)
    return (
        asked.select("stay_id")
        .join(found, on="stay_id", how="left", maintain_order="left")
        .with_columns(pl.col(STAGE, HIGH_BASELINE).fill_null(0))
    )


def kidney_schema() -> dict[str, pl.DataType]:
    """``LABELS`` and their types."""
    import polars as pl

    return {ONSET: pl.Float64(), STAGE: pl.Int64(), HIGH_BASELINE: pl.Int64()}


def _of_readings(readings: pl.DataFrame) -> pl.DataFrame:
    """stay_id and ``LABELS`` of the stays that have readings (stay_id, start, time, variable, value)."""
    import polars as pl

    creatinine = readings.filter(pl.col("variable") == "creatinine")
    staged = pl.concat(
        [
            creatinine_stages(creatinine),
            urine_stages(
                readings.filter(pl.col("variable") == "urine_output", pl.col("time") >= pl.col("start")),
                readings.filter(pl.col("variable") == "weight"),
            ),
        ]
    ).join(readings.select("stay_id", "start").unique(), on="stay_id")
    during = pl.col("time") >= pl.col("start")
    hours = (pl.col("time") - pl.col("start")).dt.total_microseconds() / _HOUR
    onset = staged.group_by("stay_id").agg(
        hours.filter(pl.col("stage") > 0).min().alias(ONSET),
        pl.col("stage").filter(during).max().fill_null(0).cast(pl.Int64).alias(STAGE),
    )
    first = pl.col("time").filter(during).min()
    baseline = creatinine.group_by("stay_id").agg(
        (pl.col("value").filter((pl.col("time") <= first).fill_null(True)).min() > HIGH_CREATININE)
        .cast(pl.Int64)
        .alias(HIGH_BASELINE)
    )
    return onset.join(baseline, on="stay_id", how="left").select("stay_id", *LABELS)


def creatinine_stages(readings: pl.DataFrame) -> pl.DataFrame:
    """stay_id, time and stage (0 to 3) of each creatinine reading.

    Args:
        readings: stay_id, time and value in mg/dL; of several at one time the highest counts.
    """
    import polars as pl

    value = pl.col("value").round(_ROUNDED)
    joined = ordered = readings.group_by("stay_id", "time").agg(value.max()).sort("stay_id", "time")
    for period, name in (("48h", "of_two_days"), (f"{BASELINE_DAYS}d", "baseline")):
        lowest = ordered.rolling("time", period=period, closed="both", group_by="stay_id").agg(
            pl.col("value").min().alias(name)
        )
        joined = joined.join(lowest, on=["stay_id", "time"], maintain_order="left")
    times = (value / pl.col("baseline")).round(_ROUNDED)
    risen = ((value - pl.col("of_two_days")).round(_ROUNDED) >= 0.3) | (times >= 1.5)
    stage = (
        pl.when((times >= 3) | (risen & (value >= HIGH_CREATININE)))
        .then(3)
        .when(times >= 2)
        .then(2)
        .when(risen)
        .then(1)
        .otherwise(0)
    )
    return joined.select("stay_id", "time", stage.cast(pl.Int64).alias("stage"))


def urine_stages(entries: pl.DataFrame, weights: pl.DataFrame) -> pl.DataFrame:
    """stay_id, time and stage (0 to 3) at each urine entry.

    Args:
        entries: stay_id, time and value in mL.
        weights: stay_id, time and value in kg; a stay's first counts.
    """
    import polars as pl

    weighed = weights.sort("stay_id", "time").group_by("stay_id").agg(pl.col("value").first().alias("weight"))
    summed = entries.group_by("stay_id", "time").agg(pl.col("value").sum()).sort("stay_id", "time")
    gap = pl.col("time").diff().over("stay_id")
    begins = gap.is_null() | (gap > pl.duration(hours=LONGEST_GAP_HOURS))
    covered = (
        summed.with_columns(begins.alias("begins"))
        .with_columns(
            pl.col("begins").cum_sum().alias("stretch"),
            pl.when("begins").then(0.0).otherwise("value").alias("ran"),
        )
        .with_columns(
            pl.col("ran").cum_sum().over("stretch").alias("until"),
            pl.col("time").shift(-1).over("stretch").alias("next_time"),
            pl.col("ran").shift(-1).over("stretch").alias("next_ran"),
        )
        .join(weighed, on="stay_id", how="left", maintain_order="left")
        .with_columns(pl.col("weight").fill_null(ASSUMED_WEIGHT))
    )
    volumes = {hours: _run_out(covered, hours) for hours in (6, 12, 24)}
    staged = covered.with_columns(
        (volume / hours / pl.col("weight")).round(_ROUNDED).alias(f"rate{hours}") for hours, volume in volumes.items()
    )
    stage = (
        pl.when((pl.col("rate24") < 0.3) | (pl.col("rate12") == 0))
        .then(3)
        .when(pl.col("rate12") < 0.5)
        .then(2)
        .when(pl.col("rate6") < 0.5)
        .then(1)
        .otherwise(0)
    )
    return staged.select("stay_id", "time", stage.cast(pl.Int64).alias("stage"))


def _run_out(covered: pl.DataFrame, hours: int) -> pl.Series:
    """mL in the hours until each entry, null where entries do not cover them."""
    import polars as pl

    begin = covered.select("stretch", (pl.col("time") - pl.duration(hours=hours)).alias("from")).with_row_index("row")
    entry = covered.select("stretch", pl.col("time").alias("at"), "until", "next_time", "next_ran")
    there = begin.sort("from").join_asof(
        entry.sort("at"), left_on="from", right_on="at", by="stretch", strategy="backward", check_sortedness=False
    )
    share = (pl.col("from") - pl.col("at")) / (pl.col("next_time") - pl.col("at"))
    before = there.sort("row").select(pl.col("until") + share * pl.col("next_ran")).to_series()
    return covered["until"] - before
