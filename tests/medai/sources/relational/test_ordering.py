"""The total order of events: a plain sort by its columns gives the same, whatever the rows and their parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from medai.sources.relational.bearings import Kind, Kinds, Places
from medai.sources.relational.events import NO_ROW, Events
from medai.sources.relational.identity import Identities
from medai.sources.relational.ordering import Bearings, Parts, in_order, joined, taken
from medai.sources.relational.storing import groups_of
from medai.vocabularies import Recipe

PATIENTS = 6
ORDER = ("subject", "time", "known", "rank", "value", "text", "source_row", "place")


def bearings_of() -> tuple[Places, Kinds, Bearings]:
    """Six patients, of whom two share a wrong admission; four codes, one of them in two priorities."""
    patients = pl.Series(range(PATIENTS))
    hospital = pl.DataFrame(
        {"admission": [10, 11], "whose": [0, 1], "admitted": [None, None], "discharged": [None, None]},
        schema_overrides={"admitted": pl.Datetime("us"), "discharged": pl.Datetime("us")},
    )
    places = Places(Identities("s"), Identities("a"), hospital, patients)
    places.of(np.arange(PATIENTS), np.array([10, 10, 11, 11, 12, 13]))
    kinds = Kinds(("hr",))
    for at, (code, priority) in enumerate((("b", 0), ("a", 2), ("c", 0), ("a", 1))):
        kinds.add(at, Kind("t", code, Recipe("hr" if priority else None, priority)))
    return places, kinds, Bearings.of(places, kinds)


def events_of(random: np.random.Generator, rows: int, unit: int) -> Events:
    """Rows of few distinct values, so that many tie in much and some in everything."""
    time = random.integers(0, 4, rows) * unit
    value = random.choice(np.array([np.nan, 1, 2], np.float32), rows)
    return Events(
        random.integers(0, PATIENTS, rows).astype(np.int32),
        random.integers(0, 4, rows).astype(np.int32),
        time,
        time + random.integers(0, 2, rows) * unit,
        value,
        pa.array(random.choice(["x", "y", None], rows).tolist(), pa.large_string()),
        random.choice(np.array([NO_ROW, 3, 4], np.int32), rows),
    )


def frame_of(events: Events, bearings: Bearings) -> pl.DataFrame:
    """The columns that order events."""
    columns: dict[str, Any] = {
        "subject": bearings.subject[events.place],
        "time": events.time,
        "known": events.known_time,
        "rank": bearings.rank[events.kind],
        "value": pl.Series(events.value).fill_nan(None),
        "text": pl.Series(events.text),
        "source_row": events.source_row,
        "place": bearings.place_rank[events.place],
    }
    return pl.DataFrame(columns)


@pytest.mark.parametrize("unit", [60, 1, 3 * 10**9])
@pytest.mark.parametrize("seed", range(4))
def test_one_number_sorts_as_all_columns_do(seed: int, unit: int) -> None:
    """Times in minutes, in seconds, and so far apart that no number holds them; equal rows are one and are counted."""
    random = np.random.default_rng(seed)
    _, _, bearings = bearings_of()
    events = events_of(random, 400, unit)
    expected = frame_of(events, bearings).sort(ORDER, nulls_last=False).unique(maintain_order=True)
    found, same = in_order(events, bearings)
    assert frame_of(found, bearings).equals(expected)
    assert same == 400 - expected.height


def test_parts_and_shuffles_leave_no_trace(tmp_path: Path) -> None:
    """Put aside in one part or five, in memory, in files or in both, in any order of rows: the same groups."""
    random = np.random.default_rng(7)
    places, _, bearings = bearings_of()
    events = events_of(random, 500, 60)
    seen = []
    for count, held in ((1, 0), (5, 500), (5, 0), (5, 150)):
        for rows in (np.arange(500), random.permutation(500)):
            folder = tmp_path / f"{len(seen)}"
            folder.mkdir()
            parts = Parts(folder, count, places, held)
            for chosen in np.array_split(rows, 7):
                parts.add(taken(events, chosen))
            assert (list(folder.iterdir()) != []) is (count > 1 and held < 500)
            ordered = [in_order(load(), bearings)[0] for load in parts.each()]
            assert list(folder.iterdir()) == []
            seen.append(next(groups_of(iter(ordered), bearings)))
            assert frame_of(joined(ordered), bearings).height == seen[-1].num_rows
    assert all(one.equals(other) for one, other in pairwise(seen))
    assert seen[0]["row_id"].to_pylist() == list(range(seen[0].num_rows))
