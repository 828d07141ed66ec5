"""Prefect's server around a command that runs a flow."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.errors import MedaiError
    from medai.problem import Problem


@contextlib.contextmanager
def prefect_server(settings: Settings, ahead: tuple[Problem, str | None, str] | None = None) -> Iterator[None]:
    """Prefect's server: the one that runs, or an own one that starts while the flow is imported.

    Args:
        ahead: the problem and the data that will be judged, if they are new, and the command as messages name it.
    """
    from flows.services.prefect_server import early_prefect_server

    make_home(settings)
    lost = False
    with early_prefect_server(settings) as server:
        os.environ["PREFECT_API_URL"] = server.api_url
        from flows.lost import marked

        if ahead is not None:
            from flows.ahead import load_ahead

            load_ahead(*ahead, settings)
        os.environ["PREFECT_API_URL"] = server.wait()
        from prefect.settings import PREFECT_API_URL

        if PREFECT_API_URL.value() != server.api_url:  # it took the place of one that does not answer
            from prefect.context import refresh_global_settings_context

            refresh_global_settings_context()
        from flows.announcing import unheard

        try:
            with unheard(server.api_url) if server.own else contextlib.nullcontext(), marked(settings, server):
                yield
        except Exception as failure:
            if settings.prefect_own or of_prefect(failure) is None or server.answers():
                raise
            lost = True
    if lost:
        _take_up_again()


@contextlib.contextmanager
def about(question: Problem) -> Iterator[None]:
    """Around a flow: Prefect's server finds its runs by the problem, however that was called."""
    from prefect import tags

    from flows.plans import tag_of

    with tags(tag_of(question.name)):
        yield


def _take_up_again() -> NoReturn:
    """Begin the command anew in this process's place, with a Prefect server of its own; finished stages are reused.

    A new program, as Prefect's client keeps threads and connections to the server that is gone. It happens once: the
    new one is told to keep its own server, and whoever was told so ends when that one fails.
    """
    logging.getLogger("medai.run").warning(
        "Prefect's server was lost; the command goes on with one of its own, and finished stages are reused"
    )
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    words = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environment | {"MEDAI_PREFECT_OWN": "true"})  # noqa: S606 - our own command line


def make_home(settings: Settings) -> None:
    """The state folder, with Prefect's in it, which Prefect misses as soon as it is imported."""
    from medai.errors import ServiceFailed, from_machine_failure
    from medai.paths import why
    from medai.workspace import make_folder

    try:
        make_folder(settings.prefect_home, 0o700)
    except OSError as failure:
        raise from_machine_failure(failure) or ServiceFailed(
            "the state folder cannot be made or written to",
            expected="MEDAI_HOME to name a folder of ours, or a place where we may make one",
            received=f"{settings.home}: {why(failure)}",
            action="correct MEDAI_HOME or the permissions of that place",
        ) from None


def of_prefect(failure: BaseException | None) -> MedaiError | None:
    """The ServiceFailed for what Prefect's client raises where its server does not do its part; None for all else.

    Told by names, so that neither library is imported for it; the answer is never repeated, as it may be a traceback.
    """
    from medai.errors import ServiceFailed

    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(failure).__mro__}
    if "httpx.HTTPError" not in names and not str(failure).startswith("Failed to reach API"):
        return None
    status = getattr(getattr(failure, "response", None), "status_code", None)
    return ServiceFailed(
        "Prefect's server did not do its part",
        expected="an answer to each request of the run",
        received=type(failure).__name__ + (f", status {status}" if status else ""),
        action="see that the disk has room and the shell's limits (ulimit -a) are wide enough, then run the same"
        " command again: finished stages are kept",
    )
