"""One file's bytes to one picture of the working size. What no rule covers gets a fault, never a guess.

- The type is the content's, not the name's; the header is read before any pixel, and a picture of more than
  ``PIXEL_LIMIT`` pixels is never decoded.
- A file must be whole: each PNG chunk agrees with its checksum up to the end mark, and its rows are all there (Pillow
  leaves missing ones black); a JPEG's last scan is closed by its end mark, and its last row of blocks is not all the
  mid grey that a decoder fills in. (A JPEG has no checksum: bytes altered within a scan cannot be known.)
- Grey of 1, 2 and 4 bits is spread to 0–255. 16-bit grey is scaled from 0–``white`` to 0–255 and rounded; a level above
  white is a fault. 16-bit colour, and 16-bit grey with alpha, keep their high byte.
- A palette is resolved to its colours; a pixel beyond it, or no palette at all, is a fault, as the PNG specification
  says (section 11.2.2), and not the black that Pillow gives.
- What is transparent is laid on black; CMYK becomes RGB by Pillow's formula.
- Colour becomes grey by ITU-R BT.601's luma, which a JPEG stores as it is; grey becomes colour in three equal channels.
- EXIF's orientation is applied: a picture lies as a viewer shows it.
- A PNG of several frames is a fault: none of them is the picture. Of a JPEG that carries further pictures (MPO), the
  first is the picture.
- Each pixel is the mean over the area that it covers in the original, by Pillow's HAMMING: measured against the exact
  mean it is the nearest of Pillow's filters (its BOX weighs no pixel by the part that is covered, and is several times
  further off where sizes are alike). A smaller original is interpolated.
- A JPEG is decoded at 1/2, 1/4 or 1/8, where the inverse transform takes the mean, as long as at least 1.5 times the
  working size is left: about one level (root mean square) from the exact mean, in a fraction of the time.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.files import what_is
from medai.sources.pictures.sameness import content_hash, grey_levels

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

PIXEL_LIMIT = 1 << 26
"""Most pixels of an original, 8192 × 8192; a radiograph has 20 million."""
FILE_LIMIT = 256 << 20
"""Most bytes of a file."""
FAULTS = ("not_a_picture", "unreadable_picture", "decompression_bomb", "several_frames", "brighter_than_white")
PICTURE_KINDS = (what_is(b"\x89PNG"), what_is(b"\xff\xd8\xff"))
_PNG, _JPEG = PICTURE_KINDS
_HEAD = 512
_ORIENTATION = 0x0112
_BLOCK_ROWS, _FILLED = 8, 128
_SPARE = 1.5
_INFLATED = 1 << 20
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Each pass of an interlaced PNG: first column, first row, and the steps across and down."""
_PNG_COLOURS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
"""PNG colour type → channels without alpha; a palette's colours are three."""
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error, LookupError, ArithmeticError,
    AttributeError, RuntimeError,
)  # fmt: skip
"""What Pillow raises at bytes that are not as they should be; only bytes in memory are read under it."""


class Target(NamedTuple):
    """What a picture becomes: height, width and channels; padded or stretched; the white of 16-bit grey."""

    height: int
    width: int
    channels: int
    pad: bool
    white: int


class Decoded(NamedTuple):
    """A picture and what was found out about it.

    Attributes:
        content_hash: of the pixels; of the file's bytes where there are none.
        fault: one of ``FAULTS``; None for a picture that was read whole.
        pixels: (height, width, channels) uint8 of the working size; None with a fault.
        height, width, channels, bits: the original's, as a viewer shows it; 0 where the header could not be read.
        levels: mean, standard deviation, minimum and maximum of the pixels, without padding.
    """

    content_hash: str
    fault: str | None = None
    pixels: np.ndarray | None = None
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 0
    levels: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def prepare() -> None:
    """Import Pillow's two decoders here, before threads would import them all at once."""
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401


def decode_file(path: Path, target: Target) -> Decoded:
    """Decode a file, unless it is larger than any picture."""
    if path.stat().st_size > FILE_LIMIT:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.sha256(b"file\0"))
        return Decoded(digest.hexdigest(), "decompression_bomb")
    return decode(path.read_bytes(), target)


