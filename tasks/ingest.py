"""``ingest``: raw files, read once; from then on nothing that leaves may name who is in them."""

from __future__ import annotations

from typing import Any

from medai import ingestion
from medai.records import Snapshot
from medai.workspace import Made, Workspace
from tasks.stage import stage
from tasks.watch import watch

_ingest = stage(ingestion.ingest, timeout_hours=24, strangers=True)


def ingest(workspace: Workspace, *asked: Any, **options: Any) -> Made[Snapshot]:
    """The stage ``medai.ingestion.ingest`` as a task."""
    made = _ingest(workspace, *asked, **options)
    watch(workspace, made.record)
    return made
