"""Retraining by itself: deployments on Prefect's server, which the worker of ``medai up`` runs.

A problem has up to two: ``retrain-NAME`` on a schedule and, by an automation that belongs to it, on events of the
problem; ``watch-NAME``, which looks whether data arrived. Flows are named by their modules, so nothing is pulled and
the worker's directory does not matter. One run a deployment at a time: retrainings that fall due meanwhile wait, and
the next does what all of them were to do (``flows.turns``); looks that fall due meanwhile are dropped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.automations import events_of, tell_of_crashes, triggers_of
from flows.deployments import Deployed, applied, falls_due, removed, server_of, standing
from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.paths import expanded
from medai.problem import Problem, load_problem

FORMER = "train/retrain-{name}"
"""What a schedule was called before retraining had a flow of its own."""

if TYPE_CHECKING:
    from prefect import Flow


def deploy(
    settings: Settings,
    problem: str,
    *,
    cron: str,
    data: str | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    timezone: str = "UTC",
    on: Sequence[str] = (),
    watch: str | None = None,
    notify: str | None = None,
) -> dict[str, Any]:
    """Retrain a problem on a schedule and on events; the same problem again replaces what stood.

    Args:
        settings: of the home that the runs work in.
        problem: a catalogue name, or a path to a YAML file.
        cron: five fields, minute first.
        data: folder or file of the data; the Problem's generator or location when left out.
        seed: of the fit.
        overrides: ``section.key=value``.
        timezone: in which the cron fields are meant.
        on: events that start a retraining, too: ``drift``, ``data``, ``labels``.
        watch: when to look whether data arrived, five fields; nobody looks when left out.
        notify: Prefect's notification blocks that are told, with commas between them; MEDAI_NOTIFY of the worker when
            left out.

    Returns:
        What ``medai deploy --json`` prints.

    Raises:
        ConfigurationError: a cron expression, the timezone or an event is none, a block is not on the server, or nobody
            said where the data lie.
        ServiceFailed: no Prefect server answers.
    """
    question = load_problem(problem, overrides)
    falls_due(question.name, cron, timezone)
    if watch is not None:
        falls_due(question.name, watch, timezone)
    events = events_of(on)
    path = _data_of(settings, question, problem, data, watched=watch is not None)
    absent = path is not None and not os.path.exists(path)  # noqa: PTH110 False, too, for what may not be looked at
    here = expanded(problem)
    given = {
        "problem": str(here.absolute()) if here.suffix in (".yaml", ".yml") else problem,
        "data": None if data is None else str(expanded(data).absolute()),
        "overrides": list(overrides),
    }
    name, looks = f"retrain-{question.name}", f"watch-{question.name}"
    with server_of(settings) as client:
        from flows.arrivals import watch as look
        from flows.notify import blocks_of
        from flows.retrain import retrain

        told = None if notify is None else blocks_of(notify)
        names = blocks_of(settings.notify) if told is None else told
        _refuse_unknown_blocks(names)
        learning = given | {"seed": seed, "notify": None if told is None else ",".join(told)}
        triggers = triggers_of(question.name, events)
        made = applied(client, retrain, settings, name, cron, learning, timezone, triggers=triggers, waits=True)
        tell_of_crashes(client, made.id, made.name, names)
        removed(client, FORMER.format(name=question.name))
        looked = unwatched = None
        if watch is not None:
            looked = applied(client, look, settings, looks, watch, given, timezone)
        else:
            unwatched = removed(client, f"watch/{looks}")
    return {
        "problem": question.name,
        "deployment": made.id,
        "name": made.name,
        "cron": cron,
        "timezone": timezone,
        "data": data,
        "absent": str(path) if absent else None,
        "on": list(dict.fromkeys(on)),
        "notify": None if told is None else list(told),
        "next": made.next,
        "replaced": made.replaced,
        "unwatched": unwatched,
        "watch": None if looked is None else looked.model_dump(exclude={"replaced"}) | {"cron": watch},
    }


def schedule(
    flow: Flow[..., Any],
    settings: Settings,
    name: str,
    *,
    cron: str,
    parameters: dict[str, Any],
    timezone: str = "UTC",
    waits: bool = False,
) -> Deployed:
    """Apply a deployment of any flow of an installed module.

    Args:
        waits: a run that is due during another waits for its turn; it is dropped otherwise.

    Raises:
        ConfigurationError, ServiceFailed: as ``deploy``.
    """
    falls_due(name, cron, timezone)
    with server_of(settings) as client:
        return applied(client, flow, settings, name, cron, parameters, timezone, waits=waits)


def deployed(settings: Settings, name: str) -> list[dict[str, Any]]:
    """What the server keeps of a problem: ``name``, ``cron``, ``timezone``, ``on`` and ``paused`` of each deployment.

    Raises:
        ServiceFailed: no Prefect server answers.
    """
    with server_of(settings) as client:
        return [facts for path in _paths(name) if (facts := standing(client, path)) is not None]


def remove(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Take a problem's deployments and their automations from the server; what they were, as ``deployed`` tells it.

    A run at work goes on to its end.

    Raises:
        ServiceFailed: no Prefect server answers.
    """
    with server_of(settings) as client:
        return [facts for path in _paths(name) if (facts := removed(client, path)) is not None]


def _data_of(settings: Settings, question: Problem, problem: str, data: str | None, *, watched: bool) -> Path | None:
    """Where the runs will read; None where the Problem generates its data, and refused where nobody said it."""
    if watched:
        from flows.arrivals import location

        return location(question, data, settings, f"medai deploy {problem}")
    if data is not None or question.data is None:
        from flows.reading import data_path

        return data_path(question, data, settings, f"medai deploy {problem}")
    return None


def _refuse_unknown_blocks(names: Sequence[str]) -> None:
    from flows.notify import Mail, missing

    Mail.register_type_and_schema()  # so that one can be made on Prefect's page
    if unknown := missing(names):
        raise ConfigurationError(
            "somebody who is to be notified is not known to Prefect's server",
            expected="notification blocks that it keeps",
            received=", ".join(unknown),
            action="make the block on Prefect's page under Blocks, or correct its name",
        )


def _paths(name: str) -> tuple[str, ...]:
    return f"retrain/retrain-{name}", f"watch/watch-{name}", FORMER.format(name=name)
