"""What is there to be compared of a batch: one value a subject and column, whatever the data are.

Of stays, each variable's mean over the prediction's window, as the model reads it, each static number and category. Of
pictures, what their table tells (geometry, view, device) and what their prepared pixels tell. Of answers, each score
and whether it reaches its threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medai.monitoring import pictures
from medai.monitoring.statistics import Floats, of_subjects
from medai.records import Arrays, Cohort, Snapshot, sha256_of
from medai.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from medai.outputs import Output

NUMBERS = ("height", "width", "bits", "channels", "spacing_down", "spacing_across", "age")
LEVELS = ("view", "laterality", "modality", "manufacturer", "model", "photometric", "voi", "sex", "age_band")
"""Columns of a table of pictures that say how they were taken, and of whom; none of them names anybody."""
UNIT, VALUES = "unit", "values"
OBSERVED = "observed.parquet"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Rows:
    """The samples that are looked at.

    Attributes:
        places: (rows,) their places in the prepared arrays.
        table: sample_id, subject_id and prediction_time, in that order.
        subject: (rows,) the subject's number, from 0 on.
        known: subjects that were left out.
    """

    places: NDArray[np.int64]
    table: pl.DataFrame
    subject: NDArray[np.int64]
    known: int = 0

    @property
    def subjects(self) -> int:
        """How many subjects."""
        return int(self.subject.max()) + 1 if len(self.subject) else 0


@dataclass
class Observed:
    """Columns of one value a subject.

    Attributes:
        numbers: column → (subjects,), NaN where nothing was recorded.
        levels: column → (subjects,) text, None where nothing was recorded.
        alerts: column → (subjects,) whether a threshold was reached.
    """

    numbers: dict[str, Floats] = field(default_factory=dict)
    levels: dict[str, NDArray[np.object_]] = field(default_factory=dict)
    alerts: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def table(self) -> pl.DataFrame:
        """All of it as one long table: kind, column, number, level; without anybody's id, in the order of values."""
        import polars as pl

        schema = {"kind": pl.String, "column": pl.String, "number": pl.Float64, "level": pl.String}
        parts = [
            pl.DataFrame({"kind": kind, "column": column, "number": np.sort(values), "level": None}, schema=schema)
            for kind, columns in (("number", self.numbers), ("alert", _as_numbers(self.alerts)))
            for column, values in columns.items()
        ]
        parts += [
            pl.DataFrame({"kind": "level", "column": column, "number": None, "level": values}, schema=schema).sort(
                "level", nulls_last=True
            )
            for column, values in self.levels.items()
        ]
        return pl.concat([pl.DataFrame(schema=schema), *parts])

    @classmethod
    def read(cls, path: Path) -> Observed:
        """What ``table`` made, from its file."""
        import polars as pl

        from medai.tables import read_table

        found = cls()
        table = pl.DataFrame(read_table(path))
        for (kind, column), rows in table.group_by("kind", "column", maintain_order=True):
            if kind == "level":
                found.levels[str(column)] = np.array(rows["level"].to_list(), object)
            elif kind == "number":
                found.numbers[str(column)] = rows["number"].to_numpy()
            else:
                found.alerts[str(column)] = rows["number"].to_numpy() > 0
        return found


