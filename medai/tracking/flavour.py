"""The folder that MLflow serves: the ONNX flavour, written whole on disk before any of it is uploaded."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medai.records import canonical_json
from medai.tracking.package import MODEL, MODEL_FILES, Package

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")
"""What scoring needs. Pinned here: MLflow takes 17 seconds to find out for itself, by running the model."""


def write_model(package: Package, folder: Path, *, model_id: str, run_id: str) -> None:
    """Write the package's model into ``folder`` (not there yet) as ``mlflow.onnx`` and ``mlflow.pyfunc`` load it.

    Beside the model lie ``candidate.json`` (thresholds, calibration, preprocessing, outputs, statistics) and, where
    they exist, ``statistics.json``, ``model.keras`` and ``weights.npz``. No pickle, no example of a patient's data.

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
    (folder / "candidate.json").write_bytes(candidate.canonical())
    (folder / "preprocessing.json").write_bytes(canonical_json(candidate.preprocessing) + b"\n")
    for name in MODEL_FILES:
        if (package.folder / name).is_file():
            shutil.copyfile(package.folder / name, folder / name)


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
