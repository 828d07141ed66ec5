"""Records of judgement: figures, decisions and the pages that tell them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medai.records.content import Frozen, Record
from medai.records.data import Role


class Measure(Frozen):
    """A figure with its bootstrap interval over the scorecard's unit, which holds it."""

    value: float
    low: float
    high: float


class Evidence(Frozen):
    """How much speaks for one class. An hour's prediction is no patient: what weighs is ``subjects``.

    Attributes:
        label: the class; of findings each also as ``no FINDING``.
        positive: False for the negative class of a binary output, and for a finding's absence.
        samples: of the class.
        subjects: with a sample of it; a subject may count for several classes.
    """

    label: str
    positive: bool
    samples: int
    subjects: int


class Subgroup(Frozen):
    """Figures of one subgroup of the scored role; no metrics where its subjects are too few to be judged.

    Attributes:
        positives: samples with the outcome, or with any finding.
        positive_subjects: subjects with such a sample; of several classes all, as each of them is one.
    """

    group: str
    level: str
    samples: int
    subjects: int
    positives: int
    positive_subjects: int
    metrics: dict[str, Measure]


class Scorecard(Record):
    """Metrics with intervals on one role of one split.

    Attributes:
        candidate: key of the candidate scored.
        role: which rows were scored.
        unit: the unit resampled for the intervals.
        samples, subjects: how many.
        classes: output → class label → samples scored.
        evidence: output → each class, by samples and by subjects.
        metrics: output → metric → figure with interval.
        confusion: output → matrix, rows true, columns predicted, in the order of the classes.
        calibration: binary output → ``slope`` and ``intercept`` of the logistic recalibration, ideally 1 and 0.
        rows_sha256: hash of the scored sample ids.
        opens_test: whether this scorecard read test rows, which the audit counts.
    """

    candidate: str
    role: Role
    unit: str
    samples: int
    subjects: int
    confidence: float
    resamples: int
    classes: dict[str, dict[str, int]]
    evidence: dict[str, tuple[Evidence, ...]]
    metrics: dict[str, dict[str, Measure]]
    confusion: dict[str, tuple[tuple[int, ...], ...]]
    subgroups: dict[str, tuple[Subgroup, ...]] = Field(default_factory=dict)
    calibration: dict[str, dict[str, Measure]] = Field(default_factory=dict)
    rows_sha256: str
    opens_test: bool


class Comparison(Record):
    """A scorecard's candidate beside others on the same rows.

    Attributes:
        scorecard: key of the scorecard compared.
        differences: other's name → metric → its figure subtracted from ours, with a paired interval.
    """

    scorecard: str
    differences: dict[str, dict[str, Measure]]


class Parity(Record):
    """What the served path says of a sample of rows, beside what the gate was shown of them.

    Attributes:
        scorecard: key of the scorecard whose scores were made again.
        samples: rows scored again.
        unequal: those with another score.
        difference: the largest absolute difference of a score (a probability; of a mask, of a pixel's raw score).
    """

    scorecard: str
    samples: int
    unequal: int
    difference: float


Verdict = Literal["promoted", "refused", "insufficient_evidence", "awaiting_approval", "no_gate"]


class Condition(Frozen):
    """One condition of the gate with its figure.

    Attributes:
        passed: it does not stand in the way.
        judged: False where there was nothing to judge (no champion to compare with: passed), or too little to judge it
            by (not passed).
        awaits: only a person can meet it, by approving.
    """

    name: str
    passed: bool
    figure: str
    required: str
    judged: bool = True
    awaits: bool = False


class Decision(Record):
    """Promoted, refused, insufficient evidence, awaiting a person's approval, or no gate; every condition's figure.

    Attributes:
        line, models: the protocol that was followed, as ``medai.lines`` names it.
        begins: parts in which the line differs from the champion's, none where the champion's is not recorded; None
            where the line goes on, or is the first.
    """

    verdict: Verdict
    candidate: str
    champion: str | None = None
    line: str = ""
    models: str = ""
    begins: tuple[str, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    reasons: tuple[str, ...] = Field(default=())


class Figures(Record):
    """Drawn curves of a run: name → file in the stage's folder."""

    files: dict[str, str]


class Examples(Record):
    """Answers of a run chosen to be shown: patients' data, in a file for their owner alone.

    Attributes:
        file: in the stage's folder; it is embedded in the page and goes nowhere else.
        shown: kind of answer → how many are shown.
    """

    file: str
    shown: dict[str, int]


class Page(Record):
    """The run's report: one self-contained HTML file."""

    file: str
