"""How much speaks for each class, in the unit that evidence is counted in: a patient's hundred hours are one patient.

Sample size for a validation is a number of patients with the event, and without it (Vergouwe et al. 2005; Collins et
al. 2016); predictions of one stay are hardly more evidence than one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medai.outputs import Output
from medai.records import Evidence


def evidence_of(output: Output, truth: NDArray[Any], subjects: NDArray[Any]) -> tuple[Evidence, ...]:
    """Every class with its samples and subjects: the classes in order; of findings each, then each absence.

    Args:
        truth: (N,) for binary, multiclass and mask (of whole pictures), (N, K) for multilabel.
        subjects: (N,) whose each sample is.

    >>> from medai.outputs import Binary
    >>> ill = Binary(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")
    >>> for one in evidence_of(ill, np.array([0, 1, 1, 0]), np.array([7, 7, 7, 8])):
    ...     one.label, one.positive, one.samples, one.subjects
    ('well', False, 2, 2)
    ('ill', True, 2, 1)
    """
    if output.kind == "multilabel":
        columns = [(finding, truth[:, place] == 1, True) for place, finding in enumerate(output.names)]
        columns += [(f"no {finding}", ~present, False) for finding, present, _ in columns]
    else:
        numbered = enumerate(output.names)
        columns = [(label, truth == number, output.kind == "multiclass" or number == 1) for number, label in numbered]
    return tuple(
        Evidence(label=label, positive=positive, samples=int(of.sum()), subjects=len(np.unique(subjects[of])))
        for label, of, positive in columns
    )


def rarest(each: Iterable[Evidence]) -> Evidence:
    """The class with the fewest subjects; the fewest samples, then the name, between equals."""
    return min(each, key=lambda one: (one.subjects, one.samples, one.label))


def told(one: Evidence, unit: str) -> str:
    """How much there is of a class, as text.

    >>> told(Evidence(label="ill", positive=True, samples=456, subjects=19), "patient")
    '19 patients (456 samples)'
    >>> told(Evidence(label="ill", positive=True, samples=1, subjects=1), "stay")
    '1 stay'
    """
    more = "" if one.samples == one.subjects else f" ({one.samples} sample{'s' * (one.samples != 1)})"
    return units(one.subjects, unit) + more


def units(number: int, unit: str) -> str:
    """So many patients, stays or images."""
    return f"{number} {unit}{'s' * (number != 1)}"
