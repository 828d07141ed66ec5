"""``fit``: a model on the train rows, its threshold and calibration on the validation rows.

A model is anything that fits arrays, scores them and exports ONNX: Keras nets and scikit-learn baselines are two
adapters. What scores from here on is the exported ONNX file, so that a figure always belongs to what is served.

Same lock, instruction set, thread count and oneDNN flag: same weights, byte for byte; the Candidate records all four.
A fit that is killed resumes after its last finished epoch and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from medai.errors import DataRefused
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.thresholds import Threshold
from medai.models import Augmentation, Net
from medai.models.baselines import CLASSICAL, Baseline
from medai.outputs import Mask, Output
from medai.preprocessing import Preprocessing
from medai.records import (
    Arrays,
    Calibration,
    Candidate,
    Cohort,
    Environment,
    Frozen,
    Member,
    Origin,
    Recipe,
    Splits,
    stage_key,
)
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    import numpy as np

VERSION = 5
LIBRARIES = ("tensorflow", "keras", "tf2onnx", "numpy")
BASELINE_LIBRARIES = ("scikit-learn", "skl2onnx", "numpy")
PARITY = 1e-4
"""Largest difference tolerated between a net's own scores and its ONNX file's (1.5e-7 is usual)."""

Progress = Callable[[float], None]
Sampling = Literal["over", "under"]

log = logging.getLogger(__name__)


ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("balanced")]
    | Annotated[dict[str, Annotated[float, Field(gt=0, le=1000)]], Tag("by_class")],
    Discriminator(lambda value: "by_class" if isinstance(value, dict) else "balanced"),
]


class Training(Frozen):
    """How a net is fitted.

    Attributes:
        steps_per_epoch: batches of an epoch; the train rows are then gone through again and again, shuffled anew each
            time, in full batches, and an epoch begins where the last one ended. None: one pass an epoch.
        optimizer: ``adamw`` decays weights apart from the gradient (Loshchilov and Hutter 2019).
        schedule: ``cosine`` falls from learning_rate to zero over all steps.
        weight_decay: of AdamW; ignored by the others.
        class_weights: ``balanced`` weighs each class by samples / (classes × its samples), and of findings each one's
            presence and absence so that both weigh the same; or class → weight (of a finding: of its presence).
        sampling: ``over`` repeats rows of smaller classes until each comes as often as the largest in a pass over the
            train rows; ``under`` draws so many of each as the smallest has, others each time. Null: every row once.
        focal: exponent of the focal loss, which lessens the weight of what is answered well already: 2 in its paper
            (Lin et al. 2017, doi:10.1109/ICCV.2017.324). Null: cross-entropy.
        weight_averaging: momentum of the exponential moving average of the weights that the model ends with.
        label_smoothing: share of the truth spread evenly (Szegedy et al. 2016).
        augmentation: random changes of train pictures, inside the graph, off when scoring.
    """

    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(32, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1, le=1_000_000)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(0.0, ge=0)
    class_weights: ClassWeights | None = None
    sampling: Sampling | None = None
    focal: float | None = Field(None, gt=0, le=10)
    weight_averaging: float | None = Field(None, gt=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augmentation: Augmentation | None = None

    @model_validator(mode="after")
    def _classes_are_balanced_once(self) -> Training:
        if self.sampling is not None and self.class_weights is not None:
            raise ValueError("sampling and class_weights both even classes out; use one of them")
        return self

    def unfit_for(self, output: Output) -> str | None:
        """Why this training does not fit an output; None where it does."""
        if output.kind == "mask":
            asked = [name for name in ("class_weights", "sampling", "focal") if getattr(self, name) is not None]
            return (
                f"training.{asked[0]}: the Dice loss of a mask weighs its classes alike; remove it" if asked else None
            )
        if self.sampling is not None and output.kind == "multilabel":
            return "training.sampling needs one class a sample; for findings use class_weights or focal"
        if isinstance(self.class_weights, dict) and set(self.class_weights) != set(output.names):
            wrong = next((name for name in self.class_weights if name not in output.names), None)
            told = "not every class has a weight" if wrong is None else f"there is no class {wrong!r}"
            return f"training.class_weights: {told}; give one for each of {', '.join(output.names)}"
        return None


class Execution(Frozen):
    """What a fit's bytes depend on besides its inputs; pinned, and part of its key."""

    threads: int = Field(2, ge=1)
    onednn: bool = True


