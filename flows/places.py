"""Where data lie, kept from Prefect: a path such as ``/wards/JOHN_DOE`` names a patient.

Prefect stores a run's parameters in its database and shows them on its page, where other people look than those who may
see the data. So of the parameters that name places it gets a mark alone; what the mark stands for lies in
``places.json`` of the state folder, for the owner. Equal places have equal marks, and a deployment's runs find theirs
again. What a person types into Prefect's own form is kept as it is typed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, ParamSpec, TypeVar

from prefect import Flow

from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.workspace import Workspace, write_durably

P = ParamSpec("P")
R = TypeVar("R")

FILE = "places.json"
"""Mark → the parameter's value."""
NAMES = frozenset({"data", "inputs", "out", "file", "source"})
"""Parameters of flows that name places."""
_OWNER_ALONE = 0o600
_BYTES = 6
_MARK = re.compile(r"place:[0-9a-f]{12}")


class PlacedFlow(Flow[P, R]):
    """A flow whose places Prefect does not see."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What Prefect is told of a run's parameters."""
        return super().serialize_parameters(marked(Settings.load(), parameters))

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What the flow is called with, whoever kept its parameters."""
        return super().validate_parameters(told(Settings.load(), parameters))


def flow(*, name: str, flow_run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Prefect's decorator, for a flow whose parameters may name places; its result is not stored either.

    Args:
        flow_run_name: template of a run's name, from the flow's parameters; of a Problem's file its name alone.
    """

    def named() -> str:
        from prefect.runtime import flow_run

        parameters: dict[str, Any] = flow_run.parameters
        return flow_run_name.format(**parameters | {"problem": PurePath(parameters["problem"]).stem})

    def decorated(function: Callable[P, R]) -> Flow[P, R]:
        return PlacedFlow(function, name=name, flow_run_name=named, persist_result=False)

    return decorated


def marked(settings: Settings, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with a mark in the place of each place."""
    hidden = {name: value for name, value in parameters.items() if name in NAMES and value and not _is_mark(value)}
    if not hidden:
        return dict(parameters)
    workspace = Workspace(settings.home, settings.lock_seconds)
    with workspace.lock("places"):
        kept = _kept(workspace)
        marks = {json.dumps(value): mark for mark, value in kept.items()}
        new = {json.dumps(value): f"place:{secrets.token_hex(_BYTES)}" for value in hidden.values()}
        new = {value: mark for value, mark in new.items() if value not in marks}
        if new:
            kept |= {mark: json.loads(value) for value, mark in new.items()}
            write_durably(workspace.root / FILE, json.dumps(kept, indent=1).encode() + b"\n", mode=_OWNER_ALONE)
    marks |= new
    shown = {name: marks[json.dumps(value)] for name, value in hidden.items()}
    return {**parameters, **{name: [mark] if isinstance(hidden[name], list) else mark for name, mark in shown.items()}}


def told(settings: Settings, parameters: Mapping[str, Any], *, lost: bool = False) -> dict[str, Any]:
    """Parameters with the places that their marks stand for.

    Args:
        lost: a mark of another state folder stays a mark.

    Raises:
        ConfigurationError: a mark is not of this state folder.
    """
    marks = {name: value for name, value in parameters.items() if name in NAMES and _is_mark(value)}
    if not marks:
        return dict(parameters)
    kept = _kept(Workspace(settings.home, settings.lock_seconds))
    places = {name: kept.get(value[0] if isinstance(value, list) else value) for name, value in marks.items()}
    if lost:
        places = {name: marks[name] if place is None else place for name, place in places.items()}
    if None in places.values():
        raise ConfigurationError(
            "a mark stands for no place that this state folder knows",
            expected=f"the {FILE} of the state folder in which the run was planned",
            received="a mark that is not in it",
            action="deploy the problem anew in this state folder, or work in the one that it was deployed in",
        )
    return {**parameters, **places}


def _is_mark(value: Any) -> bool:
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    return isinstance(one, str) and _MARK.fullmatch(one) is not None


def _kept(workspace: Workspace) -> dict[str, Any]:
    path: Path = workspace.root / FILE
    try:
        kept = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise ConfigurationError(
            f"{FILE} of the state folder cannot be read",
            expected="what medai wrote there",
            received="a damaged file",
            action="restore it from a copy, or remove it and deploy the problems anew",
        )
    return kept
