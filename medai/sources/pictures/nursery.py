"""The process that workers are born in: started once, it imports what decodes, and a worker is then a fork of it.

A process that runs TensorFlow or Prefect has threads and must not be forked; starting Python anew and importing NumPy
and a decoder costs half a second a worker. The nursery has one thread, holds nothing of the run, and forks within
milliseconds, so that a worker lost to a file is replaced at once.

It listens on one socket: ``START`` comes with a worker's own socket, ``END`` with a worker's number, ``PREPARE`` with a
module's name. When the socket closes, because the parent ended in whatever way, SIGKILL too, it ends its workers and
itself. Between two tasks a worker meets the end of its own socket; within one, its alarm.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from types import FrameType

START, END, PREPARE = b"s", b"e", b"p"
_IDLE = 60.0
"""Seconds without a worker or a word after which the nursery ends; the next call starts another."""
_NUMBER = struct.Struct("<q")
_WORD = 128
"""Bytes of each word on the socket, which marks no ends."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Nursery:
    """This process's hold on its nursery."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from medai.sources.pictures.nursery import tend; tend({theirs.fileno()})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the parent to answer
            )
        self._socket = ours
        self._prepared: set[str] = set()

    def prepare(self, module: str) -> None:
        """Have a module imported, and its ``prepare()`` called if it has one, before workers are born."""
        if module not in self._prepared:
            self._prepared.add(module)
            self._socket.sendall(_padded(PREPARE + module.encode()))

    def start(self) -> Connection:
        """The parent's end of a new worker's connection."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._socket, [_padded(START)], [theirs.fileno()])
        return Connection(ours.detach())

    def end(self, number: int) -> None:
        """End a worker at once, if it still lives."""
        self._socket.sendall(_padded(END + _NUMBER.pack(number)))

    def close(self) -> None:
        """End it and what it tends."""
        self._socket.close()
        self._process.wait()


def _padded(word: bytes) -> bytes:
    return word.ljust(_WORD, b"\0")


_lock = threading.Lock()
_kept: list[Nursery] = []


@atexit.register
def close() -> None:
    """End this process's nursery, and wait for its end."""
    with _lock:
        if _kept and _kept[0].owner == os.getpid():
            _kept.pop().close()


def start_worker(module: str) -> Connection:
    """The connection to a new worker that has a module at hand; by this process's nursery, started where there is none.

    Raises:
        OSError: no process can be started.
    """
    with _lock:
        if _kept and _kept[0].owner != os.getpid():  # after a fork it is the other process's
            _kept.clear()
        for _ in range(2):
            fresh = not _kept
            if fresh:
                _kept.append(Nursery())
            try:
                _kept[0].prepare(module)
                return _kept[0].start()
            except (BrokenPipeError, ConnectionError):  # it had ended for want of work, or was ended
                _kept.pop().close()
                if fresh:
                    raise
        raise BrokenPipeError


def end_worker(number: int) -> None:
    """End a worker by its number; nothing where it has ended, or the nursery has."""
    with _lock:
        if _kept and _kept[0].owner == os.getpid():
            try:
                _kept[0].end(number)
            except (BrokenPipeError, ConnectionError):
                _kept.pop().close()


def tend(descriptor: int) -> None:
    """Be the nursery: answer the parent until it is gone."""
    for name in _ONE_THREAD:
        os.putenv(name, "1")  # as the libraries in C ask for it: who has threads must not fork
    _keep_freed_memory()
    control = socket.socket(fileno=descriptor)
    control.settimeout(_IDLE)
    children: set[int] = set()

    def reap(_signal: int, _frame: FrameType | None) -> None:
        while children:
            number, _ = os.waitpid(-1, os.WNOHANG)
            if number == 0:
                return
            children.discard(number)

    signal.signal(signal.SIGCHLD, reap)
    try:
        while True:
            try:
                word, descriptors, _, _ = socket.recv_fds(control, _WORD, 1)
            except TimeoutError:
                if children:
                    continue
                return
            while word and len(word) < _WORD and (more := control.recv(_WORD - len(word))):
                word += more
            if len(word) < _WORD:
                return
            if word[:1] == PREPARE:
                _prepare(word[1:].rstrip(b"\0").decode())
            elif word[:1] == END:
                with _nobody_buried():
                    _end(_NUMBER.unpack_from(word, 1)[0], children)
            else:
                _bear(control, descriptors[0], children)
    except ConnectionError:
        return
    finally:
        with _nobody_buried():
            for number in children:
                _end(number, children)


def _keep_freed_memory() -> None:
    """Have the C library keep what a decoder frees for the next picture.

    By default glibc hands each large block back, and the kernel fills it with zeros anew: 1,400 pages a picture, which
    took a third of decoding. Workers inherit the setting; other C libraries have none.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


def _prepare(module: str) -> None:
    """Prepare here, once, what each worker would prepare; what fails is then the worker's to tell."""
    with contextlib.suppress(Exception):
        prepare(module)
    gc.freeze()


def prepare(module: str) -> None:
    """Import a module and what it works with."""
    prepare_it = getattr(importlib.import_module(module), "prepare", None)
    if prepare_it is not None:
        prepare_it()


def _bear(control: socket.socket, descriptor: int, children: set[int]) -> None:
    """Fork a worker; where that fails, its connection closes before it has said a word."""
    from medai.sources.pictures.workers import serve

    with _nobody_buried(), contextlib.suppress(OSError):
        number = os.fork()
        if number == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
                control.close()
                serve(Connection(descriptor))
            finally:
                os._exit(0)
        children.add(number)
    os.close(descriptor)


def _end(number: int, children: set[int]) -> None:
    if number in children:
        os.kill(number, signal.SIGKILL)


@contextlib.contextmanager
def _nobody_buried() -> Iterator[None]:
    """Meanwhile the number of a worker that ended stays its own, and the set of them as it is."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
