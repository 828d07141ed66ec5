"""The frame of every command: its answer on standard output, all else on standard error, its failure in words.

With ``--json`` one JSON object stands on standard output and nothing else; progress and logs go to standard error.
Exit status: 0 done, 2 usage or configuration, 3 data refused, 4 a service or the machine failed, 1 a defect of ours.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from flows.cli.server import of_prefect

if TYPE_CHECKING:
    from flows.settings import Settings

DEFECT, TERMINATED, INTERRUPTED, BROKEN_PIPE = 1, 143, 130, 141


def answer(
    act: Callable[[Settings], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Carry out a command, and turn what may go wrong into its message and exit status."""
    from medai.errors import MedaiError, from_machine_failure

    _log_to_standard_error()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from flows.settings import Settings

        settings = Settings.load()
        settings.apply()
        outcome = act(settings)
    except MedaiError as error:
        fail(error, as_json)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - the last resort: what the machine did not do is a defect of ours
        known = from_machine_failure(failure) or of_prefect(failure)
        if known is None:
            _defect(failure, as_json)
        fail(known, as_json)
    with standard_output():
        if as_json:
            _print_json(outcome)
        else:
            show(outcome)
    return outcome


def _print_json(outcome: dict[str, Any]) -> None:
    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(outcome, ensure_ascii=not wide, allow_nan=False))


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Print to the end; where standard output takes no more (a full disk, a reader that left), say so and end."""
    import io

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✓
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as failure:
        from medai.errors import ServiceFailed
        from medai.paths import why

        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)  # nothing is left to fail at the exit
        os.close(nowhere)
        if isinstance(failure, BrokenPipeError):
            raise typer.Exit(BROKEN_PIPE) from None
        error = ServiceFailed(
            "standard output takes no more",
            expected="room for the answer",
            received=why(failure),
            action="make room, then run the same command again: what was done is kept",
        )
        typer.echo(f"medai: {error}", err=True)
        raise typer.Exit(error.exit_status) from None


def fail(error: Any, as_json: bool) -> NoReturn:
    """Say what is wrong, and end with the error's own status."""
    typer.echo(f"medai: {error}", err=True)
    if as_json:
        with standard_output():
            _print_json({"error": error.as_dict()})
    raise typer.Exit(error.exit_status)


def _defect(failure: BaseException, as_json: bool) -> NoReturn:
    """Say that it is our fault; the traceback goes to a file that only its owner may read."""
    import tempfile
    import traceback

    descriptor, path = tempfile.mkstemp(prefix="medai-defect-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(traceback.format_exception(failure)))
    typer.echo(f"medai: a defect of ours ({type(failure).__name__}). Please report it with {path}", err=True)
    if as_json:
        with standard_output():
            _print_json({"error": {"kind": type(failure).__name__, "status": DEFECT, "traceback": path}})
    raise typer.Exit(DEFECT)


def _terminated(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


def _log_to_standard_error() -> None:
    """Our own progress and warnings; other libraries only when they fail hard. Prefect leaves such a handler alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(
        lambda record: (
            record.levelno >= logging.CRITICAL or (record.name.startswith("medai") and record.levelno >= logging.INFO)
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("medai").setLevel(logging.INFO)
