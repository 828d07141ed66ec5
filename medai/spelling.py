"""Does a Problem on stays speak of what its source can give? Asked of names alone, before any data is read.

A misspelt variable would make a column that nobody ever measured, and a misspelt group a subgroup of nobody. Whether a
variable occurs in the data at hand is no matter: a new batch of one stay may well lack it.
"""

from __future__ import annotations

from collections.abc import Iterator

from medai.cohort import Stays, Windows
from medai.errors import near_match
from medai.preprocessing.series import Series
from medai.tables import STAYS, Names


def misspelt(names: Names, cohort: Stays | Windows, series: Series) -> Iterator[str]:
    """What the source cannot give, as ``section.key: what is wrong``."""
    for variable in series.variables:
        if variable not in names.variables:
            yield f"preprocessing.variables: there is no {variable!r}; {near_match(variable, names.variables)}"
    for key, codes in (("static", series.static), ("categories", tuple(series.categories))):
        for code in codes:
            if code not in names.static:
                yield f"preprocessing.{key}: there is no {code!r}; {near_match(code, names.static)}"
    for code, levels in series.categories.items():
        known = names.static.get(code)
        for level in levels:
            if known and level not in known:
                yield f"preprocessing.categories.{code}: there is no {level!r}; known: {', '.join(map(str, known))}"
    if isinstance(cohort, Windows):
        for name, predicate in cohort.predicates.items():
            if predicate.variable is not None and predicate.variable not in names.variables:
                hint = near_match(predicate.variable, names.variables)
                yield f"cohort.predicates.{name}.variable: there is no {predicate.variable!r}; {hint}"
        return
    for group in cohort.groups:
        if group not in names.static and group not in STAYS:
            yield f"cohort.groups: there is no {group!r}; {near_match(group, names.static)}"
    if names.hours is not None and not cohort.has_series and cohort.observation_hours > names.hours:
        yield (
            f"cohort.observation_hours: the source observes a stay for {names.hours} hours at most, "
            f"not {cohort.observation_hours}"
        )
