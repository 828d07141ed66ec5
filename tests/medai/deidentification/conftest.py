"""DICOM files as a hospital might write them, and worse."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medai.deidentification import Key

Written = Callable[..., bytes]


@pytest.fixture(scope="session")
def key() -> Key:
    """A key of nobody's."""
    return Key(bytes(range(32)))


def radiograph(size: int = 96, seed: int = 0) -> np.ndarray:
    """A smooth noisy field of 12 bits, (size, size) uint16."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    levels = 1500 + 900 * np.cos(2 * down) * np.cos(3 * across) + rng.normal(0, 40, (size, size))
    return np.clip(levels, 0, 4095).astype(np.uint16)


@pytest.fixture(scope="session")
def dicom() -> Written:
    """Write a radiograph as a DICOM file; keywords set attributes, ``change`` does anything else to the data set."""

    def write(
        pixels: np.ndarray | None = None,
        change: Callable[[Any], None] | None = None,
        syntax: str = "1.2.840.10008.1.2.1",
        **attributes: Any,
    ) -> bytes:
        from pydicom import dcmwrite
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import DigitalXRayImageStorageForPresentation

        image = radiograph() if pixels is None else pixels
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        given = {
            "SOPClassUID": DigitalXRayImageStorageForPresentation, "SOPInstanceUID": "1.2.3.4.5.1",
            "StudyInstanceUID": "1.2.3.4.1", "SeriesInstanceUID": "1.2.3.4.2", "Modality": "DX",
            "PatientID": "0017", "PatientName": "Mustermann^Erika", "PatientSex": "F", "PatientAge": "093Y",
            "PatientBirthDate": "19270312", "StudyDate": "20200301", "StudyTime": "101112", "AccessionNumber": "77123",
            "ViewPosition": "PA", "BodyPartExamined": "CHEST", "PixelSpacing": [0.14, 0.14],
            "Rows": image.shape[0], "Columns": image.shape[1], "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
            "PixelRepresentation": 0, "PixelData": image.astype("<u2").tobytes(),
        }  # fmt: skip
        for name, value in {**given, **attributes}.items():
            if value is not None:
                setattr(dataset, name, value)
        if change is not None:
            change(dataset)
        buffer = io.BytesIO()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dcmwrite(buffer, dataset, enforce_file_format=True)
        return buffer.getvalue()

    return write
