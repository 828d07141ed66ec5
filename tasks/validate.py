"""``validate``: the contract judged, and a table of what was set aside."""

from prefect.artifacts import create_table_artifact

from medai import validation
from medai.records import QualityReport
from tasks.stage import stage


def _show(report: QualityReport) -> None:
    rows = [{"reason": reason, "rows": count} for reason, count in report.set_aside.items()]
    create_table_artifact(rows or [{"reason": "nothing", "rows": 0}], key="set-aside")


validate = stage(validation.validate, timeout_hours=6, show=_show)
