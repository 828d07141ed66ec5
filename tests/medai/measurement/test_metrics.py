"""Metrics against scikit-learn, with and without weights."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from medai.errors import ConfigurationError, DataRefused, MedaiError
from medai.measurement import metrics
from medai.outputs import Binary, Multiclass, Multilabel

BINARY = Binary(kind="binary", classes={0: "normal", 1: "pneumonia"}, positive="pneumonia")
MULTICLASS = Multiclass(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
ORDERED = Multiclass(kind="multiclass", remaining="hours", bins=(24, 48, 72), classes={0: "a", 1: "b", 2: "c", 3: "d"})
MULTILABEL = Multilabel(kind="multilabel", classes={"x": "effusion", "y": "oedema"})


@st.composite
def scored(draw: Any, columns: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and scores (rows, columns) with many ties, and two rows of weights, some of them zero."""
    rows = draw(st.integers(4, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 5, 1000]))
    truth = generator.integers(0, 2, (rows, columns)).astype(np.int8)
    scores = (generator.integers(0, levels + 1, (rows, columns)) / levels).astype(np.float32)
    weights = generator.integers(0, 4, (2, rows)).astype(np.uint16)
    weights[0] = 1
    return truth, scores, weights


def both_classes(truth: np.ndarray, weights: np.ndarray) -> bool:
    """Every resample has positives and negatives."""
    return bool(((weights @ truth > 0) & (weights @ (1 - truth) > 0)).all())


@settings(max_examples=80, deadline=None)
@given(scored())
def test_binary_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Every binary metric is scikit-learn's, ties and integer weights included."""
    truth, scores, weights = case[0][:, 0], case[1], case[2]
    assume(both_classes(truth, weights))
    found = metrics.compute(BINARY, truth, scores, (0.5,), weights)
    score = scores[:, 0].astype(np.float64)
    predicted = (score >= 0.5).astype(int)
    for row, weight in enumerate(weights):
        given_weight: dict[str, Any] = {"sample_weight": weight}
        tn, fp, fn, tp = oracle.confusion_matrix(truth, predicted, labels=[0, 1], **given_weight).ravel()
        expected = {
            "auroc": oracle.roc_auc_score(truth, score, **given_weight),
            "auprc": oracle.average_precision_score(truth, score, **given_weight),
            "accuracy": oracle.accuracy_score(truth, predicted, **given_weight),
            "balanced_accuracy": oracle.balanced_accuracy_score(truth, predicted, **given_weight),
            "sensitivity": oracle.recall_score(truth, predicted, **given_weight),
            "specificity": tn / (tn + fp),
            "ppv": tp / (tp + fp) if tp + fp else np.nan,
            "npv": tn / (tn + fn) if tn + fn else np.nan,
            "f1": oracle.f1_score(truth, predicted, **given_weight),
            "brier": oracle.brier_score_loss(truth, score, **given_weight),
            "ece": plain_ece(truth, score, weight),
        }
        assert set(expected) == set(found) == set(metrics.NAMES)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][row], value, atol=1e-8, err_msg=name)


def plain_ece(truth: np.ndarray, confidence: np.ndarray, weight: np.ndarray) -> float:
    """The definition of Guo et al. 2017, bin by bin."""
    total = 0.0
    for m in range(15):
        inside = (np.ceil(confidence * 15) == m + 1) | ((m == 0) & (confidence == 0))
        mass = weight[inside].sum()
        if mass:
            gap = np.average(truth[inside], weights=weight[inside]) - np.average(
                confidence[inside], weights=weight[inside]
            )
            total += mass / weight.sum() * abs(gap)
    return total


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 60))
def test_multiclass_metrics_equal_scikit_learn(seed: int, rows: int) -> None:
    """Macro one-versus-rest averages, multi-class Brier score and top-label calibration, weights included."""
    generator = np.random.default_rng(seed)
    truth = generator.permutation(np.arange(rows) % 3).astype(np.int16)
    scores = generator.dirichlet([1, 1, 1], rows)
    weights = generator.integers(0, 4, (2, rows)).astype(np.uint8)
    weights[0] = 1
    assume(all((weights @ (truth == k) > 0).all() for k in range(3)))
    found = metrics.compute(MULTICLASS, truth, scores, (), weights)
    predicted = scores.argmax(axis=1)
    hits = truth[:, None] == np.arange(3)
    for row, weight in enumerate(weights):
        macro: dict[str, Any] = {"average": "macro", "sample_weight": weight, "zero_division": 0}
        matrix = oracle.confusion_matrix(truth, predicted, labels=[0, 1, 2], sample_weight=weight)
        others = matrix.sum() - matrix.sum(axis=1)
        expected = {
            "auroc": np.mean([oracle.roc_auc_score(hits[:, k], scores[:, k], sample_weight=weight) for k in range(3)]),
            "auprc": np.mean(
                [oracle.average_precision_score(hits[:, k], scores[:, k], sample_weight=weight) for k in range(3)]
            ),
            "accuracy": oracle.accuracy_score(truth, predicted, sample_weight=weight),
            "sensitivity": oracle.recall_score(truth, predicted, **macro),
            "specificity": np.mean((others - matrix.sum(axis=0) + np.diag(matrix)) / others),
            "ppv": oracle.precision_score(truth, predicted, **macro),
            "f1": oracle.f1_score(truth, predicted, **macro),
            "brier": oracle.brier_score_loss(truth, scores, sample_weight=weight, labels=[0, 1, 2]),
            "ece": plain_ece(truth == predicted, scores.max(axis=1), weight),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][row], value, atol=1e-8, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(scored(columns=2))
