"""What a run says to MLflow, as plain values made from content records alone.

Nothing here can carry a patient's id or free text: parameters come from the Problem, tags and metrics from records,
and of the candidate's folder only the files named in ``MODEL_FILES`` leave it (the subject ids that the gate's overlap
check needs lie in the same folder and stay there).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai import __version__
from medai.disclosure import Guard, page_text
from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.records import (
    ROLES,
    Candidate,
    Cohort,
    Decision,
    QualityReport,
    Record,
    Scorecard,
    Snapshot,
    Splits,
    canonical_json,
    sha256_of,
    sha256_of_file,
)

MODEL = "model.onnx"
MODEL_FILES = ("architecture.json", "weights.npz", "statistics.json")
"""Files of a candidate's folder that go beside the ONNX file when they exist."""
HISTORY = "history.json"
CANDIDATE_TAG = "medai.candidate"
"""On a run, a logged model and a version: the key of the candidate that it is of."""
FIGURES = frozenset({".png", ".svg"})

PARAMETER_CHARACTERS = 6000
"""MLflow's limit for one parameter's value; longer ones would be cut silently."""
DIGEST_CHARACTERS = 36
"""MLflow's limit for a data set's digest."""

TAG_CHARACTERS = 5000
"""Well under MLflow's limit for a registry tag, so that a page can still show it."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
NOT_IN_A_KEY = re.compile(r"[^\w./ -]")


@dataclass(frozen=True)
class Package:
    """All that one run hands to MLflow.

    Attributes:
        problem: the Problem's name, which is the experiment's and the registered model's too.
        resolved: the resolved Problem as a JSON object.
        run_key: hash of the run's inputs; two runs with this key are the same run.
        candidate: what was fitted.
        folder: the candidate's folder: ``model.onnx``, and where they exist ``architecture.json``, ``weights.npz``,
            ``statistics.json`` and ``history.json`` (metric → one figure an epoch).
        snapshot, quality, cohort, splits: the records the candidate rests on.
        scorecards: one a scored role.
        baselines: baseline → metric → figure.
        figures: PNG or SVG files; their names become the artifacts' names.
        decision: the gate's, once it has spoken.
        seed: the run's.
        overrides: ``section.key=value``, as they were given.
    """

    problem: str
    resolved: Mapping[str, Any]
    run_key: str
    candidate: Candidate
    folder: Path
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    scorecards: tuple[Scorecard, ...]
    baselines: Mapping[str, Mapping[str, float]]
    seed: int
    overrides: tuple[str, ...] = ()
    figures: tuple[Path, ...] = ()
    decision: Decision | None = None

    def __post_init__(self) -> None:
        check_name(self.problem)

    @property
    def onnx_sha256(self) -> str:
        """Hash of the file that scores."""
        if len(self.candidate.members) != 1:
            raise MedaiError(
                "a candidate of several members has no single file to register",
                expected="one member",
                received=f"{len(self.candidate.members)} members",
                action="export the members as one ONNX file first",
            )
        return self.candidate.members[0].onnx_sha256

    def model(self) -> Path:
        """The ONNX file, after its hash was checked.

        Raises:
            ServiceFailed: the file is gone or is not the one the candidate was evaluated with.
        """
        path = self.folder / MODEL
        try:
            found = sha256_of_file(path)
        except OSError as failure:
            found = type(failure).__name__
        if found != self.onnx_sha256:
            raise ServiceFailed(
                "the candidate's model file is not the one that was evaluated",
                expected=f"{MODEL} with SHA-256 {self.onnx_sha256[:12]}…",
                received=found[:20],
                action="run the same command again: an altered stage is set apart and made again",
            )
        return path

    def parameters(self) -> dict[str, str]:
        """The Problem, one parameter a leaf, keys joined by dots. A value beyond MLflow's limit is named by hash."""
        parameters: dict[str, str] = {}
        for key, value in _leaves(self.resolved):
            text = value if isinstance(value, str) else canonical_json(value).decode()
            if len(text) > PARAMETER_CHARACTERS:
                text = f"sha256:{sha256_of(value)} (whole in problem.json)"
            parameters[NOT_IN_A_KEY.sub("_", key)] = text
        return parameters

    def tags(self) -> dict[str, str]:
        """Which content and which environment the run stands on."""
        environment = self.candidate.environment
        tags = {
            "medai.run_key": self.run_key,
            "medai.problem": self.problem,
            "medai.problem_sha256": sha256_of(dict(self.resolved)),
            CANDIDATE_TAG: self.candidate.key,
            "medai.candidate_name": self.candidate.name,
            "medai.model_sha256": self.candidate.model_sha256,
            "medai.onnx_sha256": self.onnx_sha256,
            "medai.data_sha256": self.snapshot.data_sha256,
            "medai.snapshot": self.snapshot.key,
            "medai.quality": self.quality.key,
            "medai.cohort": self.cohort.key,
            "medai.splits": self.splits.key,
            "medai.seed": str(self.seed),
            "medai.version": __version__,
            "medai.threads": str(environment.threads),
            "medai.onednn": str(environment.onednn).lower(),
            "medai.instruction_set": environment.instruction_set,
        }
        tags |= {f"medai.library.{name}": number for name, number in sorted(environment.libraries.items())}
        if self.overrides:
            tags["medai.overrides"] = "\n".join(self.overrides)[:TAG_CHARACTERS]
        if self.decision is not None:
            tags["medai.decision"] = self.decision.verdict
        return tags

    def figures_by_name(self) -> dict[str, float]:
        """Final metrics: ``ROLE.METRIC`` with ``.low`` and ``.high``, ``baseline.NAME.METRIC``.

        A Problem with several outputs has ``ROLE.OUTPUT.METRIC``. Subgroups stay in the scorecard's file: the name of
        a level comes from the data.
        """
        named: dict[str, float] = {}
        for card in self.scorecards:
            for output, metrics in card.metrics.items():
                prefix = card.role if len(card.metrics) == 1 else f"{card.role}.{output}"
                for metric, measure in metrics.items():
                    named[f"{prefix}.{metric}"] = measure.value
                    named[f"{prefix}.{metric}.low"] = measure.low
                    named[f"{prefix}.{metric}.high"] = measure.high
        for baseline, figures in self.baselines.items():
            named |= {f"baseline.{baseline}.{metric}": float(figure) for metric, figure in figures.items()}
        return {NOT_IN_A_KEY.sub("_", name): figure for name, figure in named.items()}

    def history(self) -> dict[str, list[float]]:
        """Metric → one figure an epoch; empty for a model without epochs."""
        try:
            history = json.loads((self.folder / HISTORY).read_bytes())
        except FileNotFoundError:
            return {}
        return {
            f"epoch.{NOT_IN_A_KEY.sub('_', metric)}": [float(figure) for figure in figures]
            for metric, figures in history.items()
        }

    def datasets(self) -> list[dict[str, str]]:
        """One entry a role that has rows: name, digest, source and profile. Counts and hashes, never a row.

        The digest covers the data and the split, since MLflow keeps the first profile it sees for a digest.
        """
        source = {
            "data_sha256": self.snapshot.data_sha256,
            "snapshot": self.snapshot.key,
            "cohort": self.cohort.key,
            "splits": self.splits.key,
        }
        digest = sha256_of(source)[:DIGEST_CHARACTERS]
        return [
            {
                "role": role,
                "name": f"{self.problem}.{role}",
                "digest": digest,
                "source_type": self.snapshot.source,
                "source": canonical_json(source).decode(),
                "profile": canonical_json(
                    {"samples": self.splits.samples[role], "subjects": self.splits.subjects.get(role, 0)}
                ).decode(),
            }
            for role in ROLES
            if self.splits.samples.get(role)
        ]

    def documents(self) -> dict[str, bytes]:
        """Artifact path → bytes of everything small: the Problem and the records."""
        records: dict[str, Record | None] = {
            "candidate": self.candidate,
            "snapshot": self.snapshot,
            "quality": self.quality,
            "cohort": self.cohort,
            "splits": self.splits,
            "decision": self.decision,
        }
        documents = {f"{name}.json": record.canonical() for name, record in records.items() if record is not None}
        documents["problem.json"] = canonical_json(dict(self.resolved)) + b"\n"
        scorecards = [card.model_dump(mode="json") for card in self.scorecards]
        documents["scorecard.json"] = canonical_json({card["role"]: card for card in scorecards}) + b"\n"
        return documents

    def files(self) -> dict[str, Path]:
        """Artifact path → file of everything large: figures, and the fitted parameters beside the ONNX file."""
        strange = [path.name for path in self.figures if path.suffix.lower() not in FIGURES]
        if strange:
            raise MedaiError(
                f"a file is no figure: {strange[0]}",
                expected=" or ".join(sorted(FIGURES)),
                received=Path(strange[0]).suffix or "a name without suffix",
                action="hand over figures only: tables of patients never go to MLflow",
            )
        files = {f"figures/{path.name}": path for path in self.figures}
        files |= {f"model/{name}": self.folder / name for name in MODEL_FILES if (self.folder / name).is_file()}
        return files


