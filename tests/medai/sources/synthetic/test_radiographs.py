"""The synthetic radiographs: files that every reader opens, and an opacity as dense as the signal says."""

from __future__ import annotations

import hashlib
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medai.sources.synthetic.radiographs import draw, png
from medai.sources.synthetic.streams import stream_of

Hospital = Callable[..., Path]


def picture(subject: int, finding: float, size: int = 48) -> np.ndarray:
    """A picture of a patient."""
    stream = stream_of(3, subject, 1)
    return draw(stream, stream.random(8), finding, size)


def test_files_lie_in_their_class_and_name_patient_and_study(hospital: Hospital) -> None:
    """8-bit grey PNG of the asked size; not every patient has one, some have three; studies are unique."""
    folder = hospital(200, faults=0, size=40) / "radiographs"
    assert sorted(path.name for path in folder.iterdir()) == ["NORMAL", "PNEUMONIA"]
    files = sorted(folder.rglob("*.png"))
    names = [re.fullmatch(r"p(1\d{7})_s(5\d{7})\.png", file.name) for file in files]
    assert all(names)
    studies = Counter(name[1] for name in names if name)
    assert 80 < len(studies) < 160
    assert set(studies.values()) == {1, 2, 3}
    assert len({name[2] for name in names if name}) == len(files)
    share = len(list((folder / "PNEUMONIA").iterdir())) / len(files)
    assert 0.25 < share < 0.55
    with Image.open(files[0]) as image:
        assert (image.format, image.mode, image.size, image.info) == ("PNG", "L", (40, 40), {})


def test_a_png_holds_the_pixels_and_nothing_else() -> None:
    """Header, one block of data, end; read back by Pillow, pixel by pixel."""
    import io

    pixels = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9)
    data = png(pixels)
    assert re.findall(rb"IHDR|IDAT|IEND|tEXt|tIME|pHYs", data) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">II", data[16:24]) == (9, 6)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_a_finding_only_adds_density_and_only_in_places() -> None:
    """With it some pixels are lighter, none is darker, and most are as they were."""
    for subject in range(10):
        without, with_finding = (picture(subject, finding).astype(int) for finding in (0.0, 1.0))
        change = with_finding - without
        assert change.min() >= 0
        assert change.max() > 15
        assert (change == 0).mean() > 0.5


def test_without_signal_a_picture_does_not_know_its_label(hospital: Hospital) -> None:
    """Signal 0: whatever share of patients has pneumonia, the pictures are the same, in other folders."""
    few, many = (hospital(60, signal=0, faults=0, pneumonia=share) / "radiographs" for share in (0.1, 0.7))
    left, right = ({file.name: file for file in folder.rglob("*.png")} for folder in (few, many))
    assert left.keys() == right.keys()
    assert all(file.read_bytes() == right[name].read_bytes() for name, file in left.items())
    assert any(file.parent.name != right[name].parent.name for name, file in left.items())


@pytest.mark.parametrize(("signal", "low", "high"), [(1.0, 0.85, 1.0), (0.0, 0.35, 0.65)])
def test_pictures_carry_the_planted_signal(signal: float, low: float, high: float) -> None:
    """A straight line through the pixels, fitted on 300, finds it in 150 others; without signal it finds nothing."""
    labels = np.arange(450) % 2
    pixels = np.stack([picture(at, signal * labels[at], 32).ravel() for at in range(450)]).astype(float)
    pixels = (pixels - pixels.mean(0)) / (pixels.std(0) + 1)
    gram = pixels[:300] @ pixels[:300].T + 3000 * np.eye(300)
    scores = pixels[300:] @ (pixels[:300].T @ np.linalg.solve(gram, labels[:300] - 0.5))
    positive, negative = scores[labels[300:] == 1], scores[labels[300:] == 0]
    assert low < (positive[:, None] > negative[None, :]).mean() < high


def test_the_pixels_are_those_of_this_version() -> None:
    """Golden: whoever changes what is drawn raises the stage's VERSION."""
    pixels = b"".join(picture(subject, subject % 2).tobytes() for subject in range(8))
    assert hashlib.sha256(pixels).hexdigest() == "87b8d45c371766591388db64a8090b3d433492528ac049d602babcd8f54a3854"
