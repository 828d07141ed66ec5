"""How a pure stage of the library becomes a Prefect task.

Prefect's own cache stays off: the workspace is the one cache. A stage that was found there ends as a Completed state
named Reused; the record itself is handed on in memory and never persisted by Prefect.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from medai.records import Record
from medai.workspace import Made
from tasks.watch import nameless

P = ParamSpec("P")
R = TypeVar("R", bound=Record)

UNCACHED: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of every task."""


def stage(
    function: Callable[P, Made[R]],
    *,
    timeout_hours: float = 1,
    run_name: str | None = None,
    show: Callable[[R], None] | None = None,
    strangers: bool = False,
) -> Callable[P, Made[R]]:
    """A task that runs a stage and ends as Completed, or as Completed named Reused.

    Args:
        function: the library's stage.
        timeout_hours: after which Prefect fails the task.
        run_name: template of the task run's name, from the stage's arguments.
        show: makes artifacts of a record that was made now.
        strangers: whether it reads data of which nobody knows yet who is in them: see ``nameless``.
    """

    @task(
        name=function.__name__,
        task_run_name=run_name or function.__name__,
        timeout_seconds=timeout_hours * 3600,
        **UNCACHED,
    )
    @functools.wraps(function)
    def ended(*args: P.args, **kwargs: P.kwargs) -> State[Made[R]]:
        with nameless(strangers=strangers):
            made = function(*args, **kwargs)
        if made.reused:
            return Completed(name="Reused", message="found in the workspace", data=made)
        if show is not None:
            show(made.record)
        return Completed(message=f"made in {made.seconds:.1f} s", data=made)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Made[R]:
        made: Made[R] = ended(*args, **kwargs).result()
        return made

    return run
