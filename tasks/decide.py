"""``decide``: the gate's answer, every condition with its figure."""

from prefect.artifacts import create_table_artifact

from medai import promotion
from medai.records import Decision
from tasks.stage import stage


def _show(decision: Decision) -> None:
    if decision.conditions:
        rows = [condition.model_dump() for condition in decision.conditions]
        create_table_artifact(rows, key="decision", description=decision.verdict)


decide = stage(promotion.decide, show=_show)