def rows_of(
    workspace: Workspace, cohort: Cohort, arrays: Arrays, keep: Callable[[pl.Series], pl.Series] | None = None
) -> Rows:
    """The samples of prepared arrays with their subjects.

    Args:
        keep: of subject ids, whose samples are looked at; all of them when left out.
    """
    import polars as pl

    from medai.tables import read_table

    index = pl.DataFrame(read_table(workspace.folder("prepare", arrays.key) / "samples.parquet", ["row", "sample_id"]))
    columns = ["sample_id", "subject_id", "prediction_time"]
    people = read_table(workspace.folder("select", cohort.key) / "cohort.parquet", columns)
    table = index.join(pl.DataFrame(people), on="sample_id", how="inner", validate="1:1").sort("row")
    known = 0
    if keep is not None:
        kept = table.filter(keep(table["subject_id"]))
        known = table["subject_id"].n_unique() - kept["subject_id"].n_unique()
        table = kept
    numbers = table["subject_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return Rows(table["row"].to_numpy(), table.select(columns), numbers, known)


def observe_data(workspace: Workspace, snapshot: Snapshot, arrays: Arrays, rows: Rows) -> Observed:
    """Columns of a batch's data."""
    from medai.training.gathering import open_arrays

    found = Observed()
    opened = open_arrays(workspace.folder("prepare", arrays.key), arrays)
    if arrays.kind == "series":
        variables = arrays.arrays["last"].names
        values = np.concatenate(
            [_means(opened, places) for places in _blocks(rows.places)] or [np.empty((0, len(variables)))]
        )
        for place, variable in enumerate(variables):
            found.numbers[variable] = of_subjects(rows.subject, values[:, place])
        if "static" in opened:
            _static(found, np.asarray(opened["static"][rows.places]), arrays.arrays["static"].names, rows)
        return found
    pixels = opened["pixels" if arrays.kind == "pixels" else "volume"]
    values = np.concatenate(
        [pictures.measured(pixels[places]) for places in _blocks(rows.places)]
        or [np.empty((0, len(pictures.MEASURES)))]
    )
    for place, measure in enumerate(pictures.MEASURES):
        found.numbers[measure] = of_subjects(rows.subject, values[:, place])
    _told(found, workspace.folder("ingest", snapshot.key), rows)
    return found


def observe_scores(
    scores: pl.DataFrame, name: str, output: Output, thresholds: tuple[float, ...], rows: Rows
) -> Observed:
    """Each score, and each threshold that is reached, of a batch's answers.

    A subject's score is the mean over his samples; he has an alert if one of them reaches the threshold. Of several
    classes without a threshold, the likeliest is what is said.

    Args:
        scores: sample_id, and what ``medai.prediction.score`` wrote of the output.
    """
    from medai.outputs import Mask
    from medai.scores import score_columns

    table = rows.table.join(scores, on="sample_id", how="left", maintain_order="left", validate="1:1")
    found = Observed()
    if isinstance(output, Mask):
        found.numbers["score"] = of_subjects(rows.subject, table["score"].to_numpy())
        found.alerts["alerts"] = _any(rows, (table["label"] == output.positive).to_numpy())
        for finding in output.findings:
            found.numbers[f"area, {finding}"] = of_subjects(rows.subject, table[f"area.{finding}"].to_numpy())
        return found
    values = table.select(score_columns(name, output)).to_numpy()
    heads = ("score",) if output.kind == "binary" else tuple(f"score, {label}" for label in output.names)
    for place, head in enumerate(heads):
        found.numbers[head] = of_subjects(rows.subject, values[:, place])
        reached = (
            values[:, place].astype(np.float64) >= thresholds[place] if thresholds else values.argmax(axis=1) == place
        )
        found.alerts["alerts" if output.kind == "binary" else f"alerts, {output.names[place]}"] = _any(rows, reached)
    return found


def counted_codes(events: Path, samples: pl.DataFrame) -> pl.DataFrame:
    """code, variable, readings, and subjects who have any, of these samples' events that were known by the prediction.

    What became known later no model reads, and a batch that is asked about today does not have it yet. Of a subject
    with several samples the latest prediction decides, so that each of his events counts once. An event without a time
    counts as ``prepare`` lets it in: unless it is said to have been known only later.

    Args:
        samples: subject_id and prediction_time.
    """
    import polars as pl

    from medai.tables import scan

    asked = samples.lazy().group_by("subject_id").agg(pl.col("prediction_time").max())
    known = pl.max_horizontal("time", "known_time")
    schema = {"code": pl.String, "variable": pl.String, "readings": pl.Int64, "subjects": pl.Int64}
    counted = pl.DataFrame(schema=schema)
    for part in scan(events, ["subject_id", "time", "known_time", "code", "variable"], rows=1 << 20):
        here = (
            pl.DataFrame(part)
            .lazy()
            .join(asked, on="subject_id")
            .filter(known.is_null() | (known <= pl.col("prediction_time")))
            .group_by("code", "variable")
            .agg(
                pl.len().cast(pl.Int64).alias("readings"),
                pl.col("subject_id").n_unique().cast(pl.Int64).alias("subjects"),
            )
            .collect()
        )
        both = pl.concat([counted, here.cast(schema)])  # type: ignore[arg-type]
        counted = both.group_by("code", "variable").agg(pl.col("readings", "subjects").sum())
    return counted.sort("code", "variable")


def contents_of(workspace: Workspace, snapshot: Snapshot) -> str | None:
    """Hash of what a snapshot's pictures or stays hold: the same for the same data, read with their labels or without.

    Neither the order of rows nor what is set aside tells that, for both depend on labels; and beside pictures to
    predict any file may lie. Of DICOM files that were mixed up, which are set aside where labels are read alone, the
    hash is another one. None where the source does not tell a stay's contents: it reads all data alike.
    """
    import polars as pl

    from medai.tables import read_table

    raw = workspace.folder("ingest", snapshot.key)
    if snapshot.shape == "events":
        table = pl.DataFrame(read_table(raw / "stays.parquet", ["content_hash"]))
    else:
        table = pl.DataFrame(read_table(raw / "images.parquet", ["content_hash", "height"]))
        table = table.filter(pl.col("height") > 0)
    hashes = table["content_hash"]
    return None if hashes.null_count() else sha256_of(hashes.sort().to_list())


def _blocks(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [places[start : start + _ROWS_AT_ONCE] for start in range(0, len(places), _ROWS_AT_ONCE)]


def _means(opened: Mapping[str, Any], places: NDArray[np.int64]) -> Floats:
    """(rows, variables) mean over the window's bins with a reading; NaN where there is none, or one is infinite."""
    values = np.asarray(opened["last"][places], np.float64)
    there = (np.asarray(opened["mask"][places]) > 0) & np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return means


def _static(found: Observed, values: NDArray[Any], names: tuple[str, ...], rows: Rows) -> None:
    """Numbers, and categories from their one column a level."""
    of_code: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        code, parted, level = name.rpartition("=")
        if parted:
            of_code.setdefault(code, {})[level] = place
        else:
            found.numbers[name] = of_subjects(rows.subject, values[:, place])
    for code, places in of_code.items():
        shown = values[:, list(places.values())] > 0
        said = np.where(shown.any(axis=1), shown.argmax(axis=1), -1)
        levels = np.array([*places, None], object)
        found.levels[code] = levels[said[_first(rows)]]


def _told(found: Observed, raw: Path, rows: Rows) -> None:
    """What the table of pictures tells of how they were taken."""
    import polars as pl

    from medai.tables import read_table

    images = pl.DataFrame(read_table(raw / "images.parquet"))
    table = rows.table.join(
        images.drop("subject_id"), left_on="sample_id", right_on="row_id", how="left", maintain_order="left"
    )
    for column in NUMBERS:
        if column in table.columns and table[column].null_count() < table.height:
            found.numbers[column] = of_subjects(rows.subject, table[column].cast(pl.Float64).to_numpy())
    for column in LEVELS:
        if column in table.columns and table[column].null_count() < table.height:
            found.levels[column] = np.array(table[column].to_list(), object)[_first(rows)]


def _first(rows: Rows) -> NDArray[np.int64]:
    """The first sample of each subject."""
    return np.unique(rows.subject, return_index=True)[1]


def _any(rows: Rows, reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.zeros(rows.subjects, bool)
    np.logical_or.at(found, rows.subject, reached)
    return found


def _as_numbers(columns: dict[str, NDArray[np.bool_]]) -> dict[str, Floats]:
    return {column: values.astype(np.float64) for column, values in columns.items()}
