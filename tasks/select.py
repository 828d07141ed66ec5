"""``select``: the cohort, and its attrition table."""

from medai import cohort
from medai.records import Cohort
from tasks.stage import stage
from tasks.watch import show_table


def _show(selected: Cohort) -> None:
    show_table([line.model_dump() for line in selected.attrition], key="attrition")


select = stage(cohort.select, show=_show)
