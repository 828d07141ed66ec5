"""A Problem: one clinical question as one YAML file.

Inputs are a map (name → source, preprocessing, encoder) and outputs are a map (name → kind, classes, positive), one of
each today. Unknown keys are refused with the near match. The file is read once; a run uses what was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from medai.cohort import CohortDefinition
from medai.errors import ConfigurationError, near_match
from medai.evaluation import Evaluation
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.metrics import LOWER_IS_BETTER, available
from medai.measurement.thresholds import Threshold
from medai.models import Net
from medai.models.baselines import Baseline
from medai.outputs import Output
from medai.preprocessing import Preprocessing
from medai.promotion import Gate, Rules
from medai.records import Frozen, sha256_of
from medai.sources import Source, reader
from medai.sources.synthetic import Synthetic
from medai.splitting import KeyedHash, Split
from medai.training import Training
from medai.yaml_files import parse_yaml, read_yaml

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SHOWN = 5


class Input(Frozen):
    """Where one input comes from, what is made of it, and the net that reads it.

    Attributes:
        location: where the data lie below the data folder (MEDAI_DATA) when ``--data`` is not given.
    """

    source: Source
    location: str | None = None
    preprocessing: Preprocessing
    encoder: Net


class Validation(Frozen):
    """Which suite judges the data.

    Attributes:
        suite: a packaged suite's name or a path to a YAML file; the source's own when left out.
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
        baselines: name → a classical model that always trains beside the net.
        choose: which candidate goes to the gate: the net, or whichever is best by ``choose_metric`` on validation.
        gate: None: nothing is promoted.
    """

    name: str
    question: str
    data: Synthetic | None = None
    inputs: dict[str, Input] = Field(min_length=1, max_length=1)
    outputs: dict[str, Output] = Field(min_length=1, max_length=1)
    cohort: CohortDefinition
    split: Split
    validation: Validation = Validation()
    training: Training
    threshold: Threshold = Threshold()
    calibration: CalibrationChoice = CalibrationChoice()
    baselines: dict[str, Baseline] = Field(default={})
    choose: str = Field("net", pattern="^(net|best_on_validation)$")
    choose_metric: str = "auroc"
    evaluation: Evaluation = Evaluation()
    gate: Gate | None = None

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name is lower case letters, digits and underscores, and begins with a letter")
        return name

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
        self._check_metrics()
        return self

    def _check_kinds(self) -> None:
        """Source, cohort, preprocessing, encoder and training speak of the same shape of data."""
        pictures = reader(self.input.source).SHAPE == "images"
        shape = "pictures" if pictures else "events"
        fitting = {
            "cohort": (self.cohort.kind, ("pictures",) if pictures else ("stays",)),
            "preprocessing": (self.input.preprocessing.kind, ("pixels",) if pictures else ("series",)),
            "encoder": (self.input.encoder.kind, ("residual_cnn", "small_cnn") if pictures else ("gru", "lstm")),
        }
        for part, (kind, known) in fitting.items():
            if kind not in known:
                raise ValueError(f"{part} kind {kind!r} does not fit a source of {shape}; use {' or '.join(known)}")
        if not pictures and self.training.augmentation is not None:
            raise ValueError("training.augmentation is for pictures; remove it")
        if self.calibration.method == "platt" and any(output.kind == "multiclass" for output in self.outputs.values()):
            raise ValueError("calibration.method 'platt' does not fit a multiclass output; use 'none'")

    def _check_metrics(self) -> None:
        """Every metric that is named is one that the judged output has."""
        judged = self.outputs[self.gate.output] if self.gate and self.gate.output else next(iter(self.outputs.values()))
        known = available(judged)
        named = {"choose_metric": self.choose_metric}
        if self.gate is not None:
            named |= {f"gate.floors.{metric}": metric for metric in self.gate.floors}
            if self.gate.non_inferiority is not None:
                named["gate.non_inferiority.metric"] = self.gate.non_inferiority.metric
        for where, metric in named.items():
            if metric not in known:
                raise ValueError(f"{where}: there is no metric {metric!r}; {near_match(metric, known)}")
            if metric in LOWER_IS_BETTER and not where.endswith("non_inferiority.metric"):
                raise ValueError(f"{where}: lower is better for {metric}; name a metric of which higher is better")

    @property
    def has_gate_role(self) -> bool:
        """Whether the split keeps rows apart for the gate."""
        return isinstance(self.split, KeyedHash) and self.split.fractions.get("gate", 0) > 0

    @property
    def input(self) -> Input:
        """The only input."""
        return next(iter(self.inputs.values()))

    @property
    def rules(self) -> Rules:
        """What the gate decides by."""
        return Rules(gate=self.gate, evaluation=self.evaluation)

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
        path = Path(name_or_path).expanduser()
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigurationError(
                f"there is no problem {name_or_path!r}",
                expected="a catalogue name, or a path to a .yaml file",
                received=f"{name_or_path!r}; {near_match(name_or_path, known)}",
                action="`medai problems` lists the catalogue",
            )
    data = read_yaml(path)
    for override in overrides:
        _override(data, override)
    try:
        problem = Problem.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(
            f"the problem {path.name} cannot be followed",
            expected="keys and values as `medai show` prints them",
            received="; ".join(_faults(error)),
            action="correct the file or the --set",
        ) from None
    suite_path(problem)
    return problem


def suite_path(problem: Problem) -> Path:
    """The file of the Problem's suite: its own by path, or a packaged one; the source's by default.

    Raises:
        ConfigurationError: there is no such suite.
    """
    from medai.validation import catalogue_suite

    suite = problem.validation.suite or problem.input.source.kind
    if not suite.endswith((".yaml", ".yml")):
        return catalogue_suite(suite)
    path = Path(suite).expanduser()
    if not path.is_file():
        raise ConfigurationError(
            f"the suite of {problem.name} is not there",
            expected="a packaged suite's name, or the path of a YAML file",
            received=suite,
            action="correct validation.suite",
        )
    return path


def _override(data: dict[str, Any], override: str) -> None:
    """Set one dotted key; a key of a section that the file leaves out is made."""
    name, equals, text = override.partition("=")
    parts = name.split(".")
    if not equals or not all(parts):
        raise ConfigurationError(
            "an override cannot be read",
            expected="--set section.key=value",
            received=f"--set {name}{'' if not equals else '=…'}",
            action="for example --set training.epochs=3",
        )
    section: Any = data
    for part in parts[:-1]:
        if not isinstance(section, dict):
            break
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
    if not isinstance(section, dict):
        raise ConfigurationError(
            f"--set {name} goes into a value that has no keys",
            expected="a dotted path of sections",
            received=f"{parts[-2]} is a single value",
            action="`medai show` prints the sections",
        )
    section[parts[-1]] = parse_yaml(f"value: {text}", f"--set {name}")["value"]


def _faults(error: ValidationError) -> Iterator[str]:
    """The first faults of a Problem as ``section.key: what is wrong``; values that look secret are never shown."""
    faults = error.errors(include_url=False, include_context=True)
    for fault in faults[:_SHOWN]:
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "union_tag_invalid":
            tags = str(fault["ctx"]["expected_tags"]).replace("'", "").split(", ")
            message = f"there is no kind {fault['ctx']['tag']!r}; {near_match(str(fault['ctx']['tag']), tags)}"
        elif fault["type"] == "missing":
            message = "this key is required"
        yield f"{where}: {message}" if where else message
    if len(faults) > _SHOWN:
        yield f"and {len(faults) - _SHOWN} more"
