"""What changed in a problem's data since the snapshot that its last run was made of."""

from __future__ import annotations

from typing import Any

from medai.drift import Drift, compare_snapshots
from medai.records import Snapshot
from medai.workspace import Workspace

_SEEN = "seen"


def since_last_run(workspace: Workspace, problem: str, snapshot: Snapshot) -> Drift | None:
    """Codes, units and medians compared with the snapshot of the problem's last run.

    Returns:
        None where there is nothing to compare with: a first run, the same data, another source, pictures.
    """
    key = workspace.receipt(_SEEN, problem).get("snapshot")
    if snapshot.shape != "events" or key in (None, snapshot.key):
        return None
    earlier = workspace.find("ingest", str(key), Snapshot)
    if earlier is None or earlier.source != snapshot.source or not {"codes", "events"} <= earlier.tables.keys():
        return None
    return compare_snapshots(workspace.folder("ingest", earlier.key), workspace.folder("ingest", snapshot.key))


def remember(workspace: Workspace, problem: str, snapshot: Snapshot) -> None:
    """Note which snapshot a run of the problem was made of."""
    seen = {"snapshot": snapshot.key}
    if workspace.receipt(_SEEN, problem) != seen:  # a run that is reused as a whole writes nothing
        workspace.keep_receipt(_SEEN, problem, seen)


def facts(drift: Drift | None) -> dict[str, Any] | None:
    """The drift as plain JSON."""
    return None if drift is None else drift.model_dump(mode="json")
