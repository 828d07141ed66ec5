"""A synthetic hospital: files in the publishers' own layouts with a planted signal, read back by the same readers.

Every subject draws from a random stream of its own (seed, subject number). So a larger set holds the smaller one byte
by byte, which growing data and splits that stay are tested with; and with ``signal`` 0 nothing in the data depends on
the label. Only sums, products and roots are taken of the drawn numbers, so the pictures are the same on every machine.

Nothing here is derived from a patient: levels and spreads are round textbook numbers.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from medai.records import Frozen

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 256
_CONTRAST = 62
"""Grey levels that a finding adds in its middle at signal 1; the noise has a standard deviation of 24."""
_STRAY = 0.3
"""How far up or down a finding may lie from its place, as a share of half the picture."""
_SPLITS = {"train": (0, 1, 2, 3, 4, 5, 6), "val": (7,), "test": (8, 9)}
"""Split → last digits of the subject numbers in it."""
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class Synthetic(Frozen):
    """Synthetic data in a publisher's layout.

    Attributes:
        layout: whose files they look like.
        subjects: pictures, or stays.
        signal: how strongly the label shows in the data; 1 is plain to see, 0 not there at all.
        prevalence: share of positives of a binary label or of each finding; by default a half for pictures and a
            fifth for stays.
        size, channels: of the pictures, in pixels; 1 is grey, 3 is RGB.
        classes: label values from 0 (of pictures); with ``multilabel``, findings of which each may be there or not.
    """

    kind: Literal["synthetic"]
    layout: Literal["medmnist", "physionet2012"]
    subjects: int = Field(ge=10, le=90_000)
    signal: float = Field(1.0, ge=0, le=4)
    seed: int = Field(0, ge=0, lt=1 << 63)
    prevalence: float | None = Field(None, gt=0, lt=1)
    size: int = Field(28, ge=16, le=224)
    channels: Literal[1, 3] = 1
    classes: int = Field(2, ge=2, le=10)
    multilabel: bool = False

    @model_validator(mode="after")
    def _stays_have_one_outcome(self) -> Synthetic:
        if self.layout == "physionet2012" and (self.multilabel or self.classes != 2):
            raise ValueError("stays have one binary outcome: classes and multilabel belong to layout medmnist")
        return self

    @property
    def positives(self) -> float:
        """The prevalence in use."""
        if self.prevalence is not None:
            return self.prevalence
        return 0.5 if self.layout == "medmnist" else 0.2


def generate(config: Synthetic, folder: Path) -> Path:
    """Write the files and return where to point the reader: the ``.npz``, or the folder of stays and outcomes.

    Args:
        folder: an existing folder; equal configurations write equal bytes.
    """
    return _pictures(config, folder) if config.layout == "medmnist" else _stays(config, folder)


def _stream(config: Synthetic, subject: int) -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.Philox(key=[config.seed, subject]))


# Pictures: two dark lungs in a lighter chest with ribs and noise; a finding is an opacity at a place of its own.


def _pictures(config: Synthetic, folder: Path) -> Path:
    import numpy as np

    blocks = [
        _picture_block(config, range(start, min(start + _BLOCK, config.subjects)))
        for start in range(0, config.subjects, _BLOCK)
    ]
    images = np.concatenate([block[0] for block in blocks])
    labels = np.concatenate([block[1] for block in blocks])
    path = folder / "synthetic.npz"
    digit = np.arange(config.subjects) % 10
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for split, digits in _SPLITS.items():
            chosen = np.isin(digit, digits)
            for part, values in (("images", images), ("labels", labels)):
                member = zipfile.ZipInfo(f"{split}_{part}.npy", date_time=_ZIP_TIME)
                member.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, values[chosen], allow_pickle=False)
    return path


def _picture_block(config: Synthetic, subjects: range) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (subjects, size, size[, 3]) and labels uint8 (subjects, 1 or classes)."""
    import numpy as np

    findings = config.classes if config.multilabel else config.classes - 1
    count, size = len(subjects), config.size
    draws = np.empty((count, 12 + 4 * findings))
    noise = np.empty((count, 2, size, size), np.float32)
    for row, subject in enumerate(subjects):
        stream = _stream(config, subject)
        draws[row] = stream.random(draws.shape[1])
        stream.random(dtype=np.float32, out=noise[row])
    present = _present(config, draws[:, 0], draws[:, 12 : 12 + findings])

    spread = draws[:, 1:12, None, None] * 2 - 1
    down, across = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    chest = 150 + 25 * spread[:, 0] + 20 * spread[:, 1] * down
    for half, at in ((-1, 2), (1, 4)):
        lung = _bump(down, across, 0.1 * spread[:, at], half * 0.42 + 0.05 * spread[:, at + 1], 0.95, 0.5)
        chest = chest - (85 + 10 * spread[:, 6]) * np.minimum(1, 2 * lung)
    ribs = np.abs((down * 3.5 + 0.4 * spread[:, 7] + 8) % 1 - 0.5) * 2
    chest = chest + 10 * ribs
    for finding in range(findings):
        jitter = draws[:, 12 + findings + 3 * finding : 15 + findings + 3 * finding, None, None] * 2 - 1
        middle, side = _place(finding, findings)
        radius = 0.3 + 0.08 * jitter[:, 2]
        opacity = _bump(down, across, middle + _STRAY * jitter[:, 0], side + 0.15 * jitter[:, 1], radius, radius)
        if finding % 2:  # every other finding is striped
            opacity = opacity * (np.abs((across * 4 + 8) % 1 - 0.5) * 4)
        chest = chest + present[:, finding, None, None] * config.signal * _CONTRAST * opacity
    grey = chest + 60 * (noise[:, 0] + noise[:, 1] - 1)
    images = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if config.channels == 3:
        images = np.stack([images, (images * 0.9).astype(np.uint8), (images * 0.8).astype(np.uint8)], axis=-1)
    labels = present if config.multilabel else present @ np.arange(1, findings + 1)[:, None]
    return images, labels.astype(np.uint8)


