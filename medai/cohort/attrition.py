"""The attrition table: who is left after each criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.records import Exclusion

if TYPE_CHECKING:
    import polars as pl


class Attrition:
    """Lines in their order, each the sum of what was noted under it.

    A cohort of many predictions is selected in blocks of whole stays. Each block goes through the same criteria, so
    before each further block the lines are gone back to (``rewind``) and added to.
    """

    def __init__(self) -> None:
        self._criteria: list[str] = []
        self._samples: list[int] = []
        self._subjects: list[pl.Series] = []
        self._quiet: list[bool] = []
        self._at = 0

    @property
    def place(self) -> int:
        """Where the next line stands."""
        return self._at

    def rewind(self, place: int) -> None:
        """Go back: what follows is noted under the lines from this place on."""
        self._at = place

    def note(self, criterion: str, table: pl.DataFrame, *, quiet: bool = False) -> None:
        """Who is left: rows are samples, ``subject_id`` says whose.

        Args:
            quiet: the line is told only where somebody left at it.
        """
        subjects = table["subject_id"].unique()
        if self._at == len(self._criteria):
            self._criteria.append(criterion)
            self._samples.append(table.height)
            self._subjects.append(subjects)
            self._quiet.append(quiet)
        else:
            self._samples[self._at] += table.height
            self._subjects[self._at] = self._subjects[self._at].append(subjects).unique()
        self._at += 1

    def lines(self) -> tuple[Exclusion, ...]:
        """The lines so far."""
        told = []
        for at, criterion in enumerate(self._criteria):
            if self._quiet[at] and at and self._samples[at] == self._samples[at - 1]:
                continue
            told.append(Exclusion(criterion=criterion, samples=self._samples[at], subjects=len(self._subjects[at])))
        return tuple(told)
