"""DICOM files by hand for the tests of their reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medai.sources.dicom.decoding import Answer, Target, decode
from medai.sources.dicom.elements import Fault, open_elements
from medai.sources.dicom.headers import header_of
from medai.sources.dicom.pixels import Frame, frames_of
from medai.sources.synthetic.dicom_files import file_of

LITTLE, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_12, JPEG_LOSSLESS = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70))
JPEG_LS, JPEG_2000, HTJ2K = (f"1.2.840.10008.1.2.4.{number}" for number in (80, 90, 201))
TWELVE = np.random.default_rng(7).integers(0, 4096, (9, 14)).astype(np.uint16)
"""Stored values of twelve bits, with an odd number of rows."""
WHOLE = Target(9, 14, 1, False, "header", "each")
"""The size of TWELVE, so that nothing is resized."""


def dataset(values: np.ndarray, **told: Any) -> Dataset:
    """The elements of a picture of twelve bits, or as the type of the values says; None leaves one out."""
    bits = values.dtype.itemsize * 8
    colours = values.ndim >= 3 and values.shape[-1] == 3
    made = Dataset()
    plain = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.5", "PatientID": "K-17", "Modality": "CR",
        "SamplesPerPixel": 3 if colours else 1, "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "Rows": values.shape[-3 if colours else -2], "Columns": values.shape[-2 if colours else -1],
        "BitsAllocated": bits, "BitsStored": 12 if bits == 16 else bits, "HighBit": 11 if bits == 16 else bits - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
    }  # fmt: skip
    if colours:
        plain["PlanarConfiguration"] = 0
    for keyword, value in (plain | told).items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def made(values: np.ndarray = TWELVE, syntax: str | None = LITTLE, **told: Any) -> bytes:
    """A file of these values whose elements agree with them, but for those that are told."""
    return file_of(dataset(values, **told), values, syntax)


def lying(values: np.ndarray = TWELVE, syntax: str = LITTLE, **lies: Any) -> bytes:
    """A sound file's pixels under elements that say something else."""
    return file_of(dataset(values), values, syntax, **lies)


def segmented(
    path: Path, pictures: Sequence[Dataset], segments: Mapping[str, np.ndarray], kind: str = "BINARY"
) -> Path:
    """A segmentation object of pictures: label → (slices, rows, columns) of what its segment covers."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(segments, start=1)
    ]
    stack = np.stack(list(segments.values()), axis=-1)
    hd.seg.Segmentation(
        source_images=pictures,
        pixel_array=stack.astype(np.uint8 if kind == "BINARY" else np.float32),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    ).save_as(path)
    return path


def frames(data: bytes) -> list[Frame]:
    """The stored frames of a file's bytes."""
    opened = open_elements(data)
    header = header_of(opened)
    return list(frames_of(opened, header, range(header.frames)))


def stored(data: bytes) -> np.ndarray:
    """The stored values of a file of one frame."""
    (frame,) = frames(data)
    return frame.values


def fault_of(data: bytes, target: Target = WHOLE) -> str | None:
    """The one fault of a file that gives no pixels."""
    (picture,) = decode(data, target).pictures
    assert picture.decoded.pixels is None
    return picture.decoded.fault


def reason_of(data: bytes) -> str:
    """Why the stored frames cannot be had."""
    try:
        frames(data)
    except Fault as fault:
        return fault.reason
    return "none"


def grey(data: bytes, target: Target = WHOLE) -> np.ndarray:
    """The one working picture of a file, without its axis of one channel."""
    answer: Answer = decode(data, target)
    (picture,) = answer.pictures
    assert picture.decoded.fault is None
    assert picture.decoded.pixels is not None
    return picture.decoded.pixels[..., 0]


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An explicit little-endian element."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"SQ", b"OB", b"OW", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def with_elements(data: bytes, *elements: bytes) -> bytes:
    """A file with further elements put before its first one behind the meta information."""
    length = int.from_bytes(data[140:144], "little")
    begin = 144 + length
    return data[:begin] + b"".join(elements) + data[begin:]
