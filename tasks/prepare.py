"""``prepare``: arrays on disk."""

from medai import preprocessing
from tasks.stage import stage

prepare = stage(preprocessing.prepare, timeout_hours=6)
