"""Sampling: passes in which the classes come equally often."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medai.training.sampling import BalancedPass


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(0, 1000))
def test_classes_come_equally_often(sizes: list[int], seed: int) -> None:
    """Over: each row as often as its neighbours, but for one; under: none twice. Rows of other roles never come, and
    the same seed draws the same."""
    random = np.random.default_rng(seed)
    classes = random.permutation(np.repeat(np.arange(len(sizes)), [size + 2 for size in sizes]))
    rows = np.sort(np.concatenate([np.flatnonzero(classes == label)[:size] for label, size in enumerate(sizes)]))
    for sampling, each in (("over", max(sizes)), ("under", min(sizes))):
        balanced = BalancedPass(rows, classes, sampling)  # type: ignore[arg-type]  # one of the two words
        drawn = balanced.drawn(np.random.default_rng(seed))
        assert len(drawn) == len(balanced) == each * len(sizes)
        assert np.bincount(classes[drawn]).tolist() == [each] * len(sizes)
        assert set(drawn) <= set(rows)
        for label in range(len(sizes)):
            times = np.unique(drawn[classes[drawn] == label], return_counts=True)[1]
            assert times.max() - times.min() <= 1
            assert sampling == "over" or times.max() == 1
        np.testing.assert_array_equal(drawn, balanced.drawn(np.random.default_rng(seed)))
