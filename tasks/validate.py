"""``validate``: the contract judged, and a table of what was set aside."""

from medai import validation
from medai.records import QualityReport
from tasks.stage import stage
from tasks.watch import show_table


def _show(report: QualityReport) -> None:
    rows = [{"reason": reason, "rows": count} for reason, count in report.set_aside.items()]
    show_table(rows or [{"reason": "nothing", "rows": 0}], key="set-aside")


validate = stage(validation.validate, timeout_hours=6, show=_show)
