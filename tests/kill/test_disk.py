"""A disk that is full or read-only: exit status 4, nothing torn, and the same command works once it is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.kill]

FULL = 4
PLACES = {
    "a checkpoint": ("fit", r"write scratch/fit/\w+/\.epoch\.npz"),
    "an artifact in MLflow": ("register", "write mlflow/artifacts/"),
    "the audit": ("register", "before sync audit.jsonl"),
    "the audit's head": ("register", r"before rename audit\.head"),
    "the spool": ("register", "write spool/"),
    "what was announced": ("register", "write receipts/announced/"),
}
"""What cannot be written → the stage before which the road is taken up, and how the point's name begins."""

HARMLESS = ("native.log", "hashes.sqlite", "store.lock")
"""What a library says while it fits, the memory of files' hashes, and the lock that keeps deletion away, without which
nothing can be deleted: a run does not need them."""

ROAD = """
mount -t tmpfs -o size={size} none "$HOME_THERE" || exit 77
"$PYTHON" -c 'from flows.cli import main; main()' run "$PROBLEM" --json > "$SEEN/first.out" 2> "$SEEN/first.err"
echo $? > "$SEEN/first"
cp -a "$HOME_THERE/." "$SEEN/full"
mount -o remount,size=64m "$HOME_THERE"
"$PYTHON" -c 'from flows.cli import main; main()' run "$PROBLEM" --json > "$SEEN/second.out" 2> "$SEEN/second.err"
echo $? > "$SEEN/second"
cp -a "$HOME_THERE/." "$SEEN/mended"
"""


def ways(road: Any) -> Any:
    """The functions of conftest, whatever pytest named the module."""
    return import_module(type(road).__module__)


def fail_and_mend(road: Any, run: Any, copy: Path | None, **strike: Any) -> None:
    """Let one call fail, look at what is visible, run the same command again and compare."""
    way = ways(road)
    way.replace_home(run.home, copy)
    failed = road.train(run.home, run.problem, how="full", **strike)
    struck = failed.points[strike["strike"] - 1] if "strike" in strike else ""
    where = f"{run.problem}: disk full at {strike} ({struck})"
    if not struck.endswith(HARMLESS):
        assert failed.status == FULL, f"{where}: ended with {failed.status}: {failed.told}"
        assert failed.outcome["error"]["wrong"] == "the disk is full", where
    assert not way.torn(run.home), where
    ended = road.train(run.home, run.problem)
    assert ended.status == 0, f"{where}: the same command ended with {ended.status}: {ended.told}"
    told = way.differences(way.world(run.home, run.problem), run.world)
    assert not told, f"{where}: not as undisturbed:\n" + "\n".join(told)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", PLACES)
def test_full_disk(road: Any, undisturbed: Any, place: str) -> None:
    """One write that finds no space ends the command with status 4; the next one ends as if nothing had been."""
    stage, name = PLACES[place]
    run = undisturbed("pictures")
    fail_and_mend(road, run, run.copy_before(stage), at=name)


@pytest.mark.timeout(900)
def test_read_only_home(road: Any, undisturbed: Any) -> None:
    """A home that cannot be written ends the command with status 4 before any work; nothing is lost from it."""
    run = undisturbed("pictures")
    way = ways(road)
    way.replace_home(run.home, run.copy_before("fit"))
    ended = road.train(run.home, "pictures", how="read-only")
    assert ended.status == FULL, ended.told
    assert ended.outcome["error"]["wrong"] == "the file system is read-only"
    assert "repair it, then run the same command again" in ended.told
    assert not way.torn(run.home)


@pytest.mark.timeout(6 * 3600)
def test_full_disk_at_every_write(road: Any, undisturbed: Any, tell: Callable[[str], None]) -> None:
    """Each write, sync and rename of the road finds no space once; ``KILLS`` and ``KILL_PART`` take some of them."""
    run = undisturbed("pictures")
    copies = [None, *sorted(run.copies.iterdir(), key=lambda path: int(path.name))]
    lengths = []
    for copy in copies:
        ways(road).replace_home(run.home, copy)
        lengths.append(len(road.train(run.home, "pictures", how="full").points))
    places = ways(road).chosen(
        [
            (copy, number)
            for copy, length, left in zip(copies, lengths, [*lengths[1:], 0], strict=True)
            for number in range(1, length - left + 1)
        ]
    )
    failed = []
    for copy, number in places:
        try:
            fail_and_mend(road, run, copy, strike=number)
        except AssertionError as failure:
            failed.append(str(failure))
            tell(failed[-1])
    tell(f"\n{lengths[0]} writes, syncs and renames; {len(places)} found a full disk, {len(failed)} failed")
    assert not failed


@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", ["200k", "900k", "1700k"])
def test_real_small_disk(road: Any, undisturbed: Any, tmp_path: Path, size: str) -> None:
    """On a real small file system the command ends with status 4, and completes once there is more space."""
    run, way = undisturbed("pictures"), ways(road)
    way.replace_home(run.home, None)
    run.home.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ROAD.format(size=size)]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")
    places = {"HOME_THERE": str(run.home), "SEEN": str(tmp_path), "PYTHON": sys.executable}
    ours = {"MEDAI_HOME": str(run.home), "MEDAI_THREADS": "1", "MEDAI_PREFECT_API_URL": road.api_url}
    ours |= {"PROBLEM": str(way.HERE / "pictures.yaml"), "PYTHONPATH": str(way.HERE.parents[1])}
    ended = subprocess.run(command, env=os.environ | places | ours, capture_output=True, text=True, timeout=600)
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip(f"no file system of its own allowed here: {ended.stderr.strip()}")
    told = (tmp_path / "first.err").read_text()
    assert (tmp_path / "first").read_text() == "4\n", told
    assert "disk is full" in told
    assert not way.torn(tmp_path / "full")
    assert (tmp_path / "second").read_text() == "0\n", (tmp_path / "second.err").read_text()
    assert not way.differences(way.world(tmp_path / "mended", "pictures", at=run.home), run.world)
