"""One file's bytes to one picture of the working size. What no rule covers gets a fault, never a guess.

- The type is the content's, not the name's; the header is read before any pixel, and a picture of more than
  ``PIXEL_LIMIT`` pixels is never decoded.
- A file must be whole: each PNG chunk agrees with its checksum up to the end mark, and its rows are all there (Pillow
  leaves missing ones black); a JPEG's last scan is closed by its end mark, the decoder met no byte that does not belong
  there, and its last row of blocks is not all the mid grey that a decoder fills in. (A JPEG has no checksum: bytes
  altered within a scan that still can be read cannot be known.)
- Grey of 1, 2 and 4 bits is spread to 0–255. 16-bit grey is scaled from 0–``white`` to 0–255 and rounded; a level above
  white is a fault. 16-bit colour, and 16-bit grey with alpha, keep their high byte.
- A palette is resolved to its colours; a pixel beyond it, or no palette at all, is a fault, as the PNG specification
  says (section 11.2.2), and not the black that Pillow gives.
- What is transparent is laid on black; CMYK becomes RGB by Pillow's formula.
- Colour becomes grey by ITU-R BT.601's luma, which a JPEG stores as it is; grey becomes colour in three equal channels.
- EXIF's orientation is applied: a picture lies as a viewer shows it.
- A PNG of several frames is a fault: none of them is the picture. Of a JPEG that carries further pictures (MPO), the
  first is the picture.
- A JPEG is decoded at 1/8, 2/8, 3/8 or 4/8, where the inverse transform takes the mean, as long as at least 9/8 of the
  working size are left: at most about one level (root mean square) from the exact mean, in half the time. What is left
  of it is resized as any picture; ``finishing`` holds the rules of the working size.

What is common goes the quick way, ``png`` and ``jpeg``; palettes, alpha, other depths, print's colours and interlaced
rows go by Pillow. Both ways end in the same resizing and measuring.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.files import what_is
from medai.sources.pictures import jpeg, png
from medai.sources.pictures.finishing import Decoded, Target, finished, inner, turns

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

__all__ = ["FAULTS", "LIBRARIES", "PICTURE_KINDS", "Decoded", "Target", "decode", "decode_file", "prepare"]

LIBRARIES = ("isal", "opencv-python-headless", "pillow", "simplejpeg")
"""They decode and resize, and another version may round another way: a reader names them in its snapshot's key."""
PIXEL_LIMIT = 1 << 26
"""Most pixels of an original, 8192 × 8192; a radiograph has 20 million."""
FILE_LIMIT = 256 << 20
"""Most bytes of a file."""
FAULTS = ("not_a_picture", "unreadable_picture", "decompression_bomb", "several_frames", "brighter_than_white")
PICTURE_KINDS = (what_is(b"\x89PNG"), what_is(b"\xff\xd8\xff"))
_PNG, _JPEG = PICTURE_KINDS
_HEAD = 512
_ORIENTATION = 0x0112
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Each pass of an interlaced PNG: first column, first row, and the steps across and down."""
_PNG_COLOURS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
"""PNG colour type → channels without alpha; a palette's colours are three."""
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, LookupError, ArithmeticError)
"""What the decoders raise at bytes that are not as they should be, beside ``cv2.error`` and isal's own; only bytes in
memory are read under it, and nothing of medai's that comes after reading."""
_CONFUSED = (TypeError, AttributeError)
"""What Pillow's parsers, written in Python, may raise beside these at bytes that they did not expect."""


class Read(NamedTuple):
    """Levels at full size or a fraction of it, and how ``finished`` is to take them."""

    levels: np.ndarray
    seen: Decoded
    size: tuple[int, int] | None = None
    extent: tuple[float, float] | None = None
    orientation: Any = 1


@cache
def prepare() -> None:
    """Import what decodes, on one thread; before workers are born, which then have it at once."""
    import cv2
    import simplejpeg  # noqa: F401

    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)  # whose rounding differs from one processor to another
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_file(path: Path, target: Target) -> Decoded:
    """Decode a file, unless it is larger than any picture."""
    if path.stat().st_size > FILE_LIMIT:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.sha256(b"file\0"))
        return Decoded(digest.hexdigest(), "decompression_bomb")
    return decode(path.read_bytes(), target)


def decode(data: bytes, target: Target) -> Decoded:
    """Decode a file's bytes; whatever they hold, the answer is a picture or a fault."""
    prepare()
    seen = Decoded("")
    read: Read | str = "unreadable_picture"
    kind = what_is(data[:_HEAD])
    if kind not in PICTURE_KINDS:
        read = "not_a_picture"
    else:
        try:
            seen = _png_header(data) if kind == _PNG else _jpeg_header(data)
            if seen.height * seen.width > PIXEL_LIMIT:
                read = "decompression_bomb"
            else:
                read = _read_png(data, target, seen) if kind == _PNG else _read_jpeg(data, target, seen)
        except Exception as error:
            if not _is_damage(error):
                raise
    if isinstance(read, Read):
        return finished(
            read.levels, target, read.seen, size=read.size, extent=read.extent, orientation=read.orientation
        )
    return seen._replace(fault=read, content_hash=hashlib.sha256(b"file\0" + data).hexdigest())


def _is_damage(error: Exception) -> bool:
    """Whether a decoder complains of its bytes; memory that OpenCV did not get is told as Python tells it."""
    import cv2
    from isal import isal_zlib

    if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
        raise MemoryError from error
    isal_error: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]  # as its stub has it, no class
    return isinstance(error, (*_DAMAGE, cv2.error, isal_error))


