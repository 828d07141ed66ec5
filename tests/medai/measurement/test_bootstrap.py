"""Intervals over patients, and paired differences."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medai.errors import ConfigurationError, MedaiError
from medai.measurement import bootstrap, evaluate_output, metrics
from medai.measurement.recalibration import recalibrate
from medai.outputs import Binary, Multiclass, Multilabel

BINARY = Binary(kind="binary", classes={0: "normal", 1: "pneumonia"}, positive="pneumonia")
ORDERED = Multiclass(kind="multiclass", remaining="hours", bins=(24, 48, 72), classes={0: "a", 1: "b", 2: "c", 3: "d"})
FINDINGS = Multilabel(kind="multilabel", classes={letter: letter for letter in "abcd"})


def cohort(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and fairly good scores."""
    generator = np.random.default_rng(seed)
    truth = (generator.random(rows) < 0.4).astype(np.int8)
    return truth, (1 / (1 + np.exp(-generator.normal(2 * truth - 1))))[:, None].astype(np.float32)


def test_all_rows_of_a_unit_come_together() -> None:
    """Rows of one unit have one weight; units drawn add up to the number of units."""
    units = np.array([7, 3, 7, 9, 3, 7])
    weights = np.concatenate(list(bootstrap.draw(units, 50, seed=1)))
    assert weights.shape == (50, 6)
    assert weights.dtype == np.uint16
    for unit in (3, 7, 9):
        assert (np.ptp(weights[:, units == unit], axis=1) == 0).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_drawing_in_blocks_is_drawing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block size changes no weight."""
    units = np.arange(11)
    whole = np.concatenate(list(bootstrap.draw(units, 20, seed=4)))
    monkeypatch.setattr(bootstrap, "_BLOCK", 33)
    np.testing.assert_array_equal(np.concatenate(list(bootstrap.draw(units, 20, seed=4))), whole)


def test_equal_seeds_give_equal_measures_in_any_row_order() -> None:
    """Intervals depend on the seed and the rows, not on the rows' order."""
    truth, scores = cohort(200)
    units = np.arange(200) // 3
    order = np.random.default_rng(1).permutation(200)
    first = evaluate_output(BINARY, truth, scores, (0.5,), units, resamples=200, seed=3)
    assert evaluate_output(BINARY, truth, scores, (0.5,), units, resamples=200, seed=3) == first
    assert evaluate_output(BINARY, truth[order], scores[order], (0.5,), units[order], resamples=200, seed=3) == first
    assert evaluate_output(BINARY, truth, scores, (0.5,), units, resamples=200, seed=4) != first


def test_value_and_interval() -> None:
    """Values are those of the rows as they are, inside their intervals; the confusion matrix counts every row."""
    truth, scores = cohort(300)
    measures, confusion = evaluate_output(BINARY, truth, scores, (0.5,), np.arange(300), resamples=500, seed=0)
    assert tuple(measures) == metrics.NAMES
    points = metrics.compute(BINARY, truth, scores, (0.5,))
    for name, measure in measures.items():
        assert measure.value == points[name][0]
        assert measure.low < measure.high
    assert measures["auroc"].low < measures["auroc"].value < measures["auroc"].high
    assert sum(map(sum, confusion)) == 300
    assert measures["accuracy"].value == (confusion[0][0] + confusion[1][1]) / 300


