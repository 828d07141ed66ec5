"""``monitor``: a batch beside its champion's reference, as figures.

Of a column that either side has hardly recorded, and of a batch of few subjects, there is no figure but the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medai.drift import Limits, UnitChange, compare
from medai.monitoring import pictures
from medai.monitoring.bounds import Monitoring
from medai.monitoring.features import FEATURES
from medai.monitoring.observing import (
    OBSERVED,
    Observed,
    Rows,
    contents_of,
    counted_codes,
    observe_data,
    observe_scores,
    rows_of,
)
from medai.monitoring.records import NOTHING, TOO_FEW, Compared, Figure, Kind, Reference, Statistic
from medai.monitoring.reference import ANSWERED, CODES, feature_distances
from medai.monitoring.statistics import Floats, binned, difference, edges, ks, lacking, mixed, psi, wilson
from medai.outputs import Output
from medai.promotion import trained_subjects
from medai.records import Arrays, Candidate, Cohort, Frozen, Measure, Snapshot, stage_key
from medai.tables import read_table
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

VERSION = 4
LIBRARIES = ("numpy", "onnxruntime", "polars", "pyarrow", "scipy")
WENT, CAME = "codes that went", "codes that came"
_DISTRIBUTIONS: tuple[Statistic, ...] = ("psi", "ks")
_ALWAYS_THERE = frozenset({*pictures.MEASURES, FEATURES})
"""Columns that every picture has."""


class Comparing(Frozen):
    """What of the bounds goes into the figures themselves."""

    kind: Kind
    significance: float
    minimum_subjects: int
    minimum_readings: int

    @classmethod
    def of(cls, kind: Kind, bounds: Monitoring) -> Comparing:
        """The narrow configuration of one kind of window."""
        return cls(
            kind=kind,
            significance=bounds.significance,
            minimum_subjects=bounds.minimum_subjects,
            minimum_readings=bounds.minimum_readings,
        )


def compare_data(
    workspace: Workspace,
    reference: Reference,
    champion: Candidate,
    snapshot: Snapshot,
    cohort: Cohort,
    arrays: Arrays,
    bounds: Monitoring,
) -> Made[Compared]:
    """Tables or pictures of a batch beside the reference. Who the champion was fitted on is left out."""
    config = Comparing.of("data", bounds)
    key = _key(reference, {"cohort": cohort.key, "arrays": arrays.key}, config)

    def build(_folder: Path) -> Compared:
        import polars as pl

        rows = _new(workspace, champion, cohort, arrays)
        here = observe_data(workspace, snapshot, arrays, rows)
        far = feature_distances(workspace, reference, arrays, rows)
        if far is not None:
            here.numbers[FEATURES] = far
        folder = workspace.folder("reference", reference.key)
        figures = list(compared(Observed.read(folder / OBSERVED), here, rows.subjects, config))
        if snapshot.shape == "events":
            codes = counted_codes(workspace.folder("ingest", snapshot.key) / "events.parquet", rows.table)
            before = pl.DataFrame(read_table(folder / CODES))
            figures += of_codes(before, codes, reference.subjects, rows.subjects, config)
        return _compared(key, config, reference, cohort, contents_of(workspace, snapshot), rows, figures)

    return workspace.materialise("monitor", key, Compared, build)


def compare_scores(
    workspace: Workspace,
    reference: Reference,
    champion: Candidate,
    snapshot: Snapshot,
    cohort: Cohort,
    arrays: Arrays,
    scores: str,
    name: str,
    output: Output,
    bounds: Monitoring,
) -> Made[Compared]:
    """Answers to a batch beside those of the reference. Who the champion was fitted on is left out.

    Args:
        scores: key of the stage that scored the batch.
        name, output: as the champion's record defines them.
    """
    config = Comparing.of("predictions", bounds)
    key = _key(reference, {"cohort": cohort.key, "scores": scores}, config)

    def build(_folder: Path) -> Compared:
        import polars as pl

        from medai.scores import SCORES

        rows = _new(workspace, champion, cohort, arrays)
        table = pl.DataFrame(read_table(workspace.folder("score", scores) / SCORES))
        here = observe_scores(table, name, output, champion.thresholds[name], rows)
        before = Observed.read(workspace.folder("reference", reference.key) / ANSWERED)
        figures = list(compared(before, here, rows.subjects, config))
        return _compared(key, config, reference, cohort, contents_of(workspace, snapshot), rows, figures)

    return workspace.materialise("monitor", key, Compared, build)


def compared(before: Observed, here: Observed, subjects: int, config: Comparing) -> Iterator[Figure]:
    """Every column of either side: its missing share, its distribution; every alert.

    Args:
        subjects: of the batch.
    """
    numbers = sorted(before.numbers.keys() | here.numbers.keys())
    levels = sorted(before.levels.keys() | here.levels.keys())
    alerts = sorted(before.alerts.keys() & here.alerts.keys())
    may_lack = set() if config.kind != "data" else {column for column in numbers if column not in _ALWAYS_THERE}
    significance = config.significance / max(1, 2 * len(numbers) + len(levels))
    confidence = 1 - config.significance / max(1, len(may_lack) + len(levels) + len(alerts))
    for column in numbers:
        old = before.numbers.get(column, np.empty(0))
        new = here.numbers.get(column, np.full(subjects, np.nan))
        there, recorded = np.isfinite(old), np.isfinite(new)
        if column in may_lack:
            yield _missing(column, there, recorded, confidence, config)
        yield from _distributions(column, old[there], new[recorded], significance, config)
    for column in levels:
        old_levels = before.levels.get(column, np.empty(0, object))
        new_levels = here.levels.get(column, np.full(subjects, None, object))
        told, said = (np.array([one is not None for one in side], bool) for side in (old_levels, new_levels))
        yield _missing(column, told, said, confidence, config)
        yield _mix(column, old_levels, new_levels, significance, config)
    for column in alerts:
        yield _share(column, "alerts", before.alerts[column], here.alerts[column], confidence, config)


def of_codes(
    before: pl.DataFrame, here: pl.DataFrame, learnt: int, subjects: int, config: Comparing
) -> Iterator[Figure]:
    """Codes that one side alone has, as a share of its readings, and the mix of units of each variable.

    Small batches lack rare codes, and a small reference lacked some: how much of that is chance is told by how many
    subjects of the reference have each code.

    Args:
        before, here: code, variable, readings and subjects.
        learnt, subjects: of the reference and of the batch.
    """
    few = subjects < config.minimum_subjects
    found = compare(before, here, limits=Limits(share=0, unit_mix=0, readings=config.minimum_readings))
    significance = config.significance / (2 + len(found.units))
    held = before["readings"].to_numpy(), before["subjects"].to_numpy(), learnt
    for measure, rows, table, others in ((WENT, found.lost, before, subjects), (CAME, found.gained, here, learnt)):
        total = int(table["readings"].sum())
        why = TOO_FEW if few else "" if total else NOTHING
        value = None if why else _told(rows / total)
        chance = None if why else _told(lacking(*held, others, significance))
        yield Figure(measure=measure, statistic="codes", value=value, chance=chance, subjects=subjects, why=why)
    for change in sorted(found.units, key=lambda change: change.variable):
        value = None if few else change.distance
        chance = None if few else _told(_by_chance(change, before, here, significance))
        why = TOO_FEW if few else ""
        yield Figure(measure=change.variable, statistic="units", value=value, chance=chance, subjects=subjects, why=why)


def _by_chance(change: UnitChange, before: pl.DataFrame, here: pl.DataFrame, significance: float) -> float:
    """How far the mixes of a variable's units lie apart by chance; who has its commonest code surely has it."""
    import polars as pl

    units = sorted(change.before.keys() | change.after.keys())
    old, new = (np.array([mix.get(unit, 0.0) for unit in units]) for mix in (change.before, change.after))
    n, m = (int(side.filter(pl.col("variable") == change.variable)["subjects"].max()) for side in (before, here))  # type: ignore[arg-type]
    return mixed(old, new, n, m, significance)


