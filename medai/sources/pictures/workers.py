"""A function over tasks in processes of their own, so that a file which fells its decoder costs that file alone.

A worker may crash, hang, or outgrow its memory. ``concurrent.futures`` and joblib's loky then give up all that is
under way, so the pool is kept here: each worker has a connection of its own, answers a few tasks at a time, and is
replaced when it ends. The tasks it held are tried again, each in a new worker of its own; one that ends that too is
lost. So a worker that the machine ended by chance costs nothing, and an answer depends on its task alone.

Each task sets its worker's alarm anew, which the kernel keeps also where the decoder never returns, and whether or not
the parent still lives. Memory is limited by RLIMIT_DATA: what a worker allocates counts, a mapped file does not.

This keeps a run alive; it is no sandbox. A worker has the rights of the user, and its answers are unpickled.
"""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

from medai.errors import MedaiError
from medai.sources.pictures.nursery import end_worker, prepare, start_worker

T = TypeVar("T")
R = TypeVar("R")

CRASHED, TIMED_OUT, OUT_OF_MEMORY = "decoder_crashed", "decoder_timed_out", "decoder_out_of_memory"
REASONS = (CRASHED, TIMED_OUT, OUT_OF_MEMORY)
"""Why a task can be lost."""
MEMORY = 2 << 30
"""Bytes that a worker may allocate; the largest picture that is decoded takes about one GiB."""
SECONDS = 60.0
"""Seconds that one task may take; a radiograph takes a hundredth."""

_MOST_PROCESSES = 8
_MOST_AT_ONCE = 8
"""Tasks that a worker is given at once."""
_AHEAD = 16
"""Answers a worker that wait for an earlier one."""
_GRACE = 5.0
"""Seconds after which the parent ends a worker that its alarm did not end."""
_PAUSE = 0.05


class Lost(NamedTuple):
    """What stands for the answer to a task that ended its worker, or found no memory: one of ``REASONS``."""

    reason: str


