"""Whom of the data the champion was fitted on, as far as ids and contents tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from medai.cohort import Pictures
from medai.prediction import seen_before, seen_pictures, select
from medai.records import Candidate, Cohort, Environment, Origin, Snapshot
from medai.workspace import Workspace

Put = Callable[..., Any]


def pictures(subjects: list[int | None], contents: list[str], named: dict[int, str]) -> dict[str, pl.DataFrame]:
    """Pictures of subjects with their contents; ``named`` are the site's own ids."""
    rows = range(len(subjects))
    images = pl.DataFrame(
        {"row_id": rows, "subject_id": subjects, "content_hash": contents, "time": None, "publisher_role": None},
        schema_overrides={"subject_id": pl.Int64, "time": pl.Datetime("us"), "publisher_role": pl.String},
    )
    identifiers = pl.DataFrame(
        {"subject_id": list(named), "site_id": list(named.values())},
        schema={"subject_id": pl.Int64, "site_id": pl.String},
    )
    return {"images": images, "labels": pl.DataFrame({"row_id": rows}), "identifiers": identifiers}


@pytest.fixture
def champion(put: Put) -> tuple[Workspace, Callable[[str], Candidate]]:
    """A champion fitted on patients 1 and 2, whose pictures are a, b and c; patient 3, with d, it was not."""
    workspace, snapshot, _ = put(pictures([1, 1, 2, 3], ["a", "b", "c", "d"], {1: "p1", 2: "p2", 3: "p3"}), "images")
    key = "c" * 32
    folder = workspace.folder("fit", key)
    folder.mkdir(parents=True)
    pl.DataFrame({"subject_id": [1, 2], "role": ["train", "validation"]}).write_parquet(folder / "subjects.parquet")

    def make(unit: str = "patient") -> Candidate:
        return Candidate(
            key=key, name="net", members=(), thresholds={}, calibration={}, preprocessing={}, outputs={},
            origin=Origin(snapshot=snapshot.key, unit=unit, source={}, cohort={}), statistics={}, trained_on={},
            seed=0, epochs=1,
            environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
        )  # fmt: skip

    return workspace, make


def given(put: Put, unit: str, *tables: Any) -> tuple[Snapshot, Cohort]:
    """Pictures to predict, selected."""
    workspace, snapshot, quality = put(pictures(*tables), "images")
    snapshot = snapshot.model_copy(update={"unit": unit})
    return snapshot, select(workspace, snapshot, quality, Pictures(kind="pictures")).record


def test_named_patients_are_known_by_their_ids(put: Put, champion: Any) -> None:
    """By another picture, too; equal pictures are counted beside them."""
    workspace, make = champion
    snapshot, cohort = given(put, "patient", [1, 3, 4], ["new", "d", "c"], {1: "p1", 3: "p3", 4: "p4"})
    assert seen_before(workspace, [(snapshot, cohort)], make()) == 1
    assert seen_pictures(workspace, snapshot, make()) == 1


def test_a_patient_of_several_inputs_is_one(put: Put, champion: Any) -> None:
    """Whom the champion was fitted on counts once, however many inputs he is in."""
    workspace, make = champion
    first = given(put, "patient", [1, 3], ["new", "d"], {1: "p1", 3: "p3"})
    again = given(put, "patient", [1, 2], ["newer", "c"], {1: "p1", 2: "p2"})
    assert [seen_before(workspace, [one], make()) for one in (first, again)] == [1, 2]
    assert seen_before(workspace, [first, again], make()) == 2


def test_pictures_of_nobody_known_are_known_by_their_pixels_alone(put: Put, champion: Any) -> None:
    """Their patients are not: neither where one name is missing nor where all are, nor where the fit had no names."""
    workspace, make = champion
    some = given(put, "patient", [1, 90], ["a", "c"], {1: "p1", 90: "c"})
    none = given(put, "image", [90, 91], ["c", "x"], {90: "c", 91: "x"})
    for snapshot, cohort in (some, none):
        assert seen_before(workspace, [(snapshot, cohort)], make()) is None
    assert [seen_pictures(workspace, snapshot, make()) for snapshot, _ in (some, none)] == [2, 1]
    assert seen_before(workspace, [some], make("image")) is None
    assert seen_before(workspace, [none], make("image")) == 0


def test_a_store_without_the_pictures_of_the_fit_knows_no_content(put: Put, champion: Any) -> None:
    """Not known is not none."""
    workspace, make = champion
    snapshot, _ = given(put, "patient", [1], ["a"], {1: "p1"})
    (workspace.folder("ingest", make().origin.snapshot) / "images.parquet").unlink()
    assert seen_pictures(workspace, snapshot, make()) is None
    assert seen_pictures(workspace, snapshot, make().model_copy(update={"origin": None})) is None
