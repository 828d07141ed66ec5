"""A service as a process of ours, and the signals that end it."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from flows import child
from flows.child import descendants, end
from medai.errors import ServiceFailed

LOG_LINES = 12
_LINES_BYTES = 1 << 16
"""Of the end of a log, in which its last lines are looked for."""
LOG_BYTES = 10_000_000
"""Of a service's log, after which it begins anew; the one before is kept beside it. As docker/compose.yaml has it."""
_BETWEEN_TRACEBACKS = ("During handling of", "The above exception was", "│", "╭", "╰")
GRACE_SECONDS = 8.0


class Child:
    """A service as a child process that ends with this one, however this one ends.

    Args:
        name: what to call it in messages.
        module: what to run (see ``flows.child``).
        arguments: of the module.
        environment: all of it.
        log: file of its output; None keeps it only for an error message.
        descriptors: open files that it inherits.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: list[str],
        environment: dict[str, str],
        log: Path | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self._owner = os.getpid()
        self._started: set[psutil.Process] = set()
        self._kept = log
        self._before: Path | None = None
        if log is not None:
            log.open("wb").close()
        self._log: IO[bytes] = tempfile.TemporaryFile() if log is None else log.open("ab+")  # noqa: SIM115 closed by stop
        # -P and its variable: a folder named flows or mlflow in the working directory must not pass for the package.
        self._process = subprocess.Popen(
            [sys.executable, "-P", child.__file__, str(self._owner), module, *arguments],
            env=environment | {"PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for us; we end our children in order
        )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit status once it has ended."""
        return self._process.poll()

    def last_lines(self) -> str:
        """The end of what it wrote, without tracebacks: of each only the line that says what happened.

        Where its log has just begun anew, the end of the one before comes first.
        """
        written = _end_of(self._log.fileno())
        if self._before is not None:
            with suppress(OSError), self._before.open("rb") as before:
                written = _end_of(before.fileno()) + written
        lines = _without_tracebacks(written.decode(errors="replace").splitlines())
        return "\n".join(lines[-LOG_LINES:]) or "it wrote nothing"

    def watch(self) -> bool:
        """Whether it still runs; to be called often.

        What it started is remembered, to be ended even when it is killed itself, and its log kept within bounds.
        """
        self._started.update(descendants(self.pid))
        if self._kept is not None and os.fstat(self._log.fileno()).st_size > LOG_BYTES:
            before = self._kept.with_name(f"{self._kept.name}.1")
            with suppress(OSError):
                shutil.copyfile(self._kept, before)
                self._before = before
            self._log.truncate(0)
        return self.ended is None

    def listens(self, port: int) -> bool:
        """Whether it, or what it started, listens on this port, as far as the system tells."""
        for pid in (self.pid, *(one.pid for one in descendants(self.pid))):
            with suppress(psutil.NoSuchProcess):
                try:
                    connections = psutil.Process(pid).net_connections("tcp")
                except psutil.AccessDenied:
                    return True
                if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections):
                    return True
        return False

    def stop(self) -> None:
        """End what it started and then itself: first politely, after a grace for good. May be called twice.

        A flow that the worker runs is asked first, while there is still a server to which it can say that it crashed.
        """
        if self._log.closed or os.getpid() != self._owner:
            return
        self.watch()
        end(self._started, GRACE_SECONDS)
        if self.ended is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.watch()
                self._process.kill()
                self._process.wait()
        end(self._started, 0)
        self._log.close()
        atexit.unregister(self.stop)

    def failed(self) -> ServiceFailed:
        """The error that says that it ended by itself."""
        return ServiceFailed(
            f"{self.name} ended by itself",
            expected="a server that runs until medai ends it",
            received=f"exit status {self.ended}; its last lines:\n{self.last_lines()}",
            action="mend what its last lines name, then run the same command again: finished stages are kept",
        )


def _end_of(descriptor: int) -> bytes:
    """The last bytes of an open log, wherever its writer stands."""
    return os.pread(descriptor, _LINES_BYTES, max(0, os.fstat(descriptor).st_size - _LINES_BYTES))


def _without_tracebacks(lines: list[str]) -> list[str]:
    """The lines that a person can use: neither Python's frames nor the boxes that rich draws around them, nor blanks.

    >>> _without_tracebacks(["ready", "Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no"])
    ['ready', 'ValueError: no']
    """
    kept, inside = [], False
    for line in lines:
        if "Traceback (most recent call last)" in line:
            inside = True
        elif inside and line.startswith((" ", "\t")):
            continue
        elif line.strip() and not line.startswith(_BETWEEN_TRACEBACKS):
            inside = False
            kept.append(line)
    return kept


@contextmanager
def stop_signals(stopped: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end ``up`` in order instead of in mid-sentence."""
    kept = {sign: signal.signal(sign, lambda *_: stopped.set()) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in kept.items():
            signal.signal(sign, handler)
