"""Planted leaks: a patient on both sides of a split, a label in a column, a reading from after the prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from medai.cohort import Pictures, Stays, select
from medai.errors import DataRefused
from medai.outputs import Output
from medai.preprocessing import Pixels, Series, prepare
from medai.records import Arrays, Cohort, QualityReport, Screening, Snapshot
from medai.screening import Screen, refuse_if_leaking, screen
from medai.splitting import KeyedHash, Publisher, split
from medai.workspace import Workspace
from tests.faults import sets
from tests.faults.case import refused
from tests.faults.conftest import Undamaged, meets, nothing_half_done, tells_nothing, walk
from tests.faults.damage import outcomes, put, replaced, rows, stay, stays
from tests.faults.sets import HOSPITALS, SETS, picture, record_id

Planted = Callable[[str, str], None]
DEATH = {"kind": "binary", "label": "in_hospital_death", "classes": {0: "survived", 1: "died"}, "positive": "died"}
OPACITY = {"kind": "binary", "classes": {0: "absent", 1: "present"}, "positive": "present"}
HASH = KeyedHash(kind="keyed_hash", key="leaks", fractions={"train": 0.6, "validation": 0.2, "test": 0.2})


@pytest.fixture
def planted(record_property: Callable[[str, object], None]) -> Planted:
    """Count a planted leak and what it met with."""
    return lambda source, outcome: record_property("fault", ("planted leak", source, outcome, False))


def _output(keys: dict[str, Any]) -> dict[str, Output]:
    output: Output = TypeAdapter(Output).validate_python(keys)
    return {"asked": output}


def _roles(folder: Path, shared: str) -> Path:
    """Pictures in the publisher's roles; patient 1 of the shared role is patient 1 of train, too."""
    for at, role in enumerate(("train", "val", "test")):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            place = folder / role / name
            place.mkdir(parents=True)
            for number in range(8):
                patient = 1 if role == shared and number == label == 0 else 100 * at + 10 * number + label + 1
                (place / f"Mustermann{patient}-0_{role}{number}{label}.png").write_bytes(
                    picture(100 * at + 10 * number + label)
                )
    return folder


@pytest.mark.parametrize("role", ["val", "test"])
def test_a_patient_on_both_sides_of_a_given_split_is_refused(role: str, tmp_path: Path, planted: Planted) -> None:
    """Another picture of a train patient stands in the publisher's validation or test: the split is refused."""
    planted("pictures", "refused")
    workspace, path = Workspace(tmp_path / "home"), _roles(tmp_path / "data", role)
    snapshot, quality = walk(workspace, "pictures", path)
    assert snapshot.counts["subjects_straddling_publisher_roles"] == 1
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), _output(OPACITY)).record
    with pytest.raises(DataRefused) as raised:
        split(workspace, snapshot, cohort, Publisher(kind="publisher"))
    meets(raised.value, refused("the same patient stands on two sides of the split", "1 of 47 subjects"))
    nothing_half_done(workspace.root)
    tells_nothing(workspace.root, str(raised.value), SETS["pictures"].people, ())


def _arrays(
    workspace: Workspace, source: str, path: Path, series: Series
) -> tuple[Snapshot, QualityReport, Cohort, Arrays]:
    snapshot, quality = walk(workspace, source, path)
    cohort = select(
        workspace, snapshot, quality, Stays(kind="stays", observation_hours=series.hours), _output(DEATH)
    ).record
    return snapshot, quality, cohort, prepare(workspace, snapshot, quality, cohort, series).record


MANY = 120


def _many_stays(folder: Path, hidden: Callable[[int, bool], str]) -> Path:
    """Stays of whom every second dies, each with the rows that hide the outcome."""
    (folder / "set-a").mkdir(parents=True)
    table = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    for number in range(MANY):
        died = number % 2 == 1
        text = "Time,Parameter,Value\n" + sets.stay_text(number) + hidden(number, died)
        (folder / "set-a" / f"{record_id(number)}.txt").write_text(text)
        table += f"{record_id(number)},10,5,9,{4 if died else -1},{int(died)}\n"
    (folder / "Outcomes-a.txt").write_text(table)
    return folder