def test_multilabel_metrics_are_the_mean_of_the_findings(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Each finding is judged as a binary question; the macro figure is their mean."""
    truth, scores, weights = case
    assume(both_classes(truth[:, 0], weights) and both_classes(truth[:, 1], weights))
    found = metrics.compute(MULTILABEL, truth, scores, (0.5, 0.25), weights)
    assert set(found) == set(metrics.available(MULTILABEL))
    for k, (finding, threshold) in enumerate((("effusion", 0.5), ("oedema", 0.25))):
        alone = metrics.compute(BINARY, truth[:, k], scores[:, k : k + 1], (threshold,), weights)
        for name in metrics.NAMES:
            np.testing.assert_array_equal(found[f"{name}/{finding}"], alone[name])
    for name in ("auroc", "auprc", "accuracy", "sensitivity", "brier", "ece"):
        np.testing.assert_allclose(found[name], (found[f"{name}/effusion"] + found[f"{name}/oedema"]) / 2)


def test_single_metrics_equal_compute() -> None:
    """The metric functions and ``compute`` give the same figures."""
    generator = np.random.default_rng(3)
    truth, score = generator.integers(0, 2, 40), generator.integers(0, 9, 40) / 8
    weights = generator.integers(0, 3, (5, 40)).astype(np.uint16)
    found = metrics.compute(BINARY, truth, score[:, None], (0.5,), weights)
    for name in ("auroc", "auprc", "brier", "ece"):
        np.testing.assert_array_equal(getattr(metrics, name)(truth, score, weights), found[name])
    for name in ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy"):
        np.testing.assert_array_equal(metrics.at_threshold(name, truth, score >= 0.5, weights), found[name])


def test_weights_equal_repeated_rows() -> None:
    """A row of weight three counts as three rows."""
    truth, scores = np.array([0, 1, 0, 1]), np.array([[0.2], [0.6], [0.6], [0.1]])
    weights = np.array([[3, 1, 2, 1]], np.uint16)
    weighted = metrics.compute(BINARY, truth, scores, (0.5,), weights)
    repeated = metrics.compute(BINARY, truth.repeat(weights[0]), scores.repeat(weights[0], axis=0), (0.5,))
    assert {name: value[0] for name, value in weighted.items()} == {name: value[0] for name, value in repeated.items()}


def test_undefined_metrics_are_nan_without_warning() -> None:
    """One class only, or no row at all, gives NaN and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.compute(
            BINARY, np.array([1, 1, 0]), np.array([[0.1], [0.2], [0.3]]), (0.5,), np.array([[1, 1, 0], [0, 0, 0]])
        )
    assert np.isnan(found["auroc"]).all()
    assert np.isnan(found["specificity"][0])
    assert found["sensitivity"][0] == 0
    assert found["auprc"][0] == 1
    assert all(np.isnan(value[1]) for value in found.values())


def test_macro_leaves_out_an_absent_class_and_punishes_one_never_predicted() -> None:
    """A class without rows is not averaged; a class with rows that is never predicted has ppv 0."""
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.7, 0.3, 0.0]])
    found = metrics.compute(MULTICLASS, truth, scores, ())
    assert found["auroc"][0] == 1
    assert found["sensitivity"][0] == 0.5
    assert found["ppv"][0] == 0.25


def test_row_order_does_not_change_a_bit() -> None:
    """Shuffled rows give equal figures to the last bit."""
    generator = np.random.default_rng(5)
    truth, scores = generator.integers(0, 2, 500), np.round(generator.random((500, 1)), 2)
    weights = generator.integers(0, 3, (50, 500))
    order = generator.permutation(500)
    there = metrics.compute(BINARY, truth, scores, (0.5,), weights)
    back = metrics.compute(BINARY, truth[order], scores[order], (0.5,), weights[:, order])
    for name in there:
        np.testing.assert_array_equal(there[name], back[name], err_msg=name)


