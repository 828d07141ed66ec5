"""Work on a sequence by several threads, in the sequence's order.

It pays where the work is done by libraries that let go of the interpreter: inflating, parsing, sorting, decoding.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 4


def each_of(parts: Iterable[T], work: Callable[[T], R], most: int = _MOST) -> Generator[R]:
    """What ``work`` makes of each part, in their order; at most a few parts are under way at once.

    Args:
        most: threads at most; with one, a part is worked on while the result before it is used.

    Results depend on neither the number of threads nor their speed: a part's fault is raised where its result would
    have come, before any of the parts behind it.
    """
    count = min(most, os.cpu_count() or 1)
    remaining = iter(parts)
    begun: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        while True:
            try:
                part = next(remaining)
            except StopIteration:
                break
            except Exception:
                while begun:
                    yield begun.popleft().result()
                raise
            begun.append(pool.submit(work, part))
            if len(begun) > count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
