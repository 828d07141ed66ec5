"""``make bench-tables``: chart rows from csv.gz to a validated snapshot to arrays, against what each cannot do without.

A MIMIC-IV folder of chart rows is written from a seed (``chart_rows``). Then, in turn, each in a process of its own:

    inflate     the csv.gz with isal, in blocks of a MiB
    snapshot    medai's stages ingest and validate, csv.gz to a sorted, checksummed, validated snapshot
    decode      pyarrow, the columns of the snapshot that arrays are made of, page checksums verified, one thread
    arrays      medai's stage prepare, snapshot to 48 hourly bins of 15 variables a stay
    pandas      the same arrays' last values by a plain pandas pipeline from the same Parquet

Figures are medians of the stages' own seconds; imports are loaded before, as they are while Prefect's server starts.
Memory is the largest resident set of a process that makes snapshot and arrays, at two sizes. ``hashes_equal``: files of
repeated runs, of one and two threads, and of the same rows in another order have the same bytes.

Environment: REPEATS (5), ROWS (2,000,000), MORE_ROWS (four times ROWS, for memory; 0 leaves it out), MEDAI_TEST_DATA
(for the MIMIC-III demo, CSV to mortality arrays).
"""

import gc
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = int(os.environ.get("REPEATS", "5"))
ROWS = int(os.environ.get("ROWS", "2000000"))
MORE_ROWS = int(os.environ.get("MORE_ROWS", str(4 * ROWS)))
DATA = os.environ.get("MEDAI_TEST_DATA")
SHUFFLED_ROWS = 300_000
VARIABLES = (
    "diastolic_blood_pressure", "fio2", "gcs_eye", "gcs_motor", "gcs_verbal", "glucose", "heart_rate", "height",
    "mean_blood_pressure", "oxygen_saturation", "respiratory_rate", "systolic_blood_pressure", "temperature", "weight",
    "ph",
)  # fmt: skip
NEEDED = ["row_id", "subject_id", "time", "known_time", "variable", "numeric_value"]


def inflate(data: Path, home: Path) -> dict[str, Any]:
    """Seconds of inflating the chart rows' file."""
    from isal import igzip

    started = time.perf_counter()
    with igzip.open(data / "icu" / "chartevents.csv.gz", "rb") as file:
        while file.read(1 << 20):
            pass
    return {"seconds": time.perf_counter() - started}


def _load_engines() -> None:
    """Import what the stages use, as a run does while Prefect's server starts."""
    for name in (
        "polars",
        "pyarrow.compute",
        "pyarrow.csv",
        "pyarrow.parquet",
        "isal.igzip",
        "medai.sources.relational.snapshot",
        "medai.validation.measuring",
        "medai.preprocessing.series.writing",
        "medai.preprocessing.series.static",
    ):
        importlib.import_module(name)
    from medai.validation.judging import load_engine

    load_engine()
    gc.freeze()  # as flows.ahead does


def _stages(data: Path, home: Path) -> tuple[Any, Any, Any, Any]:
    """The workspace, and what the stages up to the cohort make or find there."""
    from medai.cohort import Stays, select
    from medai.ingestion import ingest
    from medai.sources import Mimic4
    from medai.validation import catalogue_suite, validate
    from medai.workspace import Workspace

    workspace = Workspace(home)
    snapshot = ingest(workspace, Mimic4(kind="mimic4", tables=("chartevents",)), data)
    quality = validate(workspace, snapshot.record, catalogue_suite("mimic4"))
    cohort = select(workspace, snapshot.record, quality.record, Stays(kind="stays", observation_hours=48), {})
    return workspace, snapshot, quality, cohort


def snapshot(data: Path, home: Path) -> dict[str, Any]:
    """Stage seconds of ingest and validate in a new workspace, and the hash of the events."""
    from medai.records import sha256_of_file

    _load_engines()
    with tempfile.TemporaryDirectory(dir=home) as folder:
        workspace, made, quality, _ = _stages(data, Path(folder))
        events = workspace.folder("ingest", made.record.key) / "events.parquet"
        return {
            "seconds": made.seconds + quality.seconds,
            "ingest": made.seconds,
            "validate": quality.seconds,
            "sha256": sha256_of_file(events),
        }


