"""The pixels of a picture, and nothing that lies beside or between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medai.deidentification import burned_in, codestreams
from medai.deidentification.outcomes import SetAside, is_damage

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
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
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
    frames = int(old.get("NumberOfFrames", 1) or 1)
    overlaid = _has_embedded_overlay(old)
    if syntax in NATIVE:
        for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            if name in new:
                data = _cut(getattr(old, name), _size(old, name, frames))
                if name == "PixelData":
                    data = _without_unused_bits(data, old, NATIVE[syntax], cleared=overlaid)
                setattr(new, name, data + b"\0" * (len(data) & 1))
        return
    if overlaid:
        raise SetAside("overlay_in_pixels")
    from pydicom.encaps import encapsulate, generate_frames

    kind = codestreams.SYNTAXES[syntax]
    try:
        streams = [
            codestreams.clean(bytes(frame), kind, int(old.Rows) * int(old.Columns))
            for frame in generate_frames(old.PixelData, number_of_frames=frames)
        ]
    except ValueError:  # NotUnderstood, and pydicom's word for frames that are not there
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
    wide = syntax == _JPEG_EXTENDED and int(dataset.get("BitsStored", 0) or 0) > 8
    try:
        if known and not wide:
            yield from iter_pixels(dataset, raw=True)
        else:
            yield from _frames_by_reader(data)
    except Exception as error:
        if not is_damage(error):
            raise
        raise SetAside("damaged") from None


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
    stored, signed = int(dataset.get("BitsStored", 0) or 0), int(dataset.get("PixelRepresentation", 0) or 0)
    for frame in frames_of(dataset, data):
        whole = "PixelData" in dataset and 0 < stored < 8 * frame.dtype.itemsize
        if whole and not _within(frame, stored, signed):
            raise SetAside("unused_bits")
        if dataset.get("SegmentationType") is None and burned_in.shows_text(frame):
            raise SetAside(burned_in.BY_PIXELS)


def _within(frame: np.ndarray, stored: int, signed: int) -> bool:
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    return bool(frame.min() >= low and frame.max() <= high)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    """Whether the header says that an overlay lies in unused bits (retired; PS3.5 8.1.2 of 2004)."""
    positions = [dataset.get(group << 16 | _OVERLAY_POSITION) for group in _OVERLAYS]
    return any(one is not None and one.value not in (0, None, "") for one in positions)


def _size(dataset: Dataset, name: str, frames: int) -> int:
    """Bytes of uncompressed pixels."""
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2  # two neighbours share their colours (PS3.3 C.7.6.3.1.2)
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(name) or int(dataset.BitsAllocated)
    return (int(dataset.Rows) * int(dataset.Columns) * samples * frames * bits + 7) // 8


def _cut(data: bytes, size: int) -> bytes:
    if len(data) < size or not size:
        raise SetAside("damaged")
    return data[:size]


def _without_unused_bits(data: bytes, dataset: Dataset, order: str, *, cleared: bool) -> bytes:
    """Pixels whose unused bits are those of their sign; others are cleared where an overlay is declared."""
    import numpy as np

    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16, 32) or not 0 < stored < allocated:
        return data
    shift = allocated - 1 - int(dataset.get("HighBit", stored - 1))
    if not 0 <= shift <= allocated - stored:
        raise SetAside("damaged")
    signed = bool(int(dataset.get("PixelRepresentation", 0) or 0))
    values: Any = np.frombuffer(data, f"{order}{'i' if signed else 'u'}{allocated // 8}")
    low = allocated - stored - shift
    plain = ((values << shift) >> shift >> low) << low
    if np.array_equal(plain, values):
        return data
    if not cleared:
        raise SetAside("unused_bits")
    return bytes(plain.astype(values.dtype))
