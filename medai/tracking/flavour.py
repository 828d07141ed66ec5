"""The folder that MLflow serves: the ONNX flavour, written whole on disk before any of it is uploaded."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medai.errors import ServiceFailed
from medai.records import canonical_json
from medai.signatures import SIGNATURE
from medai.tracking.package import MODEL, MODEL_FILES, Package

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")
"""What scoring needs. Pinned here: MLflow takes 17 seconds to find out for itself, by running the model."""

CANDIDATE, PREPROCESSING = "candidate.json", "preprocessing.json"
MLFLOWS = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta")
"""Files that MLflow writes beside a model: YAML and text."""


def write_model(package: Package, folder: Path, *, model_id: str, run_id: str) -> None:
    """Write the package's model into ``folder`` (not there yet) as ``mlflow.onnx`` and ``mlflow.pyfunc`` load it.

    Beside the model lie ``candidate.json`` (thresholds, calibration, preprocessing, outputs, statistics) and, where
    they exist, ``statistics.json``, ``architecture.json`` and ``weights.npz``. No pickle, no HDF5, no Keras archive, no
    example of a patient's data. ``model.sig`` is this site's signature over all of them.

    Args:
        package: whose model.
        folder: where to.
        model_id: MLflow's id of the logged model.
        run_id: MLflow's id of its run.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    source = package.model()
    model = onnx.load(source)
    candidate = package.candidate
    threads = candidate.environment.threads
    mlflow.onnx.save_model(
        model,
        str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        signature=_signature(model),
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={
            "execution_mode": "sequential",
            "intra_op_num_threads": threads,
            "inter_op_num_threads": 1,
        },
        metadata={
            "medai": {
                "problem": package.problem,
                "candidate": candidate.key,
                "onnx_sha256": package.onnx_sha256,
                "model_sha256": candidate.model_sha256,
                "thresholds": {output: list(cuts) for output, cuts in candidate.thresholds.items()},
            }
        },
        save_as_external_data=False,
    )
    # The evaluated bytes, not their re-serialisation: the hash in every record must be the hash of what is served.
    shutil.copyfile(source, folder / MODEL)
    (folder / CANDIDATE).write_bytes(candidate.canonical())
    (folder / PREPROCESSING).write_bytes(canonical_json(candidate.preprocessing) + b"\n")
    for name in MODEL_FILES:
        if (package.folder / name).is_file():
            shutil.copyfile(package.folder / name, folder / name)


def refuse_strangers(folder: Path, what: str) -> None:
    """Refuse a registered model with any file that medai does not write, before anything loads one.

    A pickle, an HDF5 file or a Keras archive can carry out code when it is loaded (CVE-2024-3660, CVE-2025-1550): what
    is not on the list of plain data is not let in, whatever it claims to be.

    Raises:
        ServiceFailed: such a file, or a link, is among them.
    """
    ours = {MODEL, CANDIDATE, PREPROCESSING, SIGNATURE, *MODEL_FILES, *MLFLOWS}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        if not plain or path.parent != folder or path.name not in ours:
            kind = f"a file that ends with {path.suffix!a}" if plain and path.suffix else "something else"
            raise ServiceFailed(
                f"{what} was not loaded: a stranger lies among its files",
                expected=f"ONNX and plain data: {', '.join(sorted(ours))}",
                received=kind,
                action="look who may write to MLflow's artifacts, then remove it there or register the model anew",
            )


def _signature(model: Any) -> Any:
    """Names, dtypes and shapes as the ONNX graph declares them; -1 for rows and any other open length."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx import helper

    def spec(value: Any) -> Any:
        tensor = value.type.tensor_type
        lengths = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim]
        return TensorSpec(helper.tensor_dtype_to_np_dtype(tensor.elem_type), (-1, *lengths[1:]), name=value.name)

    given = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    return ModelSignature(
        inputs=Schema([spec(value) for value in inputs]),
        outputs=Schema([spec(value) for value in model.graph.output]),
    )
