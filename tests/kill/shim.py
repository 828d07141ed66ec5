"""Commands that die, or run out of disk, at a chosen commit point.

``python shim.py HOME`` starts one Prefect server, imports all that a command needs and then forks one child for each
order it reads, one JSON object a line. A child is the real ``medai`` command line with a shim under it. The shim counts
the points at which something may become visible or durable below MEDAI_HOME:

    rename, sync        before and after ``os.rename``, ``os.replace`` and ``os.fsync``
    copy                before and after a file is copied (MLflow's artifacts)
    batch               before each batch of a fit
    mlflow, sql         before and after each writing call of MLflow's client, and before each commit of its database
    write               a file is opened for writing (counted only where the disk is to fail)

At the chosen point the child sends itself SIGKILL, or the call fails as on a full disk; or all such calls fail as on a
read-only one. Each point is told together with
a mark of all that lies below the home: points with one mark leave the same bytes behind, whichever the kill hits.
Or, without any point, the child is killed from outside after so many seconds.
"""

from __future__ import annotations

import builtins
import errno
import functools
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KILL, FULL, READ_ONLY = "kill", "full", "read-only"
MLFLOW_WRITES = (
    "create_experiment",
    "create_run",
    "log_batch",
    "log_inputs",
    "log_artifacts",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "log_outputs",
    "set_logged_model_tags",
    "set_terminated",
    "update_run",
    "set_registered_model_alias",
)
EVERYTHING = (
    "flows.cli",
    "flows.train",
    "medai.training.nets",
    "medai.models.baselines",
    "medai.models.exchange",
    "medai.inference",
    "medai.reporting.figures",
    "great_expectations",
    "keras",
    "matplotlib.backends.backend_agg",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "onnxruntime",
    "polars",
    "pyarrow.parquet",
    "skl2onnx",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "tf2onnx",
)


class Points:
    """Counts points and strikes at one of them.

    Args:
        home: points elsewhere do not count.
        trace: file that gets one line a point, ``mark name``; whole lines even when the process is killed.
        strike: number of the point, from 1, or 0 for never.
        at: strike instead at the first point whose name begins so, a regular expression; empty for none.
        how: ``kill``, ``full`` or ``read-only``.
        marked: take the marks, which costs some milliseconds a point; 0 stands in their place otherwise.
        copies: folder that gets a copy of the home whenever a stage is done, named by the number of the point.
    """

    def __init__(
        self, home: Path, trace: Path, strike: int, at: str, how: str, marked: bool, copies: Path | None
    ) -> None:
        self.home, self.strike, self.at, self.how = f"{home}/", strike, at, how
        self.marked, self.copies = marked, copies
        self.number = 0
        self._lock = threading.RLock()
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)

    def note(self, line: str) -> None:
        """Write to the trace what is no point."""
        os.write(self._trace, f"{line}\n".encode())

    def reach(self, name: str) -> bool:
        """Count a point; True where the disk is to fail here."""
        with self._lock:
            self.number += 1
            self.note(f"{self.mark() if self.marked else 0} {plain(name)}")
            # A line is announced in the middle of a delivery; the other receipts are a stage's last words.
            if self.copies is not None and re.match(r"after sync receipts/(?!announced)[^.]*$", name):
                shutil.copytree(self.home, self.copies / str(self.number))
            if self.how == READ_ONLY:
                return True
            if self.at and re.match(self.at, name):
                self.at, self.strike = "", self.number
            if self.number != self.strike:
                return False
            if self.how == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

    def mark(self) -> str:
        """A digest of every file's name, size, times and inode below the home, and of the databases' bytes."""
        digest = hashlib.sha256()
        for folder, _folders, files in sorted(os.walk(self.home)):
            digest.update(folder.encode())
            for file in sorted(files):
                path = Path(folder, file)
                status = path.stat()
                digest.update(f"{file} {status.st_size} {status.st_mtime_ns} {status.st_ino}".encode())
                if ".db" in file:
                    digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def refusal(self) -> OSError:
        """What a call says on such a disk."""
        code = errno.EROFS if self.how == READ_ONLY else errno.ENOSPC
        return OSError(code, os.strerror(code))

    def below(self, path: Any) -> str | None:
        """A path relative to the home; None when it lies elsewhere."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        path = str(Path(os.fspath(path)).absolute())
        return path.removeprefix(self.home) if path.startswith(self.home) else None

    def around(self, kind: str, call: Callable[..., Any], where: int = 0) -> Callable[..., Any]:
        """The call with a point before and a point after; ``where`` is the argument that names the file."""

        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            name = self.below(args[where])
            if name is None:
                return call(*args, **kwargs)
            if self.reach(f"before {kind} {name}"):
                raise self.refusal()
            answer = call(*args, **kwargs)
            if self.how == KILL:
                self.reach(f"after {kind} {name}")
            return answer

        return counted


def plain(name: str) -> str:
    """A point's name without what differs from run to run: process ids, MLflow's ids and the page's key."""
    name = re.sub(r"\.\d+\.partial", ".partial", name)
    name = re.sub(r"report/(\.?)[0-9a-f]{24,}", r"report/\1*", name)
    name = re.sub(r"(receipts/announced/.*-)[0-9a-f]{64}", r"\1*", name)
    return re.sub(r"(?<=/)(m-)?[0-9a-f]{32}(?=/)", r"\1*", name) if "mlflow/" in name else name


