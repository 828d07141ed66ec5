"""One DICOM file to its pictures of the working size, or to the reason why it gives none; runs in a worker process.

The header is read before any pixel and compared with them; ``headers``, ``pixels`` and ``rendering`` hold the rules. A
file gives all the frames that were asked for, or one fault: half a run of images is never taken for the whole.
"""

from __future__ import annotations

import hashlib
import mmap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from medai.sources.dicom.area import by_area
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
from medai.sources.pictures import content_hash, grey_levels
from medai.sources.pictures.decoding import Decoded

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
    """

    pictures: tuple[Picture, ...]
    facts: Facts | None
    header: Header | None
    syntax: str | None


def prepare() -> None:
    """Import what every task needs, once, before workers are born of this process."""
    import cv2
    import imagecodecs  # noqa: F401

    cv2.setNumThreads(1)


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
    opened: Opened | None = None
    facts: Facts | None = None
    header: Header | None = None
    try:
        opened = open_elements(data)
        facts = facts_of(opened.elements)
        header = header_of(opened)
        pictures = tuple(_pictures(opened, header, target))
    except Fault as fault:
        digest = hashlib.sha256(b"file\0")
        digest.update(data)
        answer = _faulty(digest.hexdigest(), fault.reason)
        return answer._replace(
            pictures=tuple(_measured(picture, header) for picture in answer.pictures),
            facts=facts,
            header=header,
            syntax=opened.syntax if opened is not None else None,
        )
    return Answer(pictures, facts, header, opened.syntax)


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
    chosen = {"each": range(header.frames), "first": range(1), "middle": range(mid := header.frames // 2, mid + 1)}
    wanted = chosen[target.frames]
    if len(wanted) * target.height * target.width * target.channels > _ANSWER_LIMIT:
        raise Fault("decompression_bomb")
    pictures = []
    for number, frame in zip(wanted, frames_of(opened, header, wanted), strict=True):
        levels, voi = _levels(frame, opened, header, target, number)
        decoded = _measured(Picture(number, _finished(levels, target), voi), header)
        pictures.append(decoded)
    return pictures


def _levels(frame: Frame, opened: Opened, header: Header, target: Target, number: int) -> tuple[np.ndarray, str | None]:
    """The frame at full size as uint8, in the target's channels."""
    import numpy as np

    if frame.photometric.startswith("MONOCHROME"):
        how = presentation_of(opened.elements, header, number)
        grey, voi = levels_of(frame, header, how, target.windowing)
        return (grey if target.channels == 1 else np.repeat(grey[..., None], 3, axis=2)), voi
    colours = colours_of(frame, header, opened.elements)
    return (grey_of(colours) if target.channels == 1 else colours), None


def _finished(levels: np.ndarray, target: Target) -> Decoded:
    """The picture at the working size, and measured; padding is black."""
    import numpy as np

    rows, columns = levels.shape[:2]
    high, wide = target.height, target.width
    if target.pad:
        scale = min(wide / columns, high / rows)
        wide, high = min(wide, max(1, round(columns * scale))), min(high, max(1, round(rows * scale)))
    small = by_area(levels, high, wide)
    pixels = np.zeros((target.height, target.width, target.channels), np.uint8)
    top, left = (target.height - high) // 2, (target.width - wide) // 2
    pixels[top : top + high, left : left + wide] = small.reshape(high, wide, target.channels)
    mean, spread, least, most = grey_levels(np.ascontiguousarray(small).reshape(1, -1))[0].tolist()
    return Decoded(content_hash(pixels), None, pixels, levels=(mean, spread, least, most))
