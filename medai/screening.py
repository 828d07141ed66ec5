"""``screen``: does a single column tell the outcome almost by itself?

A column that does is hardly ever medicine: it was filled in after the outcome was known, or it says which folder,
device or form a sample came from. Kaufman S, Rosset S, Perlich C, Stitelman O. Leakage in data mining. ACM TKDD 2012;
for pictures, DeGrave AJ, Janizek JD, Lee SI. AI for radiographic COVID-19 detection selects shortcuts over signal. Nat
Mach Intell 2021. So before any model is fitted, each column of the arrays, each place of the pictures and what was
known of the files are ranked alone against each class, on the train rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from medai.errors import DataRefused
from medai.outputs import Output
from medai.records import Arrays, Cohort, Frozen, Screening, SingleColumn, Snapshot, Splits, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import numpy as np

    from medai.training.rows import Rows

VERSION = 1
_SHOWN = 10
_GRID = 16
"""Places of a picture: it is averaged to this many rows and columns."""
_SAMPLES = 4096
"""Train rows that are ranked: evenly spaced ones where there are more."""
_FILE_COLUMNS = ("height", "width", "channels", "bits", "mean", "std", "minimum", "maximum")


class Screen(Frozen):
    """When a single column is too good to be true.

    Attributes:
        largest_auroc: a column that separates a class on train better than this, in either direction, refuses the run.
        minimum: positives and negatives below which a column is not judged.
        allow: columns that may: each was looked at by a person.
    """

    largest_auroc: float = Field(0.995, gt=0.5, le=1)
    minimum: int = Field(20, ge=2)
    allow: tuple[str, ...] = ()


def screen(
    workspace: Workspace,
    snapshot: Snapshot,
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    outputs: dict[str, Output],
    config: Screen,
) -> Made[Screening]:
    """Rank each single column against each class, by its AUROC on train.

    Returns:
        The strongest columns, and those over the limit; ``refuse_if_leaking`` acts on them.
    """
    key = stage_key(
        "screen",
        VERSION,
        {"arrays": arrays.key, "cohort": cohort.key, "splits": splits.key},
        config,
        ("numpy", "scipy"),
    )

    def build(_folder: Path) -> Screening:
        import numpy as np

        from medai.training.rows import Rows

        rows = Rows.load(workspace, arrays, cohort, splits, outputs)
        train = rows.of("train")
        if len(train) > _SAMPLES:
            train = train[np.linspace(0, len(train) - 1, _SAMPLES).astype(np.int64)]
        found: list[SingleColumn] = []
        judged = 0
        for name, output in outputs.items():
            truth = rows.truth[name][train]
            classes = _one_against_rest(output, truth)
            for columns, values in _columns(workspace, snapshot, arrays, rows, train):
                judged += len(columns)
                for label, positive in classes.items():
                    for column, auroc in zip(columns, _aurocs(values, positive, config.minimum), strict=True):
                        if not np.isnan(auroc):
                            found.append(SingleColumn(column=column, output=name, label=label, auroc=float(auroc)))
        found.sort(key=lambda one: (-one.strength, one.column, one.label))
        return Screening(
            key=key,
            columns=judged,
            strongest=tuple(found[:_SHOWN]),
            leaking=tuple(
                one for one in found if one.strength > config.largest_auroc and one.column not in config.allow
            ),
            largest_auroc=config.largest_auroc,
        )

    return workspace.materialise("screen", key, Screening, build)


def refuse_if_leaking(screening: Screening) -> None:
    """Stop the run where a single column tells the outcome.

    Raises:
        DataRefused: names the columns, their AUROC and the class.
    """
    if not screening.leaking:
        return
    first = screening.leaking[0]
    named = list(dict.fromkeys(one.column for one in screening.leaking))
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    raise DataRefused(
        f"a single column tells {first.output} almost by itself: the label leaks",
        expected=f"no column that separates a class on train with an AUROC over {screening.largest_auroc:g}",
        received=f"{', '.join(named[:5])}{more}; {first.column} separates {first.label} with {first.strength:.4f}",
        action="look when and why it is recorded, and take it out of the data or the Problem; if it is sound, name it "
        "under screening.allow",
    )


def _one_against_rest(output: Output, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Class name → bool (samples,): who is of the class."""
    if output.kind in ("binary", "mask"):
        return {output.names[1]: truth == 1}
    if output.kind == "multiclass":
        return {label: truth == position for position, label in enumerate(output.names)}
    return {label: truth[:, position] == 1 for position, label in enumerate(output.names)}


