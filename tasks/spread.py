"""The work on shards under Prefect's Dask task runner: a task run a shard, by processes here or on other machines.

Dask is imported when the first shard is handed over: a run that finds its arrays in the workspace needs none.
"""

from __future__ import annotations

import logging
import pickle
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import task

from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from tasks.stage import UNCACHED

if TYPE_CHECKING:
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

T = TypeVar("T")
R = TypeVar("R")

LOOPBACK = "127.0.0.1"
LOCAL_WORKERS = 2
_AHEAD = 2
"""Shards that are handed over for each thread of the workers: one at work, one that waits."""
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0
"""How long to wait, after a failure, for shards that are still at work: what they leave is removed."""


@task(name="shard", **UNCACHED)
def _shard(order: bytes) -> Any:
    """Done by a worker.

    Args:
        order: the pickled work and what it is done on: neither Prefect nor Dask looks for tasks of theirs in it.
    """
    work, on = pickle.loads(order)  # noqa: S301 - this run's own words; Dask's come the same way
    return work(on)


class OnDask:
    """Hands work to Dask's workers; a ``medai.shards.Each``.

    Args:
        scheduler: its address; None starts a cluster of two workers on this machine that nobody else can reach.
        patience: seconds to wait for the scheduler and a worker, also when all workers are lost meanwhile.
        scratch: where workers of this machine put what does not fit in memory; Dask's own choice when left out.
    """

    def __init__(self, scheduler: str | None, patience: float, scratch: Path | None = None) -> None:
        self.scheduler, self.patience, self.scratch = scheduler, patience, scratch

    def __call__(self, work: Callable[[T], R], orders: Iterable[T]) -> Generator[R]:
        """The results in the orders' order.

        Raises:
            ServiceFailed: there is no scheduler or no worker, or a shard's workers died again and again.
            ConfigurationError: a worker lacks a package.
            MedaiError: the work's own.
        """
        begun: deque[PrefectDaskFuture[Any]] = deque()
        with self._runner() as runner:
            client = self._connected(runner)
            try:
                for order in orders:
                    begun.append(runner.submit(_shard, {"order": pickle.dumps((work, order))}))
                    if len(begun) >= _AHEAD * max(1, sum(client.nthreads().values())):
                        yield self._result(begun.popleft(), client)
                while begun:
                    yield self._result(begun.popleft(), client)
            finally:
                until = time.monotonic() + _GRACE_SECONDS
                for future in begun:
                    future.wait(max(0.0, until - time.monotonic()))

    @contextmanager
    def _runner(self) -> Iterator[DaskTaskRunner]:
        from prefect_dask import DaskTaskRunner

        for name in ("distributed", "distributed.client"):  # what they say of lost workers, our errors say
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.scheduler:
            with DaskTaskRunner(
                address=self.scheduler, client_kwargs={"timeout": self.patience, "name": "medai"}
            ) as runner:
                yield runner
            return
        import dask

        own = {} if self.scratch is None else {"temporary-directory": str(self.scratch)}
        with (
            dask.config.set(own),
            DaskTaskRunner(
                cluster_kwargs={
                    "n_workers": LOCAL_WORKERS,
                    "threads_per_worker": 1,
                    "host": LOOPBACK,
                    "dashboard_address": None,
                    "silence_logs": logging.CRITICAL,
                    # A shard's failure is told once, by the run; a worker would print its traceback.
                    "env": {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"},
                }
            ) as runner,
        ):
            yield runner

    def _connected(self, runner: DaskTaskRunner) -> Client:
        """The scheduler's client, once there is a worker."""
        try:
            client: Client = runner.client
            client.wait_for_workers(1, timeout=self.patience)
        except (OSError, TimeoutError) as failure:
            raise self._lost(type(failure).__name__) from failure
        return client

    def _result(self, future: PrefectDaskFuture[Any], client: Client) -> Any:
        """What a worker answered; whole errors of ours come as they were raised."""
        from distributed import KilledWorker

        alone_since: float | None = None
        try:
            while not future.wrapped_future.done():
                future.wait(_LOOK_SECONDS)
                alone_since = None if client.nthreads() else alone_since or time.monotonic()
                if alone_since is not None and time.monotonic() - alone_since > self.patience:
                    raise self._lost("no worker any more")
            return future.result()
        except MedaiError:
            raise
        except KilledWorker as failure:
            raise ServiceFailed(
                "worker after worker died on the same shard",
                expected="workers with memory for a shard of a million rows and its arrays, 4 GB each",
                received="processes that ended in the middle of it",
                action="see the workers' own logs; give them more memory, then run the same command again",
            ) from failure
        except ImportError as failure:
            raise ConfigurationError(
                f"a worker lacks the package {failure.name or 'medai'}",
                expected="this medai with its extra dask on every worker",
                received="none there",
                action="install it and requirements.lock on every worker",
            ) from failure
        except (CancelledError, futures.CancelledError, OSError) as failure:
            if isinstance(failure, OSError) and failure.errno:
                raise
            raise self._lost(type(failure).__name__) from failure

    def _lost(self, received: str) -> ServiceFailed:
        where = self.scheduler or "a cluster on this machine"
        return ServiceFailed(
            "Dask does not do its part",
            expected=f"{where}, with a worker, within {self.patience:.0f} seconds",
            received=received,
            action="start the scheduler and its workers, or leave --dask out, then run the same command again",
        )
