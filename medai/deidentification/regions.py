"""Where a site vouches that its devices write, and nowhere else: those rectangles are blanked, and 113101 is stamped.

A YAML file of the site's own says it for one layout of one kind of device each:

    regions:
      - sop_class: 1.2.840.10008.5.1.4.1.1.6.1     # ultrasound
        manufacturer: ACME                         # as the file says it; left out: any
        model: SONO 5
        rows: 480
        columns: 640
        blank: [[0, 0, 640, 40], [600, 0, 40, 480]]  # left, top, width, height in pixels

A picture that no rule describes is set aside as before. After blanking every frame is looked through for text like any
other (``burned_in``), so that a device whose layout has changed is noticed. What was compressed is stored uncompressed:
a codec would smear what it is given over a rectangle's edge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from medai.deidentification.outcomes import SetAside
from medai.deidentification.told import reading, text_of, value_of, whole_of
from medai.records import Frozen
from medai.yaml_files import read_as

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import Dataset

EXPLICIT = "1.2.840.10008.1.2.1"
"""The transfer syntax of pixels that were decompressed to be blanked."""
_BLACK = {"YBR_FULL": (0, 128, 128)}
"""Photometric interpretation → black, where it is not zero."""
_PIXELS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3}
"""Photometric interpretations whose values lie one pixel after the other, or one plane after the other; and samples."""

Edge = Annotated[int, Field(ge=0, le=1 << 16)]
Side = Annotated[int, Field(ge=1, le=1 << 16)]
Rectangle = tuple[Edge, Edge, Side, Side]
"""Left, top, width, height, in pixels."""


class Region(Frozen):
    """A layout that a site vouches for.

    Attributes:
        sop_class, rows, columns: of the pictures that are meant.
        manufacturer, model: of the device, as the file says them; any where left out.
        blank: where it writes.
    """

    sop_class: str = Field(pattern=r"^[0-9.]{1,64}$")
    rows: Side
    columns: Side
    manufacturer: str | None = Field(None, min_length=1, max_length=64)
    model: str | None = Field(None, min_length=1, max_length=64)
    blank: tuple[Rectangle, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _lies_in_the_picture(self) -> Region:
        for left, top, width, height in self.blank:
            if left + width > self.columns or top + height > self.rows:
                raise ValueError(f"a rectangle of blank leaves the picture of {self.columns} × {self.rows}")
        return self

    def describes(self, dataset: Dataset) -> bool:
        """Whether a data set is of this layout."""
        said = {
            "SOPClassUID": self.sop_class,
            "Rows": str(self.rows),
            "Columns": str(self.columns),
            "Manufacturer": self.manufacturer,
            "ManufacturerModelName": self.model,
        }
        return all(
            told is None or str(value_of(dataset, keyword) or "").strip() == told for keyword, told in said.items()
        )


class Regions(Frozen):
    """A site's rules; the first that describes a picture counts."""

    regions: tuple[Region, ...] = Field(min_length=1, max_length=1000)

    def of(self, dataset: Dataset) -> Region | None:
        """The rule for a picture; None where nobody vouches for it."""
        return next((region for region in self.regions if region.describes(dataset)), None)


def read_regions(path: Path) -> Regions:
    """The rules of a file.

    Raises:
        ConfigurationError: it cannot be read or followed.
    """
    return read_as(Regions, path, "file of regions")


def plain(dataset: Dataset, syntax: str, compressed: bool) -> str:
    """Make a data set's pixels such that they can be blanked: uncompressed whole numbers, pixel by pixel.

    Returns:
        Its transfer syntax now.

    Raises:
        SetAside: they cannot be.
    """
    if compressed:
        with reading():
            dataset.decompress(as_rgb=False, generate_instance_uid=False)
        syntax = EXPLICIT
    samples = _PIXELS.get(text_of(dataset, "PhotometricInterpretation"))
    fits = samples == whole_of(dataset, "SamplesPerPixel", 1) and whole_of(dataset, "BitsAllocated") in (8, 16, 32)
    if not fits or "PixelData" not in dataset:
        raise SetAside("region_not_blanked")
    return syntax


def blank(dataset: Dataset, region: Region, order: str) -> None:
    """Blank a region's rectangles in every frame of uncompressed pixels, and say so.

    Args:
        dataset: as it is to be written; its pixels are as long as its header says.
        order: byte order of its values, ``<`` or ``>``.

    Raises:
        SetAside: what its pixels are laid out by has gone with its wrong type.
    """
    import numpy as np

    photometric = text_of(dataset, "PhotometricInterpretation")
    if photometric not in _PIXELS or "PixelData" not in dataset:  # of another type than the standard's, and gone
        raise SetAside("region_not_blanked")
    samples = _PIXELS[photometric]
    rows, columns, bits = (whole_of(dataset, name) for name in ("Rows", "Columns", "BitsAllocated"))
    values = np.frombuffer(value_of(dataset, "PixelData"), f"{order}u{bits // 8}").copy()
    size = rows * columns * samples
    frames: Any = values[: values.size // size * size]
    if samples > 1 and whole_of(dataset, "PlanarConfiguration", 0):
        frames = frames.reshape(-1, samples, rows, columns).transpose(0, 2, 3, 1)
    else:
        frames = frames.reshape(-1, rows, columns, samples)
    black: np.ndarray = np.array(_BLACK.get(photometric, (0,) * samples), values.dtype)
    for left, top, width, height in region.blank:
        frames[:, top : top + height, left : left + width] = black
    dataset.PixelData = values.tobytes()
    dataset.BurnedInAnnotation = "NO"