def _present(config: Synthetic, choice: np.ndarray, each: np.ndarray) -> np.ndarray:
    """(subjects, findings) int64: 1 where the finding is there; at most one of them unless multilabel."""
    import numpy as np

    if config.multilabel:
        return (each < config.positives).astype(np.int64)
    if config.classes == 2:
        return (choice < config.positives).astype(np.int64)[:, None]
    number = np.floor(choice * config.classes).astype(np.int64)
    present: np.ndarray = number[:, None] == np.arange(1, config.classes)
    return present.astype(np.int64)


def _place(finding: int, findings: int) -> tuple[float, float]:
    """Where a finding lies (down, across; both from -1 to 1): left and right lung in turn, from below upwards."""
    rows = (findings + 1) // 2
    row = 0.45 if rows == 1 else 0.6 - 1.1 * (finding // 2) / (rows - 1)
    return row, -0.42 if finding % 2 == 0 else 0.42


def _bump(
    down: np.ndarray,
    across: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    height: np.ndarray | float,
    width: np.ndarray | float,
) -> np.ndarray:
    """(subjects, size, size): 1 in the middle of an ellipse, falling smoothly to 0 at its edge."""
    import numpy as np

    bump: np.ndarray = np.maximum(0, 1 - ((down - row) / height) ** 2 - ((across - column) / width) ** 2) ** 2
    return bump


# Stays: a latent severity, shifted by the outcome, moves each variable by its own weight, more as the hours pass.

_SERIES: tuple[tuple[str, float, float, float, float, int], ...] = (
    # variable, level, spread between patients, spread within, change with severity, mean minutes between readings
    ("HR", 84, 10, 5, 7, 60),
    ("MAP", 80, 8, 6, -5, 90),
    ("SysABP", 122, 12, 8, -7, 90),
    ("DiasABP", 60, 7, 5, -3, 90),
    ("Urine", 110, 30, 35, -28, 110),
    ("Temp", 37.1, 0.4, 0.3, 0.1, 200),
    ("RespRate", 18, 2.5, 2, 1.8, 150),
    ("GCS", 12.5, 1.2, 0.8, -1.6, 240),
    ("FiO2", 0.48, 0.06, 0.05, 0.05, 420),
    ("SaO2", 97, 1, 1, -0.6, 700),
    ("pH", 7.38, 0.03, 0.03, -0.025, 600),
    ("PaCO2", 40, 4, 3, 0.5, 600),
    ("PaO2", 120, 25, 25, -6, 600),
    ("Lactate", 2.0, 0.5, 0.4, 0.8, 800),
    ("Creatinine", 1.2, 0.4, 0.1, 0.3, 1000),
    ("BUN", 24, 8, 2, 6, 1000),
    ("Glucose", 135, 20, 20, 5, 900),
    ("HCT", 31, 3, 1.5, -0.4, 900),
    ("K", 4.1, 0.3, 0.25, 0.08, 900),
    ("Na", 139, 3, 1.5, 0.2, 1000),
    ("HCO3", 24, 2.5, 1.2, -1.2, 1000),
    ("WBC", 12, 3, 1.2, 1, 1100),
    ("Platelets", 195, 60, 15, -12, 1100),
)
_DECIMALS = {"Temp": 1, "FiO2": 2, "pH": 2, "Lactate": 1, "Creatinine": 1, "HCT": 1, "K": 1, "WBC": 1}
_LIMITS = {"GCS": (3, 15), "FiO2": (0.21, 1), "SaO2": (60, 100), "pH": (6.9, 7.7), "Lactate": (0.3, 25)}
_MINUTES = 48 * 60
_SHIFT = 2.2
"""How far the severities of those who die and those who live lie apart at signal 1, in standard deviations."""
_FIRST_RECORD = 900_001


def _stays(config: Synthetic, folder: Path) -> Path:
    stays = folder / "set-a"
    stays.mkdir()
    outcomes = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    for subject in range(config.subjects):
        record, text, outcome = _stay(config, subject)
        (stays / f"{record}.txt").write_bytes(text.encode())
        outcomes.append(outcome)
    (folder / "Outcomes-a.txt").write_bytes(("\n".join(outcomes) + "\n").encode())
    return folder


def _stay(config: Synthetic, subject: int) -> tuple[int, str, str]:
    """Record number, the stay's file, and its line of the outcomes."""
    stream = _stream(config, subject)
    record = _FIRST_RECORD + subject
    chance = stream.random(10).tolist()
    normal = stream.standard_normal(4 + len(_SERIES)).tolist()
    death = chance[0] < config.positives
    shift = (1 - config.positives if death else -config.positives) * _SHIFT * config.signal
    severity = normal[0] + shift

    age = min(90, max(18, round(64 + 14 * normal[1] + 3 * severity)))
    weight = 80 + 14 * normal[2]
    weighed = chance[3] >= 0.08
    gender = -1 if chance[1] < 0.001 else int(chance[1] < 0.56)
    height = -1.0 if chance[2] < 0.47 else 169 + 9 * normal[3]
    lines = [
        "Time,Parameter,Value",
        f"00:00,RecordID,{record}",
        f"00:00,Age,{age}",
        f"00:00,Gender,{gender}",
        f"00:00,Height,{height:.1f}" if height > 0 else "00:00,Height,-1",
        f"00:00,ICUType,{1 + int(4 * chance[4])}",
        f"00:00,Weight,{weight:.1f}" if weighed else "00:00,Weight,-1",
    ]
    if subject % 400 != 399:  # as in the real set, a few stays hold descriptors alone
        lines += _readings(stream, severity, normal[4:])
    saps = max(0, round(14 + 4 * severity + 3 * (chance[5] - 0.5)))
    sofa = max(0, round(6 + 2.5 * severity + 3 * (chance[6] - 0.5)))
    length = 3 + int(18 * chance[7])
    survival = length if death else (-1 if chance[8] < 0.7 else length + 1 + int(700 * chance[9]))
    outcome = f"{record},{saps},{sofa},{length},{survival},{int(death)}"
    return record, "\n".join(lines) + "\n", outcome


def _readings(stream: np.random.Generator, severity: float, person: list[float]) -> list[str]:
    """A stay's readings as lines, ordered by time."""
    import numpy as np

    rows: list[tuple[int, str]] = []
    for (name, level, between, within, change, gap), own in zip(_SERIES, person, strict=True):
        count = max(1, round(_MINUTES / gap * (0.7 + 0.6 * stream.random())))
        # Nurses chart on the hour more often than not.
        minutes = np.sort(stream.integers(5, _MINUTES, count))
        minutes = np.where((stream.random(count) < 0.6) & (gap < 400), minutes // 60 * 60, minutes)
        course = severity * (0.5 + 0.8 * minutes / _MINUTES)
        values = level + between * own + change * course + within * stream.standard_normal(count)
        low, high = _LIMITS.get(name, (0.1 * level if name != "Urine" else 0, math.inf))
        decimals = _DECIMALS.get(name, 0)
        for minute, value in zip(minutes.tolist(), np.clip(values, low, high).tolist(), strict=True):
            rows.append((minute, f"{minute // 60:02d}:{minute % 60:02d},{name},{value:.{decimals}f}"))
    if stream.random() < 0.6:
        begin, end = sorted(stream.integers(0, _MINUTES, 2).tolist())
        rows += [(at, f"{at // 60:02d}:{at % 60:02d},MechVent,1") for at in range(begin, end, 180)]
    rows.sort()
    return [line for _, line in rows]