def test_clustered_intervals_are_wider_for_correlated_rows() -> None:
    """Ten equal rows a patient: drawing patients gives an interval about √10 times as wide as drawing rows."""
    truth, scores = (array.repeat(10, axis=0) for array in cohort(60))
    patients = np.arange(60).repeat(10)
    widths = []
    for units in (patients, np.arange(600)):
        measure = evaluate_output(BINARY, truth, scores, (0.5,), units, resamples=400, seed=0)[0]["accuracy"]
        widths.append(measure.high - measure.low)
    assert 2.2 < widths[0] / widths[1] < 4.5


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 150 samples of 150 patients, the 90 % interval of the AUROC covers it in 80 to 98 %."""
    truth, scores = cohort(200_000, seed=9)
    goal = metrics.compute(BINARY, truth, scores, (0.5,), names=["auroc"])["auroc"][0]
    hits = 0
    for seed in range(150):
        part = cohort(150, seed=seed + 100)
        measure = bootstrap.intervals(
            BINARY, *part, (0.5,), np.arange(150), confidence=0.9, resamples=200, seed=seed, names=["auroc"]
        )["auroc"]
        hits += measure.low <= goal <= measure.high
    assert 0.8 <= hits / 150 <= 0.98


def test_undefined_resamples_are_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """With one positive patient a third of the resamples has none: they are skipped, and one line says how many."""
    truth = np.array([1, 0, 0, 0, 0, 0])
    scores = np.array([[0.9], [0.1], [0.2], [0.3], [0.95], [0.2]])
    with caplog.at_level(logging.INFO, logger="medai.measurement.bootstrap"):
        measures, _ = evaluate_output(BINARY, truth, scores, (0.5,), np.arange(6), resamples=300, seed=0)
    assert 0 < measures["auroc"].low <= measures["auroc"].high <= 1
    assert caplog.messages == [
        "skipped of 300 resamples, undefined: auroc, auprc, balanced_accuracy, sensitivity, ppv, f1 on 117"
    ]
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="medai.measurement.bootstrap"):
        evaluate_output(BINARY, truth, scores, (0.5,), np.arange(6), resamples=300, seed=0, tell=False)
    assert caplog.messages == []


def test_an_interval_holds_its_figure() -> None:
    """Whatever the rows: few or many, one class nearly, scores on a grid, rows of one patient, findings."""

    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.integers(2, 60),
        patients=st.integers(1, 30),
        share=st.floats(0, 1),
        grid=st.sampled_from([2, 5, 1000]),
        columns=st.integers(1, 2),
        seed=st.integers(0, 2**32 - 1),
    )
    def holds(rows: int, patients: int, share: float, grid: int, columns: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        several = Multilabel(kind="multilabel", classes={"a": "oedema", "b": "mass"})
        output = BINARY if columns == 1 else several
        truth = (generator.random((rows, columns)) < share).astype(np.int8)
        scores = (generator.integers(0, grid + 1, (rows, columns)) / grid).astype(np.float32)
        units = generator.integers(patients, size=rows)
        answer = truth[:, 0] if columns == 1 else truth
        measures, _ = evaluate_output(output, answer, scores, (0.5,) * columns, units, resamples=30, seed=1)
        measures |= recalibrate(truth[:, 0], scores[:, 0], units, confidence=0.9, resamples=30, seed=1)
        for name, measure in measures.items():
            assert measure.low <= measure.value <= measure.high, name
            assert measure.low >= 0 or name in ("slope", "intercept")

    holds()


def test_a_calibration_error_is_the_middle_of_its_resamples() -> None:
    """Resamples of calibrated scores all lie above the figure: the interval keeps their width, and ends at 0."""
    scores = ((np.arange(300) % 15 + 0.5) / 15)[:, None]
    truth = (np.arange(300) // 15 < np.round(20 * scores[:, 0])).astype(np.int8)  # 20 rows a bin, right on average
    weights = np.concatenate(list(bootstrap.draw(np.arange(300), 300, 0)))
    drawn = metrics.ece(truth, scores[:, 0], weights)
    measure = evaluate_output(BINARY, truth, scores, (0.5,), np.arange(300), resamples=300, seed=0)[0]["ece"]
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    assert measure.value < low
    assert measure.low == pytest.approx(max(0.0, measure.value - (middle - low)))
    assert measure.high == pytest.approx(measure.value + (high - middle))
    few = bootstrap.interval("ece", 0.01, np.array([0.02, 0.05, 0.08]), 0.9, least=0.0)
    assert few is not None
    assert (few.low, few.high) == (0.0, pytest.approx(0.037))


def test_undefined_metrics_are_left_out() -> None:
    """With one class only, what needs both is not in the answer; nothing is NaN."""
    measures, confusion = evaluate_output(
        BINARY, np.zeros(5, np.int8), np.full((5, 1), 0.2), (0.5,), np.arange(5), resamples=50, seed=0
    )
    assert set(measures) == {"accuracy", "specificity", "npv", "brier", "ece"}
    assert confusion == ((5, 0), (0, 0))


@pytest.mark.parametrize(
    ("only", "defined"),
    [
        (0, {"accuracy", "specificity", "npv", "brier", "ece"}),
        (1, {"accuracy", "auprc", "sensitivity", "ppv", "f1", "brier", "ece"}),
    ],
)
def test_with_one_class_nothing_is_measured_that_could_have_but_one_value(only: int, defined: set[str]) -> None:
    """Some are flagged although nobody is positive: PPV and F1 are undefined, not 0; NPV where nobody is negative."""
    scores = np.array([[0.2], [0.4], [0.6], [0.9]])
    measures, _ = evaluate_output(BINARY, np.full(4, only, np.int8), scores, (0.5,), np.arange(4), resamples=50, seed=0)
    assert set(measures) == defined


def test_multiclass_is_evaluated_by_arg_max() -> None:
    """A multiclass output needs no thresholds and has every metric."""
    generator = np.random.default_rng(0)
    output = Multiclass(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    truth = generator.integers(0, 3, 120)
    scores = generator.dirichlet([1, 1, 1], 120)
    measures, confusion = evaluate_output(output, truth, scores, (), np.arange(120), resamples=100, seed=0)
    assert tuple(measures) == metrics.NAMES
    assert np.trace(np.array(confusion)) / 120 == measures["accuracy"].value


def difference(metric: str, a: np.ndarray, b: np.ndarray, truth: np.ndarray, resamples: int = 300):
    """a − b with units of two rows."""
    return bootstrap.paired_difference(
        metric,
        BINARY,
        truth,
        a,
        b,
        np.arange(len(truth)) // 2,
        thresholds_a=(0.5,),
        thresholds_b=(0.5,),
        resamples=resamples,
        seed=0,
    )


@pytest.mark.parametrize("metric", metrics.NAMES)
def test_equal_scores_differ_by_exactly_nothing(metric: str) -> None:
    """Both sides see the same resamples: equal scores give 0, 0, 0."""
    truth, scores = cohort(100)
    measure = difference(metric, scores, scores.copy(), truth)
    assert measure is not None
    assert (measure.value, measure.low, measure.high) == (0, 0, 0)


def test_a_better_model_is_found_better_and_the_sign_turns() -> None:
    """The difference is a − b: positive for the better a, its mirror image when the sides change."""
    truth, good = cohort(400)
    noise = np.random.default_rng(2).random(good.shape).astype(np.float32)
    there, back = difference("auroc", good, noise, truth), difference("auroc", noise, good, truth)
    assert there is not None
    assert back is not None
    assert there.low > 0.1
    assert there.value == -back.value
    np.testing.assert_allclose((there.low, there.high), (-back.high, -back.low))


def test_a_difference_is_none_where_the_metric_is_undefined() -> None:
    """One class only: no figure rather than a wrong one."""
    assert difference("auroc", np.full((6, 1), 0.5), np.full((6, 1), 0.4), np.ones(6, np.int8)) is None


def test_a_difference_of_an_unknown_metric_is_refused() -> None:
    """A misspelt metric of the gate is a configuration error."""
    truth, scores = cohort(20)
    with pytest.raises(ConfigurationError, match="unknown metric 'auprk'"):
        difference("auprk", scores, scores, truth)


def test_units_must_match_the_rows() -> None:
    """One unit id a row."""
    truth, scores = cohort(20)
    with pytest.raises(MedaiError, match="units of the bootstrap") as refused:
        evaluate_output(BINARY, truth, scores, (0.5,), np.arange(19), resamples=10, seed=0)
    assert refused.value.received == "shape (19,)"


def test_many_rows_are_resampled_as_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals, differences and calibration are those of the rows themselves, nearly; decisions are exactly so."""
    generator = np.random.default_rng(3)
    rows, patients = 3000, 60
    units = generator.integers(patients, size=rows)
    truth = (generator.random(rows) < 0.2).astype(np.int8)
    logit = generator.normal(2 * truth - 3, 1.5)[:, None]
    scores, other = (
        (1 / (1 + np.exp(-values))).astype(np.float32) for values in (logit, logit + generator.normal(0, 1, (rows, 1)))
    )

    def figures() -> tuple[Any, Any, Any]:
        output = BINARY
        return (
            bootstrap.intervals(output, truth, scores, (0.2,), units, confidence=0.95, resamples=200, seed=1),
            bootstrap.paired_difference(
                "auroc", output, truth, scores, other, units,
                thresholds_a=(0.2,), thresholds_b=(0.3,), resamples=200, seed=1,
            ),
            recalibrate(truth, scores[:, 0], units, confidence=0.95, resamples=200, seed=1),
        )  # fmt: skip

    whole, difference, agreement = figures()
    monkeypatch.setattr(bootstrap, "LARGEST", 100)
    cells, in_cells, agreement_of_cells = figures()
    assert list(cells) == list(whole)
    for name, measure in cells.items():
        assert measure.value == whole[name].value
        close = (
            0 if name in ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy") else 3e-4
        )
        assert abs(measure.low - whole[name].low) <= close, name
        assert abs(measure.high - whole[name].high) <= close, name
    assert in_cells.value == difference.value
    assert abs(in_cells.low - difference.low) < 2e-4
    for name, measure in agreement_of_cells.items():
        assert abs(measure.low - agreement[name].low) < 1e-3


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_many_rows_of_several_classes_are_added_up_by_patient(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks nearly, all other figures exactly as from the rows; differences of two models too."""
    generator = np.random.default_rng(8)
    rows, patients, classes = 1500, 40, 4
    units = generator.integers(patients, size=rows)
    truth = generator.integers(0, classes, rows)
    raised = generator.normal(0, 1, (rows, classes)) + 1.2 * np.eye(classes)[truth]
    scores = (np.exp(raised) / np.exp(raised).sum(axis=1, keepdims=True)).astype(np.float32)
    other = (scores + 0.25) / 2
    output: Multiclass | Multilabel = ORDERED
    thresholds: tuple[float, ...] = ()
    if kind == "multilabel":
        output, thresholds = FINDINGS, (0.2, 0.3, 0.4, 0.5)
        truth = (np.eye(classes, dtype=np.int8)[truth] | (generator.random((rows, classes)) < 0.1)).astype(np.int8)

    def figures() -> tuple[Any, Any]:
        options: dict[str, Any] = {"confidence": 0.9, "resamples": 100, "seed": 2}
        name = "kappa" if kind == "multiclass" else "micro_auroc"
        return (
            bootstrap.intervals(output, truth, scores, thresholds, units, **options),
            bootstrap.paired_difference(
                name, output, truth, scores, other, units,
                thresholds_a=thresholds, thresholds_b=thresholds, **options,
            ),
        )  # fmt: skip

    whole, difference = figures()
    monkeypatch.setattr(bootstrap, "LARGEST", 50)
    summed, by_patient = figures()
    assert list(summed) == list(whole)
    for name, measure in summed.items():
        assert measure.value == whole[name].value
        about = name.partition("/")[0]
        ranked = about in ("auroc", "auprc", "micro_auroc") or (kind == "multilabel" and about in ("brier", "ece"))
        assert measure.low == pytest.approx(whole[name].low, abs=1e-3 if ranked else 1e-12), name
        assert measure.high == pytest.approx(whole[name].high, abs=1e-3 if ranked else 1e-12), name
    assert by_patient.low == pytest.approx(difference.low, abs=1e-3)


def test_a_mean_is_resampled_by_patient() -> None:
    """One figure a patient, however many rows: the interval is that of the patients' own values."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    once, often = (
        bootstrap.mean_interval(
            np.repeat(values, each), np.repeat(np.arange(4), each), confidence=0.95, resamples=300, seed=1
        )
        for each in (1, 50)
    )
    assert once == often
    assert once.value == 2.5
    assert once.low < 2.5 < once.high


