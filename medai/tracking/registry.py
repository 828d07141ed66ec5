"""Runs, model versions and aliases in MLflow."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from medai.disclosure import Guard
from medai.errors import ConfigurationError, ServiceFailed
from medai.records import Candidate, Verdict
from medai.signatures import SIGNATURE, check_folder, sign_folder
from medai.signing import SiteKey
from medai.tracking.failures import is_missing, patiently
from medai.tracking.flavour import CANDIDATE, refuse_strangers, write_model
from medai.tracking.package import CANDIDATE_TAG, TAG_CHARACTERS, Package, check_name, refuse_names
from medai.workspace import Workspace, make_folder, sync_directory, sync_file

T = TypeVar("T")

SQLITE = "sqlite:///"
PARAMETERS_PER_CALL = 100
METRICS_PER_CALL = 1000
MODELS_PER_CALL = 200
MODEL_ID = "medai.model_id"
"""Tag of a version: MLflow's open-source registry does not remember which logged model a version came from."""


@dataclass(frozen=True)
class Registered:
    """Where a package lies in MLflow."""

    run_id: str
    version: int


@dataclass(frozen=True)
class Model:
    """What a registered model's page says of the whole: alias → version, and its tags."""

    aliases: dict[str, int]
    tags: dict[str, str]


