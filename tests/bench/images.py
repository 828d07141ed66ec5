"""``make bench-images``: the first pass over pictures and an epoch from the cache, against what each cannot do without.

Radiographs of 1024 × 1024 are drawn from a seed and laid out in class folders, once as PNG by Pillow, once as JPEG by
Pillow of the same pictures as a detector blurs them. Then, in turn, each in a process of its own, on one processor:

    inflate      the compressed rows of each PNG, with zlib-ng (and, for comparison, isal and zlib)
    png          medai's stage ingest, PNG to 224 × 224 grey: hashed, decoded in a worker, measured, stored, tabled
    jpeg         the same of the JPEGs
    full_jpeg    OpenCV: decode to grey at full size, resize by area
    pillow_jpeg  Pillow: open, convert to RGB, resize
    cached       an epoch's batches in a new order from the cache that ingest wrote
    redecode     the same epoch by decoding each PNG again, as plainly as OpenCV does it

Then DICOM of 12 bits, uncompressed and RLE, one file at a time: see ``dicom``.

Figures are medians of seconds; medai's are the stage's own, of a workspace that has never seen the data. Imports are
loaded before, as they are while Prefect's server starts: so is the process that workers are forked from. Each worker is
started and ended within the stage. The files lie in the page cache for all alike.

Environment: REPEATS (5), PICTURES (400), SIZE (1024).
"""

import importlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = int(os.environ.get("REPEATS", "5"))
PICTURES = int(os.environ.get("PICTURES", "400"))
SIZE = int(os.environ.get("SIZE", "1024"))
WORKING = (224, 224)
BATCH = 32
EPOCHS = 5
DRAWN = 20
"""Pictures drawn anew; the others are these turned over and moved on, so that no two look alike."""


def draw(folder: Path) -> None:
    """The radiographs as PNG and as JPEG, in class folders below ``png`` and ``jpeg``."""
    import cv2
    import numpy as np
    from PIL import Image

    from medai.sources.synthetic import radiographs

    drawn = []
    for number in range(DRAWN):
        stream = np.random.default_rng(number)
        drawn.append(radiographs.draw(stream, stream.random(8), number % 2, SIZE))
    for number in range(PICTURES):
        turn, levels = number // DRAWN, drawn[number % DRAWN]
        levels = np.rot90(levels[:, ::-1] if turn & 1 else levels, turn >> 1 & 3)
        levels = np.ascontiguousarray(np.roll(levels, 128 * (turn >> 3), axis=1))
        for kind, picture in (("png", levels), ("jpeg", cv2.GaussianBlur(levels, (0, 0), 2))):
            place = folder / kind / ("NORMAL", "PNEUMONIA")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"person{number}.{kind}")


def files(folder: Path, kind: str) -> list[Path]:
    """The pictures of a kind."""
    return sorted((folder / kind).rglob(f"*.{kind}"))


def inflate(with_library: Callable[[], Callable[[bytes], object]]) -> Callable[[Path], float]:
    """Seconds of inflating the compressed rows of each PNG."""

    def measure(folder: Path) -> float:
        decompress = with_library()
        rows = compressed_rows(folder)
        started = time.perf_counter()
        for stored in rows:
            decompress(stored)
        return time.perf_counter() - started

    return measure


def zlib_ng() -> Callable[[bytes], object]:
    """zlib-ng, which is told how much there will be."""
    import imagecodecs

    return lambda stored: imagecodecs.zlibng_decode(stored, out=SIZE * (SIZE + 1))


def isal() -> Callable[[bytes], object]:
    """Intel's library, in assembler."""
    from isal import isal_zlib

    return isal_zlib.decompress


def zlib() -> Callable[[bytes], object]:
    """Python's own."""
    import zlib

    return zlib.decompress


def compressed_rows(folder: Path) -> list[bytes]:
    """The compressed rows of each PNG."""
    rows = []
    for path in files(folder, "png"):
        data, at, parts = path.read_bytes(), 8, []
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            if data[at + 4 : at + 8] == b"IDAT":
                parts.append(data[at + 8 : at + 8 + length])
            at += 12 + length
        rows.append(b"".join(parts))
    return rows


def _ingested(data: Path, home: Path) -> Any:
    """Ingest as ``medai run`` does, its libraries imported before, as they are while Prefect's server starts."""
    from medai.ingestion import ingest
    from medai.sources import ImageFolder
    from medai.sources.pictures.workers import each_decoded
    from medai.workspace import Workspace

    for name in ("cv2", "pandas", "pyarrow.parquet"):
        importlib.import_module(name)
    list(each_decoded(len, ["a nursery"], module="medai.sources.pictures.decoding"))
    source = ImageFolder(
        kind="image_folder", classes=("NORMAL", "PNEUMONIA"), size=WORKING, subject="(?P<subject>person[0-9]+)"
    )
    workspace = Workspace(home)
    made = ingest(workspace, source, data)
    return made, workspace.folder("ingest", made.record.key)