def test_two_sets_that_share_nobody_are_resampled_each_by_itself() -> None:
    """The difference is that of the figures; its interval is wider than either set's own, about as wide as the root of
    the sum of their squares, holds 0 where nothing differs, and turns round with the sets.
    """
    here, own = cohort(400, 1), cohort(500, 2)
    a, b = ((truth, scores, np.arange(len(truth)), (0.5,)) for truth, scores in (here, own))
    asked: dict[str, Any] = {"names": ["auroc", "sensitivity"], "resamples": 1000, "seed": 4}
    found = bootstrap.unpaired_differences(BINARY, a, b, **asked)
    assert list(found) == ["auroc", "sensitivity"]
    single = [
        bootstrap.intervals(BINARY, *part[:2], part[3], part[2], confidence=0.95, resamples=1000, seed=9)
        for part in (a, b)
    ]
    for metric, measure in found.items():
        one, other = (card[metric] for card in single)
        assert measure.value == pytest.approx(one.value - other.value)
        assert measure.low <= 0 <= measure.high
        expected = np.hypot(one.high - one.low, other.high - other.low)
        assert measure.high - measure.low == pytest.approx(expected, rel=0.12)
    turned = bootstrap.unpaired_differences(BINARY, b, a, **asked)
    assert turned["auroc"].value == -found["auroc"].value
    assert bootstrap.unpaired_differences(BINARY, a, b, **asked) == found


def test_a_figure_that_one_of_two_sets_does_not_have_has_no_difference() -> None:
    """One class only: no ranking, and no sensitivity; what hangs on negatives alone remains."""
    truth, scores = cohort(200)
    full = (truth, scores, np.arange(200), (0.5,))
    none = (np.zeros_like(truth), scores, np.arange(200), (0.5,))
    names = ["auroc", "sensitivity", "specificity"]
    assert list(bootstrap.unpaired_differences(BINARY, full, none, names=names, resamples=200, seed=0)) == [
        "specificity"
    ]
