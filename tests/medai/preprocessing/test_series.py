"""Series on a grid: against a slow and obvious re-computation, and the law that nobody looks ahead."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import medai
from medai.cohort import Stays, select
from medai.errors import ConfigurationError, DataRefused
from medai.outputs import Output
from medai.preprocessing import Pixels, Series, prepare
from medai.preprocessing.series import SUMMARIES
from medai.records import QualityReport, Snapshot
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
Reading = tuple[int, float | None, float | None, str, float | None]
NAN = float("nan")

GRID = Series(
    kind="series", hours=6, step_minutes=120, variables=("HR", "K"), static=("Age",), categories={"Unit": (1, 2)}
)
OBSERVED = 8
"""Hours from admission to prediction: the window is hours 2 to 8, its bins 2–4, 4–6 and 6–8."""

Prepare = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def ill(output_of: Callable[..., Output]) -> dict[str, Output]:
    """An output."""
    return {"ill": output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")}


@pytest.fixture
def prepared(put: Put, event_tables: Callable[..., Any], ill: dict[str, Output]) -> Prepare:
    """Arrays of hand-made readings, by name; ``counts`` too."""
    homes = iter(range(1_000_000))

    def make(
        readings: list[Reading],
        config: Series = GRID,
        subjects: int = 2,
        aside: tuple[Any, ...] = (),
        labelled: bool = False,
    ) -> dict[str, Any]:
        tables = event_tables(readings, subjects=subjects)
        workspace, snapshot, quality = put(tables, "events", aside, home=f"home-{next(homes)}")
        definition = Stays(kind="stays", observation_hours=OBSERVED)
        cohort = select(workspace, snapshot, quality, definition, ill if labelled else {}).record
        arrays = prepare(workspace, snapshot, quality, cohort, config).record
        folder = workspace.folder("prepare", arrays.key)
        found: dict[str, Any] = {name: np.load(folder / file.file) for name, file in arrays.arrays.items()}
        assert all(found[name].shape == file.shape for name, file in arrays.arrays.items())
        return found | {"counts": arrays.counts, "names": {name: file.names for name, file in arrays.arrays.items()}}

    return make


def slowly(readings: list[Reading], subjects: int = 2, config: Series = GRID) -> dict[str, np.ndarray]:
    """The arrays by plain loops over one reading at a time."""
    steps, width = config.steps, len(config.variables)
    begin = OBSERVED - config.hours
    last = np.full((subjects, steps, width), np.nan, np.float32)
    mask = np.zeros((subjects, steps, width), np.uint8)
    elapsed = np.full((subjects, steps, width), steps, np.uint8)
    static = np.full((subjects, len(config.static)), np.nan, np.float32)
    levels = np.zeros((subjects, sum(map(len, config.categories.values()))), np.float32)
    summaries = np.full((subjects, width, len(SUMMARIES)), np.nan, np.float32)
    for subject in range(subjects):
        known = [
            (time, value, code)
            for who, time, when, code, value in readings
            if who == subject and value is not None and (when is None or when <= OBSERVED)
        ]
        for time, value, code in sorted((one for one in known if one[0] is None), key=lambda one: one[1]):
            assert time is None
            if code in config.static:
                static[subject, config.static.index(code)] = value
            elif code in config.categories:
                levels[subject] = [value == level for level in config.categories[code]]
        for place, code in enumerate(config.variables):
            inside = sorted(
                (time, value)
                for time, value, name in known
                if time is not None and name == code and begin <= time <= OBSERVED
            )
            for time, value in inside:
                step = min(int((time - begin) * 60 // config.step_minutes), steps - 1)
                last[subject, step, place], mask[subject, step, place] = value, 1
            for step in range(steps):
                if mask[subject, step, place]:
                    elapsed[subject, step, place] = 0
                elif step and not math.isnan(last[subject, step - 1, place]):
                    last[subject, step, place] = last[subject, step - 1, place]
                    elapsed[subject, step, place] = elapsed[subject, step - 1, place] + 1
            values = [float(np.float32(value)) for _, value in inside]
            summaries[subject, place, SUMMARIES.index("count")] = len(values)
            if values:
                summaries[subject, place] = [
                    values[0], values[-1], min(values), max(values), sum(values) / len(values), len(values),
                ]  # fmt: skip
    return {
        "last": last,
        "mask": mask,
        "elapsed": elapsed,
        "static": np.concatenate([static, levels], axis=1),
        "summaries": summaries.reshape(subjects, -1),
    }


HOURS = st.integers(0, 40).map(lambda quarter: quarter / 4)
VALUES = st.integers(-5, 300).map(lambda tenth: tenth / 10)


@st.composite
def timed_readings(draw: Any) -> list[Reading]:
    """Readings of two subjects around the window: ties, some known late, some unknown when, some without a number."""
    made: list[Reading] = []
    for _ in range(draw(st.integers(0, 25))):
        time = draw(HOURS)
        # Ties are ordered by known_time first: equal times share one here, and a test of its own tells them apart.
        known = draw(st.sampled_from([time, None])) if time <= 6 else time + 3
        code = draw(st.sampled_from(["HR", "K", "Na"]))
        made.append((draw(st.integers(0, 1)), time, known, code, draw(st.none() | VALUES)))
    same: dict[tuple[int, float | None, str], float | None] = {}
    return [(who, at, same.setdefault((who, at, code), known), code, value) for who, at, known, code, value in made]


@st.composite
def static_readings(draw: Any) -> list[Reading]:
    """Descriptors, at most one a subject and code; some become known only after the prediction."""
    made: list[Reading] = []
    for subject in (0, 1):
        for code, values in (("Age", [30.0, 64.0]), ("Unit", [1.0, 2.0, 3.0])):
            value = draw(st.none() | st.sampled_from(values))
            if value is not None:
                made.append((subject, None, draw(st.sampled_from([None, 0.0, 8.0, 8.25])), code, value))
    return made


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timed=timed_readings(), static=static_readings())
def test_arrays_equal_the_obvious_computation(prepared: Prepare, timed: list[Reading], static: list[Reading]) -> None:
    """Whatever was measured, each array is what plain loops over the readings give, bit for bit."""
    found, expected = prepared(timed + static), slowly(timed + static)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        if name == "summaries":  # a mean's last bit may hang on the order of its sum
            np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_one_stay_by_hand(prepared: Prepare) -> None:
    """A worked example: three bins of two hours from hour 2 to hour 8, one stay without readings."""
    found = prepared(
        [(0, 1.5, 1.5, "HR", 50), (0, 2, 2, "HR", 60), (0, 3.9, 4, "HR", 66), (0, 4, 4, "K", 4.5), (0, 6, 6, "HR", 72)]
    )
    np.testing.assert_array_equal(found["last"][0], np.array([[66, NAN], [66, 4.5], [72, 4.5]], np.float32))
    assert found["mask"][0].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert found["elapsed"][0].tolist() == [[0, 3], [1, 0], [0, 1]]
    assert found["summaries"][0].tolist() == [60, 72, 60, 72, 66, 3, 4.5, 4.5, 4.5, 4.5, 4.5, 1]
    assert np.isnan(found["last"][1]).all()
    assert found["elapsed"][1].tolist() == [[3, 3]] * 3
    assert found["counts"] == {"samples_without_reading": 1, "readings_known_later": 0}
    assert found["names"]["last"] == ("HR", "K")
    assert found["names"]["static"] == ("Age", "Unit=1", "Unit=2")
    assert found["names"]["summaries"][:7] == (
        "HR.first", "HR.last", "HR.minimum", "HR.maximum", "HR.mean", "HR.count", "K.first",
    )  # fmt: skip


BASE: list[Reading] = [(0, 3, 3, "HR", 80), (0, 5, 6, "K", 4), (0, None, 0, "Age", 70), (1, 7, 7, "HR", 90)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.none() | st.floats(0, 30).map(lambda hour: round(hour, 2)),
            st.floats(8.001, 60).map(lambda hour: round(hour, 3)),
            st.sampled_from(["HR", "K", "Age", "Unit"]),
            VALUES,
        ),
        max_size=8,
    )
)
def test_nothing_known_after_the_prediction_changes_a_byte(prepared: Prepare, later: list[Reading]) -> None:
    """Added at will, readings and descriptors known too late leave every array as it is."""
    expected, found = prepared(BASE), prepared(BASE + later)
    for name in ("last", "mask", "elapsed", "summaries", "static"):
        assert found[name].tobytes() == expected[name].tobytes(), name


def test_what_was_stored_late_counts_only_once_it_was_known(prepared: Prepare) -> None:
    """Charted in the window, stored after the prediction: not seen. Stored at the prediction: seen in its own bin."""
    late = prepared([(0, 5, 8.01, "HR", 80)])
    assert late["mask"].sum() == 0
    assert late["counts"]["readings_known_later"] == 1
    as_benchmarks_do = prepared([(0, 5, 8.01, "HR", 80)], config=GRID.model_copy(update={"admit_by": "time"}))
    assert as_benchmarks_do["mask"].sum() == 1
    assert as_benchmarks_do["counts"]["readings_known_later"] == 1
    seen = prepared([(0, 5, 8, "HR", 80)])
    assert seen["mask"][0, :, 0].tolist() == [0, 1, 0]


def test_columns_of_the_stays_are_static_features(
    put: Put, event_tables: Callable[..., Any], ill: dict[str, Output]
) -> None:
    """A source's own columns, known at the start, are numbers or levels; what came later is none, whatever its name."""
    tables = event_tables([(0, 5, 5, "HR", 80)])
    tables["stays"] = tables["stays"].with_columns(age=pl.Series([61.5, None]), unit=pl.Series(["MICU", "CCU"]))
    tables["labels"] = tables["labels"].with_columns(hours=pl.Series([50.0, 60.0]))
    workspace, snapshot, quality = put(tables, "events")
    cohort = select(workspace, snapshot, quality, Stays(kind="stays", observation_hours=OBSERVED), ill).record

    def static(**config: Any) -> list[list[float]]:
        grid = Series.model_validate({"kind": "series", "hours": 6, "variables": ["HR"], **config})
        arrays = prepare(workspace, snapshot, quality, cohort, grid).record
        rows: list[list[float]] = np.load(workspace.folder("prepare", arrays.key) / "static.npy").tolist()
        return [[-1.0 if math.isnan(value) else value for value in row] for row in rows]

    levels = {"unit": ["MICU", "SICU", "CCU"]}
    assert static(static=["age"], categories=levels) == [[61.5, 1, 0, 0], [-1, 0, 0, 1]]
    assert static(static=["hours", "end", "label"]) == [[-1, -1, -1], [-1, -1, -1]]
    with pytest.raises(ConfigurationError, match="the static column unit is no number"):
        static(static=["unit"])
    with pytest.raises(ConfigurationError, match="a level of the static column unit is of another type"):
        static(categories={"unit": [1]})


