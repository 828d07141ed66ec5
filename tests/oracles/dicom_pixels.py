"""pydicom's test files by decoders that medai does not use: ``make oracle-dicom`` prints how they compare.

Stored values at full size must be equal, in every frame; what is shown of the first frame may differ by one level,
since dcmtk cuts where medai rounds. What dcmtk 3.6.7 cannot read (JPEG 2000 above all) is read by SimpleITK, whose
decoder is GDCM's. Whoever has no dcmtk on PATH still has ``pydicom_files.csv``: file → hash of its stored values, or
the reason for which it is set aside, and who confirmed it.
"""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medai.sources.dicom.elements import Fault, open_elements
from medai.sources.dicom.headers import header_of
from medai.sources.dicom.pixels import frames_of
from medai.sources.dicom.rendering import colours_of, levels_of, presentation_of

GOLDEN = Path(__file__).with_name("pydicom_files.csv")
NO_PIXELS = "no_pixels"

TOOLS = ("dcmdump", "dcmconv", "dcmdjpeg", "dcmdrle", "dcmdjpls", "dcm2pnm", "dcmj2pnm")
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


class Ours(NamedTuple):
    """What medai makes of a file: the reason why it is set aside, or its values and the first frame as it is shown."""

    reason: str | None
    coding: str = ""
    voi: str = ""
    stored: np.ndarray | None = None
    shown: np.ndarray | None = None


def files() -> Iterator[tuple[str, Path]]:
    """pydicom's own test files that lie in its package, by their place in it; none is fetched.

    Left out are texts, and fifty equal stubs without pixels.
    """
    import pydicom

    root = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(root.rglob("*")):
        if (
            path.is_file()
            and path.suffix not in (".json", ".dump", ".txt", ".icc", ".gz", ".py")
            and "TINY_ALPHA" not in path.parts
        ):
            yield path.relative_to(root).as_posix(), path


def ours(path: Path) -> Ours:
    """A file by medai."""
    try:
        opened = open_elements(path.read_bytes())
        header = header_of(opened)
        frames = list(frames_of(opened, header, range(header.frames)))
        first = frames[0]
        if first.photometric.startswith("MONOCHROME"):
            shown, voi = levels_of(first, header, presentation_of(opened.elements, header, 0), "header")
        else:
            shown, voi = colours_of(first, header, opened.elements), "colours"
    except Fault as fault:
        return Ours(fault.reason)
    return Ours(None, header.coding, voi, np.stack([frame.values for frame in frames]), shown)


def hash_of(stored: np.ndarray) -> str:
    """Of type, shape and values, in little-endian order."""
    plain = np.ascontiguousarray(stored, stored.dtype.newbyteorder("<"))
    head = f"{stored.dtype.kind}{stored.dtype.itemsize} {stored.shape}\0".encode()
    return hashlib.sha256(head + plain.tobytes()).hexdigest()[:32]


def confirmed(path: Path, found: Ours) -> tuple[str, str]:
    """Who confirms the stored values (``dcmtk``, ``gdcm`` or nobody), and how what is shown differs at most.

    Raises:
        AssertionError: another decoder has other values, or dcmtk shows another picture.
    """
    assert found.stored is not None
    assert found.shown is not None
    by, theirs = "dcmtk", stored_by_dcmtk(path, found.coding)
    if theirs is None:
        by, theirs = "gdcm", stored_by_itk(path)
    if theirs is None:
        return "nobody", ""
    assert theirs.size == found.stored.size, f"{by} has {theirs.shape}, medai {found.stored.shape}"
    difference = np.abs(theirs.reshape(found.stored.shape).astype(np.int64) - found.stored.astype(np.int64))
    assert not difference.any(), f"{by} has other values in {np.count_nonzero(difference)} places"
    shown = shown_by_dcmtk(path, found.coding, window=found.voi == "window") if by == "dcmtk" else None
    if shown is None:
        return by, "not shown"
    apart = int(np.abs(shown.astype(np.int64) - found.shown).max())
    assert apart <= 1, f"dcmtk shows levels that differ by {apart}"
    return by, f"{apart} levels apart"


def golden() -> dict[str, tuple[str, str]]:
    """File → hash or reason, and who confirmed it."""
    with GOLDEN.open(newline="") as file:
        return {row["file"]: (row["outcome"], row["confirmed_by"]) for row in csv.DictReader(file)}


def say(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Compare every file, print the table and its summary; ``--write`` makes the golden table anew."""
    if not is_here():
        sys.exit("dcmtk's tools are not on PATH")
    rows, counted, expected = [], Counter[str](), golden() if GOLDEN.exists() else {}
    for name, path in files():
        try:
            found = ours(path)
            if found.reason is not None or found.stored is None:
                rows.append((name, str(found.reason), ""))
                counted["no picture" if found.reason == NO_PIXELS else "set aside with a reason"] += 1
                continue
            by, shown = confirmed(path, found)
            rows.append((name, hash_of(found.stored), by))
            counted["silent" if by == "nobody" else f"decoded equal to {by}"] += 1
            say(f"{name:50} {found.coding:14} equal to {by:6} {shown}")
        except AssertionError as difference:
            counted["silent"] += 1
            say(f"{name:50} DIFFERS: {difference}")
        except Exception as error:  # noqa: BLE001 - a crash is what is counted
            counted["crashes"] += 1
            say(f"{name:50} CRASHES: {type(error).__name__}")
    for name, outcome, by in rows:
        if not by:
            say(f"{name:50} set aside: {outcome}")
    if "--write" in sys.argv:
        with GOLDEN.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file", "outcome", "confirmed_by"))
            writer.writerows(rows)
    elif {name: (outcome, by) for name, outcome, by in rows} != expected:
        counted["differs from the golden table"] += 1
    say(" · ".join(f"{what}: {many}" for what, many in sorted({"silent": 0, "crashes": 0, **counted}.items())))
    if counted["silent"] or counted["crashes"] or counted["differs from the golden table"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
