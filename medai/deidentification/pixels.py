"""The pixels of a picture, and nothing that lies beside or between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medai.deidentification import burned_in, codestreams
from medai.deidentification.outcomes import SetAside
from medai.deidentification.told import reading, text_of, value_of, whole_of

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import Dataset

NATIVE = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.1.99": "<",
    "1.2.840.10008.1.2.2": ">",
}
"""Transfer syntaxes of uncompressed pixels, with their byte order."""
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
"""pydicom calls it available, and decodes only its pictures of 8 bits."""
_OVERLAY_POSITION, _OVERLAYS = 0x0102, range(0x6000, 0x6020, 2)


def syntax_of(dataset: Dataset) -> str:
    """The transfer syntax that the file meta names.

    Raises:
        SetAside: none is named, or its pixels cannot be looked through.
    """
    syntax = text_of(dataset.file_meta, "TransferSyntaxUID")
    if not syntax:
        raise SetAside("damaged")
    if syntax not in NATIVE and syntax not in codestreams.SYNTAXES:
        raise SetAside("syntax_not_covered")
    return syntax


def clean(old: Dataset, new: Dataset, syntax: str) -> None:
    """Give ``new`` the pixels of ``old``, without bytes after them, comments in them, or bits beside them.

    Args:
        old: as it was read.
        new: as ``header.rewrite`` made it; its pixels are replaced.

    Raises:
        SetAside: fewer pixels than the header says, bits that hold something else, or an overlay in compressed pixels.
    """
    frames = whole_of(old, "NumberOfFrames", 1) or 1
    overlaid = _has_embedded_overlay(old)
    if syntax in NATIVE:
        for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            if name in new:
                data = _cut(value_of(old, name), _size(old, name, frames))
                if name == "PixelData":
                    data = _without_unused_bits(data, old, NATIVE[syntax], cleared=overlaid)
                setattr(new, name, data + b"\0" * (len(data) & 1))
        return
    if overlaid:
        raise SetAside("overlay_in_pixels")
    from pydicom.encaps import encapsulate, generate_frames

    kind = codestreams.SYNTAXES[syntax]
    with reading():
        parts = [bytes(frame) for frame in generate_frames(value_of(old, "PixelData"), number_of_frames=frames)]
    try:
        streams = [codestreams.clean(part, kind, whole_of(old, "Rows") * whole_of(old, "Columns")) for part in parts]
    except codestreams.NotUnderstood:
        raise SetAside("damaged") from None
    if len(streams) != frames:
        raise SetAside("damaged")
    new.PixelData = encapsulate(streams)
    new["PixelData"].VR = "OB"
    new["PixelData"].is_undefined_length = True


def frames_of(dataset: Dataset, data: bytes) -> Iterator[np.ndarray]:
    """Each decoded frame, (rows, columns) or (rows, columns, samples); by pydicom, or by medai's reader where pydicom
    has no codec: JPEG Lossless, which most archives are full of, JPEG of 12 bits, HTJ2K and JPEG XL.

    Args:
        dataset: the data set.
        data: the file that it was read from.

    Raises:
        SetAside: the frames cannot be decoded, or no codec is there.
    """
    from pydicom.pixels import get_decoder, iter_pixels

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:  # pydicom's word for a syntax that it decodes in no way, such as video
        known = False
    wide = syntax == _JPEG_EXTENDED and whole_of(dataset, "BitsStored", 0) > 8
    if not known or wide:
        yield from _frames_by_reader(data)
        return
    with reading():
        yield from iter_pixels(dataset, raw=True)


def _frames_by_reader(data: bytes) -> Iterator[np.ndarray]:
    from medai.sources.dicom import elements, headers, pixels, syntaxes

    try:
        opened = elements.open_elements(data)
        if opened.syntax not in syntaxes.CODINGS:
            raise SetAside("codec_missing")
        header = headers.header_of(opened)
        for frame in pixels.frames_of(opened, header, range(header.frames)):
            yield frame.values
    except elements.Fault as fault:
        raise SetAside("unused_bits" if fault.reason == "beyond_bits_stored" else "damaged") from None


def refuse_text(dataset: Dataset, data: bytes) -> None:
    """Look for text in every frame, and for values beyond the stored bits; ``data`` is the file of ``dataset``.

    Raises:
        SetAside: there is some, or the frames cannot be looked at.
    """
    stored, signed = whole_of(dataset, "BitsStored", 0), whole_of(dataset, "PixelRepresentation", 0)
    for frame in frames_of(dataset, data):
        whole = "PixelData" in dataset and 0 < stored < 8 * frame.dtype.itemsize
        if whole and not _within(frame, stored, signed):
            raise SetAside("unused_bits")
        if value_of(dataset, "SegmentationType") is None and burned_in.shows_text(frame):
            raise SetAside(burned_in.BY_PIXELS)


def _within(frame: np.ndarray, stored: int, signed: int) -> bool:
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    return bool(frame.min() >= low and frame.max() <= high)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    """Whether the header says that an overlay lies in unused bits (retired; PS3.5 8.1.2 of 2004)."""
    with reading():
        positions = [dataset.get(group << 16 | _OVERLAY_POSITION) for group in _OVERLAYS]
    return any(one is not None and one.value not in (0, None, "") for one in positions)


def _size(dataset: Dataset, name: str, frames: int) -> int:
    """Bytes of uncompressed pixels."""
    samples = whole_of(dataset, "SamplesPerPixel", 1) or 1
    if text_of(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2  # two neighbours share their colours (PS3.3 C.7.6.3.1.2)
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(name) or whole_of(dataset, "BitsAllocated")
    return (whole_of(dataset, "Rows") * whole_of(dataset, "Columns") * samples * frames * bits + 7) // 8


def _cut(data: bytes | None, size: int) -> bytes:
    if data is None or len(data) < size or size < 1:
        raise SetAside("damaged")
    return data[:size]


def _without_unused_bits(data: bytes, dataset: Dataset, order: str, *, cleared: bool) -> bytes:
    """Pixels whose unused bits are those of their sign; others are cleared where an overlay is declared."""
    import numpy as np

    allocated, stored = whole_of(dataset, "BitsAllocated"), whole_of(dataset, "BitsStored")
    if allocated not in (8, 16, 32) or not 0 < stored < allocated:
        return data
    shift = allocated - 1 - whole_of(dataset, "HighBit", stored - 1)
    if not 0 <= shift <= allocated - stored:
        raise SetAside("damaged")
    signed = bool(whole_of(dataset, "PixelRepresentation", 0))
    values: Any = np.frombuffer(data, f"{order}{'i' if signed else 'u'}{allocated // 8}")
    low = allocated - stored - shift
    plain = ((values << shift) >> shift >> low) << low
    if np.array_equal(plain, values):
        return data
    if not cleared:
        raise SetAside("unused_bits")
    return bytes(plain.astype(values.dtype))
