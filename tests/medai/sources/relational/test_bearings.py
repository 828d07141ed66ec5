"""Whose a row is and in which admission: each pair that a row can name, foreseen or not, and what it comes to."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from medai.sources.relational.bearings import LINKS, Places
from medai.sources.relational.identity import Identities
from medai.sources.relational.times import MISSING
from medai.tables import subject_ids

ADMITTED, DISCHARGED = datetime(2150, 1, 1), datetime(2150, 1, 2)
BEGIN, END = ((moment - datetime(1970, 1, 1)).total_seconds() for moment in (ADMITTED, DISCHARGED))


def places_of() -> Places:
    """Patients 1 and 2; admission 10 is 1's, 11 is of 3, who is no patient, 12 is nobody's."""
    hospital = pl.DataFrame(
        {
            "admission": [12, 10, 11],
            "whose": [None, 1, 3],
            "admitted": [ADMITTED] * 3,
            "discharged": [DISCHARGED, DISCHARGED, None],
        }
    )
    return Places(Identities("s"), Identities("a"), hospital, pl.Series([2, 1]))


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(
    ("subject", "admission", "link", "own", "ends"),
    [
        (1, 10, "admission", True, True),
        (1, MISSING, "none", False, False),
        (2, 10, "other_patient", False, True),
        (1, 12, "unknown_admission", False, True),
        (1, 99, "unknown_admission", False, False),
        (3, 11, "unknown_patient", True, False),
        (4, 10, "unknown_patient", False, True),
        (MISSING, 10, "unknown_patient", False, True),
        (MISSING, MISSING, "unknown_patient", False, False),
    ],
)
def test_a_pair_is_what_it_is_alone_and_among_others(
    subject: int, admission: int, link: str, own: bool, ends: bool, rows: int
) -> None:
    """Looked up a run at once or each by itself: the same place, with the admission's own times."""
    places = places_of()
    pairs = np.array([(1, 10), (subject, admission)] * rows, np.int64)
    first = places.of(np.full(100, subject), np.full(100, admission))
    again = places.of(pairs[:, 0], pairs[:, 1])[1::2]
    assert set(again.tolist()) == set(first.tolist())
    assert len(set(first.tolist())) == 1
    stands = places.stands()
    at = int(first[0])
    assert LINKS[stands.link[at]] == link
    assert stands.subject_id[at] == (-1 if subject == MISSING else subject_ids("s", [str(subject)])[0])
    assert stands.admission_id[at] == (subject_ids("a", [str(admission)])[0] if own else MISSING)
    assert places.discharged(first).tolist() == [END if ends else MISSING] * 100
    assert stands.discharged[at] == (END if ends else MISSING)
    assert stands.admitted[at] == (BEGIN if admission in (10, 11, 12) else MISSING)
    assert [column[at] for column in stands] == [column[0] for column in places.stands(at)]


def test_without_patients_and_admissions_each_pair_gets_a_place() -> None:
    """Two empty tables foresee nothing; equal pairs still share a place."""
    hospital = pl.DataFrame(
        schema={"admission": pl.Int64, "whose": pl.Int64, "admitted": pl.Datetime, "discharged": pl.Datetime}
    )
    places = Places(Identities("s"), Identities("a"), hospital, pl.Series([], dtype=pl.Int64))
    one, again, other = places.of(np.array([5, 5, 6]), np.array([1, 1, 1])).tolist()
    assert (again, {one, other}) == (one, {0, 1})
    assert len(places) == 2
    assert [LINKS[link] for link in places.stands().link] == ["unknown_patient"] * 2
