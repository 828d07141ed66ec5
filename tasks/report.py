"""``draw`` and ``report``: a run's figures and its page."""

from medai import reporting
from tasks.stage import stage

draw = stage(reporting.draw)
report = stage(reporting.write_page)
