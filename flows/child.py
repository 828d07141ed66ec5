"""How a process that medai starts runs: ``python -P child.py PARENT MODULE ARGUMENT…``.

It runs MODULE as ``python -m`` would and ends, with all that it started, as soon as PARENT is gone: a parent that is
killed leaves no orphan. MODULE ``prefect-server`` is Prefect's own server; its arguments are the descriptor of a
listening socket that the parent opened, and ``whole`` or ``api``. MODULE ``program`` is no module: its arguments are
``USER:GROUP``, as numbers, or nothing, and a command that is run as that account.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

PROGRAM = "program"
WATCH_SECONDS = 0.5
GRACE_SECONDS = 5.0


def descendants(pid: int) -> list[psutil.Process]:
    """The processes started by this one and by those."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(processes: Iterable[psutil.Process], seconds: float) -> None:
    """Ask processes to end, and after so many seconds end those that did not. Never one that took over a number."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(asked, timeout=seconds)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    end(descendants(os.getpid()), GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    end(descendants(os.getpid()), 0)
    os._exit(1)


def _serve_prefect(descriptor: int, whole: bool) -> None:
    """Prefect's API on an open socket; its page and its scheduler only when whole.

    Two servers that create one database at the same time fail; whoever comes second waits for the first.
    """
    import asyncio
    from pathlib import Path

    import uvicorn
    from filelock import FileLock
    from prefect.server.api.server import create_app
    from prefect.server.database import provide_database_interface

    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "database.lock"):
        asyncio.run(provide_database_interface().create_db())
    config = uvicorn.Config(create_app(ephemeral=not whole, final=True), log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _run_program(account: str, command: list[str]) -> int:
    """A program to its end; asked to end ourselves, we interrupt it, which PostgreSQL takes for a fast shutdown."""
    user, _, group = account.partition(":")
    other = {"user": int(user), "group": int(group), "extra_groups": []} if account else {}
    process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, **other)  # type: ignore[call-overload]
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    return int(process.wait())


def main() -> None:
    """Watch the parent in a thread, and run the module in the main one, where signals arrive."""
    parent, module, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if module == "prefect-server":
        _serve_prefect(int(arguments[0]), whole=arguments[1] == "whole")
    elif module == PROGRAM:
        raise SystemExit(_run_program(arguments[0], arguments[1:]))
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