HIDDEN: dict[str, Callable[[int, bool], str]] = {
    "as its value": lambda number, died: f"06:00,Cholesterol,{100 + 100 * died + number / 10:g}\n",
    "as its value, the other way round": lambda number, died: f"06:00,Cholesterol,{300 - 100 * died - number / 10:g}\n",
    "as its presence": lambda number, died: f"06:00,Cholesterol,{150 + number / 10:g}\n" if died else "",
    "as how often it was measured": lambda number, died: (
        "06:00,Cholesterol,150\n07:00,Cholesterol,150\n" if died else "06:00,Cholesterol,150\n"
    ),
    "nowhere": lambda number, died: f"06:00,Cholesterol,{150 + (number // 2 * 37) % 60}\n",
}


def _screened(tmp_path: Path, hidden: Callable[[int, bool], str]) -> Screening:
    workspace, path = Workspace(tmp_path / "home"), _many_stays(tmp_path / "data", hidden)
    series = Series(kind="series", step_minutes=240, variables=("HR", "Temp", "Cholesterol"), static=("Height",))
    snapshot, _, cohort, arrays = _arrays(workspace, "stays", path, series)
    splits = split(workspace, snapshot, cohort, HASH).record
    return screen(workspace, snapshot, arrays, cohort, splits, _output(DEATH), Screen()).record


@pytest.mark.parametrize("way", [way for way in HIDDEN if way != "nowhere"])
def test_a_label_hidden_in_a_column_is_refused(way: str, tmp_path: Path, planted: Planted) -> None:
    """A variable that tells the outcome by its value, its presence or its number stops the run, by name."""
    planted("stays", "refused")
    with pytest.raises(DataRefused) as raised:
        refuse_if_leaking(_screened(tmp_path, HIDDEN[way]))
    meets(raised.value, refused("a single column tells asked almost by itself", "Cholesterol."))
    tells_nothing(tmp_path / "home", str(raised.value), SETS["stays"].people, ())


def test_a_column_that_hides_nothing_passes(tmp_path: Path) -> None:
    """The same stays without the hidden label."""
    screening = _screened(tmp_path, HIDDEN["nowhere"])
    refuse_if_leaking(screening)
    assert screening.columns > 18


def _marked_pictures(file: Path, mark: Callable[[np.ndarray, int], None]) -> Path:
    draws, arrays = np.random.default_rng(8), {}
    for role, count in (("train", 120), ("val", 20), ("test", 20)):
        images = draws.integers(30, 220, (count, 32, 32), dtype=np.uint8)
        labels = (np.arange(count) % 2).astype(np.uint8)[:, None]
        for image, label in zip(images, labels[:, 0], strict=True):
            mark(image, int(label))
        arrays |= {f"{role}_images": images, f"{role}_labels": labels}
    file.parent.mkdir()
    np.savez_compressed(file, **arrays)
    return file


def _corner(image: np.ndarray, label: int) -> None:
    image[:4, :4] = 200 if label else 60


def _brighter(image: np.ndarray, label: int) -> None:
    image[...] = image // 2 + 100 * label


@pytest.mark.parametrize(("mark", "column"), [(_corner, "place.0.0"), (_brighter, "file.mean")])
def test_a_label_hidden_in_a_picture_is_refused(
    mark: Callable[[np.ndarray, int], None], column: str, tmp_path: Path, planted: Planted
) -> None:
    """A mark in a corner, or a whole class that is brighter."""
    planted("npz", "refused")
    workspace, path = Workspace(tmp_path / "home"), _marked_pictures(tmp_path / "data" / "Mustermann.npz", mark)
    snapshot, quality = walk(workspace, "npz", path)
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), _output(OPACITY)).record
    splits = split(workspace, snapshot, cohort, Publisher(kind="publisher")).record
    arrays = prepare(workspace, snapshot, quality, cohort, Pixels(kind="pixels", size=(32, 32))).record
    screening = screen(workspace, snapshot, arrays, cohort, splits, _output(OPACITY), Screen()).record
    assert column in {one.column for one in screening.leaking}
    with pytest.raises(DataRefused) as raised:
        refuse_if_leaking(screening)
    meets(raised.value, refused("a single column tells asked almost by itself"))
    tells_nothing(workspace.root, str(raised.value), SETS["npz"].people, ())


VITALS = Series(kind="series", hours=24, step_minutes=60, variables=("heart_rate", "temperature", "glucose"))


def _numbers(workspace: Workspace, arrays: Arrays) -> np.ndarray:
    values: np.ndarray = np.load(workspace.folder("prepare", arrays.key) / "last.npy")
    return values


