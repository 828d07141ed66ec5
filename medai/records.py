"""Content records: what a stage says of what it made.

A content record is frozen, JSON, and equal for equal inputs on any machine: it holds no time, host, path or patient
identifier. Facts of one run (seconds, who, when) are receipts; they live beside the records and never enter a key.
A record holds keys; the Workspace resolves them to paths.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medai.errors import near_match

HASH_BLOCK = 1 << 20
KEY_LENGTH = 32
"""Hexadecimal digits of a stage key: 128 bits of SHA-256, short enough for a file name."""


class Frozen(BaseModel):
    """A value object: immutable, no unknown fields, NaN and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        """Refuse a misspelt key with the near match, before pydantic's shorter message."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}; {near_match(str(key), cls.model_fields)}")
        return data


class Record(Frozen):
    """A frozen content record with one canonical JSON form."""

    key: str

    def canonical(self) -> bytes:
        """The record's only JSON form: sorted keys, no spaces, one trailing newline."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what ``canonical`` wrote."""
        return cls.model_validate_json(data)


def canonical_json(value: Any) -> bytes:
    """Equal values, equal bytes.

    >>> canonical_json({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(usedforsecurity=False)).hexdigest()


def stage_key(
    stage: str, stage_version: int, inputs: dict[str, str], config: BaseModel | None, libraries: tuple[str, ...] = ()
) -> str:
    """The name of a pure stage's folder.

    Args:
        stage: the stage's verb.
        stage_version: the stage's (or reader's) declared VERSION, raised when its bytes change.
        inputs: name → key (or content hash) of each input.
        config: the stage's own narrow configuration.
        libraries: distributions whose version may change the bytes.
    """
    return sha256_of(
        {
            "stage": stage,
            "version": stage_version,
            "inputs": inputs,
            "config": None if config is None else config.model_dump(mode="json"),
            "libraries": {name: version(name) for name in libraries},
        }
    )[:KEY_LENGTH]


class Generated(Record):
    """Files that a generator wrote in a publisher's layout.

    Attributes:
        layout: the source kind that reads them.
        path: where to point the reader, below the stage's folder.
    """

    layout: str
    path: str


class Snapshot(Record):
    """Raw data read once into canonical, sorted Parquet; immutable.

    Attributes:
        shape: which canonical tables it holds: ``images`` or ``events``.
        source: the reader's kind.
        unit: what a subject stands for, printed with every interval (patient, stay or image).
        data_sha256: hash over the raw files' content, in a canonical order.
        tables: table → rows.
        counts: what the reader noticed and settled by a stated rule, by reason.
        dropped: table → rows that the reader left out because of a fault; they count against the tolerance.
    """

    shape: Literal["images", "events"]
    source: str
    unit: str
    data_sha256: str
    tables: dict[str, int]
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}


class Failure(Frozen):
    """One expectation that was not met.

    Attributes:
        expectation: the Great Expectations type.
        table: the table judged.
        column: the column or columns judged; empty for a rule on the table.
        reason: the rule's reason code.
        blocking: whether the run stops.
        unexpected: rows that break the rule.
        evaluated: rows that were judged.
    """

    expectation: str
    table: str
    column: str
    reason: str
    blocking: bool
    unexpected: int
    evaluated: int


class QualityReport(Record):
    """What Great Expectations found, and what was set aside, by reason.

    Attributes:
        passed: no blocking expectation failed.
        rows: rows of the suite's first table: the pictures or the readings.
        tables: table → rows judged.
        set_aside: reason → rows kept out. A row counts under the first reason that names it.
        warned: reason → rows that broke a rule which neither blocks nor sets aside.
        idle: reasons whose conditions meet no row of the data.
        failures: every rule not met, blocking ones first.
        rules: number of rules judged.
    """

    passed: bool
    rows: int
    tables: dict[str, int] = {}
    set_aside: dict[str, int]
    warned: dict[str, int] = {}
    idle: tuple[str, ...] = ()
    failures: tuple[Failure, ...]
    rules: int


class Exclusion(Frozen):
    """One line of the attrition table: a criterion, and how many stayed after it."""

    criterion: str
    samples: int
    subjects: int


class Cohort(Record):
    """One row a prediction.

    Attributes:
        unit: what a subject stands for.
        samples, subjects: how many were selected.
        classes: output → class label → samples.
        attrition: criteria in their order, each with what remained.
        data_sha256: of the snapshot it was selected from.
        groups: columns that evaluation may use as subgroups.
    """

    unit: str
    samples: int
    subjects: int
    classes: dict[str, dict[str, int]]
    attrition: tuple[Exclusion, ...]
    data_sha256: str
    groups: tuple[str, ...] = ()


Role = Literal["train", "validation", "gate", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "gate", "test")


class Splits(Record):
    """Who learns and who judges: an assignment table (sample, fold, role).

    Attributes:
        samples, subjects: role → count.
        test_sha256: hash of the sorted subject ids in test; the name under which openings are counted.
        straddling: subjects whom the publisher's list puts into several roles; they kept the most protected one.
        dropped: role → samples that lost it thereby and have none.
    """

    samples: dict[str, int]
    subjects: dict[str, int]
    folds: int = 1
    test_sha256: str
    straddling: int = 0
    dropped: dict[str, int] = {}


class ArrayFile(Frozen):
    """One memory-mapped array: its file, dtype and shape (first axis: rows of the index)."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()


