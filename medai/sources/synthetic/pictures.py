"""Pictures: two dark lungs in a lighter chest with ribs and noise; a finding is an opacity at a place of its own.

Only sums, products and roots are taken of the drawn numbers, so the pictures are the same on every machine.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import Synthetic

_BLOCK = 256
_CONTRAST = 62
"""Grey levels that a finding adds in its middle at signal 1; the noise has a standard deviation of 24."""
_STRAY = 0.3
"""How far up or down a finding may lie from its place, as a share of half the picture."""
_SPLITS = {"train": (0, 1, 2, 3, 4, 5, 6), "val": (7,), "test": (8, 9)}
"""Split → last digits of the subject numbers in it."""
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


Block = Callable[["Synthetic", range], tuple["np.ndarray", "np.ndarray"]]
"""Makes images and labels of some subjects."""


def write_pictures(config: Synthetic, folder: Path, block: Block | None = None) -> Path:
    """Write ``synthetic.npz`` in MedMNIST's layout and return its path.

    Args:
        block: what is on the images; chests in 2-D by default.
    """
    import numpy as np

    drawn = block or _picture_block
    blocks = [
        drawn(config, range(start, min(start + _BLOCK, config.subjects))) for start in range(0, config.subjects, _BLOCK)
    ]
    images = np.concatenate([one[0] for one in blocks])
    labels = np.concatenate([one[1] for one in blocks])
    path = folder / "synthetic.npz"
    digit = np.arange(config.subjects) % 10
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for split, digits in _SPLITS.items():
            chosen = np.isin(digit, digits)
            for part, values in (("images", images), ("labels", labels)):
                member = zipfile.ZipInfo(f"{split}_{part}.npy", date_time=_ZIP_TIME)
                member.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, values[chosen], allow_pickle=False)
    return path


def _picture_block(config: Synthetic, subjects: range) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (subjects, size, size[, 3]) and labels uint8 (subjects, 1 or classes)."""
    import numpy as np

    findings = config.classes if config.multilabel else config.classes - 1
    count, size = len(subjects), config.size
    draws = np.empty((count, 12 + 4 * findings))
    noise = np.empty((count, 2, size, size), np.float32)
    for row, subject in enumerate(subjects):
        stream = stream_of(config.seed, subject)
        draws[row] = stream.random(draws.shape[1])
        stream.random(dtype=np.float32, out=noise[row])
    present = _present(config, draws[:, 0], draws[:, 12 : 12 + findings])

    spread = draws[:, 1:12, None, None] * 2 - 1
    down, across = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    chest = 150 + 25 * spread[:, 0] + 20 * spread[:, 1] * down
    for half, at in ((-1, 2), (1, 4)):
        lung = _bump(down, across, 0.1 * spread[:, at], half * 0.42 + 0.05 * spread[:, at + 1], 0.95, 0.5)
        chest = chest - (85 + 10 * spread[:, 6]) * np.minimum(1, 2 * lung)
    ribs = np.abs((down * 3.5 + 0.4 * spread[:, 7] + 8) % 1 - 0.5) * 2
    chest = chest + 10 * ribs
    for finding in range(findings):
        jitter = draws[:, 12 + findings + 3 * finding : 15 + findings + 3 * finding, None, None] * 2 - 1
        middle, side = _place(finding, findings)
        radius = 0.3 + 0.08 * jitter[:, 2]
        opacity = _bump(down, across, middle + _STRAY * jitter[:, 0], side + 0.15 * jitter[:, 1], radius, radius)
        if finding % 2:  # every other finding is striped
            opacity = opacity * (np.abs((across * 4 + 8) % 1 - 0.5) * 4)
        chest = chest + present[:, finding, None, None] * config.signal * _CONTRAST * opacity
    grey = chest + 60 * (noise[:, 0] + noise[:, 1] - 1)
    images = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if config.channels == 3:
        images = np.stack([images, (images * 0.9).astype(np.uint8), (images * 0.8).astype(np.uint8)], axis=-1)
    labels = present if config.multilabel else present @ np.arange(1, findings + 1)[:, None]
    return images, labels.astype(np.uint8)


def _present(config: Synthetic, choice: np.ndarray, each: np.ndarray) -> np.ndarray:
    """(subjects, findings) int64: 1 where the finding is there; at most one of them unless multilabel."""
    import numpy as np

    if config.multilabel:
        return (each < config.positives).astype(np.int64)
    if config.classes == 2:
        return (choice < config.positives).astype(np.int64)[:, None]
    number = np.floor(choice * config.classes).astype(np.int64)
    present: np.ndarray = number[:, None] == np.arange(1, config.classes)
    return present.astype(np.int64)


def _place(finding: int, findings: int) -> tuple[float, float]:
    """Where a finding lies (down, across; both from -1 to 1): left and right lung in turn, from below upwards."""
    rows = (findings + 1) // 2
    row = 0.45 if rows == 1 else 0.6 - 1.1 * (finding // 2) / (rows - 1)
    return row, -0.42 if finding % 2 == 0 else 0.42


def _bump(
    down: np.ndarray,
    across: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    height: np.ndarray | float,
    width: np.ndarray | float,
) -> np.ndarray:
    """(subjects, size, size): 1 in the middle of an ellipse, falling smoothly to 0 at its edge."""
    import numpy as np

    bump: np.ndarray = np.maximum(0, 1 - ((down - row) / height) ** 2 - ((across - column) / width) ** 2) ** 2
    return bump
