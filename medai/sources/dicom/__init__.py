"""DICOM as hospitals store it (PS3): files at any depth, or a medium with its DICOMDIR, and labels in a table beside.

Each frame becomes one row, by these rules:

- Whatever a file holds, it gives its pictures or a fault, in a worker process whose crash costs that file alone. A row
  with a fault has black pixels, and validation sets it aside and counts it.
- Levels are what a viewer shows: modality, then VOI, then presentation; ``rendering`` has the formulas, and the column
  ``voi`` says where the window came from. White is dense: MONOCHROME1 is turned round. The working picture is made and
  measured as all pictures are: see ``pictures.finishing``.
- The subject is the PatientID with its issuer. Identifiers and UIDs stand in the owner's tables alone; ``study`` and
  ``series`` are tokens that tell only what belongs together.
- ``time`` is the acquisition's, else the content's, the series' or the study's; ``known_time`` the latest at which the
  file says its picture was made or stored.
- One SOPInstanceUID under several contents, or one study under several patients, says that something was mixed up:
  none of those files is taken.
- A segmentation object is no picture. Where the Problem asks for ``masks``, it gives those of the pictures that it was
  drawn on, and ``masks.npy``, uint8 (pictures, height, width), lies beside the pixels.

    finding     which files
    elements    a file's data elements up to its pixels
    syntaxes    how a transfer syntax codes pixels
    headers     geometry, coding, and what is known of the picture
    fragments   encapsulated codestreams
    pixels      stored values
    rendering   stored values to levels
    decoding    one file to its pictures, in a worker
    waiting     where pixels wait for their row
    labels      the table of labels
    segments    one segmentation object to the masks of its pictures, in a worker
    masks       the masks of all pictures
    rows        what was decoded as canonical tables
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from medai.errors import ConfigurationError
from medai.records import Frozen, sha256_of
from medai.sources.dicom import finding
from medai.sources.files import token_of
from medai.tables import Facts

__all__ = ["SHAPE", "VERSION", "Dicom", "LabelTable", "SegmentMasks", "need_imaging", "raw_files", "read"]

log = logging.getLogger(__name__)

VERSION = 4
SHAPE: Literal["images", "events"] = "images"
LIBRARIES = ("pydicom", "imagecodecs", "opencv-python-headless", "highdicom")
"""What reads headers, codestreams and segments: another version may round a lossy one another way."""
_MODULES = ("pydicom", "imagecodecs", "cv2", "highdicom")

_MOST_FINDINGS = 254

Code = Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")]


class LabelTable(Frozen):
    """Where labels stand.

    Attributes:
        path: a CSV or Parquet file, relative to the data.
        key: what joins a row to its pictures.
        column: the column that holds the key; named like the key when left out.
        columns: label columns. One becomes the column ``label``, several keep their names.
        values: word → class number; without it, cells are whole numbers, or true and false. An empty cell is untold.
    """

    path: str
    key: Literal["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "file"]
    column: str | None = None
    columns: tuple[str, ...] = Field(min_length=1, max_length=1000)
    values: dict[str, int] = Field(default={})

    @field_validator("path")
    @classmethod
    def _path_lies_below(cls, path: str) -> str:
        place = PurePosixPath(path)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\\" in path or "\0" in path:
            raise ValueError("a table of labels is a relative path without '..', below the data")
        return path

    @field_validator("columns")
    @classmethod
    def _columns_are_apart(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns) or "row_id" in columns:
            raise ValueError("each label column is named once, and none is called row_id")
        return columns

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the labels table."""
        return ("label",) if len(self.columns) == 1 else self.columns


class SegmentMasks(Frozen):
    """Which segments of the segmentation objects among the pictures are asked for.

    Attributes:
        segments: SegmentLabel → class number, 1 to the number of findings; several labels may mean one finding.
        missing: what follows when no segmentation was drawn on a picture: ``refuse`` the set, or ``no_finding``: it
            shows none.
    """

    segments: dict[str, int] = Field(min_length=1, max_length=1000)
    missing: Literal["refuse", "no_finding"] = "refuse"

    @field_validator("segments")
    @classmethod
    def _numbers_are_classes(cls, segments: dict[str, int]) -> dict[str, int]:
        found = sorted(set(segments.values()))
        if found != list(range(1, len(found) + 1)) or len(found) > _MOST_FINDINGS:
            raise ValueError("segments are numbered from 1 on, without a gap; 0 is the background")
        return segments


