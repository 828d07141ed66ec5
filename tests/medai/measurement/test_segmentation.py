"""Figures of masks: means over pictures, intervals over patients, and the threshold of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from medai.errors import ConfigurationError, DataRefused
from medai.measurement import segmentation
from medai.measurement.metrics import LOWER_IS_BETTER, MASK_NAMES, available, in_order
from medai.measurement.overlap import MEASURES
from medai.measurement.thresholds import Threshold
from medai.outputs import Mask

LESION = Mask(kind="mask", classes={0: "background", 1: "lesion"})
TWO = Mask(kind="mask", classes={0: "background", 1: "core", 2: "rim"})
HOW = {"confidence": 0.95, "resamples": 200, "seed": 0}


def square(top: int, left: int, side: int = 4, value: int = 1) -> np.ndarray:
    """A picture of 16 × 16 with one square; none where its side is 0."""
    mask = np.zeros((16, 16), np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


TRUTH = np.stack([square(2, 2), square(2, 2), square(0, 0, 0), square(0, 0, 0)])
ANSWER = np.stack([square(2, 4), square(0, 0, 0), square(0, 0, 0), square(8, 8)])
"""Half hit, missed, rightly left alone, and marked in vain."""


def test_each_figure_is_worked_out_by_hand() -> None:
    """Dice over all and over the diseased alone, marks in vain, distances and findings."""
    sums = segmentation.terms(LESION, segmentation.overlaps(LESION, TRUTH, ANSWER))
    found = segmentation.figures(sums)
    diagonal = float(np.hypot(16, 16))
    expected = {
        "dice": (0.5 + 0 + 1 + 0) / 4,
        "dice_lesions": 0.25,
        "false_positive_share": 0.5,
        "lesion_sensitivity": 0.5,
        "false_lesions": 0.25,
        "hd": (2 + diagonal) / 2,
        "hd95": (2 + diagonal) / 2,
    }
    assert found == pytest.approx(expected, abs=1e-6), "without a spacing there is no figure in millimetres"
    spacing = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, 0.5], [0.5, 0.5]])
    known = segmentation.figures(segmentation.terms(LESION, segmentation.overlaps(LESION, TRUTH, ANSWER, spacing)))
    assert known["hd_mm"] == pytest.approx(1.0), "of the one picture whose spacing is known"
    assert segmentation.confusion(segmentation.overlaps(LESION, TRUTH, ANSWER)) == ((1, 1), (1, 1))


def test_several_findings_have_their_mean_and_each_its_own() -> None:
    """The core is met, the rim is missed."""
    truth = np.maximum(square(2, 2), square(10, 10, 4, 2))[None]
    found = segmentation.figures(segmentation.terms(TWO, segmentation.overlaps(TWO, truth, square(2, 2)[None])))
    assert (found["dice"], found["dice/core"], found["dice/rim"]) == (0.5, 1.0, 0.0)
    assert found["lesion_sensitivity"] == 0.5
    assert set(found) <= set(available(TWO))
    assert in_order(["dice/rim", "hd95", "dice"]) == ["dice", "dice/rim", "hd95"]


def test_names_and_directions() -> None:
    """A mask has these metrics and no area under a curve; of distances and false marks less is better."""
    assert available(LESION) == MASK_NAMES
    assert not {"auroc", "brier", "ece"} & set(available(LESION))
    assert {"hd95", "false_positive_share", "false_lesions"} < LOWER_IS_BETTER
    assert not {"dice", "dice_lesions", "lesion_sensitivity"} & LOWER_IS_BETTER


def test_intervals_draw_patients_with_all_their_pictures() -> None:
    """Pictures of one patient move together: the interval is wider than were each its own, and the seed decides it."""
    generator = np.random.default_rng(3)
    measured = np.zeros((120, 1, len(MEASURES)))
    measured[:, :, [MEASURES.index("true"), MEASURES.index("marked")]] = 100
    quality = np.repeat(generator.uniform(20, 100, 30), 4)
    measured[:, 0, MEASURES.index("both")] = quality
    measured[:, 0, 3:7] = np.nan
    sums = segmentation.terms(LESION, measured)
    patients, alone = np.repeat(np.arange(30), 4), np.arange(120)
    together = segmentation.intervals(sums, patients, **HOW)["dice"]
    single = segmentation.intervals(sums, alone, **HOW)["dice"]
    assert together.value == single.value == pytest.approx(quality.mean() / 100, abs=1e-6)
    assert together.high - together.low > 1.5 * (single.high - single.low)
    order = generator.permutation(120)
    again = segmentation.intervals(segmentation.terms(LESION, measured[order]), patients[order], **HOW)
    assert again["dice"] == together, "the order of the rows leaves no trace"
    assert "hd" not in again


def test_a_difference_is_paired() -> None:
    """Against itself it is 0 without width; a metric that nobody has is named."""
    sums = segmentation.terms(LESION, segmentation.overlaps(LESION, TRUTH, ANSWER))
    same = segmentation.paired_difference("dice", sums, sums, np.arange(4), **HOW)
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert segmentation.paired_difference("hd_mm", sums, sums, np.arange(4), **HOW) is None
    with pytest.raises(ConfigurationError, match="unknown metric 'dicee'") as told:
        segmentation.paired_difference("dicee", sums, sums, np.arange(4), **HOW)
    assert "did you mean 'dice'?" in told.value.received


def test_the_threshold_is_the_one_with_the_largest_mean_dice() -> None:
    """Against every cut tried one by one, in any blocks; a fixed one is taken as it is; of classes there is none."""
    generator = np.random.default_rng(5)
    scores = (0.6 * TRUTH + 0.4 * generator.random(TRUTH.shape)).astype(np.float32)[..., None]
    scores[3] = 0.58  # a healthy picture that a low threshold would mark whole

    def mean_dice(cut: float) -> float:
        marked = segmentation.decided(LESION, scores, (cut,))
        sums = segmentation.terms(LESION, segmentation.overlaps(LESION, TRUTH, marked))
        return segmentation.figures(sums)["dice"]

    every = {float(cut): mean_dice(float(cut)) for cut in segmentation.CUTS}
    best = max(every.values())
    chosen = segmentation.choose(LESION, [(TRUTH, scores)], Threshold(method="dice"))
    assert every[chosen[0]] == best
    assert chosen[0] == min((cut for cut in every if every[cut] == best), key=lambda cut: (abs(cut - 0.5), cut))
    parts = [(TRUTH[:1], scores[:1]), (TRUTH[1:], scores[1:])]
    assert segmentation.choose(LESION, parts, Threshold(method="dice")) == chosen
    assert segmentation.choose(LESION, parts, Threshold(method="fixed", value=0.3)) == (0.3,)
    softmax = np.full((4, 16, 16, 3), 1 / 3, np.float32)
    assert segmentation.choose(TWO, [(TRUTH, softmax)], Threshold(method="dice")) == ()
    assert segmentation.decided(TWO, softmax, ()).max() == 0, "of equals the first, which is the background"


def test_scores_that_are_no_probabilities_are_refused() -> None:
    """A diverged net gives NaN or logits."""
    for wrong in (np.nan, 1.5, -0.1):
        scores = np.full((4, 16, 16, 1), wrong, np.float32)
        with pytest.raises(DataRefused, match="scores are not probabilities"):
            segmentation.choose(LESION, [(TRUTH, scores)], Threshold(method="dice"))
