"""``evaluate`` and ``compare``: scorecards with intervals; each opening of a test set is counted first."""

from __future__ import annotations

from prefect import task

from medai import evaluation
from medai.ledger import Ledger
from medai.records import Candidate, Scorecard, Splits
from tasks.stage import UNCACHED, stage
from tasks.watch import show_table


def _show(scorecard: Scorecard) -> None:
    rows = [
        {"output": output, "metric": metric, **measure.model_dump()}
        for output, metrics in scorecard.metrics.items()
        for metric, measure in metrics.items()
    ]
    show_table(rows, key=f"scorecard-{scorecard.role}")


@task(name="open test", **UNCACHED)
def open_test(ledger: Ledger, problem: str, splits: Splits, candidate: Candidate) -> int:
    """Count the opening of the test set before anything of it is read; return how many there were."""
    return ledger.opened(problem, splits.test_sha256, candidate.key)


evaluate = stage(evaluation.evaluate, timeout_hours=6, run_name="evaluate-{candidate.name}-{role}", show=_show)
compare = stage(evaluation.compare)
