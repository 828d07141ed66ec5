"""The whole loop on the real stack: PostgreSQL, Prefect's server and worker, MLflow's server, as plain processes.

A schedule fires, trains and promotes; shifted data arrive, drift is detected, and its event alone starts a retraining;
a worse candidate is refused with its reasons, a better one promoted; a person rolls back; the history tells of every
day, and the audit is whole. Each step prints a line, and the pages are kept where MEDAI_LOOP names a folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import flows

pytestmark = [pytest.mark.slow, pytest.mark.loop, pytest.mark.timeout(3000)]

ROOT = Path(flows.__file__).parents[1]
PATIENCE = 900.0
PROBLEM = "hospital_mortality"
QUICK = ("--set", "training.epochs=2")
ACROSS = "MEDAI_", "PREFECT_", "MLFLOW_", "PG"
MAKE = """
import json, sys
from pathlib import Path
from flows.synth import synth
synth("hospital", Path(sys.argv[1]), {"subjects": 1800, "mortality": 0.2, "size": 32} | json.loads(sys.argv[2]))
"""


class Site:
    """A home with its stack, its data, and the command that works in both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.data = folder, folder / "home", folder / "data"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ACROSS)}
        self.environment = kept | {
            "MEDAI_HOME": str(self.home),
            "MEDAI_SERVICE_SECONDS": "600",
            "PYTHONPATH": str(ROOT),
        }

    def medai(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """What a command answers as JSON."""
        done = subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == status, done.stderr[-4000:] + done.stdout[-2000:]
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def made(self, name: str, **options: Any) -> Path:
        """A generated hospital's tables."""
        out = self.folder / name
        subprocess.run([sys.executable, "-c", MAKE, out, json.dumps(options)], env=self.environment, check=True)
        return out

    def arrives(self, hospital: Path) -> None:
        """The data's folder now holds this hospital, from one moment to the next."""
        beside = self.folder / "beside"
        shutil.copytree(hospital, beside)
        if self.data.exists():
            self.data.rename(self.folder / f"old-{time.time_ns()}")
        beside.rename(self.data)

    def history(self, at: str | None = None) -> dict[str, Any]:
        """What was decided."""
        return self.medai("history", PROBLEM, *(("--at", at) if at else ()))

    def decisions(self) -> list[tuple[int, str]]:
        """Version and verdict of each decision."""
        entries = self.history()["entries"] if (self.home / "audit.jsonl").exists() else []
        return [(entry["version"], entry["verdict"]) for entry in entries if entry["kind"] == "settled"]

    def page(self, path: str) -> str:
        """A page of the overview's server, as whoever knows the password sees it."""
        return self._ask("pages_url", path)

    def busy(self) -> bool:
        """Whether a run is at work, is about to begin, or waits for its turn."""
        due = {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}}
        states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}}}
        found = json.loads(self._ask("prefect_url", "/api/flow_runs/filter", {"flow_runs": states | due}))
        return bool(found)

    def _ask(self, service: str, path: str, body: dict[str, Any] | None = None) -> str:
        """A service of the stack, as whoever knows the password asks it."""
        address = json.loads((self.home / "stack.json").read_text())[service]
        user, _, password = next(self.home.rglob("prefect_auth")).read_text().strip().partition(":")
        with httpx.Client(auth=(user, password), timeout=60, trust_env=False) as client:
            answer = client.get(address + path) if body is None else client.post(address + path, json=body)
        return answer.raise_for_status().text


def within(seconds: float, met: Callable[[], bool]) -> bool:
    """Whether a condition is met in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(3)
    return False


def told(step: str) -> None:
    """A line of the loop's story."""
    print(f"LOOP {datetime.now(UTC):%H:%M:%S} {step}", flush=True)  # noqa: T201 what `make loop` shows