def _columns(
    workspace: Workspace, snapshot: Snapshot, arrays: Arrays, rows: Rows, train: np.ndarray
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and float32 values (samples, columns), NaN where a value is missing."""
    import numpy as np
    import polars as pl

    from medai.tables import read_table

    if arrays.kind in ("pixels", "volume"):
        levels = rows.arrays[arrays.kind]
        # A volume is looked through along its depth, as an X-ray would: the mean of its slices.
        flat = (levels[row].mean(axis=0, dtype=np.float32) if arrays.kind == "volume" else levels[row] for row in train)
        places = np.stack([_places(one) for one in flat])
        yield [f"place.{row}.{column}" for row in range(_GRID) for column in range(_GRID)], places
        images = pl.DataFrame(
            read_table(workspace.folder("ingest", snapshot.key) / "images.parquet", ["row_id", *_FILE_COLUMNS])
        )
        chosen = rows.table[train].select("sample_id")
        files = chosen.join(images, left_on="sample_id", right_on="row_id", how="left", maintain_order="left")
        yield (
            [f"file.{column}" for column in _FILE_COLUMNS],
            files.select(_FILE_COLUMNS).cast(pl.Float32).to_numpy(),
        )
        return
    for name in ("static", "summaries"):
        if name in arrays.arrays:
            yield list(arrays.arrays[name].names), np.asarray(rows.arrays[name][train], np.float32)


def _places(pixels: np.ndarray) -> np.ndarray:
    """float32 (256,): means of the picture's places, channels together."""
    import numpy as np

    grey = pixels.mean(axis=-1, dtype=np.float32)
    down = np.linspace(0, grey.shape[0], _GRID + 1).astype(np.int64)[:-1]
    across = np.linspace(0, grey.shape[1], _GRID + 1).astype(np.int64)[:-1]
    sums = np.add.reduceat(np.add.reduceat(grey, down, axis=0), across, axis=1)
    sizes = np.outer(np.diff(np.append(down, grey.shape[0])), np.diff(np.append(across, grey.shape[1])))
    means: np.ndarray = (sums / sizes).astype(np.float32).ravel()
    return means


def _aurocs(values: np.ndarray, positive: np.ndarray, minimum: int) -> np.ndarray:
    """float64 (columns,): the larger of a column's AUROC by value and by being missing; NaN where too few are known.

    The AUROC is Mann and Whitney's: the share of pairs in which the positive ranks higher, ties counting a half.
    """
    import numpy as np
    from scipy.stats import rankdata

    missing = np.isnan(values)
    best = np.full(values.shape[1], np.nan)
    if min(positive.sum(), (~positive).sum()) < minimum:
        return best
    # Being recorded at all: two values a column, so counts do where ranks would.
    of_positives, of_negatives = missing[positive].mean(axis=0), missing[~positive].mean(axis=0)
    by_absence = 0.5 + (of_positives - of_negatives) / 2
    for column in range(values.shape[1]):
        known = ~missing[:, column]
        positives, negatives = int((known & positive).sum()), int((known & ~positive).sum())
        by_value = 0.5
        if min(positives, negatives) >= minimum:
            ranks = rankdata(values[known, column])
            pairs = ranks[positive[known]].sum() - positives * (positives + 1) / 2
            by_value = pairs / (positives * negatives)
        absence = by_absence[column]
        best[column] = by_value if abs(by_value - 0.5) >= abs(absence - 0.5) else absence
    return best
