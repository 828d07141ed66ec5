"""``draw``, ``illustrate`` and ``report``: a run's figures, its examples and its page."""

from medai import reporting
from tasks.stage import stage

draw = stage(reporting.draw)
illustrate = stage(reporting.illustrate)
report = stage(reporting.write_page)