def decode(data: bytes, target: Target) -> Decoded:
    """Decode a file's bytes; whatever they hold, the answer is a picture or a fault."""
    seen = Decoded(hashlib.sha256(b"file\0" + data).hexdigest())
    kind = what_is(data[:_HEAD])
    if kind not in PICTURE_KINDS:
        return seen._replace(fault="not_a_picture")
    try:
        image = _open(data, kind)
        orientation = image.getexif().get(_ORIENTATION, 1) if kind == _JPEG else 1
        width, height = image.size
        channels, bits = _depth(data, image)
        seen = seen._replace(height=height, width=width, channels=channels, bits=bits)
        if width * height > PIXEL_LIMIT:
            return seen._replace(fault="decompression_bomb")
        if not (_whole_png(data) if kind == _PNG else data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")):
            return seen._replace(fault="unreadable_picture")
        if getattr(image, "n_frames", 1) > 1:
            return seen._replace(fault="several_frames")
        box = (0.0, 0.0, float(width), float(height))
        if kind == _JPEG:
            inner = _inner(width, height, target, _turns(orientation))
            least = (math.ceil(_SPARE * inner[0]), math.ceil(_SPARE * inner[1]))
            drafted = image.draft("L" if target.channels == 1 and image.mode == "RGB" else None, least)
            box = drafted[1] if drafted is not None else box
        colours = _palette_length(image)  # asked before loading, which fills it up with black
        image.load()
        if colours is not None and _largest(image) >= colours:
            return seen._replace(fault="unreadable_picture")
        if kind == _PNG:  # its orientation may stand behind the pixels
            orientation = image.getexif().get(_ORIENTATION, 1)
        if _is_filled(image, height) if kind == _JPEG else _lacks_rows(image, data):
            return seen._replace(fault="unreadable_picture")
        if _turns(orientation):
            seen = seen._replace(height=width, width=height)
        plain = _plain(image, target)
        if plain is None:
            return seen._replace(fault="brighter_than_white")
        return _finished(plain, box, orientation, (width, height), target, seen)
    except _DAMAGE:
        return seen._replace(fault="unreadable_picture")


def _open(data: bytes, kind: str) -> Image:
    """The picture behind its header, by the decoder of its type; no pixel is read, and Pillow tries no other type."""
    import io

    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(io.BytesIO(data)) if kind == _PNG else JpegImageFile(io.BytesIO(data))


def _depth(data: bytes, image: Image) -> tuple[int, int]:
    """Channels without alpha, and bits of a level; a palette's colours have eight."""
    if what_is(data[:_HEAD]) == _JPEG:
        return len(image.getbands()), 8
    bits, colours = data[24], data[25]  # of the header chunk, which stands first
    return _PNG_COLOURS.get(colours, 0), 8 if colours == 3 else bits


def _whole_png(data: bytes) -> bool:
    """Whether each chunk agrees with its checksum, up to the end mark; Pillow compares none of those with pixels."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if end > len(data) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


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
    stream, at = zlib.decompressobj(), 8
    while missing > 0 and at < len(data):
        length = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            stored = data[at + 8 : at + 8 + length]
            while missing > 0 and stored:
                missing -= len(stream.decompress(stored, _INFLATED))
                stored = stream.unconsumed_tail
        at += 12 + length
    return missing > 0


def _palette_length(image: Image) -> int | None:
    """Colours of a palette picture's palette, 0 where it has none; None for a picture that needs no palette."""
    if image.mode != "P":
        return None
    return 0 if image.palette is None else len(image.palette.palette) // 3


def _largest(image: Image) -> int:
    """The largest index into the palette; a picture has at least one pixel."""
    return max(index for index, count in enumerate(image.histogram()) if count)


def _is_filled(image: Image, height: int) -> bool:
    """Whether a decoded JPEG ends in what libjpeg fills in when a scan ends early: blocks of zeros, level 128.

    Args:
        height: of the original; the picture may have been decoded at a fraction of it.
    """
    import numpy as np

    rows = max(1, _BLOCK_ROWS * image.height // height)
    last = image.crop((0, image.height - rows, image.width, image.height))
    return bool((np.asarray(last) == _FILLED).all())


def _turns(orientation: Any) -> bool:
    """Whether EXIF's orientation exchanges height and width."""
    return orientation in (5, 6, 7, 8)


def _inner(width: int, height: int, target: Target, turned: bool) -> tuple[int, int]:
    """Width and height to resize to, in the axes as they are stored."""
    wide, high = (target.height, target.width) if turned else (target.width, target.height)
    if not target.pad:
        return wide, high
    scale = min(wide / width, high / height)
    return min(wide, max(1, round(width * scale))), min(high, max(1, round(height * scale)))


def _plain(image: Image, target: Target) -> Image | None:
    """The loaded picture in 8 bits and the target's channels; None where a level lies above white."""
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
    return image.convert("L" if target.channels == 1 else "RGB")


def _finished(
    image: Image,
    box: tuple[float, float, float, float],
    orientation: Any,
    size: tuple[int, int],
    target: Target,
    seen: Decoded,
) -> Decoded:
    """The picture at the working size, turned as a viewer shows it, and measured."""
    import numpy as np
    from PIL.Image import Resampling, Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    small = image.resize(_inner(*size, target, _turns(orientation)), Resampling.HAMMING, box=box)
    if orientation in turns:
        small = small.transpose(turns[orientation])
    levels = np.asarray(small).reshape(small.height, small.width, target.channels)
    pixels = np.zeros((target.height, target.width, target.channels), np.uint8)
    top, left = (target.height - small.height) // 2, (target.width - small.width) // 2
    pixels[top : top + small.height, left : left + small.width] = levels
    mean, spread, least, most = grey_levels(levels.reshape(1, -1))[0].tolist()
    return seen._replace(content_hash=content_hash(pixels), pixels=pixels, levels=(mean, spread, least, most))
