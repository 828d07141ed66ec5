"""Pictures to a uint8 array (samples, height, width, channels), from the pixel cache that ``ingest`` wrote.

What is done to a picture is the Problem's to say, always in this order: crop, denoise, contrast, resize. Noise goes
before contrast is raised, which would raise it too; a frame goes before anything is measured on the picture. Each
picture is worked on by itself, so one that is predicted passes as it would have in training. Normalising is no part of
it: it is a constant inside the model (see ``preprocessing.statistics``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator

from medai.errors import DataRefused
from medai.preprocessing.cache import cached_size
from medai.preprocessing.pixels.cropping import Box, Crop, box_of
from medai.preprocessing.pixels.enhancing import CLAHE, Denoise, contrasted, denoised, resized
from medai.records import ArrayFile, Arrays, Cohort, Frozen, Snapshot
from medai.threads import each_of

if TYPE_CHECKING:
    import numpy as np

    from medai.workspace import Workspace

VERSION = 1
_BLOCK = 4096
_BYTES = 64 << 20
"""Rows, and bytes, copied at a time."""


class Pixels(Frozen):
    """Pictures at a size, grey or in colour.

    Attributes:
        size: height and width that the model reads.
        channels: 1 for grey, 3 for RGB.
        crop: which part of each picture is kept; it is brought back to ``size``, each side for itself.
        denoise: how noise is taken away.
        contrast: how contrast is evened out.
        resize: ``area``: a cache of at least this size is brought to it, each pixel the mean of the area that it
            covers (bilinear where a crop is smaller than ``size``). Null: a cache of another size is refused.
    """

    kind: Literal["pixels"]
    size: tuple[int, int]
    channels: Literal[1, 3] = Field(1)
    crop: Crop | None = None
    denoise: Denoise | None = None
    contrast: CLAHE | None = None
    resize: Literal["area"] | None = None

    @model_validator(mode="after")
    def _a_crop_is_resized(self) -> Pixels:
        if self.crop is not None and self.resize is None:
            raise ValueError("with crop, pictures come in many sizes: add resize: area")
        return self

    @property
    def plain(self) -> bool:
        """Whether the cache is copied as it is."""
        return (self.crop, self.denoise, self.contrast, self.resize) == (None, None, None, None)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that these operations need, and whose version may change their bytes."""
        return () if self.plain else ("opencv-python-headless",)


class Prepared(NamedTuple):
    """One picture as the model reads it.

    Attributes:
        picture: (height, width, channels) uint8 of the size asked for.
        box: which part of the picture it shows; None: all of it.
        told: what is to be counted of it: ``frame_cut``, ``frame_not_cut``, ``lung_field_cut`` or
            ``lung_field_not_found``; None without a crop, or where there was no frame to cut.
    """

    picture: np.ndarray
    box: Box | None
    told: str | None


def prepared(picture: np.ndarray, config: Pixels) -> Prepared:
    """One picture, (height, width, channels) uint8, as the model reads it."""
    box, told = None, None
    if config.crop is not None:
        box, (height, width) = box_of(picture, config.crop), picture.shape[:2]
        if config.crop.kind == "lung_field":
            told = "lung_field_not_found" if box is None else "lung_field_cut"
        elif box is None:
            told = "frame_not_cut"
        elif box != (0, height, 0, width):
            told = "frame_cut"
        if box is not None:
            picture = picture[box.top : box.bottom, box.left : box.right]
    if config.denoise is not None:
        picture = denoised(picture, config.denoise)
    if config.contrast is not None:
        picture = contrasted(picture, config.contrast)
    return Prepared(resized(picture, config.size), box, told)


def prepared_mask(mask: np.ndarray, box: Box | None, size: tuple[int, int]) -> np.ndarray:
    """A mask, (height, width) uint8, of the part that its picture shows, at its size; each value is one it had."""
    import cv2
    import numpy as np

    if box is not None:
        mask = mask[box.top : box.bottom, box.left : box.right]
    if mask.shape == size:
        return mask
    nearest = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(np.ascontiguousarray(mask), size[::-1], interpolation=nearest))


