"""The pixels of DICOM files by dcmtk, which medai does not use: ``make oracle-dicom`` prints how they compare.

Whoever has no dcmtk on PATH still has the golden table beside the tests: file → hash of its stored values, or reason.
What dcmtk 3.6.7 cannot read (JPEG 2000) is read by SimpleITK, whose decoder (GDCM) medai does not use either.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

TOOLS = ("dcmdump", "dcmconv", "dcmdjpeg", "dcmdrle", "dcmdjpls", "dcm2pnm", "dcmj2pnm", "dcml2pnm")
_CONVERTERS = {"rle": ["dcmdrle"], "jpeg_ls": ["dcmdjpls"], "jpeg": ["dcmdjpeg"], "jpeg_lossless": ["dcmdjpeg"]}
_WORD = re.compile(r"^\(\w{4},\w{4}\) \w\w (?:=?\[?)([^\]#]*)", re.MULTILINE)


def is_here() -> bool:
    """Whether dcmtk's tools are on PATH."""
    return all(shutil.which(tool) for tool in TOOLS)


def told(path: Path, keyword: str) -> str | None:
    """An element's value as dcmdump prints it."""
    found = _run(["dcmdump", "-q", "-Un", "+P", keyword, "-s", str(path)])
    match = None if found is None else _WORD.search(found.stdout.decode("latin-1"))
    return None if match is None else match[1].strip()


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes] | None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done if done.returncode == 0 else None


def stored_by_dcmtk(path: Path, coding: str) -> np.ndarray | None:
    """(frames, rows, columns[, 3]) as stored, with the sign of the bits in use; None where dcmtk cannot."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.dcm")
        if _run([*_CONVERTERS.get(coding, ["dcmconv", "+te"]), str(path), str(plain)]) is None:
            return None
        if _run(["dcmdump", "-q", "+W", folder, str(plain)]) is None:
            return None
        raw = sorted(Path(folder).glob("*.raw"))
        if not raw:
            return None
        octets = raw[0].read_bytes()
        keys = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
        rows, columns, samples, allocated, stored, signed = (int(told(plain, key) or 0) for key in keys)
        frames = int(told(plain, "NumberOfFrames") or 1)
        planar = told(plain, "PlanarConfiguration") == "1"
        halved = told(plain, "PhotometricInterpretation") == "YBR_FULL_422"
    return _shaped(octets, (frames, rows, columns, samples), (allocated, stored, signed), planar=planar, halved=halved)


def _shaped(
    octets: bytes, shape: tuple[int, int, int, int], bits: tuple[int, int, int], *, planar: bool, halved: bool
) -> np.ndarray | None:
    frames, rows, columns, samples = shape
    allocated, stored, signed = bits
    if allocated == 1:
        values = np.unpackbits(np.frombuffer(octets, np.uint8), bitorder="little")
        return values[: frames * rows * columns].reshape(frames, rows, columns)
    count = frames * rows * columns * (2 if halved else samples)
    if len(octets) < count * allocated // 8:
        return None
    values = np.frombuffer(octets, f"<u{allocated // 8}", count)
    if signed:
        wide = values.astype(np.int64) << (64 - stored)
        values = (wide >> (64 - stored)).astype(f"i{allocated // 8}")
    elif stored < allocated:
        values = values & ((1 << stored) - 1)
    if halved:
        four = values.reshape(frames, rows, columns // 2, 4)
        return np.stack([four[..., (0, 2, 3)], four[..., (1, 2, 3)]], axis=3).reshape(frames, rows, columns, 3)
    if samples == 1:
        return values.reshape(frames, rows, columns)
    if planar:
        return values.reshape(frames, samples, rows, columns).transpose(0, 2, 3, 1)
    return values.reshape(frames, rows, columns, samples)


def shown_by_dcmtk(path: Path, coding: str, *, window: bool) -> np.ndarray | None:
    """The first frame as dcmtk renders it in 8 bits: by the file's first window, or by the range of its values."""
    tool = {"jpeg": "dcmj2pnm", "jpeg_lossless": "dcmj2pnm", "jpeg_ls": "dcml2pnm"}.get(coding, "dcm2pnm")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "shown.pnm")
        how = ["+Wi", "1"] if window else ["+Wm"]
        if _run([tool, "+op", "-O", *how, "+F", "1", str(path), str(out)]) is None:
            return None
        data = out.read_bytes()
    match = re.match(rb"P([56])\s+(?:#[^\n]*\n)*(\d+)\s+(\d+)\s+255\s", data)
    if match is None:
        return None
    columns, rows = int(match[2]), int(match[3])
    pixels = np.frombuffer(data, np.uint8, offset=match.end())
    return pixels.reshape((rows, columns) if match[1] == b"5" else (rows, columns, 3))


def stored_by_itk(path: Path) -> np.ndarray | None:
    """As ``stored_by_dcmtk``, by SimpleITK; None where it cannot."""
    import SimpleITK as sitk

    slope, intercept = (float(told(path, f"Rescale{part}") or 0) for part in ("Slope", "Intercept"))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError:
        return None
    return np.asarray((values - intercept) / slope if slope else values)
