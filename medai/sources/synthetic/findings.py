"""Fourteen findings of a chest radiograph as planted patterns, each with a look of its own.

They stand for the findings of ChestX-ray14 by name and place alone: a mass is round and dense, an effusion fills the
angle of a lung up to a curved border, an oedema spreads from the hila. Each pattern is a field of grey levels to be
added, drawn from four numbers of its own, so that a picture with a finding is the picture without it, and the pattern.
Only sums, products and roots are taken of the drawn numbers, so that pictures are the same on every machine.

Across runs from −1 to 1 from the picture's left side to its right one, down from its top to its bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]
    Draw = Callable[[Field, Field, list[float]], Field]

DENSITY = 65
"""Grey levels that a pattern adds where it is densest, at signal 1; the noise has a standard deviation of 9 to 18."""


def pattern(finding: str, size: int, spot: list[float]) -> np.ndarray:
    """The grey levels that a finding adds at signal 1.

    Args:
        finding: its name, as in ``PREVALENCE``.
        size: of both sides, in pixels.
        spot: four numbers from 0 to 1: its side, place and extent.

    Returns:
        float32 (size, size); below 0 where it lets more rays through.
    """
    import numpy as np

    axis = np.linspace(-1, 1, size, dtype=np.float32)
    levels: np.ndarray = DENSITY * _PATTERNS[finding](axis[:, None], axis[None, :], spot)
    return levels.astype(np.float32)


def _side(spot: list[float]) -> float:
    return -0.42 if spot[0] < 0.5 else 0.42


def _ellipse(down: Field, across: Field, row: float, column: float, height: float, width: float) -> Field:
    """1 in the middle of an ellipse, falling to 0 at its edge."""
    import numpy as np

    bump: Field = np.maximum(0, 1 - ((down - row) / height) ** 2 - ((across - column) / width) ** 2)
    return bump


def _disc(down: Field, across: Field, row: float, column: float, height: float, width: float) -> Field:
    """1 inside an ellipse, with a sharp edge."""
    import numpy as np

    disc: Field = np.minimum(1, 4 * _ellipse(down, across, row, column, height, width))
    return disc


def _waves(phase: Field) -> Field:
    """A wave of period 1 from −1 to 1."""
    import numpy as np

    waves: Field = np.abs((phase + 16) % 1 - 0.5) * 4 - 1
    return waves


def _atelectasis(down: Field, across: Field, spot: list[float]) -> Field:
    """Plates: two flat dense lines above a diaphragm."""
    row = 0.2 + 0.15 * spot[1]
    middle = _side(spot)
    lines: Field = 1.1 * _disc(down, across, row, middle, 0.06, 0.34) + 1.1 * _disc(
        down, across, row + 0.2, middle, 0.06, 0.34
    )
    return lines


def _cardiomegaly(down: Field, across: Field, spot: list[float]) -> Field:
    """A heart that reaches far into the left lung."""
    return _disc(down, across, 0.32, 0.16, 0.42 + 0.05 * spot[1], 0.62 + 0.08 * spot[2])


def _effusion(down: Field, across: Field, spot: list[float]) -> Field:
    """Fluid that fills a lung from below, with a border that rises towards the wall."""
    import numpy as np

    middle, level = _side(spot), 0.12 + 0.25 * spot[1]
    outward = (across - middle) * (1 if middle > 0 else -1)
    filled = np.clip((down - level + 0.5 * np.maximum(0, outward)) * 10, 0, 1)
    inside = np.clip((0.42 - np.abs(across - middle)) * 12, 0, 1)
    fluid: Field = 1.1 * filled * inside * np.clip((0.85 - down) * 8, 0, 1)
    return fluid


def _infiltration(down: Field, across: Field, spot: list[float]) -> Field:
    """Soft patches over a whole lung."""
    patches = 0.5 + 0.25 * _waves(3 * down + spot[1]) + 0.25 * _waves(3 * across + spot[2])
    return 0.8 * patches * _ellipse(down, across, 0.0, _side(spot), 0.8, 0.4)


def _mass(down: Field, across: Field, spot: list[float]) -> Field:
    """One large round shadow with a sharp edge."""
    radius = 0.2 + 0.06 * spot[3]
    return 1.3 * _disc(down, across, -0.35 + 0.6 * spot[1], _side(spot) * (0.85 + 0.3 * spot[2]), radius, radius)


def _nodule(down: Field, across: Field, spot: list[float]) -> Field:
    """One small round shadow."""
    radius = 0.07 + 0.03 * spot[3]
    return 1.4 * _disc(down, across, -0.5 + 0.9 * spot[1], _side(spot) * (0.7 + 0.5 * spot[2]), radius, radius)


def _edema(down: Field, across: Field, spot: list[float]) -> Field:
    """Wings that spread from both hila."""
    row, width = -0.05 + 0.1 * spot[1], 0.42 + 0.06 * spot[2]
    return 1.2 * (_ellipse(down, across, row, -0.3, 0.34, width) + _ellipse(down, across, row, 0.3, 0.34, width))


def _consolidation(down: Field, across: Field, spot: list[float]) -> Field:
    """An upper lobe as dense as the wall, with a straight lower border."""
    import numpy as np

    lower = -0.25 + 0.15 * spot[1]
    lobe: Field = 1.1 * _disc(down, across, -0.35, _side(spot), 0.5, 0.36) * np.clip((lower - down) * 20, 0, 1)
    return lobe


def _emphysema(down: Field, across: Field, spot: list[float]) -> Field:
    """Both lungs darker, and larger."""
    height = 0.9 + 0.05 * spot[1]
    return -0.6 * (_disc(down, across, 0, -0.45, height, 0.42) + _disc(down, across, 0, 0.45, height, 0.42))


def _fibrosis(down: Field, across: Field, spot: list[float]) -> Field:
    """A fine net at both bases."""
    net = 0.5 * _waves(9 * (down + across) + spot[1]) + 0.5 * _waves(9 * (down - across) + spot[2])
    bases = _ellipse(down, across, 0.3, -0.45, 0.4, 0.4) + _ellipse(down, across, 0.3, 0.45, 0.4, 0.4)
    return 1.1 * net * bases


def _hernia(down: Field, across: Field, spot: list[float]) -> Field:
    """A bubble behind the heart: dark, in a dense ring."""
    row, column = 0.4 + 0.1 * spot[1], -0.1 + 0.2 * spot[2]
    return 1.2 * _disc(down, across, row, column, 0.3, 0.3) - 2.4 * _disc(down, across, row, column, 0.2, 0.2)


def _pleural_thickening(down: Field, across: Field, spot: list[float]) -> Field:
    """A dense strip along the chest's wall."""
    import numpy as np

    edge = 0.78 if spot[0] < 0.5 else -0.78
    strip: Field = np.clip((0.11 + 0.02 * spot[1] - np.abs(across - edge)) * 25, 0, 1)
    return 1.5 * strip * np.clip((0.7 - np.abs(down)) * 8, 0, 1)


