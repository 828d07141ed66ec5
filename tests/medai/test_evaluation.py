"""``evaluate``: the scorecard belongs to the served file, the role's rows and the cohort's unit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from medai.evaluation import Evaluation, _level, _standing, compare, evaluate, figure, paired, score
from medai.inference import Scorer
from medai.records import Candidate, Scorecard, sha256_of
from medai.scores import read_scores, truth_and_scores
from medai.workspace import Workspace

CONFIG = Evaluation(resamples=200, minimum_subgroup=5)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, stay_road: Any) -> Workspace:
    """A workspace that shares the stays' stages and fits and evaluates in its own."""
    store = tmp_path_factory.mktemp("evaluation") / "home" / "store"
    store.mkdir(parents=True)
    for stage in ("ingest", "validate", "select", "split", "prepare"):
        (store / stage).symlink_to(stay_road.workspace.root / "store" / stage)
    return Workspace(store.parent)


@pytest.fixture(scope="module")
def fitted(workspace: Workspace, calibrated_regression: Any) -> Callable[..., Candidate]:
    """A logistic regression of a given penalty, calibrated."""
    return partial(calibrated_regression, workspace)


@pytest.fixture(scope="module")
def carded(workspace: Workspace, stay_road: Any) -> Callable[..., Scorecard]:
    """The scorecard of a candidate on a role."""

    def make(candidate: Candidate, role: Any = "test", config: Evaluation = CONFIG) -> Scorecard:
        return evaluate(
            workspace,
            candidate,
            stay_road.arrays,
            stay_road.cohort,
            stay_road.splits,
            stay_road.outputs,
            role,
            config,
        ).record

    return make


@pytest.mark.parametrize("role", ["validation", "gate", "test"])
def test_each_role_is_scored_on_its_own_rows(
    workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard], role: str
) -> None:
    """Counts, rows and truth are the split's; only test counts as opened."""
    card = carded(fitted(0.01), role)
    rows = stay_road.table("select").join(stay_road.table("split"), on="sample_id").filter(pl.col("role") == role)
    died = int(rows["death"].sum())
    assert (card.samples, card.subjects, card.unit) == (rows.height, rows.height, "stay")
    assert card.classes == {"death": {"survived": rows.height - died, "died": died}}
    assert card.rows_sha256 == sha256_of(rows["sample_id"].to_list())
    assert card.opens_test == (role == "test")
    table = read_scores(workspace, card)
    assert table["sample_id"].to_list() == rows["sample_id"].to_list()
    assert table["death"].to_list() == rows["death"].to_list()


