"""What the rows of event tables share, each once: whose they are and in which admission, and what they are of.

A row then carries two small numbers. All that follows from them, a subject's id or a code's words, is looked up once
a place or kind, not once a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medai.sources.relational.identity import Identities
from medai.sources.relational.times import MISSING
from medai.vocabularies import Recipe

if TYPE_CHECKING:
    import polars as pl

LINKS = ("admission", "none", "other_patient", "unknown_admission", "unknown_patient")
"""How a row lies to the admission that it names, in the order of the alphabet."""
_ADMISSION, _NONE, _OTHER, _UNKNOWN_ADMISSION, _UNKNOWN_PATIENT = range(len(LINKS))
_MOST_GROUPS = 1 << 31
_FEW_RUNS = 8
"""Rows a run of one patient and admission from which on runs are looked up one by one."""


class Stands(NamedTuple):
    """What some places are, as arrays of one length.

    Attributes:
        subject_id: -1 where a row names no patient.
        admission_id: ``MISSING`` where the admission is not the patient's own.
        link: position in ``LINKS``.
        admitted, discharged: of the admission named, seconds since 1970, ``MISSING`` where not known.
    """

    subject_id: np.ndarray
    admission_id: np.ndarray
    link: np.ndarray
    admitted: np.ndarray
    discharged: np.ndarray


class Places:
    """All places that rows were met in: a patient and an admission, as a row names them.

    Each known patient with each admission of theirs has a number from the beginning, and with none; any other pair gets
    one when it is met.

    Args:
        subjects, admissions: who gives out ids.
        hospital: admission (site's number), whose (subject's number), admitted, discharged; one row an admission.
        patients: the numbers of all patients.
    """

    def __init__(
        self, subjects: Identities, admissions: Identities, hospital: pl.DataFrame, patients: pl.Series
    ) -> None:
        import polars as pl

        self._subjects = subjects
        known = hospital.drop_nulls("admission").unique("admission", keep="last").sort("admission")
        self._admission = known["admission"].to_numpy()
        self._whose = known["whose"].fill_null(int(MISSING)).to_numpy()
        self._patient = patients.cast(pl.Int64).drop_nulls().unique().sort().to_numpy()
        self._admission_id = admissions.of(known["admission"]).to_numpy()
        self._moments = [
            known[name].dt.epoch("s").fill_null(int(MISSING)).to_numpy() for name in ("admitted", "discharged")
        ]
        theirs, has_patient = _found(self._patient, self._whose)
        patient_ids = subjects.of(pl.Series(self._patient, dtype=pl.Int64)).to_numpy()
        nothing = np.full(len(self._patient), MISSING)
        self._known = Stands(
            np.concatenate([np.where(has_patient, np.append(patient_ids, -1)[theirs], -1), patient_ids]),
            np.concatenate([self._admission_id, nothing]),
            np.concatenate([np.full(len(known), _ADMISSION, np.int64), np.full(len(nothing), _NONE, np.int64)]),
            *(np.concatenate([moment, nothing]) for moment in self._moments),
        )
        self._has_patient = has_patient
        self._numbers: dict[tuple[int, int], int] = {}
        self._met: list[tuple[int, int, int, int, int]] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known.link) + len(self._met)

    def stands(self, begin: int = 0) -> Stands:
        """What the places from a number on are."""
        known = len(self._known.link)
        met = np.array(self._met[max(begin - known, 0) :], np.int64).reshape(-1, len(Stands._fields)).T
        return Stands(*(np.concatenate([one[begin:], more]) for one, more in zip(self._known, met, strict=True)))

    def discharged(self, places: np.ndarray) -> np.ndarray:
        """The end of the admission that each of these places names, seconds since 1970."""
        known = len(self._known.link)
        ends, foreseen = np.empty(len(places), np.int64), places < known
        ends[foreseen] = self._known.discharged[places[foreseen]]
        ends[~foreseen] = [self._met[place - known][-1] for place in places[~foreseen].tolist()]
        return ends

    def of(self, subjects: np.ndarray, admissions: np.ndarray) -> np.ndarray:
        """The numbers of rows' places, int32.

        Args:
            subjects, admissions: the site's numbers, int64, ``MISSING`` where a row names none. A row without a
                subject gets a place as well; it is left out later.
        """
        rows = len(subjects)
        if not rows:
            return np.empty(0, np.int32)
        changes = (subjects[1:] != subjects[:-1]) | (admissions[1:] != admissions[:-1])
        begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
        if len(begins) * _FEW_RUNS > rows:
            return self._looked_up(subjects, admissions)
        return np.repeat(self._numbered(subjects[begins], admissions[begins]), np.diff(begins, append=rows))

    def _looked_up(self, subjects: np.ndarray, admissions: np.ndarray) -> np.ndarray:
        import polars as pl

        named = pl.DataFrame({"subject": subjects, "admission": admissions})
        pairs = named.unique()
        numbers = self._numbered(pairs["subject"].to_numpy(), pairs["admission"].to_numpy())
        pairs = pairs.with_columns(pl.Series("number", numbers, pl.Int32))
        return named.join(pairs, on=["subject", "admission"], how="left", maintain_order="left")["number"].to_numpy()

    def _numbered(self, subjects: np.ndarray, admissions: np.ndarray) -> np.ndarray:
        admission, named = _found(self._admission, admissions)
        own = named.copy()
        at = admission[named]
        own[named] = (self._whose[at] == subjects[named]) & self._has_patient[at]
        patient, is_patient = _found(self._patient, subjects)
        numbers = np.where(own, admission, len(self._admission) + patient).astype(np.int32)
        others = np.flatnonzero(~(own | (is_patient & (admissions == MISSING))))
        if len(others):
            with self._lock:
                numbers[others] = [
                    self._other(subject, number, bool(known))
                    for subject, number, known in zip(
                        subjects[others].tolist(), admissions[others].tolist(), is_patient[others], strict=True
                    )
                ]
        return numbers

    def _other(self, subject: int, admission: int, is_patient: bool) -> int:
        """The number of a pair that nobody foresaw; a new one where it is new."""
        number = self._numbers.get((subject, admission))
        if number is None:
            number = self._numbers[subject, admission] = len(self)
            at, named = (one[0] for one in _found(self._admission, np.array([admission])))
            somebodys = bool(named) and self._whose[at] != MISSING
            own = somebodys and self._whose[at] == subject
            if not is_patient:
                link = _UNKNOWN_PATIENT
            elif admission == MISSING:
                link = _NONE
            else:
                link = _OTHER if somebodys else _UNKNOWN_ADMISSION
            subject_id = -1 if subject == MISSING else self._subjects.of_numbers([subject])[0]
            admitted, discharged = (int(moment[at]) if named else int(MISSING) for moment in self._moments)
            admission_id = int(self._admission_id[at]) if own else int(MISSING)
            self._met.append((subject_id, admission_id, link, admitted, discharged))
        return number


def _found(among: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each number stands in a sorted array (somewhere, if it does not), and whether it does."""
    if not len(among):
        return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), bool)
    at = np.minimum(np.searchsorted(among, numbers), len(among) - 1)
    return at, among[at] == numbers