class DecoderDefect(RuntimeError):
    """A function in a worker raised what it never should: a defect of medai's, not of the file.

    It says where and of which type; the exception's own words may quote the file, and stay behind.
    """

    @classmethod
    def of(cls, error: Exception) -> DecoderDefect:
        """The defect that an exception shows."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        return cls(f"{type(error).__name__} in a decoder's worker\n{frames}")


class _Worker:
    """A worker, its number, and what it was given and when."""

    def __init__(self, orders: bytes, module: str) -> None:
        self.held: list[int] = []
        self.since = 0.0
        for is_last in (False, True):  # a nursery may have ended just when it was asked
            self.connection = start_worker(module)
            try:
                self.connection.send_bytes(orders)
                self.number = int(self.connection.recv())
                return
            except (EOFError, OSError):
                self.connection.close()
                if is_last:
                    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    def give(self, held: list[int], tasks: list[Any]) -> None:
        """Hand over tasks by their places; a worker that has just ended shows when its answer is awaited."""
        self.held, self.since = held, time.monotonic()
        try:
            self.connection.send(tasks)
        except (BrokenPipeError, ConnectionError):
            return

    def end(self) -> None:
        """End it at once, if it still lives."""
        self.connection.close()
        end_worker(self.number)


def available() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def module_of(function: Callable[..., Any]) -> str:
    """The module that a function stands in, also where a ``partial`` binds some of its arguments."""
    named = getattr(function, "func", function)
    return str(getattr(named, "__module__", None) or type(named).__module__)


def each_decoded(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    module: str | None = None,
    processes: int | None = None,
    memory: int = MEMORY,
    seconds: float = SECONDS,
) -> Generator[R | Lost]:
    """What a function makes of each task, in the tasks' order, or why that was lost.

    Args:
        function: of one task; it is pickled, as are tasks and answers, so it is a module's function, a ``partial`` of
            one, or an object that can be called.
        module: what workers are born with: it is imported, and its ``prepare()`` called if it has one, once for all;
            the function's own module when left out.
        processes: workers at most; as many as processors, up to eight, when left out.
        memory: bytes that one worker may allocate.
        seconds: that one task may take.

    Raises:
        MedaiError, OSError, ImportError: what the function raised of these.
        DecoderDefect: the function raised anything else: it answers for the exceptions that bad bytes can raise.
        OSError: no process can be started.
    """
    module = module or module_of(function)
    orders = pickle.dumps((module, function, memory, seconds))
    most = min(processes or min(available(), _MOST_PROCESSES), len(tasks))
    at_once = max(1, min(_MOST_AT_ONCE, len(tasks) // (4 * max(1, most))))
    workers: list[_Worker] = []
    answers: dict[int, R | Lost | Exception] = {}
    alone: deque[int] = deque()
    tried: set[int] = set()
    fresh, due = 0, 0

    def next_places() -> list[int]:
        nonlocal fresh
        if alone:
            return [alone.popleft()]
        places = list(range(fresh, min(fresh + at_once, len(tasks), due + most * at_once * _AHEAD)))
        fresh += len(places)
        return places

    try:
        while due < len(tasks):
            while sum(bool(worker.held) for worker in workers) < most and (places := next_places()):
                idle = [worker for worker in workers if not worker.held]
                again = places[0] in tried
                if idle and again:  # not beside what an earlier task may have left in its memory
                    idle[0].end()
                    workers.remove(idle[0])
                if again or not idle:
                    workers.append(_Worker(orders, module))
                (workers[-1] if again or not idle else idle[-1]).give(places, [tasks[place] for place in places])
            for worker in _answering(workers, seconds):
                held, worker.held = worker.held, []
                try:
                    received: list[R | Lost | Exception] = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    worker.end()
                    late = time.monotonic() - worker.since >= seconds
                    received = [Lost(TIMED_OUT if late else CRASHED)] * len(held)
                for place, answer in zip(held, received, strict=True):
                    if isinstance(answer, Lost) and place not in tried:
                        tried.add(place)
                        alone.append(place)
                    else:
                        answers[place] = answer
            while due in answers:
                answer = answers.pop(due)
                if isinstance(answer, Exception):
                    raise answer
                due += 1
                yield answer
    finally:
        for worker in workers:
            worker.end()


def _answering(workers: list[_Worker], seconds: float) -> list[_Worker]:
    """The workers that have answered or ended, once there is one; one that is overdue is ended, and shows next time."""
    busy = {worker.connection: worker for worker in workers if worker.held}
    now = time.monotonic()
    due = {worker: worker.since + seconds * len(worker.held) + _GRACE - now for worker in busy.values()}
    ready = [busy[one] for one in wait(list(busy), max(_PAUSE, min(due.values()))) if isinstance(one, Connection)]
    if not ready:
        for worker, left in due.items():
            if left <= 0:
                end_worker(worker.number)
    return ready


def serve(connection: Connection) -> None:
    """Be a worker: do as ordered until the parent is gone."""
    function: Callable[[Any], Any] | None = None
    failure: Exception | None = None
    try:
        connection.send(os.getpid())
        orders = connection.recv_bytes()
        try:
            module, function, memory, seconds = pickle.loads(orders)  # noqa: S301 - its own parent's
            prepare(module)
        except (MedaiError, OSError, ImportError) as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the parent raises it
            failure = DecoderDefect.of(error)
        else:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while True:
            tasks = connection.recv()
            connection.send([failure or _answer(function, task, seconds) for task in tasks])
    except (EOFError, OSError):
        return


def _answer(function: Callable[[Any], Any] | None, task: Any, seconds: float) -> Any:
    signal.setitimer(signal.ITIMER_REAL, seconds)  # the kernel ends who does not stop it
    try:
        return function(task) if function is not None else None
    except MemoryError:
        return Lost(OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        told = isinstance(error, (MedaiError, ImportError)) or (isinstance(error, OSError) and error.errno is not None)
        return error if told else DecoderDefect.of(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
