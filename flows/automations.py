"""Automations of Prefect that belong to a problem's retraining: events that start it, and who is told when it crashes.

Each is owned by the deployment, so that it is replaced and removed with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medai.errors import ConfigurationError, near_match

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

CAUSES = {"drift": "medai.drift.detected", "data": "medai.data.arrived", "labels": "medai.labels.arrived"}
"""What ``--on`` takes → the event that starts a retraining."""


def events_of(on: Sequence[str]) -> list[str]:
    """The events that ``--on`` names, each once.

    Raises:
        ConfigurationError: one is none.
    """
    for one in on:
        if one not in CAUSES:
            raise ConfigurationError(
                "a retraining cannot be started by that",
                expected=near_match(one, list(CAUSES)),
                received=one,
                action=f"--on with some of {','.join(CAUSES)}",
            )
    return [CAUSES[one] for one in dict.fromkeys(on)]


def triggers_of(problem: str, events: Sequence[str]) -> list[Any]:
    """The automation: an event of this problem starts a run that knows its cause."""
    if not events:
        return []
    from prefect.events import DeploymentEventTrigger

    return [
        DeploymentEventTrigger(
            name=f"retrain-{problem}",
            description=f"Retrain {problem} when something happened to it.",
            expect=set(events),
            match={"prefect.resource.id": f"medai.problem.{problem}"},
            parameters={"cause": "{{ event.event }}"},
        )
    ]


def tell_of_crashes(client: SyncPrefectClient, deployment: str, name: str, blocks: Sequence[str]) -> None:
    """A run whose process is killed tells nobody: an automation of the deployment does.

    The server sends it, by blocks of Prefect's own types alone: those are the ones that it knows.
    """
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

    from flows.notify import Mail

    known = [block.split("/") for block in blocks if not block.startswith(f"{Mail.get_block_type_slug()}/")]
    if not known:
        return
    documents = [client.read_block_document_by_name(which, kind) for kind, which in known]
    crashed = EventTrigger.model_validate(
        {
            "expect": ["prefect.flow-run.Crashed"],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {
                "prefect.resource.role": "deployment",
                "prefect.resource.id": f"prefect.deployment.{deployment}",
            },
        }
    )
    actions = [
        SendNotification(
            block_document_id=document.id,
            subject=f"medai: {name} crashed",
            body="its process was killed, or lost its server; the next run that is due goes on where it was",
        )
        for document in documents
        if document.id is not None
    ]
    client.create_automation(
        AutomationCore(
            name=f"tell-{name}",
            description=f"Tell people when {name} crashes.",
            trigger=crashed,
            actions=list(actions),
            owner_resource=f"prefect.deployment.{deployment}",
        )
    )
