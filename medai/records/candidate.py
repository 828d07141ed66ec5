"""Records of models: what the data give away by themselves, how a model was made and what it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medai.records.content import Frozen, Record, sha256_of


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
    levels: dict[str, tuple[float, ...]] = Field(default_factory=dict)
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