class Kind(NamedTuple):
    """What an event is of.

    Attributes:
        table: its source's table.
        code: its words.
        recipe: what becomes of its readings.
    """

    table: str
    code: str
    recipe: Recipe


class Recipes(NamedTuple):
    """What becomes of the readings of each kind, as arrays: kind's number → figure.

    Attributes:
        variable: position among ``Kinds.variables``; -1 for none.
        priority, subtract, multiply: as in ``Recipe``.
        converts: whether the last two change a number.
    """

    variable: np.ndarray
    priority: np.ndarray
    subtract: np.ndarray
    multiply: np.ndarray
    converts: np.ndarray


class Kinds:
    """All kinds of event that were met, numbered as they came.

    Args:
        variables: the vocabulary's.
    """

    def __init__(self, variables: Sequence[str]) -> None:
        self.variables = list(variables)
        self._numbers: dict[object, int] = {}
        self._lock = Lock()
        self._recipes: Recipes | None = None
        self.met: list[Kind] = []

    def number(self, key: object) -> int | None:
        """The number of a kind that was met under this key."""
        return self._numbers.get(key)

    def add(self, key: object, kind: Kind) -> int:
        """The number of a kind; a new one where the key is new."""
        with self._lock:
            number = self._numbers.get(key)
            if number is None:
                self.met.append(kind)
                number = self._numbers[key] = len(self.met) - 1
            return number

    def recipes(self) -> Recipes:
        """The recipes of all kinds met so far."""
        found = self._recipes
        if found is None or len(found.variable) < len(self.met):
            with self._lock:
                all_of_them = [kind.recipe for kind in self.met]
            places = {name: at for at, name in enumerate(self.variables)}
            subtract = np.array([one.subtract for one in all_of_them], np.float64)
            multiply = np.array([one.multiply for one in all_of_them], np.float64)
            self._recipes = found = Recipes(
                np.array([-1 if one.variable is None else places[one.variable] for one in all_of_them], np.int32),
                np.array([one.priority for one in all_of_them], np.int32),
                subtract,
                multiply,
                (subtract != 0) | (multiply != 1),
            )
        return found


def combined(parts: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows agree in several small numbers.

    Args:
        parts: the rows' numbers, and how many numbers there can be; one part at least, one row at least.

    Returns:
        each row's group, int32; each group's first row; each group's rows.
    """
    numbers, size = parts[0][0].astype(np.int64), parts[0][1]
    for more, count in parts[1:]:
        if size > _MOST_GROUPS:
            distinct, numbers = np.unique(numbers, return_inverse=True)
            size = len(distinct)
        numbers, size = numbers * count + more, size * count
    if size <= 4 * len(numbers) + 1024:
        found = np.bincount(numbers, minlength=size)
        distinct = np.flatnonzero(found)
        places = np.zeros(size, np.int32)
        places[distinct] = np.arange(len(distinct), dtype=np.int32)
        which, times = places[numbers], found[distinct]
    else:
        distinct, inverse, times = np.unique(numbers, return_inverse=True, return_counts=True)
        which = inverse.astype(np.int32)
    first = np.zeros(len(distinct), np.int64)
    first[which[::-1]] = np.arange(len(which) - 1, -1, -1)
    return which, first, times
