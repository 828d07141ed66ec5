"""What a candidate was made of, as its runs told it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.lineage import remember_lineage
from medai.pruning import LINEAGE
from medai.workspace import Workspace


def test_of_two_commands_at_once_neither_forgets_what_the_other_told(tmp_path: Path) -> None:
    """What is deleted later is decided by it; a command that adds nothing waits for nobody."""

    class Slow(Workspace):
        """While whose lock is waited for another command tells what it took."""

        @contextmanager
        def lock(self, name: str, seconds: float | None = None) -> Iterator[None]:
            remember_lineage(Workspace(tmp_path), "c", ["theirs"], {"d1": "page1"})
            with super().lock(name, seconds):
                yield

    remember_lineage(Slow(tmp_path), "c", ["ours"], {"d2": "page2"})
    told = Workspace(tmp_path).receipt(LINEAGE, "c")
    assert told == {
        "keys": ["d1", "d2", "ours", "page1", "page2", "theirs"],
        "pages": {"d1": "page1", "d2": "page2"},
    }
    with Workspace(tmp_path).lock("lineage-c", 0.1):
        remember_lineage(Workspace(tmp_path, 0.1), "c", ["ours"])