def test_the_window_is_closed_at_both_ends(prepared: Prepare) -> None:
    """A reading exactly at prediction_time is in the last bin, one exactly at the start in the first, none beyond."""
    found = prepared([(0, 8, 8, "HR", 81), (1, 2, 2, "HR", 61)])
    assert found["last"][0, :, 0].tolist()[2] == 81
    assert found["mask"][:, :, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
    minute = 1 / 60
    outside = prepared([(0, 8 + minute, 8 + minute, "HR", 81), (1, 2 - minute, 2 - minute, "HR", 61)])
    assert outside["mask"].sum() == 0
    # Claimed to have been known before it happened: its own time keeps it out.
    assert prepared([(0, 8 + minute, 8, "HR", 81)])["mask"].sum() == 0


def test_ties_go_by_the_snapshots_order(prepared: Prepare) -> None:
    """At one time the last by known_time stands, and of those known at once the largest."""
    found = prepared([(0, 5, 5, "HR", 99), (0, 5, 6, "HR", 70), (0, 5, 6, "HR", 75), (0, 5, 6, "HR", 72)])
    assert found["last"][0, 1, 0] == 75
    assert found["summaries"][0, :6].tolist() == [99, 75, 70, 99, 79, 4]


def test_rows_set_aside_are_not_seen(prepared: Prepare, event_tables: Callable[..., Any]) -> None:
    """A reading or descriptor that validation set aside is as if it had not been made."""
    readings: list[Reading] = [*BASE, (0, 7, 7, "HR", 900), (1, None, 0, "Age", 119)]
    events = event_tables(readings)["events"]
    wrong = events.filter(pl.col("numeric_value") > 100)["row_id"].to_list()
    found = prepared(readings, aside=tuple(("events", row, "implausible") for row in wrong))
    expected = prepared(BASE)
    for name in ("last", "mask", "elapsed", "summaries", "static"):
        assert found[name].tobytes() == expected[name].tobytes(), name


def test_elapsed_says_the_grids_length_for_never(prepared: Prepare) -> None:
    """Never measured is told apart from measured in the very first bin, also on the longest grid of 255 steps."""
    long = Series(kind="series", hours=255, step_minutes=60, variables=("HR", "K"))
    found = prepared([(0, -246.5, -246.5, "HR", 80)], config=long)
    assert found["elapsed"][0, :, 0].tolist() == list(range(255))
    assert set(found["elapsed"][0, :, 1].tolist()) == {255}
    assert found["elapsed"].dtype == np.uint8
    assert "static" not in found


def test_samples_without_any_reading_teach_nothing(prepared: Prepare) -> None:
    """Where every window is empty, a labelled cohort is refused; one to predict is scored all the same."""
    readings: list[Reading] = [(0, 1, 1, "HR", 80), (1, 20, 20, "HR", 80)]
    assert prepared(readings)["counts"]["samples_without_reading"] == 2
    with pytest.raises(DataRefused, match="not one sample has a reading in its window") as refusal:
        prepared(readings, labelled=True)
    assert refusal.value.received == "2 samples, all without any"
    assert prepared([*readings, (1, 3, 3, "HR", 80)], labelled=True)["counts"]["samples_without_reading"] == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"step_minutes": 7}, "step_minutes must divide the window of 360 minutes"),
        ({"step_minutes": 1}, "at most, not 360"),
        ({"variables": ["HR", "HR"]}, "variables must be named once each"),
        ({"variables": []}, "at least 1 item"),
        ({"hours": 0}, "greater than or equal to 1"),
        ({"hours": 10**12, "step_minutes": 60 * 10**12}, "less than or equal to 8760"),
        ({"static": ["Age", "Age"]}, "static must be named once each"),
        ({"categories": {"Unit": [1, 1]}}, "categories.Unit must be named once each"),
        ({"categories": {"Unit": []}}, "categories need one level at least"),
        ({"step_minute": 60}, "did you mean 'step_minutes'"),
    ],
)
def test_a_grid_that_cannot_be_laid_is_refused(keys: dict[str, Any], message: str) -> None:
    """Steps divide the window and fit a byte; variables are named, once each."""
    with pytest.raises(ValidationError, match=message):
        Series.model_validate({"kind": "series", "hours": 6, "variables": ["HR"]} | keys)


