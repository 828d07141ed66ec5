"""Batches that are kept, outcomes that are joined, and how right the champion was on them."""

from __future__ import annotations

import stat
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from medai.evaluation import Evaluation
from medai.measurement.evidence import evidence_of
from medai.monitoring import Monitoring
from medai.monitoring.batches import batches, keep_batch, note_batch
from medai.monitoring.labels import LabelFile, join
from medai.monitoring.performance import (
    Told,
    keep_outcomes,
    known_outcomes,
    measure,
    outcomes_of,
    predictions_of,
    told_outcomes,
    truth_of,
)
from medai.promotion import trained_subjects

EVALUATION = Evaluation(resamples=200)
BOUNDS = Monitoring()
FILE = Told(file_sha256="0" * 64, rows=61, set_aside={"not_predicted": 1})


def kept(watched: Any, ward: str, stays: int, problem: str) -> Any:
    """A ward's batch, noted for a problem."""
    part = watched.part(ward, stays, 1)
    batch = keep_batch(
        watched.workspace, watched.champion, part, part.quality, ("ICUType", "nowhere"), watched.name, watched.output
    ).record
    note_batch(watched.workspace, problem, batch, 1, f"2026-05-0{1 + len(batches(watched.workspace, problem))}")
    return batch


def file_of(outcomes: dict[str, int], names: tuple[str, ...], site: str | None = None) -> LabelFile:
    """A file of outcomes as it was read."""
    rows = [(name, names[value], None, site, None) for name, value in outcomes.items()]
    schema = {"name": pl.String, "truth": pl.String, "time": pl.Datetime("us"), "site": pl.String, "reason": pl.String}
    return LabelFile("id", pl.DataFrame(rows, schema=schema, orient="row"), "0" * 64)


def test_a_batch_holds_what_outcomes_are_joined_to(watched: Any) -> None:
    """The site's names, the scores and the groups that are recorded; for its owner alone."""
    batch = kept(watched, "same", 60, "kept")
    assert (batch.samples, batch.groups, batch.candidate) == (60, ("ICUType",), watched.champion.key)
    path = watched.workspace.folder("keep", batch.key) / "predictions.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    table = pl.read_parquet(path)
    assert table.columns == [
        "sample_id", "id", "subject", "subject_id", "prediction_time", "death.score.0", "ICUType",
    ]  # fmt: skip
    assert set(table["id"]) == set(watched.outcomes("same"))
    note_batch(watched.workspace, "kept", batch, 2, "2027-01-01")
    assert [(one.version, one.at) for one in batches(watched.workspace, "kept")] == [(1, "2026-05-01")]


def test_of_several_predictions_of_one_id_the_first_counts(watched: Any) -> None:
    """What was said later knew more."""
    few, many = kept(watched, "few", 12, "twice"), kept(watched, "same", 60, "twice")
    found = predictions_of(watched.workspace, batches(watched.workspace, "twice"))
    assert found is not None
    assert found["batch"].value_counts().sort("count").rows() == [(few.key, 12), (many.key, 48)]
    turned = predictions_of(watched.workspace, batches(watched.workspace, "twice")[::-1])
    assert turned is not None
    assert turned["batch"].unique().to_list() == [many.key]
    assert predictions_of(watched.workspace, []) is None


def test_a_champion_is_measured_on_outcomes_that_came_later(watched: Any) -> None:
    """Every metric with its interval beside its own figure, the recalibration, each group, and sites of several."""
    batch = kept(watched, "same", 60, "late")
    predictions = predictions_of(watched.workspace, batches(watched.workspace, "late"))
    outcomes = watched.outcomes("same")
    rows = join(
        file_of(outcomes, watched.output.names, "north"), predictions, known_outcomes(watched.workspace, "late")
    ).rows
    assert rows.height == 60
    sites = [f"text of patient {number}" if number < 7 else "north" for number in range(60)]
    rows = rows.with_columns(pl.Series("site", sites))
    record = keep_outcomes(watched.workspace, "late", watched.champion.key, rows, FILE).record
    assert outcomes_of(watched.workspace, "late") == [record]
    assert told_outcomes(watched.workspace, "late") == [(record, FILE)]
    assert known_outcomes(watched.workspace, "late").height == 60

    def measured(own: dict[str, float], bounds: Monitoring = BOUNDS) -> Any:
        workspace, champion, name, output = watched.workspace, watched.champion, watched.name, watched.output
        return measure(workspace, champion, [record], [batch], "stay", name, output, own, EVALUATION, bounds).record

    found = measured({"auroc": 0.9})
    assert (found.kind, found.samples, found.subjects) == ("performance", 60, 60)
    assert found.counts == {"positives": sum(outcomes.values())}
    figures = {one.name: one for one in found.figures}
    scores = pl.read_parquet(watched.workspace.folder("keep", batch.key) / "predictions.parquet")
    from sklearn.metrics import roc_auc_score

    truth = [outcomes[name] for name in scores["id"]]
    auroc = figures["auroc", "metric"]
    assert auroc.value is not None
    np.testing.assert_allclose(auroc.value, roc_auc_score(truth, scores["death.score.0"]))
    assert auroc.low < auroc.value < auroc.high  # type: ignore[operator]
    assert (auroc.reference, figures["ppv", "metric"].reference) == (0.9, None)
    assert {("calibration", "slope"), ("calibration", "intercept")} <= figures.keys()
    assert [(one.group, one.level, one.subjects) for one in found.groups if one.group == "site"] == [
        ("site", "north", 53),
        ("site", "sites of fewer than 5", 7),
    ]
    assert "text of patient" not in found.model_dump_json()
    assert sum(one.samples for one in found.groups if one.group == "ICUType") == 60
    assert all(bool(one.metrics) == (one.subjects >= BOUNDS.minimum_subjects) for one in found.groups)

    few = measured({"auroc": 0.9}, Monitoring(minimum_positives=50))
    assert {(one.value, one.why) for one in few.figures} == {(None, "too few")}


