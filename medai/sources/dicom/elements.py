"""A file's data elements up to its pixels (DICOM PS3.5 and PS3.10), and its answers as plain numbers and words.

Nothing is read behind the pixels, and only the elements that a rule asks for are kept. What the file says is not
believed: a length beyond its end, a nesting deeper than Python's own limit, or data that inflate without measure end in
a ``Fault``.
"""

from __future__ import annotations

import logging
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.damage import parsing
from medai.sources.files import RATIO_FLOOR

if TYPE_CHECKING:
    from mmap import mmap

    from pydicom.dataset import Dataset

INFLATED_LIMIT = 1 << 30
"""Most bytes that a deflated data set may unpack to; a mask of 8192 × 8192 zeros has 67 million."""
_DEFLATED_RATIO = 1040
"""Most bytes that one byte of deflate can stand for (RFC 1951: 258 bytes by two bits); empty masks come near."""

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

_MARK_AT, _MARK = 128, b"DICM"
_UNDEFINED = 0xFFFFFFFF
_MOST_ELEMENTS = 1 << 14
"""More elements than the standard names stand before no picture's pixels."""
_PIXELS = {0x7FE00010: "whole", 0x7FE00008: "float32", 0x7FE00009: "float64"}
"""Tag of each element of pixels → how its values are stored (PS3.3 C.7.6.3 and C.7.6.24)."""
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Value representations whose length has four bytes (PS3.5 section 7.1.2)."""

ASKED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "PatientID",
    "IssuerOfPatientID", "PatientSex", "PatientAge", "PatientBirthDate", "Modality", "Manufacturer",
    "ManufacturerModelName", "ViewPosition", "ImageLaterality", "Laterality", "BurnedInAnnotation", "StudyDate",
    "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentDate",
    "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "InstanceNumber", "ImageType", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient",
    "PixelAspectRatio", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData", "PixelDataProviderURL",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)  # fmt: skip
"""Keywords of the elements that are kept."""


_SHIFTING = re.compile(rb"[^ -~\0\t\r\n]|\\\\")
"""What only pydicom is to read: characters of another set, and several values."""
_TEXTS = (None, "LO", "SH")
"""Value representations of short texts; none is told in a file of implicit ones."""


class Fault(Exception):
    """Why a file gives no picture: ``reason`` is one of ``decoding.FAULTS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Elements:
    """A data set's elements by keyword, as plain values.

    Args:
        dataset: as pydicom read it; values are taken as stored and converted here, one by one as they are asked for.
        big_endian: how binary numbers are stored.
    """

    def __init__(self, dataset: Dataset, big_endian: bool) -> None:
        self.dataset, self.big_endian = dataset, big_endian
        self._elements = {int(element.tag): element for element in dataset.values()}
        self._items: dict[str, list[Elements]] = {}

    def _stored(self, keyword: str) -> bytes | None:
        """The element's bytes; None where it is absent or empty."""
        element = self._elements.get(_tag_of(keyword))
        if element is None or element.value is None:
            return None
        value = element.value
        if not isinstance(value, bytes):
            raise Fault("damaged_header")
        length = getattr(element, "length", len(value))
        if length not in (len(value), _UNDEFINED):
            raise Fault("damaged_header")
        return value or None

    def words(self, keyword: str) -> list[str]:
        """The values of an element of characters, without their padding; none where it is absent or empty."""
        stored = self._stored(keyword)
        text = "" if stored is None else stored.decode("latin-1").strip(" \0\r\n\t")
        return [word.strip() for word in text.split("\\")] if text else []

    def word(self, keyword: str) -> str | None:
        """The first value of an element of characters; None where it is absent or empty."""
        words = self.words(keyword)
        return words[0] or None if words else None

    def text(self, keyword: str) -> str | None:
        """A text in the file's own character sets (PS3.3 C.12.1.1.2), composed by Unicode's NFC; None where empty.

        Raises:
            Fault: it cannot be decoded, or is no text.
        """
        import unicodedata

        from pydicom.multival import MultiValue

        stored = self._stored(keyword)
        if stored is None:
            return None
        as_text = getattr(self._elements[_tag_of(keyword)], "VR", None) in _TEXTS
        if as_text and not _SHIFTING.search(stored) and self._stored("SpecificCharacterSet") is None:
            return stored.decode("ascii").strip(" \0\r\n\t") or None  # the default repertoire, one value
        with quiet(), parsing(Fault("damaged_header")):
            value = self.dataset[_tag_of(keyword)].value
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list | MultiValue) or not all(isinstance(word, str) for word in words):
            raise Fault("damaged_header")  # an explicit type that is no text's
        return unicodedata.normalize("NFC", "\\".join(words).strip(" \0\r\n\t")) or None

    def numbers(self, keyword: str) -> list[float]:
        """The values of a decimal string.

        Raises:
            Fault: one of them is no finite number.
        """
        return [_finite(word) for word in self.words(keyword)]

    def shorts(self, keyword: str, *, signed: bool = False) -> list[int]:
        """The values of an element of 16-bit numbers; none where it is absent or empty."""
        stored = self._stored(keyword)
        if stored is None:
            return []
        if len(stored) % 2:
            raise Fault("damaged_header")
        order = ">" if self.big_endian else "<"
        return list(struct.unpack(f"{order}{len(stored) // 2}{'h' if signed else 'H'}", stored))

    def short(self, keyword: str) -> int | None:
        """An unsigned 16-bit number; None where it is absent or empty."""
        values = self.shorts(keyword)
        return values[0] if values else None

    def longs(self, keyword: str) -> list[int]:
        """The values of an element of unsigned 64-bit numbers, which are little-endian where they are in use."""
        stored = self._stored(keyword)
        if stored is None:
            return []
        if len(stored) % 8:
            raise Fault("damaged_header")
        return list(struct.unpack(f"<{len(stored) // 8}Q", stored))

    def octets(self, keyword: str) -> bytes | None:
        """The bytes as they are stored."""
        return self._stored(keyword)

    def items(self, keyword: str) -> list[Elements]:
        """The items of a sequence.

        Raises:
            Fault: it is damaged, nested too deep, or no sequence.
        """
        from pydicom.sequence import Sequence

        tag = _tag_of(keyword)
        if tag not in self._elements:
            return []
        if keyword not in self._items:
            with quiet(), parsing(Fault("damaged_header")):
                value = self.dataset[tag].value
            if value is not None and not isinstance(value, Sequence):
                raise Fault("damaged_header")
            self._items[keyword] = [Elements(item, self.big_endian) for item in value or ()]
        return self._items[keyword]

    def item(self, keyword: str) -> Elements | None:
        """The first item of a sequence."""
        items = self.items(keyword)
        return items[0] if items else None


