"""How well one mask lies over another: pixels, outlines and findings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medai.measurement.overlap import MEASURES, dice, distances, outline, overlap

MASKS = arrays(bool, (7, 9), elements=st.booleans())


def of(truth: np.ndarray, answer: np.ndarray, spacing: tuple[float, ...] | None = None) -> dict[str, float]:
    """What is measured, by name."""
    return dict(zip(MEASURES, overlap(truth, answer, spacing).tolist(), strict=True))


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    """A mask of 20 × 30 with boxes from (top, left) up to (bottom, right)."""
    mask = np.zeros((20, 30), bool)
    for top, left, bottom, right in corners:
        mask[top:bottom, left:right] = True
    return mask


def test_counts_pixels_and_findings_that_are_hit_missed_or_made_up() -> None:
    """Of three findings one is hit by a corner and one whole; a part that touches none is a false one."""
    truth = boxes((0, 0, 4, 4), (10, 10, 14, 14), (16, 20, 18, 24))
    answer = boxes((3, 3, 6, 6), (10, 10, 14, 14), (0, 20, 2, 24))
    told = of(truth, answer)
    assert (told["true"], told["marked"], told["both"]) == (16 + 16 + 8, 9 + 16 + 8, 1 + 16)
    assert (told["findings"], told["found"], told["false_findings"]) == (3, 2, 1)
    assert dice(*(np.array([told[name]]) for name in ("true", "marked", "both")))[0] == pytest.approx(34 / 73)
    assert np.isnan(told["distance_mm"])
    diagonal = of(boxes((0, 0, 2, 2), (2, 2, 4, 4)), boxes())
    assert diagonal["findings"] == 1, "parts that meet at a corner are one"


def test_distance_of_two_squares_is_worked_out_by_hand_in_pixels_and_millimetres() -> None:
    """A square shifted 3 to the right: its far side lies 3 pixels from the other's, 1.5 mm at half a millimetre."""
    told = of(boxes((5, 5, 10, 10)), boxes((5, 8, 10, 13)), (2.0, 0.5))
    assert (told["distance"], told["distance95"]) == (3.0, 3.0)
    assert (told["distance_mm"], told["distance95_mm"]) == (1.5, 1.5)
    down = of(boxes((5, 5, 10, 10)), boxes((8, 5, 13, 10)), (2.0, 0.5))
    assert down["distance_mm"] == 6.0


def test_what_is_empty_has_a_stated_answer() -> None:
    """Both empty: Dice 1 and no distance; nothing marked of a finding: the diagonal; marked in vain: no distance."""
    none, some = boxes(), boxes((5, 5, 10, 10))
    both = of(none, none)
    assert dice(np.array([both["true"]]), np.array([both["marked"]]), np.array([both["both"]])).tolist() == [1.0]
    assert np.isnan(both["distance"])
    assert np.isnan(both["distance95"])
    missed = of(some, none, (2.0, 1.0))
    assert missed["distance"] == missed["distance95"] == pytest.approx(np.hypot(20, 30))
    assert missed["distance_mm"] == pytest.approx(np.hypot(40, 30))
    vain = of(none, some)
    assert np.isnan(vain["distance"])
    assert vain["false_findings"] == 1


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_distance_is_that_of_every_pair_of_outline_pixels(truth: np.ndarray, answer: np.ndarray) -> None:
    """Against all pairs, one by one; and the same from either side."""
    if not truth.any() or not answer.any():
        return
    ours, theirs = (np.argwhere(outline(mask)) for mask in (truth, answer))
    apart = np.sqrt((((ours[:, None] - theirs[None]) * (1.0, 2.0)) ** 2).sum(axis=2))
    there, back = apart.min(axis=1), apart.min(axis=0)
    expected = max(there.max(), back.max()), max(np.percentile(there, 95), np.percentile(back, 95))
    assert distances(truth, answer, (1.0, 2.0)) == pytest.approx(expected)
    assert distances(answer, truth, (1.0, 2.0)) == pytest.approx(expected)


def test_largest_distance_agrees_with_another_library() -> None:
    """SimpleITK's Hausdorff distance of the two outlines, with millimetres."""
    itk = pytest.importorskip("SimpleITK")
    generator = np.random.default_rng(1)
    truth, answer = boxes((2, 3, 9, 20)), boxes((5, 6, 15, 27))
    truth &= generator.random(truth.shape) < 0.9
    pictures = []
    for mask in (truth, answer):
        picture = itk.GetImageFromArray(outline(mask).astype(np.uint8))
        picture.SetSpacing((0.7, 1.3))  # across, down
        pictures.append(picture)
    judge = itk.HausdorffDistanceImageFilter()
    judge.Execute(*pictures)
    assert distances(truth, answer, (1.3, 0.7))[0] == pytest.approx(judge.GetHausdorffDistance())


def test_volumes_are_measured_alike() -> None:
    """A cube shifted along the first axis, with thick slices."""
    truth, answer = np.zeros((6, 8, 8), bool), np.zeros((6, 8, 8), bool)
    truth[1:4, 2:5, 2:5], answer[2:5, 2:5, 2:5] = True, True
    told = of(truth, answer, (5.0, 1.0, 1.0))
    assert (told["both"], told["distance"], told["distance_mm"]) == (18, 1.0, 5.0)
