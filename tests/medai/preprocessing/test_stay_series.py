"""A stay's series, stored once for all of its samples: against plain loops, and the law that nobody looks ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medai.cohort import Stays, select
from medai.errors import DataRefused
from medai.preprocessing import Series, prepare
from medai.preprocessing.series import SUMMARIES
from medai.records import Arrays, QualityReport, Snapshot
from medai.tables import write_table
from medai.training.gathering import open_arrays
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
Reading = tuple[int, float | None, float | None, str, float | None]
Prepare = Callable[..., tuple[Path, Arrays, pl.DataFrame]]

VARIABLES = ("HR", "K")
GRID = Series(kind="series", hours=6, step_minutes=120, variables=VARIABLES)
EVERY = 2
"""Hours between a stay's predictions; its first is after 4."""
FIRST, LAST = 4, 12


@pytest.fixture
def prepared(put: Put, event_tables: Callable[..., Any]) -> Prepare:
    """The folder, the record and the cohort of hand-made readings; stays of 12 hours, a prediction every two."""
    homes = iter(range(1_000_000))

    def make(
        readings: list[Reading], config: Series = GRID, subjects: int = 2, shift_minutes: int = 0
    ) -> tuple[Path, Arrays, pl.DataFrame]:
        tables = event_tables(readings, subjects=subjects)
        tables["stays"] = tables["stays"].with_columns(end=pl.col("start") + timedelta(hours=LAST, minutes=1))
        workspace, snapshot, quality = put(tables, "events", home=f"home-{next(homes)}")
        definition = Stays(kind="stays", every_hours=EVERY, first_hours=FIRST)
        cohort = select(workspace, snapshot, quality, definition, {}).record
        path = workspace.folder("select", cohort.key) / "cohort.parquet"
        table = pl.read_parquet(path)
        if shift_minutes:
            table = table.with_columns(pl.col("prediction_time") + timedelta(minutes=shift_minutes))
            path.unlink()
            write_table(path, table.to_arrow())
        arrays = prepare(workspace, snapshot, quality, cohort, config).record
        return workspace.folder("prepare", arrays.key), arrays, table

    return make


def slowly(readings: list[Reading], subject: int, until: float, config: Series = GRID) -> dict[str, np.ndarray]:
    """What a sample at hour ``until`` sees, by plain loops: the steps from the stay's start, and the last summaries."""
    width = config.step_minutes / 60
    steps = round(until / width)
    last = np.full((steps, len(VARIABLES)), np.nan, np.float32)
    mask = np.zeros((steps, len(VARIABLES)), np.uint8)
    elapsed = np.full((steps, len(VARIABLES)), 255, np.uint8)
    summaries = np.full((len(VARIABLES), len(SUMMARIES)), np.nan, np.float32)
    for place, code in enumerate(VARIABLES):
        binned: dict[int, list[float]] = {}
        known_in: list[tuple[int, float]] = []
        theirs = sorted(
            (time, time if when is None else max(time, when), float(np.float32(value)))
            for who, time, when, name, value in readings
            if who == subject and name == code and time is not None and value is not None and time >= 0
        )
        for time, known, value in theirs:
            placed = time if config.admit_by == "time" else known
            if placed <= until:
                known_in.append((max(math.ceil(placed / width) - 1, 0), value))
        for at, (step, value) in enumerate(known_in):
            if not any(later < step for later, _ in known_in[at + 1 :]):
                binned.setdefault(step, []).append(value)
        for step in range(steps):
            if step in binned:
                values = binned[step]
                last[step, place] = values[-1] if config.bin == "last" else sum(values) / len(values)
                mask[step, place], elapsed[step, place] = 1, 0
            elif step:
                last[step, place] = last[step - 1, place]
                elapsed[step, place] = min(int(elapsed[step - 1, place]) + 1, 255)
        seen = [value for _, value in known_in]
        summaries[place, -1] = len(seen)
        if seen:
            summaries[place] = [seen[0], seen[-1], min(seen), max(seen), sum(seen) / len(seen), len(seen)]
    return {"last": last, "mask": mask, "elapsed": elapsed, "summaries": summaries.reshape(-1)}


def seen_by(folder: Path, arrays: Arrays, row: int) -> dict[str, np.ndarray]:
    """What the stored series holds for a sample."""
    stored = {name: np.load(folder / file.file) for name, file in arrays.arrays.items()}
    begin, length = int(stored["begin"][row]), int(stored["length"][row])
    seen = {name: stored[name][begin : begin + length] for name in ("last", "mask", "elapsed")}
    return seen | {"summaries": stored["summaries"][begin + length - 1]}


_HOURS = st.integers(-60, 16 * 60).map(lambda minutes: minutes / 60)
_READINGS = st.lists(
    st.tuples(
        st.integers(0, 1),
        _HOURS,
        st.one_of(st.none(), _HOURS),
        st.sampled_from(["HR", "K", "other"]),
        st.one_of(st.none(), st.integers(-50, 50).map(float)),
    ),
    max_size=14,
)


def plausible(readings: list[Any]) -> list[Reading]:
    """Nothing is known before it happened; no two readings of a variable tie, so that loops agree on the last."""
    distinct = {(who, time, code): (who, time, when, code, value) for who, time, when, code, value in readings}
    return [(w, t, None if k is None else max(t, k), c, v) for w, t, k, c, v in distinct.values()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=_READINGS, how=st.sampled_from(["last", "mean"]), by=st.sampled_from(["known_time", "time"]))
