"""Cohorts: who is asked about, when, and what is true of them.

definition    who is in, as a Problem says it
selection     ``select``: from a snapshot to one row a prediction, with the attrition table
truth         labels as class numbers
"""

from medai.cohort.definition import CohortDefinition, Criterion, Pictures, Stays
from medai.cohort.selection import VERSION, condition, observed_stays, select
from medai.cohort.truth import count_classes, truth_columns

__all__ = [
    "VERSION",
    "CohortDefinition",
    "Criterion",
    "Pictures",
    "Stays",
    "condition",
    "count_classes",
    "observed_stays",
    "select",
    "truth_columns",
]