def first_pass(kind: str) -> Callable[[Path], float]:
    """Seconds of the stage ingest in a new workspace."""

    def measure(folder: Path) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as home:
            made, _ = _ingested(folder / kind, Path(home))
            if made.record.tables["images"] != PICTURES or made.record.counts:
                raise SystemExit(f"not every picture was read: {made.record.counts}")
            return float(made.seconds)

    return measure


def full_jpeg(folder: Path) -> float:
    """Seconds of OpenCV's full decode and resize."""
    import cv2

    cv2.setNumThreads(1)
    paths = [str(path) for path in files(folder, "jpeg")]
    started = time.perf_counter()
    for path in paths:
        cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), WORKING, interpolation=cv2.INTER_AREA)
    return time.perf_counter() - started


def pillow_jpeg(folder: Path) -> float:
    """Seconds of Pillow's decode to RGB and resize."""
    from PIL import Image

    paths = files(folder, "jpeg")
    Image.init()
    started = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB").resize(WORKING)
    return time.perf_counter() - started


def cached(folder: Path) -> float:
    """Seconds of one epoch from the cache, batches of pictures in a new order; the mean of several epochs."""
    import numpy as np

    _, kept = _ingested(folder / "png", folder / "home")
    pixels = np.load(kept / "pixels.npy", mmap_mode="r")
    stream = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        order = stream.permutation(len(pixels))
        for start in range(0, len(order), BATCH):
            pixels[order[start : start + BATCH]]
    return (time.perf_counter() - started) / EPOCHS


def redecode(folder: Path) -> float:
    """Seconds of the same epoch, each PNG decoded and resized again."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    paths = [str(path) for path in files(folder, "png")]
    order = np.random.default_rng(0).permutation(len(paths))
    started = time.perf_counter()
    for start in range(0, len(order), BATCH):
        np.stack(
            [
                cv2.resize(cv2.imread(paths[at], cv2.IMREAD_GRAYSCALE), WORKING, interpolation=cv2.INTER_AREA)
                for at in order[start : start + BATCH]
            ]
        )
    return time.perf_counter() - started


ENGINES: dict[str, Callable[[Path], float]] = {
    "inflate": inflate(zlib_ng),
    "isal": inflate(isal),
    "zlib": inflate(zlib),
    "png": first_pass("png"),
    "jpeg": first_pass("jpeg"),
    "full_jpeg": full_jpeg,
    "pillow_jpeg": pillow_jpeg,
    "cached": cached,
    "redecode": redecode,
}
"""Name → what measures it. A format's first pass and its peers are added here, and their ratios in ``FIGURES``."""

FIGURES = {
    "png_over_inflate": ("png", "inflate"),
    "full_jpeg_over_medai": ("full_jpeg", "jpeg"),
    "pillow_rgb_jpeg_over_medai": ("pillow_jpeg", "jpeg"),
    "redecode_over_cached": ("redecode", "cached"),
}
"""Figure → the engine whose seconds are divided by the other's."""


def alone(engine: str, folder: Path) -> float:
    """An engine's seconds, in a process of its own that may use one processor, as may those that it starts."""
    command = [sys.executable, "-m", "tests.bench.images", engine, str(folder)]
    if hasattr(os, "sched_getaffinity"):
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    answer = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return float(answer.stdout.splitlines()[-1])


def tell(*cells: object) -> None:
    """One row of the table."""
    sys.stdout.write("  ".join(f"{cell:>12.3f}" if isinstance(cell, float) else f"{cell!s:>12}" for cell in cells))
    sys.stdout.write("\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, print the table, end with the figures."""
    with tempfile.TemporaryDirectory(prefix="medai-bench-") as name:
        folder = Path(name)
        draw(folder)
        sizes = {kind: sum(path.stat().st_size for path in files(folder, kind)) // PICTURES for kind in ("png", "jpeg")}
        sys.stdout.write(f"{PICTURES} pictures of {SIZE} × {SIZE}, milliseconds a picture on one processor; ")
        sys.stdout.write(f"PNG {sizes['png']:,} and JPEG {sizes['jpeg']:,} bytes each\n")
        turns = tuple(ENGINES)
        tell("turn", *turns)
        found: dict[str, list[float]] = {engine: [] for engine in turns}
        for engine in turns:  # brings files and libraries into the page cache, and makes the kept snapshot
            alone(engine, folder)
        for turn in range(REPEATS):
            for engine in turns if turn % 2 == 0 else turns[::-1]:
                found[engine].append(alone(engine, folder))
            tell(turn + 1, *(1000 * found[engine][-1] / PICTURES for engine in turns))
        median = {engine: statistics.median(seconds) for engine, seconds in found.items()}
        tell("median", *(1000 * median[engine] / PICTURES for engine in turns))
        figures = {figure: round(median[above] / median[below], 2) for figure, (above, below) in FIGURES.items()}
    from tests.bench import dicom

    figures |= dicom.figures(REPEATS)
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(f"{ENGINES[sys.argv[1]](Path(sys.argv[2]))}\n")
    else:
        main()
