"""What is noticed of the events while they pass: which stays have readings of a variable, and which codes came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from medai.sources.relational.events import Events
from medai.sources.relational.ordering import Bearings
from medai.sources.relational.times import MISSING

if TYPE_CHECKING:
    import polars as pl

_NEVER_ENDS = np.iinfo(np.int64).max


class Digest:
    """Counts of codes, and flags of stays.

    Args:
        stays: with subject_id, start and end.
        bearings: of the events.
    """

    def __init__(self, stays: pl.DataFrame, bearings: Bearings) -> None:
        self._bearings = bearings
        self._stays = len(stays)
        start, end = (
            stays[name].dt.epoch("s").fill_null(value).to_numpy()
            for name, value in (("start", int(MISSING)), ("end", int(_NEVER_ENDS)))
        )
        order = np.lexsort((start, stays["subject_id"].to_numpy()))
        self._order = order[start[order] != MISSING]
        self._subject = stays["subject_id"].to_numpy()[self._order]
        self._start, self._end = start[self._order], end[self._order]
        self._has_series = np.zeros(self._stays, bool)
        self._readings = np.zeros(len(bearings.code), np.int64)
        self._numbers = np.zeros(len(bearings.code), np.int64)

    def watching(self, parts: Iterator[Events]) -> Iterator[Events]:
        """The same parts: sorted events, no subject in two of them."""
        kinds = len(self._readings)
        for part in parts:
            number = ~np.isnan(part.value)
            self._readings += np.bincount(part.kind, minlength=kinds)
            self._numbers += np.bincount(part.kind[number], minlength=kinds)
            self._notice(part, np.flatnonzero(number & (self._bearings.variable >= 0)[part.kind]))
            yield part

    def _notice(self, part: Events, rows: np.ndarray) -> None:
        """A stay has a series if the first reading from its start on is its subject's and not after its end."""
        if not len(rows):
            return
        subject, time = self._bearings.subject[part.place[rows]], part.time[rows]
        begins = np.flatnonzero(np.concatenate([[True], subject[1:] != subject[:-1]]))
        ends = np.append(begins[1:], len(rows))
        first, last = np.searchsorted(self._subject, [subject[0], subject[-1]], side="left")
        last = np.searchsorted(self._subject, subject[-1], side="right")
        places = np.searchsorted(subject[begins], self._subject[first:last])
        for stay, place in zip(range(first, last), places.tolist(), strict=True):
            if place < len(begins) and subject[begins[place]] == self._subject[stay]:
                theirs = time[begins[place] : ends[place]]
                at = int(np.searchsorted(theirs, self._start[stay]))
                if at < len(theirs) and theirs[at] <= self._end[stay]:
                    self._has_series[self._order[stay]] = True

    def has_series(self) -> pl.Series:
        """One flag a stay, in the order of the stays: a variable was measured between its start and end."""
        import polars as pl

        return pl.Series(self._has_series)

    def codes(self) -> pl.DataFrame:
        """code, source_table, variable, readings, numbers; sorted by code."""
        import polars as pl

        bearings = self._bearings
        variables = pl.Series([*bearings.variables, None], dtype=pl.String)
        return (
            pl.DataFrame(
                {
                    "code": pl.Series(bearings.codes, dtype=pl.String)[bearings.code],
                    "source_table": pl.Series(bearings.tables, dtype=pl.String)[bearings.table],
                    "variable": variables[np.where(bearings.variable < 0, len(variables) - 1, bearings.variable)],
                    "readings": self._readings,
                    "numbers": self._numbers,
                }
            )
            .filter(pl.col("readings") > 0)
            .sort("code", "source_table", "variable", nulls_last=True)
            .group_by("code", maintain_order=True)
            .agg(pl.col("source_table").first(), pl.col("variable").first(), pl.col("readings", "numbers").sum())
        )
