"""What a champion marks in new pictures, a row a picture: how much, where, and as how many parts.

score          largest probability of any finding at any pixel
label          whether anything was marked, by the class's name
area.FINDING   share of the picture's pixels that were marked
parts.FINDING  connected parts marked, corners included
mask.FINDING   the marked pixels as run lengths: COCO's uncompressed counts (Lin et al. 2014), pixels column by column
               from the top left, unmarked and marked in turn, unmarked first
mask_height, mask_width    of the prepared picture, whose pixels these are
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medai.outputs import Mask

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


def columns_of(output: Mask) -> dict[str, Any]:
    """Column → polars' type, in order, without sample_id."""
    import polars as pl

    each = {"area": pl.Float32, "parts": pl.Int32, "mask": pl.String}
    findings = {f"{what}.{finding}": kind for finding in output.findings for what, kind in each.items()}
    return {"score": pl.Float32, "label": pl.String, **findings, "mask_height": pl.Int32, "mask_width": pl.Int32}


def marked(output: Mask, blocks: Iterable[np.ndarray], thresholds: tuple[float, ...]) -> pl.DataFrame:
    """One row a picture, in the order of the blocks.

    Args:
        blocks: (n, height, width, columns) probabilities of some pictures at a time.
    """
    import numpy as np
    import polars as pl
    from scipy import ndimage

    from medai.measurement.segmentation import decided

    corners = np.ones((3, 3), bool)
    rows: list[dict[str, Any]] = []
    for scores in blocks:
        surest = scores[..., 1 if output.columns > 1 else 0 :].max(axis=(1, 2, 3))
        for score, answer in zip(surest.tolist(), decided(output, scores, thresholds), strict=True):
            row = {"score": score, "label": output.names[int(answer.any())]}
            for number, finding in enumerate(output.findings, start=1):
                mask = answer == number
                row[f"area.{finding}"] = float(mask.mean())
                row[f"parts.{finding}"] = int(ndimage.label(mask, corners)[1])
                row[f"mask.{finding}"] = run_lengths(mask)
            rows.append(row | {"mask_height": answer.shape[0], "mask_width": answer.shape[1]})
    return pl.DataFrame(rows, schema=columns_of(output))


def run_lengths(mask: np.ndarray) -> str:
    """A boolean mask as run lengths.

    >>> import numpy as np
    >>> run_lengths(np.array([[0, 1], [0, 1]], bool)), run_lengths(np.zeros((2, 2), bool))
    ('2 2', '4')
    """
    import numpy as np

    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F")])
    edges = np.flatnonzero(np.diff(flat))
    return " ".join(map(str, np.diff(np.concatenate([[0], edges, [len(flat) - 1]])).tolist()))
