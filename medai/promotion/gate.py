"""``Gate``: a Problem's protocol of change, as data.

In the manner of a predetermined change control plan: the FDA's guidance "Marketing Submission Recommendations for a
Predetermined Change Control Plan for Artificial Intelligence-Enabled Device Software Functions" (December 2024) asks
for a description of the modifications that may come (``changes``), the protocol by which each is judged (floors,
non-inferiority, calibration, subgroups, quality of the data, parity) and who lets it into use (``approval``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medai.errors import near_match
from medai.evaluation import Evaluation
from medai.measurement.metrics import LOWER_IS_BETTER, available
from medai.outputs import Output
from medai.records import KEY_LENGTH, Frozen, sha256_of

Share = Annotated[float, Field(ge=0, le=1)]
Change = Literal[
    "data",
    "seed",
    "weights",
    "thresholds",
    "calibration",
    "environment",
    "training",
    "preprocessing",
    "architecture",
    "source",
    "cohort",
    "outputs",
]
RETRAINING: tuple[Change, ...] = ("data", "seed", "weights", "thresholds", "calibration", "environment")
"""What fitting the same model again on newer data changes."""


class NonInferiority(Frozen):
    """The candidate may be worse than the champion by no more than a margin.

    Attributes:
        metric: compared on the same rows, resampled together (paired bootstrap over the unit).
        margin: largest tolerated loss; the interval's lower bound of candidate − champion must not lie below −margin.
    """

    metric: str = "auroc"
    margin: float = Field(0.01, ge=0, le=1)


class CalibrationBounds(Frozen):
    """How well probabilities must agree with what happened; the interval's far end binds each time.

    Attributes:
        ece: largest expected calibration error (Guo et al. 2017).
        brier: largest Brier score (Brier 1950).
        slope: least and largest calibration slope (Cox 1958), ideally 1; of binary outputs.
        intercept: least and largest calibration in the large (Van Calster et al. 2019), ideally 0, on the logit
            scale; of binary outputs.
    """

    ece: Share | None = None
    brier: Share | None = None
    slope: tuple[float, float] | None = None
    intercept: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> CalibrationBounds:
        for name in ("slope", "intercept"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] >= bounds[1]:
                raise ValueError(f"{name}: the least comes before the largest, as in [{bounds[1]:g}, {bounds[0]:g}]")
        return self


class SubgroupFloors(Frozen):
    """What holds in every subgroup that is large enough to be judged; the others are named.

    Attributes:
        floors: metric → bound that the interval's lower bound must reach in the worst subgroup.
        minimum_subjects, minimum_positives: fewest subjects, and subjects with the outcome (or any finding), of a
            subgroup that is judged; below the evaluation's own ``minimum_subgroup`` none is.
    """

    floors: dict[str, Share] = Field(min_length=1)
    minimum_subjects: int = Field(50, ge=1)
    minimum_positives: int = Field(10, ge=0)


class QualityBound(Frozen):
    """How good the data must have been that the candidate learnt from.

    Attributes:
        set_aside: largest share of the rows handed over that the reader or validation left out, all tables together.
    """

    set_aside: Share


class ParityBound(Frozen):
    """The served path, its files read and their hashes checked anew, must say what the gate was shown.

    Attributes:
        samples: rows of the gate that are prepared and scored again, in a batch of their own.
        tolerance: largest difference of a score; float32 sums in another batch may differ in their last digits.
    """

    samples: int = Field(100, ge=1, le=10_000)
    tolerance: float = Field(1e-6, ge=0, le=1e-2)


class Gate(Frozen):
    """What a candidate must show before it is promoted, and what it may differ in from the champion.

    Attributes:
        role: the rows that the gate reads; ``test`` where a Problem has only a test set, and each opening is counted.
        output: the output judged; the only one when left out.
        changes: what a new champion may differ in without a person. ``data``, ``seed``, ``weights``, ``thresholds``,
            ``calibration``, ``environment`` (libraries, threads, processor); where listed also ``training``,
            ``preprocessing`` and ``architecture``, and the question's ``source``, ``cohort`` and ``outputs``, with
            which a new line of champions begins. Rules never permit their own replacement: another gate begins a
            line that a person approves.
        floors: metric → bound that the interval's lower bound must reach; every metric that has one ends at 1.
        non_inferiority: the comparison with the champion; None to promote whatever passes the floors.
        minimum_positives, minimum_negatives: fewest subjects (patients, where the source knows them) with a positive,
            and with a negative; below either, the evidence is insufficient. However many hours a patient is asked
            about, it is one. Of several classes or findings the rarest is counted. Of a mask only patients with a
            finding are asked for: overlap and distance speak of nobody else.
        calibration: bounds of the probabilities' calibration.
        subgroups: floors in the worst subgroup of the cohort's groups.
        quality: a bound of the data's quality.
        parity: train/serve parity.
        approval: ``required``: what passes all else waits until a person promotes it.
    """

    role: Literal["gate", "test"]
    output: str | None = None
    changes: tuple[Change, ...] = RETRAINING
    floors: dict[str, Share] = Field(default={})
    non_inferiority: NonInferiority | None = NonInferiority()
    minimum_positives: int = Field(30, ge=1)
    minimum_negatives: int = Field(30, ge=1)
    calibration: CalibrationBounds | None = None
    subgroups: SubgroupFloors | None = None
    quality: QualityBound | None = None
    parity: ParityBound | None = None
    approval: Literal["none", "required"] = "none"

    def unfit_for(self, output: Output, groups: tuple[str, ...]) -> Iterator[str]:
        """Why these rules cannot be followed for an output of a cohort with these groups; nothing where they can."""
        known = available(output)
        named = {f"gate.floors.{metric}": metric for metric in self.floors}
        if self.subgroups is not None:
            named |= {f"gate.subgroups.floors.{metric}": metric for metric in self.subgroups.floors}
            if not groups:
                yield "gate.subgroups: the cohort has no groups; name some in cohort.groups"
        for where, metric in named.items():
            if metric in LOWER_IS_BETTER:
                yield f"{where}: lower is better for {metric}; name a metric of which higher is better"
        if self.non_inferiority is not None:
            named["gate.non_inferiority.metric"] = self.non_inferiority.metric
        for where, metric in named.items():
            if metric not in known:
                yield f"{where}: there is no metric {metric!r}; {near_match(metric, known)}"
        bounds = self.calibration
        if bounds is not None and output.kind == "mask":
            yield "gate.calibration: the pixels of a mask are not calibrated; remove it"
        elif bounds is not None and output.kind != "binary" and (bounds.slope or bounds.intercept):
            yield f"gate.calibration: slope and intercept are of binary outputs, this one is {output.kind}"


class Rules(Frozen):
    """All that a decision depends on besides the models and the rows."""

    gate: Gate | None
    evaluation: Evaluation

    @property
    def key(self) -> str:
        """The name under which the ledger remembers decisions by these rules."""
        return sha256_of(self.model_dump(mode="json"))[:KEY_LENGTH]
