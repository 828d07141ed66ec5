"""``select``: the cohort, and its attrition table."""

from prefect.artifacts import create_table_artifact

from medai import cohort
from medai.records import Cohort
from tasks.stage import stage


def _show(selected: Cohort) -> None:
    create_table_artifact([line.model_dump() for line in selected.attrition], key="attrition")


select = stage(cohort.select, show=_show)
