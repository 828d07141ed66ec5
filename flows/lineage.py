"""What a candidate was made of: the keys of all that its runs took or made, kept as a receipt beside it.

Content records do not name what they come from; who asks for a report, or what may be deleted, reads it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medai.pruning import LINEAGE, MONITORED
from medai.workspace import Workspace

_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")


def remember_lineage(
    workspace: Workspace, candidate: str, keys: Iterable[str], pages: dict[str, str] | None = None
) -> None:
    """Add to what is known of a candidate; a run that adds nothing writes nothing.

    Args:
        pages: key of a decision → key of its report.
    """
    new = [*keys, *(pages or {}).keys(), *(pages or {}).values()]
    known = workspace.receipt(LINEAGE, candidate)
    if _together(known, new, pages) == known:  # a run that is reused as a whole waits for nobody
        return
    with workspace.lock(f"lineage-{candidate}"):  # of two commands at once neither forgets what the other told
        told = _together(workspace.receipt(LINEAGE, candidate), new, pages)
        workspace.keep_receipt(LINEAGE, candidate, told)


def _together(known: dict[str, Any], keys: Iterable[str], pages: dict[str, str] | None) -> dict[str, Any]:
    return {
        "keys": sorted({*known.get("keys", ()), *keys}),
        "pages": {**known.get("pages", {}), **(pages or {})},
    }


def report_of(workspace: Workspace, candidate: str, decision: str) -> Path | None:
    """The page on which a decision is explained; None where it is not there."""
    pages = workspace.receipt(LINEAGE, candidate).get("pages", {})
    return _page(workspace, pages.get(decision) if isinstance(pages, dict) else None)


def remember_monitoring(workspace: Workspace, problem: str, page: str) -> None:
    """Note which page of windows is a problem's newest."""
    told = {"page": page}
    if workspace.receipt(MONITORED, problem) != told:
        workspace.keep_receipt(MONITORED, problem, told)


def monitoring_file(workspace: Workspace, problem: str) -> Path | None:
    """A problem's newest page of windows; None where it is not there."""
    return _page(workspace, workspace.receipt(MONITORED, problem).get("page"))


def _page(workspace: Workspace, key: object) -> Path | None:
    """The page of a key; None for what is no key: a receipt is a plain file, and its page is handed out by a server."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    found = sorted(workspace.folder("report", key).glob("*.html"))
    return found[0] if found else None
