"""Runs, versions and aliases in a real MLflow: sqlite in a temporary folder, and a server of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import queue
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.inference import Scorer
from medai.records import (
    Calibration,
    Candidate,
    Cohort,
    Decision,
    Environment,
    Exclusion,
    Measure,
    Member,
    QualityReport,
    Scorecard,
    Snapshot,
    Splits,
    sha256_of,
)
from medai.signatures import SIGNATURE
from medai.signing import SiteKey
from medai.tracking import Package, Registered, Tracking
from medai.workspace import Workspace

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """MLflow without telemetry and with short patience, as the flows layer sets it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield


def write_model(path: Path, bias: float) -> str:
    """sigmoid(pixels · 1 + bias) over 2 × 2 uint8 pictures; returns the file's SHA-256."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.full((4, 1), 0.01, np.float32), "weights"),
        numpy_helper.from_array(np.array([bias], np.float32), "bias"),
    ]
    graph = helper.make_graph(
        nodes,
        "score",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["rows", 2, 2, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_package(folder: Path, label: str = "first") -> Package:
    """A small complete package; packages of other labels have other keys, but one problem."""
    folder.mkdir(parents=True, exist_ok=True)
    bias = int(hashlib.sha256(label.encode()).hexdigest()[:6], 16) / 2**24
    onnx_sha256 = write_model(folder / "model.onnx", bias)
    (folder / "history.json").write_text(json.dumps({"loss": [0.9, 0.5, 0.4], "val_auroc": [0.6, 0.7, 0.8]}))
    (folder / "statistics.json").write_text('{"mean": 0.5}')
    (folder / "weights.npz").write_bytes(b"weights")
    (folder / "subjects.parquet").write_bytes(b"ids of patients")
    figure = folder / "roc.svg"
    figure.write_text("<svg/>")
    candidate = Candidate(
        key=sha256_of([label, "candidate"])[:32],
        name="net",
        members=(Member(kind="cnn", weights_sha256=sha256_of([label, "weights"]), onnx_sha256=onnx_sha256),),
        thresholds={"finding": (0.4,)},
        calibration={"finding": Calibration(method="platt", slope=(1.1,), intercept=(0.0,))},
        preprocessing={"size": 2},
        outputs={"finding": {"kind": "binary"}},
        statistics={"mean": 0.5},
        trained_on={"train": 8},
        seed=3,
        epochs=3,
        environment=Environment(threads=1, onednn=True, instruction_set="avx2", libraries={"keras": "3.15.1"}),
    )
    scorecard = Scorecard(
        key="5" * 32,
        candidate=candidate.key,
        role="test",
        unit="patient",
        samples=4,
        subjects=4,
        confidence=0.95,
        resamples=100,
        classes={"finding": {"normal": 2, "ill": 2}},
        evidence={"finding": ()},
        metrics={"finding": {"auroc": Measure(value=0.8, low=0.7, high=0.9)}},
        confusion={"finding": ((2, 0), (1, 1))},
        rows_sha256="6" * 64,
        opens_test=True,
    )
    return Package(
        problem="lungs",
        resolved={"name": "lungs", "training": {"epochs": 3, "rates": [0.1, 0.2]}, "note": "x" * 7000, "empty": {}},
        run_key=sha256_of([label, "run"])[:32],
        candidate=candidate,
        folder=folder,
        snapshot=Snapshot(
            key="1" * 32,
            shape="images",
            source="synthetic",
            unit="patient",
            data_sha256="a" * 64,
            tables={"images": 14},
        ),
        quality=QualityReport(key="2" * 32, passed=True, rows=14, set_aside={}, failures=(), rules=3),
        cohort=Cohort(
            key="3" * 32,
            unit="patient",
            samples=14,
            subjects=12,
            classes={"finding": {"normal": 7, "ill": 7}},
            attrition=(Exclusion(criterion="all", samples=14, subjects=12),),
            data_sha256="a" * 64,
        ),
        splits=Splits(
            key="4" * 32,
            samples={"train": 8, "validation": 2, "test": 4},
            subjects={"train": 7, "validation": 2, "test": 3},
            test_sha256="7" * 64,
        ),
        scorecards=(scorecard,),
        baselines={"logistic_regression": {"auroc": 0.75}},
        figures=(figure,),
        decision=Decision(key="8" * 32, verdict="promoted", candidate=candidate.key),
        seed=3,
    )


def key_of(root: Path) -> Callable[[], SiteKey]:
    """What gives the site's key below ``root``."""
    return lambda: SiteKey.of(root / "keys")


