"""Worker processes: answers in order, and a decoder that crashes, hangs or outgrows its memory costs its task alone."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from operator import call
from pathlib import Path
from typing import Any

import psutil
import pytest

from medai.errors import DataRefused
from medai.sources.pictures import nursery, workers
from medai.sources.pictures.workers import DecoderDefect, Lost, each_decoded

Task = Callable[[], Any]
CRASH = partial(signal.raise_signal, signal.SIGSEGV)
NEVER = partial(re.match, "(a+)+$", "a" * 40 + "b")
"""Within the regular expressions' engine, which neither ends nor lets go of the interpreter."""


def answers(*tasks: Task, **limits: Any) -> list[Any]:
    """What becomes of functions that are called in workers."""
    return list(each_decoded(call, tasks, **limits))


def numbers() -> set[int]:
    """The nurseries and their workers."""
    kept = [psutil.Process(one._process.pid) for one in nursery._kept]
    return {process.pid for one in kept for process in (one, *one.children(recursive=True))}


def gone(pids: set[int]) -> bool:
    """Whether processes have ended within seconds; one that waits to be buried has."""
    for _ in range(1000):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether a process runs at this moment."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("processes", [1, 3])
def test_answers_come_in_the_order_of_tasks(processes: int) -> None:
    """Whoever is ready first; also when there is nothing to do, and many more tasks than are handed over at once."""
    assert list(each_decoded(math.sqrt, range(1000), processes=processes)) == [math.sqrt(n) for n in range(1000)]
    assert list(each_decoded(math.sqrt, [], processes=processes)) == []
    slow = partial(time.sleep, 0.2)
    assert answers(slow, *[partial(abs, -n) for n in range(50)], processes=processes) == [None, *range(50)]


def test_a_worker_is_another_process_that_is_kept_for_many_tasks() -> None:
    """Not one a task, and never this one."""
    found = answers(*[os.getpid] * 64, processes=2)
    assert 1 <= len(set(found)) <= 2
    assert os.getpid() not in found


def test_what_ends_its_worker_costs_itself_alone() -> None:
    """A crash, two exits, a kill and spent memory, among tasks that are answered."""
    good = [partial(abs, -n) for n in range(30)]
    bad: list[Task] = [
        CRASH, partial(os._exit, 0), partial(signal.raise_signal, signal.SIGKILL), partial(bytearray, 1 << 40),
        sys.exit,
    ]  # fmt: skip
    found = answers(*good, *bad, *good, memory=1 << 30)
    assert found[:30] == found[35:] == list(range(30))
    crashed = Lost("decoder_crashed")
    assert found[30:35] == [crashed, crashed, crashed, Lost("decoder_out_of_memory"), crashed]


def test_an_exception_that_no_decoder_named_is_a_defect_and_not_a_bad_file() -> None:
    """It is raised where its answer would stand, with its place and type, and without its words, which may quote."""
    found = each_decoded(call, [partial(abs, -3), partial(int, "Jane Doe")])
    assert next(found) == 3
    with pytest.raises(DecoderDefect, match="ValueError in a decoder") as raised:
        next(found)
    assert "Jane" not in str(raised.value)
    with pytest.raises(DecoderDefect, match="OSError"):
        answers(partial(exec, "raise OSError('of a codec, with no number')"))


def test_a_limit_on_memory_is_on_what_is_allocated() -> None:
    """A gibibyte under half of one is refused, under two it is given."""
    task = partial(bytes, 1 << 30)
    assert answers(partial(bool, b""), task, memory=1 << 29) == [False, Lost("decoder_out_of_memory")]
    assert [len(answer) for answer in each_decoded(call, [partial(call, partial(bytes, 1 << 20))], memory=2 << 30)] == [
        1 << 20
    ]


def test_what_never_returns_is_ended() -> None:
    """Whether it waits, computes in C code that lets nobody else run, or was stopped."""
    stop = partial(signal.raise_signal, signal.SIGSTOP)
    started = time.monotonic()
    found = answers(partial(time.sleep, 600), NEVER, partial(abs, -1), seconds=0.3, processes=2)
    assert found == [Lost("decoder_timed_out"), Lost("decoder_timed_out"), 1]
    grace, workers._GRACE = workers._GRACE, 0.3
    try:
        assert answers(stop, partial(abs, -1), seconds=0.3) == [Lost("decoder_timed_out"), 1]
    finally:
        workers._GRACE = grace
    assert time.monotonic() - started < 60


def test_a_worker_that_is_ended_from_without_costs_nothing(tmp_path: Path) -> None:
    """What it held is tried again: here each task ends its worker the first time that it runs."""
    once = "import os, sys\ntry: os.mkdir(place)\nexcept FileExistsError: pass\nelse: os.kill(os.getpid(), 9)"
    tasks = [partial(exec, once, {"place": str(tmp_path / str(n))}) for n in range(5)]
    assert answers(*tasks, processes=2) == [None] * 5


def test_a_failure_of_the_machine_is_raised_where_its_answer_would_stand(tmp_path: Path) -> None:
    """A file that is not there, a full disk, and an error of medai's own; with what came before it answered."""
    missing = tmp_path / "missing.png"
    found = each_decoded(call, [partial(abs, -3), partial(open, str(missing))])
    assert next(found) == 3
    with pytest.raises(FileNotFoundError) as raised:
        next(found)
    assert raised.value.filename == str(missing)
    refused = "raise DataRefused('a', expected='b', received='c', action='d')"
    with pytest.raises(DataRefused) as told:
        answers(partial(exec, f"from medai.errors import DataRefused\n{refused}"))
    assert told.value.action == "d"


def test_a_function_that_cannot_be_found_is_raised() -> None:
    """As what it is, not as a lost file."""
    gone_module = type("Gone", (), {"__reduce__": lambda self: (__import__, ("medai_has_no_such_module",))})()
    with pytest.raises(ImportError, match="medai_has_no_such_module"):
        list(each_decoded(gone_module, [1]))


def test_workers_end_with_the_call_and_the_nursery_with_the_process() -> None:
    """Also when the answers are not all taken; a nursery that was ended is replaced."""
    taken = each_decoded(call, [os.getpid, *[partial(time.sleep, 600)] * 3], processes=3)
    worker = next(taken)
    mine = numbers()
    assert worker in mine
    kept = nursery._kept[0]._process.pid
    taken.close()
    assert gone(mine - {kept})
    assert psutil.pid_exists(kept)
    os.kill(kept, signal.SIGKILL)
    assert gone({kept})
    assert answers(partial(abs, -7)) == [7]
    assert nursery._kept[0]._process.pid != kept
    left = numbers()
    nursery.close()
    assert gone(left)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(how: signal.Signals) -> None:
    """Whatever ends the parent, and though a worker hangs in C code."""
    code = """
import re, os, sys
from functools import partial
from operator import call
from medai.sources.pictures.workers import each_decoded
found = each_decoded(call, [os.getpid, partial(re.match, "(a+)+$", "a" * 40 + "b")], processes=2)
print(next(found), flush=True)
next(found)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        children = {process.pid for process in psutil.Process(parent.pid).children(recursive=True)}
        assert len(children) >= 2
        parent.send_signal(how)
        parent.wait(20)
    assert gone(children)