def install(points: Points) -> None:
    """Put the shim under this process."""
    os.rename = points.around("rename", os.rename, 1)
    os.replace = points.around("rename", os.replace, 1)
    os.fsync = points.around("sync", os.fsync)
    if points.how != KILL:
        _fail_writes(points)
        return
    shutil.copyfile = points.around("copy", shutil.copyfile, 1)
    _watch_batches(points)
    _watch_mlflow(points)


def _fail_writes(points: Points) -> None:
    """A file opened for writing below the home is a point; there it becomes /dev/full, which fails as a full disk."""
    opened, low = io.open, os.open

    @functools.wraps(opened)
    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        name = None if isinstance(file, int) or not set(mode) & set("wax") else points.below(file)
        if name is not None and points.reach(f"write {name}"):
            if points.how == READ_ONLY:
                raise points.refusal()
            return opened("/dev/full", mode.replace("x", "w"), *args, **kwargs)
        return opened(file, mode, *args, **kwargs)

    @functools.wraps(low)
    def open_descriptor(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        writing = bool(flags & os.O_WRONLY) and not str(path).endswith(".lock")
        name = points.below(path) if writing else None
        if name is not None and points.reach(f"write {name}"):
            if points.how == READ_ONLY:
                raise points.refusal()
            return low("/dev/full", os.O_WRONLY)
        return low(path, flags, *args, **kwargs)

    io.open = builtins.open = open_file
    os.open = open_descriptor


def _watch_batches(points: Points) -> None:
    from medai.training.nets import EpochBatches, Epochs

    begin, batch = Epochs.on_epoch_begin, EpochBatches.__getitem__

    def begun(self: Any, epoch: int, logs: Any = None) -> None:
        points.note(f"# epoch {epoch + 1}")
        self.batches.epoch = epoch + 1
        begin(self, epoch, logs)

    def given(self: Any, index: int) -> Any:
        if hasattr(self, "epoch"):
            points.reach(f"before batch {index + 1} of epoch {self.epoch}")
        return batch(self, index)

    Epochs.on_epoch_begin = begun
    EpochBatches.__getitem__ = given


def _watch_mlflow(points: Points) -> None:
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            points.reach(f"before mlflow {name}")
            answer = call(*args, **kwargs)
            points.reach(f"after mlflow {name}")
            return answer

        return counted

    for name in MLFLOW_WRITES:
        setattr(MlflowClient, name, watched(name, getattr(MlflowClient, name)))

    def committing(_connection: Any) -> None:
        points.reach("before sql commit")

    event.listen(Engine, "commit", committing)


def carry_out(order: dict[str, Any]) -> None:
    """In the child: the command line, with the shim under it."""
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    status = 1
    try:
        os.environ["MEDAI_HOME"] = order["home"]
        copies = Path(order["copies"]) if order["copies"] else None
        given = (order[name] for name in ("strike", "at", "how", "marked"))
        install(Points(Path(order["home"]), Path(order["trace"]), *given, copies))
        from flows import announcing, cli

        announcing.PATIENCE_SECONDS = 60.0  # an event that a loaded machine's server took late would move all points
        sys.argv = ["medai", *order["arguments"]]
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it was, the parent reads it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int, seconds: float) -> int:
    """The exit status of a child, which is killed after so many seconds from now; 0 for never."""
    deadline = time.monotonic() + seconds
    while seconds and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    if seconds:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Import once, then fork a child for each order; orders on one line run at the same time."""
    from flows.settings import Settings

    settings = Settings.load(home=Path(sys.argv[1]))
    settings.apply()
    from flows.services.prefect_server import early_prefect_server

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print; standard output carries answers
    with early_prefect_server(settings) as server:
        os.environ["PREFECT_API_URL"] = server.api_url
        for module in EVERYTHING:
            __import__(module)
        server.wait()
        print(server.api_url, file=answers, flush=True)
        for line in sys.stdin:
            children = []
            orders = json.loads(line)
            for order in orders:
                child = os.fork()
                if child == 0:
                    answers.close()
                    carry_out(order)
                children.append(child)
            with ThreadPoolExecutor(len(children)) as pool:
                statuses = list(pool.map(ended, children, [order["seconds"] for order in orders]))
            print(json.dumps(statuses), file=answers, flush=True)


if __name__ == "__main__":
    main()
