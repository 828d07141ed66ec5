"""External evaluation: the champion on labelled data that played no part in its making. It promotes nothing.

labelled    who is scored, what may be asked, and what counts as evidence
sites       data of another source: how they are read, and which of their labels are the champion's
gaps        how far the figures lie from those of the champion's own test
page        all of it as one HTML page
"""

from medai.external.gaps import Gap, gap
from medai.external.labelled import (
    MINIMUM,
    hold_out,
    known_again,
    lacking,
    own_scorecard,
    refuse_unlabelled,
    rows_of_both,
    same_question,
    same_reading,
    seen,
)
from medai.external.page import Elsewhere, OwnTest, write_page
from medai.external.sites import (
    Matched,
    Site,
    label_columns,
    match_labels,
    origin_of,
    read_site,
    suite_of,
    words_of,
)

__all__ = [
    "MINIMUM",
    "Elsewhere",
    "Gap",
    "Matched",
    "OwnTest",
    "Site",
    "gap",
    "hold_out",
    "known_again",
    "label_columns",
    "lacking",
    "match_labels",
    "origin_of",
    "own_scorecard",
    "read_site",
    "refuse_unlabelled",
    "rows_of_both",
    "same_question",
    "same_reading",
    "seen",
    "suite_of",
    "words_of",
    "write_page",
]
