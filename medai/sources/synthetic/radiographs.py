"""Chest radiographs: lungs, ribs, clavicles, heart, diaphragm and spine, by many devices; opacities in pneumonia.

Only sums, products and roots are taken of the drawn numbers, and a PNG is deflated at one level without any further
chunk, so that equal draws give equal files.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from medai.sources.synthetic.patients import PICTURES, Patient
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticHospital

CLASSES = ("NORMAL", "PNEUMONIA")
_LEVEL = 1
_SHARE = 0.62
"""Share of patients who have radiographs at all."""
_CONTRAST = 52
"""Grey levels that an opacity adds in its middle at signal 1; the noise has a standard deviation of 9 to 18."""
_LIGHTER = 32
"""Grey levels by which a hospital's pictures are lighter at shift 1."""
_SEEN, _FALSE = 0.9, 0.04
"""Share of pictures with an opacity, of patients with pneumonia and of others."""


def studies_of(config: SyntheticHospital, patient: Patient) -> list[tuple[int, int, np.ndarray]]:
    """A patient's studies: id, class (an index into CLASSES), and picture, uint8 (size, size); none to three."""
    stream = stream_of(config.seed, patient.subject, PICTURES)
    chance = stream.random(8).tolist()
    if chance[0] >= _SHARE:
        return []
    count = 1 + (chance[1] < 0.35) + (chance[1] < 0.12)
    body = stream.random(8)
    studies = []
    for number in range(count):
        label = int(chance[2 + number] < (_SEEN if patient.pneumonia else _FALSE))
        study_id = 50_000_000 + 30 * patient.subject + 10 * number + int(10 * chance[5 + number])
        picture = draw(stream, body, label * config.signal, config.size)
        studies.append((study_id, label, _lighter(picture, config.shift) if config.shift else picture))
    return studies


def _lighter(picture: np.ndarray, shift: float) -> np.ndarray:
    """The picture as a tube that was set anew takes it."""
    import numpy as np

    lighter: np.ndarray = np.clip(np.rint(picture + np.float32(_LIGHTER * shift)), 0, 255).astype(np.uint8)
    return lighter


def draw(stream: np.random.Generator, body: np.ndarray, finding: float, size: int) -> np.ndarray:
    """One picture.

    Args:
        stream: what is drawn is the same whatever the finding.
        body: eight numbers from 0 to 1 that are the patient's own.
        finding: how dense the opacities are; 0 draws none.
        size: of both sides, in pixels.

    Returns:
        uint8 (size, size).
    """
    import numpy as np

    # As plain numbers, which leave the arrays in single precision.
    own = (body * 2 - 1).tolist()
    view = (stream.random(24) * 2 - 1).tolist()
    spots = stream.random((3, 5)).tolist()
    noise = stream.random((2, size, size), dtype=np.float32)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    turn = 0.04 * view[0]
    across = (axis[None, :] - turn * axis[:, None] - 0.06 * view[1]) * (1 + 0.05 * view[2])
    down = (axis[:, None] + turn * axis[None, :] - 0.05 * view[3]) * (1 + 0.05 * view[4])

    # The body is lighter than the air beside it, and the chest wall lighter than the lungs.
    wall = ramp((1.06 + 0.06 * own[0] - across**2 * 1.12 - np.maximum(0, -down - 0.55) ** 2 * 3) * 4)
    grey = 18 + (132 + 14 * own[1]) * wall
    lungs = np.zeros((size, size), np.float32)
    for side in (-1, 1):
        middle = side * (0.46 + 0.02 * own[2])
        height = 0.84 + 0.06 * own[3] + 0.05 * view[5]
        wide = 0.37 + 0.025 * own[4]
        upper = np.where(down < 0, wide * (1 - 0.45 * down**2), wide)
        reach = np.abs((down + 0.06) / height)
        lung = ramp((1 - reach * reach * reach - ((across - middle) / upper) ** 2) * 3)
        dome = 0.5 + 0.05 * own[5] - 0.05 * (side < 0) - 0.7 * (across - middle) ** 2 - 0.04 * view[6]
        lungs = np.maximum(lungs, lung * ramp((dome + 0.12 - down) * 9))
    grey = grey - (92 + 8 * view[7]) * lungs

    # Ribs arch through the lungs; clavicles cross their tips.
    arch = down * (4.1 + 0.3 * own[6]) + 1.5 * (np.abs(across) - 0.4) ** 2 + 0.35 * np.abs(across) + 0.5 * own[7]
    grey = grey + (17 + 4 * view[8]) * lungs * ridge(arch)
    for side in (-1, 1):
        slope = -0.72 + 0.03 * view[9] + side * 0.22 * (side * across - 0.1) * (-0.8 + 0.3 * view[10]) * side
        inside = ramp((side * across - 0.06) * 12) * ramp((0.72 - side * across) * 12)
        grey = grey + 24 * inside * np.maximum(0, 1 - ((down - slope) / 0.045) ** 2)

    # Vessels leave the hila; heart and spine stand before all.
    for side in (-1, 1):
        hilum = _bump(down, across, 0.02 + 0.03 * view[11], side * 0.2, 0.34, 0.2)
        grey = grey + (26 + 9 * view[12]) * hilum * lungs
    heart = ramp(
        (1 - ((down - 0.3) / (0.34 + 0.03 * own[0])) ** 2 - ((across - 0.12) / (0.32 + 0.05 * own[1])) ** 2) * 3
    )
    grey = grey + (150 - grey) * (0.82 * heart)
    grey = grey + 26 * np.maximum(0, 1 - (across / (0.13 + 0.015 * own[2])) ** 2) * wall

    for place, spot in enumerate(spots):
        grey = grey + _opacity(down, across, spot, place, lungs, finding)

    # The device: exposure, field of the tube, wires of the ward, a marker, noise.
    grey = grey * (1 + 0.16 * view[13]) + 14 * view[14] + 9 * view[15] * across + 9 * view[16] * down
    if view[17] > 0.3:
        wire = np.abs(across - 0.5 * view[18] - 0.35 * view[19] * down + 0.2 * down**2) < 0.014
        grey = grey + 55 * wire
    if view[20] > -0.2:
        marker = (np.abs(down + 0.86) < 0.05) & (np.abs(across - 0.82) < 0.03)
        grey = np.where(marker, 235.0, grey)
    spread = 13.5 + 4.5 * view[21]
    grey = grey + 2.45 * spread * (noise[0] + noise[1] - 1)
    picture: np.ndarray = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return picture


