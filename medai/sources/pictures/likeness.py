"""Which pictures look alike, and which look unlike their peers; decided after the pass, from what it kept of each.

Near-duplicates are the same exposure stored again: compressed, enlarged, a little lighter. Their perceptual hashes
differ in at most ``DISTANCE`` bits, and their thumbnails, freed of what is broad (as all chests are alike in that),
correlate by at least ``CORRELATION``. Found so, of 45,000 pairs of drawn radiographs of different patients none was
taken for a near-duplicate (the highest correlation was 0.97), and of copies as JPEG of quality 20, at half the size, a
sixth darker, or with noise of six levels none was missed.

Whatever two hashes that differ in few bits are, they are equal in one of a few bands; only pictures equal in a band are
compared, so that 100,000 pictures take seconds. All sums are of whole numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from medai.sources.pictures.sameness import STANDING

if TYPE_CHECKING:
    import numpy as np

DISTANCE = 4
CORRELATION = 0.98
FEWEST_PEERS = 20
"""Pictures of a kind from which a peer can be told from a stranger."""
MOST_COMPARED = 32
"""Earlier pictures in a band that each one is compared with: where more look alike, that each has one is known."""
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
"""First bit and bits of each band; one more than ``DISTANCE``."""
_ROWS = 512
_BROAD = 7
_SAMPLE = 2001
_ALIKE = 0.3
"""Likeness that half of all peers must have, or the median picture is nobody's likeness."""


def near_pairs(hashes: Sequence[int], thumbnails: np.ndarray) -> np.ndarray:
    """Pairs of near-duplicates: (pairs, 2) int64, the later place first, in order.

    Args:
        hashes: perceptual hashes, as signed numbers.
        thumbnails: (pictures, side, side) uint8 luma.
    """
    import numpy as np

    bits = np.array(hashes, np.int64).view(np.uint64)
    bands = [(bits >> np.uint64(start)) & np.uint64((1 << length) - 1) for start, length in _BANDS]
    found = [np.empty((0, 2), np.int64)]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for group in np.split(order, starts[1:]):
            if len(group) > 1:
                found += list(_within(group, bits, bands[:number]))
    pairs = np.concatenate(found)
    pairs = pairs[_alike(pairs, thumbnails)]
    ordered: np.ndarray = pairs[np.lexsort(pairs.T[::-1])]
    return ordered


def _within(group: np.ndarray, bits: np.ndarray, earlier: list[np.ndarray]) -> list[np.ndarray]:
    """Candidates of one band's group, but for pairs that an earlier band has brought."""
    import numpy as np

    pairs = []
    for start in range(0, len(group), _ROWS):
        rows, columns = group[start : start + _ROWS], group[: start + _ROWS]
        near = np.bitwise_count(bits[rows, None] ^ bits[columns]) <= DISTANCE
        near &= np.arange(len(columns)) < np.arange(start, start + len(rows))[:, None]
        for band in earlier:
            near &= band[rows, None] != band[columns]
        near &= near.cumsum(axis=1) <= MOST_COMPARED
        later, sooner = np.nonzero(near)
        pairs.append(np.stack([rows[later], columns[sooner]], axis=1))
    return pairs


def _alike(pairs: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Whether each pair's thumbnails correlate, (pairs,) bool."""
    import cv2
    import numpy as np

    places, at = np.unique(pairs, return_inverse=True)
    at = at.reshape(-1, 2)
    fine = np.empty((len(places), thumbnails[0].size if len(places) else 0), np.int32)
    for row, place in enumerate(places.tolist()):
        broad = cv2.blur(thumbnails[place], (_BROAD, _BROAD))
        fine[row] = (thumbnails[place].astype(np.int32) - broad).ravel()
    own = np.einsum("ij,ij->i", fine, fine).astype(np.float64)
    alike = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _ROWS):
        ours, theirs = at[start : start + _ROWS].T
        common = np.einsum("ij,ij->i", fine[ours], fine[theirs]).astype(np.float64)
        enough = common * common >= CORRELATION**2 * own[ours] * own[theirs]
        alike[start : start + _ROWS] = (common > 0) & enough
    return alike