def _png_header(data: bytes) -> Decoded:
    width, height, bits, colours = struct.unpack(">IIBB", data[16:26])
    if not (width and height):
        raise ValueError
    channels, bits = _PNG_COLOURS.get(colours, 0), 8 if colours == 3 else bits
    return Decoded("", height=height, width=width, channels=channels, bits=bits)


def _jpeg_header(data: bytes) -> Decoded:
    header = jpeg.header_of(data)
    return Decoded("", height=header.height, width=header.width, channels=header.channels, bits=8)


def _read_png(data: bytes, target: Target, seen: Decoded) -> Read | str:
    import cv2

    chunks = png.chunks_of(data)
    if chunks is None:
        return "unreadable_picture"
    if not chunks.plain:
        return _by_pillow(data, _PNG, target, seen)
    levels = png.levels_of(data, chunks)
    if levels is None:
        return "unreadable_picture"
    if levels.ndim == 3:
        levels = cv2.cvtColor(levels, cv2.COLOR_BGR2GRAY if target.channels == 1 else cv2.COLOR_BGR2RGB)
    return Read(levels, seen)


def _read_jpeg(data: bytes, target: Target, seen: Decoded) -> Read | str:
    header = jpeg.header_of(data)
    if not jpeg.is_closed(data):
        return "unreadable_picture"
    if header.channels == 4:
        return _by_pillow(data, _JPEG, target, seen)
    orientation = 1
    if header.has_exif:
        with _not_confused():
            orientation = _opened(data, _JPEG).getexif().get(_ORIENTATION, 1)
    size = (header.height, header.width)
    part = jpeg.eighths(*size, inner(*size, target, turns(orientation)))
    levels = jpeg.levels_of(data, header, part, target.channels == 1 or header.channels == 1)
    if levels is None:
        return "unreadable_picture"
    extent = (header.height * part / 8, header.width * part / 8)
    return Read(levels, _shown(seen, orientation), size, extent, orientation)


def _shown(seen: Decoded, orientation: Any) -> Decoded:
    """Height and width as a viewer shows them."""
    return seen._replace(height=seen.width, width=seen.height) if turns(orientation) else seen


def _by_pillow(data: bytes, kind: str, target: Target, seen: Decoded) -> Read | str:
    """A picture of any depth and colour."""
    import cv2
    import numpy as np

    height, width = seen.height, seen.width
    extent = (float(height), float(width))
    with _not_confused():
        image = _opened(data, kind)
        orientation = image.getexif().get(_ORIENTATION, 1) if kind == _JPEG else 1
        if getattr(image, "n_frames", 1) > 1:
            return "several_frames"
        if kind == _JPEG:
            high, wide = inner(height, width, target, turns(orientation))
            drafted = image.draft(None, (math.ceil(jpeg.SPARE * wide), math.ceil(jpeg.SPARE * high)))
            extent = (drafted[1][3], drafted[1][2]) if drafted is not None else extent
        colours = _palette_length(image)  # asked before loading, which fills it up with black
        image.load()
        if kind == _PNG:  # its orientation may stand behind the pixels
            orientation = image.getexif().get(_ORIENTATION, 1)
    if colours is not None and _largest(image) >= colours:
        return "unreadable_picture"
    if jpeg.is_filled(np.asarray(image), height) if kind == _JPEG else _lacks_rows(image, data):
        return "unreadable_picture"
    plain = _plain(image, target)
    if plain is None:
        return "brighter_than_white"
    levels = np.asarray(plain)
    if levels.ndim == 3 and target.channels == 1:
        levels = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)
    return Read(levels, _shown(seen, orientation), (height, width), extent, orientation)


@contextmanager
def _not_confused() -> Iterator[None]:
    """Pillow at work on untrusted bytes: what it stumbles over is damage, too."""
    try:
        yield
    except _CONFUSED as error:
        raise ValueError from error


def _opened(data: bytes, kind: str) -> Image:
    """The picture behind its header, by the decoder of its type; no pixel is read, and Pillow tries no other type."""
    import io

    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(io.BytesIO(data)) if kind == _PNG else JpegImageFile(io.BytesIO(data))


def _lacks_rows(image: Image, data: bytes) -> bool:
    """Whether the pixels of a loaded PNG ended early.

    Pillow starts from zeros. The last rows are stored last, interlaced or not; only where one of them is all zero are
    the stored bytes counted.
    """
    import numpy as np

    last = np.asarray(image.crop((0, max(0, image.height - 2), image.width, image.height)))
    if last.reshape(len(last), -1).any(axis=1).all():
        return False
    bits, colours, interlaced = data[24], data[25], data[28]
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    missing = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        across, rows = -(-(image.width - left) // right), -(-(image.height - top) // down)
        if across > 0 and rows > 0:
            missing += rows * (1 + -(-across * bits * samples // 8))
    chunks = png.chunks_of(data)
    return chunks is None or png.inflated(chunks.stored, missing) is None


def _palette_length(image: Image) -> int | None:
    """Colours of a palette picture's palette, 0 where it has none; None for a picture that needs no palette."""
    if image.mode != "P":
        return None
    return 0 if image.palette is None else len(image.palette.palette) // 3


def _largest(image: Image) -> int:
    """The largest index into the palette; a picture has at least one pixel."""
    return max(index for index, count in enumerate(image.histogram()) if count)


def _plain(image: Image, target: Target) -> Image | None:
    """The loaded picture in 8 bits, grey or RGB; None where a level lies above white."""
    import numpy as np
    from PIL import Image as images

    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.uint32)
        if int(levels.max()) > target.white:
            return None
        image = images.fromarray(((levels * 255 + target.white // 2) // target.white).astype(np.uint8))
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = images.alpha_composite(images.new("RGBA", seen.size, (0, 0, 0, 255)), seen).convert("RGB")
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