def _made(data: Path, home: Path) -> tuple[Any, Any, Any, Any, Any, Path]:
    workspace, made, quality, cohort = _stages(data, home / "kept")
    raw = workspace.folder("ingest", made.record.key)
    return workspace, made.record, quality.record, cohort.record, made, raw


def decode(data: Path, home: Path) -> dict[str, Any]:
    """Seconds of decoding what arrays are made of."""
    import pyarrow.parquet as pq

    *_, raw = _made(data, home)
    started = time.perf_counter()
    with pq.ParquetFile(raw / "events.parquet", page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            file.read_row_group(group, columns=NEEDED, use_threads=False)
    return {"seconds": time.perf_counter() - started}


def arrays(data: Path, home: Path) -> dict[str, Any]:
    """Seconds of the stage prepare, and the hash of the last values."""
    import shutil

    from medai.preprocessing import Series, prepare
    from medai.records import sha256_of_file

    _load_engines()
    workspace, made, quality, cohort, _, _ = _made(data, home)
    shutil.rmtree(workspace.root / "store" / "prepare", ignore_errors=True)
    done = prepare(workspace, made, quality, cohort, Series(kind="series", hours=48, variables=VARIABLES))
    folder = workspace.folder("prepare", done.record.key)
    names = sorted(done.record.arrays)
    return {"seconds": done.seconds, "sha256": [sha256_of_file(folder / f"{name}.npy") for name in names]}


def naive(data: Path, home: Path) -> dict[str, Any]:
    """A plain pandas pipeline from the same Parquet: the last value an hour, carried forward."""
    import numpy as np
    import pandas as pd

    workspace, _, quality, cohort, _, raw = _made(data, home)
    started = time.perf_counter()
    events = pd.read_parquet(raw / "events.parquet")
    aside = pd.read_parquet(workspace.folder("validate", quality.key) / "set_aside.parquet")
    events = events[~events["row_id"].isin(aside.loc[aside["table"] == "events", "row_id"])]
    events = events[events["variable"].isin(VARIABLES) & events["numeric_value"].notna()]
    samples = pd.read_parquet(workspace.folder("select", cohort.key) / "cohort.parquet")
    events = events.merge(samples[["sample_id", "subject_id", "prediction_time"]], on="subject_id")
    begin = events["prediction_time"] - pd.Timedelta(hours=48)
    inside = (events["time"] >= begin) & (events["time"] <= events["prediction_time"])
    events = events[inside & (events["known_time"] <= events["prediction_time"])]
    hour = (events["time"] - (events["prediction_time"] - pd.Timedelta(hours=48))).dt.total_seconds() // 3600
    events = events.assign(hour=hour.clip(upper=47).astype(int))
    table = events.groupby(["sample_id", "hour", "variable"])["numeric_value"].last().unstack("variable")
    every = pd.MultiIndex.from_product([samples["sample_id"], range(48)], names=["sample_id", "hour"])
    table = table.reindex(every).reindex(columns=list(VARIABLES)).groupby("sample_id").ffill()
    values = table.to_numpy(np.float32).reshape(len(samples), 48, len(VARIABLES))
    return {"seconds": time.perf_counter() - started, "values": int(np.isfinite(values).sum())}


def memory(data: Path, home: Path) -> dict[str, Any]:
    """The largest resident set, MiB, of a process that makes snapshot and arrays."""
    found = snapshot(data, home)
    arrays(data, home)
    return found | {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def demo(data: Path, home: Path) -> dict[str, Any]:
    """Stage seconds of the MIMIC-III demo from CSV to mortality arrays, by a real ``medai run``."""
    medai = str(Path(sys.executable).with_name("medai"))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_", "MLFLOW_"))}
    answer = subprocess.run(
        [medai, "run", "mimic3_mortality", "--data", str(data), "--set", "training.epochs=1", "--json"],
        env=own | {"MEDAI_HOME": str(home / "demo")},
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    stages = json.loads(answer.stdout)["stages"]
    parts = {name: stages[name]["seconds"] for name in ("ingest", "validate", "select", "split", "prepare")}
    return {"seconds": sum(parts.values()), "parts": parts}


ENGINES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "inflate": inflate,
    "snapshot": snapshot,
    "decode": decode,
    "arrays": arrays,
    "pandas": naive,
    "memory": memory,
    "demo": demo,
}


def alone(engine: str, data: Path, home: Path, threads: int = 0) -> dict[str, Any]:
    """An engine in a process of its own."""
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.bench.tables", engine, str(data), str(home)]
    if threads:
        environment["POLARS_MAX_THREADS"] = str(threads)
        if threads == 1 and hasattr(os, "sched_getaffinity"):
            command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def tell(*cells: object) -> None:
    """One row of the table."""
    sys.stdout.write("  ".join(f"{cell:>12.3f}" if isinstance(cell, float) else f"{cell!s:>12}" for cell in cells))
    sys.stdout.write("\n")
    sys.stdout.flush()


def equal_hashes(folder: Path, seen: set[str]) -> bool:
    """Whether repeated runs, other numbers of threads and another order of rows gave the same bytes."""
    from tests.bench import chart_rows

    hashes = []
    for name, shuffled in (("plain", False), ("shuffled", True)):
        data = folder / name
        chart_rows.write(data, SHUFFLED_ROWS, seed=1, shuffled=shuffled)
        for threads in (1, 2):
            home = folder / f"{name}-{threads}"
            made = alone("snapshot", data, home, threads)
            hashes.append((made["sha256"], tuple(alone("arrays", data, home, threads)["sha256"])))
    return len(set(hashes)) == 1 and len(seen) == 1


def main() -> None:
    """Measure, print the table, end with the figures."""
    from tests.bench import chart_rows

    with tempfile.TemporaryDirectory(prefix="medai-bench-") as name:
        folder = Path(name)
        data, home = folder / "rows", folder / "home"
        chart_rows.write(data, ROWS)
        sys.stdout.write(f"{ROWS:,} chart rows, seconds; medai's are its stages' own\n")
        turns = ("inflate", "snapshot", "decode", "arrays", "pandas")
        tell("turn", *turns)
        found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in turns}
        alone("decode", data, home)  # leaves the snapshot that the later engines find
        for turn in range(REPEATS):
            for engine in turns if turn % 2 == 0 else turns[::-1]:
                found[engine].append(alone(engine, data, home))
            tell(turn + 1, *(found[engine][-1]["seconds"] for engine in turns))
        median = {engine: statistics.median(one["seconds"] for one in made) for engine, made in found.items()}
        tell("median", *(median[engine] for engine in turns))
        a_million = None
        if MORE_ROWS:
            more = folder / "more"
            chart_rows.write(more, MORE_ROWS, seed=2)
            small, large = (alone("memory", place, folder / f"m{place.name}")["mib"] for place in (data, more))
            tell("MiB", small, large)
            a_million = max(0.0, (large - small) * 1.048576 / ((MORE_ROWS - ROWS) / 1e6))
        seen = {one["sha256"] for one in found["snapshot"]}
        figures = {
            "csvgz_to_snapshot_over_inflate": round(median["snapshot"] / median["inflate"], 2),
            "snapshot_to_arrays_over_decode": round(median["arrays"] / median["decode"], 2),
            "naive_pandas_over_medai": round(median["pandas"] / median["arrays"], 2),
            "mb_per_million_rows": None if a_million is None else round(a_million, 3),
            "mimic3_demo_seconds": None
            if DATA is None
            else round(alone("demo", Path(DATA) / "mimic3_demo", folder / "demo")["seconds"], 3),
            "hashes_equal": equal_hashes(folder / "equal", seen),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(ENGINES[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))) + "\n")
    else:
        main()
