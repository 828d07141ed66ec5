"""Volumes to a uint8 array (samples, depth, height, width, 1), from the pixel cache that ``ingest`` wrote.

Either each row of the cache is a volume already (MedMNIST in 3-D), or it is one slice of a series (CT, MR), and a
series' slices become a volume at the Problem's spacing: see ``resampling``. A series' place in the table of images is
told by these columns, beside those of every picture:

    series            which slices belong together
    slice_position    millimetres along the normal of the slices: the dot product of ImagePositionPatient with the
                      cross product of ImageOrientationPatient's row and column (DICOM PS3.3 C.7.6.2.1.1)
    spacing_down      millimetres between the middles of two rows of the picture as it lies in the cache
    spacing_across    the same of two columns (DICOM PS3.3 10.7.1.3, PixelSpacing, by which it was made smaller)
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medai.errors import ConfigurationError, DataRefused
from medai.preprocessing.cache import cached_size
from medai.preprocessing.volume.resampling import Stack, resampled
from medai.records import ArrayFile, Arrays, Cohort, Frozen, QualityReport, Snapshot
from medai.threads import each_of

if TYPE_CHECKING:
    import numpy as np

    from medai.workspace import Workspace

VERSION = 1
_BYTES = 64 << 20
"""Copied at a time."""

Voxels = Annotated[int, Field(ge=1, le=1024)]
Millimetres = Annotated[float, Field(gt=0, le=100)]


class Volume(Frozen):
    """Volumes of one size.

    Attributes:
        size: voxels along depth, height and width.
        spacing: millimetres from voxel to voxel along depth, height and width, to which each series is resampled about
            its middle; the cohort is then one of ``series``. Null: each row of the data is a volume of this size.
    """

    kind: Literal["volume"]
    size: tuple[Voxels, Voxels, Voxels]
    spacing: tuple[Millimetres, Millimetres, Millimetres] | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that resampling needs, and whose version may change its bytes."""
        return () if self.spacing is None else ("simpleitk",)


def need_libraries(config: Volume) -> None:
    """Look whether what resampling needs is installed.

    Raises:
        ConfigurationError: it is not.
    """
    for library in config.libraries:
        try:
            version(library)
        except PackageNotFoundError:
            raise ConfigurationError(
                f"spacing of the preprocessing needs the package {library}",
                expected="medai with its extra imaging",
                received="medai without it",
                action="pip install '.[imaging]' in the folder that medai was cloned to",
            ) from None


def write(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    cohort: Cohort,
    config: Volume,
    key: str,
    folder: Path,
) -> Arrays:
    """Bring the cohort's volumes over, in the order of sample_id.

    Raises:
        DataRefused: no snapshot of pictures; volumes of another size; or slices where volumes are, and the reverse.
    """
    import numpy as np
    import polars as pl

    from medai.tables import new_pixels, read_table, write_table

    refuse_unfit(workspace, snapshot, config)
    raw = workspace.folder("ingest", snapshot.key)
    samples = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet", ["sample_id"]))
    cache = np.load(raw / "pixels.npy", mmap_mode="r")
    rows = samples["sample_id"].to_numpy()
    shape = (*config.size, 1)
    target = new_pixels(folder / "volume.npy", (len(rows), *shape))
    counts: dict[str, int] = {}
    if config.spacing is None:
        step = max(1, _BYTES // int(np.prod(shape)))
        for start in range(0, len(rows), step):
            target[start : start + step] = cache[rows[start : start + step]]
    else:
        aside = workspace.folder("validate", quality.key)
        for row, (volume, cut) in enumerate(_volumes(raw, aside, cache, rows, config)):
            target[row] = volume
            if cut:
                counts["volume_cut_to_size"] = counts.get("volume_cut_to_size", 0) + 1
    target.flush()
    del target
    write_table(folder / "samples.parquet", samples.with_row_index("row").cast({"row": pl.Int64}).to_arrow())
    (folder / "samples.parquet").chmod(0o600)
    return Arrays(
        key=key,
        kind="volume",
        arrays={"volume": ArrayFile(file="volume.npy", dtype="uint8", shape=(len(rows), *shape))},
        samples=len(rows),
        counts=counts,
    )


def refuse_unfit(workspace: Workspace, snapshot: Snapshot, config: Volume) -> None:
    """Refuse data that cannot become such volumes.

    Raises:
        DataRefused: no snapshot of pictures; volumes of another size; or slices where volumes are, and the reverse.
    """
    _check_cache(
        cached_size(workspace, snapshot, "preprocessing volume needs volumes, or pictures that are slices of one"),
        config,
    )


def _check_cache(cached: tuple[int, ...], config: Volume) -> None:
    expected = (*config.size, 1)
    if config.spacing is None and cached != expected:
        raise DataRefused(
            "the volumes have another size than the Problem expects",
            expected=f"depth, height, width, channels = {expected}",
            received=f"{tuple(cached)}",
            action="set size of the preprocessing to the data's; slices of a series need a spacing, too",
        )
    if config.spacing is not None and (len(cached) != 3 or cached[2] != 1):
        raise DataRefused(
            "a spacing is asked for, and the data are no slices",
            expected="grey pictures: height, width, channels = (…, …, 1)",
            received=f"{tuple(cached)}",
            action="leave spacing of the preprocessing out: such volumes say nothing of millimetres",
        )


def _volumes(
    raw: Path, aside: Path, cache: np.ndarray, samples: np.ndarray, config: Volume
) -> Iterator[tuple[np.ndarray, bool]]:
    """Each sample's volume, and whether the series reaches beyond it; several in the making at once."""
    import polars as pl

    from medai.cohort.slices import kept_slices

    slices = kept_slices(raw, aside)
    series = slices.filter(pl.col("row_id").is_in(samples.tolist())).sort("row_id")["series"].to_list()
    parts = slices.partition_by("series", as_dict=True)

    def made(name: str) -> tuple[np.ndarray, bool]:
        part = parts[name,]
        first = part.row(0, named=True)
        stack = Stack(
            levels=cache[part["row_id"].to_numpy(), :, :, 0],
            positions=part["slice_position"].to_numpy(),
            down=first["spacing_down"],
            across=first["spacing_across"],
        )
        assert config.spacing is not None  # noqa: S101 - asked by the caller
        return resampled(stack, config.size, config.spacing)

    for volume, cut in each_of(series, made):
        yield volume[..., None], cut
