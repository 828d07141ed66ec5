"""``make bench-scale``: a synthetic MIMIC-IV of any size from csv.gz to arrays on two cores, its time and its memory.

A hospital of PATIENTS (85,000: some 100 million chart rows) is written from a seed, or found in DATA. The stages
ingest, validate, select, split and prepare of PROBLEM (mimic4_mortality) then run in a process of their own that may
use two cores. The figures are the stages' own seconds, the process's largest resident set, and the time that as many
rows as MIMIC-IV 3.1 has would take at the same rate.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PATIENTS = int(os.environ.get("PATIENTS", "85000"))
PROBLEM = os.environ.get("PROBLEM", "mimic4_mortality")
DATA = os.environ.get("DATA")
CHART_ROWS_OF_MIMIC_IV = 433_000_000
"""Rows of ``chartevents`` in MIMIC-IV 3.1 (Johnson et al., PhysioNet, 2024), rounded."""
CORES = 2


def stages(data: Path, home: Path) -> dict[str, Any]:
    """Seconds of each stage, the largest resident set in MiB by its end, the events and the samples."""
    import resource

    from medai.cohort import select
    from medai.ingestion import ingest
    from medai.preprocessing import prepare
    from medai.problem import load_problem, suite_path
    from medai.splitting import split
    from medai.validation import validate
    from medai.workspace import Workspace
    from tests.bench.tables import _load_engines

    _load_engines()
    workspace, problem = Workspace(home), load_problem(PROBLEM)
    seconds: dict[str, float] = {}
    peak_mib: dict[str, int] = {}

    def noted(name: str, made: Any) -> Any:
        seconds[name] = round(made.seconds, 1)
        peak_mib[name] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return made.record

    snapshot = noted("ingest", ingest(workspace, problem.input.source, data))
    quality = noted("validate", validate(workspace, snapshot, suite_path(problem)))
    cohort = noted("select", select(workspace, snapshot, quality, problem.cohort, problem.outputs))
    noted("split", split(workspace, snapshot, cohort, problem.split))
    arrays = noted("prepare", prepare(workspace, snapshot, quality, cohort, problem.input.preprocessing))
    return {
        "seconds": seconds,
        "peak_mib": peak_mib,
        "events": snapshot.tables["events"],
        "set_aside": sum(quality.set_aside.values()),
        "samples": arrays.samples,
    }


def _chart_rows(data: Path) -> int:
    from isal import igzip

    with igzip.open(data / "icu" / "chartevents.csv.gz", "rb") as file:
        rows = -1
        while block := file.read(1 << 20):
            rows += block.count(b"\n")
    return rows


def main() -> None:
    """Write the hospital, measure, print."""
    with tempfile.TemporaryDirectory(prefix="medai-bench-") as name:
        folder = Path(name)
        data = Path(DATA) if DATA else folder / "hospital"
        if not DATA:
            started = time.perf_counter()
            medai = str(Path(sys.executable).with_name("medai"))
            command = [medai, "synth", "mimic4", str(data), "--patients", str(PATIENTS)]
            subprocess.run(command, check=True, capture_output=True)
            sys.stdout.write(f"{PATIENTS:,} patients written in {time.perf_counter() - started:.0f} s\n")
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:CORES])
        answer = subprocess.run(
            ["taskset", "-c", cores, sys.executable, "-m", "tests.bench.scale", str(data), str(folder / "home")],
            env=os.environ | {"POLARS_MAX_THREADS": str(CORES), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if answer.returncode:
            raise SystemExit(answer.stderr)
        found = json.loads(answer.stdout.splitlines()[-1])
        rows, seconds = _chart_rows(data), sum(found["seconds"].values())
        found |= {
            "problem": PROBLEM,
            "chart_rows": rows,
            "total_seconds": round(seconds, 1),
            "minutes_for_mimic_iv": round(seconds / rows * CHART_ROWS_OF_MIMIC_IV / 60, 1),
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(stages(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
    else:
        main()
