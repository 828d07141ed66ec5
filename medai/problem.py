"""A Problem: one clinical question as one YAML file.

Inputs are a map (name → source, preprocessing, encoder) and outputs are a map (name → kind, classes, positive), one of
each today. Unknown keys are refused with the near match. The file is read once; a run uses what was read.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from medai.cohort import KIDNEY_VARIABLES, OWN_COLUMNS, CohortDefinition, SliceSeries, Stays, Windows, derived
from medai.errors import ConfigurationError, near_match
from medai.evaluation import Evaluation
from medai.faults import SHOWN, disguised, faults_of, override_key, told
from medai.lines import Protocol
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.metrics import LOWER_IS_BETTER, available
from medai.measurement.thresholds import METHODS, Threshold
from medai.models import Net, UNet
from medai.models.baselines import Baseline
from medai.monitoring import Monitoring
from medai.outputs import Mask, Output
from medai.paths import expanded
from medai.preprocessing import Pixels, Preprocessing, Series, Volume
from medai.promotion import Gate, Rules
from medai.records import Frozen, sha256_of
from medai.reporting.content import Report
from medai.screening import Screen
from medai.sources import Dicom, ImageFolder, ImageMasks, ImageTable, NIHChestXray, Source, elsewhere, names, reader
from medai.sources.image_folder.finding import folded
from medai.sources.synthetic import Generator
from medai.spelling import misspelt
from medai.splitting import Split, Time
from medai.training import Training
from medai.yaml_files import read_yaml

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
RESERVED = frozenset({*OWN_COLUMNS, "role", "row"})
"""Columns that stand beside an output's in the tables of a cohort and of scores."""


class Input(Frozen):
    """Where one input comes from, what is made of it, and the net that reads it.

    Attributes:
        location: where the data lie below the folder of data sets, which is MEDAI_DATA or ``--data``; for generated
            data, which part of them this input reads.
        manifest: name of a list of SHA-256 sums in the data's folder that must hold for every file. Without it, what
            differs from a ``SHA256SUMS.txt`` there is counted and reported.
    """

    source: Source
    location: str | None = None
    manifest: str | None = Field(None, pattern=r"^[^/\\]*[^/\\.][^/\\]*$")
    preprocessing: Preprocessing
    encoder: Net

    @field_validator("location")
    @classmethod
    def _location_lies_below(cls, location: str | None) -> str | None:
        if location is not None:
            path = PurePosixPath(location)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError("a location is a relative path without '..', below the folder of data sets")
        return location


class Validation(Frozen):
    """Which suite judges the data.

    Attributes:
        suite: a packaged suite's name or a path to a YAML file; the source's own when left out. A relative path is
            looked for beside the Problem's own file first, then in the working directory.
        tolerance: largest share of a table's rows that may be set aside; the suite's own when left out.
    """

    suite: str | None = None
    tolerance: float | None = Field(None, ge=0, le=1)


