"""A folder of class folders, or of ``train|val|validation|test`` folders that hold class folders: PNG and JPEG.

    NORMAL/… PNEUMONIA/…      or      train/NORMAL/… train/PNEUMONIA/… test/NORMAL/… …

The road is the same for any such set; Kermany's chest radiographs (Kermany DS, et al. Identifying medical diagnoses and
treatable diseases by image-based deep learning. Cell 2018) are laid out like this. Each file becomes one row, by these
rules:

- The label is the folder's position in ``classes``. A publisher's folder becomes ``publisher_role``; it decides nothing
  unless the Problem's split asks for it.
- The subject is found in the file's name by a pattern. A name that does not match is nobody's picture: it is set aside,
  or all are refused (``unmatched``); never silently a subject of its own.
- A picture that cannot be read whole, or that no rule covers, keeps its row with a ``fault`` and black pixels, so that
  validation sets it aside and counts it. ``pictures.decoding`` holds the rules of pixels.
- Height, width, channels, bits and aspect are the original's. Grey levels and the content's hash are of the picture at
  the working size, which is what a model sees: two pictures that are equal there are copies of one.
- Rows are ordered by role, then by content, so that neither names nor the file system's order leave a trace.

``finding`` knows which files, with their role, label and subject; the rest is what all readers of pictures share.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from medai.errors import DataRefused
from medai.records import sha256_of
from medai.sources.files import token_of
from medai.sources.image_folder import finding
from medai.sources.image_folder.finding import Found
from medai.sources.pictures import tables
from medai.sources.pictures.decoding import LIBRARIES, Target, decode_file
from medai.sources.pictures.filling import fill, put_in_order
from medai.sources.pictures.listed import Cached
from medai.tables import Facts

__all__ = ["LIBRARIES", "SHAPE", "VERSION", "ImageFolder", "raw_files", "read"]

log = logging.getLogger(__name__)

VERSION = 4
SHAPE: Literal["images", "events"] = "images"


class ImageFolder(Cached):
    """Pictures in class folders.

    Attributes:
        classes: folder names in the order of their labels, 0 first; neither letters' case nor the way in which Unicode
            writes an accent matters, here and in the subject's name.
        ignore: folders that are neither class nor role and are passed over.
        subject: a pattern with a group named ``subject``, searched in the file's name; null: no file name tells, and
            each distinct picture stands for a subject of its own.
        unmatched: what follows when a name does not match: ``set_aside`` that picture, or ``refuse`` the set.
        labelled: False for pictures to predict: one picture or a folder of them, whose names need not say anything.
    """

    kind: Literal["image_folder"]
    classes: tuple[str, ...] = Field(min_length=2, max_length=1000)
    ignore: tuple[str, ...] = ()
    subject: str | None = None
    unmatched: Literal["set_aside", "refuse"] = "set_aside"
    labelled: bool = True

    def unlabelled(self) -> ImageFolder:
        """The same pictures without their labels. Any name will do: one that tells no subject makes its distinct
        picture a subject, so that only who is named can be known again.
        """
        return self.model_copy(update={"labelled": False})

    @field_validator("subject")
    @classmethod
    def _pattern_names_the_subject(cls, pattern: str | None) -> str | None:
        return finding.subject_pattern(pattern)

    @model_validator(mode="after")
    def _folders_are_told_apart(self) -> ImageFolder:
        names = [finding.folded(name) for name in (*self.classes, *self.ignore)]
        for name in names:
            if name in finding.ROLES:
                raise ValueError(f"{name!r} names a publisher's role and can be neither class nor ignored")
            if not name.strip() or "/" in name or "\\" in name or finding.is_passed_over(name):
                raise ValueError("classes and ignore are plain folder names that are not hidden")
        if len(set(names)) < len(names):
            raise ValueError("each folder must be named once, in classes or in ignore")
        return self


def raw_files(config: ImageFolder, path: Path) -> list[tuple[str, Path]]:
    """Every file of every class folder; its role names publisher's role and class, so that a moved file is other data.

    The role of a picture to predict names the folder that it lies in, by a token.

    Raises:
        DataRefused: no such folder, an unknown or missing class folder, a picture outside the class folders, a folder
            inside one, or a link that leaves the data.
    """
    return [(f"{_above(file, config.labelled)}/*", file.path) for file in _find(config, path).files]


def _find(config: ImageFolder, path: Path) -> finding.Finding:
    return finding.find(config.classes, config.ignore, path) if config.labelled else finding.find_unlabelled(path)


def _above(file: Found, labelled: bool) -> str:
    above = file.place.rpartition("/")[0]
    return above if labelled else token_of(sha256_of(above))


def read(config: ImageFolder, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers and ``pixels.npy``.

    The pixels are uint8, pictures × height × width × channels, by row_id. Each picture is decoded once, in a
    worker process; what the workers find is taken in a fixed order, so their number leaves no trace.

    Raises:
        DataRefused: as ``raw_files``, or a file's name tells no subject and ``unmatched`` is ``refuse``.
    """
    found = _find(config, path)
    if found.passed_over:  # not in the snapshot's counts: a hidden file must not change what equal data give
        log.info("ingest: %d hidden or system entries and files beside the class folders left out", found.passed_over)
    subjects = finding.subjects_of(config.subject, [file.path.name for file in found.files])
    nobody = sum(subject is None for subject in subjects)
    if config.subject is not None and config.labelled and config.unmatched == "refuse" and nobody:
        raise DataRefused(
            "file names do not tell whose pictures they are",
            expected="the pattern inputs.….source.subject to match each file's name",
            received=f"{nobody} of {len(subjects)} names without a match",
            action="correct the pattern, or set unmatched: set_aside to go on without these pictures",
        )
    target = Target(*config.size, config.channels, config.resize == "pad", config.white)
    files = [file.path for file in found.files]
    shape = (*config.size, config.channels)
    pictures = list(fill(folder / "pixels.npy", shape, partial(decode_file, target=target), files, lambda file: file))
    entries = [
        tables.Entry(file.place, file.role, subject, (file.label,))
        for file, subject in zip(found.files, subjects, strict=True)
    ]
    order = tables.arrange(entries, pictures)
    put_in_order(folder / "pixels.npy", order)
    return tables.write(
        "image_folder",
        [entries[at] for at in order],
        [pictures[at] for at in order],
        folder,
        named=config.subject is not None,
        labelled=config.labelled,
    )
