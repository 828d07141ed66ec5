"""Who is in a cohort, as a Problem says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from medai.conditions import parse_condition
from medai.records import Frozen

OWN_COLUMNS = ("sample_id", "subject_id", "prediction_time", "publisher_role")
"""Columns that every cohort has."""


def _named_once(groups: tuple[str, ...]) -> tuple[str, ...]:
    for group in groups:
        if group in OWN_COLUMNS:
            raise ValueError(f"{group!r} is a column that every cohort has, and no group")
    if len(set(groups)) < len(groups):
        raise ValueError("a group must be named once")
    return groups


Groups = Annotated[tuple[str, ...], AfterValidator(_named_once)]


class Pictures(Frozen):
    """Every picture that validation kept is one prediction."""

    kind: Literal["pictures"]
    groups: Groups = ()


class Criterion(Frozen):
    """Who stays in, as one line of the attrition table. Criteria apply in their order, each to who is left.

    Attributes:
        name: how the line is headed.
        where: a condition on the columns of the stays and labels tables, in the language of the suites' rows.
        only_in: keep a stay that is, of those left, the only one of its admission or of its subject.
        observed: keep a stay with at least one reading of a clinical variable between its start and prediction_time.
    """

    name: str = Field(min_length=1, max_length=120)
    where: str | None = None
    only_in: Literal["admission", "subject"] | None = None
    observed: Literal[True] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Criterion:
        if sum(part is not None for part in (self.where, self.only_in, self.observed)) != 1:
            raise ValueError("a criterion has one of where, only_in and observed")
        if self.where is not None:
            try:
                parse_condition(self.where)
            except ValueError as error:
                raise ValueError(f"where cannot be read: expected {error}") from None
        return self


class Stays(Frozen):
    """Every stay is one prediction, made after a time of observation.

    Attributes:
        observation_hours: prediction_time is this long after the stay's start.
        criteria: who stays in.
        groups: columns of the stays table, or static codes, that evaluation may use as subgroups.
    """

    kind: Literal["stays"]
    observation_hours: int = Field(48, ge=1, le=24 * 365)
    criteria: tuple[Criterion, ...] = ()
    groups: Groups = ()


CohortDefinition = Annotated[Pictures | Stays, Field(discriminator="kind")]
