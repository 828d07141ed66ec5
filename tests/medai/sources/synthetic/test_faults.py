"""Planted faults: each is there as often as the manifest says, and none when none is asked for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.sources.synthetic.faults import KINDS, STAYS, Faults

Hospital = Callable[..., Path]
Table = Callable[[Path, str], pl.DataFrame]


@pytest.fixture(scope="module")
def faulty(hospital: Hospital) -> Path:
    """A hospital with a tenth of faults."""
    return hospital(300, faults=0.1)


@pytest.fixture(scope="module")
def counts(faulty: Path) -> dict[str, int]:
    """What the manifest says of it."""
    return dict(json.loads((faulty / "planted_faults.json").read_text())["faults"])


def test_no_share_plants_none(hospital: Hospital) -> None:
    """The manifest names every kind, each with 0; what is history is counted all the same."""
    notes = json.loads((hospital(60, faults=0) / "planted_faults.json").read_text())
    assert notes["faults"] == dict.fromkeys(KINDS, 0)
    assert all(notes["history"].values())


def test_every_kind_is_planted(counts: dict[str, int]) -> None:
    """In a hospital of some hundred patients."""
    assert all(counts.values())


def test_kinds_take_turns() -> None:
    """With a share of a quarter every fourth has one, the kinds in order; nobody counts but who plants."""
    faults = Faults(0.25, seed=0)
    found = [faults.next_of(STAYS) for _ in range(16)]
    assert [place for place, kind in enumerate(found) if kind] == [3, 7, 11, 15]
    assert [kind for kind in found if kind] == [*STAYS, STAYS[0]]
    assert set(faults.counts.values()) == {0}


def test_the_rest_is_as_it_would_be_without_faults(hospital: Hospital, table: Table) -> None:
    """Rows of the chart that no fault touched are those of the same hospital without faults."""
    sound, faulty = (table(hospital(300, faults=share), "icu/chartevents") for share in (0, 0.1))
    touched = faulty.join(sound, on=sound.columns, how="anti", nulls_equal=True)
    assert 0 < touched.height < 0.08 * faulty.height


def test_chart_faults_are_counted(faulty: Path, counts: dict[str, int], table: Table) -> None:
    """Each kind, found again by its looks alone."""
    chart = table(faulty, "icu/chartevents")
    number = pl.col("valuenum").cast(float)
    item = pl.col("itemid")
    sentinel = pl.col("value") == "999999"
    looks = {
        "text_in_value": pl.col("value").is_in(["?", "ERROR", "___"]) & number.is_null(),
        "sentinel_999999": sentinel,
        "heart_rate_0": (item == "220045") & (number == 0),
        "fahrenheit_in_celsius_item": (item == "223762") & (number > 80) & ~sentinel,
        "fio2_as_fraction": (item == "223835") & (number < 1.01),
    }
    once = chart.unique(maintain_order=True)
    assert chart.height - once.height == counts["duplicate_row"]
    for kind, look in looks.items():
        assert once.filter(look).height == counts[kind], kind
    stays = table(faulty, "icu/icustays").with_columns(
        pl.min_horizontal("intime", "outtime").str.to_datetime().alias("from"),
        pl.max_horizontal("intime", "outtime").str.to_datetime().alias("to"),
    )
    outside = once.join(stays, on="stay_id").filter(
        (pl.col("charttime").str.to_datetime() < pl.col("from") - pl.duration(days=300))
        | (pl.col("charttime").str.to_datetime() > pl.col("to") + pl.duration(days=300))
    )
    assert outside.height == counts["event_outside_admission"]


def test_lab_faults_are_counted(faulty: Path, counts: dict[str, int], table: Table) -> None:
    """Text without a number, and the sentinel."""
    labs = table(faulty, "hosp/labevents")
    assert labs["valuenum"].null_count() == counts["lab_text_in_value"]
    assert (labs["value"] == "999999").sum() == counts["lab_sentinel_999999"]


def test_stays_and_deaths_are_counted(faulty: Path, counts: dict[str, int], table: Table) -> None:
    """Orphans, turned times, empty stays; deaths before birth and before admission."""
    stays, admissions = table(faulty, "icu/icustays"), table(faulty, "hosp/admissions")
    chart = table(faulty, "icu/chartevents")
    assert stays.join(admissions, on="hadm_id", how="anti").height == counts["orphan_stay"]
    assert stays.filter(pl.col("outtime") < pl.col("intime")).height == counts["stay_out_before_in"]
    empty = stays.join(chart, on="stay_id", how="anti")
    assert empty.height == counts["stay_without_events"]
    labs = table(faulty, "hosp/labevents").join(empty, on="hadm_id")
    assert labs.filter(pl.col("charttime").is_between("intime", "outtime", closed="left")).height == 0
    patients = table(faulty, "hosp/patients").drop_nulls("dod")
    born = pl.col("anchor_year").cast(int) - pl.col("anchor_age").cast(int)
    died = pl.col("dod").str.head(4).cast(int)
    # Whoever is over 89 is 91, so that a year of birth may be told ten years late.
    unborn = patients.filter(died < born)
    assert unborn.height == counts["death_before_birth"]
    first = admissions.group_by("subject_id").agg(pl.col("admittime").min())
    early = patients.join(first, on="subject_id").filter(pl.col("dod") < pl.col("admittime").str.head(10))
    assert early.height == counts["death_before_birth"] + counts["death_before_admission"]


def test_picture_faults_are_counted(faulty: Path, counts: dict[str, int]) -> None:
    """Copies, copies under the other label, black, white, cut short, and text by the name of a picture."""
    found: Counter[str] = Counter()
    seen: dict[str, set[str]] = {}
    for file in sorted((faulty / "radiographs").rglob("*.png")):
        data = file.read_bytes()
        if not data.startswith(b"\x89PNG"):
            found["text_named_png"] += 1
            continue
        if not data.endswith(b"IEND\xaeB`\x82"):
            found["truncated_picture"] += 1
            continue
        pixels = np.asarray(Image.open(file))
        if pixels.min() == pixels.max():
            found["blank_picture" if pixels.max() == 0 else "saturated_picture"] += 1
            continue
        seen.setdefault(hashlib.sha256(data).hexdigest(), set()).add(file.parent.name)
        found["sound"] += 1
    found["picture_under_two_labels"] = sum(len(labels) - 1 for labels in seen.values())
    found["duplicate_picture"] = found.pop("sound") - len(seen) - found["picture_under_two_labels"]
    assert found == {kind: counts[kind] for kind in found}
    assert len(found) == 6