class _Fit(Frozen):
    """The narrow configuration that enters the key."""

    model: Net | Baseline = Field(discriminator="kind")
    training: Training | None
    threshold: Threshold
    calibration: CalibrationChoice
    outputs: dict[str, Output]
    preprocessing: Preprocessing
    execution: Execution
    seed: int
    origin: Origin | None


def fit(
    workspace: Workspace,
    name: str,
    model: Any,
    training: Training | None,
    arrays: Arrays,
    cohort: Cohort,
    splits: Splits,
    outputs: dict[str, Output],
    preprocessing: Any,
    threshold: Threshold,
    calibration: CalibrationChoice,
    execution: Execution,
    seed: int,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Made[Candidate]:
    """Fit one model and make it a Candidate.

    Args:
        name: the model's name in the run: ``net`` or a baseline's.
        model: an encoder (a net) or a baseline configuration.
        training: how a net is fitted; None for a baseline.
        progress: called with the finished share of epochs.
        origin: how the data were read; kept in the record, so that others are read alike when they are scored.

    Raises:
        DataRefused: a class is missing in train.
    """
    config = _Fit(
        model=model,
        training=training,
        threshold=threshold,
        calibration=calibration,
        outputs=outputs,
        preprocessing=preprocessing,
        execution=execution,
        seed=seed,
        origin=origin,
    )
    is_net = not isinstance(model, CLASSICAL)
    libraries = LIBRARIES if is_net else BASELINE_LIBRARIES
    key = stage_key(
        "fit",
        VERSION,
        {"arrays": arrays.key, "cohort": cohort.key, "splits": splits.key},
        config,
        (*libraries, "onnxruntime"),
    )

    def build(folder: Path) -> Candidate:
        from medai.inference import Scorer
        from medai.measurement import calibration as calibrating
        from medai.measurement import thresholds as choosing
        from medai.preprocessing.statistics import fit_statistics
        from medai.training.rows import Rows

        output_name, output = next(iter(outputs.items()))
        rows = Rows.load(workspace, arrays, cohort, splits, outputs)
        data = rows.arrays
        train, validation = rows.of("train"), rows.of("validation")
        truth = rows.goal(output_name, output)
        _refuse_one_sided(output_name, output, rows.truth[output_name][train])
        statistics = fit_statistics(data, train, ranges=getattr(model, "scaling", None) == "percentiles")
        epochs, parameters, fitted_samples = 0, 0, len(train)
        log.info("fit %s on %d samples …", name, len(train))
        # Small classical models lose more to threads than they gain, and logistic regression's bytes depend on them.
        threads = execution.threads if is_net else 1
        if is_net:
            assert training is not None  # noqa: S101 - a net always comes with its training
            with _native_log_apart(workspace.scratch("fit", key) / "native.log"):
                from medai.training import nets

            weights_sha256, parameters = nets.fit_net(
                model, training, data, truth, train, validation, output, statistics, execution, seed,
                folder, workspace.scratch("fit", key), progress,
            )  # fmt: skip
            epochs = training.epochs
        else:
            chosen = rows.drawn(train, model.largest_rows)
            fitted_samples = len(chosen)
            if fitted_samples < len(train):
                log.info("%s learns from %d of them", name, fitted_samples)
            fitted = model.fit(rows.at(chosen), truth[chosen], output, seed, threads)
            fitted.export(folder / "model.onnx")
            weights_sha256 = ""
        from medai.records import sha256_of_file

        onnx_sha256 = sha256_of_file(folder / "model.onnx")
        scorer = Scorer(folder / "model.onnx", onnx_sha256, threads=1)
        if isinstance(output, Mask):
            from medai.measurement import segmentation

            blocks = scorer.batches(rows.at(validation))
            pairs = ((truth[validation[start : start + len(block)]], block) for start, block in blocks)
            fitted_calibration, thresholds = Calibration(), segmentation.choose(output, pairs, threshold)
        else:
            raw = scorer.score(rows.at(validation))
            fitted_calibration = calibrating.fit(output, truth[validation], raw, calibration)
            scores = calibrating.apply(fitted_calibration, raw)
            thresholds = choosing.choose(output, truth[validation], scores, threshold)
        (folder / "statistics.json").write_text(json.dumps(statistics, sort_keys=True))
        rows.write_subjects(folder / "subjects.parquet", ("train", "validation"))
        return Candidate(
            key=key,
            name=name,
            members=(
                Member(
                    kind=model.kind,
                    weights_sha256=weights_sha256 or onnx_sha256,
                    onnx_sha256=onnx_sha256,
                    parameters=parameters,
                ),
            ),
            thresholds={output_name: thresholds},
            calibration={output_name: fitted_calibration},
            levels={name: _levels(truth[train], amounts[train]) for name, amounts in rows.amounts.items()},
            preprocessing=preprocessing.model_dump(mode="json"),
            outputs={name: value.model_dump(mode="json") for name, value in outputs.items()},
            origin=origin,
            recipe=Recipe(
                model=model.model_dump(mode="json"),
                training=None if training is None else training.model_dump(mode="json"),
                threshold=threshold.model_dump(mode="json"),
                calibration=calibration.model_dump(mode="json"),
            ),
            statistics=statistics,
            trained_on={role: splits.subjects[role] for role in ("train", "validation")},
            fitted_samples=fitted_samples,
            seed=seed,
            epochs=epochs,
            environment=Environment(
                threads=threads,
                onednn=execution.onednn,
                instruction_set=instruction_set(),
                libraries={library: version(library) for library in libraries},
            ),
        )

    return workspace.materialise("fit", key, Candidate, build)


@contextlib.contextmanager
def _native_log_apart(path: Path) -> Iterator[None]:
    """Keep what TensorFlow's libraries write past Python while they load; no setting of theirs silences it."""
    sys.stderr.flush()
    standard_error = os.dup(2)
    try:
        with path.open("wb") as apart:
            os.dup2(apart.fileno(), 2)
            yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def instruction_set() -> str:
    """The widest vector instructions that this processor offers to oneDNN and Eigen, with the architecture."""
    machine = platform.machine()
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return machine
    for flag, name in (
        ("amx_bf16", "AMX"),
        ("avx512_bf16", "AVX-512 BF16"),
        ("avx512_vnni", "AVX-512 VNNI"),
        ("avx512f", "AVX-512"),
        ("avx2", "AVX2"),
    ):
        if flag in flags:
            return f"{machine} {name}"
    return machine


def _levels(truth: np.ndarray, amounts: np.ndarray) -> tuple[float, ...]:
    """Class → mean amount of its rows, as the public benchmark estimates a time from a bin."""
    import numpy as np

    return tuple((np.bincount(truth, amounts.astype(np.float64)) / np.bincount(truth)).tolist())


def _refuse_one_sided(name: str, output: Output, truth: np.ndarray) -> None:
    if output.kind == "mask":
        if not truth.any():
            raise DataRefused(
                f"output {name}: no picture of train shows a finding",
                expected=f"train pictures with {output.positive}",
                received=f"{len(truth)} pictures with empty masks",
                action="give more data, or other split fractions in the Problem",
            )
        return
    columns = truth.reshape(len(truth), -1)
    classes = 2 if output.kind != "multiclass" else output.columns
    for position in range(columns.shape[1]):
        present = len(set(columns[:, position].tolist()))
        if present < classes:
            raise DataRefused(
                f"output {name}: a class is missing in train",
                expected=f"samples of all {classes} classes",
                received=f"{present} of them",
                action="give more data, or other classes or split fractions in the Problem",
            )
