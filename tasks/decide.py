"""``decide``: the gate's answer, every condition with its figure; before it, a sample is scored as if served."""

from medai import prediction, promotion
from medai.records import Decision
from tasks.stage import stage
from tasks.watch import show_table


def _show(decision: Decision) -> None:
    if decision.conditions:
        rows = [condition.model_dump() for condition in decision.conditions]
        show_table(rows, key="decision", description=decision.verdict)


sample = stage(prediction.sample)
rescore = stage(prediction.rescore)
decide = stage(promotion.decide, show=_show)
