"""What the readers of pictures share: grey levels, hashes of content, and which pictures are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STANDING: dict[str | None, int] = {None: 0, "train": 0, "validation": 1, "test": 2}
"""How well a publisher's role is protected: of two copies, the one in the role of less standing goes."""


def shape_mark(shape: tuple[int, ...]) -> bytes:
    """What precedes a picture's bytes in its hash, so that 2 × 8 and 4 × 4 pixels never look the same."""
    return ",".join(map(str, shape)).encode() + b"\0"


def content_hash(pixels: np.ndarray) -> str:
    """SHA-256 of a picture's shape and pixels; ``pixels`` (height, width, channels) uint8."""
    return hashlib.sha256(shape_mark(pixels.shape) + pixels.tobytes()).hexdigest()


def grey_levels(flat: np.ndarray) -> np.ndarray:
    """(pictures, 4) float64: mean, standard deviation, minimum, maximum of (pictures, values) uint8.

    Sums are whole numbers, so the figures are exact and the same anywhere.
    """
    import numpy as np

    count = flat.shape[1]
    sums = flat.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", flat, flat, dtype=np.int64, casting="safe")
    spread = np.sqrt((count * squares - sums * sums).astype(np.float64)) / count
    return np.stack([sums / count, spread, flat.min(axis=1), flat.max(axis=1)], axis=1)


def twins_of(roles: Sequence[str | None], hashes: Sequence[str]) -> list[str | None]:
    """For each picture the role of higher standing that holds the same pixels; None where there is none.

    >>> twins_of(["train", "validation", "test", "train"], ["a", "a", "b", "b"])
    ['validation', None, None, 'test']
    """
    holders: dict[str, str | None] = {}
    for role, content in zip(roles, hashes, strict=True):
        if STANDING[role] >= STANDING[holders.get(content)]:
            holders[content] = role
    return [holders[content] if holders[content] != role else None for role, content in zip(roles, hashes, strict=True)]


def copies_of(keys: Sequence[Hashable]) -> list[int]:
    """How many equal keys stand before each one.

    >>> copies_of(["a", "b", "a", "a"])
    [0, 0, 1, 2]
    """
    seen: dict[Hashable, int] = {}
    copies = []
    for key in keys:
        copies.append(seen.get(key, 0))
        seen[key] = copies[-1] + 1
    return copies


def conflicts_of(keys: Sequence[Hashable], labels: Sequence[Hashable]) -> list[bool]:
    """Whether equal keys carry different labels.

    >>> conflicts_of(["a", "b", "a"], [0, 1, 1])
    [True, False, True]
    """
    labelled: dict[Hashable, set[Hashable]] = {}
    for key, label in zip(keys, labels, strict=True):
        labelled.setdefault(key, set()).add(label)
    return [len(labelled[key]) > 1 for key in keys]
