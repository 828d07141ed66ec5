"""Cohorts: who is asked about, when, and what is true of them.

definition    who is in, as a Problem says it: pictures, or stays
windows       … or moments of a patient's record, in the words of ACES; boundaries are its times
selection     ``select``: from a snapshot to one row a prediction, with the attrition table
stays         which stays, and when in each of them a prediction is made
extraction    which moments of the records those are
events        what a cohort asks of the events
kidney        labels of acute kidney injury, worked out from events
truth         labels as class numbers, of a stay or of what follows a prediction
attrition     who is left after each criterion
"""

from typing import Annotated

from pydantic import Field

from medai.cohort.definition import OWN_COLUMNS, Criterion, Pictures, SliceSeries, Stays
from medai.cohort.events import observed_stays
from medai.cohort.kidney import VARIABLES as KIDNEY_VARIABLES
from medai.cohort.kidney import kidney_schema
from medai.cohort.selection import VERSION, derived, select
from medai.cohort.stays import condition
from medai.cohort.truth import amount_columns, count_classes, truth_columns
from medai.cohort.windows import Windows

CohortDefinition = Annotated[Pictures | SliceSeries | Stays | Windows, Field(discriminator="kind")]

__all__ = [
    "KIDNEY_VARIABLES",
    "OWN_COLUMNS",
    "VERSION",
    "CohortDefinition",
    "Criterion",
    "Pictures",
    "SliceSeries",
    "Stays",
    "Windows",
    "amount_columns",
    "condition",
    "count_classes",
    "derived",
    "kidney_schema",
    "observed_stays",
    "select",
    "truth_columns",
]
