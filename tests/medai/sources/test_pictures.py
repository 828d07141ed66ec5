"""What readers of pictures share: levels, hashes, and which pictures are the same."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medai.sources.pictures import STANDING, conflicts_of, content_hash, copies_of, grey_levels, sameness, twins_of

ROWS = st.lists(st.tuples(st.sampled_from(["train", "validation", "test", None]), st.sampled_from("abc")), max_size=12)


def test_the_examples_hold() -> None:
    """Those in the docstrings."""
    tried = doctest.testmod(sameness)
    assert (tried.failed, tried.attempted > 0) == (0, True)


@given(ROWS.filter(lambda rows: len({role is None for role, _ in rows}) < 2))
def test_of_equal_pictures_one_role_keeps_its_own(rows: list[tuple[str | None, str]]) -> None:
    """The role of highest standing has no twin; every other role's copies name it."""
    roles, hashes = [role for role, _ in rows], [content for _, content in rows]
    for role, content, twin in zip(roles, hashes, twins_of(roles, hashes), strict=True):
        standing = {STANDING[other] for other, same in rows if same == content}
        if STANDING[role] == max(standing):
            assert twin is None
        else:
            assert STANDING[twin] == max(standing)


@given(ROWS)
def test_one_copy_of_each_is_the_first(rows: list[tuple[str | None, str]]) -> None:
    """Copies are numbered from 0 in their order."""
    copies = copies_of(rows)
    for row in set(rows):
        assert [copy for copy, other in zip(copies, rows, strict=True) if other == row] == list(range(rows.count(row)))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=8))
def test_conflicts_are_labels_that_differ(rows: list[tuple[str, int]]) -> None:
    """For every bearer of the key."""
    found = conflicts_of([key for key, _ in rows], [label for _, label in rows])
    assert found == [len({label for other, label in rows if other == key}) > 1 for key, _ in rows]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 50))
def test_levels_are_numpys(seed: int, count: int, width: int) -> None:
    """Mean, deviation, minimum and maximum, exact to the last digits of float64."""
    flat = np.random.default_rng(seed).integers(0, 256, (count, width), np.uint8)
    expected = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1)], axis=1)
    np.testing.assert_allclose(grey_levels(flat), expected, rtol=1e-12, atol=1e-9)


def test_a_hash_knows_the_shape() -> None:
    """Equal bytes of another shape are another picture."""
    levels = np.arange(12, dtype=np.uint8)
    shapes = ((2, 6, 1), (6, 2, 1), (2, 2, 3), (12, 1, 1))
    assert len({content_hash(levels.reshape(shape)) for shape in shapes}) == len(shapes)
