"""Prediction: the champion on data whose truth nobody knows yet.

selection  who can be predicted now, and why the others cannot
scoring    the champion's calibrated scores
answers    one row for each picture or stay that was handed over
results    the user's own file, Parquet or CSV
acquaintance  whom of them the champion was fitted on
parity     whether a candidate says the same when it is served
"""

from medai.prediction.acquaintance import seen_before, seen_pictures
from medai.prediction.answers import Part, answers
from medai.prediction.parity import rescore, sample
from medai.prediction.results import Destination
from medai.prediction.scoring import Scores, score
from medai.prediction.selection import fit_for_scoring, left_unjudged, select

__all__ = [
    "Destination",
    "Part",
    "Scores",
    "answers",
    "fit_for_scoring",
    "left_unjudged",
    "rescore",
    "sample",
    "score",
    "seen_before",
    "seen_pictures",
    "select",
]
