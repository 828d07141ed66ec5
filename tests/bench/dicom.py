"""DICOM files to working pictures by medai and by pydicom, side by side; ``make bench-images`` calls ``figures``.

A radiograph of 1024 × 1024 in twelve bits, uncompressed and in RLE, becomes 224 × 224 levels of grey. medai's figure is
that of its reader's own workers, with quality, hash and pixels laid aside, nothing skipped but the start of a worker.
The peer is pydicom as its manual shows it, with its own decoder of RLE: once with the window that it would be shown by,
once bare, its values resized as they are stored. Both sides tell the median of what some files in a row took, since a
burst of other work says nothing of either.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medai.sources.dicom import decoding
from medai.sources.dicom.decoding import Target
from medai.sources.dicom.waiting import decode_aside, waiting_in
from medai.sources.pictures.workers import each_decoded
from medai.sources.synthetic.dicom_files import file_of

SIDE, SMALL = 1024, 224
FILES, ROW = 200, 8
RAW, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"


def radiograph(syntax: str) -> bytes:
    """Smooth shadows and the noise of a detector, as a device stores them."""
    from pydicom.dataset import Dataset

    down, across = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).normal(0, 8, (SIDE, SIDE))
    values = (2000 + 1500 * np.sin(down / 90) * np.cos(across / 70) + noise).clip(0, 4095).astype(np.uint16)
    told = Dataset()
    elements = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "SOPInstanceUID": "2.25.1", "StudyInstanceUID": "2.25.2",
        "SeriesInstanceUID": "2.25.3", "PatientID": "M1", "PatientSex": "F", "PatientAge": "050Y", "Modality": "DX",
        "StudyDate": "20200101", "StudyTime": "101010", "Manufacturer": "A", "ViewPosition": "PA",
        "ImagerPixelSpacing": [0.14, 0.14], "WindowCenter": 2048, "WindowWidth": 4096, "RescaleSlope": 1,
        "RescaleIntercept": 0, "Rows": SIDE, "Columns": SIDE, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    }  # fmt: skip
    for keyword, value in elements.items():
        setattr(told, keyword, value)
    return file_of(told, values, syntax)


def by_medai(path: Path) -> float:
    """Seconds a file in one worker, by the median of some files in a row."""
    target = Target(SMALL, SMALL, 1, False, "header", "each")
    answered = []
    with waiting_in(path.parent) as waiting:
        decode = partial(decode_aside, target=target, folder=waiting)
        for laid in each_decoded(decode, [path] * FILES, module=decoding.__name__, processes=1):
            if laid.answer.pictures[0].decoded.fault is not None:  # type: ignore[union-attr]
                raise RuntimeError("the benchmark's own file is not read")
            answered.append(time.perf_counter())
    marks = answered[::ROW]
    return statistics.median(late - soon for soon, late in pairwise(marks)) / ROW


def by_pydicom(path: Path, *, bare: bool) -> float:
    """Seconds a file."""
    import cv2
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    cv2.setNumThreads(1)

    def once() -> Any:
        dataset = dcmread(path)
        dataset.pixel_array_options(decoding_plugin="pydicom" if dataset.file_meta.TransferSyntaxUID == RLE else "")
        levels = dataset.pixel_array
        if not bare:
            shown = apply_voi_lut(apply_modality_lut(levels, dataset), dataset)
            levels = (shown / 4095 * 255).astype(np.uint8)
        return cv2.resize(levels, (SMALL, SMALL), interpolation=cv2.INTER_AREA)

    once()
    times = []
    for _ in range(ROW + 1):
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def figures(repeats: int = 5) -> dict[str, float]:
    """How many times longer pydicom takes, with its window and bare: medians of several runs."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, syntax in (("raw", RAW), ("rle", RLE)):
            path = Path(folder, f"{name}.dcm")
            path.write_bytes(radiograph(syntax))
            shown, bare = [], []
            for _ in range(repeats):
                plain, ours, theirs = by_pydicom(path, bare=True), by_medai(path), by_pydicom(path, bare=False)
                shown.append(theirs / ours)
                bare.append(plain / ours)
                told = (f"{who} {1000 * seconds:.1f} ms" for who, seconds in
                        (("medai", ours), ("pydicom", theirs), ("bare", plain)))  # fmt: skip
                sys.stderr.write(f"dicom {name}: {', '.join(told)} a file\n")
            found[f"pydicom_{name}_over_medai"] = round(statistics.median(shown), 2)
            found[f"bare_pydicom_{name}_over_medai"] = round(statistics.median(bare), 2)
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{figures()}\n")
