"""A folder ``images`` of pictures beside a folder ``masks`` that shows where in them each finding lies: PNG and JPEG.

    images/p7_1.png      masks/p7_1.png              the mask of that picture, by its equal name
    images/p7_2.jpeg     masks/p7_2_mask1.png …      several masks of one picture, by _mask after its name: united

Pictures are read as ``image_folder`` reads them (``medai.sources.pictures.decoding``), and masks by these rules:

- A mask is a PNG of its picture's height and width, as a viewer shows both. It holds 0 and 255, or 0 and 1; where the
  Problem asks for several findings, their numbers, and 0. Anything else is a fault of the picture.
- Masks of one picture are united; where two findings overlap, the larger number stands.
- A picture without a mask is refused, unless ``missing`` says that it shows no finding. A mask without a picture is
  always refused.
- At the working size a pixel is of a finding where at least half of the area that it covers is; of several classes it
  takes the one with the largest share, the larger number of equals. A finding too small for that keeps the pixel that
  holds most of it, so that none is lost.

Beside the tables of pictures lies ``masks.npy``, uint8 (pictures, height, width), by row_id: 0 for background and k for
the k-th finding. The labels table says of each picture whether it shows any finding (``label``), on which share of its
pixels (``share``), and the hash of its mask (``mask_hash``), so that equal pictures with different masks are found.

    pairs       which mask is whose
    decoding    a picture's and its masks' bytes to pixels
"""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from medai.errors import DataRefused
from medai.records import sha256_of
from medai.sources.files import token_of
from medai.sources.image_folder import finding
from medai.sources.image_masks import decoding, pairs
from medai.sources.image_masks.pairs import Pair
from medai.sources.pictures import tables
from medai.sources.pictures.decoding import Target
from medai.sources.pictures.filling import fill
from medai.sources.pictures.listed import Cached
from medai.tables import SPACING, Facts, new_pixels

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.pictures.decoding import Decoded

__all__ = ["SHAPE", "VERSION", "ImageMasks", "raw_files", "read"]

log = logging.getLogger(__name__)

VERSION = 2
SHAPE: Literal["images", "events"] = "images"
LIBRARIES = ("pillow",)
"""Decoding and resizing are Pillow's: another version may round another way."""

_LABELS = {"label": "int64", "share": "float64", "mask_hash": "string"}
_SPACING = dict.fromkeys(SPACING, "float64")
_BYTES = 64 << 20
"""Bytes of rows that are put in their order at a time."""


class ImageMasks(Cached):
    """Pictures with masks.

    Attributes:
        findings: how many findings a mask tells apart.
        missing: what follows when a picture has no mask: ``refuse`` the set, or ``no_finding``: it shows none.
        subject: a pattern with a group named ``subject``, searched in the picture's file name; null: no file name
            tells, and each distinct picture stands for a subject of its own.
        unmatched: what follows when a name does not match: ``set_aside`` that picture, or ``refuse`` the set.
        spacing: millimetres between the centres of neighbouring pixels of the originals, the same down and across;
            null where it is not known.
        labelled: False for pictures to predict, whose masks are neither needed nor read.
    """

    kind: Literal["image_masks"]
    findings: int = Field(1, ge=1, le=254)
    missing: Literal["refuse", "no_finding"] = "refuse"
    subject: str | None = None
    unmatched: Literal["set_aside", "refuse"] = "set_aside"
    spacing: float | None = Field(None, gt=0, le=100)
    labelled: bool = True

    def unlabelled(self) -> ImageMasks:
        """The same pictures without their masks."""
        return self.model_copy(update={"labelled": False})

    @field_validator("subject")
    @classmethod
    def _pattern_names_the_subject(cls, pattern: str | None) -> str | None:
        return finding.subject_pattern(pattern)