def _pneumonia(down: Field, across: Field, spot: list[float]) -> Field:
    """A lower lobe with bands of air in it."""
    bands = 0.55 + 0.45 * _waves(5 * across + spot[2])
    return 1.3 * bands * _ellipse(down, across, 0.3 + 0.1 * spot[1], _side(spot), 0.42, 0.36)


def _pneumothorax(down: Field, across: Field, spot: list[float]) -> Field:
    """Air outside the tip of a lung: dark, below it a bright line."""
    import numpy as np

    middle, border = _side(spot), -0.2 + 0.15 * spot[1]
    inside = np.clip((0.4 - np.abs(across - middle)) * 12, 0, 1)
    air = np.clip((border - down) * 12, 0, 1) * np.clip((down + 0.85) * 8, 0, 1)
    line: Field = np.clip(1 - np.abs(down - border) / 0.05, 0, 1)
    drawn: Field = inside * (1.5 * line - 1.1 * air)
    return drawn


_PATTERNS: dict[str, Draw] = {
    "Atelectasis": _atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Consolidation": _consolidation,
    "Edema": _edema,
    "Effusion": _effusion,
    "Emphysema": _emphysema,
    "Fibrosis": _fibrosis,
    "Hernia": _hernia,
    "Infiltration": _infiltration,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pleural_Thickening": _pleural_thickening,
    "Pneumonia": _pneumonia,
    "Pneumothorax": _pneumothorax,
}