class Opened(NamedTuple):
    """A file read up to its pixels.

    Attributes:
        syntax: the UID of its transfer syntax.
        body: the bytes that hold the data set: the file's own, or what a deflated one unpacks to.
        kind: how pixels are stored: ``whole`` numbers, ``float32`` or ``float64``.
        begin, length: where their value lies in the body; the length is None where it is undefined.
        in_words: whether the value is a row of 16-bit words, which a big-endian file turns round.
    """

    syntax: str
    elements: Elements
    body: bytes | mmap
    kind: str
    begin: int
    length: int | None
    in_words: bool


def _finite(word: str) -> float:
    """A decimal string's number."""
    try:
        number = float(word)
    except ValueError:
        raise Fault("damaged_header") from None
    if not math.isfinite(number):
        raise Fault("damaged_header")
    return number


@cache
def _tag_of(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword) or 0


@contextmanager
def quiet() -> Iterator[None]:
    """What pydicom warns of may quote a value; what is wrong becomes a fault instead."""
    import warnings

    log = logging.getLogger("pydicom")
    disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = disabled


def is_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes end in the mark of PS3.10 section 7.1."""
    return head[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK


def lacks_preamble(head: bytes) -> bool:
    """Whether a file begins as a data set does, without the preamble: group 0002 or 0008 in little-endian order.

    >>> lacks_preamble(bytes.fromhex("0800050043530a00")), lacks_preamble(b"a text, not a picture")
    (True, False)
    """
    return head[:2] in (b"\2\0", b"\x08\0") and len(head) >= 8 and head[3] == 0


def open_elements(data: bytes | mmap) -> Opened:
    """Read a file's elements up to its pixels.

    Raises:
        Fault: it is no DICOM file, damaged, holds no picture, or names no transfer syntax.
    """
    head = data[: _MARK_AT + len(_MARK)]
    if not is_dicom(head):
        raise Fault("no_preamble" if lacks_preamble(head) else "not_dicom")
    with quiet():
        return _opened(data)


def _opened(data: bytes | mmap) -> Opened:
    from pydicom.filereader import read_dataset

    file = _Bytes(data, _MARK_AT + len(_MARK))
    with parsing(Fault("damaged_header")):
        head = read_dataset(file, False, True, stop_when=_behind_meta)
    meta = Elements(head, big_endian=False)
    syntax = meta.word("TransferSyntaxUID")
    if syntax is None:
        raise Fault("no_transfer_syntax")
    body = data
    if syntax == DEFLATED:
        body = _inflated(data[file.tell() :])
        file = _Bytes(body, 0)
    return _read(file, body, syntax)


def _read(file: _Bytes, body: bytes | mmap, syntax: str) -> Opened:
    from pydicom.filereader import read_dataset

    found: list[tuple[int, str | None, int]] = []

    passed = 0

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal passed
        passed += 1
        if passed > _MOST_ELEMENTS:
            raise Fault("damaged_header")
        if int(tag) in _PIXELS:
            found.append((int(tag), vr, length))
            return True
        return False

    tags: list[Any] = [_tag_of(keyword) for keyword in ASKED]
    big_endian = syntax == BIG_ENDIAN
    with parsing(Fault("damaged_header")):
        dataset = read_dataset(
            file,
            syntax == IMPLICIT,
            not big_endian,
            stop_when=at_pixels,
            specific_tags=tags,
        )
    elements = Elements(dataset, big_endian)
    if not found:
        if elements.octets("PixelDataProviderURL"):
            raise Fault("pixels_elsewhere")
        raise Fault("truncated_pixels" if elements.octets("Rows") else "no_pixels")  # cut before them, or no picture
    tag, vr, length = found[0]
    begin = file.tell() + (12 if vr in _LONG else 8)
    return Opened(syntax, elements, body, _PIXELS[tag], begin, None if length == _UNDEFINED else length, vr != "OB")


def _behind_meta(tag: int, _vr: str | None, _length: int) -> bool:
    return int(tag) >> 16 > 2


def _inflated(data: bytes) -> bytes:
    """A deflated data set (PS3.5 annex A.5), unpacked to no more than it could honestly hold."""
    limit = min(INFLATED_LIMIT, max(RATIO_FLOOR, _DEFLATED_RATIO * len(data)))
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = stream.decompress(data, limit)
    except zlib.error:
        raise Fault("damaged_header") from None
    if stream.unconsumed_tail:
        raise Fault("decompression_bomb")
    if not stream.eof:
        raise Fault("truncated_pixels")
    return body


class _Bytes:
    """Bytes as pydicom reads a file; a place beyond their end is a fault, and not silence."""

    def __init__(self, data: bytes | mmap, at: int) -> None:
        self._data, self._at, self._end = data, at, len(data)

    def read(self, size: int = -1) -> bytes:
        begin, self._at = self._at, self._end if size < 0 else min(self._at + size, self._end)
        return self._data[begin : self._at]

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, self._end)[whence]
        if not 0 <= at <= self._end:
            raise Fault("damaged_header")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at