@pytest.mark.parametrize("source", HOSPITALS)
@pytest.mark.parametrize(
    ("name", "table", "values", "later"),
    [
        ("charted in the window, stored after it", "chartevents", {"storetime": sets.moment(30)}, 1),
        ("charted and stored after it", "chartevents", {"charttime": sets.moment(26), "storetime": sets.moment(27)}, 0),
        (
            "charted a minute after it",
            "chartevents",
            {"charttime": sets.moment(25.02), "storetime": sets.moment(25.5)},
            0,
        ),
        (
            "stored before it was charted",
            "chartevents",
            {"charttime": sets.moment(25.5), "storetime": sets.moment(2)},
            0,
        ),
        (
            "drawn in the window, its result after it",
            "labevents",
            {"charttime": sets.moment(24.5), "storetime": sets.moment(26)},
            1,
        ),
    ],
)
def test_a_reading_from_after_the_prediction_is_not_admitted(
    source: str,
    name: str,
    table: str,
    values: dict[str, str],
    later: int,
    tmp_path: Path,
    undamaged: Undamaged,
    planted: Planted,
) -> None:
    """A planted heart rate of 177, or glucose, is in no array; one that was known only later is counted."""
    planted(source, "not admitted")
    path = undamaged.copy(source, tmp_path / "data")
    rows(table, put(0, value="177", valuenum="177", **values))(path)
    workspace = Workspace(tmp_path / "home")
    _, _, _, arrays = _arrays(workspace, source, path, VITALS)
    assert not (_numbers(workspace, arrays) == 177).any()
    assert arrays.counts["readings_known_later"] == later


@pytest.mark.parametrize("source", HOSPITALS)
def test_a_reading_just_in_time_is_admitted(source: str, tmp_path: Path, undamaged: Undamaged) -> None:
    """The same reading, stored at the moment of the prediction: the window is closed at its end."""
    path = undamaged.copy(source, tmp_path / "data")
    rows("chartevents", put(0, value="177", valuenum="177", storetime=sets.moment(25)))(path)
    workspace = Workspace(tmp_path / "home")
    _, _, _, arrays = _arrays(workspace, source, path, VITALS)
    assert (_numbers(workspace, arrays) == 177).any()
    assert arrays.counts["readings_known_later"] == 0


def test_stays_after_the_hours_of_observation_are_not_admitted(
    tmp_path: Path, undamaged: Undamaged, planted: Planted
) -> None:
    """A reading at 05:30 is none of the first five hours."""
    planted("stays", "not admitted")
    path = undamaged.copy("stays", tmp_path / "data")
    stays("stays", stay(7, replaced("05:30,Temp,36.5", "05:30,Temp,41.25")))(path)
    workspace = Workspace(tmp_path / "home")
    early = Series(kind="series", hours=5, step_minutes=60, variables=("HR", "Temp"))
    _, _, _, arrays = _arrays(workspace, "stays", path, early)
    assert not (_numbers(workspace, arrays) == 41.25).any()
    later = Series(kind="series", hours=6, step_minutes=60, variables=("HR", "Temp"))
    _, _, _, arrays = _arrays(workspace, "stays", path, later)
    assert (_numbers(workspace, arrays) == 41.25).any()


def test_stays_whose_rows_were_set_aside_do_not_come_back(
    tmp_path: Path, undamaged: Undamaged, planted: Planted
) -> None:
    """A label that the reader left out leaves the cohort; a reading that was set aside is in no array."""
    planted("stays", "not admitted")
    path = undamaged.copy("stays", tmp_path / "data")
    stays("stays", stay(7, replaced("00:30,Temp,36.5", "00:30,Temp,98.5")))(path)
    outcomes(replaced(f"{record_id(3)},10,5,9,-1,0", f"{record_id(3)},10,5,9,-1,x"))(path)
    workspace = Workspace(tmp_path / "home")
    _, quality, cohort, arrays = _arrays(
        workspace, "stays", path, Series(kind="series", step_minutes=240, variables=("HR", "Temp"))
    )
    assert quality.set_aside == {"implausible_temp": 1}
    assert cohort.samples == sets.STAYS - 1
    assert any(line.criterion == "asked is known" for line in cohort.attrition)
    assert not (_numbers(workspace, arrays) == 98.5).any()
