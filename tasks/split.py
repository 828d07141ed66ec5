"""``split``: who learns and who judges."""

from medai import splitting
from tasks.stage import stage

split = stage(splitting.split)
