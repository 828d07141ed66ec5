"""DICOM files to working pictures by medai and by pydicom, side by side; ``make bench-images`` calls ``figures``.

A radiograph of 1024 × 1024 in twelve bits, uncompressed and in RLE, becomes 224 × 224 levels of grey. medai's figure is
that of its reader's own workers, with quality and hash, nothing skipped but the start of a worker: what a long run
takes more than a short one. The peer is pydicom as its manual shows it, with its own decoder of RLE.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medai.sources.dicom import decoding
from medai.sources.dicom.decoding import Target, decode_file
from medai.sources.pictures.workers import each_decoded
from medai.sources.synthetic.dicom_files import file_of

SIDE, SMALL = 1024, 224
SHORT, LONG = 8, 40
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
    """Seconds a file in one worker."""
    target = Target(SMALL, SMALL, 1, False, "header", "each")

    def run(files: int) -> float:
        begin = time.perf_counter()
        tasks = [path] * files
        answers = each_decoded(partial(decode_file, target=target), tasks, module=decoding.__name__, processes=1)
        for answer in answers:
            if answer.pictures[0].decoded.fault is not None:  # type: ignore[union-attr]
                raise RuntimeError("the benchmark's own file is not read")
        return time.perf_counter() - begin

    short = min(run(SHORT) for _ in range(2))
    return max(run(LONG) - short, 1e-9) / (LONG - SHORT)


def by_pydicom(path: Path) -> float:
    """Seconds a file."""
    import cv2
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    def once() -> Any:
        dataset = dcmread(io.BytesIO(path.read_bytes()))
        dataset.pixel_array_options(decoding_plugin="pydicom" if dataset.file_meta.TransferSyntaxUID == RLE else "")
        shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        grey = (shown / 4095 * 255).astype(np.uint8)
        return cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA)

    once()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def figures(repeats: int = 5) -> dict[str, float]:
    """How many times longer pydicom takes: medians of several runs."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, syntax in (("raw", RAW), ("rle", RLE)):
            path = Path(folder, f"{name}.dcm")
            path.write_bytes(radiograph(syntax))
            ratios = []
            for _ in range(repeats):
                ours, theirs = by_medai(path), by_pydicom(path)
                ratios.append(theirs / ours)
                sys.stderr.write(f"dicom {name}: medai {1000 * ours:.1f} ms, pydicom {1000 * theirs:.1f} ms a file\n")
            found[f"pydicom_{name}_over_medai"] = round(statistics.median(ratios), 2)
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{figures()}\n")