def _key(reference: Reference, inputs: dict[str, str], config: Comparing) -> str:
    return stage_key("monitor", VERSION, {"reference": reference.key} | inputs, config, LIBRARIES)


def _new(workspace: Workspace, champion: Candidate, cohort: Cohort, arrays: Arrays) -> Rows:
    """The rows of subjects whom the champion was not fitted on: the others are its reference."""
    import polars as pl

    fitted = pl.Series(sorted(trained_subjects(workspace, champion)), dtype=pl.Int64)
    return rows_of(workspace, cohort, arrays, lambda subjects: ~subjects.is_in(fitted.implode()))


def _compared(
    key: str,
    config: Comparing,
    reference: Reference,
    cohort: Cohort,
    contents: str | None,
    rows: Rows,
    figures: list[Figure],
) -> Compared:
    return Compared(
        key=key,
        kind=config.kind,
        candidate=reference.candidate,
        batch=cohort.key,
        contents=contents,
        unit=cohort.unit,
        samples=len(rows.places),
        subjects=rows.subjects,
        known=rows.known,
        figures=tuple(figures),
    )


def _distributions(column: str, old: Floats, new: Floats, significance: float, config: Comparing) -> Iterator[Figure]:
    """Index and distance of the recorded values; a column of few different values is compared by the index alone."""
    edge, alone = edges(old) if len(old) else (old, False)
    statistics: tuple[Statistic, ...] = ("psi",) if alone else _DISTRIBUTIONS
    why = _why(len(old), len(new), config)
    for statistic in statistics:
        if why:
            yield Figure(measure=column, statistic=statistic, value=None, subjects=len(new), why=why)
            continue
        if statistic == "psi":
            value, chance = psi(binned(old, edge, alone), binned(new, edge, alone), significance)
        else:
            value, chance = ks(old, new, significance)
        yield Figure(measure=column, statistic=statistic, value=_told(value), chance=_told(chance), subjects=len(new))


