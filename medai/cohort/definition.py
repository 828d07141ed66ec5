"""Who is in a cohort of pictures or of stays, as a Problem says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from medai.conditions import parse_condition
from medai.records import Frozen

OWN_COLUMNS = ("sample_id", "subject_id", "prediction_time", "publisher_role", "stay_id", "series_start", "hours")
"""Columns of the cohort's own; the last three are there where a stay has its series for itself."""
LONGEST_HOURS = 24 * 365
"""Times of observation of more than a year are slips."""


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


class SliceSeries(Frozen):
    """Every series of slices (CT, MR) that validation left whole is one prediction, and one volume.

    Its sample_id is the row of its first slice; groups and labels are that slice's.

    Attributes:
        least_slices: series of fewer are left out: scouts and localisers.
    """

    kind: Literal["slice_series"]
    least_slices: int = Field(8, ge=2, le=4096)
    groups: Groups = ()


class Criterion(Frozen):
    """Who stays in, as one line of the attrition table. Criteria apply in their order, each to who is left.

    Attributes:
        name: how the line is headed.
        where: a condition on the columns of the stays and labels tables, in the language of the suites' rows.
        only_in: keep a stay that is, of those left, the only one of its admission or of its subject.
        observed: keep a prediction with at least one reading of a clinical variable between the stay's start and
            prediction_time. Where a stay has many predictions, each is judged by itself, after all other criteria.
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
    """Stays of a ward, and when in each of them a prediction is made.

    Once, after a time of observation (``observation_hours``); once, at the stay's end (``observation: whole_stay``);
    or again and again (``every_hours``, from ``first_hours`` on, until the stay's end).

    Attributes:
        observation_hours: prediction_time is this long after the stay's start.
        observation: ``whole_stay``: prediction_time is the stay's end; what is asked is what a reader of the finished
            stay could say.
        every_hours: hours between two predictions of a stay. A prediction after what it asks for has happened is none.
        first_hours: hours from the stay's start to its first prediction.
        last_hours: none is made later than this after the stay's start; null: until it ends.
        criteria: who stays in.
        groups: columns of the stays table, or static codes, that evaluation may use as subgroups.
    """

    kind: Literal["stays"]
    observation_hours: int = Field(48, ge=1, le=LONGEST_HOURS)
    observation: Literal["hours", "whole_stay"] = "hours"
    every_hours: int | None = Field(None, ge=1, le=LONGEST_HOURS)
    first_hours: int = Field(1, ge=1, le=LONGEST_HOURS)
    last_hours: int | None = Field(None, ge=1, le=LONGEST_HOURS)
    criteria: tuple[Criterion, ...] = ()
    groups: Groups = ()

    @model_validator(mode="after")
    def _predicts_in_one_way(self) -> Stays:
        given = {name for name, value in self if value != type(self).model_fields[name].default}
        if self.every_hours is not None and self.observation == "whole_stay":
            raise ValueError("every_hours and observation: whole_stay exclude each other")
        if "observation_hours" in given and (self.every_hours is not None or self.observation == "whole_stay"):
            other = "first_hours" if self.every_hours is not None else "observation: whole_stay"
            raise ValueError(f"observation_hours is for one prediction a stay; with {other} remove it")
        for key in ("first_hours", "last_hours"):
            if key in given and self.every_hours is None:
                raise ValueError(f"{key} goes with every_hours")
        if self.last_hours is not None and self.last_hours < self.first_hours:
            raise ValueError("last_hours is before first_hours")
        return self

    @property
    def has_series(self) -> bool:
        """Whether a stay's series is kept whole, for as many predictions as there are: see ``Arrays.layout``."""
        return self.every_hours is not None or self.observation == "whole_stay"