class Dicom(Frozen):
    """DICOM files.

    Attributes:
        labels: the table of labels; null where masks are learnt from, or pictures are to be predicted.
        masks: the segments that are looked for, where masks are learnt from.
        size: height and width of the pixel cache.
        channels: of the pixel cache: 1 for grey, 3 for RGB.
        resize: ``stretch`` each side to the size, or ``pad``: keep the aspect ratio, in the middle of black.
        window: ``header``: the file's own VOI, and the range of its values where it has none; ``range`` or
            ``percentiles`` of its values (0.5 % to 99.5 %); or a centre and a width in modality values, such as
            [40, 400] for soft tissue in Hounsfield units.
        frames: of a file of several: ``each`` a row, or the ``first`` or ``middle`` one alone.
        views, modalities: what the question is about; pictures that say that they are another are set aside.
        labelled: False for pictures to predict: one file or a folder of them.
    """

    kind: Literal["dicom"]
    labels: LabelTable | None = None
    masks: SegmentMasks | None = None
    size: tuple[int, int]
    channels: Literal[1, 3] = 1
    resize: Literal["stretch", "pad"] = "stretch"
    window: Literal["header", "range", "percentiles"] | tuple[float, Annotated[float, Field(gt=1)]] = "header"
    frames: Literal["each", "first", "middle"] = "each"
    views: tuple[Code, ...] = ()
    modalities: tuple[Code, ...] = ()
    labelled: bool = True

    def unlabelled(self) -> Dicom:
        """The same pictures without their labels."""
        return self.model_copy(update={"labelled": False, "labels": None, "masks": None})

    @property
    def findings(self) -> int:
        """How many findings the masks tell apart; 0 without masks."""
        return 0 if self.masks is None else max(self.masks.segments.values())

    @field_validator("size")
    @classmethod
    def _size_is_possible(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(1 <= side <= 4096 for side in size):
            raise ValueError("height and width must lie between 1 and 4096")
        return size

    @model_validator(mode="after")
    def _labels_are_somewhere(self) -> Dicom:
        if self.labelled and (self.labels is None) == (self.masks is None):
            raise ValueError(
                "labels are needed: DICOM files carry no label themselves; name their table in labels, or the segments"
                " of their segmentation objects in masks"
            )
        return self


def raw_files(config: Dicom, path: Path) -> list[tuple[str, Path]]:
    """The DICOM files, the DICOMDIR that lists them, and the table of labels.

    Where labels go by a file's place, its role names the folder that it lies in, by a token, so that a moved file is
    other data.

    Raises:
        DataRefused: as ``finding.find``, or the table of labels is missing or leaves the data.
        ConfigurationError: the extra ``imaging`` is not installed.
    """
    found = _find(config, path)
    placed = config.labels is not None and config.labels.key == "file"
    files = [(f"{_above(file.place)}/*" if placed else "files/*", file.path) for file in found.files]
    if found.directory is not None:
        files.append(("directory", found.directory))
    if config.labels is not None:
        files.append(("labels", finding.table_below(path, config.labels.path)))
    return files


def _above(place: str) -> str:
    return "files-" + token_of(sha256_of(place.rpartition("/")[0]))


def _find(config: Dicom, path: Path) -> finding.Finding:
    need_imaging()
    return finding.find(path, frozenset(() if config.labels is None else (config.labels.path,)))


def need_imaging() -> None:
    """Ask for the extra that reads and writes DICOM.

    Raises:
        ConfigurationError: it is not installed.
    """
    lacking = [module for module in _MODULES if importlib.util.find_spec(module) is None]
    if lacking:
        raise ConfigurationError(
            "DICOM files need packages that are not installed",
            expected="medai with its extra 'imaging'",
            received=f"no module {', '.join(lacking)}",
            action="pip install '.[imaging]' in the folder that medai was cloned to",
        )


def read(config: Dicom, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers, ``pixels.npy`` and, where asked for, ``masks.npy``.

    The pixels are uint8, pictures × height × width × channels, by row_id. Each file is decoded once, in a worker; what
    the workers find is taken in a fixed order, so their number leaves no trace.

    Raises:
        DataRefused: as ``raw_files``, or the table of labels or the segmentations cannot be followed.
    """
    from medai.sources.dicom.labels import labels_of
    from medai.sources.dicom.rows import decode_all, write
    from medai.sources.dicom.waiting import waiting_in

    found = _find(config, path)
    if found.passed_over:  # not in the snapshot's counts: a hidden file must not change what equal data give
        log.info("ingest: %d files that are no DICOM, by name and content, left out", found.passed_over)
    labels = None if config.labels is None else labels_of(config.labels, path / config.labels.path)
    noticed: dict[str, Any] = {"file_not_in_dicomdir": found.unlisted}
    with waiting_in(folder) as waiting:
        taken = decode_all(config, found.files, waiting)
        return write(config, taken, waiting, labels, folder, noticed)