def test_series_of_pictures_are_refused(picture_road: Any) -> None:
    """The message names what would fit."""
    with pytest.raises(DataRefused, match="preprocessing series needs events"):
        prepare(picture_road.workspace, picture_road.snapshot, picture_road.quality, picture_road.cohort, GRID)


def test_pixels_of_stays_are_refused(stay_road: Any) -> None:
    """And the other way round."""
    config = Pixels(kind="pixels", size=(16, 16))
    with pytest.raises(DataRefused, match="preprocessing pixels needs pictures"):
        prepare(stay_road.workspace, stay_road.snapshot, stay_road.quality, stay_road.cohort, config)


def test_raw_rows_in_another_order_give_the_same_bytes(
    tmp_path: Path, stay_road: Any, walk_stays: Callable[[Path, Path], Any]
) -> None:
    """The lines of every raw file shuffled: the arrays do not change, though the snapshot's key does."""
    raw = tmp_path / "raw"
    (raw / "set-a").mkdir(parents=True)
    shuffle = random.Random(5)  # noqa: S311 - no secret
    (raw / "Outcomes-a.txt").write_bytes((stay_road.raw / "Outcomes-a.txt").read_bytes())
    for file in sorted((stay_road.raw / "set-a").iterdir()):
        header, *lines = file.read_text().splitlines(keepends=True)
        shuffle.shuffle(lines)
        (raw / "set-a" / file.name).write_text(header + "".join(lines))
    other = walk_stays(tmp_path / "home", raw)
    assert other.snapshot.key != stay_road.snapshot.key
    assert other.arrays.arrays.keys() == {"last", "mask", "elapsed", "summaries", "static"}
    for name in other.arrays.arrays:
        assert other.load(name).tobytes() == stay_road.load(name).tobytes(), name