def near_marks(
    pairs: Sequence[tuple[int, int]],
    contents: Sequence[str],
    roles: Sequence[str | None],
    people: Sequence[Hashable],
) -> tuple[list[str | None], list[bool]]:
    """What near-duplicates mean for each picture.

    Args:
        pairs: places of near-duplicates; a picture of the same content as one of them is meant as well.
        contents, roles, people: of each picture, in the order of rows.

    Returns:
        The role of higher standing that holds a near-duplicate, None where there is none; and whether one stands
        earlier in the same role under another subject.

    >>> near_marks([(1, 0), (2, 1)], ["a", "b", "c"], ["train", "train", "test"], [1, 2, 1])
    ([None, 'test', None], [False, True, False])
    """
    places: dict[str, list[int]] = {}
    for place, content in enumerate(contents):
        places.setdefault(content, []).append(place)
    twins: list[str | None] = [None] * len(contents)
    others = [False] * len(contents)
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            for place in places[contents[one]]:
                for near in places[contents[other]]:
                    if STANDING[roles[near]] > max(STANDING[roles[place]], STANDING[twins[place]]):
                        twins[place] = roles[near]
                    if near < place and roles[near] == roles[place] and people[near] != people[place]:
                        others[place] = True
    return twins, others


def near_groups(
    pairs: Sequence[tuple[int, int]], contents: Sequence[str], people: Sequence[Hashable]
) -> list[int | None]:
    """Which pictures hang together though they are filed under several subjects: each group's first place.

    Equal and near-equal pictures hang together, and whatever hangs on those. None for a picture that nobody else has.

    Args:
        pairs, contents, people: as for ``near_marks``; places that are not meant have a subject of None.

    >>> near_groups([(1, 0), (3, 2)], ["a", "b", "c", "d", "d"], [1, 2, 3, 3, 3])
    [0, 0, None, None, None]
    """
    above = list(range(len(contents)))

    def first(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    seen: dict[str, int] = {}
    links = [(place, seen.setdefault(content, place)) for place, content in enumerate(contents)]
    for one, other in (*links, *pairs):
        low, high = sorted((first(one), first(other)))
        above[high] = low
    members: dict[int, set[Hashable]] = {}
    for place, person in enumerate(people):
        if person is not None:
            members.setdefault(first(place), set()).add(person)
    return [
        first(place) if person is not None and len(members[first(place)]) > 1 else None
        for place, person in enumerate(people)
    ]


def likeness_of(thumbnails: np.ndarray, kinds: Sequence[Hashable], counted: Sequence[bool]) -> list[float | None]:
    """Each picture's correlation with the median picture of its kind, -1 to 1; below 0 where greys are inverted.

    Args:
        thumbnails: (pictures, side, side) uint8 luma.
        kinds: of each picture, such as its view; pictures of one kind are peers.
        counted: whether a picture was read. One that was not, is of one level, or has fewer than ``FEWEST_PEERS`` peers
            has no likeness; nor has any of a kind whose pictures are not alike.
    """
    import numpy as np

    members: dict[Hashable, list[int]] = {}
    for place, (kind, is_counted) in enumerate(zip(kinds, counted, strict=True)):
        if is_counted and thumbnails[place].min() != thumbnails[place].max():
            members.setdefault(kind, []).append(place)
    answers: list[float | None] = [None] * len(kinds)
    for places in members.values():
        if len(places) < FEWEST_PEERS:
            continue
        sample = places[:: -(-len(places) // _SAMPLE)]
        flat = thumbnails[sample].reshape(len(sample), -1)
        median = np.partition(flat, len(sample) // 2, axis=0)[len(sample) // 2].astype(np.int64)
        count, total, squares = median.size, int(median.sum()), int((median * median).sum())
        likeness = []
        for place in places:
            levels = thumbnails[place].ravel().astype(np.int64)
            own = int(levels.sum())
            above = count * int(levels @ median) - own * total
            below = (count * int(levels @ levels) - own * own) * (count * squares - total * total)
            likeness.append(above / below**0.5 if below else 0.0)
        if sorted(likeness)[len(likeness) // 2] >= _ALIKE:
            for place, own_likeness in zip(places, likeness, strict=True):
                answers[place] = own_likeness
    return answers