class Tracking:
    """Writes Packages to MLflow and moves its aliases.

    Every method may be called again after a kill at any point, by any number of processes of one workspace: each step
    looks for what is there before it makes what is not, and one lock of the workspace orders the writers.

    Args:
        uri: ``sqlite:////absolute/path/mlflow.db`` or ``http://host:port``.
        artifacts: where artifacts go when ``uri`` is sqlite: a folder, or any URI MLflow knows. A server keeps its own
            artifacts, so for ``http`` it is not used.
        workspace: whose lock orders the writers.
        key: gives this site's key, which signs what is registered and checks what is fetched.

    Raises (every method):
        ServiceFailed: MLflow's store or server does not answer, in bounded time; access was refused; the disk is full.
    """

    def __init__(self, uri: str, artifacts: Path | str, workspace: Workspace, key: Callable[[], SiteKey]) -> None:
        self.uri = uri
        self.artifacts = artifacts.absolute().as_uri() if isinstance(artifacts, Path) else artifacts.rstrip("/")
        self.workspace = workspace
        self.key = key
        self._connected: Any = None

    def prepare(self) -> None:
        """Connect; with sqlite, create the database or bring it to this MLflow's schema, once.

        Two first users that migrate one database at once crash, so the workspace's lock lets one do it.
        """
        if self._connected is None:
            with self.workspace.lock("mlflow"):
                self._connected = patiently(self._connect, "open the tracking store")

    def register(self, package: Package) -> Registered:
        """Write a run and its model version, or find them.

        The run is found by its tag ``medai.run_key``, the version by its tag ``medai.candidate``. The run is marked
        FINISHED last, when everything else is there; one that a kill left unfinished is resumed.

        Raises:
            ServiceFailed: see the class; also when the candidate's ONNX file is not the one that was evaluated.
            MedaiError: something in it names a patient; nothing was sent.
        """
        refuse_names(package, Guard.of(self.workspace, package.snapshot))
        self.prepare()
        with self.workspace.lock("mlflow"):
            return patiently(lambda: self._register(package), "write the run")

    def set_alias(self, problem: str, alias: str, version: int) -> None:
        """Point ``champion`` or ``challenger`` at a version. Who may do so is the ledger's business, not MLflow's."""
        client = self._client()
        patiently(lambda: client.set_registered_model_alias(check_name(problem), alias, str(version)), "move an alias")

    def drop_alias(self, problem: str, alias: str) -> None:
        """Take an alias away; nothing happens when there is none."""
        client = self._client()
        patiently(lambda: client.delete_registered_model_alias(check_name(problem), alias), "drop an alias")

    def alias(self, problem: str, alias: str) -> int | None:
        """The version an alias points at; None if there is none, or no such model."""
        model = self.model(problem)
        return model.aliases.get(alias) if model else None

    def model(self, problem: str) -> Model | None:
        """Aliases and tags of a registered model; None if there is no such model."""
        from mlflow.exceptions import MlflowException

        client = self._client()

        def look() -> Model | None:
            try:
                return _model(client.get_registered_model(check_name(problem)))
            except MlflowException as failure:
                if is_missing(failure):
                    return None
                raise

        return patiently(look, "read an alias")

    def models(self, tag: str) -> dict[str, Model]:
        """Every registered model that bears a tag, by name."""
        client = self._client()

        def look() -> dict[str, Model]:
            found: dict[str, Model] = {}
            token = None
            while True:
                page = client.search_registered_models(max_results=MODELS_PER_CALL, page_token=token)
                found |= {each.name: _model(each) for each in page if tag in each.tags}
                if not (token := page.token):
                    return found

        return patiently(look, "read the registered models")

    def candidates(self, problem: str) -> dict[int, str]:
        """Version → the candidate that its tag names, empty for none; of every version that MLflow has."""
        client = self._client()
        query = f"name = '{check_name(problem)}'"

        def look() -> dict[int, str]:
            found: dict[int, str] = {}
            token = None
            while True:
                page = client.search_model_versions(query, max_results=1000, page_token=token)
                found |= {int(one.version): str(one.tags.get(CANDIDATE_TAG, "")) for one in page}
                token = page.token
                if not token:
                    return found

        return patiently(look, "read the versions")

    def tag(self, problem: str, key: str, value: str) -> None:
        """Write a tag on a registered model."""
        client = self._client()
        patiently(lambda: client.set_registered_model_tag(check_name(problem), key, value), "write a tag")

    def decision_tag(self, problem: str, version: int, verdict: Verdict, reasons: Sequence[str]) -> None:
        """Say on the version's page what the gate decided, and why."""
        client = self._client()

        def tag() -> None:
            for key, value in (("medai.decision", verdict), ("medai.reasons", "\n".join(reasons)[:TAG_CHARACTERS])):
                client.set_model_version_tag(check_name(problem), str(version), key, value)

        patiently(tag, "record the decision")

    def fetch(self, problem: str, version: int, folder: Path, candidate: str) -> None:
        """Bring a registered model here, checked: only what medai writes, as this site signed it, and of the candidate.

        Another model of this site bears a good signature, too: a version that was made to lead to it is told by its
        candidate.

        Nothing of it is loaded. The folder appears with all of its files or not at all.

        Args:
            folder: where to; not there yet.
            candidate: key of the one that was registered as this version, as the ledger has it.

        Raises:
            ConfigurationError: MLflow has no such version.
            ServiceFailed: see the class; also when a file is of a kind that medai never writes, the signature does not
                hold, or it is another candidate's.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        client = self._client()

        def place() -> str:
            try:
                return str(client.get_model_version_download_uri(check_name(problem), str(version)))
            except MlflowException as failure:
                if is_missing(failure):
                    raise ConfigurationError(
                        f"MLflow has no version {version} of {problem}",
                        expected="a registered version",
                        received="none of that number",
                        action=f"`medai history {problem}` lists the versions",
                    ) from None
                raise

        make_folder(folder.parent)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            beside = Path(scratch) / "model"
            beside.mkdir()
            uri = patiently(place, "find a model")
            brought = Path(
                patiently(
                    lambda: download_artifacts(artifact_uri=uri, dst_path=str(beside), tracking_uri=self.uri),
                    "bring a model here",
                )
            )
            what = f"version {version} of {problem}"
            refuse_strangers(brought, what)
            check_folder(brought, brought / SIGNATURE, self.key(), what)
            if (found := Candidate.parse((brought / CANDIDATE).read_bytes()).key) != candidate:
                raise ServiceFailed(
                    f"{what} was not loaded: MLflow leads to another model of this site",
                    expected=f"the candidate {candidate[:12]}…, as it was registered",
                    received=f"the candidate {found[:12]}…",
                    action="look who may write to MLflow; `medai history` tells which version is which",
                )
            brought.rename(folder)

    def _connect(self) -> Any:
        from mlflow import MlflowClient
        from sqlalchemy.exc import NoSuchModuleError

        # "Creating initial MLflow database tables", "Waiting up to 300 seconds …" at INFO, past our log: nothing that a
        # reader must know.
        for name in ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
            logging.getLogger(name).setLevel(logging.WARNING)

        def ask(uri: str) -> Any:
            try:
                client = MlflowClient(uri, uri)
            except (ModuleNotFoundError, NoSuchModuleError) as missing:
                raise ConfigurationError(
                    "MLflow cannot speak to the database of the tracking address",
                    expected=f"the driver of {uri.partition(':')[0]} beside medai",
                    received=str(missing),
                    action="install it, or name another driver after a + in MEDAI_TRACKING_URI",
                ) from None
            client.search_experiments(max_results=1)  # the first question makes the tables
            client.search_registered_models(max_results=1)
            return client

        if self.uri.startswith(SQLITE):
            database = Path(self.uri.removeprefix(SQLITE))
            database.parent.mkdir(parents=True, exist_ok=True)
            if not database.exists():
                # MLflow makes its tables in dozens of commits and refuses a database in which a kill left only some.
                beside = database.with_name(f".{database.name}.partial")
                for left in database.parent.glob(f"{beside.name}*"):
                    left.unlink()
                ask(f"{SQLITE}{beside}")
                sync_file(beside)
                beside.rename(database)
                sync_directory(database.parent)
        return ask(self.uri)

    def _client(self) -> Any:
        self.prepare()
        return self._connected

    def _register(self, package: Package) -> Registered:
        client = self._client()
        experiment = self._experiment(client, package.problem)
        run = self._run(client, experiment, package)
        run_id = run.info.run_id
        version = self._version(client, package)
        if run.info.status == "FINISHED" and version is not None:
            return Registered(run_id, int(version.version))
        if run.info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        self._describe(client, run, package)
        with tempfile.TemporaryDirectory(prefix="medai-mlflow-") as scratch:
            self._attach(client, run_id, package, Path(scratch) / "artifacts")
            if version is None:
                model = self._model(client, experiment, run_id, package, Path(scratch) / "model")
                version = self._make_version(client, package, run_id, model)
        self._link(client, run, package, version)
        # MLflow prints two addresses here when it speaks to a server; standard output belongs to the caller.
        with contextlib.redirect_stdout(io.StringIO()):
            client.set_terminated(run_id, "FINISHED")
        return Registered(run_id, int(version.version))

    def _experiment(self, client: Any, problem: str) -> str:
        experiment = client.get_experiment_by_name(problem)
        if experiment is None:
            place = f"{self.artifacts}/{problem}" if self.uri.startswith(SQLITE) else None
            return str(client.create_experiment(problem, artifact_location=place))
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _run(self, client: Any, experiment: str, package: Package) -> Any:
        found = client.search_runs(
            [experiment],
            filter_string=f"tags.`medai.run_key` = '{package.run_key}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        if found:
            return found[0]
        return client.create_run(
            experiment,
            start_time=int(time.time() * 1000),
            tags=package.tags(),
            run_name=f"{package.candidate.name}-{package.run_key[:8]}",
        )

    def _version(self, client: Any, package: Package) -> Any:
        found = client.search_model_versions(
            f"name = '{package.problem}' and tags.`{CANDIDATE_TAG}` = '{package.candidate.key}'"
        )
        # Ours names its logged model from its first moment. A copy made by hand may bear all of its tags, as MLflow's
        # copy_model_version has it, and comes after it: it has a higher number.
        ours = [one for one in found if MODEL_ID in one.tags]
        return min(ours, key=lambda one: int(one.version), default=None)

    def _describe(self, client: Any, run: Any, package: Package) -> None:
        """Parameters, epochs and data sets."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        run_id = run.info.run_id
        # MLflow refuses to write a parameter twice with another value, and a resumed run may have been begun by an
        # earlier medai that flattened the same Problem otherwise.
        missing = {key: value for key, value in package.parameters().items() if key not in run.data.params}
        for batch in _batches([Param(key, value) for key, value in missing.items()], PARAMETERS_PER_CALL):
            client.log_batch(run_id, params=batch)
        # The run's start as the time of every figure: a figure logged twice is then one row, not two.
        began = run.info.start_time
        epochs = [
            Metric(name, figure, began, step)
            for name, figures in package.history().items()
            for step, figure in enumerate(figures)
        ]
        for batch in _batches(epochs, METRICS_PER_CALL):
            client.log_batch(run_id, metrics=batch)
        inputs = [
            DatasetInput(
                Dataset(
                    name=each["name"],
                    digest=each["digest"],
                    source_type=each["source_type"],
                    source=each["source"],
                    profile=each["profile"],
                ),
                tags=[InputTag("mlflow.data.context", each["role"])],
            )
            for each in package.datasets()
        ]
        client.log_inputs(run_id, datasets=inputs)

    def _attach(self, client: Any, run_id: str, package: Package, folder: Path) -> None:
        """The records, the figures and the fitted parameters."""
        for name, content in package.documents().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, source in package.files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        client.log_artifacts(run_id, str(folder))

    def _model(self, client: Any, experiment: str, run_id: str, package: Package, folder: Path) -> Any:
        """The logged model, uploaded and READY; one that a kill left PENDING is completed."""
        found = client.search_logged_models(
            [experiment], filter_string=f"tags.`{CANDIDATE_TAG}` = '{package.candidate.key}'", max_results=1
        )
        model = (
            found[0]
            if found
            else client.create_logged_model(
                experiment,
                name=package.candidate.name,
                source_run_id=run_id,
                tags={CANDIDATE_TAG: package.candidate.key, "medai.onnx_sha256": package.onnx_sha256},
                model_type=package.candidate.members[0].kind,
            )
        )
        if str(model.status) != "READY":
            write_model(package, folder, model_id=model.model_id, run_id=run_id)
            sign_folder(folder, folder / SIGNATURE, self.key())
            client.log_model_artifacts(model.model_id, str(folder))
            client.finalize_logged_model(model.model_id, "READY")
        return model

    def _make_version(self, client: Any, package: Package, run_id: str, model: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            client.get_registered_model(package.problem)
        except MlflowException as failure:
            if not is_missing(failure):
                raise
            client.create_registered_model(package.problem)
        # The location itself, not models:/…, which MLflow's sqlite store would look up in the process-wide
        # tracking store instead of this client's.
        return client.create_model_version(
            package.problem,
            model.artifact_location,
            run_id=run_id,
            tags=package.tags() | {MODEL_ID: model.model_id},
            model_id=model.model_id,
        )

    def _link(self, client: Any, run: Any, package: Package, version: Any) -> None:
        """The final figures, on the run and on its model; model, run and version linked on each other's pages."""
        from mlflow.entities import LoggedModelOutput, Metric

        run_id, model_id = run.info.run_id, version.tags[MODEL_ID]
        digests = {each["role"]: each for each in package.datasets()}
        metrics = []
        for name, figure in package.figures_by_name().items():
            data = digests.get(name.partition(".")[0], {})
            metrics.append(
                Metric(
                    name,
                    figure,
                    run.info.start_time,
                    0,
                    model_id=model_id if data else None,
                    dataset_name=data.get("name"),
                    dataset_digest=data.get("digest"),
                    run_id=run_id,
                )
            )
        for batch in _batches(metrics, METRICS_PER_CALL):
            client.log_batch(run_id, metrics=batch)
        linked = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != model_id for output in linked):
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        # A server writes this tag, from which the model's page links its version; the sqlite store does not.
        place = [{"name": package.problem, "version": int(version.version)}]
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(place)})


def _model(found: Any) -> Model:
    return Model({name: int(version) for name, version in found.aliases.items()}, dict(found.tags))


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
