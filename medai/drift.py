"""Did a source change between two snapshots? Its codes and the units of its clinical variables, compared.

A hospital renames an item, a laboratory changes from mg/dL to mmol/L, a ward stops charting: a model that was sound
goes on without a word. The two ``codes.parquet`` of the snapshots say so, and where they are at hand the two
``events.parquet``. Nothing here refuses: it is told, with how many rows it concerns.

- A code *vanished* or *appeared* when it stands in one snapshot alone; its share is of that snapshot's events.
- A variable's *unit mix* is how its readings divide among recorded units, the last part of their codes; the change is
  the total variation distance between the two mixes: half the sum of absolute differences, 0 to 1.
- A variable's *median shift* is the difference of its medians, in interquartile ranges of the earlier snapshot; where
  that range is 0, in the variable's unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.records import Frozen
from medai.tables import read_table, scan

if TYPE_CHECKING:
    import polars as pl

SEPARATOR = "//"
NO_UNIT = "UNK"
ROWS_AT_ONCE = 1 << 20


class Limits(Frozen):
    """From where on a change is told.

    Attributes:
        share: of a snapshot's events, of a code that came or went.
        unit_mix: total variation distance, 0 to 1.
        median_shift: interquartile ranges.
        readings: fewest readings of a variable in either snapshot for its units and median to be compared.
    """

    share: float = 0.001
    unit_mix: float = 0.1
    median_shift: float = 0.5
    readings: int = 100


class CodeChange(Frozen):
    """A code of one snapshot alone."""

    code: str
    variable: str | None
    rows: int
    share: float


class UnitChange(Frozen):
    """A variable whose readings divide otherwise among units; each mix: unit → share."""

    variable: str
    distance: float
    before: dict[str, float]
    after: dict[str, float]


class MedianShift(Frozen):
    """A variable whose median moved; ``shift`` in interquartile ranges of the earlier snapshot."""

    variable: str
    before: float
    after: float
    shift: float


class Drift(Frozen):
    """What changed, the largest first.

    Attributes:
        vanished, appeared: codes over the limit; ``lost`` and ``gained`` count those under it, too.
        lost, gained: rows of all codes of the earlier, or the later, snapshot alone.
    """

    vanished: tuple[CodeChange, ...] = ()
    appeared: tuple[CodeChange, ...] = ()
    lost: int = 0
    gained: int = 0
    units: tuple[UnitChange, ...] = ()
    medians: tuple[MedianShift, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether there is something to tell."""
        return bool(self.vanished or self.appeared or self.units or self.medians)


def compare_snapshots(before: Path, after: Path, limits: Limits | None = None) -> Drift:
    """Compare two folders of snapshots of one source.

    Raises:
        DataRefused: a table is missing or damaged.
    """
    import polars as pl

    columns = ("code", "variable", "readings")
    codes = [pl.DataFrame(read_table(folder / "codes.parquet", columns)) for folder in (before, after)]
    values = [quartiles(folder / "events.parquet") for folder in (before, after)]
    return compare(codes[0], codes[1], values[0], values[1], limits)


def quartiles(events: Path) -> pl.DataFrame:
    """variable, low, median, high (quartiles of ``numeric_value``) and readings; a row a variable with numbers.

    A quartile is the least number that so many readings do not exceed. Numbers are counted while they pass: memory
    grows with how many different ones there are, not with the table.
    """
    import polars as pl

    columns = ["variable", "numeric_value"]
    schema = {"variable": pl.String, "numeric_value": pl.Float32, "readings": pl.Int64}
    counted = pl.DataFrame(schema=schema)
    for part in scan(events, columns, rows=ROWS_AT_ONCE):
        rows = pl.DataFrame(part).drop_nulls().with_columns(pl.lit(1, pl.Int64).alias("readings"))
        both = pl.concat([counted, rows.cast(schema)])  # type: ignore[arg-type]
        counted = both.group_by(columns).agg(pl.col("readings").sum())
    value, so_far = pl.col("numeric_value"), pl.col("readings").cum_sum()
    named = {"low": 0.25, "median": 0.5, "high": 0.75}
    total = pl.col("readings").sum()
    return (
        counted.sort(columns)
        .group_by("variable", maintain_order=True)
        .agg(*(value.filter(so_far >= share * total).first().alias(name) for name, share in named.items()), total)
        .with_columns(pl.col(*named).cast(pl.Float64))
    )