def refuse_names(package: Package, guard: Guard) -> None:
    """Refuse a package that names a patient of its snapshot in anything that MLflow would keep.

    Raises:
        MedaiError: it does.
    """
    seed = "medai.seed"  # a number that the user chose
    guard.refuse("MLflow's parameters", dict(package.resolved))
    guard.refuse("MLflow's tags", {key: value for key, value in package.tags().items() if key != seed})
    guard.refuse("MLflow's metrics", [*package.figures_by_name(), *package.history()])
    guard.refuse("MLflow's data sets", package.datasets())
    for name, content in package.documents().items():
        guard.refuse(f"the artifact {name}", json.loads(content))
    for name, path in package.files().items():
        guard.refuse("an artifact's name", name)
        if path.suffix == ".svg":
            guard.refuse(f"the artifact {name}", page_text(path.read_text()))
        elif path.suffix == ".json":
            guard.refuse(f"the artifact {name}", json.loads(path.read_bytes()))


def check_name(problem: str) -> str:
    """The name, if MLflow can use it for an experiment, a model and a folder.

    Raises:
        ConfigurationError: it holds other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if NAME.fullmatch(problem) is None:
        raise ConfigurationError(
            "the problem's name cannot name a model",
            expected="a letter or digit, then letters, digits, '.', '_' or '-', 200 at most",
            received=repr(problem),
            action="rename the problem in its YAML file",
        )
    return problem


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
