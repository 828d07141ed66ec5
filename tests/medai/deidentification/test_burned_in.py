"""Text in pictures: how much of it is seen, and how many pictures without any are set aside for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medai.deidentification.burned_in import shows_text
from medai.sources.synthetic import Synthetic, SyntheticHospital, generate

pytest.importorskip("cv2", reason="the extra imaging is not installed")

LINES = ("MUSTERMANN, ERIKA", "geb. 12.03.1961", "PID 00123456", "St. Anna Hospital", "Schmidt", "2019-04-03 11:22")
FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "DejaVuSans-Bold")
HEIGHTS = (10, 14, 20, 28, 40)
"""Pixels of a capital letter."""


def chest(number: int, size: int = 384) -> np.ndarray:
    """A field like a radiograph's: broad shades with details at every scale, ribs, a spine, grain, a dark border."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    shades = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / (frequency + 1 / size) ** 2).real
    levels = 0.35 * (shades - shades.min()) / np.ptp(shades)
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    levels += 0.35 * np.exp(-(across**2) / 0.02) + 0.2 * (np.hypot(down, across) < 0.95)
    for rib in range(9):
        levels += 0.08 * np.exp(-((down + 0.8 - 0.2 * rib + 0.3 * across**2) ** 2) / 0.0009) * (np.abs(across) < 0.8)
    levels += rng.normal(0, 0.015, levels.shape)
    return (np.clip(levels, 0, 1) * 3500).astype(np.uint16)


def lettered(picture: np.ndarray, number: int, height: int) -> np.ndarray:
    """The picture with a line of text somewhere: white, black or nearly white, upright or turned."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(folder / f"{FONTS[number % 4]}.ttf"), int(height / 0.73))
    text, rng = LINES[number % 6], np.random.default_rng(number)
    mask = Image.new("L", picture.shape[::-1])
    room = (picture.shape[1] - font.getlength(text) - 4, picture.shape[0] - 1.5 * height - 4)
    if min(room) < 4:
        text, room = text[:7], (4.0, room[1])
    ImageDraw.Draw(mask).text((rng.uniform(2, room[0]), rng.uniform(2, room[1])), text, fill=255, font=font)
    share = np.asarray(mask, np.float64) / 255
    out = picture * (1 - share) + (4095, 0, 3700)[number % 3] * share
    return np.rot90(out) if number % 5 == 4 else out


def test_text_is_seen_and_anatomy_is_not() -> None:
    """At least 95 of 100 lines of four letters and more, of 10 to 40 pixels; none of 20 pictures without text."""
    pictures = [chest(number) for number in range(20)]
    false = sum(shows_text(picture) for picture in pictures)
    seen = [
        shows_text(lettered(picture, number, HEIGHTS[(number + at) % 5]))
        for number, picture in enumerate(pictures)
        for at in range(2)
    ]
    assert sum(seen) >= 0.95 * len(seen), f"seen {sum(seen)} of {len(seen)}"
    assert false == 0, f"{false} of {len(pictures)} taken for text"


@pytest.mark.parametrize(
    "config",
    [
        Synthetic(kind="synthetic", layout="medmnist", subjects=40, size=64),
        SyntheticHospital(kind="synthetic", layout="hospital", subjects=60, faults=0),
    ],
    ids=["pictures", "hospital"],
)
def test_generated_radiographs_show_none(config: Synthetic | SyntheticHospital, tmp_path: Path) -> None:
    """The generated sets of the catalogue pass; with a name drawn on them they do not."""
    generate(config, tmp_path)
    pictures = [np.asarray(Image.open(path)) for path in sorted(tmp_path.rglob("*.png"))[:12]]
    for path in tmp_path.rglob("*.npz"):
        pictures += list(np.load(path)["train_images"][:12])
    assert len(pictures) == 12
    assert not any(shows_text(picture) for picture in pictures)
    large = [np.kron(picture, np.ones((4, 4))) for picture in pictures]
    seen = [shows_text(lettered(picture, number, 14)) for number, picture in enumerate(large)]
    assert sum(seen) >= 11, seen


@pytest.mark.parametrize("shape", [(4, 4), (1, 500), (20, 20), (600, 7)], ids=["tiny", "a line", "small", "narrow"])
def test_any_size_has_an_answer(shape: tuple[int, int]) -> None:
    """Constant, saturated, not a number, in colour."""
    for picture in (np.zeros(shape), np.full(shape, 255, np.uint8), np.full(shape, np.nan), np.ones((*shape, 3))):
        assert not shows_text(picture)
