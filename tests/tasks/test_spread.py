"""Shards on real Dask workers: the same bytes, whoever dies; what a person can mend is told without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flows

SCRIPT = """
import json, os, sys, threading
from pathlib import Path

class Fragile:
    "Ends its process the first times."
    def __init__(self, folder, times): self.folder, self.times = folder, times
    def __call__(self, number):
        if number == 3:
            for time in range(self.times):
                mark = Path(self.folder) / f"died-{time}"
                if not mark.exists():
                    mark.touch()
                    os._exit(1)
        return number * 2

def refuse(number):
    from medai.errors import DataRefused
    raise DataRefused("a shard is ragged", expected="3", received="2", action="mend it")

def slow(number):
    import time
    time.sleep(2)

def missing(number):
    import no_such_package

def main():
    folder = Path(sys.argv[1])
    from flows.services.prefect_server import early_prefect_server
    from flows.settings import Settings
    settings = Settings.load(home=folder / "home")
    settings.apply()
    server = early_prefect_server(settings)
    os.environ["PREFECT_API_URL"] = server.api_url
    import distributed, psutil
    from prefect import flow
    from medai.errors import MedaiError
    from medai.cohort import Stays, select
    from medai.ingestion import ingest
    from medai.problem import load_problem
    from medai.records import sha256_of_file
    from medai.shards import Spread
    from medai.sources.synthetic import SyntheticHospital, generate
    from medai.store import Store
    from medai.validation import catalogue_suite, validate
    from medai.workspace import Workspace
    from tasks.prepare import prepare
    from tasks.spread import OnDask

    problem = load_problem("hospital_mortality")
    raw = generate(SyntheticHospital(kind="synthetic", layout="hospital", subjects=400, size=32), folder / "raw")
    read = Workspace(folder / "home")
    snapshot = ingest(read, problem.input.source, raw).record
    quality = validate(read, snapshot, catalogue_suite("mimic4")).record
    cohorts = {
        "sample": select(read, snapshot, quality, problem.cohort, problem.outputs).record,
        "stay": select(read, snapshot, quality, Stays(kind="stays", every_hours=4, first_hours=6), {}).record,
    }

    def hashes(layout, spread):
        import shutil
        shutil.rmtree(read.root / "store" / "prepare", ignore_errors=True)
        made = prepare(read, snapshot, quality, cohorts[layout], problem.input.preprocessing, spread)
        assert made.record.layout == layout and not made.reused
        return {path.name: sha256_of_file(path) for path in read.folder("prepare", made.record.key).iterdir()}

    def error_of(each, work):
        try:
            list(each(work, range(6)))
        except MedaiError as error:
            return error.as_dict()

    found = {}

    @flow(persist_result=False)
    def ward():
        whole = {layout: hashes(layout, None) for layout in cohorts}
        found["files"] = sorted(whole["sample"])
        own = hashes("stay", Spread(OnDask(None, 60), rows=50_000))
        found["equal_by_own_cluster"] = own == whole["stay"]
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        ) as cluster:
            each = OnDask(cluster.scheduler_address, 20)
            store = Store.of(folder / "store")
            for layout in cohorts:
                found[f"equal_{layout}"] = hashes(layout, Spread(each, store, rows=50_000)) == whole[layout]
            found["left"] = [path.name[:9] for path in (folder / "store").iterdir()]
            me = psutil.Process()
            found["heard_at"] = sorted({
                one.laddr.ip
                for process in [me, *me.children(recursive=True)]
                for one in process.net_connections("inet")
                if one.status == "LISTEN"
            })
            found["died_once"] = list(each(Fragile(str(folder), 1), range(6)))
            found["refused"] = error_of(each, refuse)
            found["missing"] = error_of(each, missing)
            found["dies"] = error_of(each, Fragile(str(folder), 99))
            each.patience = 3
            threading.Timer(1, cluster.scale, [0]).start()
            found["lost_workers"] = error_of(each, slow)
            found["no_worker"] = error_of(each, abs)
            cluster.scale(1)
            cluster.wait_for_workers(1)
            threading.Timer(2, cluster.close).start()
            found["lost_scheduler"] = error_of(each, slow)
        found["no_scheduler"] = error_of(OnDask(each.scheduler, 3), abs)

    server.wait()
    ward()
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_dask_gives_the_same_bytes_and_its_failures_are_told(tmp_path: Path) -> None:
    """Both layouts, by a cluster of its own and by a running scheduler with a store; workers that die; no network."""
    script = tmp_path / "ward.py"
    script.write_text(SCRIPT)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDAI_", "PREFECT_"))}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(Path(flows.__file__).parents[1])},
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"last.npy", "mask.npy", "elapsed.npy", "summaries.npy", "static.npy"} <= set(found["files"])
    assert found["equal_by_own_cluster"]
    assert found["equal_sample"]
    assert found["equal_stay"]
    assert found["left"] == ["snapshot-"]
    assert found["heard_at"] == ["127.0.0.1"]
    assert found["died_once"] == [0, 2, 4, 6, 8, 10]
    assert found["refused"]["wrong"] == "a shard is ragged"
    assert found["refused"]["status"] == 3
    assert found["missing"]["wrong"] == "a worker lacks the package no_such_package"
    assert found["missing"]["status"] == 2
    assert found["dies"]["wrong"] == "worker after worker died on the same shard"
    assert found["dies"]["status"] == 4
    for case in ("lost_workers", "no_worker", "lost_scheduler", "no_scheduler"):
        assert found[case]["wrong"] == "Dask does not do its part"
        assert found[case]["status"] == 4
