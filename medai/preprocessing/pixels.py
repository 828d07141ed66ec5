"""Pictures to a uint8 array (samples, height, width, channels), from the pixel cache that ``ingest`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from medai.errors import DataRefused
from medai.records import ArrayFile, Arrays, Cohort, Frozen, Snapshot

if TYPE_CHECKING:
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

    from medai.tables import new_pixels, read_table, write_table

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
    target = new_pixels(folder / "pixels.npy", (len(rows), *expected))
    step = min(_BLOCK, max(1, _BYTES // (config.size[0] * config.size[1] * config.channels)))
    for start in range(0, len(rows), step):
        target[start : start + step] = cache[rows[start : start + step]]
    target.flush()
    del target
    write_table(folder / "samples.parquet", samples.with_row_index("row").cast({"row": pl.Int64}).to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    return Arrays(
        key=key,
        kind="pixels",
        arrays={"pixels": ArrayFile(file="pixels.npy", dtype="uint8", shape=(len(rows), *expected))},
        samples=len(rows),
    )
