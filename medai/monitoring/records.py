"""What monitoring keeps: the champion's reference, windows of figures, and batches of predictions and outcomes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medai.records import Frozen, Measure, Record, Subgroup

Kind = Literal["data", "predictions", "performance"]
KINDS: tuple[Kind, ...] = ("data", "predictions", "performance")
Statistic = Literal["psi", "ks", "missing", "units", "codes", "alerts", "metric", "intercept", "slope"]
TOO_FEW, NOTHING = "too few", "nothing recorded"


class Figure(Frozen):
    """One figure of a window, as it is; what it is worth is decided by the bounds of the day.

    Attributes:
        measure: what was measured: a variable, a picture's property, a score, a metric.
        statistic: how two sides were compared.
        value: the figure; None where it could not be had, ``why`` tells.
        low, high: its interval, where it has one.
        chance: largest value that chance alone explains, where there is no interval.
        reference: the same share or metric on the champion's side.
        here: the share here, with Wilson's interval.
        subjects: who say so here.
        why: why there is no value.
    """

    measure: str
    statistic: Statistic
    value: float | None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    reference: float | None = None
    here: Measure | None = None
    subjects: int
    why: str = ""

    @property
    def name(self) -> tuple[str, str]:
        """Measure and statistic: what stays the same from window to window."""
        return self.measure, self.statistic


class Reference(Record):
    """What a champion's own data and answers look like, from patients that it learnt from; never from gate or test.

    Data are those of train. Scores, and distances in the net's features, are those of validation where enough
    subjects are in it: a model is surer of the patients that it was fitted on than of any others.

    Attributes:
        candidate: key of the champion.
        snapshot: key of the data it was fitted on.
        subjects, scored: how many subjects stand in the data, and in the scores.
        role: whose scores they are.
        features_sha256: hash of the cut graph that gives the net's features; None where there are none.
    """

    candidate: str
    snapshot: str
    unit: str
    subjects: int
    scored: int
    role: Literal["train", "validation"]
    features_sha256: str | None = None


class Compared(Record):
    """What one comparison of one batch with the champion's reference found: the content of a window.

    Attributes:
        kind: of data, predictions or performance.
        candidate: key of the champion.
        batch: key of what was compared; the same batch twice is one window.
        contents: hash of what the batch's pictures or stays hold: read with their labels or without, they are the same
            batch. None where the source tells it of no stay, and of a performance.
        unit: what a subject is.
        samples, subjects: how many were compared.
        pooled: of a performance on outcomes of several files: keys of these outcomes.
        known: subjects left out since the champion was fitted on them.
        counts: what is told beside the figures, by name.
        groups: of a performance: its subgroups, sites among them.
    """

    kind: Kind
    candidate: str
    batch: str
    contents: str | None = None
    pooled: tuple[str, ...] = ()
    unit: str
    samples: int
    subjects: int
    known: int = 0
    counts: dict[str, int] = Field(default={})
    figures: tuple[Figure, ...]
    groups: tuple[Subgroup, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Keys of what was compared: of a performance its outcomes, else the batch."""
        return self.pooled or (self.batch,)

    @property
    def judged(self) -> bool:
        """Whether there were enough subjects for any of its figures."""
        return any(figure.why != TOO_FEW for figure in self.figures)


class Batch(Record):
    """What a champion answered for one input: enough to join outcomes that come later; for the owner alone.

    Attributes:
        candidate: key of the champion.
        snapshot: key of the data.
        samples: how many were scored.
        groups: columns by which a performance may be told.
    """

    candidate: str
    snapshot: str
    samples: int
    groups: tuple[str, ...] = ()


class Outcomes(Record):
    """Outcomes of one file that were joined to predictions.

    Attributes:
        candidate: key of the champion that predicted them.
        samples, subjects: how many were joined for the first time.
    """

    candidate: str
    samples: int
    subjects: int