def open_tracking(root: Path) -> Tracking:
    """Tracking in sqlite under ``root``."""
    return Tracking(f"sqlite:///{root}/state/mlflow.db", root / "artifacts", Workspace(root / "state"), key_of(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module: making it takes seconds."""
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def tracking(root: Path) -> Tracking:
    """A Tracking that is prepared."""
    tracking = open_tracking(root)
    tracking.prepare()
    return tracking


def test_the_overrides_of_a_run_are_a_tag(tmp_path: Path) -> None:
    """As they were given, one a line, so that a page says how to make the run again; none: no tag."""
    package = make_package(tmp_path)
    assert "medai.overrides" not in package.tags()
    given = replace(package, overrides=("training.epochs=3", "gate=null"))
    assert given.tags()["medai.overrides"] == "training.epochs=3\ngate=null"


def client_of(tracking: Tracking) -> Any:
    """A second, plain client of the same store: what anybody else sees."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri, tracking.uri)


def assert_whole(tracking: Tracking, package: Package, registered: Registered) -> None:
    """One FINISHED run and one version, with every parameter, figure, data set, file and a READY model, once each."""
    client = client_of(tracking)
    experiment = client.get_experiment_by_name(package.problem)
    (run,) = client.search_runs([experiment.experiment_id], filter_string=f"tags.`medai.run_key` = '{package.run_key}'")
    assert (run.info.run_id, run.info.status) == (registered.run_id, "FINISHED")
    assert run.info.end_time is not None
    assert run.data.params == package.parameters()
    assert package.tags().items() <= run.data.tags.items()
    assert package.figures_by_name().items() <= run.data.metrics.items()
    history = client.get_metric_history(run.info.run_id, "epoch.loss")
    assert [(each.step, each.value) for each in history] == [(0, 0.9), (1, 0.5), (2, 0.4)]
    assert len(client.get_metric_history(run.info.run_id, "test.auroc")) == 1
    assert sorted(each.dataset.name for each in run.inputs.dataset_inputs) == [
        "lungs.test",
        "lungs.train",
        "lungs.validation",
    ]
    names = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert names >= {"problem.json", "scorecard.json", "decision.json", "candidate.json", "figures", "model"}
    assert [each.path for each in client.list_artifacts(run.info.run_id, "figures")] == ["figures/roc.svg"]

    (version,) = client.search_model_versions(f"tags.`medai.candidate` = '{package.candidate.key}'")
    assert (int(version.version), version.run_id) == (registered.version, registered.run_id)
    (model,) = client.search_logged_models(
        [experiment.experiment_id], filter_string=f"tags.`medai.candidate` = '{package.candidate.key}'"
    )
    assert model.model_id == version.tags["medai.model_id"]
    assert json.loads(model.tags["mlflow.modelVersions"])[0]["version"] in (registered.version, str(registered.version))
    assert str(model.status) == "READY"
    assert [each.model_id for each in run.outputs.model_outputs] == [model.model_id]
    assert {each.key: each.value for each in model.metrics}["test.auroc"] == 0.8


def test_importing_the_room_does_not_import_mlflow() -> None:
    """The command line imports medai.tracking; MLflow's three seconds are paid by the stage that needs it."""
    code = "import sys, medai.tracking; print(sorted({'mlflow', 'pandas', 'onnx', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("dialect", ["mssql", "mysql+none"])
def test_a_database_without_its_driver_is_told(dialect: str, tmp_path: Path) -> None:
    """At once, by its dialect; nothing else of the address is shown."""
    tracking = Tracking(f"{dialect}://host.ward/db", tmp_path, Workspace(tmp_path / "home"), key_of(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot speak to the database") as caught:
        tracking.alias("mortality", "champion")
    assert caught.value.expected == f"the driver of {dialect} beside medai"
    assert "ward" not in str(caught.value)


def test_a_package_is_registered_whole_and_once(
    tracking: Tracking, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Registering twice finds the first run and version; nothing is printed on standard output."""
    package = make_package(tmp_path)
    registered = tracking.register(package)
    assert tracking.register(package) == registered
    assert_whole(tracking, package, registered)
    assert capfd.readouterr().out == ""


def artifact(tracking: Tracking, version: int) -> Path:
    """Where MLflow keeps a registered model."""
    return Path(client_of(tracking).get_model_version("lungs", str(version)).source.removeprefix("file://"))


def test_a_registered_model_is_fetched_as_it_was_signed(tracking: Tracking, tmp_path: Path) -> None:
    """The folder holds what medai writes and its signature, and the file that scores is the one that was evaluated."""
    package = make_package(tmp_path / "package", "fetched")
    registered = tracking.register(package)
    tracking.fetch("lungs", registered.version, tmp_path / "here", package.candidate.key)
    names = {path.name for path in (tmp_path / "here").iterdir()}
    assert names >= {"MLmodel", "model.onnx", "candidate.json", "weights.npz", SIGNATURE}
    Scorer(tmp_path / "here" / "model.onnx", package.onnx_sha256)
    with pytest.raises(ConfigurationError, match="MLflow has no version 999 of lungs"):
        tracking.fetch("lungs", 999, tmp_path / "there", package.candidate.key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "package"]


@pytest.mark.parametrize(
    ("harm", "received"),
    [
        (lambda folder: flip(folder / "model.onnx"), "other bytes in model.onnx"),
        (lambda folder: flip(folder / "candidate.json"), "other bytes in candidate.json"),
        (lambda folder: (folder / "weights.npz").unlink(), "no weights.npz"),
        (lambda folder: (folder / SIGNATURE).unlink(), "none"),
        (lambda folder: (folder / "model.pkl").write_bytes(b"cos\nsystem"), "a file that ends with '.pkl'"),
        (lambda folder: (folder / "model.h5").write_bytes(b""), "a file that ends with '.h5'"),
        (lambda folder: (folder / "net.keras").write_bytes(b""), "a file that ends with '.keras'"),
        (lambda folder: (folder / "code").mkdir() or (folder / "code" / "x.py").touch(), "something else"),
    ],
)
def test_a_registered_model_that_somebody_touched_is_not_fetched(
    harm: Callable[[Path], object], received: str, tracking: Tracking, tmp_path: Path
) -> None:
    """A flipped byte, a missing file or signature, anything that could carry code: refused; nothing is left."""
    package = make_package(tmp_path / "package", tmp_path.name)
    registered = tracking.register(package)
    harm(artifact(tracking, registered.version))
    with pytest.raises(ServiceFailed, match=f"version {registered.version} of lungs was not loaded") as failure:
        tracking.fetch("lungs", registered.version, tmp_path / "here", package.candidate.key)
    assert failure.value.received == received
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_a_version_that_was_led_to_another_signed_model_is_not_fetched(tracking: Tracking, tmp_path: Path) -> None:
    """An older model of the site in the place of a newer: its signature holds, its candidate is another."""
    packages = [make_package(tmp_path / name, name) for name in ("older-model", "newer-model")]
    older, newer = (tracking.register(package) for package in packages)
    places = [artifact(tracking, one.version) for one in (older, newer)]
    shutil.rmtree(places[1])
    shutil.copytree(places[0], places[1])
    with pytest.raises(ServiceFailed, match="MLflow leads to another model of this site") as failure:
        tracking.fetch("lungs", newer.version, tmp_path / "here", packages[1].candidate.key)
    assert failure.value.received == f"the candidate {packages[0].candidate.key[:12]}…"
    assert not (tmp_path / "here").exists()


def test_a_version_that_somebody_made_of_our_candidate_is_not_ours(tracking: Tracking, tmp_path: Path) -> None:
    """It has the candidate's tag and no logged model: ours is registered beside it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    package = make_package(tmp_path / "package", "copied")
    client = MlflowClient(tracking.uri, tracking.uri)
    with contextlib.suppress(MlflowException):  # another test's model has the name
        client.create_registered_model("lungs")
    tags = {"medai.candidate": package.candidate.key}
    stranger = client.create_model_version("lungs", "s3://nowhere/model", tags=tags)
    registered = tracking.register(package)
    assert registered.version == int(stranger.version) + 1
    assert tracking.register(package) == registered


def test_a_copy_with_all_of_our_tags_takes_no_place(tracking: Tracking, tmp_path: Path) -> None:
    """As MLflow's own copy_model_version makes it: the version that was registered first stays the candidate's."""
    from mlflow import MlflowClient

    package = make_package(tmp_path / "package", "copied whole")
    registered = tracking.register(package)
    client = MlflowClient(tracking.uri, tracking.uri)
    ours = client.get_model_version("lungs", str(registered.version))
    copy = client.create_model_version("lungs", "s3://nowhere/model", tags=dict(ours.tags))
    assert int(copy.version) > registered.version
    assert tracking.register(package) == registered


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_process_wide_tracking_store_is_left_alone(tracking: Tracking, tmp_path: Path) -> None:
    """Registering sets no global tracking address and leaves no active run."""
    import mlflow

    before = mlflow.get_tracking_uri()
    tracking.register(make_package(tmp_path, "global"))
    assert mlflow.get_tracking_uri() == before != tracking.uri
    assert mlflow.active_run() is None


def test_nothing_of_the_candidates_folder_but_the_model_leaves_it(tracking: Tracking, tmp_path: Path) -> None:
    """Subject ids lie beside the model for the gate; no artifact holds them, and no file is a pickle."""
    package = make_package(tmp_path / "package", "folder")
    registered = tracking.register(package)
    version = client_of(tracking).get_model_version("lungs", str(registered.version))
    model = Path(version.source.removeprefix("file://"))
    run = client_of(tracking).get_run(registered.run_id)
    files = [path for path in (*model.rglob("*"), *Path(run.info.artifact_uri.removeprefix("file://")).rglob("*"))]
    assert {path.name for path in model.iterdir()} == {
        "MLmodel",
        "candidate.json",
        "conda.yaml",
        "model.onnx",
        SIGNATURE,
        "preprocessing.json",
        "python_env.yaml",
        "requirements.txt",
        "statistics.json",
        "weights.npz",
    }
    assert not [path.name for path in files if path.suffix in (".pkl", ".parquet", ".csv")]
    assert all(b"ids of patients" not in path.read_bytes() for path in files if path.is_file())


def test_the_served_model_scores_as_the_evaluated_one(tracking: Tracking, tmp_path: Path) -> None:
    """The version holds the evaluated bytes; MLflow's ONNX and pyfunc loaders give the Scorer's scores."""
    import mlflow.onnx
    import mlflow.pyfunc

    package = make_package(tmp_path, "served")
    registered = tracking.register(package)
    source = client_of(tracking).get_model_version("lungs", str(registered.version)).source
    pixels = np.random.default_rng(1).integers(0, 256, size=(6, 2, 2, 1)).astype(np.uint8)
    scores = Scorer(tmp_path / "model.onnx", package.onnx_sha256).score({"pixels": pixels})

    served = Path(source.removeprefix("file://")) / "model.onnx"
    np.testing.assert_array_equal(Scorer(served, package.onnx_sha256).score({"pixels": pixels}), scores)
    (tmp_path / "again.onnx").write_bytes(mlflow.onnx.load_model(source).SerializeToString())
    sha256 = hashlib.sha256((tmp_path / "again.onnx").read_bytes()).hexdigest()
    np.testing.assert_array_equal(Scorer(tmp_path / "again.onnx", sha256).score({"pixels": pixels}), scores)
    loaded = mlflow.pyfunc.load_model(source)
    np.testing.assert_array_equal(loaded.predict({"pixels": pixels})["scores"], scores)
    (declared,) = loaded.metadata.get_input_schema().inputs
    assert (declared.name, declared.type, declared.shape) == ("pixels", np.dtype("uint8"), (-1, 2, 2, 1))
    assert loaded.metadata.metadata["medai"]["onnx_sha256"] == package.onnx_sha256


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Mortal:
    """A real client whose process dies at its n-th call, or one of a name, just before or after it took effect."""

    def __init__(self, client: Any, dies_at: int | str, after: bool) -> None:
        self.client, self.dies_at, self.after, self.calls = client, dies_at, after, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            fatal = self.dies_at in (self.calls, name)
            if fatal and not self.after:
                raise Killed
            answer = method(*arguments, **named)
            if fatal:
                raise Killed
            return answer

        return call


def test_a_kill_at_any_call_leaves_nothing_half_and_nothing_twice(
    root: Path, tracking: Tracking, tmp_path: Path
) -> None:
    """Killed before or after each call to MLflow in turn, then run again: one finished run, one version, all there."""
    tracking.register(make_package(tmp_path / "earlier", "earlier"))  # the experiment and the model are there
    counting = Mortal(client_of(tracking), 0, after=False)
    mortal = open_tracking(root)
    mortal._connected = counting
    mortal.register(make_package(tmp_path / "count", "count"))
    assert counting.calls > 10
    for call in range(1, counting.calls + 1):
        for after in (False, True):
            package = make_package(tmp_path / f"{call}{after}", f"killed {call} {after}")
            mortal._connected = Mortal(client_of(tracking), call, after)
            with pytest.raises(Killed):
                mortal.register(package)
            runs = client_of(tracking).search_runs(
                [client_of(tracking).get_experiment_by_name("lungs").experiment_id],
                filter_string=f"tags.`medai.run_key` = '{package.run_key}' and attributes.status = 'FINISHED'",
            )
            assert len(runs) == (call == counting.calls and after)
            assert_whole(tracking, package, tracking.register(package))


def test_a_kill_in_an_empty_database_is_mended(tmp_path: Path) -> None:
    """The first run of all, killed where it makes the experiment and the registered model, completes on the next."""
    tracking = open_tracking(tmp_path)
    tracking.prepare()
    package = make_package(tmp_path / "package")
    for name in ("create_experiment", "create_run", "create_registered_model", "create_model_version"):
        for after in (False, True):
            tracking._connected = Mortal(client_of(tracking), name, after)
            with pytest.raises(Killed):
                tracking.register(package)
    tracking._connected = client_of(tracking)
    assert_whole(tracking, package, tracking.register(package))


def register_elsewhere(root: Path, folder: Path, answers: Any) -> None:
    """Register in another process."""
    try:
        os.environ.update(QUIET)
        registered = open_tracking(root).register(make_package(folder, "raced"))
        answers.put((registered.run_id, registered.version))
    except BaseException as failure:
        answers.put(repr(failure))
        raise


def answer_of(processes: list[Any], answers: Any) -> Any:
    """The next answer of processes, however slow they are; none comes any more once all of them have ended."""
    while any(process.is_alive() for process in processes):
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=1)
    return answers.get(timeout=5)


def test_two_first_users_at_once_make_one_run_and_one_version(tmp_path: Path) -> None:
    """Two processes that make the database and register the same package at once agree."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    make_package(tmp_path / "0", "raced")
    both = [
        context.Process(target=register_elsewhere, args=(tmp_path, tmp_path / str(number), answers))
        for number in range(2)
    ]
    for process in both:
        process.start()
    first, second = (answer_of(both, answers) for _ in both)
    for process in both:
        process.join()
    assert first == second
    tracking = open_tracking(tmp_path)
    assert_whole(tracking, make_package(tmp_path / "0", "raced"), Registered(*first))


def test_an_equal_candidate_in_another_run_is_one_version(tracking: Tracking, tmp_path: Path) -> None:
    """Another gate over the same fitted model is another run, linked to the version that is there."""
    package = make_package(tmp_path, "same candidate")
    first = tracking.register(package)
    second = tracking.register(replace(package, run_key="f" * 32))
    assert second.version == first.version
    assert second.run_id != first.run_id
    outputs = client_of(tracking).get_run(second.run_id).outputs.model_outputs
    assert len(outputs) == 1


def test_aliases_move_and_are_read(tracking: Tracking, tmp_path: Path) -> None:
    """champion and challenger point at versions; an alias never set, and a model never registered, are None."""
    version = tracking.register(make_package(tmp_path, "alias")).version
    assert tracking.alias("nothing", "champion") is None
    assert tracking.alias("lungs", "champion") is None
    tracking.set_alias("lungs", "champion", version)
    tracking.set_alias("lungs", "challenger", version)
    assert tracking.alias("lungs", "champion") == tracking.alias("lungs", "challenger") == version


def test_the_decision_stands_on_the_version(tracking: Tracking, tmp_path: Path) -> None:
    """The verdict and its reasons are tags of the version."""
    version = tracking.register(make_package(tmp_path, "decision")).version
    tracking.decision_tag("lungs", version, "refused", ["auroc 0.70 < 0.80", "sensitivity in women fell"])
    tags = client_of(tracking).get_model_version("lungs", str(version)).tags
    assert tags["medai.decision"] == "refused"
    assert tags["medai.reasons"] == "auroc 0.70 < 0.80\nsensitivity in women fell"


def test_parameters_fit_mlflow(tmp_path: Path) -> None:
    """The Problem becomes one parameter a leaf; a value beyond MLflow's limit is named by its hash, not cut."""
    parameters = make_package(tmp_path).parameters()
    assert parameters["training.epochs"] == "3"
    assert parameters["training.rates"] == "[0.1,0.2]"
    assert parameters["empty"] == "{}"
    assert parameters["note"] == f"sha256:{sha256_of('x' * 7000)} (whole in problem.json)"


def test_figures_carry_role_and_interval(tmp_path: Path) -> None:
    """Metrics are named by role, with the interval's ends, and baselines by their name."""
    assert make_package(tmp_path).figures_by_name() == {
        "test.auroc": 0.8,
        "test.auroc.low": 0.7,
        "test.auroc.high": 0.9,
        "baseline.logistic_regression.auroc": 0.75,
    }


def test_a_table_is_no_figure(tmp_path: Path) -> None:
    """A file that is neither PNG nor SVG does not pass as a figure."""
    package = replace(make_package(tmp_path), figures=(tmp_path / "subjects.parquet",))
    with pytest.raises(MedaiError, match=r"a file is no figure: subjects\.parquet"):
        package.files()


def test_a_name_that_mlflow_cannot_use_is_refused(tmp_path: Path) -> None:
    """Quotes, slashes and colons in a problem's name are refused before any call."""
    with pytest.raises(ConfigurationError, match="cannot name a model"):
        replace(make_package(tmp_path), problem="lungs' or 1=1/")


def test_an_altered_model_is_not_registered(tracking: Tracking, tmp_path: Path) -> None:
    """A model file that changed after evaluation makes no version and no finished run; the right file mends it."""
    package = make_package(tmp_path, "altered")
    right = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(right + b"\0")
    with pytest.raises(ServiceFailed, match="not the one that was evaluated"):
        tracking.register(package)
    (tmp_path / "model.onnx").write_bytes(right)
    assert_whole(tracking, package, tracking.register(package))


def test_a_locked_database_is_waited_for_and_then_named(
    root: Path, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that somebody else holds ends in status 4 after bounded tries, with the driver's words."""
    import sqlalchemy

    monkeypatch.setattr("medai.tracking.failures.PAUSES", (0.0,))
    client = client_of(tracking)
    engine = client._get_registry_client().store.engine

    # MLflow asks sqlite to wait 20 seconds for the lock, at the start of each session.
    def shorten(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 50"), parameters

    sqlalchemy.event.listen(engine, "before_cursor_execute", shorten, retval=True)
    other = open_tracking(root)
    other._connected = client
    with sqlite3.connect(root / "state" / "mlflow.db") as holder:
        holder.execute("begin exclusive")
        try:
            with pytest.raises(ServiceFailed, match="MLflow failed while medai tried to move an alias") as failure:
                other.set_alias("lungs", "champion", 1)
        finally:
            holder.rollback()
            sqlalchemy.event.remove(engine, "before_cursor_execute", shorten)
    assert failure.value.received == "sqlite: database is locked"
    assert failure.value.exit_status == 4


def test_a_server_that_is_down_fails_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server at the address: status 4 that says so, and shows no password of the address."""
    monkeypatch.setattr("medai.tracking.failures.PAUSES", (0.0, 0.0))
    down = Tracking(f"http://user:secret@127.0.0.1:{free_port()}", tmp_path, Workspace(tmp_path), key_of(tmp_path))
    import mlflow.tracking  # noqa: F401 its import is not what is bounded

    started = time.monotonic()
    with pytest.raises(ServiceFailed, match="open the tracking store") as failure:
        down.prepare()
    assert time.monotonic() - started < 20
    assert "secret" not in str(failure.value)


def answer_with(status: int) -> tuple[HTTPServer, list[str]]:
    """A server that gives every request this status, and what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [(401, 1, "refused access"), (403, 1, "refused access"), (503, 3, "MLflow failed"), (500, 3, "MLflow failed")],
)
def test_a_refusal_is_not_retried_and_a_failure_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, requests: int, message: str
) -> None:
    """401 and 403 end at once; 500 and 503 are tried three times; all are status 4."""
    monkeypatch.setattr("medai.tracking.failures.PAUSES", (0.0, 0.0))
    server, asked = answer_with(status)
    try:
        with pytest.raises(ServiceFailed, match=message):
            Tracking(
                f"http://127.0.0.1:{server.server_port}", tmp_path, Workspace(tmp_path), key_of(tmp_path)
            ).prepare()
    finally:
        server.shutdown()
        server.server_close()
    assert len([path for path in asked if "server-info" not in path]) == requests


def test_a_server_that_hangs_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own tries wait for it; ours would wait as long again, twice."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    taken: list[socket.socket] = []

    def take(silent: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                taken.append(silent.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=take, args=(silent,), daemon=True).start()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceFailed, match="open the tracking store") as failure:
            Tracking(address, tmp_path, Workspace(tmp_path), key_of(tmp_path)).prepare()
        silent.shutdown(socket.SHUT_RDWR)
    assert failure.value.received == "no answer in time"
    assert len(taken) == 2
    for connection in taken:
        connection.close()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_server_registers_whole_and_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Against ``mlflow server``: whole, once, with nothing on standard output, and loadable from the server."""
    import mlflow.artifacts

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "served"), "--serve-artifacts"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=2):
                    break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
        tracking = Tracking(address, tmp_path / "unused", Workspace(tmp_path / "state"), key_of(tmp_path))
        package = make_package(tmp_path / "package")
        capfd.readouterr()
        registered = tracking.register(package)
        assert tracking.register(package) == registered
        assert capfd.readouterr().out == ""
        assert_whole(tracking, package, registered)
        tracking.set_alias("lungs", "champion", registered.version)
        assert tracking.alias("lungs", "champion") == registered.version
        assert tracking.alias("nothing", "champion") is None
        source = client_of(tracking).get_model_version("lungs", str(registered.version)).source
        assert source.startswith("mlflow-artifacts:")
        folder = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=str(tmp_path / "down"), tracking_uri=address
        )
        Scorer(Path(folder) / "model.onnx", package.onnx_sha256)
        tracking.fetch("lungs", registered.version, tmp_path / "fetched", package.candidate.key)
        assert (tmp_path / "fetched" / SIGNATURE).is_file()
        assert not (tmp_path / "unused").exists()
    finally:
        server.terminate()
        server.wait(timeout=30)


PERSON = "Mustermann-0042"
LEAKS: dict[str, Callable[[Package, Path], Package]] = {
    "MLflow's parameters": lambda package, _: replace(package, resolved={"name": "x", "question": f"of {PERSON}?"}),
    "MLflow's tags": lambda package, _: replace(package, overrides=(f"data.path=/ward/{PERSON}",)),
    "MLflow's metrics": lambda package, _: replace(package, baselines={PERSON: {"auroc": 0.5}}),
    "the artifact quality.json": lambda package, _: replace(
        package, quality=package.quality.model_copy(update={"set_aside": {f"unreadable {PERSON}": 1}})
    ),
    "an artifact's name": lambda package, folder: replace(package, figures=(folder / f"{PERSON}.png",)),
    "the artifact figures/roc.svg": lambda package, folder: replace(package, figures=(folder / "roc.svg",)),
}


@pytest.mark.parametrize("where", LEAKS)
def test_what_names_a_patient_is_not_sent(where: str, tracking: Tracking, tmp_path: Path) -> None:
    """The snapshot's own tables say who its patients are; nothing of such a run reaches MLflow."""
    from medai.tables import IDENTIFIERS, table_of, write_table

    package = make_package(tmp_path, f"leak of {len(where)}")
    folder = tracking.workspace.folder("ingest", package.snapshot.key)
    folder.mkdir(parents=True, exist_ok=True)
    table = table_of({"subject_id": [1], "site_id": [PERSON]}, IDENTIFIERS)
    write_table(folder / "identifiers.parquet", table, mode=0o600)
    for name in (f"{PERSON}.png", "roc.svg"):
        (tmp_path / name).write_text(f"<svg><text>{PERSON}</text></svg>")
    try:
        with pytest.raises(MedaiError) as raised:
            tracking.register(LEAKS[where](package, tmp_path))
    finally:
        (folder / "identifiers.parquet").unlink()
    assert raised.value.wrong == f"{where} would name a patient"
    assert raised.value.exit_status == 1
    assert PERSON not in str(raised.value)
    runs = client_of(tracking).search_runs(
        [one.experiment_id for one in client_of(tracking).search_experiments()],
        f"tags.`medai.candidate_name` = '{package.candidate.name}' and tags.`medai.run_key` = '{package.run_key}'",
    )
    assert runs == []
