"""The pixel cache of a snapshot: what ``ingest`` decoded, before anything is prepared of it."""

from __future__ import annotations

from medai.errors import DataRefused
from medai.records import Snapshot
from medai.workspace import Workspace


def cached_size(workspace: Workspace, snapshot: Snapshot, needed: str) -> tuple[int, ...]:
    """Size of one picture, or volume, with its channels, without reading any.

    Args:
        needed: what the preprocessing needs, for the message.

    Raises:
        DataRefused: no snapshot of pictures.
    """
    import numpy as np

    if snapshot.shape != "images":
        raise DataRefused(
            needed,
            expected="a snapshot of images",
            received=f"a snapshot of {snapshot.shape}",
            action="use preprocessing kind series, or an image source",
        )
    cache = np.load(workspace.folder("ingest", snapshot.key) / "pixels.npy", mmap_mode="r")
    return tuple(cache.shape[1:])