def write(
    workspace: Workspace,
    snapshot: Snapshot,
    cohort: Cohort,
    config: Pixels,
    key: str,
    folder: Path,
) -> Arrays:
    """Bring the cohort's rows of the pixel cache over, in the order of sample_id.

    Raises:
        DataRefused: no snapshot of pictures, or pictures of another size than the Problem expects.
    """
    import numpy as np
    import polars as pl

    from medai.tables import SPACING, new_pixels, read_table, write_table

    refuse_unfit(workspace, snapshot, config)
    samples = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", ["sample_id"]))
    cache = np.load(workspace.folder("ingest", snapshot.key) / "pixels.npy", mmap_mode="r")
    rows = samples["sample_id"].to_numpy()  # a picture's sample_id is its row in the cache
    shape = (*config.size, config.channels)
    target = new_pixels(folder / "pixels.npy", (len(rows), *shape))
    arrays = {"pixels": ArrayFile(file="pixels.npy", dtype="uint8", shape=(len(rows), *shape))}
    given = workspace.folder("ingest", snapshot.key) / "masks.npy"
    masks, whole = None, None
    if given.exists():
        whole = np.load(given, mmap_mode="r")
        masks = new_pixels(folder / "masks.npy", (len(rows), *config.size))
        arrays["masks"] = ArrayFile(file="masks.npy", dtype="uint8", shape=tuple(masks.shape))
    counts: dict[str, int] = {}
    seen = np.tile(np.array(cache.shape[1:3], np.float64), (len(rows), 1))  # pixels of the cache, down and across
    if config.plain:
        step = min(_BLOCK, max(1, _BYTES // (config.size[0] * config.size[1] * config.channels)))
        for start in range(0, len(rows), step):
            target[start : start + step] = cache[rows[start : start + step]]
            if masks is not None and whole is not None:
                masks[start : start + step] = whole[rows[start : start + step]]
    else:
        for row, made in enumerate(_each(cache, rows, config)):
            target[row] = made.picture
            if made.box is not None:
                seen[row] = made.box.bottom - made.box.top, made.box.right - made.box.left
            if masks is not None and whole is not None:
                masks[row] = prepared_mask(whole[rows[row]], made.box, config.size)
            if made.told is not None:
                counts[made.told] = counts.get(made.told, 0) + 1
    target.flush()
    del target
    if masks is not None:
        masks.flush()
    index = samples.with_row_index("row").cast({"row": pl.Int64})
    images = pl.DataFrame(read_table(workspace.folder("ingest", snapshot.key) / "images.parquet"))
    if set(SPACING) <= set(images.columns):  # a cut or resized picture has its pixels elsewhere
        spacing = images.select(pl.col("row_id").alias("sample_id"), *SPACING)
        index = index.join(spacing, on="sample_id", how="left", maintain_order="left").with_columns(
            pl.col(name) * pl.Series(seen[:, axis] / config.size[axis]) for axis, name in enumerate(SPACING)
        )
    write_table(folder / "samples.parquet", index.to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    return Arrays(
        key=key,
        kind="pixels",
        arrays=arrays,
        samples=len(rows),
        counts=dict(sorted(counts.items())),
    )


def refuse_unfit(workspace: Workspace, snapshot: Snapshot, config: Pixels) -> None:
    """Refuse data that cannot become such pixels.

    Raises:
        DataRefused: no snapshot of pictures, or pictures of another size than the Problem expects.
    """
    _check_size(cached_size(workspace, snapshot, "preprocessing pixels needs pictures"), config)


def _each(cache: np.ndarray, rows: np.ndarray, config: Pixels) -> Iterator[Prepared]:
    """The pictures in the order of the rows, several in the making at once."""
    return each_of(rows.tolist(), lambda row: prepared(cache[row], config))


def _check_size(cached: tuple[int, ...], config: Pixels) -> None:
    expected = (*config.size, config.channels)
    if config.resize is None:
        if cached != expected:
            raise DataRefused(
                "the pictures have another size than the Problem expects",
                expected=f"height, width, channels = {expected}",
                received=f"{tuple(cached)}",
                action="set size and channels of the preprocessing to the data's, or give data of that size; larger"
                " pictures are brought to it by resize: area",
            )
    elif len(cached) != 3 or cached[2] != config.channels or cached[0] < config.size[0] or cached[1] < config.size[1]:
        raise DataRefused(
            "the pictures cannot be brought to the size that the Problem expects",
            expected=f"height, width, channels of at least {expected}, channels as they are",
            received=f"{tuple(cached)}",
            action="set size and channels of the preprocessing to no more than the data's",
        )