@pytest.fixture
def site() -> Iterator[Site]:
    """A home whose stack runs in the background, in a folder that PostgreSQL's own account can pass.

    Not pytest's: whoever starts it anew closes that to all other accounts.
    """
    with tempfile.TemporaryDirectory(prefix="medai-loop-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder)
        answer = site.medai("stack", "up", "--detach")
        site.environment |= answer["told"]
        try:
            yield site
        finally:
            site.medai("stack", "down")


def test_the_governed_loop(site: Site) -> None:
    """Promoted by schedule, drift that retrains, refused with reasons, promoted again, rolled back, told, verified."""
    first = site.made("first", seed=1, subjects=4000, signal=1.2)
    noise = site.made("noise", seed=1, subjects=4000, signal=0.0, shift=1.0)
    better = site.made("better", seed=1, subjects=4000, shift=1.0)
    batches = [site.made(f"batch{number}", seed=number, shift=1.0) for number in (11, 12)]

    site.arrives(first)
    deployed = ("deploy", PROBLEM, "--data", str(site.data), "--on", "drift,data", "--watch", "* * * * *", *QUICK)
    site.medai(*deployed, "--cron", "* * * * *")
    assert within(PATIENCE, lambda: bool(site.decisions()))
    assert site.decisions() == [(1, "promoted")], site.history()["entries"]
    site.medai(*deployed, "--cron", "0 0 1 1 *")  # from here on nothing but events retrains
    promoted = site.history()
    assert promoted["champion"]["version"] == 1
    told(f"a schedule fired: {promoted['champion']['how']} promoted version 1, {promoted['versions'][0]['figure']}")
    before = datetime.now(UTC).isoformat()

    site.medai("deploy", PROBLEM, "--data", str(site.data), "--on", "drift", "--cron", "0 0 1 1 *", *QUICK)
    assert within(PATIENCE, lambda: not site.busy())  # minutes that fell due meanwhile would read the noise, too
    site.arrives(noise)
    standing = [site.medai("monitor", PROBLEM, "--data", str(batch), *QUICK)["standing"] for batch in batches]
    assert not standing[0]["counting"]
    counting = {one["measure"] for one in standing[1]["counting"]}
    assert {"heart_rate", "respiratory_rate"} <= counting
    told(f"shifted data: drift detected in {', '.join(sorted(counting))}")

    assert within(PATIENCE, lambda: len(site.decisions()) == 2)
    assert site.decisions()[1][1] in ("refused", "insufficient_evidence"), site.decisions()
    last = [entry for entry in site.history()["entries"] if entry["kind"] == "settled"][-1]
    assert last["verdict"] == "refused"
    assert any("auroc" in reason for reason in last["reasons"])
    told(f"the automation retrained: version 2 refused: {last['reasons'][0]}")

    site.medai(*deployed, "--cron", "0 0 1 1 *")
    site.arrives(better)
    assert within(PATIENCE, lambda: len(site.decisions()) == 3)
    settled = [entry for entry in site.history()["entries"] if entry["kind"] == "settled"]
    assert site.decisions()[2] == (3, "promoted"), settled[-1]["reasons"]
    (gained,) = (reason for reason in settled[-1]["reasons"] if reason.startswith("death auroc, candidate"))
    told(f"data arrived and were at rest: version 3 promoted, {site.history()['versions'][2]['figure']}; {gained}")
    difference, lower = re.findall(r"[+-]\d\.\d{4}", gained)[:2]
    assert 0 < float(lower) < float(difference)

    overview = site.page("/")
    assert PROBLEM in overview
    assert "version 3" in overview
    assert 'medai_champion_version{problem="hospital_mortality"} 3.0' in site.page("/metrics")
    assert "retrain" in site.page(f"/problems/{PROBLEM}")

    site.medai("rollback", PROBLEM, "--reason", "the ward distrusts it", "--expect", "3")
    now = site.history()
    assert (now["champion"]["version"], now["champion"]["how"]) == (1, "rollback")
    assert site.history(before)["champion"]["how"] == "gate"
    verified = site.medai("audit", "verify")
    assert verified["intact"] is True
    assert verified["champions"] >= 2
    assert verified["second_place"][PROBLEM] > 0
    told(f"rolled back to version 1; audit of {verified['lines']} lines intact: {verified['kinds']}")
    if kept := os.environ.get("MEDAI_LOOP"):
        for path, name in (
            ("/", "overview.html"),
            (f"/problems/{PROBLEM}", "problem.html"),
            ("/metrics", "metrics.txt"),
        ):
            (Path(kept) / name).write_text(site.page(path))
