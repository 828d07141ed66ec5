"""SIGKILL at the commit points of the road: the same command completes, and nobody can tell that it was killed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.kill]

KILLED = -9
SEED = int(os.environ.get("KILL_SEED", "0"))


def kill_and_recover(road: Any, run: Any, point: int, second: int = 0, whole: bool = True) -> tuple[float, float]:
    """Kill a run at a point, run the same command again and compare; a second kill may hit the recovery.

    Args:
        whole: run the recovery to its end. Otherwise it goes to where the killed stage is done, if that is a pure one,
            and must have made there what the undisturbed run had there: the rest of the road follows from it.

    Returns:
        Seconds of the killed run and of the recovery.
    """
    from importlib import import_module  # conftest's own functions, whatever pytest named the module

    ways = import_module(type(road).__module__)
    offset, copy = run.before(point)
    expected = run.ended.points[point - 1]
    where = f"{run.problem}: killed at point {point} of {len(run.ended.points)} ({expected}), seed {SEED}"
    ways.replace_home(run.home, copy)
    started = time.perf_counter()
    killed = road.train(run.home, run.problem, strike=point - offset)
    between = time.perf_counter()
    assert killed.status == KILLED, f"{where}: ended with {killed.status}: {killed.told}"
    same = killed.points[-1] == expected or " copy " in expected  # files are copied in the folder's own order
    assert same, f"{where}: was at {killed.points[-1]}"
    if second:
        again = road.train(run.home, run.problem, strike=second)
        where += f", and then at its point {second} ({again.points[-1]})"
        assert again.status == KILLED, f"{where}: ended with {again.status}: {again.told}"
    done = None if whole or second else run.after(point)
    ended = road.train(run.home, run.problem, at=f"{re.escape(done[0])}$" if done else "")
    assert ended.status == (KILLED if done else 0), f"{where}: the same command ended with {ended.status}: {ended.told}"
    if not second:
        finished = run.finished_epochs(point)
        reached = run.fitting(point) and (done is None or done[0].endswith("/fit"))
        left = [epoch for epoch in run.ended.epochs if epoch > finished] if reached else []
        assert ended.epochs == left, f"{where}: {finished} epochs were finished, but it fitted {ended.epochs}"
    undisturbed = ways.world(done[1], run.problem, at=run.home) if done else run.world
    told = ways.differences(ways.world(run.home, run.problem), undisturbed)
    assert not told, f"{where}: not as undisturbed:\n" + "\n".join(told)
    if not done:
        assert ways.answer(ended.outcome) == ways.answer(run.ended.outcome), where
    return between - started, time.perf_counter() - between


def points_of_interest(run: Any) -> dict[str, int]:
    """A few points that stand for all: name → number."""
    points = run.ended.points

    def number(start: str, occurrence: int = 0) -> int:
        return [place for place, name in enumerate(points, start=1) if name.startswith(start)][occurrence]

    return {
        "between two checkpoints": number("before batch 2 of epoch 2"),
        "the run exists, its version does not": number("before mlflow create_model_version"),
        "decided, nothing told": number("after sync spool"),
        "settled, still in the spool": len(points) - points[::-1].index("after rename audit.head"),
        "registered, not promoted": number("before mlflow set_registered_model_alias", 1),
    }


def test_undisturbed_run_leaves_one_of_each(undisturbed: Any) -> None:
    """An undisturbed run ends with one version, one FINISHED run, one champion entry and one settled entry."""
    run = undisturbed("pictures")
    kinds = [kind for kind, _ in run.world["audit"]]
    assert kinds == ["ingested", "judged", "opened", "decided", "registered", "champion", "projected", "settled"]
    assert run.world["runs"] == [(run.world["runs"][0][0], "FINISHED", "active")]
    assert [version[:2] for version in run.world["versions"]] == [("kill_pictures", 1)]
    assert run.world["alias"] == [("kill_pictures", "challenger", 1), ("kill_pictures", "champion", 1)]
    assert run.world["models"][0][1] == 2  # READY
    assert run.ended.outcome["champion"] == 1
    assert run.ended.epochs == [1, 2, 3]
    assert any("/model.onnx" in name for name in run.world["store"])


@pytest.mark.timeout(900)
def test_killed_runs_complete(road: Any, undisturbed: Any) -> None:
    """A kill in mid-epoch, in mid-registration or before the promotion leaves no trace once the command ran again."""
    run = undisturbed("pictures")
    for point in points_of_interest(run).values():
        kill_and_recover(road, run, point)


@pytest.mark.timeout(900)
def test_two_equal_runs_make_one_result(road: Any, undisturbed: Any) -> None:
    """Of two equal runs at once one makes each stage and the other waits; both give the same answer."""
    from importlib import import_module

    ways = import_module(type(road).__module__)
    run = undisturbed("pictures")
    ways.replace_home(run.home, None)
    ended = road.run(run.home, "run", str(ways.HERE / "pictures.yaml"), "--json", seconds=(0, 0))
    assert [each.status for each in ended] == [0, 0], [each.told for each in ended]
    one, other = (each.outcome for each in ended)
    assert ways.answer(one) == ways.answer(other) == ways.answer(run.ended.outcome)
    assert (one["run_id"], one["report"]) == (other["run_id"], other["report"])
    assert sorted(len(each.epochs) for each in ended) == [0, 3]
    assert not ways.differences(ways.world(run.home, "pictures"), run.world)


def test_the_parts_of_a_loop_are_the_whole(road: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is left out and none is taken twice, whatever each n-th is."""
    from importlib import import_module

    chosen, places = import_module(type(road).__module__).chosen, list(range(101))
    for step in ("1", "60"):
        monkeypatch.setenv("KILLS", step)
        taken: list[int] = []
        for part in ("1/3", "2/3", "3/3"):
            monkeypatch.setenv("KILL_PART", part)
            taken += chosen(places)
        assert taken == places[:: int(step)]
    monkeypatch.setenv("KILL_PART", "4/3")
    with pytest.raises(AssertionError, match="one of n parts"):
        chosen(places)