PREPARE = """
import json, sys
from pathlib import Path
from medai.preprocessing import Series, prepare
from medai.records import Cohort, QualityReport, Snapshot
from medai.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
records = [kind.parse(Path(path).read_bytes()) for kind, path in zip((Snapshot, QualityReport, Cohort), sys.argv[2:5])]
config = Series.model_validate_json(sys.argv[5])
print(prepare(workspace, *records, config).record.key)
"""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_threads_leave_no_trace(tmp_path: Path, stay_road: Any, threads: str) -> None:
    """A process of its own with so many threads writes the same files, byte for byte."""
    home = tmp_path / "home"
    store = home / "store"
    store.mkdir(parents=True)
    original = stay_road.workspace.root / "store"
    for stage in ("ingest", "validate", "select"):
        (store / stage).symlink_to(original / stage)
    records = [
        str(stay_road.workspace.folder(stage, record.key) / "record.json")
        for stage, record in (
            ("ingest", stay_road.snapshot),
            ("validate", stay_road.quality),
            ("select", stay_road.cohort),
        )
    ]
    environment = os.environ | {
        "POLARS_MAX_THREADS": threads,
        "PYTHONPATH": str(Path(medai.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(home), *records, stay_road.preprocessing.model_dump_json()],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == stay_road.arrays.key
    made, expected = store / "prepare" / stay_road.arrays.key, original / "prepare" / stay_road.arrays.key
    names = sorted(file.name for file in expected.iterdir())
    assert names == sorted(file.name for file in made.iterdir())
    for name in names:
        assert (made / name).read_bytes() == (expected / name).read_bytes(), name
