"""The overview: what stands where, for whoever looks after the models of a site.

content    what is told of a problem, and of the site
gathering  that from the ledger, the store and the windows of monitoring
page       as HTML, the site's and a problem's
metrics    as figures for Prometheus

What only Prefect's server knows (schedules, runs) is handed in by ``flows``. Nothing here names a patient: lines of the
audit and receipts carry counts, hashes and the words of staff.
"""

from medai.overview.content import Approval, FlowRun, Judged, Overview, Plan, ProblemView, Turn, VersionPoint

__all__ = ["Approval", "FlowRun", "Judged", "Overview", "Plan", "ProblemView", "Turn", "VersionPoint"]
