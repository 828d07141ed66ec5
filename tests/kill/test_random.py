"""SIGKILL from outside, at moments that nobody chose: of runs, alone and two at once, and of changes of the champion.

``KILL_MINUTES`` says for how long (half a minute for each of the two, unless told), ``KILL_SEED`` which moments.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from medai.audit import Audit
from medai.ledger import Ledger
from medai.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(3 * 3600)]

KILLED = -9
SEED = int(os.environ.get("KILL_SEED", "0"))
SECONDS = 60 * float(os.environ.get("KILL_MINUTES", "1")) / 2
PROBLEM = "kill_pictures"


def moments() -> Iterator[random.Random]:
    """The same chances in the same order, for as long as is wanted; once at least."""
    chance, deadline = random.Random(SEED), time.monotonic() + SECONDS  # noqa: S311 - it picks moments to kill at
    while True:
        yield chance
        if time.monotonic() > deadline:
            return


def test_runs_killed_at_random(road: Any, undisturbed: Any, tell: Callable[[str], None]) -> None:
    """Killed up to four times, from any state on, by itself or beside an equal run, a run completes as undisturbed.

    After each kill nothing in the store is torn, but for what lies there under the name of what is not finished, and
    the audit is whole.
    """
    ways = import_module(type(road).__module__)
    kills, rounds, failed = 0, 0, []
    for chance in moments():
        run = undisturbed(chance.choice(("pictures", "stays")))
        copies = [None, *sorted(run.copies.iterdir(), key=lambda path: int(path.name))]
        first = chance.randrange(len(copies))
        ways.replace_home(run.home, copies[first])
        where = f"seed {SEED}, round {rounds}: {run.problem} from copy {first} of {len(copies)}"
        told: list[str] = []
        for _ in range(chance.randint(1, 4)):
            longest = run.seconds * (1 - first / len(copies))
            seconds = tuple(chance.uniform(0.05, 1.1 * longest) for _ in range(chance.choice((1, 1, 2))))
            where += f", killed after {', '.join(f'{each:.2f}' for each in seconds)} s"
            for each in road.run(run.home, "run", str(ways.HERE / f"{run.problem}.yaml"), "--json", seconds=seconds):
                kills += each.status == KILLED
                if each.status not in (0, KILLED):
                    told.append(f"ended with {each.status}: {each.told}")
            told += [f"torn: {name}" for name in ways.torn(run.home) if "/." not in name]
            if (run.home / "audit.jsonl").exists():
                Audit(run.home, by="").read()
        ended = road.train(run.home, run.problem)
        told += [f"then {ended.status}: {ended.told}"] if ended.status else []
        told += ways.differences(ways.world(run.home, run.problem), run.world)
        rounds += 1
        if told:
            failed.append(f"{where}: " + "; ".join(told))
            tell(failed[-1])
    tell(f"\nruns: {kills} kills at random moments in {rounds} rounds (seed {SEED}), {len(failed)} failed")
    assert kills
    assert not failed


def test_changes_of_the_champion_killed_at_random(road: Any, undisturbed: Any, tell: Callable[[str], None]) -> None:
    """A promotion or a rollback that is killed was made or was not made; the next command says the same everywhere.

    No line is lost or doubled, and MLflow's alias is what the ledger says as soon as a command ended well.
    """
    ways = import_module(type(road).__module__)
    run = undisturbed("pictures")
    ways.replace_home(run.home, max(run.copies.iterdir(), key=lambda path: int(path.name)))
    second = road.run(run.home, "run", str(ways.HERE / "pictures.yaml"), "--seed", "1", "--json")[0]
    assert second.status == 0, second.told
    if second.outcome["champion"] != 2:
        road.run(run.home, "promote", PROBLEM, "2", "--reason", "the first of all", "--json")
    ledger = Ledger(Workspace(run.home), by="")
    started = time.monotonic()
    assert road.run(run.home, "promote", PROBLEM, "1", "--reason", "to see how long it takes")[0].status == 0
    longest = 1.2 * (time.monotonic() - started)
    kills, made, failed = 0, 0, []
    for chance in moments():
        before = ledger.champion(PROBLEM)
        lines = len(Audit(run.home, by="").read())
        other = 1 if before is not None and before.version == 2 else 2
        back = before is not None and chance.random() < 0.3
        command = ("rollback", PROBLEM) if back else ("promote", PROBLEM, str(other))
        limit = chance.uniform(0.01, longest)
        ended = road.run(run.home, *command, "--reason", "chance", seconds=(limit,))[0]
        kills += ended.status == KILLED
        told = [] if ended.status in (0, KILLED) else [f"ended with {ended.status}: {ended.told}"]
        entries = Audit(run.home, by="").read()
        champions = [entry for entry in entries[lines:] if entry.kind == "champion"]
        made += len(champions)
        if len(champions) > 1 or (ended.status == 0 and not champions):
            told.append(f"{len(champions)} changes were written")
        mended = road.run(run.home, "sync", "--json")[0]
        verified = road.run(run.home, "audit", "verify", "--json")[0]
        told += [f"{each.status}: {each.told}" for each in (mended, verified) if each.status]
        now = ledger.champion(PROBLEM)
        aliases = [version for _, name, version in ways.world(run.home, "pictures")["alias"] if name == "champion"]
        if aliases != ([now.version] if now else []):
            told.append(f"the ledger's champion is {now and now.version}, MLflow's alias {aliases}")
        if told:
            failed.append(f"seed {SEED}: {' '.join(command)} killed after {limit:.3f} s: " + "; ".join(told))
            tell(failed[-1])
    tell(f"\nchampions: {kills} kills at random moments, {made} changes made (seed {SEED}), {len(failed)} failed")
    assert kills
    assert not failed
