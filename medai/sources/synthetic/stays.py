"""Stays: a latent severity, shifted by the outcome, moves each variable by its own weight, more as the hours pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import Synthetic

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


def write_stays(config: Synthetic, folder: Path) -> Path:
    """Write ``set-a/*.txt`` and ``Outcomes-a.txt`` in the challenge's layout and return their folder."""
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
    stream = stream_of(config.seed, subject)
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