def test_a_recovery_goes_where_the_killed_stage_is_done(road: Any, tmp_path: Path) -> None:
    """And to its end where nothing is left to be done there: at a stage's last point it would not pass it again."""
    from importlib import import_module

    points = ["before sync store/fit/a", "after rename store/fit/a", "after sync receipts/fit"]
    points += ["before sync receipts/lineage", "after sync receipts/lineage", "before mlflow create_run"]
    for place in (3, 5):
        (tmp_path / str(place)).mkdir()
    ways = import_module(type(road).__module__)
    ended = ways.Ended(0, points, [], [], {}, "")
    run = ways.Undisturbed("p", tmp_path, tmp_path, ended, {}, 0.0)
    assert [run.after(point) for point in range(1, 7)] == [
        ("after sync receipts/fit", tmp_path / "3"),
        None,
        None,
        ("after sync receipts/lineage", tmp_path / "5"),
        None,
        None,
    ]


@pytest.mark.timeout(3 * 3600)
def test_sync_killed_at_every_point(road: Any, undisturbed: Any, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """A decision that waits is delivered once, wherever ``medai sync`` is killed: by the next one, and in the end the
    world is that of a run that never waited. ``KILLS`` and ``KILL_PART`` take some of the states.
    """
    run = undisturbed("pictures")
    from importlib import import_module

    ways = import_module(type(road).__module__)
    ways.replace_home(run.home, run.copy_before("register"))
    cut = road.train(run.home, run.problem, at="after sync spool$")
    assert cut.status == KILLED, cut.told
    waiting = tmp_path / "waiting"
    shutil.copytree(run.home, waiting)
    whole = road.run(run.home, "sync", "--json", marked=True)[0]
    assert whole.status == 0, whole.told
    assert whole.outcome["delivered"][0]["verdict"] == "promoted"
    road.train(run.home, run.problem)
    assert not ways.differences(ways.world(run.home, run.problem), run.world)
    states = ways.chosen(ways.Undisturbed(run.problem, run.home, waiting, whole, {}, 0).states())
    failed = []
    for point in states:
        ways.replace_home(run.home, waiting)
        killed = road.run(run.home, "sync", "--json", strike=point)[0]
        again = road.run(run.home, "sync", "--json")[0]
        ended = road.train(run.home, run.problem)
        where = f"sync killed at {point} ({whole.points[point - 1]})"
        told = [] if killed.status == KILLED else [f"ended with {killed.status}: {killed.told}"]
        told += [f"then {each.status}: {each.told}" for each in (again, ended) if each.status]
        told += ways.differences(ways.world(run.home, run.problem), run.world)
        if told:
            failed.append(f"{where}: " + "; ".join(told))
            tell(failed[-1])
    tell(f"\nsync: {len(whole.points)} commit points; {len(states)} kills, {len(failed)} failed")
    assert not failed


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("problem", ["pictures", "stays"])
def test_kill_at_every_point(road: Any, undisturbed: Any, problem: str, tell: Callable[[str], None]) -> None:
    """Killed once in every state that its commit points leave on disk, a run completes as if nothing had been.

    ``KILLS`` and ``KILL_PART`` take some of the states. In five, one recovery runs to its end, and another is killed,
    too, at a random point (``KILL_SEED``), and then runs to its end. All failures are gathered and told together.
    """
    from importlib import import_module

    run = undisturbed(problem)
    states = import_module(type(road).__module__).chosen(run.states())
    chance = random.Random(SEED)  # noqa: S311 - it picks a point to kill at
    failed: list[str] = []
    seconds: list[tuple[float, float]] = []
    tell(
        f"\n{problem}: {len(run.ended.points)} commit points leave {len(run.states())} states;"
        f" {len(states)} kills; undisturbed {run.seconds:.1f} s"
    )
    for number, point in enumerate(states, start=1):
        left = len(run.ended.points) - point
        second = chance.randint(1, left) if number % 5 == 4 and left else 0
        try:
            seconds.append(kill_and_recover(road, run, point, second, whole=number % 5 == 2))
        except AssertionError as failure:
            failed.append(str(failure))
            tell(failed[-1])
        if number % 20 == 0:
            tell(f"{problem}: {number} of {len(states)} kills, {len(failed)} failed")
    kill, recovery = (sum(column) / len(seconds) for column in zip(*seconds, strict=True)) if seconds else (0, 0)
    tell(f"{problem}: {len(states)} kills ({kill:.1f} s each, recovery {recovery:.1f} s), {len(failed)} failed")
    assert not failed, json.dumps(failed, indent=1)
