"""Identifiers planted wherever a DICOM file or a table can hold one, and a search that finds each of them again."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SEED_WORD = "XQPLANTED"
BORN = "19270312"
"""Planted as a date; no shift moves a study's date there."""
_LENGTHS = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64}
_TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_BYTES = ("OB", "UN", "OB or OW", "OW")


class Planted:
    """Makes planted identifiers, and remembers how many."""

    def __init__(self) -> None:
        self.count = 0

    def word(self) -> str:
        """Another identifier of 16 characters."""
        self.count += 1
        return f"{SEED_WORD}{self.count:07d}"

    def uid(self) -> str:
        """Another UID; its digits are found like a word's."""
        self.count += 1
        return f"1.2.826.9999999{self.count:05d}.1"

    def over_all_tags(self, dataset: Any) -> None:
        """Plant in every attribute of the dictionary that can hold it; a sequence holds an item with more."""
        from pydicom.datadict import DicomDictionary
        from pydicom.dataset import Dataset

        spared = {
            "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
            "PixelData", "FloatPixelData", "DoubleFloatPixelData", "PhotometricInterpretation", "Modality",
            "BurnedInAnnotation", "ConversionType", "ImageType",
            "PixelPresentation",
        }  # fmt: skip
        for tag, entry in DicomDictionary.items():
            kind, keyword, group = entry[0], entry[4], tag >> 16
            if keyword in spared or group in (0x0000, 0x0002, 0xFFFE) or tag & 0xFFFF == 0:
                continue
            if kind in _TEXTS:
                dataset.add_new(tag, kind, self.word())
            elif kind == "UI":
                dataset.add_new(tag, kind, self.uid())
            elif kind in ("DA", "DT"):
                dataset.add_new(tag, kind, BORN if tag == 0x00100030 else self.word())
            elif kind in _BYTES and group not in (0x0028, 0x7FE0):
                dataset.add_new(tag, "OB", self.word().encode())
            elif kind == "SQ":
                item, inner = Dataset(), Dataset()
                inner.PatientName, inner.PatientID = self.word(), self.word()
                item.PersonName, item.TextValue, item.ReferencedSOPInstanceUID = self.word(), self.word(), self.uid()
                item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = self.word(), "99HIS", self.word()
                item.ContentSequence = [inner]
                item.private_block(0x0011, self.word(), create=True).add_new(1, "LO", self.word())
                dataset.add_new(tag, kind, [item])
        for group in (0x0009, 0x0029, 0x7FE1):
            block = dataset.private_block(group, self.word(), create=True)
            block.add_new(1, "LO", self.word())
            block.add_new(2, "UN", self.word().encode())
            block.add_new(3, "SQ", [Dataset()])
        for group in (0x6000, 0x6002, 0x601E, 0x5000, 0x5002):
            data = 0x3000
            dataset.add_new(group << 16 | data, "OB", self.word().encode())
            dataset.add_new(group << 16 | (0x4000 if group >= 0x6000 else 0x2500), "LO", self.word())
        for number in range(4):  # of a place that the standard does not know
            dataset.add_new(0x00080000 | 0xF0F0 + number, "LO", self.word())

    def meta(self, dataset: Any) -> None:
        """Plant in the file meta and the preamble."""
        meta = dataset.file_meta
        meta.SourceApplicationEntityTitle, meta.ImplementationVersionName = self.word(), self.word()
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = self.uid(), self.word().encode()
        meta.ImplementationClassUID = self.uid()
        dataset.preamble = (self.word() * 8).encode()


_FOUND = re.compile(rb"xqplanted\d{7}|1\.2\.826\.9999999\d{5}|" + BORN.encode(), re.IGNORECASE)


def leaks(folder: Path) -> list[str]:
    """Where planted identifiers are found below a folder: in names, in bytes, and in bytes that are packed."""
    found = []
    for path in sorted(folder.rglob("*")):
        if _FOUND.search(str(path.relative_to(folder)).encode(errors="surrogateescape")):
            found.append(f"the name {path.name}")
        if path.is_file():
            found += [f"{path.name}: {hit.decode()}" for hit in hits(path.read_bytes())]
    return found


def hits(data: bytes) -> list[bytes]:
    """Planted identifiers in bytes, as they are and as UTF-16, and in streams that zlib unpacks."""
    return [hit for part in _parts(data) for hit in _FOUND.findall(part)]


def _parts(data: bytes) -> Iterator[bytes]:
    yield data
    yield data.replace(b"\0", b"")
    for head in _streams(data):
        try:
            yield zlib.decompressobj(47).decompress(data[head:], 1 << 26)
        except zlib.error:
            continue


def _streams(data: bytes) -> Iterable[int]:
    return [found.start() for found in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data)][:200]
