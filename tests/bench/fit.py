"""``make bench``: medai's fit stage against a bare Keras script, and what a run costs when nothing is left to do.

Fit: the seconds that a real ``medai run --json`` tells of its fit stage (importing TensorFlow, a checkpoint after each
epoch, export to ONNX, its check, threshold and calibration, syncing, hashing) over the seconds of ``bare_keras.py``
(importing TensorFlow, the same net on the same arrays in the same order, saving, export to ONNX). Both in processes of
their own, in turn, the order turned round each time; the quoted figure is the ratio of the medians. ``without_export``
leaves saving and export out of the bare script alone, which then does less than is needed to serve anybody.

Reuse: wall seconds of the whole second command, with ``medai up`` running on the home and without.

Environment: REPEATS (5), MEDAI_TEST_DATA (the real pneumonia_mnist; without it, synthetic_pictures).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

REPEATS = int(os.environ.get("REPEATS", "5"))
DATA = os.environ.get("MEDAI_TEST_DATA")
PROBLEM = "pneumonia_mnist" if DATA else "synthetic_pictures"
KEPT = ("generate", "ingest", "validate", "select", "split", "prepare")
"""Stages that every measured run finds done."""
MEDAI = str(Path(sys.executable).with_name("medai"))
BARE = Path(__file__).with_name("bare_keras.py")
READY_SECONDS = 120


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of every process: its home and nothing of the caller's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_", "MLFLOW_"))}
    if DATA:
        own["MEDAI_DATA"] = DATA
    return own | {"MEDAI_HOME": str(home)} | more


def medai(home: Path, *arguments: str, **more: str) -> tuple[Any, float]:
    """Run a command with --json; its answer and its wall seconds."""
    started = time.perf_counter()
    answer = subprocess.run(
        [MEDAI, *arguments, "--json"],
        env=environment(home, **more),
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return json.loads(answer.stdout), seconds


@contextmanager
def services(home: Path) -> Iterator[str]:
    """``medai up --no-worker`` on a home; the address of its Prefect server."""
    command = [MEDAI, "up", "--no-worker"]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (home / "services.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("medai up did not come up")
            time.sleep(0.2)
        yield json.loads((home / "services.json").read_bytes())["prefect_api_url"]
    finally:
        process.terminate()
        process.wait(60)


def prepared(home: Path, folder: Path) -> Path:
    """A copy of a home's stages up to the arrays, as a run finds them that has still to fit."""
    for stage in KEPT:
        if (home / "store" / stage).exists():
            shutil.copytree(home / "store" / stage, folder / "store" / stage)
    return folder


def plan_of(home: Path, folder: Path) -> Path:
    """The bare script's plan: the arrays, labels and roles of the prepared home as plain files."""
    resolved, _ = medai(home, "show", PROBLEM)
    output = next(iter(resolved["outputs"]))
    samples = pl.read_parquet(next((home / "store" / "select").glob("*/cohort.parquet")))
    roles = pl.read_parquet(next((home / "store" / "split").glob("*/splits.parquet")))
    table = samples.join(roles.select("sample_id", "role"), on="sample_id", maintain_order="left")
    np.save(folder / "labels.npy", table[output].to_numpy())
    np.save(folder / "roles.npy", table["role"].to_numpy().astype(str))
    plan = {
        "pixels": str(next((home / "store" / "prepare").glob("*/pixels.npy"))),
        "labels": str(folder / "labels.npy"),
        "roles": str(folder / "roles.npy"),
        "encoder": next(iter(resolved["inputs"].values()))["encoder"],
        "training": resolved["training"],
        "seed": 0,
        "threads": min(2, os.cpu_count() or 1),
        "folder": str(folder),
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    return path


def bare(plan: Path, home: Path) -> dict[str, Any]:
    """One run of the bare script, with the threads and the oneDNN flag that medai pins."""
    from flows.settings import Settings

    pinned = {
        name: value
        for name, value in Settings.load(home=home).environment().items()
        if name.startswith(("TF_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_"))
    }
    answer = subprocess.run(
        [sys.executable, str(BARE), str(plan)],
        env=environment(home) | pinned,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def tell(*cells: object) -> None:
    """One row of the table."""
    sys.stdout.write("  ".join(f"{cell:>12.2f}" if isinstance(cell, float) else f"{cell!s:>12}" for cell in cells))
    sys.stdout.write("\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, print the table, end with the figures."""
    with tempfile.TemporaryDirectory(prefix="medai-bench-") as folder:
        root = Path(folder)
        home = root / "home"
        first, first_seconds = medai(home, "run", PROBLEM)
        plan_folder = root / "bare"
        plan_folder.mkdir()
        plan = plan_of(home, plan_folder)

        sys.stdout.write(f"{PROBLEM}: fit stage of medai run against a bare Keras script, seconds\n")
        tell("turn", "medai", "bare", "no export", "ratio")
        ours, theirs, lean, hashes = [], [], [], {first["model_sha256"]}
        with services(root / "services") as prefect_url:

            def measured(turn: int) -> None:
                fresh = prepared(home, root / f"turn-{turn}")
                found, _ = medai(fresh, "run", PROBLEM, PREFECT_API_URL=prefect_url)
                if found["stages"]["fit"]["reused"] or not found["stages"]["prepare"]["reused"]:
                    raise SystemExit("the home was not prepared as meant")
                ours.append(float(found["stages"]["fit"]["seconds"]))
                hashes.add(found["model_sha256"])
                shutil.rmtree(fresh)

            def peer(_turn: int) -> None:
                found = bare(plan, home)
                theirs.append(float(found["seconds"]))
                lean.append(float(found["without_export"]))
                hashes.add(found["sha256"])

            for turn in range(REPEATS):
                for side in (measured, peer) if turn % 2 == 0 else (peer, measured):
                    side(turn)
                tell(turn + 1, ours[-1], theirs[-1], lean[-1], ours[-1] / theirs[-1])
        medians = [statistics.median(seconds) for seconds in (ours, theirs, lean)]
        tell("median", *medians, medians[0] / medians[1])

        sys.stdout.write("\nthe same command again, wall seconds\n")
        alone = [medai(home, "run", PROBLEM) for _ in range(REPEATS)]
        with services(home):
            beside = [medai(home, "run", PROBLEM) for _ in range(REPEATS)]
        for found, _ in (*alone, *beside):
            if not all(stage["reused"] for stage in found["stages"].values()):
                raise SystemExit("a stage was not reused")
        without_up = statistics.median(seconds for _, seconds in alone)
        with_up = statistics.median(seconds for _, seconds in beside)
        orchestration = statistics.median(
            seconds - sum(stage["seconds"] for stage in found["stages"].values()) for found, seconds in beside
        )
        tell("medai up", with_up)
        tell("alone", without_up)
        figures = {
            "fit_stage_over_bare_fit": round(medians[0] / medians[1], 4),
            "model_sha256_equal": len(hashes) == 1,
            "reused_run_seconds": round(with_up, 2),
            "reused_run_seconds_without_up": round(without_up, 2),
            "orchestration_seconds": round(orchestration, 2),
            "fit_stage_over_bare_fit_without_export": round(medians[0] / medians[2], 4),
            "first_run_seconds": round(first_seconds, 1),
            "problem": PROBLEM,
            "repeats": REPEATS,
        }
        sys.stdout.write("\n" + json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