def test_outcomes_of_several_files_are_measured_as_if_of_one(watched: Any) -> None:
    """In whatever order they are given: the same record; figures and groups are those of all at once."""
    batch = kept(watched, "same", 60, "pooled")
    predictions = predictions_of(watched.workspace, batches(watched.workspace, "pooled"))
    outcomes, names = watched.outcomes("same"), watched.output.names
    rows = join(file_of(outcomes, names), predictions, known_outcomes(watched.workspace, "pooled")).rows
    sites = [["north", "south"][number % 2] for number in range(60)]
    rows = rows.with_columns(pl.Series("site", sites)).sort("subject_id")

    def measured(*parts: pl.DataFrame) -> Any:
        key, workspace = watched.champion.key, watched.workspace
        told = [keep_outcomes(workspace, "pooled", key, part, FILE).record for part in parts]
        champion, name, output = watched.champion, watched.name, watched.output
        return measure(workspace, champion, told, [batch], "stay", name, output, {}, EVALUATION, BOUNDS), told

    whole, _ = measured(rows)
    pooled, parts = measured(rows[25:], rows[:25])
    assert (whole.record.pooled, whole.record.parts) == ((), (whole.record.batch,))
    assert pooled.record.pooled == pooled.record.parts == tuple(sorted(one.key for one in parts))
    assert pooled.record.figures == whole.record.figures
    assert pooled.record.groups == whole.record.groups
    assert pooled.record.judged
    again, _ = measured(rows[:25], rows[25:])
    assert (again.reused, again.record) == (True, pooled.record)
    assert pooled.record.batch not in {whole.record.batch, *(one.key for one in parts)}


def test_whom_the_champion_was_fitted_on_says_nothing_of_it(watched: Any) -> None:
    """Patients who come again are left out and counted; where all do, there is no figure."""
    kept(watched, "same", 60, "again")
    predictions = predictions_of(watched.workspace, batches(watched.workspace, "again"))
    assert predictions is not None
    rows = join(
        file_of(watched.outcomes("same"), watched.output.names), predictions, known_outcomes(watched.workspace, "again")
    ).rows
    fitted = sorted(trained_subjects(watched.workspace, watched.champion))
    for number, why in ((10, ""), (60, "too few")):
        subjects = [*(fitted * 2)[:number], *rows["subject_id"].to_list()[number:]]
        again = rows.with_columns(pl.Series("subject_id", subjects, dtype=pl.Int64), pl.lit(f"{number}").alias("site"))
        record = keep_outcomes(watched.workspace, "again", watched.champion.key, again, FILE).record
        found = measure(
            watched.workspace,
            watched.champion,
            [record],
            [],
            "stay",
            watched.name,
            watched.output,
            {},
            EVALUATION,
            BOUNDS,
        ).record
        assert (found.samples, found.subjects) == (60 - number, 60 - number)
        assert found.known == len(set(subjects) & set(fitted))
        assert {one.why for one in found.figures} == {why}
        assert sum(one.samples for one in found.groups) == 60 - number


def test_truth_of_findings(output_of: Any) -> None:
    """Findings by their names, none of them included; classes by their place. Of nobody, evidence can be counted."""
    findings = output_of(kind="multilabel", classes={"m": "Mass", "e": "Edema"})
    assert truth_of(["Mass; Edema", "none", "Edema"], findings).tolist() == [[1, 1], [0, 0], [0, 1]]
    evidence = evidence_of(findings, truth_of([], findings), np.empty(0, np.int64))
    assert [(one.label, one.subjects) for one in evidence] == [
        ("Mass", 0), ("Edema", 0), ("no Mass", 0), ("no Edema", 0),
    ]  # fmt: skip
    classes = output_of(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    assert truth_of(["c", "a"], classes).tolist() == [2, 0]


def test_times_are_known_of_each_prediction(watched: Any) -> None:
    """The synthetic stays' own calendar, in which an outcome may be dated."""
    kept(watched, "same", 60, "dated")
    found = predictions_of(watched.workspace, batches(watched.workspace, "dated"))
    assert found is not None
    assert found["prediction_time"].dtype == pl.Datetime("us")
    assert isinstance(found["prediction_time"][0], datetime)