def _mix(
    column: str, old: NDArray[np.object_], new: NDArray[np.object_], significance: float, config: Comparing
) -> Figure:
    """The index of a category's levels."""
    sides = [[one for one in side if one is not None] for side in (old.tolist(), new.tolist())]
    why = _why(len(sides[0]), len(sides[1]), config)
    if why:
        return Figure(measure=column, statistic="psi", value=None, subjects=len(sides[1]), why=why)
    known = {level: place for place, level in enumerate(sorted({*sides[0], *sides[1]}))}
    before, after = (np.bincount([known[one] for one in side], minlength=len(known)) for side in sides)
    value, chance = psi(before, after, significance)
    return Figure(measure=column, statistic="psi", value=_told(value), chance=_told(chance), subjects=len(sides[1]))


def _missing(
    column: str, there: NDArray[np.bool_], recorded: NDArray[np.bool_], confidence: float, config: Comparing
) -> Figure:
    return _share(column, "missing", ~there, ~recorded, confidence, config)


def _share(
    column: str,
    statistic: Statistic,
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    confidence: float,
    config: Comparing,
) -> Figure:
    """The change of a share of subjects, with its interval."""
    if min(len(old), len(new)) < config.minimum_subjects:
        return Figure(measure=column, statistic=statistic, value=None, subjects=len(new), why=TOO_FEW)
    before, after = (int(old.sum()), len(old)), (int(new.sum()), len(new))
    value, low, high = difference(before, after, confidence)
    ends = wilson(*after)
    return Figure(
        measure=column,
        statistic=statistic,
        value=_told(value),
        low=_told(low),
        high=_told(high),
        reference=_told(before[0] / before[1]),
        here=Measure(value=_told(after[0] / after[1]), low=_told(ends[0]), high=_told(ends[1])),
        subjects=len(new),
    )


def _why(old: int, new: int, config: Comparing) -> str:
    if not old or not new:
        return NOTHING
    return TOO_FEW if min(old, new) < config.minimum_subjects else ""


def _told(value: float) -> float:
    """As many digits as machines agree on."""
    return round(float(value), 9)
