"""What a variable reads at a time: the patient's own level, his illnesses, his severity, and what is about to happen.

- Severity moves a variable more as the hours in intensive care pass.
- In the last 36 hours of somebody who dies in hospital it rises, so that the death can be told a day before.
- In the last day in intensive care of somebody who lives it falls, so that the length of a stay can be told.
- An injured kidney lets creatinine rise and urine fall over 36 hours; in the day before, pressure falls and heart rate
  and lactate rise a little, so that the injury can be told before it shows. The injury itself does not depend on
  ``signal``; everything else that goes before an outcome does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database.csv_bytes import NEVER
from medai.sources.synthetic.database.population import HOUR, Block
from medai.sources.synthetic.database.words import words

if TYPE_CHECKING:
    import numpy as np

_DETERIORATION, _RECOVERY = 2.2, 0.9
"""Units of severity that are gained before death, and lost before leaving intensive care."""
_RISE = 36 * HOUR
"""How long a creatinine rises."""
_FOREBODING = {"nbp_systolic": -8.0, "nbp_diastolic": -4.0, "heart_rate": 7.0, "lactate": 0.8}
"""How far variables have moved when a kidney injury begins."""
_URINE = ("foley", "void")
_DRIFT = {"glucose": 0.8, "glucose_stick": 0.8, "lactate": -0.8, "hemoglobin": -0.8, "fio2": -0.8, "platelets": 0.5}
"""How far levels drift within fifteen years, in standard deviations between patients: new devices, another practice."""


@dataclass(slots=True)
class State:
    """How patients are at some times; arrays of equal length.

    Attributes:
        admission: whose.
        severity: latent, as far as it shows by then.
        injured: how far an injury of the kidney has run its course, 0 to 1.
        foreboding: how near it is, 0 to 1.
    """

    admission: np.ndarray
    severity: np.ndarray
    injured: np.ndarray
    foreboding: np.ndarray


class Courses:
    """The courses of all variables of a block.

    Args:
        signal: of the configuration.
    """

    def __init__(self, block: Block, signal: float) -> None:
        import numpy as np

        self._block = block
        self._signal = signal
        known, names = words(), {name: place for place, name in enumerate(words().courses)}
        self._place = names
        moved = np.zeros((len(block.admissions.patient), len(names)))
        # Illnesses are added one by one: a matrix product adds in another order on another machine.
        for illness, has in zip(known.illnesses.values(), block.admissions.illness.T, strict=True):
            for name, amount in illness.moves.items():
                moved[:, names[name]] += np.where(has, signal * amount, 0)
        for name, amount in _DRIFT.items():
            moved[:, names[name]] += amount * known.courses[name].between * block.admissions.drifted
        self._moved = moved

    def state(self, admission: np.ndarray, minute: np.ndarray) -> State:
        """How patients are, ``minute`` each, in the admission named."""
        import numpy as np

        its = self._block.admissions
        begun, over, death, onset = (
            column[admission] for column in (its.intensive_from, its.intensive_to, its.death, its.injured)
        )
        hours = np.where(begun == NEVER, 0, np.clip(minute - begun, 0, 72 * HOUR)) / HOUR
        severity = its.severity[admission] * (0.5 + 0.8 * hours / 48)
        dying = np.clip((36 * HOUR - (death - minute)) / (24 * HOUR), 0, 1)
        leaving = np.clip((24 * HOUR - (over - minute)) / (24 * HOUR), 0, 1)
        severity = severity + self._signal * np.where(
            death != NEVER, _DETERIORATION * dying, np.where(over != NEVER, -_RECOVERY * leaving, 0)
        )
        hurt = onset != NEVER
        injured = np.where(hurt, np.clip((minute - onset) / _RISE, 0, 1), 0)
        foreboding = np.where(hurt, np.clip((minute - onset) / (24 * HOUR) + 1, 0, 1), 0)
        return State(admission, severity, injured, foreboding)

    def values(self, name: str, state: State, noise: np.ndarray) -> np.ndarray:
        """A variable's values in its unit, within its limits.

        Args:
            noise: standard normal, one for each.
        """
        import numpy as np

        course, place = words().courses[name], self._place[name]
        who = self._block.admissions.patient[state.admission]
        own = self._block.patients.own[who, place]
        values = course.level + course.between * own + self._moved[state.admission, place]
        values = values + course.change * state.severity
        if name in _FOREBODING:
            values = values + self._signal * _FOREBODING[name] * state.foreboding
        values = values + course.within * noise
        if name == "creatinine":
            values = values * (1 + self._block.admissions.injury[state.admission] * state.injured)
        elif name == "urea_nitrogen":
            values = values * (1 + 0.6 * state.injured)
        elif name in _URINE:
            scarce = (1 - 0.85 * state.injured) * (1 - 0.3 * min(1.0, self._signal) * state.foreboding)
            values = np.maximum(values, 0) * scarce * self._block.patients.weight[who] / 80
        clipped: np.ndarray = np.clip(values, *course.limits)
        return clipped