def raw_files(config: ImageMasks, path: Path) -> list[tuple[str, Path]]:
    """Every picture and every mask; a role names the folder.

    Raises:
        DataRefused: no such folders, pictures outside them, two pictures of one name, a mask without a picture, a
            picture without a mask where that is refused, or a link that leaves the data.
    """
    if not config.labelled:
        return [(f"{token_of(sha256_of(pair.above))}/*", pair.picture) for pair in pairs.find_unlabelled(path)]
    found = pairs.find(path, config.missing == "refuse")
    return [("images/*", pair.picture) for pair in found] + [("masks/*", mask) for pair in found for mask in pair.masks]


def read(config: ImageMasks, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers, ``pixels.npy`` and, unless unlabelled, ``masks.npy``.

    Raises:
        DataRefused: as ``raw_files``, or a file's name tells no subject and ``unmatched`` is ``refuse``.
    """
    found = pairs.find(path, config.missing == "refuse") if config.labelled else pairs.find_unlabelled(path)
    subjects = finding.subjects_of(config.subject, [pair.picture.name for pair in found])
    nobody = sum(subject is None for subject in subjects)
    if config.subject is not None and config.labelled and config.unmatched == "refuse" and nobody:
        raise DataRefused(
            "file names do not tell whose pictures they are",
            expected="the pattern inputs.….source.subject to match each picture's name",
            received=f"{nobody} of {len(subjects)} names without a match",
            action="correct the pattern, or set unmatched: set_aside to go on without these pictures",
        )
    target = Target(*config.size, config.channels, config.resize == "pad", config.white)
    both = folder / "both.npy"  # each row a picture, and its mask behind its channels
    decode = partial(decoding.decode_pair, target=target, findings=config.findings)
    shape = (*config.size, config.channels + 1)
    pictures = list(fill(both, shape, decode, found, lambda pair: pair.picture))
    entries = _entries(config, found, pictures, subjects, both)
    order = tables.arrange(entries, pictures)
    _divide(both, order, folder, config.labelled)
    both.unlink()
    facts = tables.write(
        "image_masks",
        [entries[at] for at in order],
        [pictures[at] for at in order],
        folder,
        labels=_LABELS,
        attributes=_SPACING,
        named=config.subject is not None,
        labelled=config.labelled,
    )
    without = sum(not pair.masks for pair in found) if config.labelled else 0
    return facts.model_copy(update={"counts": facts.counts | {"picture_without_mask": without}}) if without else facts


def _entries(
    config: ImageMasks, found: list[Pair], pictures: list[Decoded], subjects: list[str | None], both: Path
) -> list[tables.Entry]:
    import numpy as np

    rows = np.load(both, mmap_mode="r")
    entries = []
    for at, (pair, picture, subject) in enumerate(zip(found, pictures, subjects, strict=True)):
        labels: tuple[int | float | str | None, ...] = (None, None, None)
        if config.labelled:
            mask = np.ascontiguousarray(rows[at, :, :, -1])
            share = np.count_nonzero(mask) / mask.size
            labels = int(share > 0), share, hashlib.sha256(mask.tobytes()).hexdigest()
        entries.append(tables.Entry(pair.place, pair.role, subject, labels, _spacing(config, picture)))
    return entries


def _spacing(config: ImageMasks, picture: Decoded) -> tuple[float | None, float | None]:
    """Millimetres between pixels of the working size, down and across."""
    if config.spacing is None or picture.fault is not None:
        return None, None
    high, wide = decoding.inner((picture.height, picture.width), config.size, pad=config.resize == "pad")
    return config.spacing * picture.height / high, config.spacing * picture.width / wide


def _divide(both: Path, order: np.ndarray, folder: Path, labelled: bool) -> None:
    """Pictures and masks into files of their own, in the order of rows."""
    import numpy as np

    rows = np.load(both, mmap_mode="r")
    pixels = new_pixels(folder / "pixels.npy", (*rows.shape[:3], rows.shape[3] - 1))
    masks = new_pixels(folder / "masks.npy", rows.shape[:3]) if labelled else None
    step = max(1, _BYTES // rows[:1].size)
    for start in range(0, len(order), step):
        block = rows[order[start : start + step]]
        pixels[start : start + step] = block[..., :-1]
        if masks is not None:
            masks[start : start + step] = block[..., -1]
    for written in (pixels, masks):
        if written is not None:
            written.flush()
