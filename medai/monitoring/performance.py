"""``label``: outcomes kept beside their predictions; and how right the champion was on them.

A window of performance holds the predictions whose outcome one file told first, but those of subjects whom the champion
was fitted on: it learnt their outcomes, and would look better than it is. A file with too few subjects of a class waits
for the next ones, and makes a window with them. Metrics, their intervals (by the bootstrap over subjects) and the
recalibration are those of the scorecard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medai.evaluation import Evaluation
from medai.measurement.evidence import evidence_of
from medai.monitoring.batches import PREDICTIONS, Kept
from medai.monitoring.bounds import Monitoring
from medai.monitoring.labels import SITE
from medai.monitoring.records import TOO_FEW, Batch, Compared, Figure, Outcomes
from medai.outputs import Mask, Multilabel, Output
from medai.promotion import trained_subjects
from medai.records import Candidate, Frozen, Subgroup, sha256_of, stage_key
from medai.reporting.shapes import SMALL_CELL
from medai.scores import score_columns
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import polars as pl

KEPT_VERSION, VERSION = 2, 4
"""Of outcomes that are kept, and of what is measured on them."""
OUTCOMES, RECEIPTS = "outcomes.parquet", "outcomes"
TOLD = ("auroc", "micro_auroc", "auprc", "kappa", "sensitivity", "specificity", "ppv", "npv", "brier", "ece")
"""Metrics of a window, where the output has them."""
OF_GROUPS = ("auroc", "sensitivity", "specificity")
OWN = frozenset({"batch", "candidate", "order", "name", "aside", "truth", SITE})
"""Columns that are joined to predictions: a group of the data that is named so is told under another name."""
UNKNOWN = "not recorded"
SMALL_SITES = f"sites of fewer than {SMALL_CELL}"
"""One level for all of them: in a column that somebody filled with texts of patients, each is a site of its own."""


class Told(Frozen):
    """The file that told outcomes, without its name: its hash, its rows, and reason → how many were set aside."""

    file_sha256: str
    rows: int
    set_aside: dict[str, int]


class Noted(Frozen):
    """The receipt of outcomes: their key, and the file that told them; receipts of before say nothing of it."""

    outcomes: str
    told: Told | None = None


class _Measuring(Frozen):
    kind: str = "performance"
    evaluation: Evaluation
    own: dict[str, float]
    minimum_subjects: int
    minimum_positives: int
    minimum_negatives: int


def predictions_of(workspace: Workspace, kept: Iterable[Kept]) -> pl.DataFrame | None:
    """All predictions, of one id and subject by one champion the first; None where nothing was predicted.

    Later ones of the same id know more, and would make the champion look better than it was when it was asked. An id
    that names several subjects stays several rows: which of them an outcome is about cannot be known.
    """
    import polars as pl

    from medai.tables import read_table

    tables = []
    for number, one in enumerate(kept):
        table = pl.DataFrame(read_table(workspace.folder("keep", one.batch.key) / PREDICTIONS))
        table = table.rename({group: _told_as(group) for group in one.batch.groups})
        tables.append(
            table.with_columns(
                pl.lit(one.batch.key).alias("batch"),
                pl.lit(one.batch.candidate).alias("candidate"),
                pl.lit(number).alias("order"),
                *(pl.col(_told_as(group)).cast(pl.String) for group in one.batch.groups),
            )
        )
    if not tables:
        return None
    table = pl.concat(tables, how="diagonal").sort("order", "sample_id")
    return table.unique(["candidate", "id", "subject_id"], keep="first", maintain_order=True).drop("order")


def outcomes_of(workspace: Workspace, problem: str) -> list[Outcomes]:
    """All outcomes that were joined to predictions of a problem, in the order of their keys."""
    return [outcomes for outcomes, _ in told_outcomes(workspace, problem)]


def told_outcomes(workspace: Workspace, problem: str) -> list[tuple[Outcomes, Told | None]]:
    """These outcomes, each with the file that told them."""
    noted = workspace.receipts(RECEIPTS, problem, Noted)
    return [(found, one.told) for one in noted if (found := workspace.find("label", one.outcomes, Outcomes))]


def waiting_outcomes(
    outcomes: Iterable[Outcomes], told: Iterable[str], measured: Iterable[Compared]
) -> dict[str, list[Outcomes]]:
    """Candidate → its outcomes that no window with enough subjects holds.

    Args:
        outcomes: that are kept.
        told: keys of outcomes in the order of the audit, which is the same for whoever asks.
        measured: the windows of performance there are.
    """
    over = {(one.candidate, key) for one in measured if one.judged for key in one.parts}
    by_key = {one.key: one for one in outcomes}
    found: dict[str, list[Outcomes]] = {}
    for key in told:
        one = by_key.get(key)
        if one is not None and (one.candidate, key) not in over:
            found.setdefault(one.candidate, []).append(one)
    return found


def pools_of(
    workspace: Workspace, champion: Candidate, outcomes: Sequence[Outcomes], output: Output, bounds: Monitoring
) -> list[list[Outcomes]]:
    """Outcomes in their order, parted as soon as there are enough subjects of each class; what is left over last."""
    import polars as pl

    fitted = pl.Series(sorted(trained_subjects(workspace, champion)), dtype=pl.Int64).implode()
    pools: list[list[Outcomes]] = []
    pool: list[Outcomes] = []
    said: list[str] = []
    subjects: list[int] = []
    for one in outcomes:
        table = _told(workspace, one.key, ["subject_id", "truth"]).filter(~pl.col("subject_id").is_in(fitted))
        pool = [*pool, one]
        said += table["truth"].to_list()
        subjects += table["subject_id"].to_list()
        if _enough(output, truth_of(said, output), np.array(subjects, np.int64), bounds):
            pools.append(pool)
            pool, said, subjects = [], [], []
    return [*pools, pool] if pool else pools


def _told(workspace: Workspace, key: str, columns: list[str] | None = None) -> pl.DataFrame:
    import polars as pl

    from medai.tables import read_table

    return pl.DataFrame(read_table(workspace.folder("label", key) / OUTCOMES, columns))


def _enough(
    output: Output, truth: NDArray[np.int64], subjects: NDArray[np.int64], bounds: Monitoring | _Measuring
) -> bool:
    """Whether each class, or each finding and its absence, has subjects enough."""
    fewest = {True: bounds.minimum_positives, False: bounds.minimum_negatives}
    return all(one.subjects >= fewest[one.positive] for one in evidence_of(output, truth, subjects))


def known_outcomes(workspace: Workspace, problem: str) -> pl.DataFrame:
    """candidate, id and truth of these outcomes."""
    import polars as pl

    columns = ["candidate", "id", "truth"]
    tables = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    for outcomes in outcomes_of(workspace, problem):
        tables.append(_told(workspace, outcomes.key, columns).cast(pl.String))
    return pl.concat(tables)


def keep_outcomes(workspace: Workspace, problem: str, candidate: str, rows: pl.DataFrame, told: Told) -> Made[Outcomes]:
    """Write ``outcomes.parquet``, for its owner alone: predictions of one champion with their truth.

    Args:
        rows: as ``medai.monitoring.labels.join`` gives them, at least one.
        told: the file that they are from.
    """
    rows = rows.filter(rows["candidate"] == candidate).sort("batch", "sample_id")
    content = [list(row) for row in rows.select("batch", "sample_id", "truth", "site").rows()]
    key = stage_key(
        "label",
        KEPT_VERSION,
        {"candidate": candidate, "rows": sha256_of(content)},
        None,
        ("polars",),
    )

    def build(folder: Path) -> Outcomes:
        from medai.tables import OWNER_ALONE, write_table

        write_table(folder / OUTCOMES, rows.to_arrow(), mode=OWNER_ALONE)
        return Outcomes(key=key, candidate=candidate, samples=rows.height, subjects=rows["subject_id"].n_unique())

    made = workspace.materialise("label", key, Outcomes, build)
    if not workspace.receipt(RECEIPTS, f"{problem}-{key}"):
        workspace.keep_receipt(RECEIPTS, f"{problem}-{key}", Noted(outcomes=key, told=told).model_dump())
    return made


def measure(
    workspace: Workspace,
    champion: Candidate,
    outcomes: Sequence[Outcomes],
    batches: Iterable[Batch],
    unit: str,
    name: str,
    output: Output,
    own: dict[str, float],
    evaluation: Evaluation,
    bounds: Monitoring,
) -> Made[Compared]:
    """How right a champion was on these outcomes, as a window's content.

    Args:
        outcomes: of one file or, pooled, of several; at least one.
        batches: that the outcomes are of; their groups are told.
        unit: what a subject is.
        name, output: as the champion's record defines them.
        own: metric → the champion's figure on its own test.
    """
    groups = tuple(sorted({_told_as(group) for batch in batches for group in batch.groups} | {SITE}))
    config = _Measuring(
        evaluation=evaluation,
        own=own,
        minimum_subjects=bounds.minimum_subjects,
        minimum_positives=bounds.minimum_positives,
        minimum_negatives=bounds.minimum_negatives,
    )
    parts = tuple(sorted(one.key for one in outcomes))
    pooled = parts if len(parts) > 1 else ()
    batch = sha256_of(list(parts))[: len(parts[0])] if pooled else parts[0]
    key = stage_key("monitor", VERSION, {"candidate": champion.key, "outcomes": batch}, config, ("numpy", "polars"))

    def build(_folder: Path) -> Compared:
        import polars as pl

        told = pl.concat([_told(workspace, part) for part in parts], how="diagonal").sort(
            "batch", "sample_id"
        )  # in whatever order they were told
        fitted = pl.Series(sorted(trained_subjects(workspace, champion)), dtype=pl.Int64)
        table = _small_sites_together(told.filter(~pl.col("subject_id").is_in(fitted.implode())))
        number = table["subject_id"].n_unique()
        truth = truth_of(table["truth"].to_list(), output)
        scores = table.select(score_columns(name, output)).to_numpy()
        subjects = table["subject_id"].to_numpy()
        rows = _Rows(champion, name, output, truth, scores, subjects, config)
        positives = int((truth > 0).sum())
        return Compared(
            key=key,
            kind="performance",
            candidate=champion.key,
            batch=batch,
            pooled=pooled,
            unit=unit,
            samples=table.height,
            subjects=number,
            known=told["subject_id"].n_unique() - number,
            counts={"positives": positives},
            figures=tuple(rows.figures()),
            groups=tuple(
                rows.group(group, level, chosen)
                for group in groups
                if group in table.columns and table[group].null_count() < table.height
                for level, chosen in _levels(table[group])
            ),
        )

    return workspace.materialise("monitor", key, Compared, build)


def truth_of(said: list[str], output: Output) -> NDArray[np.int64]:
    """(samples,) class numbers, or (samples, findings) of 0 and 1, of classes by their names."""
    if isinstance(output, Multilabel):
        rows = [set(one.split("; ")) for one in said]
        there = [[int(finding in row) for finding in output.names] for row in rows]
        return np.array(there, np.int64).reshape(len(said), output.columns)  # of nobody, too
    place = {label: number for number, label in enumerate(output.names)}
    return np.array([place[one] for one in said], np.int64)


class _Rows:
    """Predictions with their truth, to be measured whole and by groups."""

    def __init__(
        self,
        champion: Candidate,
        name: str,
        output: Output,
        truth: NDArray[np.int64],
        scores: NDArray[Any],
        subjects: NDArray[np.int64],
        config: _Measuring,
    ) -> None:
        if isinstance(output, Mask):
            raise AssertionError("outcomes of masks are refused when they are read")
        self.output, self.thresholds = output, champion.thresholds[name]
        self.truth, self.scores, self.subjects, self.config = truth, scores, subjects, config

    def figures(self) -> list[Figure]:
        """Metrics beside the champion's own, and the recalibration of a binary output."""
        from medai.measurement.metrics import available
        from medai.measurement.recalibration import recalibrate

        number = len(np.unique(self.subjects))
        config, evaluation = self.config, self.config.evaluation
        told = [metric for metric in TOLD if metric in available(self.output)]
        told += [metric for metric in sorted(config.own) if metric not in told]
        if not _enough(self.output, self.truth, self.subjects, config):
            return [Figure(measure=one, statistic="metric", value=None, subjects=number, why=TOO_FEW) for one in told]
        measures = self._measures(np.arange(len(self.truth)), tell=True)
        figures = [
            Figure(
                measure=metric,
                statistic="metric",
                value=measures[metric].value,
                low=measures[metric].low,
                high=measures[metric].high,
                reference=config.own.get(metric),
                subjects=number,
            )
            for metric in told
            if metric in measures
        ]
        if self.output.kind == "binary":
            found = recalibrate(
                self.truth,
                self.scores[:, 0],
                self.subjects,
                confidence=evaluation.confidence,
                resamples=evaluation.resamples,
                seed=evaluation.seed,
            )
            figures += [
                Figure(
                    measure="calibration",
                    statistic=part,
                    value=one.value,
                    low=one.low,
                    high=one.high,
                    reference=0.0 if part == "intercept" else 1.0,
                    subjects=number,
                )
                for part, one in sorted(found.items())
            ]
        return figures

    def group(self, group: str, level: str, chosen: NDArray[np.int64]) -> Subgroup:
        """One level of a group; of few subjects no metrics."""
        number = len(np.unique(self.subjects[chosen]))
        measures = {}
        if number >= self.config.minimum_subjects:
            measures = {one: figure for one, figure in self._measures(chosen, tell=False).items() if one in OF_GROUPS}
        positive = (self.truth[chosen].reshape(len(chosen), -1) > 0).any(axis=1)
        return Subgroup(
            group=group,
            level=level,
            samples=len(chosen),
            subjects=number,
            positives=int(positive.sum()),
            positive_subjects=len(np.unique(self.subjects[chosen][positive])),
            metrics=measures,
        )

    def _measures(self, chosen: NDArray[np.int64], *, tell: bool) -> dict[str, Any]:
        from medai.measurement import evaluate_output

        evaluation = self.config.evaluation
        return evaluate_output(
            self.output,
            self.truth[chosen],
            self.scores[chosen],
            self.thresholds,
            self.subjects[chosen],
            confidence=evaluation.confidence,
            resamples=evaluation.resamples,
            seed=evaluation.seed,
            tell=tell,
        )[0]


def _told_as(group: str) -> str:
    """A group's name beside the columns that outcomes bring: a file's site and truth stand.

    >>> _told_as("ICUType"), _told_as("site")
    ('ICUType', 'site of the data')
    """
    return f"{group} of the data" if group in OWN else group


def _small_sites_together(table: pl.DataFrame) -> pl.DataFrame:
    """Sites of so few subjects that they are not told by name."""
    import polars as pl

    few = pl.col(SITE).is_not_null() & (pl.col("subject_id").n_unique().over(SITE) < SMALL_CELL)
    return table.with_columns(pl.when(few).then(pl.lit(SMALL_SITES)).otherwise(SITE).alias(SITE))


def _levels(column: pl.Series) -> list[tuple[str, NDArray[np.int64]]]:
    """Level → its rows; what is not recorded last."""
    said = np.array([UNKNOWN if one is None else str(one) for one in column.to_list()], object)
    order = sorted(set(said), key=lambda level: (level == UNKNOWN, level))
    return [(level, np.flatnonzero(said == level)) for level in order]
