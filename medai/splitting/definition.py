"""How a cohort is divided, as a Problem says it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from medai.records import Frozen, Role

# Test is cut first and train last, so that moving the border between train and validation leaves test alone.
ORDER: tuple[Role, ...] = ("test", "gate", "validation", "train")


NearDuplicates = Literal["warn", "together"]
"""What follows where pictures of two subjects are equal or nearly so: a count and a warning, or that these subjects,
one person under two numbers perhaps, stand on one side: the most protected that one of them has by the hash."""


def hashed_role(key: str, fractions: dict[Role, float], site_id: str) -> Role:
    """The role of a subject: the first 64 bits of SHA-256 of ``key/id``, read as a fraction of one."""
    digest = hashlib.sha256(f"{key}/{site_id}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for role in ORDER:
        share = fractions.get(role, 0.0)
        if point < share:
            return role
        point -= share
    return "train"


def _refuse_unfit(fractions: dict[Role, float], needed: tuple[Role, ...]) -> None:
    if any(share < 0 for share in fractions.values()):
        raise ValueError("fractions must not be negative")
    total = sum(fractions.values())
    if abs(total - 1) > 1e-9:
        raise ValueError(f"fractions must sum to 1, they sum to {total:g}")
    for role in needed:
        if fractions.get(role, 0) == 0:
            raise ValueError(f"fractions must give {role} a share")


def _with_gate(fractions: dict[Role, float]) -> tuple[Role, ...]:
    """Roles that must not be empty."""
    always: tuple[Role, ...] = ("train", "validation", "test")
    return (*always, "gate") if fractions.get("gate", 0) > 0 else always


class Division(Frozen):
    """How patients whom a publisher gave for training are divided, where the publisher kept none apart to choose by.

    Attributes:
        key: of the hash.
        fractions: role → share of those patients: train, validation and, if wanted, gate.
        near_duplicates: see ``NearDuplicates``.
    """

    key: str = Field(min_length=1, max_length=64)
    fractions: dict[Role, float]
    near_duplicates: NearDuplicates = "warn"

    @model_validator(mode="after")
    def _test_is_the_publishers(self) -> Division:
        if self.fractions.get("test", 0) > 0:
            raise ValueError("the test is the publisher's: fractions give it no share of train")
        _refuse_unfit(self.fractions, ("train", "validation"))
        return self

    def role(self, site_id: str) -> Role:
        """The role of a subject of the publisher's train; see ``hashed_role``."""
        return hashed_role(self.key, self.fractions, site_id)


class Publisher(Frozen):
    """The roles that the data's publisher gave.

    Attributes:
        straddling: what follows when a patient stands in several roles: ``refuse`` the split, or ``drop_from_train``:
            the patient stays in the most protected role (test, then validation), and samples elsewhere get no role.
        divide_train: where the publisher names train and test alone: how train is divided.
    """

    kind: Literal["publisher"]
    straddling: Literal["refuse", "drop_from_train"] = "refuse"
    divide_train: Division | None = None

    @property
    def needed(self) -> tuple[Role, ...]:
        """Roles that must not be empty."""
        return _with_gate(self.divide_train.fractions if self.divide_train is not None else {})


class KeyedHash(Frozen):
    """A subject's role is a keyed hash of the site's own id.

    Attributes:
        key: the hash's key; another key is another split.
        fractions: role → share of subjects; they sum to 1.
        near_duplicates: see ``NearDuplicates``.
    """

    kind: Literal["keyed_hash"]
    key: str = Field(min_length=1, max_length=64)
    fractions: dict[Role, float]
    near_duplicates: NearDuplicates = "warn"

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> KeyedHash:
        _refuse_unfit(self.fractions, ("train", "validation", "test"))
        return self

    @property
    def needed(self) -> tuple[Role, ...]:
        """Roles that must not be empty."""
        return _with_gate(self.fractions)

    def role(self, site_id: str) -> Role:
        """The role of a subject; see ``hashed_role``.

        >>> split = KeyedHash(kind="keyed_hash", key="k", fractions={"train": 0.6, "validation": 0.2, "test": 0.2})
        >>> [split.role(site_id) for site_id in ("1", "2", "3", "4", "5")]
        ['train', 'train', 'validation', 'train', 'train']
        """
        return hashed_role(self.key, self.fractions, site_id)


class Time(Frozen):
    """Who came later is the test: a model is asked about a time that it has not seen.

    Stays of years before ``first_year`` are divided by a keyed hash of their subject; stays from then on are the test.
    A patient of both periods stays in the earlier one, and the later stays get no role. Where dates are shifted, a
    stay's year is known to a span only (MIMIC-IV publishes three years): a stay that may lie on either side gets none.
    How many samples lose their role so is counted.

    Attributes:
        key: of the hash.
        first_year: the first year of the later period.
        column: of the stays table: the earliest year that a stay may be of.
        uncertain_years: how many years later it may be.
        fractions: role → share of the earlier period's subjects: train, validation and, if wanted, gate.
    """

    kind: Literal["time"]
    key: str = Field(min_length=1, max_length=64)
    first_year: int = Field(ge=1900, le=2200)
    column: str = "admission_year"
    uncertain_years: int = Field(2, ge=0, le=10)
    fractions: dict[Role, float]

    @model_validator(mode="after")
    def _fractions_are_of_the_earlier_period(self) -> Time:
        if self.fractions.get("test", 0) > 0:
            raise ValueError("the test is the later period: fractions give it no share of the earlier one")
        _refuse_unfit(self.fractions, ("train", "validation"))
        return self

    @property
    def needed(self) -> tuple[Role, ...]:
        """Roles that must not be empty."""
        return _with_gate(self.fractions)

    def role(self, site_id: str) -> Role:
        """The role of a subject of the earlier period; see ``hashed_role``."""
        return hashed_role(self.key, self.fractions, site_id)


class Listed(Frozen):
    """Roles by lists of the site's own subject ids.

    Attributes:
        files: role → a CSV file: an id a line, or an id and 1 or 0, of which 1 is meant (the lists of the public
            MIMIC-III benchmark); a header is allowed. What the files say enters the key, not where they lie.
        unlisted: what becomes of a subject on none of the lists: the role ``train``, or ``refuse``.
    """

    kind: Literal["list"]
    files: dict[Role, str] = Field(min_length=1)
    unlisted: Literal["train", "refuse"] = "train"

    @field_validator("files")
    @classmethod
    def _lists_what_is_needed(cls, files: dict[Role, str]) -> dict[Role, str]:
        for role in ("validation", "test"):
            if role not in files:
                raise ValueError(f"files must name a list for {role}")
        return files

    @property
    def needed(self) -> tuple[Role, ...]:
        """Roles that must not be empty."""
        return ("train", *(role for role in ORDER if role in self.files and role != "train"))


Split = Annotated[Publisher | KeyedHash | Time | Listed, Field(discriminator="kind")]