def _opacity(
    down: np.ndarray, across: np.ndarray, spot: list[float], place: int, lungs: np.ndarray, finding: float
) -> np.ndarray:
    """A patchy shadow in a lung, most often below; the second and third only in some pictures. 0 without a finding."""
    there = place == 0 or spot[4] < 0.35
    side = -1 if spot[0] < 0.5 else 1
    row = -0.15 + 0.6 * spot[1]
    column = side * (0.34 + 0.2 * spot[2])
    radius = 0.2 + 0.14 * spot[3]
    shadow = _bump(down, across, row, column, radius, radius * 0.9)
    patches = 0.75 + 0.25 * ridge(across * 9 + down * 5 + spot[4])
    # A little of it shows through heart and diaphragm.
    density: np.ndarray = finding * _CONTRAST * there * shadow * patches * (0.25 + 0.75 * lungs)
    return density


def ramp(height: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    import numpy as np

    held = np.clip(height, 0, 1)
    smooth: np.ndarray = held * held * (3 - 2 * held)
    return smooth


def ridge(phase: np.ndarray) -> np.ndarray:
    """A wave of period 1 from 0 to 1 with narrow crests."""
    import numpy as np

    ridge: np.ndarray = np.maximum(0, np.abs(phase % 1 - 0.5) * 4 - 1)
    return ridge


def _bump(down: np.ndarray, across: np.ndarray, row: float, column: float, height: float, width: float) -> np.ndarray:
    """1 in the middle of an ellipse, falling smoothly to 0 at its edge."""
    import numpy as np

    bump: np.ndarray = np.maximum(0, 1 - ((down - row) / height) ** 2 - ((across - column) / width) ** 2)
    return bump


def png(picture: np.ndarray) -> bytes:
    """An 8-bit PNG (ISO/IEC 15948) of a uint8 picture: header, one block of data, end.

    Args:
        picture: (height, width) grey, or (height, width, 4) red, green, blue and alpha.
    """
    import numpy as np

    height, width = picture.shape[:2]
    colours = 0 if picture.ndim == 2 else 6
    rows = np.zeros((height, picture[0].size + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = picture.reshape(height, -1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows.tobytes(), _LEVEL)),
            (b"IEND", b""),
        )
    )