def test_blocks_do_not_change_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many resamples in small blocks give what one block gives."""
    generator = np.random.default_rng(6)
    truth, scores, weights = generator.integers(0, 2, 30), generator.random((30, 1)), generator.integers(0, 3, (17, 30))
    whole = metrics.compute(BINARY, truth, scores, (0.5,), weights)
    monkeypatch.setattr(metrics, "_BLOCK", 100)
    for name, value in metrics.compute(BINARY, truth, scores, (0.5,), weights).items():
        np.testing.assert_array_equal(value, whole[name])


def test_confusion_has_true_rows_and_predicted_columns() -> None:
    """Binary and multiclass: rows true, columns predicted; multilabel: TN, FP, FN, TP a finding."""
    truth, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert metrics.confusion(BINARY, truth, predicted) == ((1, 1), (1, 2))
    assert metrics.confusion(MULTICLASS, np.array([2, 0]), np.array([1, 0])) == ((1, 0, 0), (0, 0, 0), (0, 1, 0))
    both = metrics.confusion(MULTILABEL, np.stack([truth, truth], 1), np.stack([predicted, truth], 1))
    assert both == ((1, 1, 1, 2), (2, 0, 0, 3))


def test_prediction_at_the_threshold_is_positive() -> None:
    """score ≥ threshold is positive, compared in float64."""
    scores = np.array([[0.1], [0.3], [0.5]], np.float32)
    assert metrics.predict(BINARY, scores, (float(np.float32(0.3)),)).tolist() == [0, 1, 1]
    assert metrics.predict(BINARY, scores, (0.3 + 1e-7,)).tolist() == [0, 0, 1]


def test_scores_that_are_no_probabilities_are_refused() -> None:
    """NaN, negative or too large scores are refused with their number, never scored."""
    with pytest.raises(DataRefused, match="not probabilities") as refused:
        metrics.compute(BINARY, np.array([0, 1, 1]), np.array([[np.nan], [0.5], [1.5]]), (0.5,))
    assert refused.value.received == "2 of 3 rows with another score or with none (NaN)"


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Truth, scores and thresholds of different shapes are a defect of ours and said so."""
    with pytest.raises(MedaiError, match="do not fit together") as refused:
        metrics.compute(BINARY, np.array([0, 1]), np.array([[0.5], [0.5]]), ())
    assert refused.value.received == "truth (2,), scores (2, 1), 0 threshold(s)"


def test_an_unknown_metric_is_refused_with_the_near_match() -> None:
    """A misspelt metric names the one that was meant."""
    with pytest.raises(ConfigurationError, match="unknown metric 'aurok'") as refused:
        metrics.compute(BINARY, np.array([0, 1]), np.array([[0.5], [0.5]]), (0.5,), names=["aurok"])
    assert "did you mean 'auroc'?" in refused.value.received


@settings(max_examples=40, deadline=None)
@given(scored())
def test_curve_points_span_the_metrics(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The area under the ROC points is the AUROC, that under the steps of precision–recall the AUPRC."""
    truth, score = case[0][:, 0], case[1][:, 0]
    assume(0 < truth.sum() < len(truth))
    x, y = metrics.roc_points(truth, score)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    np.testing.assert_allclose(np.trapezoid(y, x), metrics.auroc(truth, score)[0], atol=1e-12)
    recall, precision = metrics.precision_recall_points(truth, score)
    np.testing.assert_allclose(np.sum(np.diff(recall) * precision[1:]), metrics.auprc(truth, score)[0], atol=1e-12)


def test_reliability_points_by_bins() -> None:
    """Mean score, share of positives and rows of each bin; NaN where a bin is empty."""
    score, share, rows = metrics.reliability_points(np.array([0, 1, 1]), np.array([0.0, 0.5, 0.9]), bins=4)
    np.testing.assert_allclose(score, [0, 0.5, np.nan, 0.9])
    np.testing.assert_allclose(share, [0, 1, np.nan, 1])
    assert rows.tolist() == [1, 1, 0, 1]


@settings(max_examples=40, deadline=None)
@given(scored(columns=4))
def test_kappa_is_scikit_learns_with_linear_weights(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Of classes that are bins, with integer weights; other classes have no order, and no kappa."""
    _, scores, weights = case
    truth = scores.argsort(axis=1)[:, 1]
    found = metrics.compute(ORDERED, truth, scores, (), weights, ["kappa"])["kappa"]
    for row, weight in enumerate(weights):
        if not weight.any():  # a resample of nobody, which scikit-learn refuses
            assert np.isnan(found[row])
            continue
        given_weight: dict[str, Any] = {"sample_weight": weight, "labels": range(4), "weights": "linear"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = oracle.cohen_kappa_score(truth, scores.argmax(axis=1), **given_weight)
        np.testing.assert_allclose(found[row], expected, atol=1e-12)
    assert "kappa" not in metrics.available(MULTICLASS)


def test_the_micro_average_ranks_all_pairs() -> None:
    """AUROC of every row and finding together, as scikit-learn's; a resample weighs all findings of a row."""
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 2, (40, 2)).astype(np.int8)
    scores = generator.random((40, 2)).astype(np.float32)
    weights = np.stack([np.ones(40), generator.integers(0, 3, 40)]).astype(np.uint16)
    found = metrics.compute(MULTILABEL, truth, scores, (0.5, 0.5), weights, ["micro_auroc"])["micro_auroc"]
    expected = [oracle.roc_auc_score(truth, scores, average="micro", sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_names_in_the_order_of_a_reader() -> None:
    """Every name has a place."""
    assert set(metrics.ORDER) == {
        *metrics.available(ORDERED),
        *metrics.NAMES,
        *metrics.MASK_NAMES,
        "micro_auroc",
        "mad",
    }
    assert metrics.in_order(["ece", "mad", "kappa", "auroc"]) == ["auroc", "kappa", "mad", "ece"]
