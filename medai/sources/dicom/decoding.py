"""One DICOM file to its pictures of the working size, or to the reason why it gives none; runs in a worker process.

The header is read before any pixel and compared with them; ``headers``, ``pixels`` and ``rendering`` hold the rules. A
file gives all the frames that were asked for, or one fault: half a run of images is never taken for the whole.
"""

from __future__ import annotations

import hashlib
import mmap
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from medai.sources.dicom.elements import Fault, Opened, open_elements
from medai.sources.dicom.headers import Facts, Header, facts_of, header_of
from medai.sources.dicom.pixels import Frame, frames_of
from medai.sources.dicom.rendering import (
    Window,
    Windowing,
    colours_of,
    grey_of,
    levels_of,
    presentation_of,
)
from medai.sources.dicom.segments import SEGMENTATION
from medai.sources.pictures import finishing
from medai.sources.pictures.finishing import Decoded, finished

if TYPE_CHECKING:
    import numpy as np

FILE_LIMIT = 4 << 30
"""Most bytes of a file; a run of breast tomosynthesis has some hundred million."""
_ANSWER_LIMIT = 256 << 20
"""Most bytes of working pictures that one file may give."""

FAULTS = (
    "not_dicom", "no_preamble", "damaged_header", "no_transfer_syntax", "unknown_transfer_syntax", "video", "no_pixels",
    "pixels_elsewhere", "unknown_photometric", "unknown_bit_depth", "bits_contradict", "decompression_bomb",
    "truncated_pixels", "length_mismatch", "frames_mismatch", "damaged_pixels", "beyond_bits_stored",
    "colours_contradict", "order_of_words_unknown", "not_finite",
)  # fmt: skip
"""Why a file gives no picture; the suite ``dicom`` explains each."""

Frames = Literal["each", "first", "middle"]


class Target(NamedTuple):
    """What a frame becomes: height, width and channels; padded or stretched; its window; which frames are taken."""

    height: int
    width: int
    channels: int
    pad: bool
    windowing: Windowing | Window
    frames: Frames


class Picture(NamedTuple):
    """A frame, from 0, as a working picture, and how its levels came about (see ``rendering.levels_of``)."""

    frame: int
    decoded: Decoded
    voi: str | None


class Answer(NamedTuple):
    """What a file gives: one picture with a fault, or its frames' pictures.

    Attributes:
        facts, header: None where the file was not read so far.
        syntax: its transfer syntax.
        segments: it is a segmentation object, which shows no patient itself.
    """

    pictures: tuple[Picture, ...]
    facts: Facts | None
    header: Header | None
    syntax: str | None
    segments: bool = False


@cache
def prepare() -> None:
    """Import what every task needs, on one thread; before workers are born, which then have it at once."""
    import imagecodecs  # noqa: F401
    import pydicom.filereader  # noqa: F401

    from medai.sources.pictures import decoding

    decoding.prepare()


def decode_file(path: Path, target: Target) -> Answer:
    """Decode a file; its bytes are mapped, not copied."""
    size = path.stat().st_size
    if not size or size > FILE_LIMIT:
        return _faulty(_file_hash(path), "not_dicom" if not size else "decompression_bomb")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return decode(data, target)  # unmapped when nothing looks at it any more


def decode(data: bytes | mmap.mmap, target: Target) -> Answer:
    """Decode a file's bytes; whatever they hold, the answer is its pictures or a fault."""
    prepare()
    opened: Opened | None = None
    facts: Facts | None = None
    header: Header | None = None
    try:
        opened = open_elements(data)
        if opened.elements.word("SOPClassUID") in SEGMENTATION:
            raise Fault("no_pixels")
        facts = facts_of(opened.elements)
        header = header_of(opened)
        found = tuple(_pictures(opened, header, target))
    except Fault as fault:
        digest = hashlib.sha256(b"file\0")
        digest.update(data)
        answer = _faulty(digest.hexdigest(), fault.reason)
        return answer._replace(
            pictures=tuple(_measured(picture, header) for picture in answer.pictures),
            facts=facts,
            header=header,
            syntax=opened.syntax if opened is not None else None,
            segments=opened is not None and opened.elements.word("SOPClassUID") in SEGMENTATION,
        )
    return Answer(found, facts, header, opened.syntax)


def _faulty(digest: str, reason: str) -> Answer:
    return Answer((Picture(0, Decoded(digest, reason), None),), None, None, None)


def _measured(picture: Picture, header: Header | None) -> Picture:
    if header is None:
        return picture
    geometry = {"height": header.rows, "width": header.columns, "channels": header.samples, "bits": header.stored}
    return picture._replace(decoded=picture.decoded._replace(**geometry))  # type: ignore[arg-type]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.sha256, b"file\0")).hexdigest()


def _pictures(opened: Opened, header: Header, target: Target) -> list[Picture]:
    import numpy as np

    chosen = {"each": range(header.frames), "first": range(1), "middle": range(mid := header.frames // 2, mid + 1)}
    wanted = chosen[target.frames]
    if len(wanted) * target.height * target.width * target.channels > _ANSWER_LIMIT:
        raise Fault("decompression_bomb")
    working = finishing.Target(target.height, target.width, target.channels, target.pad, 255)
    found = []
    for number, frame in zip(wanted, frames_of(opened, header, wanted), strict=True):
        levels, voi = _levels(frame, opened, header, target, number)
        decoded = finished(np.ascontiguousarray(levels), working, Decoded(""))
        found.append(_measured(Picture(number, decoded, voi), header))
    return found


def _levels(frame: Frame, opened: Opened, header: Header, target: Target, number: int) -> tuple[np.ndarray, str | None]:
    """The frame at full size as uint8, grey or in the target's channels."""
    if frame.photometric.startswith("MONOCHROME"):
        return levels_of(frame, header, presentation_of(opened.elements, header, number), target.windowing)
    colours = colours_of(frame, header, opened.elements)
    return (grey_of(colours) if target.channels == 1 else colours), None