class Arrays(Record):
    """Pixels or series on disk, unstandardised, independent of the split.

    Attributes:
        kind: ``pixels`` (height, width, channels), ``volume`` (depth, height, width, channels) or ``series`` (steps,
            variables).
        layout: ``sample``: the first axis of each array is the sample. ``stay``: a stay's series is stored once, all
            behind each other, and samples are an index into them (``begin``, ``length``).
        steps: of a sample's window, where the layout is ``stay``.
        arrays: array name → file.
        samples: rows of ``samples.parquet``, the index from sample to array row.
    """

    kind: Literal["pixels", "volume", "series"]
    layout: Literal["sample", "stay"] = "sample"
    steps: int = 0
    arrays: dict[str, ArrayFile]
    samples: int
    counts: dict[str, int] = {}


class SingleColumn(Frozen):
    """One column, alone, against one class of an output on the train rows.

    Attributes:
        auroc: of the column's value, or of its being recorded at all, whichever lies farther from a half.
    """

    column: str
    output: str
    label: str
    auroc: float

    @property
    def strength(self) -> float:
        """The AUROC in the better of its two directions."""
        return max(self.auroc, 1 - self.auroc)


class Screening(Record):
    """How well single columns tell the outcome by themselves.

    Attributes:
        columns: how many were ranked.
        strongest: the strongest few, in order.
        leaking: all over the limit that nobody allowed.
        largest_auroc: the limit.
    """

    columns: int
    strongest: tuple[SingleColumn, ...]
    leaking: tuple[SingleColumn, ...]
    largest_auroc: float


class Environment(Frozen):
    """What a fit's bytes depend on besides its inputs."""

    threads: int
    onednn: bool
    instruction_set: str
    libraries: dict[str, str]


class Member(Frozen):
    """One fitted model of a candidate.

    Attributes:
        kind: the model's kind in the Problem.
        weights_sha256: hash of the learnt parameters in build order.
        onnx_sha256: hash of the file that scores.
    """

    kind: str
    weights_sha256: str
    onnx_sha256: str
    parameters: int = 0


class Calibration(Frozen):
    """A map from raw score to probability: sigmoid(slope × logit(score) + intercept), fitted on validation."""

    method: Literal["none", "platt"] = "none"
    slope: tuple[float, ...] = ()
    intercept: tuple[float, ...] = ()


class Origin(Frozen):
    """How the data were read that a model was fitted on: whoever scores others with it must read them alike.

    Attributes:
        snapshot: key of the snapshot.
        unit: what a subject stands for there.
        source: the reader's configuration without what belongs to one set alone: its place, its labels, its names.
        cohort: when a prediction is made; not for whom.
    """

    snapshot: str
    unit: str
    source: dict[str, Any]
    cohort: dict[str, Any]

    def differences(self, other: Origin) -> dict[str, tuple[Any, Any]]:
        """Key → our value and the other's, of every key in which source or cohort differ; a missing one is None.

        >>> ours, theirs = ({"kind": "x", "white": white} for white in (4095, 65535))
        >>> one = Origin(snapshot="0", unit="image", source=ours, cohort={})
        >>> one.differences(one.model_copy(update={"snapshot": "1", "source": theirs}))
        {'source.white': (4095, 65535)}
        """
        told = {}
        for part, ours, theirs in (("source", self.source, other.source), ("cohort", self.cohort, other.cohort)):
            for key in sorted({*ours, *theirs}):
                if ours.get(key) != theirs.get(key):
                    told[f"{part}.{key}"] = (ours.get(key), theirs.get(key))
        return told


class Recipe(Frozen):
    """How a candidate was made, as its Problem said it; the gate compares it with the champion's.

    Attributes:
        model: the net's or baseline's configuration.
        training: how a net was fitted; None for a baseline.
        threshold: the rule that chose the thresholds.
        calibration: the method that calibrated the scores.
    """

    model: dict[str, Any]
    training: dict[str, Any] | None
    threshold: dict[str, Any]
    calibration: dict[str, Any]


class Candidate(Record):
    """A fitted model with all that scoring needs.

    Attributes:
        name: the model's name in the run: ``net`` or a baseline's.
        members: fitted models; their scores are averaged when there are several.
        thresholds: output → one threshold a class column (one value for a binary output).
        calibration: output → calibration.
        levels: output whose classes are bins → what a class stands for: the mean of its train rows, in hours.
        preprocessing: the configuration that turns a snapshot into its arrays (champions are re-scored through it).
        outputs: output → its definition, as in the Problem.
        origin: how the data were read that it was fitted on; None in a record of medai's first days.
        recipe: how it was made; None in such a record.
        trained_on: role → subjects; the ids are in the folder, for the gate's overlap check.
        fitted_samples: train samples that the model learnt from; fewer than there are where it holds them in memory.
        epochs: finished epochs (0 for a model without epochs).
    """

    name: str
    members: tuple[Member, ...]
    combine: Literal["mean"] = "mean"
    thresholds: dict[str, tuple[float, ...]]
    calibration: dict[str, Calibration]
    levels: dict[str, tuple[float, ...]] = {}
    preprocessing: dict[str, Any]
    outputs: dict[str, Any]
    origin: Origin | None = None
    recipe: Recipe | None = None
    statistics: dict[str, Any]
    trained_on: dict[str, int]
    fitted_samples: int | None = None
    seed: int
    epochs: int
    environment: Environment

    def reads_otherwise(self, origin: Origin | None) -> dict[str, tuple[Any, Any]]:
        """In what its own data were read otherwise: key → its value and the other's. Empty where one is not known."""
        return {} if self.origin is None or origin is None else self.origin.differences(origin)

    @property
    def model_sha256(self) -> str:
        """Hash of the learnt parameters: the single member's, or of all members' together."""
        if len(self.members) == 1:
            return self.members[0].weights_sha256
        return sha256_of([member.weights_sha256 for member in self.members])


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
    subgroups: dict[str, tuple[Subgroup, ...]] = {}
    calibration: dict[str, dict[str, Measure]] = {}
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