class Problem(Frozen):
    """One clinical question.

    Attributes:
        name: lower case, used as the registered model's name.
        question: the question in one sentence.
        data: a generator, for problems that make their own data; others take ``--data``.
        inputs, outputs: maps of one entry each today.
        screening: when a single column is too good to be true.
        baselines: name → a classical model that always trains beside the net.
        choose: which candidate goes to the gate: the net, or whichever is best by ``choose_metric`` on validation.
        gate: None: nothing is promoted.
        monitoring: from where on what the champion meets differs too much from what it learnt.
        report: what the page of a run shows.
    """

    name: str
    question: str
    data: Generator | None = None
    inputs: dict[str, Input] = Field(min_length=1, max_length=1)
    outputs: dict[str, Output] = Field(min_length=1, max_length=1)
    cohort: CohortDefinition
    split: Split
    validation: Validation = Validation()
    screening: Screen = Screen()
    training: Training
    threshold: Threshold = Threshold()
    calibration: CalibrationChoice = CalibrationChoice()
    baselines: dict[str, Baseline] = Field(default={})
    choose: Literal["net", "best_on_validation"] = "net"
    choose_metric: str = "auroc"
    evaluation: Evaluation = Evaluation()
    gate: Gate | None = None
    monitoring: Monitoring = Monitoring()
    report: Report = Report()
    _folder: Path | None = PrivateAttr(None)
    """Where its file lies, for a path in it; no part of what it says, nor of its hash."""

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name is lower case letters, digits and underscores, and begins with a letter")
        return name

    @field_validator("inputs", "outputs", "baselines")
    @classmethod
    def _names_are_plain(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            cls._name_is_plain(name)
        return named

    @field_validator("outputs")
    @classmethod
    def _names_are_free(cls, outputs: dict[str, Output]) -> dict[str, Output]:
        for name in outputs:
            if name in RESERVED:
                raise ValueError(f"an output must not be named {name!r}: a column of the cohort has that name")
        return outputs

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Problem:
        if self.gate is not None:
            if self.gate.output is not None and self.gate.output not in self.outputs:
                raise ValueError(f"gate.output {self.gate.output!r}; {near_match(self.gate.output, self.outputs)}")
            if self.gate.role == "gate" and not self.has_gate_role:
                raise ValueError("gate.role is 'gate', but the split gives no fraction to gate; use role 'test'")
        if "net" in self.baselines:
            raise ValueError("a baseline must not be named 'net'")
        self._check_kinds()
        self._check_names()
        self._check_metrics()
        return self

    def _check_names(self) -> None:
        """Groups are no outputs, and what is named is something that the source can give."""
        for group in self.cohort.groups:
            if group in self.outputs:
                raise ValueError(f"cohort.groups: {group!r} is an output; a group is known before")
        offered, prepared = names(self.input.source), self.input.preprocessing
        if offered is not None and isinstance(self.cohort, Stays | Windows) and isinstance(prepared, Series):
            wrong = list(misspelt(offered, self.cohort, prepared))
            if wrong:
                raise ValueError("; ".join(wrong[:SHOWN]))
        if offered is not None and isinstance(self.split, Time) and self.split.column not in offered.static:
            column = self.split.column
            raise ValueError(f"split.column: there is no {column!r}; {near_match(column, offered.static)}")
        if offered is not None and isinstance(self.cohort, Stays):
            lacking = [variable for variable in KIDNEY_VARIABLES if variable not in offered.variables]
            if lacking and (asked := derived(self.cohort, self.outputs)):
                raise ValueError(
                    f"{asked[0]} is worked out from {', '.join(KIDNEY_VARIABLES)}, and the source gives no "
                    f"{lacking[0]}: name another vocabulary"
                )

    def _check_kinds(self) -> None:
        """Source, cohort, preprocessing, encoder and training speak of the same shape of data."""
        pictures = reader(self.input.source).SHAPE == "images"
        shape = "pictures" if pictures else "events"
        masks = any(output.kind == "mask" for output in self.outputs.values())
        nets = ("unet",) if masks else ("residual_cnn", "small_cnn", "cnn3d") if pictures else ("gru", "lstm")
        fitting = {
            "cohort": (self.cohort.kind, ("pictures", "slice_series") if pictures else ("stays", "windows")),
            "preprocessing": (self.input.preprocessing.kind, ("pixels", "volume") if pictures else ("series",)),
            "encoder": (self.input.encoder.kind, nets),
        }
        for part, (kind, known) in fitting.items():
            if kind not in known:
                asked = f"a source of {shape}" + (" with masks" if masks else "")
                raise ValueError(f"{part} kind {kind!r} does not fit {asked}; use {' or '.join(known)}")
        self._check_masks(masks)
        source, prepared = self.input.source, self.input.preprocessing
        if (self.input.encoder.kind == "cnn3d") != isinstance(prepared, Volume):
            raise ValueError("the encoder cnn3d and the preprocessing volume go together")
        if isinstance(self.cohort, SliceSeries) != (isinstance(prepared, Volume) and prepared.spacing is not None):
            raise ValueError(
                "a cohort of slice_series and a volume's spacing go together: slices become a volume by them"
            )
        if isinstance(source, Dicom | ImageFolder | ImageMasks | ImageTable | NIHChestXray) and isinstance(
            prepared, Pixels
        ):
            fits = prepared.size == source.size or (
                prepared.resize is not None and all(map(operator.le, prepared.size, source.size))
            )
            if not fits or prepared.channels != source.channels:
                raise ValueError(
                    "preprocessing: size and channels must be the source's own; pictures are resized once, or with"
                    " resize: area made smaller again"
                )
        multilabel = any(output.kind == "multilabel" for output in self.outputs.values())
        if isinstance(source, ImageFolder) and multilabel:
            raise ValueError(
                "a folder of class folders gives one class a picture; use output kind binary or multiclass"
            )
        if isinstance(self.cohort, Windows) and self.cohort.label_window is None:
            raise ValueError("cohort: no window has a 'label', so there is nothing to learn")
        self._check_folders()
        if not pictures and self.training.augmentation is not None:
            raise ValueError("training.augmentation is for pictures; remove it")
        for output in self.outputs.values():
            if (unfit := self.training.unfit_for(output)) is not None:
                raise ValueError(unfit)
        if self.calibration.method == "platt" and any(output.kind == "multiclass" for output in self.outputs.values()):
            raise ValueError("calibration.method 'platt' does not fit a multiclass output; use 'none'")

    def _check_masks(self, masks: bool) -> None:
        """What is asked of pixels, and what of whole pictures."""
        source, encoder, prepared = self.input.source, self.input.encoder, self.input.preprocessing
        held = source.findings if isinstance(source, Dicom | ImageMasks) else 0
        if masks and not held:
            raise ValueError(
                f"output kind 'mask' needs a source with masks, not {source.kind!r}; use image_masks, or dicom with its"
                " masks"
            )
        for name, output in self.outputs.items():
            if isinstance(output, Mask) and len(output.findings) != held:
                raise ValueError(
                    f"outputs.{name}.classes: {len(output.findings)} findings, but the source's masks hold "
                    f"{held}; correct the one or the other"
                )
        fitting = ("dice", "fixed") if masks else tuple(sorted({*METHODS} - {"dice"}))
        if self.threshold.method not in fitting:
            what = "a mask" if masks else "scores of whole samples"
            raise ValueError(
                f"threshold.method {self.threshold.method!r} does not fit {what}; use {' or '.join(fitting)}"
            )
        for name, baseline in self.baselines.items():
            if (baseline.kind == "global_threshold") != masks:
                fit = "global_threshold" if masks else "logistic_regression or gradient_boosting"
                raise ValueError(f"baselines.{name}: kind {baseline.kind!r} does not fit the output; use {fit}")
        if not masks:
            return
        if self.calibration.method != "none":
            raise ValueError("calibration.method: the pixels of a mask are not calibrated; use 'none'")
        if self.training.class_weights is not None:
            raise ValueError("training.class_weights: the Dice loss of a mask weighs its classes alike; remove it")
        if any(output.columns > 1 for output in self.outputs.values()) and self.baselines:
            raise ValueError("baselines: one grey level marks one finding; remove global_threshold")
        if isinstance(encoder, UNet) and isinstance(prepared, Pixels) and any(s % encoder.step for s in prepared.size):
            raise ValueError(
                f"preprocessing.size must be a multiple of {encoder.step}, which {len(encoder.filters)} levels of "
                "encoder.filters halve to whole pixels"
            )

    def _check_folders(self) -> None:
        """Class folders named like the classes stand in their order: another order would turn every label round."""
        for name, pairs in self.class_folders.items():
            folders, classes = ([folded(one[side]) for one in pairs] for side in (0, 1))
            if sorted(folders) == sorted(classes) and folders != classes:
                told = ", ".join(f"{folder} → {label}" for folder, label in pairs)
                raise ValueError(
                    f"outputs.{name}.classes: pictures of a folder would be given another folder's class ({told});"
                    " put source.classes and outputs.….classes in the same order"
                )

    def _check_metrics(self) -> None:
        """Every metric that is named is one that the judged output has."""
        judged = self.outputs[self.gate.output] if self.gate and self.gate.output else next(iter(self.outputs.values()))
        known, metric = available(judged), self.choose_metric
        if metric not in known:
            raise ValueError(f"choose_metric: there is no metric {metric!r}; {near_match(metric, known)}")
        if metric in LOWER_IS_BETTER:
            raise ValueError(f"choose_metric: lower is better for {metric}; name a metric of which higher is better")
        for unfit in () if self.gate is None else self.gate.unfit_for(judged, self.cohort.groups):
            raise ValueError(unfit)
        for metric in self.monitoring.floors or {}:
            where = f"monitoring.floors.{metric}"
            if metric not in known:
                raise ValueError(f"{where}: there is no metric {metric!r}; {near_match(metric, known)}")
            if metric in LOWER_IS_BETTER:
                raise ValueError(f"{where}: lower is better for {metric}; name a metric of which higher is better")

    @property
    def has_gate_role(self) -> bool:
        """Whether the split keeps rows apart for the gate."""
        return "gate" in self.split.needed

    @property
    def input(self) -> Input:
        """The only input."""
        return next(iter(self.inputs.values()))

    @property
    def class_folders(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Output → each class folder of the source with the class that its pictures are given; empty for others."""
        source = self.input.source
        if not isinstance(source, ImageFolder):
            return {}
        return {
            name: tuple(
                (folder, output.classes[at]) for at, folder in enumerate(source.classes) if at in output.classes
            )
            for name, output in self.outputs.items()
            if output.kind != "multilabel"
        }

    @property
    def rules(self) -> Rules:
        """What the gate decides by."""
        return Rules(gate=self.gate, evaluation=self.evaluation)

    @property
    def bounds(self) -> Monitoring:
        """The monitoring bounds, with the gate's floors where they name none of their own."""
        if self.monitoring.floors is not None or self.gate is None:
            return self.monitoring
        return self.monitoring.model_copy(update={"floors": dict(self.gate.floors)})

    @property
    def protocol(self) -> Protocol:
        """The line of champions that its candidates belong to, and the models among which it chooses."""
        said = self.model_dump(mode="json", exclude={"inputs"})
        return Protocol.of(
            source=elsewhere(self.input.source).model_dump(mode="json"),
            cohort=said["cohort"],
            outputs=said["outputs"],
            gate=[said["gate"], said["evaluation"]],
            models=[
                self.input.encoder.model_dump(mode="json"),
                *(said[part] for part in ("training", "baselines", "choose", "choose_metric")),
            ],
        )

    @property
    def sha256(self) -> str:
        """Hash of the whole resolved Problem."""
        return sha256_of(self.model_dump(mode="json"))


def catalogue() -> dict[str, Path]:
    """Name → file of every Problem that medai brings along."""
    folder = Path(__file__).parent / "problems"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_problem(name_or_path: str, overrides: Iterable[str] = ()) -> Problem:
    """Read a Problem by its catalogue name or from a YAML file.

    Args:
        overrides: ``a.b=value`` with the value in YAML, applied in order.

    Raises:
        ConfigurationError: no such Problem, or it cannot be followed; the first few faults are named.
    """
    known = catalogue()
    path = known.get(name_or_path)
    if path is None:
        path = expanded(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigurationError(
                f"there is no problem {name_or_path!r}",
                expected="a catalogue name, or a path to a .yaml file",
                received=f"{name_or_path!r}; {near_match(name_or_path, known)}",
                action="`medai problems` lists the catalogue; your own is given by its file, such as ./mine.yaml",
            )
    data = read_yaml(path)
    for override in overrides:
        override_key(data, override)
    problem = _follow(data, path)
    problem._folder = path.absolute().parent
    suite_path(problem)
    namesake = known.get(problem.name)
    if namesake is not None and namesake != path and read_yaml(path) != read_yaml(namesake):
        raise ConfigurationError(
            f"{path.name} calls its problem {problem.name!r}, as a problem of the catalogue is called",
            expected="a name of its own: champions, versions and history go by the name",
            received="another problem of the same name",
            action="change `name` in the file, or give --set name=…",
        )
    return problem


def _follow(data: dict[str, Any], path: Path) -> Problem:
    try:
        problem = Problem.model_validate(data)
    except ValidationError as error:
        faults = faults_of(error)
    else:
        faults = list(disguised(data, problem.model_dump()))
        if not faults:
            return problem
    expected, received = told(faults)
    raise ConfigurationError(
        f"the problem {path.name} cannot be followed",
        expected=expected or "keys and values as `medai show` prints them",
        received=received,
        action="correct the file or the --set",
    )


def suite_path(problem: Problem) -> Path:
    """The file of the Problem's suite: its own by path, or a packaged one; the source's by default.

    Raises:
        ConfigurationError: there is no such suite.
    """
    from medai.validation import catalogue_suite

    suite = problem.validation.suite or problem.input.source.kind
    if not suite.endswith((".yaml", ".yml")):
        return catalogue_suite(suite)
    path = expanded(suite)
    beside = None if problem._folder is None else problem._folder / path  # an absolute path stays what it is
    for place in (beside, path):
        try:
            if place is not None and place.is_file():
                return place
        except OSError:  # a name that is too long
            break
    raise ConfigurationError(
        f"the suite of {problem.name} is not there",
        expected="a packaged suite's name, or the path of a YAML file, beside the problem's file or from here",
        received=suite,
        action="correct validation.suite",
    )