def test_a_series_is_what_loops_make_of_it(prepared: Prepare, readings: list[Any], how: Any, by: Any) -> None:
    """Each sample's steps and summaries, with either bin and either time, from any readings."""
    config = GRID.model_copy(update={"bin": how, "admit_by": by})
    readings = plausible(readings)
    folder, arrays, cohort = prepared(readings, config)
    assert (arrays.layout, arrays.steps, arrays.samples) == ("stay", 3, cohort.height)
    for row, (subject, hour) in enumerate(cohort.select("subject_id", "hours").iter_rows()):
        for name, expected in slowly(readings, subject, hour, config).items():
            np.testing.assert_array_equal(seen_by(folder, arrays, row)[name], expected, err_msg=f"{name} at {hour}")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=_READINGS, more=_READINGS)
def test_later_events_change_nothing_that_a_sample_sees(
    prepared: Prepare, readings: list[Any], more: list[Any]
) -> None:
    """Events that become known after a prediction are added, changed and removed: its arrays stay as they are."""
    readings = plausible(readings)
    folder, arrays, cohort = prepared(readings)
    for hour in (FIRST, LAST - EVERY):
        kept = [one for one in readings if (one[1] if one[2] is None else one[2]) <= hour]
        later = [(who, time, hour + 0.01 + abs(time), code, value) for who, time, _, code, value in plausible(more)]
        other_folder, other, _ = prepared(kept + [one for one in later if one[1] <= one[2]])
        for row in np.flatnonzero(cohort["hours"].to_numpy() <= hour):
            for name, expected in seen_by(folder, arrays, int(row)).items():
                np.testing.assert_array_equal(seen_by(other_folder, other, int(row))[name], expected)


def test_what_is_stored_late_does_not_push_the_present_aside(prepared: Prepare) -> None:
    """A heart rate of hour 1 that is stored at hour 7 counts, but that of hour 3 stays the newest one."""
    readings: list[Reading] = [(0, 1, 7, "HR", 60.0), (0, 3, None, "HR", 100.0), (0, 5, 9, "HR", 80.0)]
    folder, arrays, cohort = prepared([*readings, (0, 2, 7, "K", 4.0)])
    row = cohort.with_row_index().filter(pl.col("subject_id") == 0, pl.col("hours") == 10)["index"].item()
    seen = seen_by(folder, arrays, row)
    np.testing.assert_array_equal(seen["last"][:, 0], [np.nan, 100, 100, 100, 80])
    assert seen["mask"][:, 0].tolist() == [0, 1, 0, 0, 1]
    assert seen["elapsed"][:, 0].tolist() == [255, 0, 1, 2, 0]
    assert seen["summaries"][: len(SUMMARIES)].tolist() == [60.0, 80.0, 60.0, 100.0, 80.0, 3.0]
    assert seen["mask"][:, 1].tolist() == [0, 0, 0, 1, 0]


def test_predictions_between_two_steps_do_not_look_ahead(prepared: Prepare) -> None:
    """Half an hour into a step, a sample reads the steps before; only the stay's last reads its own, up to its time."""
    readings: list[Reading] = [(0, 4.25, None, "HR", 1.0), (0, 4.75, None, "HR", 2.0), (0, 12.4, None, "HR", 3.0)]
    folder, arrays, cohort = prepared([*readings, (0, 12.6, None, "HR", 4.0)], shift_minutes=30)
    theirs = cohort.with_row_index().filter(pl.col("subject_id") == 0).sort("hours")["index"].to_list()
    first, last = seen_by(folder, arrays, theirs[0]), seen_by(folder, arrays, theirs[-1])
    assert np.isnan(first["last"]).all()
    assert len(first["last"]) == 2
    assert last["last"][-1, 0] == 3.0
    assert len(last["last"]) == 7


def test_a_prediction_before_its_first_step_is_refused(prepared: Prepare) -> None:
    """No step lies before it, and part of one would show what came later."""
    with pytest.raises(DataRefused, match="before the end of the first step") as caught:
        prepared([(0, 1.0, None, "HR", 1.0)], GRID.model_copy(update={"step_minutes": 360}))
    assert "2 earlier ones" in caught.value.received


def test_training_gathers_what_was_stored(prepared: Prepare) -> None:
    """The windows that models read end at the prediction and hold the stay's own steps."""
    folder, arrays, cohort = prepared([(0, 1.0, None, "HR", 7.0), (1, 11.0, None, "K", 9.0)])
    opened = open_arrays(folder, arrays)
    assert opened["last"].shape == (cohort.height, 3, 2)
    row = int(cohort.with_row_index().filter(pl.col("subject_id") == 0, pl.col("hours") == FIRST)["index"][0])
    np.testing.assert_array_equal(opened["last"][row][:, 0], [np.nan, 7.0, 7.0])
    np.testing.assert_array_equal(opened["elapsed"][row][:, 0], [3, 0, 1])
    assert arrays.counts == {"samples_without_reading": 4, "readings_known_later": 0}


def test_a_bin_may_hold_its_mean(put: Put, event_tables: Callable[..., Any]) -> None:
    """In the layout of one row a sample, too."""
    tables = event_tables([(0, 7.0, None, "HR", 1.0), (0, 7.5, None, "HR", 4.0), (0, 5.0, None, "K", 3.0)])
    workspace, snapshot, quality = put(tables, "events")
    cohort = select(workspace, snapshot, quality, Stays(kind="stays", observation_hours=8), {}).record
    arrays = prepare(workspace, snapshot, quality, cohort, GRID.model_copy(update={"bin": "mean"})).record
    last = np.load(workspace.folder("prepare", arrays.key) / "last.npy")
    np.testing.assert_array_equal(last[0, :, 0], [np.nan, np.nan, 2.5])
    np.testing.assert_array_equal(last[0, :, 1], [np.nan, 3.0, 3.0])
