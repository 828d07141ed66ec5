"""The gate: a Problem's protocol of change, and ``decide``, which follows it.

``gate`` holds the rules as data, ``performance`` what they ask of the candidate alone, ``comparison`` what they ask of
candidate and champion together, ``changes`` what may differ between the two, ``deciding`` the verdict, ``approval`` a
person's signature under a promotion, ``choosing`` which of a run's models comes before the gate.
"""

from medai.promotion.choosing import best
from medai.promotion.comparison import trained_subjects
from medai.promotion.deciding import VERSION, Case, Standing, decide
from medai.promotion.gate import Gate, Rules

__all__ = ["VERSION", "Case", "Gate", "Rules", "Standing", "best", "decide", "trained_subjects"]
