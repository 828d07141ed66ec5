"""Pictures to a uint8 array (samples, height, width, channels), from the pixel cache that ``ingest`` wrote.

Where the source gave masks, too, they become a second one, ``masks`` (samples, height, width) of class numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from medai.errors import DataRefused
from medai.records import ArrayFile, Arrays, Cohort, Frozen, Snapshot

if TYPE_CHECKING:
    import numpy as np

    from medai.workspace import Workspace

VERSION = 1
_BLOCK = 4096
_BYTES = 64 << 20
"""Rows, and bytes, copied at a time."""


class Pixels(Frozen):
    """Pictures at the size of the cache.

    Attributes:
        size: height and width that the Problem expects; a cache of another size is refused.
        channels: 1 for grey, 3 for RGB.
    """

    kind: Literal["pixels"]
    size: tuple[int, int]
    channels: Literal[1, 3] = Field(1)


def write(
    workspace: Workspace,
    snapshot: Snapshot,
    cohort: Cohort,
    config: Pixels,
    key: str,
    folder: Path,
) -> Arrays:
    """Copy the cohort's rows of the pixel cache in the order of sample_id."""
    import numpy as np
    import polars as pl

    from medai.tables import SPACING, read_table, write_table

    if snapshot.shape != "images":
        raise DataRefused(
            "preprocessing pixels needs pictures",
            expected="a snapshot of images",
            received=f"a snapshot of {snapshot.shape}",
            action="use preprocessing kind series, or an image source",
        )
    samples = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", ["sample_id"]))
    cache = np.load(workspace.folder("ingest", snapshot.key) / "pixels.npy", mmap_mode="r")
    expected = (*config.size, config.channels)
    if cache.shape[1:] != expected:
        raise DataRefused(
            "the pictures have another size than the Problem expects",
            expected=f"height, width, channels = {expected}",
            received=f"{tuple(cache.shape[1:])}",
            action="set size and channels of the preprocessing to the data's, or give data of that size",
        )
    rows = samples["sample_id"].to_numpy()  # a picture's sample_id is its row in the cache
    arrays = {"pixels": _chosen(cache, rows, folder / "pixels.npy")}
    masks = workspace.folder("ingest", snapshot.key) / "masks.npy"
    if masks.exists():
        arrays["masks"] = _chosen(np.load(masks, mmap_mode="r"), rows, folder / "masks.npy")
    index = samples.with_row_index("row").cast({"row": pl.Int64})
    images = pl.DataFrame(read_table(workspace.folder("ingest", snapshot.key) / "images.parquet"))
    if set(SPACING) <= set(images.columns):
        spacing = images.select(pl.col("row_id").alias("sample_id"), *SPACING)
        index = index.join(spacing, on="sample_id", how="left", maintain_order="left")
    write_table(folder / "samples.parquet", index.to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    return Arrays(
        key=key,
        kind="pixels",
        arrays=arrays,
        samples=len(rows),
    )


def _chosen(cache: np.ndarray, rows: np.ndarray, path: Path) -> ArrayFile:
    """Copy these rows of a cache, a block at a time."""
    from medai.tables import new_pixels

    target = new_pixels(path, (len(rows), *cache.shape[1:]))
    step = min(_BLOCK, max(1, _BYTES // math.prod(cache.shape[1:])))
    for start in range(0, len(rows), step):
        target[start : start + step] = cache[rows[start : start + step]]
    target.flush()
    return ArrayFile(file=path.name, dtype="uint8", shape=tuple(target.shape))