def test_figures_are_of_the_scores_that_are_kept(
    workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """AUROC as scikit-learn gives it; accuracy, and the confusion matrix, at the candidate's own threshold."""
    candidate = fitted(0.01)
    card = carded(candidate)
    truth, scores = truth_and_scores(read_scores(workspace, card), "death", stay_road.outputs["death"])
    metrics = card.metrics["death"]
    assert metrics["auroc"].value == pytest.approx(roc_auc_score(truth, scores[:, 0]), abs=1e-9)
    assert metrics["auroc"].value > 0.7  # the signal was planted
    assert all(one.low <= one.value <= one.high for name, one in metrics.items() if name != "ece")
    called = scores[:, 0].astype(np.float64) >= candidate.thresholds["death"][0]
    expected = [[int(((truth == row) & (called == column)).sum()) for column in (0, 1)] for row in (0, 1)]
    assert [list(row) for row in card.confusion["death"]] == expected
    assert metrics["accuracy"].value == pytest.approx((expected[0][0] + expected[1][1]) / card.samples)
    path = workspace.folder("evaluate", card.key) / "scores.parquet"
    assert path.stat().st_mode & 0o777 == 0o600


def test_scores_are_the_files_through_the_calibration(
    workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """sigmoid(slope × logit(raw) + intercept) of what the exported file itself answers."""
    candidate = fitted(0.01)
    test = np.flatnonzero(stay_road.table("split")["role"].to_numpy() == "test")
    arrays = {name: stay_road.load(name)[test] for name in stay_road.arrays.arrays}
    file = workspace.folder("fit", candidate.key) / "model.onnx"
    raw = Scorer(file, candidate.members[0].onnx_sha256).score(arrays).astype(np.float64)
    np.testing.assert_allclose(score(workspace, candidate, arrays), raw, atol=1e-7)
    platt = candidate.calibration["death"]
    assert platt.method == "platt"
    expected = 1 / (1 + np.exp(-(platt.slope[0] * np.log(raw / (1 - raw)) + platt.intercept[0])))
    kept = read_scores(workspace, carded(candidate))["death.score.0"].to_numpy()
    np.testing.assert_allclose(kept, expected[:, 0], atol=1e-5)


def test_subgroups_are_the_levels_and_small_ones_are_counted_only(
    stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """Each level of the group with its own counts; a level with too few samples has no figures."""
    rows = stay_road.table("select").join(stay_road.table("split"), on="sample_id").filter(pl.col("role") == "test")
    counts = {f"{level:g}": n for level, n in rows.group_by("ICUType").len().iter_rows()}
    groups = carded(fitted(0.01)).subgroups["death"]
    assert {one.level: one.samples for one in groups} == counts
    assert [one.level for one in groups] == sorted(counts)
    assert {one.level for one in groups if one.metrics} <= {level for level, n in counts.items() if n >= 5}
    assert {one.group for one in groups} == {"ICUType"}
    for one in groups:
        level = rows.filter(pl.col("ICUType") == float(one.level))
        assert one.positives == int(level["death"].sum())
        assert one.positive_subjects == level.filter(pl.col("death") == 1)["subject_id"].n_unique()
    least = max(counts.values()) + 1
    judged = carded(fitted(0.01), config=Evaluation(resamples=100, minimum_subgroup=least)).subgroups["death"]
    assert all(one.metrics == {} for one in judged)


def test_levels_are_named_as_they_are_called() -> None:
    """Whole numbers without a point, by size; then names; what is not recorded comes last."""
    values = [10.0, 2.0, None, "female", float("nan"), 1.5, "AP", True]
    levels = {_level(value) for value in values}
    assert sorted(levels, key=_standing) == ["1.5", "2", "10", "AP", "True", "female", "not recorded"]


def test_the_calibration_of_probabilities_is_measured(
    fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """Slope and intercept of the logistic recalibration, each inside its interval."""
    calibration = carded(fitted(0.01)).calibration["death"]
    assert set(calibration) == {"slope", "intercept"}
    for measure in calibration.values():
        assert measure.low <= measure.value <= measure.high


def test_the_same_scorecard_is_found_and_another_made(
    fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """Candidate, role and configuration each make another; the resampling has its own seed."""
    one = carded(fitted(0.01))
    assert carded(fitted(0.01)) == one
    again = carded(fitted(0.01), config=Evaluation(resamples=200, minimum_subgroup=5, seed=1))
    assert again.key != one.key
    assert again.metrics["death"]["auroc"].value == one.metrics["death"]["auroc"].value
    assert again.metrics["death"]["auroc"] != one.metrics["death"]["auroc"]


def test_the_comparison_is_paired(
    workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """Ours minus theirs on the same resamples: zero against oneself, the sign turned when sides are turned."""
    strong, weak = fitted(0.01), fitted(1e-8)
    sides = (strong, carded(strong)), (weak, carded(weak))
    output = stay_road.outputs["death"]

    def difference(ours: Any, theirs: Any) -> Any:
        return paired(workspace, output, "death", "auroc", ours, theirs, CONFIG)

    same = difference(sides[0], sides[0])
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    forth, back = difference(*sides), difference(*reversed(sides))
    assert forth.value == pytest.approx(
        sides[0][1].metrics["death"]["auroc"].value - sides[1][1].metrics["death"]["auroc"].value
    )
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))
    record = compare(workspace, stay_road.outputs, sides[0], {"weak": sides[1]}, ("auroc",), CONFIG).record
    assert record.differences == {"weak": {"auroc": forth}}
    assert record.scorecard == sides[0][1].key


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"confidence": 1.0}, "less than 1"),
        ({"confidence": 0.5}, "greater than 0.5"),
        ({"resamples": 10}, "greater than or equal to 100"),
        ({"resample": 200}, "did you mean 'resamples'"),
    ],
)
def test_an_evaluation_that_shows_nothing_is_refused(keys: dict[str, Any], message: str) -> None:
    """Too few resamples, or a confidence that is none."""
    with pytest.raises(ValidationError, match=message):
        Evaluation.model_validate(keys)


def test_scores_tables_are_equal_twice(
    tmp_path: Path, workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Any]
) -> None:
    """Evaluated again from the same candidate in another workspace: the same bytes."""
    candidate = fitted(0.01)
    card = carded(candidate)
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    for stage in ("ingest", "validate", "select", "split", "prepare", "fit"):
        (store / stage).symlink_to(workspace.root / "store" / stage)
    road = stay_road
    other = evaluate(
        Workspace(tmp_path / "home"), candidate, road.arrays, road.cohort, road.splits, road.outputs, "test", CONFIG
    )
    assert (other.reused, other.record) == (False, card)
    one, two = (home / "evaluate" / card.key / "scores.parquet" for home in (workspace.root / "store", store))
    assert one.read_bytes() == two.read_bytes()


def test_a_figure_needs_no_interval(
    workspace: Workspace, stay_road: Any, fitted: Callable[..., Candidate], carded: Callable[..., Scorecard]
) -> None:
    """Where resamples lack a class the interval is left out; the figure of the rows themselves is still there."""
    candidate = fitted(0.01)
    card = carded(candidate)
    bare = card.model_copy(update={"metrics": {"death": {}}})
    for metric in ("auroc", "brier"):
        value = card.metrics["death"][metric].value
        assert figure(workspace, candidate, card, stay_road.outputs, metric) == value
        assert figure(workspace, candidate, bare, stay_road.outputs, metric) == pytest.approx(value, abs=1e-12)
