"""``screen``: a label hidden in a column, a place or a file's shape is found before a model learns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from medai.cohort import Pictures, Stays, select
from medai.errors import DataRefused
from medai.outputs import Output
from medai.preprocessing import Pixels, Series, prepare
from medai.records import QualityReport, Screening, Snapshot
from medai.screening import Screen, _aurocs, refuse_if_leaking, screen
from medai.splitting import KeyedHash, Publisher, split
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
SPLIT = KeyedHash(kind="keyed_hash", key="k", fractions={"train": 0.6, "validation": 0.2, "test": 0.2})
SUBJECTS = 120


@pytest.fixture
def ill(output_of: Callable[..., Output]) -> dict[str, Output]:
    """An output."""
    return {"ill": output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")}


@pytest.fixture
def stays(put: Put, event_tables: Callable[..., Any], ill: dict[str, Output]) -> Callable[..., Screening]:
    """The screening of stays with a heart rate of noise and the readings given: (subject, label) → value or None."""

    def make(value: Callable[[int, int], float | None], **config: Any) -> Screening:
        draws = np.random.default_rng(7).normal(80, 10, SUBJECTS)
        readings = [(subject, 1, 1, "HR", float(draws[subject])) for subject in range(SUBJECTS)]
        for subject in range(SUBJECTS):
            flag = value(subject, subject % 2)
            if flag is not None:
                readings.append((subject, 2, 2, "Flag", flag))
        tables = event_tables(readings, subjects=SUBJECTS)
        tables["identifiers"] = pl.DataFrame(
            {"subject_id": range(SUBJECTS), "site_id": [str(number) for number in range(SUBJECTS)]}
        )
        workspace, snapshot, quality = put(tables, "events")
        cohort = select(workspace, snapshot, quality, Stays(kind="stays", observation_hours=6), ill).record
        splits = split(workspace, snapshot, cohort, SPLIT).record
        grid = Series(kind="series", hours=6, variables=("HR", "Flag"))
        arrays = prepare(workspace, snapshot, quality, cohort, grid).record
        return screen(workspace, snapshot, arrays, cohort, splits, ill, Screen(**config)).record

    return make


@pytest.mark.parametrize("sign", [1, -1])
def test_a_label_hidden_in_a_column_is_refused(stays: Callable[..., Screening], sign: int) -> None:
    """A variable that repeats the label, in either direction, stops the run; the message names column and class."""
    screening = stays(lambda subject, label: 3 + sign * label + subject / 1000)
    assert {one.column for one in screening.leaking} == {
        f"Flag.{name}" for name in ("first", "last", "minimum", "maximum", "mean")
    }
    with pytest.raises(DataRefused, match="a single column tells ill almost by itself") as raised:
        refuse_if_leaking(screening)
    assert "Flag.first separates ill with 1.0000" in raised.value.received
    assert raised.value.exit_status == 3


def test_a_label_hidden_in_what_was_recorded_is_refused(stays: Callable[..., Screening]) -> None:
    """A variable that only the ill have tells as much as its value would."""
    screening = stays(lambda _subject, label: 5.0 if label else None)
    assert screening.leaking[0].column == "Flag.count"
    assert screening.leaking[0].strength == 1


def test_a_person_may_allow_a_column(stays: Callable[..., Screening]) -> None:
    """Allowed by name, or by another limit; the strongest columns are reported all the same."""
    names = tuple(f"Flag.{name}" for name in ("first", "last", "minimum", "maximum", "mean"))
    allowed = stays(lambda _subject, label: float(label), allow=names)
    refuse_if_leaking(allowed)
    assert (allowed.leaking, allowed.strongest[0].auroc) == ((), 1.0)


def test_noise_is_no_leak(stays: Callable[..., Screening]) -> None:
    """Columns without the label pass, and a column that nobody has is not judged."""
    screening = stays(lambda _subject, _label: None)
    refuse_if_leaking(screening)
    assert screening.columns == 12
    assert max(one.strength for one in screening.strongest) < 0.8


def test_too_few_of_a_class_are_not_judged(stays: Callable[..., Screening]) -> None:
    """With fewer than the minimum of either class nothing is said."""
    screening = stays(lambda _subject, label: float(label), minimum=SUBJECTS)
    assert (screening.strongest, screening.leaking) == ((), ())


@pytest.mark.parametrize("leak", ["marker", "size", "none"])
def test_shortcuts_of_pictures_are_refused(put: Put, ill: dict[str, Output], leak: str) -> None:
    """A mark burnt into one corner, or another size of the original file, tells the class; noise does not."""
    label = np.arange(SUBJECTS) % 2
    pixels = np.random.default_rng(3).integers(60, 200, (SUBJECTS, 32, 32, 1)).astype(np.uint8)
    if leak == "marker":
        pixels[label == 1, :2, :2] = 255
    role = np.array(["train"] * 80 + ["validation"] * 20 + ["test"] * 20)
    images = pl.DataFrame(
        {
            "row_id": range(SUBJECTS),
            "subject_id": range(SUBJECTS),
            "time": pl.Series([None] * SUBJECTS, dtype=pl.Datetime("us")),
            "publisher_role": role,
            "height": 1000 + 24 * label if leak == "size" else [1000] * SUBJECTS,
            **{name: [8] * SUBJECTS for name in ("width", "channels", "bits", "minimum", "maximum")},
            "mean": pixels.mean(axis=(1, 2, 3)),
            "std": pixels.std(axis=(1, 2, 3)),
        }
    )
    labels = pl.DataFrame({"row_id": range(SUBJECTS), "label": label})
    workspace, snapshot, quality = put({"images": images, "labels": labels}, "images", pixels=pixels)
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), ill).record
    splits = split(workspace, snapshot, cohort, Publisher(kind="publisher")).record
    arrays = prepare(workspace, snapshot, quality, cohort, Pixels(kind="pixels", size=(32, 32))).record
    screening = screen(workspace, snapshot, arrays, cohort, splits, ill, Screen()).record
    found = [one.column for one in screening.leaking]
    assert found == {"marker": ["place.0.0"], "size": ["file.height"], "none": []}[leak]
    again = screen(workspace, snapshot, arrays, cohort, splits, ill, Screen())
    assert (again.reused, again.record) == (True, screening)


def test_the_area_is_scikit_learns() -> None:
    """Ties count a half and missing values are left out, as in an independent implementation."""
    draws = np.random.default_rng(11)
    positive = draws.random(300) < 0.4
    values = np.round(draws.normal(size=(300, 5)) + 0.7 * positive[:, None], 1).astype(np.float32)
    expected = [roc_auc_score(positive, column) for column in values.T]
    assert _aurocs(values, positive, 20) == pytest.approx(expected)
    values[::3, 0] = np.nan
    known = ~np.isnan(values[:, 0])
    assert _aurocs(values, positive, 20)[0] == pytest.approx(roc_auc_score(positive[known], values[known, 0]))