def compare(
    before: pl.DataFrame,
    after: pl.DataFrame,
    values_before: pl.DataFrame | None = None,
    values_after: pl.DataFrame | None = None,
    limits: Limits | None = None,
) -> Drift:
    """Compare two tables of codes, and two of quartiles.

    Args:
        before, after: code, variable and readings; one row a code.
        values_before, values_after: as ``quartiles`` gives them; without both, medians are not compared.
    """
    limits = limits or Limits()
    vanished, lost = _alone(before, after, limits)
    appeared, gained = _alone(after, before, limits)
    medians: tuple[MedianShift, ...] = ()
    if values_before is not None and values_after is not None:
        medians = _medians(values_before, values_after, limits)
    return Drift(
        vanished=vanished,
        appeared=appeared,
        lost=lost,
        gained=gained,
        units=_units(before, after, limits),
        medians=medians,
    )


def _alone(here: pl.DataFrame, there: pl.DataFrame, limits: Limits) -> tuple[tuple[CodeChange, ...], int]:
    """Codes that stand here and not there, over the limit; and the rows of all of them."""
    import polars as pl

    total = max(int(here["readings"].sum()), 1)
    alone = here.join(there.select("code"), on="code", how="anti")
    told = alone.filter(pl.col("readings") >= limits.share * total).sort(["readings", "code"], descending=[True, False])
    changes = tuple(
        CodeChange(code=code, variable=variable, rows=rows, share=round(rows / total, 6))
        for code, variable, rows in told.select("code", "variable", "readings").iter_rows()
    )
    return changes, int(alone["readings"].sum())


def _mixes(codes: pl.DataFrame, fewest: int) -> dict[str, dict[str, float]]:
    """Variable → unit → share of its readings, of variables with enough of them."""
    import polars as pl

    parts = pl.col("code").str.split(SEPARATOR)
    unit = pl.when(parts.list.len() > 2).then(parts.list.last()).otherwise(pl.lit(NO_UNIT)).alias("unit")
    counted = (
        codes.filter(pl.col("variable").is_not_null())
        .group_by("variable", unit)
        .agg(pl.col("readings").sum())
        .with_columns(pl.col("readings").sum().over("variable").alias("all"))
        .filter(pl.col("all") >= max(fewest, 1))
        .sort("variable", "unit")
    )
    mixes: dict[str, dict[str, float]] = {}
    for variable, one, readings, total in counted.select("variable", "unit", "readings", "all").iter_rows():
        mixes.setdefault(variable, {})[one] = round(readings / total, 6)
    return mixes


def _units(before: pl.DataFrame, after: pl.DataFrame, limits: Limits) -> tuple[UnitChange, ...]:
    earlier, later = (_mixes(codes, limits.readings) for codes in (before, after))
    changes = []
    for variable in earlier.keys() & later.keys():
        old, new = earlier[variable], later[variable]
        distance = sum(abs(old.get(unit, 0) - new.get(unit, 0)) for unit in sorted(old.keys() | new.keys())) / 2
        distance = round(distance, 6)  # a tenth of the readings is a tenth, in floating point as well
        if distance >= limits.unit_mix:
            changes.append(UnitChange(variable=variable, distance=distance, before=old, after=new))
    return tuple(sorted(changes, key=lambda change: (-change.distance, change.variable)))


def _medians(before: pl.DataFrame, after: pl.DataFrame, limits: Limits) -> tuple[MedianShift, ...]:
    import polars as pl

    enough = pl.col("readings") >= limits.readings
    both = before.filter(enough).join(after.filter(enough).select("variable", "median"), on="variable", suffix="_after")
    changes = []
    for variable, low, old, high, new in both.select("variable", "low", "median", "high", "median_after").iter_rows():
        spread = high - low
        shift = (new - old) / spread if spread > 0 else new - old
        if abs(shift) >= limits.median_shift:
            changes.append(MedianShift(variable=variable, before=old, after=new, shift=round(shift, 4)))
    return tuple(sorted(changes, key=lambda change: (-abs(change.shift), change.variable)))
