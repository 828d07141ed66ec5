"""Splits: who learns and who judges.

definition    how a cohort is divided, as a Problem says it
assignment    ``split``: each sample's role
lists         roles by lists of subjects
likeness      subjects whose pictures look alike, on one side
"""

from medai.splitting.assignment import UNCERTAIN, VERSION, most_protected, split
from medai.splitting.definition import Division, KeyedHash, Listed, Publisher, Split, Time

__all__ = [
    "UNCERTAIN",
    "VERSION",
    "Division",
    "KeyedHash",
    "Listed",
    "Publisher",
    "Split",
    "Time",
    "most_protected",
    "split",
]
