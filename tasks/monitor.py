"""``monitor``: the champion's reference, a batch beside it, and the page of all of them; ``keep`` and ``label``: its
answers and the outcomes that come later; ``detect`` in the audit.
"""

from __future__ import annotations

from typing import Any

from prefect import task

from medai.ledger import Ledger
from medai.monitoring import batches, comparing, detection, performance, reference
from medai.monitoring import page as pages
from medai.monitoring.windows import Standing
from tasks.stage import UNCACHED, stage

make_reference = stage(reference.make_reference, timeout_hours=6)
compare_data = stage(comparing.compare_data, timeout_hours=6)
compare_scores = stage(comparing.compare_scores)
page = stage(pages.write_page)
keep_batch = stage(batches.keep_batch)
keep_outcomes = stage(performance.keep_outcomes)
measure = stage(performance.measure)


@task(name="detect", **UNCACHED)
def detect(ledger: Ledger, problem: str, stands: Standing) -> dict[str, Any] | None:
    """Write violations that repeated into the audit; returns those that were not there yet."""
    return detection.detect(ledger, problem, stands)
