"""How far two samples lie apart, and how far chance puts them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medai.monitoring.statistics import binned, difference, edges, ks, lacking, mixed, of_subjects, psi, wilson


def test_equal_counts_have_no_distance() -> None:
    """Whatever bins both leave empty; one bin alone can differ in nothing, by chance neither."""
    assert psi(np.array([5, 0, 5]), np.array([50, 0, 50]), 0.01)[0] == pytest.approx(0, abs=1e-3)
    assert psi(np.array([7, 0]), np.array([9, 0]), 0.01) == (0.0, 0.0)


def test_the_index_by_hand() -> None:
    """Half a count is added to each bin: (30.5 / 101 - 50.5 / 101) · ln(30.5 / 50.5), and the same of the rest."""
    value, chance = psi(np.array([50, 50]), np.array([30, 70]), 0.05)
    by_hand = (0.3020 - 0.5) * math.log(0.3020 / 0.5) + (0.6980 - 0.5) * math.log(0.6980 / 0.5)
    assert value == pytest.approx(by_hand, abs=1e-3)
    assert chance == pytest.approx(stats.chi2.isf(0.05, 1) * 2 / 100)


def test_half_a_deviation_is_a_quarter() -> None:
    """Of two large normal samples with one spread the index is near the squared distance of their means."""
    stream = np.random.default_rng(0)
    before, after = stream.normal(size=20_000), stream.normal(0.5, size=20_000)
    edge, alone = edges(before)
    value, chance = psi(binned(before, edge, alone), binned(after, edge, alone), 0.01)
    assert value == pytest.approx(0.25, abs=0.03)
    assert chance < 0.01
    assert ks(before, after, 0.01)[0] == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.02)


def test_chance_passes_the_bound_of_chance_as_often_as_it_may() -> None:
    """Of 400 pairs of equal distributions with 60 and 80 subjects about 5 % lie above what 5 % may."""
    stream = np.random.default_rng(1)
    above = {"psi": 0, "ks": 0}
    for _ in range(400):
        before, after = stream.normal(size=60), stream.normal(size=80)
        edge, alone = edges(before)
        value, chance = psi(binned(before, edge, alone), binned(after, edge, alone), 0.05)
        above["psi"] += value > chance
        value, chance = ks(before, after, 0.05)
        above["ks"] += value > chance
    assert 4 <= above["psi"] <= 50
    assert 4 <= above["ks"] <= 36


def test_batches_of_one_population_pass_the_chance_of_codes_and_units_as_seldom_as_they_may() -> None:
    """300 codes of Zipf's frequencies, one reading each a subject who has them; and two units, one a subject."""
    stream = np.random.default_rng(4)
    share = 0.9 / np.arange(1, 301)
    whole, others = 400, 40
    above = {"lacking": 0, "mixed": 0}
    for _ in range(200):
        held = stream.binomial(whole, share)
        here = stream.binomial(others, share)
        lost = held[here == 0].sum() / held.sum()
        assert lost > 0.1  # which any fixed limit would call a change
        above["lacking"] += lost > lacking(held, held, whole, others, 0.05)
        old, new = stream.binomial(whole, 0.3) / whole, stream.binomial(others, 0.3) / others
        sides = (np.array([one, 1 - one]) for one in (old, new))
        above["mixed"] += abs(old - new) > mixed(*sides, whole, others, 0.05)
    assert above["lacking"] <= 10
    assert 2 <= above["mixed"] <= 20


def test_a_constant_column_that_moved() -> None:
    """All subjects have one value, and then another: the only value is a bin of its own, between two empty ones."""
    before, after = np.full(50, 2.0), np.full(50, 1.0)
    edge, alone = edges(before)
    assert (edge.tolist(), alone) == ([2.0], True)
    assert binned(after, edge, alone).tolist() == [50, 0, 0]
    assert psi(binned(before, edge, alone), binned(after, edge, alone), 0.01)[0] > 5
    assert psi(binned(before, edge, alone), binned(before, edge, alone), 0.01)[0] == 0


def test_shares_beside_published_figures() -> None:
    """Newcombe (1998) tables 48/80 against 56/70: 0.2, from 0.0524 to 0.3339; Wilson's interval as SciPy has it."""
    assert difference((48, 80), (56, 70)) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    theirs = stats.binomtest(7, 40).proportion_ci(method="wilson")
    assert wilson(7, 40) == pytest.approx((theirs.low, theirs.high))
    assert difference((0, 40), (0, 50))[0] == 0


def test_one_value_a_subject() -> None:
    """The mean of what is finite; who has nothing finite has no value."""
    values = np.array([1.0, 3.0, np.nan, np.inf, np.nan, 5.0])
    found = of_subjects(np.array([0, 0, 0, 1, 1, 2]), values)
    assert found[[0, 2]].tolist() == [2.0, 5.0]
    assert np.isnan(found[1])
    assert of_subjects(np.array([1, 0]), np.array([[1, 2], [3, 4]])).tolist() == [[3, 4], [1, 2]]
